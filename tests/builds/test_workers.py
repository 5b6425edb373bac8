"""Many workers make one dataset: killed, told to stop, doubled, in any order, all at once."""

import asyncio
import json
import random
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builds.fake_services import FakeServices, poison
from tests.builds.test_same_bytes import files_of
from tests.builds.workers import drafts, end, kill, start_worker, wait_for_files

from faceloom.builds.options import BuildOptions
from faceloom.builds.run import Result, run_build
from faceloom.builds.run_stats import Records
from faceloom.builds.storage.folder import BuildFolder
from faceloom.builds.verification import verify
from faceloom.builds.worker import Assignment, Misconfigured, exit_code, work
from faceloom.core.errors import FailedPrecondition, Internal, UsageError
from faceloom.datasets.spec import BuildSpec

Build = Callable[..., Awaitable[Result]]
SHARDS = 4


async def all_shards(output: Path, spec: BuildSpec, shards: int = SHARDS, **options: bool) -> None:
    """Workers of one process, at the same time."""
    services = FakeServices(shuffle=random.Random(1))
    await asyncio.gather(
        *(
            work(Assignment(output, index, spec, shards, **options), services.client())
            for index in range(shards)
        )
    )


@pytest.mark.parametrize("spec", [BuildSpec(candidates=400), BuildSpec(accepted=200, seed=3)])
async def test_killed_workers_make_the_dataset_of_one_run(
    spec: BuildSpec, tmp_path: Path, build: Build
) -> None:
    expected = files_of((await build(spec)).output)
    output = tmp_path / "workers"
    luck = random.Random(spec.target)

    def start(index: int) -> object:
        return start_worker(output, index, "--shards", str(SHARDS), "--finalize", spec=spec)

    died = 0
    for _ in range(2):
        # Two of one index are there, too.
        running = [start(index) for index in luck.choices(range(SHARDS), k=SHARDS)]
        for place, worker in enumerate(running[1:]):
            # The first dies as it begins; a draft of one of the others may hold forty files.
            files = luck.randrange(40) if place else 0
            await asyncio.to_thread(wait_for_files, worker, output, files)
            kill(worker)
            died += worker.returncode == -signal.SIGKILL
        assert end(running[0])[0] == 0
        assert all(fault.path == "dataset.json" for fault in verify(output))
    assert died >= 2
    last = [start(index) for index in luck.sample([*range(SHARDS), 0], k=SHARDS + 1)]
    assert [end(worker)[0] for worker in last] == [0] * (SHARDS + 1)
    assert files_of(output) == expected
    assert not verify(output)
    assert not drafts(output)


async def test_whoever_comes_last_puts_the_dataset_together(tmp_path: Path, build: Build) -> None:
    spec = BuildSpec(candidates=300)
    expected = files_of((await build(spec)).output)
    output = tmp_path / "workers"
    await all_shards(output, spec, finalize=True)
    assert files_of(output) == expected


async def test_a_worker_begins_a_build_with_a_threshold(tmp_path: Path) -> None:
    spec, output = BuildSpec(candidates=70), tmp_path / "out"
    worker = start_worker(output, 0, "--shards", "1", "--threshold", "0.9", "--finalize", spec=spec)
    assert end(worker)[0] == 0
    whole = tmp_path / "whole"
    await run_build(replace(spec, threshold=0.9), whole, FakeServices().client())
    assert (output / "SHA256SUMS").read_bytes() == (whole / "SHA256SUMS").read_bytes()


async def test_without_finalize_a_later_run_only_puts_together(tmp_path: Path) -> None:
    spec = BuildSpec(candidates=300)
    await all_shards(tmp_path / "out", spec)
    assert not (tmp_path / "out" / "dataset.json").exists()
    services = FakeServices()
    result = await run_build(spec, tmp_path / "out", services.client())
    assert result.summary.planned == 300
    assert services.calls["generator"] == 1  # only the probe


async def test_a_worker_told_to_stop_leaves_no_draft_and_does_not_say_done(tmp_path: Path) -> None:
    output = tmp_path / "out"
    spec = BuildSpec(candidates=256)
    worker = start_worker(output, 0, "--blocks", "1", "--shards", "1", spec=spec, HOLD="2")
    await asyncio.to_thread(wait_for_files, worker, output, 1)
    assert drafts(output)
    worker.send_signal(signal.SIGTERM)
    assert end(worker)[0] == 143
    assert not drafts(output)


@pytest.mark.parametrize(
    ("reason", "code"), [("MODEL_CHANGED", 65), ("TOO_FEW_ACCEPTED", 65), ("GONE", 1)]
)
async def test_exit_codes_say_whether_to_try_again(reason: str, code: int, tmp_path: Path) -> None:
    fault = json.dumps({"service": "quality", "reason": reason})
    worker = start_worker(tmp_path / "out", 0, spec=BuildSpec(candidates=9), FAULT=fault)
    assert end(worker) == (code, "faceloom: the model was unloaded")


@pytest.mark.parametrize(
    ("index", "spec", "said"),
    [(0, None, "holds no plan"), (7, BuildSpec(candidates=1), "no shard 7: the build has 1")],
)
async def test_a_worker_that_is_started_wrongly_says_so(
    index: int, spec: BuildSpec | None, said: str, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured, match=said) as caught:
        await work(Assignment(tmp_path / "out", index, spec), FakeServices().client())
    assert exit_code(caught.value) == 78


async def test_a_folder_that_cannot_be_written_is_nobodys_to_retry(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to") as caught:
        assignment = Assignment(tmp_path / "file" / "out", 0, BuildSpec(candidates=1))
        await work(assignment, FakeServices().client())
    assert exit_code(caught.value) == 78


async def test_another_recipe_is_refused_for_good(tmp_path: Path) -> None:
    spec = BuildSpec(candidates=300)
    output = tmp_path / "out"
    await work(Assignment(output, 0, spec, SHARDS), FakeServices().client())
    for other, services, why in (
        (None, FakeServices(version="2"), "another recipe"),
        (BuildSpec(candidates=5), None, "does not become smaller"),
    ):
        with pytest.raises(UsageError, match=why) as caught:
            await work(Assignment(output, 1, other), (services or FakeServices()).client())
        assert exit_code(caught.value) == 65


async def test_workers_that_begin_at_once_make_one_plan(tmp_path: Path) -> None:
    output = tmp_path / "out"
    spec = BuildSpec(candidates=640)
    counts = (2, 3, 5, 10)
    await asyncio.gather(
        *(
            work(Assignment(output, index % 2, spec, count), FakeServices().client())
            for index, count in enumerate(counts)
        )
    )
    plan = BuildFolder(output).read_plan()
    assert plan is not None and plan.shards in counts
    committed = sorted(path.name for path in (output / ".build" / "shards").iterdir())
    assert committed == ["00000.0", "00001.0"]


async def test_a_damaged_shard_is_made_again_beside_it(tmp_path: Path, build: Build) -> None:
    spec = BuildSpec(candidates=300)
    expected = files_of((await build(spec)).output)
    output = tmp_path / "workers"
    await all_shards(output, spec)
    shards = output / ".build" / "shards"
    next((shards / "00002.0" / "images").iterdir()).write_bytes(b"")
    await work(Assignment(output, 2, finalize=True), FakeServices().client())
    assert sorted(path.name for path in shards.iterdir())[2] == "00002.1"
    assert files_of(output) == expected


async def test_workers_make_failed_candidates_again(tmp_path: Path, build: Build) -> None:
    spec = BuildSpec(candidates=256)
    good = (await build(spec)).summary
    bad = FakeServices(fault=poison("sketch", set(range(0, 256, 20)), Internal("bug")))
    output = tmp_path / "workers"
    first = await run_build(spec, output, bad.client(), BuildOptions(shards=SHARDS))
    assert first.summary.failed > 0
    await all_shards(output, spec, retry_failed=True, finalize=True)
    assert (
        json.loads((output / "dataset.json").read_text())["dataset_digest"] == good.dataset_digest
    )
    assert not verify(output)


def test_many_begin_at_once(tmp_path: Path) -> None:
    """Whoever looks sees an empty place or a build, never half of one."""
    together = threading.Barrier(8)

    def begin(output: Path) -> None:
        folder = BuildFolder(output)
        together.wait()
        folder.check()
        with folder.lock(shared=True):
            pass

    with ThreadPoolExecutor(8) as workers:
        for place in range(300):
            list(workers.map(begin, [tmp_path / str(place)] * 8))


@pytest.mark.parametrize("end", ["failed", "told to stop"])
async def test_a_worker_that_does_not_finish_leaves_what_it_spent(end: str, tmp_path: Path) -> None:
    """The first call of the generator is the one that asks what it is."""
    reached = asyncio.Event()

    async def second_call(service: str, calls: int) -> None:
        if (service, calls) == ("generator", 2):
            reached.set()
            if end == "failed":
                raise FailedPrecondition("the model was unloaded", reason="GONE")
            await asyncio.Event().wait()

    services = FakeServices(gate=second_call)
    spec, output = BuildSpec(candidates=64), tmp_path / "out"
    working = asyncio.create_task(work(Assignment(output, 0, spec, 1), services.client()))
    await reached.wait()
    if end == "told to stop":
        working.cancel()
    with pytest.raises((FailedPrecondition, asyncio.CancelledError)):
        await working

    assert Records(BuildFolder(output)).total().seconds["generator"] > 0


async def test_workers_and_a_run_take_turns(tmp_path: Path) -> None:
    spec = BuildSpec(candidates=300)
    folder = BuildFolder(tmp_path / "out")
    with folder.lock(shared=True):
        with pytest.raises(UsageError, match="another run"):
            await run_build(spec, folder.output, FakeServices().client())
        await work(Assignment(folder.output, 0, spec, SHARDS), FakeServices().client())
    with folder.lock():
        waiting = asyncio.create_task(
            work(Assignment(folder.output, 1, spec), FakeServices().client())
        )
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
    await waiting
