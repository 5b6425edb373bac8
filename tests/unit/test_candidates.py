"""Candidates: every one exactly once, whatever the grouping, and however a build grew."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceloom.core.errors import InvalidArgument
from faceloom.datasets.candidates import (
    BLOCK,
    block,
    block_count,
    block_of,
    coverage_faults,
    rounds,
    shard_count,
)
from faceloom.datasets.spec import BuildSpec

counts = st.integers(1, 3000)


@given(counts)
def test_candidates_are_planned_exactly_once(count: int) -> None:
    spec = BuildSpec(candidates=count)
    blocks = [block(rounds(spec), index) for index in range(block_count(spec))]
    assert [at for one in blocks for at in one.ordinals] == list(range(count))
    assert all(len(one.ordinals) <= BLOCK and one.quota is None for one in blocks)


@given(counts)
def test_quotas_add_up_and_streams_are_disjoint(count: int) -> None:
    spec = BuildSpec(accepted=count)
    whole = rounds(spec)
    blocks = [block(whole, index) for index in range(block_count(spec))]
    assert sum(one.quota or 0 for one in blocks) == count
    assert all(1 <= (one.quota or 0) <= BLOCK for one in blocks)
    heads = [at for one in blocks for at in one.ordinals[:20]]
    assert sorted(heads) == list(range(20 * len(blocks)))
    assert all(block_of(whole, at) == one.index for one in blocks for at in one.ordinals[:20])


@given(counts, st.none() | st.integers(1, 100))
def test_shards_share_out_all_blocks_in_order(count: int, wanted: int | None) -> None:
    spec = BuildSpec(candidates=count)
    shards = shard_count(block_count(spec), wanted)
    (whole,) = rounds(spec)
    groups = [whole.shard_blocks(shards, index) for index in range(shards)]
    assert [number for group in groups for number in group] == list(range(block_count(spec)))
    sizes = {len(group) for group in groups}
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
    assert shards <= (wanted or block_count(spec))


def test_the_largest_build_has_distinct_64_bit_seeds() -> None:
    spec = BuildSpec(accepted=10_000_000, seed=2**32 - 1)
    last = block(rounds(spec), block_count(spec) - 1)
    assert last.ordinals[-1] < 2**32


@given(st.integers(1, 300), st.data())
def test_coverage_names_what_is_missing_twice_or_foreign(count: int, data: st.DataObject) -> None:
    spec = BuildSpec(candidates=count)
    everything = list(range(count))
    odd = data.draw(st.sampled_from(everything))
    cut = data.draw(st.integers(0, count))
    blocks, whole = range(block_count(spec)), rounds(spec)
    assert not coverage_faults(whole, blocks, everything[:cut], everything[cut:])
    assert coverage_faults(whole, blocks, [], [at for at in everything if at != odd]) == [
        f"candidate {odd} is missing"
    ]
    assert coverage_faults(whole, blocks, [odd], everything) == [
        f"candidate {odd} is recorded 2 times"
    ]
    assert coverage_faults(whole, blocks, [], [*everything, 64 * len(blocks)])


def test_coverage_of_quotas() -> None:
    whole = rounds(
        BuildSpec(accepted=65)
    )  # two blocks: even ordinals until 64 are kept, odd until 1 is
    even = list(range(0, 128, 2))
    assert not coverage_faults(whole, range(2), [*even, 3], [1])
    assert coverage_faults(whole, range(2), even, [1]) == [
        "block 1 accepted 0 of 1",
        "block 1 went on after its quota was full",
    ]
    assert coverage_faults(whole, range(2), [*even, 3], [1, 5]) == [
        "block 1 went on after its quota was full"
    ]
    assert coverage_faults(whole, range(2), [*even, 3], []) == ["candidate 1 is missing"]


@given(st.lists(st.integers(1, 500), min_size=2, max_size=5, unique=True).map(sorted))
def test_candidates_of_a_build_that_grew_are_those_of_one_made_at_once(targets: list[int]) -> None:
    *earlier, last = targets
    grown = rounds(BuildSpec(candidates=last), earlier)
    indexes = [index for one in grown for index in one.blocks]
    assert indexes == list(range(len(indexes)))
    assert [at for index in indexes for at in block(grown, index).ordinals] == list(range(last))
    assert all(
        block_of(grown, at) == index for index in indexes for at in block(grown, index).ordinals
    )
    # What was planned first stays as it was.
    assert grown[:-1] == rounds(BuildSpec(candidates=earlier[-1]), earlier[:-1])


@given(st.lists(st.integers(1, 3000), min_size=2, max_size=4, unique=True).map(sorted))
def test_rounds_of_quotas_share_no_candidate(targets: list[int]) -> None:
    *earlier, last = targets
    grown = rounds(BuildSpec(accepted=last), earlier)
    assert sum(one.count for one in grown) == last
    for before, after in pairwise(grown):
        reached = max(before.block(index).ordinals[-1] for index in before.blocks)
        assert reached < after.first_ordinal
        assert after.blocks.start == before.blocks.stop
    assert grown[:-1] == rounds(BuildSpec(accepted=earlier[-1]), earlier[:-1])


def test_a_build_without_seeds_left_does_not_grow() -> None:
    with pytest.raises(InvalidArgument, match="no seeds left"):
        rounds(BuildSpec(accepted=10_000_000), [9_000_000])
