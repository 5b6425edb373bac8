"""Files that commands are given: one bad file costs that file, what is read is never written, and a folder,
standard input or a pattern is understood."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests import samples
from tests.commands import Done
from tests.commands import faceloom as faceloom_with

from faceloom.cli.files import new_file
from faceloom.cli.inputs import InputFile
from faceloom.clients.client import Faceloom
from faceloom.core.errors import Unavailable
from faceloom.quality.v1 import quality_pb2
from faceloom.store.profile import model_store

HERE = ("--engine", "inprocess")


def faceloom(*arguments: object) -> Done:
    return faceloom_with(*arguments, *HERE, store=model_store())


def save(file: Path, number: int = 0, **options: Any) -> Path:
    Image.fromarray(samples.face(number)).save(file, **options)
    return file


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Six faces; the third one is cut off, the fifth is not there."""
    found = [save(tmp_path / f"face{number}.png", number) for number in range(6)]
    found[2].write_bytes(found[2].read_bytes()[:-3000])
    found[4].unlink()
    return found


@pytest.fixture
def good(files: list[Path]) -> list[Path]:
    return [files[number] for number in (0, 1, 3, 5)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_bad_file_costs_only_itself_its_score(files: list[Path], good: list[Path]) -> None:
    done = faceloom("classify", *files)

    assert done.code == 1
    assert [line.split()[-1] for line in done.out.splitlines()] == [*map(str, good)]
    broken, missing, counted = done.err.splitlines()
    assert broken.startswith(f"faceloom: {files[2]}: broken PNG: ")
    assert missing == f"faceloom: {files[4]}: No such file or directory"
    assert counted == "faceloom: 2 of 6 files failed"


@pytest.mark.parametrize(
    "command", [("classify",), ("translate", "--task", "face", "--out", "out")]
)
def test_a_file_that_may_not_be_read_costs_only_itself(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    locked, face = save(tmp_path / "locked.png"), save(tmp_path / "face.png", 1)
    locked.chmod(0)
    # Root reads everything, unless it is without these.
    lacking = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    done = subprocess.run(
        [
            *(lacking if os.geteuid() == 0 else ()),
            *(sys.executable, "-m", "faceloom.cli.main"),
            *(*command, str(locked), str(face), *HERE),
        ],
        cwd=tmp_path,
        env={**os.environ, "FACELOOM_MODEL_STORE": str(model_store())},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout.count("face.png")) == (1, 1)
    assert done.stderr == (
        f"faceloom: {locked}: Permission denied\nfaceloom: 1 of 2 files failed\n"
    )


def test_a_bad_file_is_an_entry_in_json(files: list[Path], good: list[Path]) -> None:
    done = faceloom("classify", *files, "--json")

    assert done.code == 1
    result = json.loads(done.out)
    assert [score["file"] for score in result["qualities"]] == [*map(str, good)]
    assert {error["file"] for error in result["errors"]} == {str(files[2]), str(files[4])}
    assert all(error["file"] in error["error"] for error in result["errors"])
    assert result["error"] == "2 of 6 files failed"


@pytest.mark.parametrize("command", ["sketch", "segment", "translate"])
def test_a_bad_file_costs_only_itself_its_result(
    files: list[Path], good: list[Path], tmp_path: Path, command: str
) -> None:
    told = ["--task", "face"] if command == "translate" else []

    done = faceloom(command, *files, *told, "--out", tmp_path / "out")

    assert done.code == 1
    results = [str(tmp_path / "out" / file.name) for file in good]
    assert done.out.splitlines() == results
    assert sorted(map(str, (tmp_path / "out").iterdir())) == results
    assert "2 of 6 files failed" in done.err


def test_the_first_bad_file_ends_a_command_that_is_told_so(
    files: list[Path], tmp_path: Path
) -> None:
    told = ["--task", "face", "--fail-fast", "--json", "--out", tmp_path / "out"]
    done = faceloom("translate", *files, *told)

    assert done.code == 1
    assert done.err.count("\n") == 1
    assert done.err.endswith("; 2 of 6 done, 4 not\n")
    result = json.loads(done.out)
    assert result["files"] == [str(tmp_path / "out" / file.name) for file in files[:2]]
    assert [error["file"] for error in result["errors"]] == [str(files[2])]


def test_pictures_are_read_when_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Memory does not grow with their number: a call's worth of them is read before each call."""
    many = [save(tmp_path / f"face{number:02d}.png") for number in range(40)]
    read: list[InputFile] = []
    read_by_then: list[int] = []

    def noted(source: InputFile) -> bytes:
        read.append(source)
        return source.file.read_bytes() if source.file else b""

    async def classify(
        client: Faceloom, request: quality_pb2.ClassifyRequest
    ) -> quality_pb2.ClassifyResponse:
        read_by_then.append(len(read))
        scores = [quality_pb2.Quality(score=0.5) for _ in request.images]
        return quality_pb2.ClassifyResponse(qualities=scores)

    monkeypatch.setattr(InputFile, "read", noted)
    monkeypatch.setattr(Faceloom, "classify", classify)
    done = faceloom("classify", *many)

    assert done.code == 0, done.err
    assert read_by_then == [*range(4, 41, 4)]


@pytest.mark.parametrize("way", ["folder", "dots", "link to the folder", "link", "hard link"])
@pytest.mark.parametrize("command", ["sketch", "segment", "translate"])
def test_results_are_never_written_over_inputs(
    good: list[Path], tmp_path: Path, command: str, way: str
) -> None:
    out = tmp_path
    if way == "dots":
        (tmp_path / "sub").mkdir()
        out = tmp_path / "sub" / ".."
    elif way == "link to the folder":
        out = tmp_path / "sub"
        out.symlink_to(tmp_path)
    elif way in ("link", "hard link"):
        out = tmp_path / "sub"
        out.mkdir()
        link = out / good[1].name
        link.symlink_to(good[1]) if way == "link" else os.link(good[1], link)
    before = contents(tmp_path)
    told = ["--task", "face"] if command == "translate" else []

    done = faceloom(command, *good, *told, "--out", out)

    assert done.code == 2
    assert "would be overwritten; give another --out" in done.err
    assert done.err.count("\n") == 1
    assert contents(tmp_path) == before


def test_variants_are_never_written_over_inputs(tmp_path: Path) -> None:
    files = [save(tmp_path / name) for name in ("a.jpg", "a-1.png")]
    before = contents(tmp_path)

    told = ["--task", "face", "--variants", 2, "--style-seed", 1, "--out", tmp_path]
    done = faceloom("translate", *files, *told)

    assert (done.code, done.out) == (2, "")
    assert done.err == f"faceloom: {files[1]} would be overwritten; give another --out\n"
    assert contents(tmp_path) == before


def test_a_reference_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    face, reference = save(tmp_path / "in" / "face.png"), save(tmp_path / "face.png", 1)
    before = contents(tmp_path)

    told = ["--task", "face", "--style-reference", reference, "--out", tmp_path]
    done = faceloom("translate", face, *told)

    assert done.code == 2
    assert f"{reference} would be overwritten" in done.err
    assert contents(tmp_path) == before


def test_raw_outputs_are_never_written_over_inputs_or_results(tmp_path: Path) -> None:
    latents = tmp_path / "latents.npy"
    np.save(latents, np.zeros((1, 100), np.float32))
    face = save(tmp_path / "face.png")
    before = contents(tmp_path)
    out = tmp_path / "out"

    made = faceloom("generate", "--latents", latents, "--raw", latents, "--out", out)
    scored = faceloom("classify", face, "--raw", face)
    drawn = faceloom("sketch", face, "--out", out, "--raw", out / "face.png")

    assert (made.code, scored.code, drawn.code) == (2, 2, 2)
    assert made.err == f"faceloom: {latents} would be overwritten; give another --raw\n"
    assert scored.err == f"faceloom: {face} would be overwritten; give another --raw\n"
    assert "are written as a .npy file" in drawn.err
    assert contents(tmp_path) == before


def test_results_of_a_run_before_are_replaced(tmp_path: Path) -> None:
    face, out = save(tmp_path / "face.png"), tmp_path / "out"
    out.mkdir()
    (out / "face.png").write_bytes(b"of a run before")
    (out / ".new-0123456789abcdef").write_bytes(b"of a run that was killed")

    done = faceloom("sketch", face, "--out", out)

    assert done.code == 0, done.err
    with Image.open(out / "face.png") as drawing:
        assert drawing.mode == "L"
    assert len([*out.iterdir()]) == 2


def test_the_kind_of_a_file_is_its_content(tmp_path: Path) -> None:
    jpeg, png = save(tmp_path / "a.png", format="JPEG"), save(tmp_path / "b.JPG", format="PNG")
    named = [save(tmp_path / name, format="JPEG") for name in ("c.jfif", "d", "e.photo")]
    heic = tmp_path / "f.jpg"
    heic.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")

    done = faceloom("classify", jpeg, png, *named, heic)

    assert done.code == 1
    assert len(done.out.splitlines()) == 5
    assert f"{heic} is a HEIC picture; give PNG, JPEG or WebP files\n" in done.err


def test_metadata_that_cannot_be_read_is_not_spoken_of(tmp_path: Path) -> None:
    odd = save(tmp_path / "odd.jpg", exif=b"Exif\0\0MM\0*\0\0\0\xff")

    done = faceloom("classify", odd)

    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(f"{odd}\n")


def test_a_folder_is_its_pictures(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c"):
        save(tmp_path / name, format="PNG")
    (tmp_path / "metadata.jsonl").write_text("{}\n")
    (tmp_path / ".DS_Store").write_bytes(bytes(10))
    (tmp_path / "empty.webp").write_bytes(b"")
    (tmp_path / "inner").mkdir()
    save(tmp_path / "inner" / "d.png")
    # Whoever opened it would wait for a writer.
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("nowhere")

    done = faceloom("classify", tmp_path)

    assert [line.split()[-1] for line in done.out.splitlines()] == [
        str(tmp_path / name) for name in ("a.JPG", "b.png", "c")
    ]
    assert f"{tmp_path / 'empty.webp'} is an empty file" in done.err
    assert f"{tmp_path / 'gone.png'}: No such file" in done.err
    assert done.code == 1


def test_standard_input_is_one_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = save(tmp_path / "face.webp", format="WEBP").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    done = faceloom("sketch", "-", "--out", tmp_path / "out")

    assert done.code == 0, done.err
    assert done.out == f"{tmp_path / 'out' / 'stdin.png'}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "nothing.png"],
        ["sketch", "a.png", "--out"],
        ["generate", "--seeds", "5-3", "--out", "x"],
        ["classify", "a.png", "--engine", "nothing"],
    ],
)
def test_json_is_one_object_whatever_is_wrong(arguments: list[str]) -> None:
    done = faceloom_with(*arguments[:1], "--json", *arguments[1:], store=model_store())

    assert done.code == 2
    assert json.loads(done.out)["error"]
    assert done.err


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (Unavailable("nobody answers"), 1, "nobody answers"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_ends_a_command_leaves_what_was_done(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    end: BaseException,
    code: int,
    says: str,
    as_json: bool,
) -> None:
    many = [save(tmp_path / f"face{number:02d}.png") for number in range(10)]
    calls: list[int] = []

    async def classify(
        client: Faceloom, request: quality_pb2.ClassifyRequest
    ) -> quality_pb2.ClassifyResponse:
        calls.append(len(request.images))
        if len(calls) == 2:
            raise end
        scores = [quality_pb2.Quality(score=0.5) for _ in request.images]
        return quality_pb2.ClassifyResponse(qualities=scores)

    monkeypatch.setattr(Faceloom, "classify", classify)
    done = faceloom("classify", *many, *(["--json"] if as_json else []))

    problem = f"{says}; 4 of 10 done, 6 not"
    assert (done.code, calls) == (code, [4, 4])
    assert done.err == f"faceloom: {problem}\n"
    if as_json:
        result = json.loads(done.out)
        assert [score["file"] for score in result["qualities"]] == [*map(str, many[:4])]
        assert result["error"] == problem
    else:
        assert len(done.out.splitlines()) == 4


def test_two_commands_can_write_one_file(tmp_path: Path) -> None:
    target = tmp_path / "face.png"

    with new_file(target) as first, new_file(target) as second:
        first.write(b"first")
        second.write(b"second")

    assert target.read_bytes() == b"first"
    assert [*tmp_path.iterdir()] == [target]


def test_training_data_is_never_written_over(tmp_path: Path) -> None:
    faces = tmp_path / "faces.npy"
    np.save(faces, np.zeros((1, 64, 64, 3), np.uint8))
    before = contents(tmp_path)

    told = ["--faces", faces, "--mesh", tmp_path / "mesh.npz", "--out", faces]
    done = faceloom_with("train", "layouts", *told, store=model_store())

    assert (done.code, contents(tmp_path)) == (2, before)
    assert done.err == f"faceloom: {faces} would be overwritten; give another --out\n"


@pytest.mark.parametrize("command", [["report"], ["label", "export", "--dataset"]])
def test_the_files_of_a_dataset_are_never_written_over(tmp_path: Path, command: list[str]) -> None:
    metadata = tmp_path / "metadata.jsonl"
    metadata.write_text("{}\n")

    done = faceloom_with(*command, tmp_path, "--out", metadata, store=model_store())

    assert (done.code, metadata.read_text()) == (2, "{}\n")
    assert done.err == (
        f"faceloom: {metadata} of the dataset would be overwritten; give another --out\n"
    )


def test_what_a_build_printed_and_labels_are_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    timings = tmp_path / "build.json"
    timings.write_text("{}\n")
    before = contents(tmp_path)

    told = [tmp_path / "dataset", "--timings", timings, "--out", timings]
    reported = faceloom_with("report", *told, store=model_store())
    told = ["--dataset", tmp_path / "dataset", "--labels", f"sqlite:///{timings}", "--out", timings]
    exported = faceloom_with("label", "export", *told, store=model_store())

    assert (reported.code, exported.code, contents(tmp_path)) == (2, 2, before)
    for done in (reported, exported):
        assert done.err == f"faceloom: {timings} would be overwritten; give another --out\n"
