"""The reader of datasets: what it gives of real ones, and what it says of those that were tampered with."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tests.builds.fake_services import FakeServices, poison
from tests.builds.object_store import ObjectStore

from faceloom import datasets
from faceloom.builds.options import BuildOptions
from faceloom.builds.run import Result, run_build
from faceloom.core.errors import Internal, NotFound, UsageError
from faceloom.datasets.objects import Objects
from faceloom.datasets.spec import BuildSpec

Build = Callable[..., Awaitable[Result]]
KEPT = Path(__file__).parents[1] / "data" / "schema-1" / "dataset"
DOCS = Path(__file__).parents[2] / "docs" / "datasets.md"
COLUMNS = {
    "images": ("file_name", "sha256"),
    "sketches": ("sketch_file_name", "sketch_sha256"),
    "layouts": ("layout_file_name", "layout_sha256"),
}


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The kept dataset, to be tampered with."""
    return shutil.copytree(KEPT, tmp_path / "copy")


def rewrite(folder: Path, line: int = 0, **changes: Any) -> None:
    """Changes columns of a line of metadata.jsonl; those that become None go."""
    found = rows(folder, "metadata.jsonl")
    found[line] = {k: v for k, v in (found[line] | changes).items() if v is not None}
    text = "".join(f"{json.dumps(row)}\n" for row in found)
    (folder / "metadata.jsonl").write_text(text)


def test_the_kept_dataset_is_read_as_its_files_say() -> None:
    dataset = datasets.open(KEPT)

    assert vars(dataset.summary).items() >= json.loads((KEPT / "dataset.json").read_text()).items()
    assert dataset.recipe.spec.candidates == 160
    classes = json.loads((KEPT / "labels.json").read_text())["classes"]
    assert [
        {"id": one.id, "name": one.name, "color": list(one.color)} for one in dataset.classes
    ] == classes
    faces = list(dataset.faces())
    for face, row in zip(faces, rows(KEPT, "metadata.jsonl"), strict=True):
        assert face.to_json() == row
        assert (face.id, face.ordinal, face.seed) == (row["id"], row["ordinal"], row["seed"])
        assert (face.quality, face.split) == (row["quality"], row["split"])
        for kind, (path, digest) in COLUMNS.items():
            assert (face.files[kind], face.sha256[kind]) == (row[path], row[digest])
            assert dataset.path(face, kind) == KEPT / row[path]
            assert dataset.picture(face, kind) == (KEPT / row[path]).read_bytes()
    refused = [
        {"id": one.id, "ordinal": one.ordinal, "seed": one.seed, "quality": one.quality}
        for one in dataset.rejected()
    ]
    assert refused == rows(KEPT, "rejected.jsonl")
    assert not list(dataset.failed())


def test_pixels_are_colours_greys_and_class_ids() -> None:
    dataset = datasets.open(str(KEPT))
    for face in dataset.faces():
        for kind in COLUMNS:
            with Image.open(KEPT / face.files[kind]) as picture:
                assert np.array_equal(dataset.pixels(face, kind), np.asarray(picture))
        layout = dataset.pixels(face, "layouts")
        assert layout.ndim == 2 and layout.max() < len(dataset.classes)
        assert dataset.pixels(face).shape == (64, 64, 3)


def test_latents_are_rows_in_the_order_of_faces() -> None:
    expected = load_file(KEPT / "latents.safetensors")
    latents = datasets.open(KEPT).latents()

    assert isinstance(latents.z, np.memmap) and isinstance(latents.w, np.memmap)
    assert np.array_equal(latents.z, expected["z"])
    assert np.array_equal(latents.w, expected["w"])


def test_lists_are_read_without_torch_numpy_and_pillow() -> None:
    code = (
        "import sys; from faceloom import datasets;"
        f"dataset = datasets.open({str(KEPT)!r});"
        "faces = list(dataset.faces()); dataset.picture(faces[0]); dataset.recipe; dataset.classes;"
        "print({'torch', 'numpy', 'PIL', 'obstore', 'safetensors'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


async def test_a_build_is_read_and_a_failed_candidate_says_why(
    build: Build, tmp_path: Path
) -> None:
    bad = FakeServices(fault=poison("sketch", {3}, Internal("bug")), threshold=0.0)
    await build(BuildSpec(64), services=bad)
    dataset = datasets.open(tmp_path / "out")

    [failed] = dataset.failed()
    assert (failed.ordinal, failed.service) == (3, "sketch")
    assert [face.ordinal for face in dataset.faces()] == [n for n in range(64) if n != 3]
    read = {face.id: pictures for face, pictures in dataset.pictures("images", "layouts")}
    assert read == {
        face.id: {kind: (tmp_path / "out" / face.files[kind]).read_bytes() for kind in pictures}
        for face, pictures in ((face, ("images", "layouts")) for face in dataset.faces())
    }


async def test_a_dataset_without_faces(build: Build, tmp_path: Path) -> None:
    await build(BuildSpec(8), services=FakeServices(threshold=2.0))
    dataset = datasets.open(tmp_path / "out")

    assert not list(dataset.faces()) and len(list(dataset.rejected())) == 8
    assert [len(one) for one in dataset.latents()] == [0, 0]


@pytest.mark.parametrize("spec", [BuildSpec(candidates=300), BuildSpec(accepted=200, seed=3)])
async def test_a_bucket_is_read_as_a_folder_with_few_requests(
    spec: BuildSpec, store: ObjectStore, build: Build, tmp_path: Path
) -> None:
    await build(spec, BuildOptions(shards=3))
    place = store.new_place()
    await run_build(spec, place, FakeServices().client(), BuildOptions(shards=3))
    here, there = datasets.open(tmp_path / "out"), datasets.open(str(place))

    assert (there.summary, there.recipe, there.classes) == (here.summary, here.recipe, here.classes)
    faces = list(here.faces())
    assert list(there.faces()) == faces
    assert list(there.rejected()) == list(here.rejected())
    for one, other in zip(there.latents(), here.latents(), strict=True):
        assert np.array_equal(one, other)
    assert there.picture(faces[-1], "layouts") == here.picture(faces[-1], "layouts")
    assert there.picture(faces[0]) == here.picture(faces[0])
    store.requests()
    found = {face.ordinal: pictures for face, pictures in datasets.open(place).pictures(*COLUMNS)}
    # dataset.json, the list of faces, that of shards; a shard's manifest twice, its tar.
    assert store.requests().total() == 3 + 3 * 3
    assert found == {face.ordinal: pictures for face, pictures in here.pictures(*COLUMNS)}
    assert len(found) == len(faces)
    with pytest.raises(UsageError, match="faceloom dataset fetch"):
        there.path(faces[0])


async def test_a_damaged_tar_is_named(store: ObjectStore) -> None:
    place = store.new_place()
    await run_build(BuildSpec(candidates=64), place, FakeServices().client())
    objects = Objects(place)
    dataset = datasets.open(place)
    face, *_ = dataset.faces()
    [tar] = [path for path in objects.list() if path.endswith(".tar")]
    objects.write(tar, bytes(len(objects.read(tar))))
    with pytest.raises(datasets.DamagedDataset, match=r"images/.* is not the file that metadata"):
        dataset.picture(face)
    objects.delete([tar])
    with pytest.raises(datasets.DamagedDataset, match="it is missing"):
        dataset.picture(face)


def test_unknown_columns_are_kept_and_missing_stages_are_not_there(copy: Path) -> None:
    rewrite(copy, pixels_sha256="x", pose=[1, {"yaw": 2}])
    rewrite(copy, 1, sketch_file_name=None, sketch_sha256=None)
    first, second, *_ = datasets.open(copy).faces()

    assert first.extra == {"pixels_sha256": "x", "pose": [1, {"yaw": 2}]}
    assert second.files.keys() == second.sha256.keys() == {"images", "layouts"}
    with pytest.raises(NotFound, match="no sketches"):
        datasets.open(copy).picture(second, "sketches")


def test_a_seed_is_a_number_however_it_is_written(copy: Path) -> None:
    rewrite(copy, seed=str(2**64 - 1))
    face, *_ = datasets.open(copy).faces()
    assert face.seed == 2**64 - 1
    assert face.to_json()["seed"] == str(2**64 - 1)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no id": ({"id": None}, "id is missing"),
    "an id of two lines": ({"id": "a\nb"}, r"id is 'a\\nb', no name"),
    "a negative ordinal": ({"ordinal": -1}, "ordinal is -1, no whole number"),
    "an ordinal that is a truth": ({"ordinal": True}, "ordinal is True, no whole number"),
    "a seed of 65 bits": ({"seed": 2**64}, "seed is 18446744073709551616, no number of 64 bits"),
    "a seed of words": ({"seed": "seven"}, "seed is 'seven', no whole number"),
    "a score that is text": ({"quality": "0.5"}, "quality is '0.5', no number"),
    "a score that is none": ({"quality": float("nan")}, "NaN is no number"),
    "a huge score": ({"quality": 10**400}, "quality is 1000"),
    "a split that is a list": ({"split": ["train"]}, r"split is \['train'\], no text"),
    "a path upwards": ({"file_name": "../x.png"}, r"file_name is '../x.png', no path below"),
    "an absolute path": ({"sketch_file_name": "/x.png"}, "sketch_file_name is '/x.png', no path"),
    "a path with a zero": ({"file_name": "images/\0"}, "file_name is"),
    "half a character": ({"file_name": "\ud800"}, "file_name is"),
    "a sum of other letters": ({"layout_sha256": "G" * 64}, "layout_sha256 is 'GGG"),
    "a file without a sum": ({"layout_sha256": None}, "layout_sha256 is missing"),
    "a huge line": ({"note": "x" * 2**20}, "it is longer than 1,048,576 bytes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_line_is_one_line_with_its_place(copy: Path, case: str) -> None:
    changes, why = WRONG[case]
    rewrite(copy, 2, **changes)
    place = re.escape(f"{copy}/metadata.jsonl:3: ")

    faces = datasets.open(copy).faces()
    next(faces), next(faces)
    with pytest.raises(datasets.DamagedDataset, match=f"^{place}{why}") as caught:
        next(faces)
    assert str(caught.value).endswith(f"; faceloom verify {copy} names every fault")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "is no JSON"),
        (b"[]", "it is no JSON object"),
        (b"\xff", "it is no text"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"", "is no JSON"),
    ],
)
def test_what_is_no_line_of_a_list(copy: Path, line: bytes, why: str) -> None:
    (copy / "rejected.jsonl").write_bytes(line + b"\n")
    with pytest.raises(datasets.DamagedDataset, match=rf"rejected\.jsonl:1: .*{why}"):
        list(datasets.open(copy).rejected())


@pytest.mark.parametrize("name", ["dataset.json", "recipe.json", "labels.json"])
@pytest.mark.parametrize(
    "text", [b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"a": "%s"}' % (b"x" * 2**20)]
)
def test_a_document_that_is_none_is_named(copy: Path, name: str, text: bytes) -> None:
    (copy / name).write_bytes(text)
    with pytest.raises(datasets.DamagedDataset, match=re.escape(f"{copy}/{name}: ")) as caught:
        dataset = datasets.open(copy)
        _ = dataset.recipe, dataset.classes
    assert "\n" not in str(caught.value)


def test_what_is_not_finished_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "none", str(tmp_path / "file")):
        with pytest.raises(UsageError, match="is not a finished dataset"):
            datasets.open(place)


@pytest.mark.parametrize(
    "name", ["dataset.json", "recipe.json", "metadata.jsonl", "latents.safetensors"]
)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_regular_files_are_read(copy: Path, name: str, kind: str) -> None:
    (copy / name).unlink()
    if kind == "link":
        (copy / name).symlink_to(KEPT / name)
    elif kind == "pipe":
        os.mkfifo(copy / name)
    else:
        (copy / name).mkdir()

    why = "links are not followed" if kind == "link" else "it is no regular file"
    with pytest.raises(datasets.DamagedDataset, match=f"{re.escape(name)}: {why}"):
        dataset = datasets.open(copy)
        _ = dataset.recipe, list(dataset.faces()), dataset.latents()


def test_no_link_leads_to_a_picture(copy: Path, tmp_path: Path) -> None:
    dataset = datasets.open(copy)
    face, *_ = dataset.faces()
    picture = copy / face.files["images"]
    elsewhere = picture.rename(tmp_path / "elsewhere.png")
    picture.symlink_to(elsewhere)
    shutil.move(copy / "sketches", tmp_path / "sketches")
    (copy / "sketches").symlink_to(tmp_path / "sketches")

    for kind in ("images", "sketches"):
        for read in (dataset.picture, dataset.pixels, dataset.path):
            with pytest.raises(datasets.DamagedDataset, match="links are not followed"):
                read(face, kind)
    assert dataset.picture(face, "layouts")


def test_pictures_that_are_not_the_ones_that_were_written(copy: Path) -> None:
    dataset = datasets.open(copy)
    face, *_ = dataset.faces()
    (copy / face.files["sketches"]).write_bytes(b"other")
    (copy / face.files["layouts"]).unlink()
    with pytest.raises(
        datasets.DamagedDataset, match=r"is not the file that metadata\.jsonl tells"
    ):
        dataset.picture(face, "sketches")
    with pytest.raises(datasets.DamagedDataset, match="it is missing"):
        dataset.picture(face, "layouts")
    with (copy / face.files["images"]).open("wb") as huge:
        huge.truncate(2**40)
    with pytest.raises(datasets.DamagedDataset, match="it is larger than"):
        dataset.picture(face)


def test_a_picture_that_is_no_png_has_no_pixels(copy: Path) -> None:
    text = b"no picture"
    rewrite(copy, sha256=hashlib.sha256(text).hexdigest())
    face, *_ = datasets.open(copy).faces()
    (copy / face.files["images"]).write_bytes(text)
    with pytest.raises(datasets.DamagedDataset, match=re.escape(face.files["images"])):
        datasets.open(copy).pixels(face)


def test_latents_of_other_faces_are_refused(copy: Path) -> None:
    file = copy / "latents.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:20], b"", b"\xff" * 100):
        file.write_bytes(damaged)
        with pytest.raises(datasets.DamagedDataset, match=r"latents\.safetensors: it "):
            datasets.open(copy).latents()
    file.write_bytes(whole)
    summary = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(summary | {"accepted": 8}))
    with pytest.raises(datasets.DamagedDataset, match="it has 7 rows for 8 faces"):
        datasets.open(copy).latents()


def test_the_documented_example_runs(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "faces").symlink_to(KEPT)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == "7 of 160 candidates"
    assert len(done.stdout.splitlines()) == 1 + 7
