"""The pipeline service ends, gently or not, and the next one goes on."""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from tests.builds.api import Gate, connected, ended, order, refusal, serving
from tests.builds.fake_services import FakeServices
from tests.builds.served import served

from faceloom.builds.run import run_build
from faceloom.builds.verification import verify
from faceloom.core.errors import (
    UsageError,
)
from faceloom.datasets.spec import BuildSpec
from faceloom.pipeline.v1 import pipeline_pb2 as pb

ROOT = Path(__file__).parents[2]


async def test_a_restart_in_the_middle_of_a_build(tmp_path: Path) -> None:
    gate = Gate(3)
    request = order(tmp_path / "out", spec={"candidates": 400}, jobs=1, shards=7)
    async with serving(tmp_path / "state", FakeServices(gate=gate)) as stub:
        made = (await stub.CreateBuild(request)).build
        await gate.reached.wait()
        stopped = (await stub.CreateBuild(order(tmp_path / "stopped", "two"))).build
        await stub.CancelBuild(pb.CancelBuildRequest(id=stopped.id))
    services = FakeServices()
    async with serving(tmp_path / "state", services) as stub:
        done = await ended(stub, made.id)
        assert done.state == pb.BUILD_STATE_SUCCEEDED
        assert services.calls["generator"] < 8
        still = (await stub.GetBuild(pb.GetBuildRequest(id=stopped.id))).build
        assert still.state == pb.BUILD_STATE_CANCELLED
    async with serving(tmp_path / "state") as stub:
        after = (await stub.CreateBuild(request)).build
        assert (after.state, after.dataset_digest) == (done.state, done.dataset_digest)
        assert after.progress.planned == 400
        with pytest.raises(UsageError, match="another pipeline service"):
            async with serving(tmp_path / "state"):
                pass
    local = await run_build(BuildSpec(candidates=400), tmp_path / "local", FakeServices().client())
    assert local.summary.dataset_digest == done.dataset_digest


async def test_whoever_watches_a_service_that_stops_is_told_to_come_back(tmp_path: Path) -> None:
    gate = Gate(0)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served(tmp_path / "state", FakeServices(gate=gate)))
        async with connected(port) as stub:
            made = (await stub.CreateBuild(order(tmp_path / "out"))).build
            await gate.reached.wait()
            watch = stub.WatchBuild(pb.WatchBuildRequest(id=made.id))
            await watch.read()
            await stack.aclose()
            assert (await refusal(watch.read())).code == grpc.StatusCode.UNAVAILABLE


async def test_a_service_killed_in_the_middle_of_a_build(tmp_path: Path) -> None:
    spec = BuildSpec(candidates=900)
    request = order(tmp_path / "out", spec={"candidates": 900}, jobs=2)
    made = None
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.builds.served", str(tmp_path / "state"),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        async with connected(int(await process.stdout.readline())) as stub:
            if made is None:
                made = (await stub.CreateBuild(request)).build
            with pytest.raises(grpc.aio.AioRpcError):
                seen = 0
                async for answer in stub.WatchBuild(pb.WatchBuildRequest(id=made.id)):
                    seen = seen or answer.build.progress.processed + 1
                    if answer.build.progress.processed > seen:
                        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
    async with serving(tmp_path / "state") as stub:
        assert made is not None
        done = await ended(stub, made.id)
    local = await run_build(spec, tmp_path / "local", FakeServices().client())
    assert (done.state, done.dataset_digest) == (
        pb.BUILD_STATE_SUCCEEDED,
        local.summary.dataset_digest,
    )
    assert not verify(tmp_path / "out")
