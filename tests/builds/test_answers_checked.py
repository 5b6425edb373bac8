"""Services that answer something else than was asked: no dataset holds it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import Message
from safetensors.numpy import load_file, save_file
from tests.builds.fake_services import FakeServices, score_of
from tests.builds.test_same_bytes import files_of, rows_of
from tests.builds.test_verify import sign_again

from faceloom.builds.run import Result
from faceloom.builds.verification import verify
from faceloom.core.errors import FailedPrecondition
from faceloom.datasets.spec import BuildSpec
from faceloom.datasets.summary import read_summary
from faceloom.generator.v1 import generator_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.segmentation.v1 import segmentation_pb2

Build = Callable[..., Awaitable[Result]]
SPEC = BuildSpec(candidates=40)


@dataclass
class Liar(FakeServices):
    """Services whose answers are changed, from the second call on: the first one is the discovery's."""

    change: Callable[[Message], None] = lambda answer: None

    async def call(self, service: str, method: str, request: bytes, timeout: float) -> bytes:
        answer = await super().call(service, method, request, timeout)
        types = {
            "generator": generator_pb2.GenerateResponse,
            "quality": quality_pb2.ClassifyResponse,
            "segmentation": segmentation_pb2.SegmentResponse,
        }
        if self.calls[service] == 1 or service not in types:
            return answer
        changed = types[service].FromString(answer)
        self.change(changed)
        return changed.SerializeToString()


async def test_another_threshold_in_the_middle_of_a_build_ends_it(
    build: Build, tmp_path: Path
) -> None:
    def move(answer: Message) -> None:
        if isinstance(answer, quality_pb2.ClassifyResponse):
            answer.threshold = 0.25

    with pytest.raises(FailedPrecondition, match=r"threshold changed from 0\.5 to 0\.25") as error:
        await build(SPEC, services=Liar(change=move))
    assert error.value.reason == "MODEL_CHANGED"
    assert read_summary(tmp_path / "out") is None

    # With the old one it goes on.
    assert (await build(SPEC)).summary.planned == 40


async def test_a_face_of_another_seed_is_not_taken(build: Build) -> None:
    def swap(answer: Message) -> None:
        if isinstance(answer, generator_pb2.GenerateResponse):
            for face in answer.faces:
                face.seed += face.seed == 17

    result = await build(SPEC, services=Liar(threshold=0.0, change=swap))
    assert (result.summary.accepted, result.summary.failed) == (39, 1)
    (row,) = rows_of(result.output / "failed.jsonl")
    assert (row["ordinal"], row["service"]) == (17, "generator")
    assert not verify(result.output)


# Seed 0 is the one that services are asked for before the build begins.
@pytest.mark.parametrize(("seed", "name", "failed"), [(17, 18, 0), (17, 19, 1), (0, 255, 1)])
async def test_a_class_that_has_no_name_is_not_taken(
    seed: int, name: int, failed: int, build: Build
) -> None:
    def spoil(answer: Message) -> None:
        if isinstance(answer, segmentation_pb2.SegmentResponse):
            for layout in answer.layouts:
                if layout.data == marked:
                    layout.data = bytes([name]) + layout.data[1:]

    services = FakeServices(threshold=0.0)
    marked = await layout_of(services, seed)
    result = await build(SPEC, services=Liar(threshold=0.0, change=spoil))
    assert (result.summary.accepted, result.summary.failed) == (40 - failed, failed)
    rows = rows_of(result.output / "failed.jsonl")
    assert [(row["ordinal"], row["service"]) for row in rows] == [(seed, "segmentation")] * failed
    assert not verify(result.output)


async def test_a_verdict_against_the_threshold_is_not_taken(build: Build) -> None:
    best = max(score_of_seed(seed) for seed in range(40))

    def contradict(answer: Message) -> None:
        if isinstance(answer, quality_pb2.ClassifyResponse):
            for quality in answer.qualities:
                quality.accepted ^= quality.score == best

    result = await build(SPEC, services=Liar(change=contradict))
    assert result.summary.failed == 1
    (row,) = rows_of(result.output / "failed.jsonl")
    assert (row["service"], score_of_seed(row["seed"])) == ("quality", best)


def score_of_seed(seed: int) -> float:
    """What the fake services make of it."""
    request = generator_pb2.GenerateRequest(seeds=[seed], truncation_psi=0.7)
    answer = FakeServices()._generator(request.SerializeToString())
    return score_of(answer.faces[0].image.data)


async def layout_of(services: FakeServices, seed: int) -> bytes:
    """The class map that the services make of a seed."""
    client = services.client()
    faces = await client.generate(generator_pb2.GenerateRequest(seeds=[seed]))
    answer = await client.segment(
        segmentation_pb2.SegmentRequest(images=[face.image for face in faces.faces])
    )
    return answer.layouts[0].data


@pytest.mark.parametrize("change", [-1, 1])
async def test_latents_of_another_number_of_faces_are_a_fault(change: int, build: Build) -> None:
    output = (await build(SPEC)).output
    path = output / "latents.safetensors"
    latents = load_file(path)
    rows = len(latents["z"])
    for name, array in latents.items():
        latents[name] = np.resize(array, (rows + change, array.shape[1]))
    save_file(latents, path)
    sign_again(output)

    (fault,) = verify(output)

    assert fault.path == "latents.safetensors"
    assert str(rows) in fault.problem and str(rows + change) in fault.problem


async def test_a_build_that_was_ended_by_a_moved_threshold_makes_the_same_dataset(
    build: Build, tmp_path: Path
) -> None:
    expected = files_of((await build(SPEC)).output)
    (tmp_path / "out").rename(tmp_path / "undisturbed")

    def move(answer: Message) -> None:
        if isinstance(answer, quality_pb2.ClassifyResponse):
            answer.threshold = 0.25

    with pytest.raises(FailedPrecondition):
        await build(SPEC, services=Liar(change=move))
    assert files_of((await build(SPEC)).output) == expected
