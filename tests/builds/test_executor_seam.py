"""What the service asks of an executor: to run, nothing when it stops, to withdraw when it is cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

from faceloom.builds.service.records import BuildIndex, BuildOrder, BuildRecord, State
from faceloom.builds.service.registry import Builds
from faceloom.core.errors import Unavailable
from faceloom.datasets.spec import BuildSpec


class Elsewhere:
    """An executor whose builds never end by themselves."""

    def __init__(self, deaf: bool = False) -> None:
        self.running = asyncio.Event()
        self.asked: list[str] = []
        self._deaf = deaf

    async def run(self, order: BuildOrder, on_progress: Any) -> NoReturn:
        self.asked.append("run")
        self.running.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def withdraw(self, order: BuildOrder) -> None:
        self.asked.append("withdraw")
        await asyncio.sleep(0)
        if self._deaf:
            raise Unavailable("the API server does not answer")


@asynccontextmanager
async def builds(state: Path, executor: Elsewhere) -> AsyncIterator[Builds]:
    made = Builds(BuildIndex(state), executor)
    await made.start()
    yield made
    await made.stop()


def order(folder: Path) -> BuildOrder:
    return BuildOrder("one", BuildSpec(candidates=10), folder / "out", None, 1, False)


async def test_a_service_that_stops_withdraws_nothing_and_the_next_one_goes_on(
    tmp_path: Path,
) -> None:
    first, second = Elsewhere(), Elsewhere()
    async with builds(tmp_path / "state", first) as service:
        service.create(order(tmp_path))
        await first.running.wait()
    async with builds(tmp_path / "state", second) as service:
        await second.running.wait()
        assert service.get(order(tmp_path).build_id).state is State.PENDING
    assert first.asked == second.asked == ["run"]


async def test_cancelling_withdraws_once(tmp_path: Path) -> None:
    executor = Elsewhere()
    async with builds(tmp_path / "state", executor) as service:
        build = service.create(order(tmp_path))
        await executor.running.wait()
        await asyncio.gather(service.cancel(build.id), service.cancel(build.id))
        assert build.state is State.CANCELLED
    assert executor.asked == ["run", "withdraw"]


async def test_what_cannot_be_withdrawn_is_not_called_cancelled(tmp_path: Path) -> None:
    executor = Elsewhere(deaf=True)
    async with builds(tmp_path / "state", executor) as service:
        build = service.create(order(tmp_path))
        await executor.running.wait()
        await service.cancel(build.id)
        assert build.state is State.FAILED
        assert build.record.end is not None
        assert build.record.end.error.endswith("elsewhere: the API server does not answer")


async def test_a_service_killed_while_it_cancelled_is_followed_by_one_that_ends_it(
    tmp_path: Path,
) -> None:
    index = BuildIndex(tmp_path / "state")
    index.open()
    index.put(BuildRecord(order(tmp_path), 1, cancelled=True))
    index.close()
    executor = Elsewhere()
    async with builds(tmp_path / "state", executor) as service:
        build = service.get(order(tmp_path).build_id)
        assert build.task is not None
        await build.task
        assert build.state is State.CANCELLED
    assert executor.asked == ["withdraw"]
