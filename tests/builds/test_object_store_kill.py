"""kill -9 of builds and workers on an object store, then again: the dataset of an undisturbed build."""

import asyncio
import random
import signal
import subprocess
import time

from tests.builds.object_store import ObjectStore
from tests.builds.test_kill import start
from tests.builds.test_object_store import Build, run
from tests.builds.workers import end, start_worker

from faceloom.builds.verification import verify
from faceloom.datasets.spec import BuildSpec

SPEC = BuildSpec(candidates=400)
SHARDS = 4


def kill_after(process: subprocess.Popen[bytes], store: ObjectStore, requests: int) -> bool:
    """Kills when the store was asked so often: progress is the clock. Answers whether it came in time."""
    store.requests()
    asked = 0
    while process.poll() is None and asked < requests:
        asked += sum(store.requests().values())
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


async def test_a_build_killed_at_many_moments(store: ObjectStore, build: Build) -> None:
    expected = (await build(SPEC)).summary
    undisturbed = store.new_place()
    store.requests()
    await run(SPEC, undisturbed, shards=SHARDS)
    everything = sum(store.requests().values())
    luck = random.Random(1)
    died = 0
    # Each build goes on a little further; together they die in every part.
    for _ in range(2):
        place = store.new_place()
        for _ in range(3):
            process = start(place, SPEC)
            requests = luck.randrange(1, everything)
            died += await asyncio.to_thread(kill_after, process, store, requests)
            assert {fault.path for fault in verify(place)} <= {"dataset.json", ".build/build.json"}
        assert (await run(SPEC, place)).summary == expected
        assert not verify(place)
    assert died >= 3


async def test_killed_workers(store: ObjectStore, build: Build) -> None:
    expected = (await build(SPEC)).summary
    place = store.new_place()
    luck = random.Random(2)

    def begin(index: int) -> subprocess.Popen[bytes]:
        return start_worker(place, index, "--shards", str(SHARDS), "--finalize", spec=SPEC)

    died = 0
    for _ in range(2):
        running = [begin(index) for index in luck.choices(range(SHARDS), k=3)]
        for worker in running:
            died += await asyncio.to_thread(kill_after, worker, store, luck.randrange(1, 8))
    assert died >= 3
    last = [begin(index) for index in (*range(SHARDS), 0)]
    assert [end(worker)[0] for worker in last] == [0] * (SHARDS + 1)
    assert (await run(SPEC, place)).summary == expected
    assert not verify(place)
