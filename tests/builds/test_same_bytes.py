"""One recipe is one dataset, however it is worked on."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tests.builds.fake_services import FakeServices, score_of

from faceloom.builds.options import BuildOptions
from faceloom.builds.run import Result, run_build
from faceloom.builds.verification import verify
from faceloom.core.errors import FailedPrecondition, UsageError
from faceloom.datasets.candidates import block_count
from faceloom.datasets.identity import split_of
from faceloom.datasets.spec import BuildSpec


def files_of(output: Path) -> dict[str, bytes]:
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and ".build" not in path.parts
    }


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("spec", [BuildSpec(candidates=200), BuildSpec(accepted=100, seed=7)])
async def test_blocks_shards_and_order_do_not_reach_the_bytes(
    spec: BuildSpec, tmp_path: Path
) -> None:
    variants = [(1, 1), (4, 5), (3, None), (8, 2)]
    datasets = []
    for number, (blocks, shards) in enumerate(variants):
        output = tmp_path / str(number)
        services = FakeServices(shuffle=random.Random(number))
        result = await run_build(spec, output, services.client(), BuildOptions(blocks, shards))
        assert not verify(output)
        datasets.append((result.summary, files_of(output)))
    assert all(dataset == datasets[0] for dataset in datasets)


async def test_what_is_in_a_dataset(tmp_path: Path, build: Callable[..., Result]) -> None:
    result = await build(BuildSpec(candidates=130, seed=5))
    output = result.output
    accepted, rejected = (rows_of(output / f"{name}.jsonl") for name in ("metadata", "rejected"))
    assert [row["ordinal"] for row in accepted] == sorted(row["ordinal"] for row in accepted)
    assert sorted(row["ordinal"] for row in accepted + rejected) == list(range(130))
    latents = load_file(output / "latents.safetensors")
    source = json.loads((output / "recipe.json").read_text())["faces"]
    canonical = json.dumps(source, sort_keys=True, separators=(",", ":")).encode()
    faces = hashlib.sha256(canonical).hexdigest()
    for index, row in enumerate(accepted):
        seed = (5 << 32) + row["ordinal"]
        assert row["seed"] == seed
        identity = f"{faces}{seed}"
        assert row["id"] == hashlib.sha256(identity.encode()).hexdigest()[:16]
        assert row["split"] == split_of(row["id"])
        z = np.random.default_rng(seed)
        z.integers(0, 256, (8, 8, 3), np.uint8)
        z = z.standard_normal(4)
        assert np.array_equal(latents["z"][index], z.astype(np.float32))
        assert latents["w"].shape == (len(accepted), 5)
        for kind in ("", "sketch_", "layout_"):
            data = (output / row[f"{kind}file_name"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == row[f"{kind}sha256"]
        with Image.open(output / row["file_name"]) as picture:
            assert picture.mode == "RGB" and picture.text["Seed"] == str(seed)
            assert picture.text["Face"] == row["id"]
            assert hashlib.sha256(picture.tobytes()).hexdigest() == row["pixels_sha256"]
            assert row["quality"] == score_of(picture.tobytes()) >= 0.5
    listing = (output / "SHA256SUMS").read_bytes()
    assert hashlib.sha256(listing).hexdigest() == result.summary.dataset_digest
    recipe = json.loads((output / "recipe.json").read_text())
    canonical = json.dumps(recipe, sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(canonical).hexdigest() == result.summary.recipe_digest


@pytest.mark.parametrize("count", [1, 64, 65, 150])
async def test_accepted_stops_at_exactly_that_many(
    count: int, build: Callable[..., Result]
) -> None:
    services = FakeServices(threshold=0.8)
    result = await build(BuildSpec(accepted=count), services=services)
    summary = result.summary
    assert summary.accepted == count
    assert summary.planned == summary.accepted + summary.rejected
    # Every stream ends with an accepted face.
    blocks = block_count(BuildSpec(accepted=count))
    rejected = [row["ordinal"] for row in rows_of(result.output / "rejected.jsonl")]
    kept = [row["ordinal"] for row in rows_of(result.output / "metadata.jsonl")]
    for index in range(blocks):
        assert max(at for at in kept if at % blocks == index) > max(
            (at for at in rejected if at % blocks == index), default=-1
        )
    assert not verify(result.output)


async def test_nothing_accepted_at_all_is_an_empty_dataset(build: Callable[..., Result]) -> None:
    result = await build(BuildSpec(candidates=70), services=FakeServices(threshold=2.0))
    assert (result.summary.accepted, result.summary.rejected) == (0, 70)
    assert not verify(result.output)


async def test_a_quota_that_cannot_be_filled_ends(
    build: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceloom.datasets.candidates.CANDIDATES_PER_ACCEPTED", 20)
    with pytest.raises(FailedPrecondition, match="0 of 120 candidates"):
        await build(BuildSpec(accepted=1), services=FakeServices(threshold=2.0))


async def test_a_finished_build_is_not_made_again(build: Callable[..., Result]) -> None:
    first = await build(BuildSpec(candidates=70))
    services = FakeServices()
    again = await build(BuildSpec(candidates=70), services=services)
    assert again.summary == first.summary
    assert again.progress.planned == 70
    assert services.calls["generator"] == 1  # only the probe


async def test_another_recipe_in_the_folder_is_refused_by_name(
    build: Callable[..., Result],
) -> None:
    first = await build(BuildSpec(candidates=70))
    with pytest.raises(UsageError, match="does not become smaller"):
        await build(BuildSpec(candidates=69))
    with pytest.raises(UsageError, match=r"models\.sketch\.version: 1 -> 2"):
        await build(BuildSpec(candidates=70), services=FakeServices(version="2"))
    (first.output / ".build" / "build.json").unlink()
    with pytest.raises(UsageError, match=r"seed: 0 -> 1"):
        await build(BuildSpec(candidates=70, seed=1))
    with pytest.raises(UsageError, match=r"cannot grow without its \.build"):
        await build(BuildSpec(candidates=71))
    assert not verify(first.output)


async def test_somebody_elses_folder_is_left_alone(
    tmp_path: Path, build: Callable[..., Result]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="neither empty nor a build"):
        await build(BuildSpec(candidates=1))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


async def test_the_recorded_number_of_shards_is_kept(build: Callable[..., Result]) -> None:
    def lost(service: str, seeds: set[int]) -> None:
        if 100 in seeds:
            raise FailedPrecondition("gone")

    with pytest.raises(FailedPrecondition):
        await build(BuildSpec(candidates=200), BuildOptions(1, 4), FakeServices(fault=lost))
    result = await build(BuildSpec(candidates=200), BuildOptions(1, 2))
    assert result.progress.shards == 4
    assert result.notes == ("this build keeps the number of shards that it was begun with: 4",)
