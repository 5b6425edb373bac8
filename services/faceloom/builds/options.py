"""How a build is run. The recipe says what is made; none of this is in it."""

from dataclasses import dataclass, field

from faceloom.builds.retrying import Patience
from faceloom.datasets.place import Output

DEFAULT_BLOCKS = 4


@dataclass(frozen=True)
class BuildOptions:
    """What may differ from run to run of the same build.

    Args:
        blocks: Blocks in flight: while one is drawn, others are generated and judged.
        shards: How many shards to commit in; about one for 256 faces when not given.
        retry_failed: Make the failed candidates of committed shards again.
        patience: How long to wait for services.
        pool: A finished dataset whose scores and faces are used instead of being made again.
        quality: The quality model that judges, `name/version`; the one that is served when not given.
        kept: The ordinals that people chose, as `BuildSpec.kept` names them.
    """

    blocks: int = DEFAULT_BLOCKS
    shards: int | None = None
    retry_failed: bool = False
    patience: Patience = field(default_factory=Patience)
    pool: Output | None = None
    quality: str = ""
    kept: tuple[int, ...] = ()


DEFAULT = BuildOptions()
