"""Makes shards of a build that was begun: for a run that makes all, and for a worker that makes one."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.trace import Span

from faceloom.builds.block_maker import BlockMaker
from faceloom.builds.cancellation import to_end
from faceloom.builds.plan import Plan
from faceloom.builds.shards.commit import Shard
from faceloom.builds.shards.shard import OpenShard, commit_again, retry_failed
from faceloom.builds.stopwatch import Stopwatch
from faceloom.builds.storage.build import Shards
from faceloom.core.tracing import TRACER
from faceloom.datasets.candidates import Block
from faceloom.datasets.outcomes import Outcome


@dataclass(frozen=True)
class ShardMaker:
    """Fills shards and commits them.

    Args:
        plan: What the build was begun with.
        store: Where shards come to count.
        maker: Makes blocks with the services.
        stopwatch: Is told how long committing takes.
        judged: Hears of candidates as they come through.
        committed: Hears of every shard that counts now.
    """

    plan: Plan
    store: Shards
    maker: BlockMaker
    stopwatch: Stopwatch
    judged: Callable[[Iterable[Outcome]], None]
    committed: Callable[[Shard], None]

    async def make(self, indexes: Iterable[int], blocks: int) -> None:
        """All blocks of those shards, `blocks` at a time, in order."""
        work = self._blocks(indexes)

        async def take_blocks() -> None:
            for shard, planned in work:
                with self._traced(planned):
                    made = await self.maker.make_block(
                        planned, lambda batch: self.judged(batch.outcomes)
                    )
                    with self.stopwatch("commit"):
                        await to_end(shard.write, made)
                        if shard.complete(planned.index, made):
                            self.committed(await to_end(shard.commit))

        async with asyncio.TaskGroup() as group:
            for _ in range(blocks):
                group.create_task(take_blocks())

    async def make_failed_again(self, shard: Shard) -> None:
        """The candidates of a shard that could not be made get another try."""
        outcomes, made = await retry_failed(self.plan, self.maker, shard)
        with self.stopwatch("commit"):
            self.committed(await to_end(commit_again, self.store, shard, outcomes, made))

    def _traced(self, planned: Block) -> AbstractContextManager[Span]:
        """A block is a trace of its own; what belongs together is found by the recipe."""
        recipe = self.plan.recipe.digest
        return TRACER.start_as_current_span(
            "block",
            Context(),
            attributes={"faceloom.recipe": recipe, "faceloom.block": planned.index},
            record_exception=False,
        )

    def _blocks(self, indexes: Iterable[int]) -> Iterator[tuple[OpenShard, Block]]:
        for index in indexes:
            blocks = self.plan.blocks(index)
            shard = OpenShard(self.store, index, blocks)
            for number in blocks:
                yield shard, self.plan.block(number)
