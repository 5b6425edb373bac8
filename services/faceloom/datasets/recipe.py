"""The recipe: canonical JSON of everything that was decided about a dataset, and nothing else. It names it.

Engines, blocks in flight, shards, folders, the encoder and the kind of processor are not in it. What made the
faces is their *source*, a part of it. All of it but the size is the *method*; a build that grows keeps it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Self

from faceloom.common.v1 import model_pb2
from faceloom.core.wording import said
from faceloom.datasets.candidates import Round, rounds
from faceloom.datasets.filter import By, Filter
from faceloom.datasets.identity import FaceSource, canonical_json
from faceloom.datasets.spec import BuildSpec
from faceloom.datasets.stage import FACES, SEGMENTATION, SKETCH, Kind, Stage

SCHEMA: Final = 2


@dataclass(frozen=True)
class ModelIdentity:
    """A model; on the same kind of processor, equal models answer a request with the same bytes."""

    name: str
    version: str
    digest: str
    license: str

    @classmethod
    def of(cls, info: model_pb2.ModelInfo) -> Self:
        """The model that signed a response."""
        return cls(info.name, info.version, info.digest, info.license)

    @property
    def reference(self) -> str:
        """What requests call it, also where several versions are served."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, order=True)
class Platform:
    """What a service computed on. Kernels of two kinds of processors may differ in their last bits."""

    service: str
    device: str
    processor: str

    @classmethod
    def of(cls, service: str, info: model_pb2.ModelInfo) -> Self:
        """What the model ran on that signed a response."""
        return cls(service, info.device, info.processor)


@dataclass(frozen=True)
class Recipe:
    """Everything that was decided.

    Args:
        spec: What was asked for.
        source: What makes the faces.
        models: Who answers, by service.
        filter: Which faces are accepted.
        stages: What is made of accepted faces.
        class_names: The class of every label id, in order; none where no stage makes layouts.
        grown_from: The numbers of accepted faces that it was asked for earlier, if it grew.
        encoder: Who wrote all PNG files, where the recipe says so: schema 1.
        platforms: What all services computed on, where the recipe says so: schema 1.
        written: The JSON it was read from; it keeps what this version does not know.
    """

    spec: BuildSpec
    source: FaceSource
    models: Mapping[str, ModelIdentity]
    filter: Filter
    stages: tuple[Stage, ...]
    class_names: tuple[str, ...]
    grown_from: tuple[int, ...] = ()
    encoder: str = ""
    platforms: tuple[Platform, ...] = ()
    written: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON types; one that was read is what it was."""
        if self.written is not None:
            return dict(self.written)
        size = {"candidates": self.spec.candidates, "accepted": self.spec.accepted}
        return {
            "schema": SCHEMA,
            "size": size | ({"grown_from": list(self.grown_from)} if self.grown_from else {}),
            **self._method(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The recipe that any version wrote.

        Raises:
            ValueError: It is of a schema that only a newer version of Faceloom knows.
            KeyError: Something is missing.
        """
        if data["schema"] not in _READERS:
            raise ValueError(
                f"recipe schema {data['schema']}; this version reads {', '.join(map(str, _READERS))}"
            )
        return cls(**_READERS[data["schema"]](data), written=data)

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical JSON, in lower-case hex."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()

    @cached_property
    def method_digest(self) -> str:
        """What shards are made by. The same for every size of a dataset; with schema 1, the recipe's own."""
        if self.to_json()["schema"] == 1:
            return self.digest
        return hashlib.sha256(canonical_json(self._method())).hexdigest()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Which files there are of every accepted face."""
        return (FACES, *(kind for stage in self.stages for kind in stage.outputs))

    def files_of(self, ordinal: int) -> dict[str, str]:
        """The paths of those of a candidate, by kind."""
        return {kind.folder: kind.path(ordinal) for kind in self.kinds}

    @property
    def rounds(self) -> tuple[Round, ...]:
        """Which candidates there are."""
        return rounds(self.spec, self.grown_from)

    def seed_of(self, ordinal: int) -> int:
        """The global seed of a candidate: streams of different recipe seeds never meet."""
        return (self.spec.seed << 32) + ordinal

    def grown_to(self, larger: "Recipe") -> "Recipe":
        """This recipe at the size of another one of the same method, as this version writes it."""
        return replace(
            larger,
            # Under their old namespace, the faces that were there keep their ids.
            source=replace(larger.source, namespace=self.source.namespace),
            grown_from=() if self.spec.candidates else (*self.grown_from, self.spec.target),
        )

    def _method(self) -> dict[str, Any]:
        return {
            "seed": self.spec.seed,
            "faces": self.source.to_json(),
            "models": {service: asdict(model) for service, model in self.models.items()},
            "filter": self.filter.to_json(),
            "stages": [stage.to_json() for stage in self.stages],
            "class_names": list(self.class_names),
        }


def differences(old: Recipe, new: Recipe) -> list[str]:
    """How the methods differ, a line each, for people: `models.sketch.version: 1 -> 2`."""
    before, after = (_flat(recipe._method()) for recipe in (old, new))
    return [
        f"{path}: {_said(path, before.get(path))} -> {_said(path, after.get(path))}"
        for path in sorted((before.keys() | after.keys()) - {"faces.namespace"})
        if before.get(path) != after.get(path)
    ]


def _schema_1(data: Mapping[str, Any]) -> dict[str, Any]:
    models = data["models"]
    spec = BuildSpec(**data["spec"])
    digest = hashlib.sha256(canonical_json(data)).hexdigest()
    return {
        "spec": spec,
        "models": {name: _model(model) for name, model in models.items()},
        "filter": Filter(By.MODEL, threshold=data["quality_threshold"]),
        "stages": (SKETCH, SEGMENTATION),
        "class_names": tuple(data["class_names"]),
        "source": FaceSource(models["generator"]["digest"], spec.truncation_psi, namespace=digest),
        "encoder": data["png_encoder"],
        "platforms": tuple(
            Platform(name, model["device"], model["processor"]) for name, model in models.items()
        ),
    }


def _schema_2(data: Mapping[str, Any]) -> dict[str, Any]:
    size, source = data["size"], FaceSource.from_json(data["faces"])
    stages = tuple(map(Stage.from_json, data["stages"]))
    decision = Filter.from_json(data["filter"])
    return {
        "spec": BuildSpec(
            size["candidates"],
            size["accepted"],
            data["seed"],
            source.truncation_psi,
            tuple(stage.name for stage in stages),
            decision.threshold if decision.by is By.THRESHOLD else None,
            decision.top,
            decision.kept,
        ),
        "models": {name: _model(model) for name, model in data["models"].items()},
        "filter": decision,
        "stages": stages,
        "class_names": tuple(data["class_names"]),
        "source": source,
        "grown_from": tuple(size.get("grown_from", ())),
    }


_READERS: Final = {1: _schema_1, 2: _schema_2}


def _model(data: Mapping[str, Any]) -> ModelIdentity:
    return ModelIdentity(data["name"], data["version"], data["digest"], data["license"])


def _said(path: str, value: Any) -> str:
    return (
        ", ".join(stage["name"] for stage in value) or "none" if path == "stages" else said(value)
    )


def _flat(data: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {path: data}
    return {
        name: value
        for key, inner in data.items()
        for name, value in _flat(inner, f"{path}.{key}" if path else key).items()
    }
