"""What ships in model_store/tiny is complete and says the truth about itself."""

import json
import re

import pytest

from faceloom.store.model import open_model
from faceloom.store.profile import model_folder, profile_services

LABELS = model_folder("tiny", "quality") / "labels.jsonl"


@pytest.mark.parametrize("service", sorted(profile_services("tiny")))
def test_a_model_has_a_card_whose_pictures_are_there(service: str) -> None:
    folder = model_folder("tiny", service)
    card = (folder / "README.md").read_text()
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", card)
    assert pictures
    for picture in pictures:
        assert (folder / picture).is_file()


def test_all_weights_are_at_most_30_megabytes_and_the_translators_40() -> None:
    sizes = {
        name: open_model(model_folder("tiny", name)).weights_path.stat().st_size
        for name in profile_services("tiny")
    }
    assert sizes.pop("translator") <= 40_000_000
    assert sum(sizes.values()) <= 30_000_000


def test_the_labels_are_of_the_shipped_generators_faces() -> None:
    header, *rows = [json.loads(line) for line in LABELS.read_text().splitlines()]
    assert header["generator"] == open_model(model_folder("tiny", "generator")).weights.sha256
    assert len(rows) >= 1000
    assert len({(row["seed"], row["psi"]) for row in rows}) == len(rows)
    assert sum(row["split"] == "heldout" for row in rows) == 400
    assert {row["label"] for row in rows} == {"keep", "reject"}


def test_the_quality_models_threshold_has_the_precision_it_promises() -> None:
    model = open_model(model_folder("tiny", "quality"))
    assert model.metrics["held_out"]["precision"] >= 0.9
