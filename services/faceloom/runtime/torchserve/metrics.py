"""TorchServe's own metrics. Only its own machine can read them, so the front shows them beside its own."""

from collections.abc import Iterator
from http.client import HTTPException

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from faceloom.core.proxies import open_url

_TIMEOUT_SECONDS = 2
_MODEL_LABELS = ("model_name", "ModelName")


class TorchServeMetrics(Collector):
    """What TorchServe tells of one model, and of itself.

    Args:
        model: Its name in TorchServe.
        url: Where TorchServe shows its metrics.
    """

    def __init__(self, model: str, url: str) -> None:
        self._model = model
        self._url = url

    def collect(self) -> Iterator[Metric]:
        """TorchServe's metrics as they are now; none while it does not answer."""
        try:
            with open_url(self._url, timeout=_TIMEOUT_SECONDS) as answer:
                families = list(text_string_to_metric_families(answer.read().decode()))
        except (OSError, HTTPException, ValueError):
            # That it is gone is what the engine's check is for.
            return
        for family in families:
            family.samples = [
                sample
                for sample in family.samples
                if all(
                    sample.labels.get(label, self._model) == self._model for label in _MODEL_LABELS
                )
            ]
            if family.samples:
                yield family
