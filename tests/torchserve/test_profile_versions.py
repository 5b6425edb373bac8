"""A created profile with two versions of a model, behind a real TorchServe."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests import rpc, samples
from tests.stores import put_import

from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.service import service
from faceloom.store.new_profile import create_profile

pytestmark = pytest.mark.torchserve


def asking(version: str) -> Any:
    picture = samples.raw(samples.face(1))
    return samples.with_images("quality", picture, model_version=version)


async def test_each_version_answers_by_its_name(
    start_stack: Callable[[Path, str], AbstractContextManager[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = tmp_path / "store"
    put_import(store, "quality", "taste", "1")
    put_import(store, "quality", "taste", "2", options={"threshold": 0.0})
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(store))
    create_profile("two", {"quality": ["taste/2", "taste/1"]}, None)

    with start_stack(tmp_path, "two") as stack:
        async with rpc.connect(stack.port("quality")) as channel:
            assert await rpc.health(channel, service("quality").service) == rpc.SERVING
            answers = [
                quality_pb2.ClassifyResponse.FromString(
                    await rpc.call(channel, "quality", asking(version))
                )
                for version in ("", "taste/1", "2")
            ]
            error = await rpc.refusal(rpc.call(channel, "quality", asking("taste")))
        others = [stack.program(name) for name in ("generator", "sketch")]

    default, first, second = answers
    assert default == second
    assert [(a.model.name, a.model.version) for a in (first, second)] == [
        ("taste", "1"), ("taste", "2"),
    ]  # fmt: skip
    assert (first.qualities[0].accepted, second.qualities[0].accepted) == (False, True)
    assert first.qualities[0].score == second.qualities[0].score
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "MODEL_AMBIGUOUS")
    assert others == [None, None]
