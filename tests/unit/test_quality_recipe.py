"""The arithmetic of the quality recipe: ridge, calibration, and the classifier made of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from faceloom.quality.network import MixNetS
from faceloom.training.quality.augment import augment, resize, spoil
from faceloom.training.quality.calibration import classifier_of, platt, scores_by, sigmoid
from faceloom.training.quality.distill_teacher import ridge
from faceloom.training.quality.labels import Labelled


def test_ridge_finds_a_linear_rule_and_shrinks_with_the_penalty() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(100, 5, generator=rng) * 3 + 1
    target = 2 * x[:, 0] - x[:, 3] + 0.5
    weights, bias = ridge(x, target, 1e-4)
    torch.testing.assert_close(x @ weights + bias, target, atol=0.02, rtol=0.01)
    timid, _ = ridge(x, target, 100.0)
    assert timid.norm() < 0.5 * weights.norm()


def test_platt_recovers_scale_and_shift() -> None:
    rng = np.random.default_rng(0)
    margin = rng.normal(size=8_000)
    keep = rng.random(8_000) < sigmoid(1.5 * margin - 0.7)
    scale, shift = platt(margin, keep)
    assert scale == pytest.approx(1.5, abs=0.15) and shift == pytest.approx(-0.7, abs=0.15)


def test_the_classifier_gives_the_calibrated_score_of_its_head() -> None:
    torch.manual_seed(0)
    many = MixNetS(num_classes=3).eval()
    faces = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    expected = sigmoid(0.8 * scores_by(many, faces)[:, 2] + 0.3)
    logits = torch.from_numpy(scores_by(classifier_of(many, 2, 0.8, 0.3), faces))
    np.testing.assert_allclose(logits.softmax(1)[:, 1].numpy(), expected, atol=2e-3)


def test_views_keep_shape_and_range() -> None:
    rng = torch.Generator().manual_seed(0)
    faces = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    views = augment(faces, 96, rng)
    for images in (resize(faces, 96), views, spoil(views, rng)):
        assert images.shape == (4, 3, 96, 96)
        assert images.min() >= 0 and images.max() <= 1


def write_labels(folder: Path, rows: list[dict[str, object]], faces: int) -> tuple[Path, Path]:
    labels, images = folder / "labels.jsonl", folder / "faces.npy"
    lines = [{"generator": "abc"}, *rows]
    labels.write_text("".join(json.dumps(line) + "\n" for line in lines))
    np.save(images, np.zeros((faces, 8, 8, 3), np.uint8))
    return labels, images


def rows(label: str = "keep") -> list[dict[str, object]]:
    return [
        {"seed": i, "psi": 0.7, "label": label if i == 0 else kind, "split": split}
        for i, (kind, split) in enumerate(
            [("keep", "train"), ("reject", "train"), ("keep", "heldout"), ("reject", "heldout")]
        )
    ]


def test_label_file_is_read_in_order(tmp_path: Path) -> None:
    data = Labelled.load(*write_labels(tmp_path, rows(), 4))
    assert data.keep.tolist() == [True, False, True, False]
    assert data.held_out.tolist() == [False, False, True, True]
    assert data.faces.shape == (4, 3, 8, 8) and data.generator == "abc"
    assert data.share.tolist() == [1, 0, 1, 0] and data.random.all()


def test_shares_and_scored_faces_are_told_apart(tmp_path: Path) -> None:
    scored = {"seed": 9, "psi": 0.7, "label": "keep", "split": "train", "share": 0.667}
    data = Labelled.load(*write_labels(tmp_path, [*rows(), scored | {"drawn": "scored"}], 5))
    assert data.share[4] == 0.667 and data.random.tolist() == [True] * 4 + [False]

    held_out = scored | {"drawn": "scored", "split": "heldout"}
    with pytest.raises(ValueError, match="drawn at random"):
        Labelled.load(*write_labels(tmp_path, [*rows(), held_out], 5))


@pytest.mark.parametrize(
    ("label", "faces", "message"),
    [("keep", 3, "4 rows"), ("maybe", 4, "not a label"), ("reject", 4, "both splits")],
)
def test_broken_label_files_are_refused(
    tmp_path: Path, label: str, faces: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Labelled.load(*write_labels(tmp_path, rows(label), faces))
