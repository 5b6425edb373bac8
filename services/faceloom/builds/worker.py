"""One worker of a build that many make together: it makes one shard, commits it, and is done.

Workers share nothing but the build's place. A folder they hold together, and who puts the dataset together
holds it alone. A worker may die at any moment, and two may make the same shard: the commit decides.
"""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from faceloom.builds.block_maker import BlockMaker, patient_services
from faceloom.builds.cancellation import one_cause, to_end
from faceloom.builds.discovery import probe
from faceloom.builds.options import DEFAULT_BLOCKS, BuildOptions
from faceloom.builds.plan import Plan
from faceloom.builds.pool import Pool, judge_of, open_pool
from faceloom.builds.retrying import Patience
from faceloom.builds.run import run_build
from faceloom.builds.run_stats import recorded
from faceloom.builds.shards.commit import Shard
from faceloom.builds.shards.maker import ShardMaker
from faceloom.builds.stages import services_of
from faceloom.builds.stopwatch import Stopwatch
from faceloom.builds.storage.build import BuildStorage
from faceloom.builds.storage.folder import CannotWrite, FolderInUse
from faceloom.builds.storage.open import open_build
from faceloom.clients.client import Faceloom
from faceloom.core.errors import FaceloomError, FailedPrecondition, UsageError
from faceloom.datasets.objects import StoreMisconfigured
from faceloom.datasets.place import Output
from faceloom.datasets.recipe import Recipe
from faceloom.datasets.spec import BuildSpec

log = logging.getLogger(__name__)

# Exit codes, as whoever started the worker reads them.
FAILED: Final = 1
DETERMINISTIC: Final = 65
MISCONFIGURED: Final = 78
STOPPED: Final = 143

# What a second try would meet again.
_LASTING = {"MODEL_CHANGED", "TOO_FEW_ACCEPTED", "UNKNOWN_CLASSES"}
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
_LOCK_POLL_SECONDS = 0.5


class Misconfigured(UsageError):
    """No worker that is started like this can do anything."""


@dataclass(frozen=True)
class Assignment:
    """What a worker is to do.

    Args:
        output: Where the dataset is to be; all workers of the build see it.
        index: Which shard.
        spec: What is built; what was recorded in the folder when not given.
        shards: How many shards a build that is begun now has, as in `BuildOptions`.
        blocks: Blocks in flight.
        retry_failed: Make the failed candidates of the shard again if it is committed already.
        finalize: Put the dataset together if no shard is missing any more.
    """

    output: Output
    index: int
    spec: BuildSpec | None = None
    shards: int | None = None
    blocks: int = DEFAULT_BLOCKS
    retry_failed: bool = False
    finalize: bool = False


async def work(
    assignment: Assignment, faceloom: Faceloom, patience: Patience | None = None
) -> None:
    """Returns when the shard is committed, by this worker or by another.

    Cancelling is safe at any moment and removes the draft; so is kill -9, which leaves it.

    Raises:
        Misconfigured: The assignment cannot be anybody's.
        UsageError: The folder holds another build, or something else.
        ServiceError: A service stayed away, changed, or failed everything; the folder cannot be written.
    """
    patience = patience or Patience()
    storage = open_build(assignment.output)
    await to_end(storage.check)
    begun = None if assignment.spec else await to_end(storage.read_plan)
    spec = _spec(assignment, begun)
    with one_cause(assignment.output):
        stopwatch = Stopwatch((*services_of(spec.stages), "encode", "commit"))
        services = patient_services(spec.stages, assignment.blocks, patience, stopwatch)
        found = await probe(spec, faceloom, services, judge_of(begun) if begun else "")
        async with _held(storage):
            plan = await to_end(_begin, storage, found.recipe, assignment)
            pool = await to_end(open_pool, storage.output, plan.selection.pool)
            block_maker = BlockMaker(
                plan.recipe,
                found.items_per_message,
                faceloom,
                services,
                stopwatch,
                await to_end(Pool, pool, plan.recipe) if pool else None,
                plan.selection.kept,
            )
            async with recorded(storage, stopwatch):
                await _make(assignment, storage, plan, block_maker, stopwatch)
        if assignment.finalize and len(await to_end(storage.committed)) == plan.shards:
            await _finalize(assignment, storage, spec, plan, faceloom, patience)


def exit_code(error: FaceloomError) -> int:
    """What a worker that ended in this error tells whoever started it."""
    if isinstance(error, Misconfigured | StoreMisconfigured):
        return MISCONFIGURED
    if isinstance(error, CannotWrite):
        return MISCONFIGURED if error.cause.errno in _FORBIDDEN else FAILED
    if isinstance(error, FailedPrecondition):
        return DETERMINISTIC if error.reason in _LASTING else FAILED
    return DETERMINISTIC if isinstance(error, UsageError) else FAILED


def _spec(assignment: Assignment, begun: Plan | None) -> BuildSpec:
    if assignment.spec is not None:
        if assignment.spec.is_choice:
            raise Misconfigured(
                "a worker knows no scores but its own: make a pool, then faceloom dataset select POOL --top N"
            )
        return assignment.spec
    if begun is None:
        raise Misconfigured(
            f"{assignment.output} holds no plan; give --candidates N or --accepted N to begin a build,"
            " or check that it is where the build was begun"
        )
    return begun.recipe.spec


def _begin(storage: BuildStorage, recipe: Recipe, assignment: Assignment) -> Plan:
    plan = storage.take_up(recipe, assignment.shards)
    if not 0 <= assignment.index < plan.shards:
        raise Misconfigured(
            f"there is no shard {assignment.index}: the build has {plan.shards}; start as many workers"
        )
    return plan


async def _make(
    assignment: Assignment,
    storage: BuildStorage,
    plan: Plan,
    block_maker: BlockMaker,
    stopwatch: Stopwatch,
) -> None:
    store = storage.shards(plan)
    maker = ShardMaker(plan, store, block_maker, stopwatch, lambda outcomes: None, _say_committed)
    try:
        shard = await to_end(store.find, assignment.index)
        if shard is None:
            await maker.make([assignment.index], assignment.blocks)
        elif assignment.retry_failed and shard.manifest.failed:
            await to_end(storage.reopen)
            await maker.make_failed_again(shard)
        else:
            _say_committed(shard)
    finally:
        store.discard()


async def _finalize(
    assignment: Assignment,
    storage: BuildStorage,
    spec: BuildSpec,
    plan: Plan,
    faceloom: Faceloom,
    patience: Patience,
) -> None:
    """Whoever sees all shards committed does it, one after the other; the first has something to do."""
    options = BuildOptions(assignment.blocks, patience=patience)
    while not await to_end(_is_finished, storage, plan):
        try:
            result = await run_build(spec, assignment.output, faceloom, options)
        except FolderInUse:
            await asyncio.sleep(_LOCK_POLL_SECONDS)
        else:
            log.info("finished", extra={"dataset_digest": result.summary.dataset_digest})
            return


def _is_finished(storage: BuildStorage, plan: Plan) -> bool:
    try:
        summary = storage.read_summary()
    except ValueError:
        return False
    return summary is not None and summary.recipe_digest == plan.recipe.digest


@asynccontextmanager
async def _held(storage: BuildStorage) -> AsyncIterator[None]:
    """Holds the place with the other workers; waits for who holds it alone."""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(storage.lock(shared=True))
                break
            except FolderInUse:
                await asyncio.sleep(_LOCK_POLL_SECONDS)
        yield


def _say_committed(shard: Shard) -> None:
    log.info("committed", extra={"shard": shard.manifest.index, "folder": shard.folder.name})
