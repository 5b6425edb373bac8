"""One pool, many tastes: other datasets are made from the scores and faces of one that is there."""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.builds.api import ended, order
from tests.builds.fake_cluster import FakeCluster
from tests.builds.fake_services import FakeServices
from tests.builds.job_builds import Setup
from tests.builds.object_store import ObjectStore
from tests.builds.workers import ROOT, end, start_worker

from faceloom import datasets
from faceloom.builds.options import BuildOptions
from faceloom.builds.run import Result, run_build
from faceloom.builds.verification import verify
from faceloom.core.errors import Internal, UsageError
from faceloom.datasets.place import Output
from faceloom.datasets.spec import BuildSpec
from faceloom.pipeline.v1 import pipeline_pb2 as pb

COUNT = 300
SPEC = BuildSpec(candidates=COUNT)
OLD = Path("tests/data/schema-1/dataset")


async def make(
    spec: BuildSpec, output: Output, services: FakeServices | None = None, **options: Any
) -> Result:
    client = (services or FakeServices()).client()
    return await run_build(spec, output, client, BuildOptions(**options))


def lines(output: Path, name: str = "metadata.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / name).read_text().splitlines()]


def scores(output: Path) -> dict[int, float]:
    found = [*lines(output), *lines(output, "rejected.jsonl")]
    return {row["ordinal"]: row["quality"] for row in found}


def sums(output: Path) -> bytes:
    return (output / "SHA256SUMS").read_bytes()


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    asyncio.run(make(SPEC, tmp_path / "pool"))
    return tmp_path / "pool"


@pytest.mark.parametrize("threshold", [0.3, 0.9, 0.0, 1.0])
async def test_a_selection_has_the_bytes_of_a_build(
    pool: Path, tmp_path: Path, threshold: float
) -> None:
    spec, services = replace(SPEC, threshold=threshold), FakeServices()
    await make(spec, tmp_path / "built")
    made = await make(spec, tmp_path / "selected", services, pool=pool)

    assert verify(tmp_path / "selected") == []
    assert sums(tmp_path / "selected") == sums(tmp_path / "built")
    kept = {ordinal for ordinal, score in scores(pool).items() if score >= threshold}
    assert {row["ordinal"] for row in lines(tmp_path / "selected")} == kept
    assert made.summary.accepted == len(kept)
    # Nothing is judged again but the probe's face, and only what is newly kept is generated and drawn.
    assert services.calls["quality"] == 1
    if threshold >= 0.5:
        assert services.calls == {"generator": 1, "quality": 1, "sketch": 1, "segmentation": 1}


async def test_files_of_the_pool_are_used_as_they_are(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceloom.builds.block_maker.ENCODER", "pillow 99, zlib 9, level 6")
    await make(replace(SPEC, threshold=0.3), tmp_path / "out", pool=pool)

    before, after = ({row["id"]: row for row in lines(one)} for one in (pool, tmp_path / "out"))
    assert before.items() <= after.items()
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert len(provenance["encoders"]) == 2


async def test_the_best_of_all(pool: Path, tmp_path: Path) -> None:
    spec = replace(SPEC, top=20)
    services = FakeServices()
    built = await make(spec, tmp_path / "built", services)
    await make(spec, tmp_path / "selected", pool=pool)

    ranked = sorted(scores(pool).items(), key=lambda one: (-one[1], one[0]))
    kept = sorted(ordinal for ordinal, _ in ranked[:20])
    assert [row["ordinal"] for row in lines(tmp_path / "built")] == kept
    assert sums(tmp_path / "selected") == sums(tmp_path / "built")
    assert verify(tmp_path / "built") == []
    assert (built.summary.planned, built.summary.accepted) == (COUNT, 20)
    # A probe of each run, all candidates, and those that are kept once more.
    assert services.calls["quality"] == 2 + -(-COUNT // 64)
    # It is finished, and made again by nobody.
    again = FakeServices()
    await make(spec, tmp_path / "built", again)
    assert again.calls["generator"] == 1
    with pytest.raises(UsageError, match=r"what was chosen of .* does not grow"):
        await make(replace(spec, candidates=COUNT + 64), tmp_path / "built")


async def test_scores_alone_make_a_pool(tmp_path: Path) -> None:
    cheap = tmp_path / "scores"
    await make(replace(SPEC, top=0), cheap)
    assert lines(cheap) == []
    assert len(scores(cheap)) == COUNT
    await make(replace(SPEC, threshold=0.6), tmp_path / "selected", pool=cheap)
    await make(replace(SPEC, threshold=0.6), tmp_path / "built")

    assert sums(tmp_path / "selected") == sums(tmp_path / "built")


async def test_what_people_keep(pool: Path, tmp_path: Path) -> None:
    found = {row["id"]: row["ordinal"] for row in lines(pool, "rejected.jsonl")[:9]}
    digest = hashlib.sha256("".join(f"{one}\n" for one in sorted(found)).encode()).hexdigest()
    ordinals = tuple(sorted(found.values()))
    await make(replace(SPEC, kept=digest), tmp_path / "out", pool=pool, kept=ordinals)

    assert verify(tmp_path / "out") == []
    assert {row["id"] for row in lines(tmp_path / "out")} == found.keys()
    assert scores(tmp_path / "out") == scores(pool)
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["filter"] == {
        "by": "people",
        "kept": digest,
    }


@dataclass
class AnotherTaste(FakeServices):
    """Judges all faces the other way round."""

    def _quality(self, data: bytes) -> Any:
        response = super()._quality(data)
        for quality in response.qualities:
            quality.score = 1 - quality.score
            quality.accepted = quality.score >= response.threshold
        response.model.digest = "cd" * 32
        return response


async def test_another_quality_model_judges_all_again(pool: Path, tmp_path: Path) -> None:
    services = AnotherTaste()
    await make(SPEC, tmp_path / "selected", services, pool=pool)
    await make(SPEC, tmp_path / "built", AnotherTaste())

    assert sums(tmp_path / "selected") == sums(tmp_path / "built")
    # The faces of the pool are judged as they lie there; those that it rejected are made again.
    assert services.calls["generator"] == 1 + -(-COUNT // 64)
    with pytest.raises(UsageError, match="are another quality model's"):
        await make(replace(SPEC, top=9), tmp_path / "top", AnotherTaste(), pool=pool)


async def test_other_stages_are_made_of_the_faces_of_the_pool(pool: Path, tmp_path: Path) -> None:
    spec = replace(SPEC, stages=("sketch:classical", "segmentation"))
    services = FakeServices()
    await make(spec, tmp_path / "selected", services, pool=pool)
    await make(spec, tmp_path / "built")

    assert sums(tmp_path / "selected") == sums(tmp_path / "built")
    assert services.calls["generator"] == services.calls["segmentation"] == 1


async def test_candidates_that_failed_in_the_pool_get_another_try(tmp_path: Path) -> None:
    def fail(service: str, seeds: set[int]) -> None:
        if service == "sketch" and 3 in seeds:
            raise Internal("bug")

    await make(SPEC, tmp_path / "pool", FakeServices(threshold=0.0, fault=fail))
    assert [row["ordinal"] for row in lines(tmp_path / "pool", "failed.jsonl")] == [3]
    spec = replace(SPEC, threshold=0.2)
    await make(spec, tmp_path / "selected", pool=tmp_path / "pool")
    await make(spec, tmp_path / "built")

    assert sums(tmp_path / "selected") == sums(tmp_path / "built")


@pytest.mark.parametrize("kept", [replace(SPEC, threshold=0.2), replace(SPEC, top=200)])
def test_a_selection_killed_at_many_moments(pool: Path, tmp_path: Path, kept: BuildSpec) -> None:
    whole = asyncio.run(make(kept, tmp_path / "whole", pool=pool))
    output = tmp_path / "killed"
    data = {"candidates": COUNT, "threshold": kept.threshold, "top": kept.top}
    command = [sys.executable, "-m", "tests.builds.killed_build", str(output), json.dumps(data)]
    environment = {**os.environ, "POOL": str(pool)}
    deaths = 0
    for shards in (1, 2, 3):
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        while process.poll() is None and not len(committed(output)) >= shards:
            pass
        process.send_signal(signal.SIGKILL)
        deaths += process.wait() == -signal.SIGKILL
    assert deaths > 0
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    assert done.stdout.decode().strip() == whole.summary.dataset_digest
    assert verify(output) == []


async def test_workers_finish_a_selection_from_its_plan(pool: Path, tmp_path: Path) -> None:
    spec, output = replace(SPEC, top=250), tmp_path / "out"
    whole = await make(spec, tmp_path / "whole", pool=pool)

    class Plug(Exception):
        pass

    async def pull(service: str, calls: int) -> None:
        if service == "sketch" and calls == 2:
            raise Plug

    with pytest.raises(Plug):
        await make(spec, output, FakeServices(gate=pull), pool=pool, shards=3, blocks=1)
    for index in range(3):
        assert end(start_worker(output, index, "--finalize"))[0] == 0

    assert datasets.open(output).summary == whole.summary


async def test_from_a_bucket_to_a_bucket(pool: Path, tmp_path: Path, store: ObjectStore) -> None:
    there, selected = store.new_place(), store.new_place()
    await make(SPEC, there)
    made = await make(replace(SPEC, threshold=0.2), selected, pool=there)
    here = await make(replace(SPEC, threshold=0.2), tmp_path / "here", pool=pool)

    assert verify(selected) == []
    assert made.summary == here.summary
    best = await make(replace(SPEC, top=30), store.new_place())
    assert best.summary == (await make(replace(SPEC, top=30), tmp_path / "best")).summary


async def test_other_faces_are_no_pool(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds other faces: .* seed 0 and psi 0\.7"):
        await make(replace(SPEC, seed=1), tmp_path / "out", pool=pool)
    assert not (tmp_path / "out" / ".build" / "build.json").exists()
    with pytest.raises(UsageError, match="is not a finished dataset"):
        await make(SPEC, tmp_path / "out", pool=tmp_path / "none")


def committed(output: Path) -> list[Path]:
    return list((output / ".build" / "shards").glob("[0-9]*"))


async def test_a_selection_grows_with_its_pool(pool: Path, tmp_path: Path) -> None:
    spec, larger = replace(SPEC, threshold=0.2), replace(SPEC, candidates=COUNT + 100)
    output = tmp_path / "out"
    await make(spec, output, pool=pool)
    before = lines(output)
    await make(larger, pool)
    services = FakeServices()
    await make(replace(larger, threshold=0.2), output, services, pool=pool)
    await make(replace(larger, threshold=0.2), tmp_path / "built")

    assert verify(output) == []
    assert sums(output) == sums(tmp_path / "built")
    assert [row for row in lines(output) if row["ordinal"] < COUNT] == before
    assert services.calls["quality"] == 1


async def test_a_job_makes_a_selection(pool: Path, setup: Setup, tmp_path: Path) -> None:
    there = shutil.copytree(pool, setup.data / "pool")
    whole = await make(replace(SPEC, top=200), tmp_path / "whole", pool=pool)
    with FakeCluster() as cluster:
        async with setup.serving(cluster) as stub:
            asked = {"spec": {"candidates": COUNT, "top": 200}, "shards": 3}
            alone = order(setup.data / "out", "alone", **asked)
            refused = await ended(stub, (await stub.CreateBuild(alone)).build.id)
            assert "build a pool, then give it as pool" in refused.error
            request = order(setup.data / "out", pool=str(there), **asked)
            done = await ended(stub, (await stub.CreateBuild(request)).build.id)
    assert (done.state, done.error) == (pb.BUILD_STATE_SUCCEEDED, "")
    assert done.dataset_digest == whole.summary.dataset_digest
