"""`verify` names each fault of a dataset."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.builds.fake_services import FakeServices

from faceloom.builds.run import Result
from faceloom.builds.verification import verify
from faceloom.core.errors import InvalidArgument, UsageError
from faceloom.datasets.spec import MAX_SEED, BuildSpec
from faceloom.datasets.verification import sums_text

Build = Callable[..., Awaitable[Result]]


@pytest.fixture
async def dataset(build: Build) -> Path:
    return (await build(BuildSpec(candidates=20))).output


def files_in(dataset: Path) -> list[Path]:
    return sorted(
        path for path in dataset.rglob("*") if path.is_file() and ".build" not in path.parts
    )


def sign_again(dataset: Path) -> None:
    """What a forger would do: sums and digest that fit the changed files."""
    sums = {
        path.relative_to(dataset).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files_in(dataset)
        if path.name not in ("SHA256SUMS", "dataset.json")
    }
    listing = sums_text(sums)
    (dataset / "SHA256SUMS").write_bytes(listing)
    summary = json.loads((dataset / "dataset.json").read_text())
    summary["dataset_digest"] = hashlib.sha256(listing).hexdigest()
    (dataset / "dataset.json").write_text(json.dumps(summary))


async def test_every_changed_missing_and_extra_file_is_named(dataset: Path) -> None:
    assert verify(dataset) == []
    for file in files_in(dataset):
        name = file.relative_to(dataset).as_posix()
        if not (good := file.read_bytes()):
            continue
        file.write_bytes(bytes([good[0] ^ 1]) + good[1:])
        assert name in {fault.path for fault in verify(dataset)}, name
        file.unlink()
        assert name in {fault.path for fault in verify(dataset)}, name
        file.write_bytes(good)
    (dataset / "images" / "extra.png").write_bytes(b"")
    assert [str(fault) for fault in verify(dataset) if "shards" not in fault.path] == [
        "images/extra.png: extra: no build wrote it"
    ]


async def test_a_changed_picture_is_a_fault_of_its_shard_too(dataset: Path) -> None:
    picture = next((dataset / "images").iterdir())
    picture.write_bytes(b"no longer a picture")
    name = f"images/{picture.name}"
    assert [str(fault) for fault in verify(dataset)] == [
        f"{name}: changed",
        f".build/shards/00000.0: {name} was changed",
    ]


@pytest.mark.parametrize("count", ["planned", "accepted", "rejected", "failed"])
async def test_counts_that_do_not_add_up(count: str, dataset: Path) -> None:
    summary = json.loads((dataset / "dataset.json").read_text())
    summary[count] += 1
    (dataset / "dataset.json").write_text(json.dumps(summary))
    (fault,) = verify(dataset)
    assert fault.path == "dataset.json" and "counts" in fault.problem


async def test_a_row_that_went_missing_is_found_though_all_hashes_fit(dataset: Path) -> None:
    lines = (dataset / "rejected.jsonl").read_text().splitlines(keepends=True)
    gone = json.loads(lines[0])["ordinal"]
    (dataset / "rejected.jsonl").write_text("".join(lines[1:]))
    sign_again(dataset)
    assert f"candidate {gone} is missing" in {fault.problem for fault in verify(dataset)}


@pytest.mark.parametrize("key", ["seed", "id", "split", "sha256", "file_name", "truncation_psi"])
async def test_a_row_that_does_not_follow_from_the_recipe(key: str, dataset: Path) -> None:
    lines = (dataset / "metadata.jsonl").read_text().splitlines(keepends=True)
    row = json.loads(lines[0])
    row[key] = row[key] + 1 if isinstance(row[key], int | float) else "x" + row[key]
    lines[0] = json.dumps(row) + "\n"
    (dataset / "metadata.jsonl").write_text("".join(lines))
    sign_again(dataset)
    assert "metadata.jsonl" in {fault.path for fault in verify(dataset)}


async def test_another_recipe_than_the_rows_were_made_by(dataset: Path) -> None:
    recipe = json.loads((dataset / "recipe.json").read_text())
    recipe["filter"]["threshold"] = 0.1
    (dataset / "recipe.json").write_text(json.dumps(recipe))
    sign_again(dataset)
    assert "dataset.json" in {fault.path for fault in verify(dataset)}


async def test_what_is_not_a_dataset(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        verify(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert [fault.path for fault in verify(tmp_path / "empty")] == ["dataset.json"]
    (dataset / "dataset.json").write_text("[]")
    assert "cannot be read" in verify(dataset)[0].problem


async def test_a_bad_manifest_is_named(dataset: Path) -> None:
    (dataset / ".build" / "shards" / "00000.0" / "manifest.json").write_text("{}")
    (fault,) = verify(dataset)
    assert fault.path == ".build/shards/00000.0" and "manifest.json" in fault.problem


async def test_a_dataset_without_its_working_state_is_whole(dataset: Path, build: Build) -> None:
    for path in sorted((dataset / ".build").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (dataset / ".build").rmdir()
    assert verify(dataset) == []
    assert (await build(BuildSpec(candidates=20))).summary.planned == 20
    assert verify(dataset) == []


def as_before(dataset: Path) -> None:
    """Writes all seeds as numbers, as datasets of the first versions have them."""
    for name in ("metadata.jsonl", "rejected.jsonl", "failed.jsonl"):
        rows = [json.loads(line) for line in (dataset / name).read_text().splitlines()]
        lines = (json.dumps({**row, "seed": int(row["seed"])}) + "\n" for row in rows)
        (dataset / name).write_text("".join(lines))
    sign_again(dataset)


async def test_seeds_that_browsers_would_round_are_text(build: Build) -> None:
    def fail_one(service: str, seeds: set[int]) -> None:
        if service == "sketch" and (MAX_SEED << 32) + 1 in seeds:
            raise InvalidArgument("no face", field="images[0]")

    output = (
        await build(BuildSpec(candidates=20, seed=MAX_SEED), services=FakeServices(fault=fail_one))
    ).output

    rows = [
        json.loads(line)
        for name in ("metadata.jsonl", "rejected.jsonl", "failed.jsonl")
        for line in (output / name).read_text().splitlines()
    ]
    assert {row["seed"] for row in rows} == {str((MAX_SEED << 32) + n) for n in range(20)}
    assert verify(output) == []


async def test_datasets_whose_seeds_are_all_numbers_stay_intact(build: Build) -> None:
    spec = BuildSpec(candidates=20, seed=MAX_SEED)
    output = (await build(spec)).output
    as_before(output)
    before = (output / "dataset.json").read_bytes()

    assert verify(output) == []
    await build(spec)
    assert (output / "dataset.json").read_bytes() == before


async def test_small_seeds_are_numbers(dataset: Path) -> None:
    rows = [json.loads(line) for line in (dataset / "metadata.jsonl").read_text().splitlines()]
    assert rows and all(type(row["seed"]) is int for row in rows)
