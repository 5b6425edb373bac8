"""What commands of one service say to a running service: which model they want."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.commands import Done, faceloom
from tests.fakes import EchoHandler, fake_service

from faceloom.runtime.engine import InProcessEngine
from faceloom.runtime.front import Front
from faceloom.store.profile import model_store


async def generate(monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str) -> Done:
    """`faceloom generate --seeds 5` of a service with the model `echo`, version 7."""
    service = fake_service()
    front = Front(service, InProcessEngine(EchoHandler(service)), "127.0.0.1:0")
    await front.start()
    targets = {"generator": f"127.0.0.1:{front.port}"}
    monkeypatch.setenv("FACELOOM_TARGETS", json.dumps(targets))
    command = ["generate", "--seeds", "5", "--out", out, *arguments]
    try:
        return await asyncio.to_thread(faceloom, *command, store=model_store())
    finally:
        await front.stop(grace=0)


@pytest.mark.parametrize(
    "model", [[], ["--model", "7"], ["--model", "echo"], ["--model", "echo/7"]]
)
def test_a_model_that_is_served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: list[str]
) -> None:
    done = asyncio.run(generate(monkeypatch, tmp_path, *model))

    assert done.code == 0, done.err
    assert (tmp_path / "seed0000005.png").read_bytes() == b"5@0.7"


def test_a_model_that_is_not_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = asyncio.run(generate(monkeypatch, tmp_path, "--model", "tiny"))

    assert done.code == 1
    assert done.err.startswith("faceloom: model_version 'tiny' is not loaded")
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
