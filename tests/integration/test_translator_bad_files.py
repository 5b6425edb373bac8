"""Bad files as a person meets them: one line that names the file, and nothing left behind."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from tests import samples
from tests.translator_data import with_edited_sums
from tests.translators import bytes_of, layout, translate

from faceloom.cli.main import run
from faceloom.common.v1 import image_pb2
from faceloom.runtime.handler import AnyHandler

Faceloom = Callable[..., tuple[int, str]]


@pytest.fixture
def faceloom(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Faceloom]:
    """The console script in this process, which has loaded torch already: exit code, standard error."""
    # Does not come with the tests' environment, and is not looked at before the dataset.
    monkeypatch.setattr("faceloom.training.features.LiteFeatures", lambda: None)
    threads = torch.get_num_threads()

    def command(store: Path, *arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setenv("FACELOOM_MODEL_STORE", str(store))
        monkeypatch.setattr(sys, "argv", ["faceloom", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run()
        return int(end.value.code or 0), capfd.readouterr().err

    yield command
    torch.set_num_threads(threads)


def picture(path: Path, pixels: Any, mode: str | None = None) -> Path:
    """The file, written."""
    image = PilImage.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def text(path: Path) -> Path:
    path.write_text("just a text\n")
    return path


def id_200(path: Path) -> Path:
    ids = layout()
    ids[30, 20] = 200
    return picture(path, ids)


# Task, file, what makes it, and what is said.
PICTURES: dict[str, tuple[str, str, Callable[[Path], Path], str]] = {
    "a text as a drawing": ("sketch", "a.png", text, "is a text file"),
    "a text as a JPEG": ("sketch", "a.jpg", text, "is a text file"),
    "a text as a label map": ("segmentation", "a.png", text, "is a text file"),
    "an all-white sketch": (
        "sketch", "a.png", lambda path: picture(path, np.full((64, 64), 255, np.uint8)),
        "the sketch is empty",
    ),
    "id 200": ("segmentation", "a.png", id_200, "pixel (20, 30) is 200; ids are 0 to 18"),
    "colours as labels": (
        "segmentation", "a.png", lambda path: picture(path, samples.face(1)),
        "is no colour of CelebAMask-HQ's",
    ),
    "a CMYK JPEG as labels": (
        "segmentation", "a.jpg", lambda path: picture(path, layout(), "CMYK"),
        "a JPEG mixes the classes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PICTURES)
def test_a_bad_picture_is_one_line_and_leaves_nothing(
    faceloom: Faceloom, translator_folder: Path, tmp_path: Path, case: str
) -> None:
    task, name, write, says = PICTURES[case]
    file = write(tmp_path / name)

    code, said = faceloom(
        translator_folder.parents[1], "translate", file, "--task", task,
        "--engine", "inprocess", "--out", tmp_path / "out",
    )  # fmt: skip

    assert code in (1, 2)
    assert said.startswith(f"faceloom: {file}") and said.count("\n") == 1
    assert says in said
    assert list(tmp_path.iterdir()) == [file]


def test_a_deep_and_a_cmyk_drawing_are_translated(
    faceloom: Faceloom, translator: AnyHandler, translator_folder: Path, tmp_path: Path
) -> None:
    page, out = samples.page(), tmp_path / "out"
    deep = picture(tmp_path / "deep.png", page.astype(np.uint16) * 257)
    cmyk = picture(tmp_path / "cmyk.jpg", page, "CMYK")

    code, said = faceloom(
        translator_folder.parents[1], "translate", deep, cmyk, "--task", "sketch",
        "--engine", "inprocess", "--out", out,
    )  # fmt: skip

    assert (code, said) == (0, "")
    sent = image_pb2.Image(format=image_pb2.IMAGE_FORMAT_JPEG, data=cmyk.read_bytes())
    for file, sketch in ((out / "deep.png", samples.raw(page)), (out / "cmyk.png", sent)):
        wanted = translate(translator, sketch=sketch, output_format="IMAGE_FORMAT_PNG")
        assert [file.read_bytes()] == bytes_of(wanted)


# What the service refuses is said of the option, not of the file.
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--style-seed", "1", "--variants", "17"], "--variants: variants is 17; give 1 to 16"),
        (["--style-seed", "1", "--psi", "nan"], "--psi: truncation_psi is nan; give 0 to 1.5"),
        (["--style-seed", "1", "--alpha", "2"], "--alpha: alpha is 2.0; give 0 to 1"),
    ],
)
def test_a_bad_option_is_one_line_and_leaves_nothing(
    faceloom: Faceloom, translator_folder: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    file = picture(tmp_path / "a.png", samples.page())

    code, said = faceloom(
        translator_folder.parents[1], "translate", file, "--task", "sketch", *options,
        "--engine", "inprocess", "--out", tmp_path / "out",
    )  # fmt: skip

    assert (code, said) == (2, f"faceloom: {says}\n")
    assert list(tmp_path.iterdir()) == [file]


def test_faces_of_the_files_around_a_bad_one_are_made(
    faceloom: Faceloom, translator: AnyHandler, translator_folder: Path, tmp_path: Path
) -> None:
    good = picture(tmp_path / "1.png", samples.page(1))
    bad = text(tmp_path / "2.png")
    after = picture(tmp_path / "3.png", samples.page(3))
    out = tmp_path / "out"

    code, said = faceloom(
        translator_folder.parents[1], "translate", good, bad, after, "--task", "sketch",
        "--variants", "2", "--style-seed", "1", "--engine", "inprocess", "--out", out,
    )  # fmt: skip

    assert code == 1 and f"{bad} is a text file" in said
    for number in (1, 3):
        wanted = translate(
            translator, sketch=samples.raw(samples.page(number)), variants=2, style_seed=1,
            output_format="IMAGE_FORMAT_PNG",
        )  # fmt: skip
        made = [out / f"{number}-{k}.png" for k in (0, 1)]
        assert [file.read_bytes() for file in made] == bytes_of(wanted)
    assert len(list(out.iterdir())) == 4


@pytest.mark.parametrize("occupied", ["out", "out/a.png"])
def test_a_place_that_cannot_be_written_to_is_one_line_and_stays_as_it_is(
    faceloom: Faceloom, translator_folder: Path, tmp_path: Path, occupied: str
) -> None:
    file = picture(tmp_path / "a.png", samples.page())
    place = tmp_path / occupied
    if occupied == "out":
        place.write_text("mine")
    else:
        place.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))

    code, said = faceloom(
        translator_folder.parents[1], "translate", file, "--task", "sketch",
        "--engine", "inprocess", "--out", tmp_path / "out",
    )  # fmt: skip

    assert code == (2 if occupied == "out" else 1)
    assert str(place) in said and said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_dataset_that_fails_verification_is_one_line_and_leaves_nothing(
    faceloom: Faceloom, training_store: Path, undisturbed: Path, tmp_path: Path, command: str
) -> None:
    dataset = with_edited_sums(training_store / "dataset", tmp_path / "dataset")
    lpips = ("--lpips-weights", training_store / "lpips.pth", "--device", "cpu")
    model = ("--model", undisturbed / "model")

    code, said = faceloom(
        training_store / "store", command, "translator", "--task", "sketch", "--dataset", dataset,
        "--out", tmp_path / "out", *(lpips if command == "train" else model),
    )  # fmt: skip

    assert code == 2
    assert said.startswith(f"faceloom: {dataset} fails verification: ") and said.count("\n") == 1
    assert "SHA256SUMS" in said and "faceloom verify" in said
    assert list(tmp_path.iterdir()) == [dataset]


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_the_run_of_another_task_is_one_line_and_stays_as_it_is(
    faceloom: Faceloom, training_store: Path, undisturbed: Path, tmp_path: Path, command: str
) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}

    lpips = ("--lpips-weights", training_store / "lpips.pth", "--device", "cpu")
    places = {
        "train": ("--out", undisturbed, *lpips),
        "evaluate": ("--model", undisturbed / "model", "--out", tmp_path / "out"),
    }
    before = state()

    code, said = faceloom(
        training_store / "store", command, "translator", "--task", "segmentation",
        "--dataset", training_store / "dataset", *places[command],
    )  # fmt: skip

    assert code == 2
    assert said.startswith(f"faceloom: {undisturbed}") and said.count("\n") == 1
    assert "sketch" in said and "segmentation" in said
    assert state() == before and list(tmp_path.iterdir()) == []
