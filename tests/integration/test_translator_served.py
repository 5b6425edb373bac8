"""The translator behind a front, and as a command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image as PilImage
from tests import rpc, samples
from tests.translators import (
    asked,
    bytes_of,
    labels8,
    layout,
    loaded,
    map_of,
    results,
    translate,
    write_model,
)

from faceloom.common.v1 import image_pb2
from faceloom.layouts.labels import CELEBA_TO_BISENET
from faceloom.runtime.engine import InProcessEngine, warm_up
from faceloom.runtime.front import Front
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import service
from faceloom.store.model import open_model
from faceloom.translator.v1 import translator_pb2 as pb


@pytest.mark.parametrize("tasks", [("sketch",), ("segmentation",), ("face",), ("sketch", "face")])
async def test_a_model_warms_up_with_what_it_can_do(tmp_path: Path, tasks: tuple[str, ...]) -> None:
    engine = InProcessEngine(loaded(write_model(tmp_path, tasks)))

    info = await warm_up(engine)
    await engine.close()

    assert (info.name, info.device) == ("tiny", "cpu")
    assert info.digest == open_model(tmp_path).weights.sha256


async def test_grpc_gives_the_same_bytes_and_errors(translator: AnyHandler) -> None:
    request = asked(variants=2, style_seed=5, return_latents=True)
    (direct,) = results(translator, request)

    front = Front(service("translator"), InProcessEngine(translator), "127.0.0.1:0")
    await front.start()
    async with rpc.connect(front.port) as channel:
        over_grpc = await rpc.call(channel, "translator", request)
        bad = await rpc.refusal(rpc.call(channel, "translator", asked(variants=2)))
    await front.stop(grace=1)

    assert pb.TranslateResponse.FromString(over_grpc) == direct
    assert (bad.code, bad.field) == ("INVALID_ARGUMENT", "variants")


def faceloom(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`faceloom translate --engine inprocess` with the model of these tests."""
    command = [sys.executable, "-m", "faceloom.cli.main", "translate", "--engine", "inprocess"]
    return subprocess.run(
        [*command, *arguments],
        capture_output=True, text=True, timeout=120, check=False,
        env={"FACELOOM_MODEL_STORE": str(folder.parents[1]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_the_command_writes_one_file_per_variant(
    translator: AnyHandler, translator_folder: Path, tmp_path: Path
) -> None:
    for number in (1, 2):
        PilImage.fromarray(samples.page(number)).save(tmp_path / f"d{number}.png")
    files = [str(tmp_path / f"d{number}.png") for number in (1, 2)]
    out = tmp_path / "out"

    done = faceloom(
        translator_folder, *files, "--task", "sketch", "--variants", "3", "--style-seed", "5",
        "--psi", "0.5", "--alpha", "0.9", "--out", str(out), "--json",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    names = [f"d{number}-{k}.png" for number in (1, 2) for k in range(3)]
    assert json.loads(done.stdout)["files"] == [str(out / name) for name in names]
    assert sorted(path.name for path in out.iterdir()) == names
    wanted = translate(
        translator, sketch=samples.raw(samples.page(2)), variants=3, style_seed=5, truncation_psi=0.5,
        alpha=0.9, output_format=image_pb2.IMAGE_FORMAT_PNG,
    )  # fmt: skip
    assert [(out / f"d2-{k}.png").read_bytes() for k in range(3)] == bytes_of(wanted)


def test_the_command_takes_layouts_of_either_order_and_a_reference(
    translator: AnyHandler, translator_folder: Path, tmp_path: Path
) -> None:
    PilImage.fromarray(CELEBA_TO_BISENET[layout()]).save(tmp_path / "map.png")
    PilImage.fromarray(samples.face(4)).save(tmp_path / "face.png")

    done = faceloom(
        translator_folder, str(tmp_path / "map.png"), "--task", "segmentation", "--label-order", "bisenet",
        "--style-reference", str(tmp_path / "face.png"), "--out", str(tmp_path / "out"),
    )  # fmt: skip

    assert done.stdout == f"{tmp_path / 'out' / 'map.png'}\n", done.stderr
    wanted = translate(
        translator,
        layout=map_of(labels8(layout())),
        style_reference=samples.raw(samples.face(4)),
        output_format=image_pb2.IMAGE_FORMAT_PNG,
    )
    assert [(tmp_path / "out" / "map.png").read_bytes()] == bytes_of(wanted)


def test_a_reference_that_cannot_be_read_is_named_and_leaves_nothing(
    translator_folder: Path, tmp_path: Path
) -> None:
    drawing, face = tmp_path / "drawing.png", tmp_path / "face.png"
    PilImage.fromarray(samples.page()).save(drawing)
    face.write_text("just a text")

    done = faceloom(
        translator_folder, str(drawing), "--task", "sketch", "--style-reference", str(face),
        "--out", str(tmp_path / "out"),
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr == f"faceloom: {face} is a text file; give PNG, JPEG or WebP files\n"
    assert not (tmp_path / "out").exists()
