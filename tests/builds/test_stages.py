"""A build names its stages, and a stage is one row: proved with one that Faceloom does not have."""

import importlib
import json
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc_tools
import numpy as np
import pytest
from grpc_tools import protoc
from PIL import Image
from tests.builds.fake_services import FakeServices
from tests.builds.object_store import ObjectStore

from faceloom import datasets
from faceloom.builds import capacity, stages
from faceloom.builds.fetch import fetch
from faceloom.builds.run import run_build
from faceloom.builds.stages import StageCall
from faceloom.builds.verification import verify
from faceloom.clients.client import Faceloom
from faceloom.core.errors import InvalidArgument
from faceloom.datasets.spec import BuildSpec
from faceloom.datasets.stage import Kind, Stage
from faceloom.runtime.channel import ChannelCaller
from faceloom.runtime.engine import InProcessEngine
from faceloom.runtime.front import Front
from faceloom.runtime.service import Service, services

LANDMARKS = Path(__file__).parent / "landmarks"
PROTOS = Path(__file__).parents[2] / "protos"
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


class WithLandmarks(FakeServices):
    """Fake services, and a real one for what they do not know."""

    landmarks: ChannelCaller

    async def call(self, service: str, method: str, request: bytes, timeout: float) -> bytes:
        if service != "landmarks":
            return await super().call(service, method, request, timeout)
        self.calls[service] += 1
        return await self.landmarks.call(service, method, request, timeout)


@pytest.fixture
async def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WithLandmarks]:
    """A running service that finds landmarks, and the row that makes a stage of it."""
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    includes = [f"-I{root}" for root in (LANDMARKS, PROTOS, WELL_KNOWN)]
    assert protoc.main(["", *includes, f"--python_out={stubs}", "landmarks.proto"]) == 0
    monkeypatch.syspath_prepend(str(stubs))
    pb: Any = importlib.import_module("landmarks_pb2")
    facts = tomllib.loads((LANDMARKS / "service.toml").read_text())
    monkeypatch.setitem(services(), "landmarks", Service(name="landmarks", **facts))
    row = StageCall(
        Stage("landmarks", "landmarks", (Kind("landmarks", "landmarks", ".json", "json"),)),
        ("JSON: where the darkest and the lightest value are",),
        lambda faces, model: pb.FindLandmarksRequest(
            images=stages.images(faces), model_version=model
        ),
        lambda response: (
            ({"darkest": one.darkest, "lightest": one.lightest},) for one in response.faces
        ),
    )
    monkeypatch.setitem(stages.STAGES, "landmarks", row)
    handler = services()["landmarks"].new_handler()
    handler.load(tmp_path, "cpu")
    front = Front(services()["landmarks"], InProcessEngine(handler), "127.0.0.1:0")
    await front.start()
    made = WithLandmarks()
    made.landmarks = ChannelCaller({"landmarks": f"127.0.0.1:{front.port}"})
    yield made
    await made.landmarks.close()
    await front.stop(grace=0)


def rows(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metadata.jsonl").read_text().splitlines()]


async def test_a_stage_of_another_service_that_writes_json(
    toy: WithLandmarks, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    spec = BuildSpec(candidates=70, stages=("sketch", "landmarks"))
    result = await run_build(spec, output, Faceloom(toy))

    assert verify(output) == []
    assert toy.calls["segmentation"] == 0
    dataset = datasets.open(output)
    faces = list(dataset.faces())
    assert len(faces) == result.summary.accepted > 20
    for face in faces:
        with Image.open(output / face.files["images"]) as picture:
            values = np.asarray(picture).reshape(-1).tolist()
        found = json.loads(dataset.picture(face, "landmarks"))
        assert found == {
            "face": face.id,
            "darkest": values.index(min(values)),
            "lightest": values.index(max(values)),
        }
    (first, *_) = rows(output)
    assert list(first) == [
        "file_name", "sketch_file_name", "landmarks_file_name", "id", "ordinal", "seed",
        "truncation_psi", "quality", "split", "sha256", "sketch_sha256", "landmarks_sha256",
        "pixels_sha256", "sketch_pixels_sha256",
    ]  # fmt: skip
    assert first["landmarks_file_name"] == f"landmarks/{first['ordinal']:07d}.json"
    card = (output / "README.md").read_text()
    assert "# Synthetic faces with sketches and landmarks" in card
    assert "| `landmarks/` | JSON: where the darkest and the lightest value are |" in card
    assert "| landmarks | toy | 1 | cpu, AVX2 | MIT |" in card
    assert not (output / "labels.json").exists()
    assert result.progress.seconds.keys() >= {"generator", "quality", "sketch", "landmarks"}


async def test_such_a_dataset_grows_and_travels(
    toy: WithLandmarks, tmp_path: Path, store: ObjectStore
) -> None:
    place, folder, once = store.new_place(), tmp_path / "here", tmp_path / "once"
    names = ("landmarks", "segmentation")
    for count in (70, 200):
        await run_build(BuildSpec(candidates=count, stages=names), place, Faceloom(toy))
    assert verify(place) == []
    fetch(place, folder)
    await run_build(BuildSpec(candidates=200, stages=names), once, Faceloom(toy))

    assert (folder / "SHA256SUMS").read_bytes() == (once / "SHA256SUMS").read_bytes()
    assert verify(folder) == []
    told = [
        (face.id, files["landmarks"]) for face, files in datasets.open(place).pictures("landmarks")
    ]
    here = datasets.open(folder)
    assert told == [(face.id, here.picture(face, "landmarks")) for face in here.faces()]
    (folder / rows(folder)[0]["landmarks_file_name"]).write_text("{}")
    assert next(fault.problem for fault in verify(folder)) == "changed"


async def test_no_stages_at_all(tmp_path: Path) -> None:
    services = FakeServices()
    result = await run_build(BuildSpec(70, stages=()), tmp_path / "out", services.client())

    assert verify(tmp_path / "out") == []
    assert services.calls.keys() == {"generator", "quality"}
    assert result.summary.accepted == len(rows(tmp_path / "out")) > 20
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {
        ".build",
        "images",
    }


async def test_learned_and_classical_sketches_side_by_side(tmp_path: Path) -> None:
    output = tmp_path / "out"
    spec = BuildSpec(70, stages=("sketch", "sketch:classical"))
    await run_build(spec, output, FakeServices().client())

    assert verify(output) == []
    for row in rows(output):
        learned, classical = (
            np.asarray(Image.open(output / row[column]))
            for column in ("sketch_file_name", "classical_sketch_file_name")
        )
        # What the fake service does for each of the two styles.
        assert (learned.astype(int) + classical == 255).all()


async def test_a_stage_is_fed_with_what_another_made(
    toy: WithLandmarks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pb: Any = importlib.import_module("landmarks_pb2")
    seen: list[tuple[int, ...]] = []

    def request(faces: Any, model: str) -> Any:
        seen.extend(face.made["layouts"].shape for face in faces)
        return pb.FindLandmarksRequest(images=stages.images(faces), model_version=model)

    fed = StageCall(
        stages.STAGES["landmarks"].stage,
        ("JSON",),
        request,
        stages.STAGES["landmarks"].answers,
        needs=("layouts",),
    )
    monkeypatch.setitem(stages.STAGES, "landmarks", fed)
    with pytest.raises(InvalidArgument, match="needs layouts: name the stage that makes them"):
        stages.stage_calls(("landmarks", "segmentation"))
    spec = BuildSpec(8, stages=("segmentation", "landmarks"))
    result = await run_build(spec, tmp_path / "out", Faceloom(toy))

    assert seen == [(8, 8)] * (result.summary.accepted + 1)


def test_what_a_build_takes_follows_from_its_stages() -> None:
    fleet = capacity.Fleet(1, 0, 4, 5)

    def sizing(*names: str) -> capacity.Sizing:
        return capacity.size(BuildSpec(640, stages=names), 2, capacity.Rates(), fleet)

    none, one, two = sizing(), sizing("sketch"), sizing("sketch", "sketch:classical")
    assert [one.dataset_files for one in (none, one, two)] == [38, 2 * 38, 3 * 38]
    # 10 batches and a probe for each of 2 workers.
    assert [one.service_calls for one in (none, one, two)] == [2 * 12, 3 * 12, 4 * 12]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("sketch", "hair"), f"no stage 'hair'; there are {', '.join(stages.STAGES)}"),
        (("sketch", "sketch"), "the stage sketch is named twice"),
    ],
)
def test_stages_that_cannot_be(names: tuple[str, ...], why: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        stages.stage_calls(names)
    assert refused.value.message == why
