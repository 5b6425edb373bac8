"""What a registry tells Prometheus, as numbers to compare."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

Told = dict[str, dict[tuple[str, ...], float]]

# What a restart, or another executor, must not change.
LASTING = (
    "faceloom_build_items_total",
    "faceloom_build_failures_total",
    "faceloom_build_quality_score_bucket",
    "faceloom_build_quality_score_count",
    "faceloom_build_quality_score_sum",
    "faceloom_build_retries_total",
    "faceloom_build_shards_committed_total",
    "faceloom_build_stored_bytes_total",
)


def told(registry: CollectorRegistry) -> Told:
    """Every sample by its name and the values of its labels, in order of the labels' names."""
    samples: Told = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            samples.setdefault(sample.name, {})[labels] = sample.value
    return samples


def lasting(samples: Told) -> Told:
    return {name: samples.get(name, {}) for name in LASTING}
