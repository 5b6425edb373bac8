"""Which candidates there are, and how they are grouped.

A *block* is what is worked on at once; its candidates follow from the recipe alone. A *shard* is a run of
consecutive blocks that is committed at once; how many there are is the operator's choice and reaches no byte.
A build that grows is made in *rounds*: each has its own candidates, blocks and shards after those of the
rounds before.

With `candidates` N, block b holds the ordinals from 64 b. With `accepted` N there are B = ceil(N / 64)
blocks; block b owns the ordinals b, b + B, b + 2 B, ... and stops at the candidate that fills its quota. The
candidates after that one were never planned.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from faceloom.core.errors import InvalidArgument
from faceloom.datasets.spec import BuildSpec

BLOCK: Final = 64
BLOCKS_PER_SHARD: Final = 4
# A quality model that accepts less than one in this many does not suit the generator. Blocks start with some
# credit, or bad luck at the beginning would end them.
CANDIDATES_PER_ACCEPTED: Final = 1000
CREDIT: Final = 5
# Ordinals are the lower half of a 64-bit seed.
MAX_ORDINALS: Final = 2**32


@dataclass(frozen=True)
class Block:
    """Candidates that are worked on together.

    Args:
        index: Its place among the blocks.
        ordinals: The candidates it may use, in order.
        quota: How many it accepts before it stops; all of its ordinals are used when there is none.
    """

    index: int
    ordinals: range
    quota: int | None

    def hopeless(self, candidates: int, accepted: int) -> bool:
        """Whether so few of so many were accepted that the quota is not worth waiting for."""
        patience = CANDIDATES_PER_ACCEPTED * (CREDIT + accepted)
        return self.quota is not None and candidates >= min(patience, len(self.ordinals))


@dataclass(frozen=True)
class Round:
    """What a build was asked for at once.

    Args:
        count: How many candidates, or accepted faces.
        quota: It counts accepted faces.
        first_ordinal: The first candidate it may use.
        first_block: The index of its first block.
    """

    count: int
    quota: bool
    first_ordinal: int = 0
    first_block: int = 0

    @property
    def blocks(self) -> range:
        """The indexes of its blocks."""
        return range(self.first_block, self.first_block + -(-self.count // BLOCK))

    @property
    def end(self) -> int:
        """The ordinal after all that it may use."""
        if not self.quota:
            return self.first_ordinal + self.count
        longest = CANDIDATES_PER_ACCEPTED * (CREDIT + BLOCK)
        return min(self.first_ordinal + longest * len(self.blocks), MAX_ORDINALS)

    def block(self, index: int) -> Block:
        """The block of that index."""
        place = index - self.first_block
        size = min(BLOCK, self.count - BLOCK * place)
        if not self.quota:
            first = self.first_ordinal + BLOCK * place
            return Block(index, range(first, first + size), None)
        own = range(self.first_ordinal + place, MAX_ORDINALS, len(self.blocks))
        return Block(index, own[: CANDIDATES_PER_ACCEPTED * (CREDIT + size)], size)

    def block_of(self, ordinal: int) -> int:
        """The index of the block that owns a candidate."""
        place = ordinal - self.first_ordinal
        return self.first_block + (place % len(self.blocks) if self.quota else place // BLOCK)

    def shard_blocks(self, shards: int, index: int) -> range:
        """The indexes of the blocks of one of its `shards` shards; their sizes differ by one at most."""
        count = len(self.blocks)
        return self.blocks[index * count // shards : (index + 1) * count // shards]


def rounds(spec: BuildSpec, grown_from: Sequence[int] = ()) -> tuple[Round, ...]:
    """The rounds of a build that has what `spec` says in the end.

    Args:
        spec: What was asked for.
        grown_from: What it was asked for earlier, growing.

    Raises:
        InvalidArgument: There are not so many seeds.
    """
    made: list[Round] = []
    before = ordinal = first_block = 0
    for target in (*grown_from, spec.target):
        made.append(Round(target - before, spec.candidates is None, ordinal, first_block))
        before, ordinal, first_block = target, made[-1].end, made[-1].blocks.stop
    if made[-1].first_ordinal >= MAX_ORDINALS:
        raise InvalidArgument("the build has no seeds left to grow", field="spec.size")
    return tuple(made)


def block_count(spec: BuildSpec) -> int:
    """How many blocks a build has that is made in one round."""
    return -(-spec.target // BLOCK)


def shard_count(blocks: int, wanted: int | None) -> int:
    """How many shards to commit blocks in: as wanted, but no more than there are blocks."""
    return min(wanted or -(-blocks // BLOCKS_PER_SHARD), blocks)


def coverage_faults(
    rounds: Sequence[Round],
    blocks: Iterable[int],
    accepted: Sequence[int],
    others: Sequence[int],
) -> list[str]:
    """What is wrong with the ordinals that those blocks ended in.

    Args:
        rounds: Of the build.
        blocks: The indexes of the blocks that are there.
        accepted: Ordinals of accepted candidates.
        others: Ordinals of rejected and failed candidates.
    """
    faults = [
        f"candidate {ordinal} is recorded {times} times"
        for ordinal, times in Counter([*accepted, *others]).items()
        if times > 1
    ]
    kept, seen = defaultdict(set), defaultdict(set)
    for ordinal in accepted:
        kept[block_of(rounds, ordinal)].add(ordinal)
    for ordinal in [*accepted, *others]:
        seen[block_of(rounds, ordinal)].add(ordinal)
    expected = set(blocks)
    faults += [f"block {index} does not belong here" for index in sorted(seen.keys() - expected)]
    for index in sorted(expected):
        faults += _block_faults(block(rounds, index), kept[index], seen[index])
    return faults


def block(rounds: Sequence[Round], index: int) -> Block:
    """The block of that index."""
    return next(one for one in reversed(rounds) if one.first_block <= index).block(index)


def block_of(rounds: Sequence[Round], ordinal: int) -> int:
    """The index of the block that owns a candidate."""
    return next(one for one in reversed(rounds) if one.first_ordinal <= ordinal).block_of(ordinal)


def _block_faults(planned: Block, kept: set[int], seen: set[int]) -> list[str]:
    if planned.quota is None:
        return [
            f"candidate {ordinal} is missing" for ordinal in planned.ordinals if ordinal not in seen
        ]
    faults = [
        f"candidate {ordinal} is missing"
        for ordinal in planned.ordinals[: len(seen)]
        if ordinal not in seen
    ]
    if len(kept) != planned.quota:
        faults.append(f"block {planned.index} accepted {len(kept)} of {planned.quota}")
    if seen and max(seen) not in kept:
        faults.append(f"block {planned.index} went on after its quota was full")
    return faults
