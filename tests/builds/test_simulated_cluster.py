"""A cluster of 200 workers that die at every step, and thousands of shards: nothing lost, nothing twice.

It is a model: time is the order of events, the store a dictionary. What decides in the real thing decides
here, too: the plan, the check of coverage, the executor's judgement of failed pods. The worker is written as
the steps of `faceloom.builds.worker` and `commit`, each of which it may die before.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from faceloom.builds.executors.diagnosis import given_up
from faceloom.datasets.candidates import block, block_count, coverage_faults, rounds
from faceloom.datasets.spec import BuildSpec

WORKERS = 200
SHARDS = 3000
SPEC = BuildSpec(candidates=300_000, seed=5)
ROUNDS = rounds(SPEC)


@dataclass
class Store:
    """A filesystem as far as the protocol needs it: names, what lies under them, and atomic renames."""

    drafts: dict[int, dict[str, Any]] = field(default_factory=dict)
    shards: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)

    def generations(self, index: int) -> list[int]:
        self.requests["list"] += 1
        return [generation for generation in range(9) if (index, generation) in self.shards]

    def read(self, index: int, generation: int) -> dict[str, Any]:
        self.requests["read"] += 1
        return self.shards[index, generation]

    def begin(self, draft: int) -> None:
        self.requests["begin"] += 1
        self.drafts[draft] = {}

    def write(self, draft: int, name: str, data: Any) -> None:
        self.requests["write"] += 1
        self.drafts[draft][name] = data

    def rename(self, draft: int, index: int, generation: int) -> bool:
        """Puts a draft in place, unless somebody did."""
        self.requests["rename"] += 1
        if (index, generation) in self.shards:
            return False
        self.shards[index, generation] = self.drafts.pop(draft)
        return True

    def remove(self, draft: int) -> None:
        self.requests["remove"] += 1
        del self.drafts[draft]

    def remove_older(self, index: int, generation: int) -> None:
        for older in self.generations(index):
            if older < generation:
                self.requests["remove"] += 1
                del self.shards[index, older]


def counts(files: dict[str, Any], index: int) -> bool:
    """Whether a shard is whole: its manifest is of this shard and names what is there."""
    return "manifest" in files and files["manifest"] == (index, hash(tuple(files["outcomes"])))


def worker(store: Store, index: int, name: int) -> Iterator[str]:
    """The steps of a worker; it may die where it yields, and others work meanwhile."""
    yield "started"
    for generation in reversed(store.generations(index)):
        if counts(store.read(index, generation), index):
            return
        yield "read"
    generation = max(store.generations(index), default=-1) + 1
    store.begin(name)
    yield "begun"
    blocks = ROUNDS[0].shard_blocks(SHARDS, index)
    made = [ordinal for number in blocks for ordinal in block(ROUNDS, number).ordinals]
    store.write(name, "outcomes", made[: len(made) // 2])
    yield "half written"
    store.write(name, "outcomes", made)
    yield "written"
    store.write(name, "manifest", (index, hash(tuple(made))))
    yield "synced"
    if store.rename(name, index, generation):
        yield "renamed"
    else:
        yield "lost the race"
        store.remove(name)
    store.remove_older(index, generation)
    yield "committed"


@dataclass
class Pod:
    """A try of an index, and how it ended."""

    index: int
    steps: Iterator[str]
    created: int
    exit_code: int | None = None

    def to_json(self) -> dict[str, Any]:
        state = {"terminated": {"exitCode": self.exit_code}}
        return {
            "metadata": {
                "annotations": {"batch.kubernetes.io/job-completion-index": str(self.index)},
                "creationTimestamp": f"{self.created:09d}",
            },
            "status": {"containerStatuses": [{"name": "worker", "state": state}]},
        }


class Cluster:
    """A Job controller with room for so many pods, and a node that loses them.

    Args:
        luck: Decides everything that is not decided.
        deaths: How likely a worker dies at a step.
        doubled: How likely a pod is started although one of its index runs: a node that was lost and is not.
        poisoned: The workers of these indexes crash by themselves in the middle of their work.
    """

    def __init__(
        self,
        luck: random.Random,
        deaths: float,
        doubled: float = 0.002,
        poisoned: frozenset[int] = frozenset(),
    ) -> None:
        self.store = Store()
        self.api: Counter[str] = Counter()
        self.died: Counter[str] = Counter()
        self.failed: list[Pod] = []
        self.pods = 0
        self._luck = luck
        self._deaths, self._doubled, self._poisoned = deaths, doubled, poisoned
        self._running: list[Pod] = []
        self._missing = list(range(SHARDS))[::-1]
        self._done: set[int] = set()

    def run(self, attempts: int = 4) -> str:
        """Until every index is done; answers with why it was stopped, if it was."""
        seen = 0
        while len(self._done) < SHARDS:
            while self._missing and len(self._running) < WORKERS:
                self._start(self._missing.pop())
            self._step(self._luck.randrange(len(self._running)))
            if len(self.failed) > seen:
                seen = len(self.failed)
                self.api["list failed"] += 1
                if reason := given_up([pod.to_json() for pod in self.failed], attempts):
                    return reason
        return ""

    def _start(self, index: int) -> None:
        self.pods += 1
        self.api["pod"] += 1
        pod = Pod(index, worker(self.store, index, self.pods), self.pods)
        self._running.append(pod)

    def _step(self, at: int) -> None:
        pod = self._running[at]
        try:
            step = next(pod.steps)
        except StopIteration:
            self._running.pop(at)
            self._done.add(pod.index)
            return
        if self._luck.random() < self._doubled and pod.index not in self._done:
            self._start(pod.index)
        crashed = pod.index in self._poisoned and step == "half written"
        if crashed or self._luck.random() < self._deaths:
            self._running.remove(pod)
            self.died[step] += 1
            if crashed:
                pod.exit_code = 1
                self.failed.append(pod)
            if pod.index not in self._done:
                self._missing.append(pod.index)


def dataset(store: Store) -> list[int]:
    """The candidates that the finalizer would put together: of every shard the newest that counts."""
    made: list[int] = []
    for index in range(SHARDS):
        for generation in reversed(store.generations(index)):
            files = store.read(index, generation)
            if counts(files, index):
                made += files["outcomes"]
                break
    return made


@pytest.mark.parametrize(("seed", "deaths"), [(1, 0.0), (2, 0.01), (3, 0.05), (4, 0.2)])
def test_no_candidate_is_lost_or_doubled(seed: int, deaths: float) -> None:
    cluster = Cluster(random.Random(seed), deaths)
    assert cluster.run() == ""
    made = dataset(cluster.store)
    assert coverage_faults(ROUNDS, range(block_count(SPEC)), [], made) == []
    assert len(made) == SPEC.target
    if deaths:
        assert set(cluster.died) >= {"started", "begun", "half written", "written", "synced"}
        assert set(cluster.died) >= {"renamed", "committed"}
        assert cluster.store.drafts  # what the dead left counts for nothing


def test_a_shard_that_always_fails_stops_the_job_after_its_tries() -> None:
    cluster = Cluster(random.Random(5), deaths=0.05, poisoned=frozenset({1234}))
    assert "shard 1234 failed 4 times" in cluster.run(attempts=4)
    blocks = ROUNDS[0].shard_blocks(SHARDS, 1234)
    assert coverage_faults(ROUNDS, blocks, [], dataset(cluster.store))
    assert 1 < len(cluster.store.shards) < SHARDS


def test_the_store_and_the_api_server_are_asked_by_the_shard() -> None:
    cluster = Cluster(random.Random(1), deaths=0.01)
    cluster.run()
    extra = cluster.pods - SHARDS
    assert 0 < extra < SHARDS
    # Three listings, a read for who comes late, a draft with three writes, a rename, a removal.
    assert cluster.store.requests.total() <= 10 * cluster.pods
    assert cluster.api.total() <= 2 * cluster.pods
