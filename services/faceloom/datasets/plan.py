"""Which candidates there are, and how they are grouped.

A *block* is what is worked on at once; its candidates follow from the recipe alone. A *shard* is a run of
consecutive blocks that is committed at once; how many there are is the operator's choice and reaches no byte.

With `candidates` N, block b holds the ordinals from 64 b. With `accepted` N there are B = ceil(N / 64)
blocks; block b owns the ordinals b, b + B, b + 2 B, ... and stops at the candidate that fills its quota. The
candidates after that one were never planned.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from faceloom.datasets.spec import BuildSpec

BLOCK = 64
BLOCKS_PER_SHARD = 4
# A quality model that accepts less than one in this many does not suit the generator. Blocks start with some
# credit, or bad luck at the beginning would end them.
CANDIDATES_PER_ACCEPTED = 1000
CREDIT = 5
# Ordinals are the lower half of a 64-bit seed.
MAX_ORDINALS = 2**32


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


def block_count(spec: BuildSpec) -> int:
    """How many blocks a build has."""
    return -(-spec.target // BLOCK)


def block(spec: BuildSpec, index: int) -> Block:
    """The block of that index."""
    first = BLOCK * index
    size = min(BLOCK, spec.target - first)
    if spec.candidates is not None:
        return Block(index, range(first, first + size), None)
    stride = block_count(spec)
    longest = range(index, MAX_ORDINALS, stride)
    return Block(index, longest[: CANDIDATES_PER_ACCEPTED * (CREDIT + size)], size)


def block_of(spec: BuildSpec, ordinal: int) -> int:
    """The index of the block that owns a candidate."""
    return ordinal // BLOCK if spec.candidates is not None else ordinal % block_count(spec)


def shard_count(spec: BuildSpec, wanted: int | None) -> int:
    """How many shards to commit in: as wanted, but no more than there are blocks."""
    blocks = block_count(spec)
    return min(wanted or -(-blocks // BLOCKS_PER_SHARD), blocks)


def shard_blocks(spec: BuildSpec, shards: int, index: int) -> range:
    """The blocks of one of `shards` shards; their sizes differ by one at most."""
    blocks = block_count(spec)
    return range(index * blocks // shards, (index + 1) * blocks // shards)


def coverage_faults(
    spec: BuildSpec, blocks: Iterable[int], accepted: Sequence[int], others: Sequence[int]
) -> list[str]:
    """What is wrong with the ordinals that those blocks ended in.

    Args:
        spec: What was asked for.
        blocks: The indexes of the blocks.
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
        kept[block_of(spec, ordinal)].add(ordinal)
    for ordinal in [*accepted, *others]:
        seen[block_of(spec, ordinal)].add(ordinal)
    expected = set(blocks)
    faults += [f"block {index} does not belong here" for index in sorted(seen.keys() - expected)]
    for index in sorted(expected):
        faults += _block_faults(block(spec, index), kept[index], seen[index])
    return faults


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
