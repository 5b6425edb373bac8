"""A finished build grows: what is there keeps its bytes, ids, splits and labels, and the rest is made."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.builds.fake_services import FakeServices
from tests.builds.object_store import ObjectStore

from faceloom.builds.fetch import fetch
from faceloom.builds.options import BuildOptions
from faceloom.builds.run import run_build
from faceloom.builds.verification import verify
from faceloom.core.errors import UsageError
from faceloom.datasets.spec import BuildSpec
from faceloom.datasets.verification import pixel_faults


def rows(output: Path, name: str = "metadata.jsonl") -> dict[str, Any]:
    lines = (output / name).read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def pictures(output: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and inode of every picture."""
    return {
        path.relative_to(output).as_posix(): (path.read_bytes(), path.stat().st_ino)
        for kind in ("images", "sketches", "layouts")
        for path in (output / kind).iterdir()
    }


async def test_candidates_are_those_of_a_build_made_at_once(tmp_path: Path) -> None:
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    for count in (100, 130, 400):
        services = FakeServices()
        await run_build(BuildSpec(candidates=count), grown, services.client())
        assert verify(grown) == []
    once = await run_build(BuildSpec(candidates=400), whole, FakeServices().client())

    # The probe, and the 270 that were missing, a request of 64 each.
    assert services.calls["generator"] == 1 + 5
    assert (grown / "SHA256SUMS").read_bytes() == (whole / "SHA256SUMS").read_bytes()
    assert (
        json.loads((grown / "dataset.json").read_text())["planned"] == once.summary.planned == 400
    )


@pytest.mark.parametrize("size", ["candidates", "accepted"])
async def test_what_is_there_stays(size: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    await run_build(BuildSpec(**{size: 90}), output, FakeServices().client())
    before, kept, refused = pictures(output), rows(output), rows(output, "rejected.jsonl")
    await run_build(BuildSpec(**{size: 200}), output, FakeServices().client())

    assert verify(output) == []
    assert before.items() <= pictures(output).items()
    assert kept.items() <= rows(output).items()
    assert refused.items() <= rows(output, "rejected.jsonl").items()
    found = len(rows(output)) + (len(rows(output, "rejected.jsonl")) if size == "candidates" else 0)
    assert found == 200


async def test_a_half_made_build_grows_too(tmp_path: Path) -> None:
    output = tmp_path / "out"
    services = FakeServices()

    async def stop(service: str, calls: int) -> None:
        if service == "generator" and calls == 4:
            raise RuntimeError("somebody pulled the plug")

    services.gate = stop
    with pytest.raises(RuntimeError, match="pulled the plug"):
        await run_build(
            BuildSpec(candidates=500), output, services.client(), BuildOptions(blocks=1, shards=8)
        )
    await run_build(BuildSpec(candidates=600), output, FakeServices().client())

    assert verify(output) == []
    assert len(rows(output)) + len(rows(output, "rejected.jsonl")) == 600


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (BuildSpec(candidates=50), "a dataset does not become smaller"),
        (BuildSpec(accepted=500), "it can grow in these alone"),
        (BuildSpec(candidates=200, seed=1), "seed: 0 -> 1"),
        (BuildSpec(candidates=200, truncation_psi=0.5), "faces.truncation_psi: 0.7 -> 0.5"),
    ],
)
async def test_what_does_not_grow_is_refused_and_nothing_changes(
    second: BuildSpec, why: str, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    await run_build(BuildSpec(candidates=100), output, FakeServices().client())
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=why):
        await run_build(second, output, FakeServices().client())
    after = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    spent = {path for path in after if "spent" in path.parts}
    assert before == {
        path: data for path, data in after.items() if path not in spent - before.keys()
    }


async def test_another_filter_keeps_ids_and_splits(tmp_path: Path) -> None:
    strict, lax = tmp_path / "strict", tmp_path / "lax"
    await run_build(BuildSpec(candidates=100), strict, FakeServices(threshold=0.8).client())
    await run_build(BuildSpec(candidates=300), lax, FakeServices(threshold=0.3).client())
    few, many = rows(strict), rows(lax)
    assert few.keys() <= many.keys()
    assert all(many[one]["split"] == few[one]["split"] for one in few)
    assert pictures(strict).keys() <= pictures(lax).keys()
    same = {path: data for path, (data, _) in pictures(lax).items()}
    assert all(same[path] == data for path, (data, _) in pictures(strict).items())


async def test_another_encoder_and_another_processor_finish_what_one_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed, whole = tmp_path / "mixed", tmp_path / "whole"
    await run_build(BuildSpec(candidates=100), mixed, FakeServices().client())
    monkeypatch.setattr("faceloom.builds.block_maker.ENCODER", "pillow 99, zlib 9, level 6")
    monkeypatch.setattr("faceloom.datasets.png.LEVEL", 1)
    await run_build(BuildSpec(candidates=300), mixed, FakeServices(processor="AVX512").client())
    monkeypatch.undo()
    once = await run_build(BuildSpec(candidates=300), whole, FakeServices().client())

    assert verify(mixed) == []
    summary = json.loads((mixed / "dataset.json").read_text())
    assert summary["pixels_digest"] == once.summary.pixels_digest
    assert summary["dataset_digest"] != once.summary.dataset_digest
    assert rows(mixed).keys() == rows(whole).keys()
    assert pixel_faults(mixed) == []
    pictures = [json.loads(line) for line in (mixed / "metadata.jsonl").read_text().splitlines()]
    one, other = (mixed / row["file_name"] for row in pictures[:2])
    one.unlink()
    one.write_bytes(other.read_bytes())
    assert [str(fault) for fault in pixel_faults(mixed)] == [
        f"{one.relative_to(mixed)}: has other pixels"
    ]
    told = json.loads((mixed / "provenance.json").read_text())
    assert len(told["encoders"]) == 2 and "pillow 99, zlib 9, level 6" in told["encoders"]
    assert {one["processor"] for one in told["platforms"]} == {"AVX2", "AVX512"}


async def test_a_build_on_an_object_store_grows_and_is_fetched(
    store: ObjectStore, tmp_path: Path
) -> None:
    url = store.new_place()
    for count in (100, 300):
        grown = await run_build(BuildSpec(candidates=count), url, FakeServices().client())
        assert verify(url) == []
    here = await run_build(BuildSpec(candidates=300), tmp_path / "here", FakeServices().client())

    assert grown.summary == here.summary
    assert fetch(url, tmp_path / "fetched") == here.summary
    assert verify(tmp_path / "fetched") == []
