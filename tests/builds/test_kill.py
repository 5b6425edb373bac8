"""kill -9 at any moment, then the same command again: the dataset of an undisturbed build."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.builds.fake_services import FakeServices, poison
from tests.builds.test_same_bytes import files_of

from faceloom.builds import finalize as finalize_module
from faceloom.builds.options import BuildOptions
from faceloom.builds.run import Result, run_build
from faceloom.builds.storage.folder import BuildFolder
from faceloom.builds.verification import verify
from faceloom.core.errors import Internal, UsageError
from faceloom.datasets.place import ObjectUrl
from faceloom.datasets.spec import BuildSpec
from faceloom.datasets.summary import read_summary

Build = Callable[..., Awaitable[Result]]
ROOT = Path(__file__).parents[2]


def start(output: Path | ObjectUrl, spec: BuildSpec, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.builds.killed_build", str(output),
         json.dumps(asdict(spec)), *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )  # fmt: skip


def entries(output: Path) -> int:
    return sum(len(folders) + len(files) for _, folders, files in os.walk(output))


def kill_after(process: subprocess.Popen[bytes], output: Path, changes: int) -> None:
    """Kills when so many things have come or gone in the folder: progress is the clock, not time."""
    before = entries(output)
    while process.poll() is None:
        if abs(entries(output) - before) >= changes:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.communicate()


def kill_when_retried(process: subprocess.Popen[bytes], output: Path, shards: int) -> None:
    """Kills when so many shards were committed a second time."""
    while process.poll() is None and len(list(output.glob(".build/shards/*.1"))) < shards:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(
    ("spec", "kills"), [(BuildSpec(candidates=400), 7), (BuildSpec(accepted=200), 3)]
)
async def test_killed_at_many_moments(
    spec: BuildSpec, kills: int, tmp_path: Path, build: Build
) -> None:
    good = await build(spec)
    expected = files_of(good.output)
    everything = entries(good.output)
    output = tmp_path / "killed"
    luck = random.Random(spec.target)
    died = 0
    for _ in range(kills):
        process = start(output, spec)
        changes = luck.randrange(1, everything // 4)
        await asyncio.to_thread(kill_after, process, output, changes)
        died += process.returncode == -signal.SIGKILL
        assert all(fault.path == "dataset.json" for fault in verify(output))
    assert died >= kills // 2
    await run_build(spec, output, FakeServices().client())
    assert files_of(output) == expected
    assert not verify(output)
    assert not list((output / ".build" / "shards").glob(".tmp-*"))


class Killed(BaseException):
    """Stands for the process ending here: nothing catches it."""


STEPS = ("reopen", "_place_files", "write_atomically", "merge_latents", "link_or_copy")


@pytest.mark.parametrize("step", STEPS)
async def test_a_finalizer_that_dies_is_done_again(
    step: str, tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = BuildSpec(candidates=100)
    expected = files_of((await build(spec)).output)
    output = tmp_path / "killed"
    for moment in (1, 2, 5):
        calls = 0
        original = getattr(finalize_module, step)

        def die(*arguments: object, original=original, moment=moment) -> object:  # type: ignore[no-untyped-def]
            nonlocal calls
            calls += 1
            if calls == moment:
                raise Killed
            return original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(finalize_module, step, die)
            try:
                await run_build(spec, output, FakeServices().client())
            except Killed:
                assert read_summary(output) is None
        if calls < moment:
            break
    await run_build(spec, output, FakeServices().client())
    assert files_of(output) == expected
    assert not verify(output)


async def test_a_retry_that_is_killed_loses_nothing(tmp_path: Path, build: Build) -> None:
    spec = BuildSpec(candidates=256)
    expected = files_of((await build(spec)).output)
    (tmp_path / "out").rename(tmp_path / "undisturbed")
    seeds = set(range(0, 256, 20))
    bad = FakeServices(fault=poison("sketch", seeds, Internal("bug")))
    output = (await build(spec, BuildOptions(shards=4), bad)).output
    for shards_done in (1, 2, 3):
        process = start(output, spec, "--retry-failed")
        await asyncio.to_thread(kill_when_retried, process, output, shards_done)
    await build(spec, BuildOptions(retry_failed=True))
    assert files_of(output) == expected
    assert not verify(output)


async def test_two_runs_never_share_a_folder(tmp_path: Path, build: Build) -> None:
    with BuildFolder(tmp_path / "out").lock(), pytest.raises(UsageError, match="another run"):
        await build(BuildSpec(candidates=1))
    assert (await build(BuildSpec(candidates=1))).summary.planned == 1


async def test_the_lock_of_a_killed_process_is_gone(tmp_path: Path, build: Build) -> None:
    output = tmp_path / "out"
    lock_and_die = (
        "import os, signal, sys; from pathlib import Path;"
        "from faceloom.builds.storage.folder import BuildFolder;"
        "BuildFolder(Path(sys.argv[1])).lock().__enter__(); print('locked');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", lock_and_die, str(output))
    assert await child.wait() == -signal.SIGKILL
    assert (output / ".build" / "lock").exists()
    assert (await build(BuildSpec(candidates=1))).summary.planned == 1


async def test_a_cancelled_build_leaves_no_drafts_and_goes_on(tmp_path: Path, build: Build) -> None:
    spec = BuildSpec(candidates=300)
    running: list[asyncio.Task[Result]] = []

    def stop(progress: object) -> None:
        if progress.shards_committed == 1:  # type: ignore[attr-defined]
            running[0].cancel()

    running.append(asyncio.create_task(build(spec, BuildOptions(shards=5), on_progress=stop)))  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        await running[0]
    assert not list((tmp_path / "out" / ".build" / "shards").glob(".tmp-*"))
    services = FakeServices()
    result = await build(spec, services=services)
    assert result.summary.planned == 300
    assert services.calls["generator"] <= 5
