"""What commands of one service say to a running service: which model they want."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.commands import Done, faceloom
from tests.contract.fronts import Serve
from tests.fakes import EchoHandler, FakeEngine, fake_service

from faceloom.common.v1 import engine_pb2, image_pb2
from faceloom.core.errors import DeadlineExceeded
from faceloom.generator.v1 import generator_pb2 as pb
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


async def test_a_call_that_a_restart_of_the_worker_made_late_is_sent_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, serve: Serve
) -> None:
    engine = FakeEngine()
    engine.outcomes = [DeadlineExceeded("late")]
    front = await serve(engine)
    monkeypatch.setenv("FACELOOM_TARGETS", json.dumps({"generator": f"127.0.0.1:{front.port}"}))

    def generate(*options: str) -> Done:
        return faceloom("generate", "--seeds", 5, "--out", tmp_path, *options, store=model_store())

    impatient = await asyncio.to_thread(generate, "--wait", "0")
    assert (impatient.code, len(engine.batches)) == (1, 1)
    engine.outcomes = [DeadlineExceeded("late")]
    response = pb.GenerateResponse(faces=[pb.Face(seed=5, image=image_pb2.Image(data=b"a face"))])
    result = engine_pb2.EngineResult(response=response.SerializeToString())
    engine.outcomes.append(engine_pb2.EngineBatchResult(results=[result]))
    patient = await asyncio.to_thread(generate, "--wait", "30")

    assert (patient.code, len(engine.batches)) == (0, 3), patient.err
    assert (tmp_path / "seed0000005.png").read_bytes() == b"a face"
