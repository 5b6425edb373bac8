"""How a build is run. None of it reaches the dataset's bytes."""

from dataclasses import dataclass, field

from faceloom.builds.retrying import Patience

DEFAULT_JOBS = 4


@dataclass(frozen=True)
class Options:
    """What may differ from run to run of the same build.

    Args:
        jobs: Blocks in flight: while one is drawn, others are generated and judged.
        shards: How many shards to commit in; about one for 256 faces when not given.
        retry_failed: Make the failed candidates of committed shards again.
        patience: How long to wait for services.
    """

    jobs: int = DEFAULT_JOBS
    shards: int | None = None
    retry_failed: bool = False
    patience: Patience = field(default_factory=Patience)


DEFAULT = Options()
