"""The recipe and the identity of faces: canonical, the same over the wire, digests as computed by hand."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceloom.core.errors import InvalidArgument
from faceloom.datasets.filter import By, Filter
from faceloom.datasets.identity import FaceSource, canonical_json, split_of
from faceloom.datasets.recipe import ModelIdentity, Platform, Recipe, differences
from faceloom.datasets.spec import BuildSpec
from faceloom.datasets.stage import SEGMENTATION, SKETCH

OLD = Path("tests/data/schema-1/dataset")
MODEL = ModelIdentity("tiny", "1", "ab" * 32, "MIT")
RECIPE = Recipe(
    spec=BuildSpec(candidates=10, seed=3),
    source=FaceSource("ab" * 32, 0.7),
    models={name: MODEL for name in ("generator", "quality", "sketch", "segmentation")},
    filter=Filter(By.MODEL, threshold=0.5),
    stages=(SKETCH, SEGMENTATION),
    class_names=("background", "skin"),
)
MODEL_TEXT = '{"digest":"' + "ab" * 32 + '","license":"MIT","name":"tiny","version":"1"}'
SOURCE_TEXT = (
    '{"generator":"' + "ab" * 32 + '","latent_space":"z","noise_mode":"const",'
    '"truncation_cutoff":null,"truncation_psi":0.7}'
)
METHOD_TEXT = (
    '"class_names":["background","skin"],"faces":SOURCE,"filter":{"by":"model","threshold":0.5},'
    '"models":{"generator":MODEL,"quality":MODEL,"segmentation":MODEL,"sketch":MODEL},'
)
STAGES_TEXT = (
    '"stages":[{"name":"sketch","outputs":[{"column":"sketch","encoding":"grey","folder":"sketches",'
    '"suffix":".png"}],"service":"sketch"},{"name":"segmentation","outputs":[{"column":"layout",'
    '"encoding":"labels","folder":"layouts","suffix":".png"}],"service":"segmentation"}]}'
)
TAIL = '"seed":3,"size":{"accepted":null,"candidates":10},' + STAGES_TEXT


def filled(text: str) -> str:
    return text.replace("MODEL", MODEL_TEXT).replace("SOURCE", SOURCE_TEXT)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_canonical_text_and_digests_are_those_written_by_hand() -> None:
    text = filled("{" + METHOD_TEXT + '"schema":2,' + TAIL)
    assert canonical_json(RECIPE.to_json()).decode() == text
    assert RECIPE.digest == sha256(text)
    method = filled("{" + METHOD_TEXT + '"seed":3,' + STAGES_TEXT)
    assert RECIPE.method_digest == sha256(method)


def test_seeds_and_ids_are_those_computed_by_hand() -> None:
    seed = RECIPE.seed_of(5)
    assert seed == 3 * 4294967296 + 5
    source = sha256(SOURCE_TEXT)
    assert RECIPE.source.id_of(seed) == sha256(source + "12884901893")[:16]


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, spec=BuildSpec(candidates=20_000, seed=3)),
        replace(RECIPE, spec=BuildSpec(accepted=7, seed=3)),
        replace(RECIPE, filter=Filter(By.THRESHOLD, threshold=0.9)),
        replace(RECIPE, stages=()),
        replace(RECIPE, models={**RECIPE.models, "quality": replace(MODEL, digest="cd" * 32)}),
    ],
    ids=["size", "quota", "threshold", "stages", "filter"],
)
def test_a_face_is_the_same_in_another_dataset(other: Recipe) -> None:
    assert other.digest != RECIPE.digest
    assert other.source.id_of(77) == RECIPE.source.id_of(77)


@pytest.mark.parametrize(
    "other",
    [
        FaceSource("cd" * 32, 0.7),
        FaceSource("ab" * 32, 0.5),
        FaceSource("ab" * 32, 0.7, truncation_cutoff=8),
        FaceSource("ab" * 32, 0.7, latent_space="w"),
        FaceSource("ab" * 32, 0.7, noise_mode="none"),
    ],
)
def test_another_face_has_another_id(other: FaceSource) -> None:
    assert other.id_of(77) != RECIPE.source.id_of(77)
    assert FaceSource.from_json(json.loads(json.dumps(other.to_json()))) == other


def test_of_many_ids_nine_in_ten_are_for_training() -> None:
    splits = [split_of(RECIPE.source.id_of(seed)) for seed in range(10_000)]
    shares = [splits.count(name) for name in ("train", "validation", "test")]
    assert sum(shares) == 10_000
    assert abs(shares[0] - 9_000) < 150 and abs(shares[1] - 500) < 110


def test_a_recipe_keeps_what_it_does_not_know() -> None:
    data = json.loads(json.dumps(RECIPE.to_json())) | {"weather": "sunny"}
    again = Recipe.from_json(data)
    assert again == RECIPE
    assert again.to_json() == data
    assert again.digest == hashlib.sha256(canonical_json(data)).hexdigest()


def test_a_newer_schema_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="recipe schema 9; this version reads 1, 2"):
        Recipe.from_json(RECIPE.to_json() | {"schema": 9})


def test_a_recipe_of_schema_1_is_read() -> None:
    recipe = Recipe.from_json(json.loads((OLD / "recipe.json").read_bytes()))
    assert recipe.digest == json.loads((OLD / "dataset.json").read_bytes())["recipe_digest"]
    assert recipe.method_digest == recipe.digest == recipe.source.digest
    first = json.loads((OLD / "metadata.jsonl").read_text().splitlines()[0])
    assert recipe.source.id_of(first["seed"]) == first["id"]
    assert recipe.encoder.startswith("pillow")
    assert Platform("sketch", "cpu", "AVX2") in recipe.platforms
    assert recipe.spec == BuildSpec(candidates=160, seed=1)


def test_what_grows_keeps_its_ids_and_says_from_what() -> None:
    old = Recipe.from_json(json.loads((OLD / "recipe.json").read_bytes()))
    new = replace(old, spec=BuildSpec(candidates=200, seed=1), written=None)
    grown = Recipe.from_json(json.loads(json.dumps(old.grown_to(new).to_json())))
    assert grown.to_json()["schema"] == 2
    assert grown.source.id_of(5) == old.source.id_of(5)
    assert differences(old, grown) == []
    quota = replace(RECIPE, spec=BuildSpec(accepted=100, seed=3))
    larger = quota.grown_to(replace(quota, spec=BuildSpec(accepted=150, seed=3)))
    assert larger.to_json()["size"] == {"candidates": None, "accepted": 150, "grown_from": [100]}
    assert larger.method_digest == quota.method_digest
    assert Recipe.from_json(larger.to_json()) == larger


def test_differences_are_of_the_method_and_named() -> None:
    other = replace(
        RECIPE,
        spec=BuildSpec(candidates=11, seed=4),
        models={**RECIPE.models, "sketch": replace(MODEL, version="2")},
    )
    assert differences(RECIPE, other) == ["models.sketch.version: 1 -> 2", "seed: 3 -> 4"]
    assert other.digest != RECIPE.digest


def test_psi_as_it_arrives_over_the_wire_is_the_same_psi() -> None:
    wire = float(np.float32(0.7))
    assert wire != 0.7
    assert BuildSpec(candidates=1, truncation_psi=wire) == BuildSpec(candidates=1)
    assert str(BuildSpec(candidates=1, truncation_psi=-0.0).truncation_psi) == "0.0"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "spec.size"),
        ({"candidates": 1, "accepted": 1}, "spec.size"),
        ({"candidates": 0}, "spec.candidates"),
        ({"accepted": 10_000_001}, "spec.accepted"),
        ({"candidates": 1, "seed": 2**32}, "spec.seed"),
        ({"candidates": 1, "truncation_psi": float("nan")}, "spec.truncation_psi"),
        ({"candidates": 1, "truncation_psi": float("inf")}, "spec.truncation_psi"),
        ({"candidates": 1, "truncation_psi": 1.6}, "spec.truncation_psi"),
        ({"candidates": 1, "truncation_psi": -0.1}, "spec.truncation_psi"),
    ],
)
def test_a_wrong_spec_names_the_field(arguments: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        BuildSpec(**arguments)
    assert caught.value.field == field
