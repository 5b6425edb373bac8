"""The recipe: canonical, the same over the wire, and its digests as computed by hand."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from faceloom.core.errors import InvalidArgument
from faceloom.datasets.recipe import Model, Recipe, canonical_json, differences
from faceloom.datasets.spec import BuildSpec

MODEL = Model("tiny", "1", "ab" * 32, "MIT", "cpu", "AVX2")
RECIPE = Recipe(
    spec=BuildSpec(candidates=10, seed=3),
    models={name: MODEL for name in ("generator", "quality", "sketch", "segmentation")},
    threshold=0.5,
    class_names=("background", "skin"),
    encoder="pillow 1, zlib 2, level 6",
)
MODEL_TEXT = (
    '{"device":"cpu","digest":"' + "ab" * 32 + '","license":"MIT","name":"tiny",'
    '"processor":"AVX2","version":"1"}'
)
TEXT = (
    '{"class_names":["background","skin"],"models":{"generator":MODEL,"quality":MODEL,'
    '"segmentation":MODEL,"sketch":MODEL},"png_encoder":"pillow 1, zlib 2, level 6",'
    '"quality_threshold":0.5,"schema":1,'
    '"spec":{"accepted":null,"candidates":10,"seed":3,"truncation_psi":0.7}}'
).replace("MODEL", MODEL_TEXT)


def test_the_canonical_text_and_digest_are_those_written_by_hand() -> None:
    assert canonical_json(RECIPE.to_json()).decode() == TEXT
    assert RECIPE.digest == hashlib.sha256(TEXT.encode()).hexdigest()


def test_seeds_and_ids_are_those_computed_by_hand() -> None:
    assert RECIPE.seed_of(5) == 3 * 4294967296 + 5
    digest = RECIPE.digest
    expected = hashlib.sha256((digest + "12884901893").encode()).hexdigest()[:16]
    assert RECIPE.id_of(RECIPE.seed_of(5)) == expected


def test_a_recipe_survives_its_json() -> None:
    again = Recipe.from_json(json.loads(json.dumps(RECIPE.to_json())))
    assert again.digest == RECIPE.digest
    assert not differences(again, RECIPE)


def test_differences_are_named() -> None:
    other = replace(
        RECIPE,
        spec=BuildSpec(candidates=11, seed=3),
        models=dict(RECIPE.models) | {"sketch": replace(MODEL, version="2")},
    )
    assert differences(RECIPE, other) == [
        "models.sketch.version: 1 -> 2",
        "spec.candidates: 10 -> 11",
    ]
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
