"""Makes builds inside the pipeline service's own process."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from faceloom.builds.options import BuildOptions
from faceloom.builds.progress import BuildProgress
from faceloom.builds.retrying import Patience
from faceloom.builds.run import Result, run_build
from faceloom.builds.service.records import BuildOrder
from faceloom.clients.client import Faceloom

CONCURRENT_BUILDS = 2


@dataclass(frozen=True)
class LocalExecutor:
    """See `Executor`.

    Args:
        faceloom: The model services.
        patience: How long builds wait for those.
        turns: As many builds run at the same time; others wait.
    """

    faceloom: Faceloom
    patience: Patience = field(default_factory=Patience)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENT_BUILDS))

    async def run(self, order: BuildOrder, on_progress: Callable[[BuildProgress], None]) -> Result:
        """Makes everything here."""
        options = BuildOptions(
            order.blocks, order.shards, order.retry_failed, self.patience, order.pool
        )
        async with self.turns:
            return await run_build(order.spec, order.output, self.faceloom, options, on_progress)

    async def withdraw(self, order: BuildOrder) -> None:
        """Nothing goes on elsewhere."""
