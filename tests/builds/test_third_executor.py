"""A third executor is a class and a name; all the rest is what remote ones share."""

import asyncio
from pathlib import Path

import pytest
from tests.builds.api import connected, ended, order
from tests.builds.fake_services import FakeServices
from tests.builds.job_builds import SPEC, until
from tests.builds.served import served
from tests.builds.test_same_bytes import files_of

from faceloom.builds.executors.local import LocalExecutor
from faceloom.builds.executors.registry import EXECUTORS, executor
from faceloom.builds.executors.remote import RemoteExecutor
from faceloom.builds.executors.workers import Workers
from faceloom.builds.plan import Plan
from faceloom.builds.run import run_build
from faceloom.builds.service.records import BuildOrder
from faceloom.builds.worker import Assignment, work
from faceloom.clients.client import Faceloom
from faceloom.core.errors import FailedPrecondition, UsageError
from faceloom.datasets.spec import BuildSpec
from faceloom.pipeline.v1 import pipeline_pb2 as pb


class Tasks(Workers):
    """Workers that are tasks of this process."""

    notes = ("made by tasks",)

    def __init__(self, tasks: list[asyncio.Task[None]]) -> None:
        self.tasks = tasks

    async def done(self) -> bool:
        return all([task.done() and task.result() is None for task in self.tasks])


class TaskExecutor(RemoteExecutor):
    """An executor whose cluster is a list of tasks."""

    def __init__(self, faceloom: Faceloom) -> None:
        super().__init__(faceloom, poll_seconds=0.01)
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, order: BuildOrder, plan: Plan) -> Tasks:
        shards = [Assignment(order.output, index) for index in range(plan.shards)]
        self.tasks = [asyncio.create_task(work(shard, self._faceloom)) for shard in shards]
        return Tasks(self.tasks)

    async def withdraw(self, order: BuildOrder) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXECUTORS, "tasks", TaskExecutor)


async def test_its_dataset_is_that_of_one_machine(tmp_path: Path) -> None:
    local = await run_build(BuildSpec(candidates=400), tmp_path / "local", FakeServices().client())
    services = FakeServices()
    made_by = executor("tasks", services.client())

    async with (
        served(tmp_path / "state", services, made_by) as port,
        connected(port) as stub,
    ):
        made = (await stub.CreateBuild(order(tmp_path / "out", **SPEC))).build
        done = await ended(stub, made.id)

    assert (done.state, done.error) == (pb.BUILD_STATE_SUCCEEDED, "")
    assert done.dataset_digest == local.summary.dataset_digest
    assert files_of(tmp_path / "out") == files_of(local.output)
    assert done.progress.shards_committed == done.progress.shards == 4
    assert list(done.notes) == ["made by tasks"]

    assert isinstance(made_by, TaskExecutor) and len(made_by.tasks) == 4


async def test_a_build_whose_workers_fail_says_why_and_leaves_none(tmp_path: Path) -> None:
    def fault(service: str, seeds: set[int]) -> None:
        if service == "quality" and 399 in seeds:
            raise FailedPrecondition("the model was unloaded", reason="MODEL_CHANGED")

    services = FakeServices(fault=fault)
    made_by = TaskExecutor(services.client())
    async with (
        served(tmp_path / "state", services, made_by) as port,
        connected(port) as stub,
    ):
        made = (await stub.CreateBuild(order(tmp_path / "out", **SPEC))).build
        done = await ended(stub, made.id)

    assert done.state == pb.BUILD_STATE_FAILED
    assert "the model was unloaded" in done.error
    assert all(task.done() for task in made_by.tasks)


async def test_cancelling_withdraws_its_workers(tmp_path: Path) -> None:
    never = asyncio.Event()

    async def gate(service: str, calls: int) -> None:
        if service == "generator" and calls > 5:
            await never.wait()

    services = FakeServices(gate=gate)
    made_by = TaskExecutor(services.client())
    async with (
        served(tmp_path / "state", services, made_by) as port,
        connected(port) as stub,
    ):
        made = (await stub.CreateBuild(order(tmp_path / "out", **SPEC))).build
        await until(stub, made.id, lambda build: build.state == pb.BUILD_STATE_RUNNING)
        ending = (await stub.CancelBuild(pb.CancelBuildRequest(id=made.id))).build

    assert ending.state == pb.BUILD_STATE_CANCELLED
    assert made_by.tasks and all(task.cancelled() for task in made_by.tasks)


def test_a_name_that_nobody_has_is_answered_with_all_that_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        executor("slurm", FakeServices().client())
    known = ", ".join(EXECUTORS)
    assert str(caught.value) == f"there is no executor 'slurm'; choose one of {known}"
    assert known.startswith("local, kubernetes, ") and known.endswith("tasks")


def test_the_projects_own_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(executor("local", FakeServices().client()), LocalExecutor)
    monkeypatch.delenv("FACELOOM_WORKER_IMAGE", raising=False)
    with pytest.raises(UsageError, match="set FACELOOM_WORKER_IMAGE"):
        executor("kubernetes", FakeServices().client())
