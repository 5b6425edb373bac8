"""The recipe: canonical JSON of everything that determines a dataset's bytes, and nothing else.

Engines, jobs, shards and folders are not in it, so builds that differ only in those are the same dataset.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

from faceloom.common.v1 import model_pb2
from faceloom.core.wording import said
from faceloom.datasets.spec import BuildSpec

# Raised when the same recipe would give other bytes than before: marks on pictures, layout of files, plan.
SCHEMA = 1


@dataclass(frozen=True)
class Model:
    """A model, and what it runs on: two answers of equal models to one request are the same bytes."""

    name: str
    version: str
    digest: str
    license: str
    device: str
    processor: str

    @classmethod
    def of(cls, info: model_pb2.ModelInfo) -> Self:
        """The model that signed a response."""
        return cls(info.name, info.version, info.digest, info.license, info.device, info.processor)

    @property
    def reference(self) -> str:
        """What requests call it, also where several versions are served."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the bytes.

    Args:
        spec: What was asked for.
        models: Who answers, by service.
        threshold: The quality score from which a face is accepted.
        class_names: The class of every label id, in order.
        encoder: The library that compresses the PNG files, with its version.
    """

    spec: BuildSpec
    models: Mapping[str, Model]
    threshold: float
    class_names: tuple[str, ...]
    encoder: str

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON types."""
        return {
            "schema": SCHEMA,
            "spec": asdict(self.spec),
            "models": {service: asdict(model) for service, model in self.models.items()},
            "quality_threshold": self.threshold,
            "class_names": list(self.class_names),
            "png_encoder": self.encoder,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The recipe that `to_json` wrote.

        Raises:
            ValueError: It was written by another version of Faceloom.
        """
        if data["schema"] != SCHEMA:
            raise ValueError(f"recipe schema {data['schema']}, this version writes {SCHEMA}")
        return cls(
            spec=BuildSpec(**data["spec"]),
            models={service: Model(**model) for service, model in data["models"].items()},
            threshold=data["quality_threshold"],
            class_names=tuple(data["class_names"]),
            encoder=data["png_encoder"],
        )

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical JSON, in lower-case hex."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()

    def seed_of(self, ordinal: int) -> int:
        """The global seed of a candidate: streams of different recipe seeds never meet."""
        return (self.spec.seed << 32) + ordinal

    def id_of(self, seed: int) -> str:
        """The name of a candidate in every dataset: the same face of another recipe has another."""
        return hashlib.sha256(f"{self.digest}{seed}".encode()).hexdigest()[:16]


def canonical_json(data: Any) -> bytes:
    """One text for equal data: sorted keys, no spaces, UTF-8, no NaN."""
    text = json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def differences(old: Recipe, new: Recipe) -> list[str]:
    """What differs, a line each, for people: `models.sketch.version: 1 -> 2`."""
    before, after = _flat(old.to_json()), _flat(new.to_json())
    return [
        f"{path}: {said(before.get(path))} -> {said(after.get(path))}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


def _flat(data: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {path: data}
    return {
        name: value
        for key, inner in data.items()
        for name, value in _flat(inner, f"{path}.{key}" if path else key).items()
    }
