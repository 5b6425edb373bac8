"""What Prometheus is told of builds: where each of the newest stands when it asks.

Nothing is counted here. Values follow from what lies with the build, manifests of shards and records of what
was spent, and from what the service remembers. So they go on where they were when it is started again, and
hold what worker pods did that are gone.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from faceloom.builds.service.records import Build, State
from faceloom.builds.shard_stats import SCORE_BOUNDS, Census
from faceloom.builds.stages import services_of

# A build is a label value. Those that run are always shown, and of the others the newest.
SHOWN = 20


class BuildCollector(Collector):
    """The metrics of a pipeline service.

    Args:
        newest_first: Answers with all builds.
    """

    def __init__(self, newest_first: Callable[[], Iterable[Build]]) -> None:
        self._newest_first = newest_first

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        builds = list(self._newest_first())
        yield _by_state(builds)
        shown = [build for at, build in enumerate(builds) if at < SHOWN or build.record.end is None]
        yield from _standing(shown)
        yield from _progress(shown)
        yield from _work(shown)
        yield from _candidates(shown)


def _by_state(builds: list[Build]) -> Metric:
    family = GaugeMetricFamily(
        "faceloom_builds", "Builds that the service knows, by state.", labels=["state"]
    )
    for state in State:
        family.add_metric([_name(state)], sum(build.state is state for build in builds))
    return family


def _standing(builds: list[Build]) -> Iterator[Metric]:
    info = InfoMetricFamily("faceloom_build", "What is built.", labels=["build"])
    state = GaugeMetricFamily(
        "faceloom_build_state", "1 for the state the build is in.", labels=["build", "state"]
    )
    created = GaugeMetricFamily(
        "faceloom_build_created_timestamp_seconds", "When it was ordered.", labels=["build"]
    )
    ended = GaugeMetricFamily(
        "faceloom_build_ended_timestamp_seconds",
        "When it ended, and why if it failed.",
        labels=["build", "state", "reason"],
    )
    for build in builds:
        labels = {
            "output": str(build.output),
            "recipe": build.progress.recipe_digest,
            "dataset": build.dataset_digest,
        }
        info.add_metric([build.id], labels)
        for one in State:
            state.add_metric([build.id, _name(one)], build.state is one)
        created.add_metric([build.id], build.record.create_time_ns / 1e9)
        if end := build.record.end:
            ended.add_metric([build.id, _name(end.state), end.reason], end.time_ns / 1e9)
    return iter((info, state, created, ended))


def _progress(builds: list[Build]) -> Iterator[Metric]:
    ratio = GaugeMetricFamily(
        "faceloom_build_progress_ratio",
        "How much of what was ordered is there, committed or not, from 0 to 1.",
        labels=["build"],
    )
    judged = GaugeMetricFamily(
        "faceloom_build_judged_candidates",
        "Candidates judged so far, committed or not.",
        labels=["build"],
    )
    kept = GaugeMetricFamily(
        "faceloom_build_kept_candidates",
        "Of those, accepted.",
        labels=["build"],
    )
    shards = GaugeMetricFamily(
        "faceloom_build_shards", "Shards in the plan; 0 while it is not known.", labels=["build"]
    )
    committed = CounterMetricFamily(
        "faceloom_build_shards_committed", "Shards that count.", labels=["build"]
    )
    last = GaugeMetricFamily(
        "faceloom_build_last_commit_timestamp_seconds",
        "When the service last saw a shard come to count.",
        labels=["build"],
    )
    for build in builds:
        progress, spec = build.progress, build.record.order.spec
        done = progress.processed if spec.accepted is None else progress.kept
        wanted = spec.candidates if spec.accepted is None else spec.accepted
        assert wanted is not None
        ratio.add_metric([build.id], min(1.0, done / wanted))
        judged.add_metric([build.id], progress.processed)
        kept.add_metric([build.id], progress.kept)
        shards.add_metric([build.id], progress.shards)
        committed.add_metric([build.id], progress.shards_committed)
        if progress.committed_at:
            last.add_metric([build.id], progress.committed_at)
    return iter((ratio, judged, kept, shards, committed, last))


def _work(builds: list[Build]) -> Iterator[Metric]:
    seconds = CounterMetricFamily(
        "faceloom_build_stage_seconds",
        "Time spent on the build by every run and by workers that have ended, by stage; stages overlap.",
        labels=["build", "stage"],
    )
    retries = CounterMetricFamily(
        "faceloom_build_retries",
        "Calls that those had to repeat, by service.",
        labels=["build", "service"],
    )
    for build in builds:
        for stage, spent in build.progress.seconds.items():
            seconds.add_metric([build.id, stage], spent)
        for service in services_of(build.record.order.spec.stages):
            retries.add_metric([build.id, service], build.progress.retries.get(service, 0))
    return iter((seconds, retries))


def _candidates(builds: list[Build]) -> Iterator[Metric]:
    items = CounterMetricFamily(
        "faceloom_build_items",
        "Candidates in committed shards, by how they ended.",
        labels=["build", "outcome"],
    )
    failures = CounterMetricFamily(
        "faceloom_build_failures",
        "Candidates in committed shards that were not made, by who failed and why.",
        labels=["build", "service", "reason"],
    )
    scores = HistogramMetricFamily(
        "faceloom_build_quality_score",
        "Quality scores of the candidates in committed shards.",
        labels=["build"],
    )
    stored = CounterMetricFamily(
        "faceloom_build_stored_bytes", "Bytes in committed shards.", labels=["build"]
    )
    for build in builds:
        progress = build.progress
        for outcome in ("accepted", "rejected", "failed"):
            items.add_metric([build.id, outcome], getattr(progress, outcome))
        if census := progress.census:
            for (service, reason), count in sorted(census.failures.items()):
                failures.add_metric([build.id, service, reason], count)
            scores.add_metric([build.id], _buckets(census), census.score_sum)
            stored.add_metric([build.id], census.bytes)
    return iter((items, failures, scores, stored))


def _buckets(census: Census) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus has them; no score is above the last bound."""
    below = list(accumulate(census.scores[bound] for bound in SCORE_BOUNDS))
    finite = [(str(bound), float(count)) for bound, count in zip(SCORE_BOUNDS, below, strict=True)]
    return [*finite, ("+Inf", float(below[-1]))]


def _name(state: State) -> str:
    return state.value.lower()
