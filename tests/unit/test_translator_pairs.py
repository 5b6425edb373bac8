"""What the encoder is trained on: pairs by id, ids of classes untouched, no picture left out."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.translator_data import CONDITION_SIDE, build_dataset, write_generator

from faceloom.core.errors import UsageError
from faceloom.datasets.folder_files import FolderFiles
from faceloom.datasets.reader import Dataset
from faceloom.datasets.records import FaceRecord
from faceloom.store.model import file_sha256, open_model
from faceloom.store.torch_model import load_weights
from faceloom.training.translator.batches import Batches, BatchOrder
from faceloom.training.translator.pairs import (
    TEST,
    TRAIN,
    VALIDATION,
    Pairs,
    check_latents,
    network_input,
    read_dataset,
    read_pairs,
)
from faceloom.translator.conditions import face_tensor, layout_tensor, sketch_tensor
from faceloom.translator.model import FACE, SEGMENTATION, SKETCH, Translator

SIDE = 32
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("generator"))


@pytest.fixture(scope="module")
def dataset(generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_dataset(tmp_path_factory.mktemp("built") / "dataset", generator)


def metadata(dataset: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (dataset / "metadata.jsonl").read_text().splitlines()]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_dataset_is_read_as_its_rows_say(dataset: Path) -> None:
    rows = {row["id"]: row for row in metadata(dataset)}
    data = read_dataset(dataset, SKETCH, SIDE, SIDE, (TRAIN, VALIDATION, TEST))

    assert data.digest == json.loads((dataset / "dataset.json").read_text())["dataset_digest"]
    found = {name: set(pairs.ids) for name, pairs in data.splits.items()}
    assert found == {
        name: {row["id"] for row in rows.values() if row["split"] == name} for name in found
    }
    assert sum(map(len, found.values())) == len(rows)
    pairs = data.splits[TRAIN]
    assert pairs.conditions.shape == (len(pairs), 1, SIDE, SIDE)
    assert pairs.faces.shape == (len(pairs), 3, SIDE, SIDE)
    assert pairs.conditions.dtype == pairs.faces.dtype == torch.uint8
    for index, identity in enumerate(pairs.ids):
        face = pixels(dataset / rows[identity]["file_name"])
        assert np.array_equal(pairs.faces[index].permute(1, 2, 0), face)


def test_w_is_that_of_the_face_with_the_same_id(dataset: Path, generator: Path) -> None:
    rows, latents = metadata(dataset), load_file(dataset / "latents.safetensors")["w"]
    data = read_dataset(dataset, FACE, SIDE, SIDE)
    of = {row["id"]: w for row, w in zip(rows, latents, strict=True)}

    for pairs in data.splits.values():
        assert all(torch.equal(of[i], w) for i, w in zip(pairs.ids, pairs.w, strict=True))
    # And it really decodes to it.
    model = open_model(generator)
    decoder = Translator(model.network, {}).decoder
    decoder.load_state_dict(load_weights(model))
    check_latents(data.splits[TRAIN], decoder)
    swapped = data.splits[TRAIN]
    wrong = Pairs(swapped.ids, swapped.conditions, swapped.faces, swapped.w.roll(1, 0))
    with pytest.raises(UsageError, match="do not decode to its faces"):
        check_latents(wrong, decoder)


def test_pairs_are_made_by_id_whatever_the_names_and_the_order(tmp_path: Path) -> None:
    # Sorted, the faces are 0 1 2 and the sketches 2 1 0; there is a sketch too many; rows come shuffled.
    for kind in ("images", "sketches"):
        (tmp_path / kind).mkdir()
    records, w = [], {}
    for number in (1, 2, 0):
        files = {"images": f"images/{number}.png", "sketches": f"sketches/{2 - number}-edges.png"}
        shade = 60 * number
        Image.new("RGB", (SIDE, SIDE), (shade,) * 3).save(tmp_path / files["images"])
        Image.new("L", (SIDE, SIDE), shade).save(tmp_path / files["sketches"])
        sums = {kind: file_sha256(tmp_path / path) for kind, path in files.items()}
        record = FaceRecord(f"id{9 - number}", number, number, 0.7, 0.9, TRAIN, files, sums, {}, {})
        records.append(record)
        w[record.id] = torch.full((4,), float(number))
    Image.new("L", (SIDE, SIDE), 255).save(tmp_path / "sketches" / "0.png")

    opened = Dataset(tmp_path, FolderFiles(tmp_path))
    pairs = read_pairs(opened, records, w, SKETCH, SIDE, SIDE)

    shades = {
        tuple(map(int, (c.float().mean(), f.float().mean(), 60 * v.mean())))
        for c, f, v in zip(pairs.conditions, pairs.faces, pairs.w, strict=True)
    }
    assert shades == {(0, 0, 0), (60, 60, 60), (120, 120, 120)}


@pytest.mark.parametrize("task", [SKETCH, SEGMENTATION, FACE])
def test_training_sees_what_serving_sees(dataset: Path, task: str) -> None:
    data = read_dataset(dataset, task, SIDE, SIDE, (VALIDATION,)).splits[VALIDATION]
    rows = {row["id"]: row for row in metadata(dataset)}
    column, serve = {
        SKETCH: ("sketch_file_name", sketch_tensor),
        SEGMENTATION: ("layout_file_name", layout_tensor),
        FACE: ("file_name", face_tensor),
    }[task]

    x = network_input(task, data.conditions)

    for index, identity in enumerate(data.ids):
        served = serve(pixels(dataset / rows[identity][column]), SIDE)
        # Kept as bytes in between.
        torch.testing.assert_close(x[index], served, atol=1 / 254, rtol=0)


def test_label_ids_are_never_averaged(dataset: Path) -> None:
    data = read_dataset(dataset, SEGMENTATION, SIDE, SIDE)
    rows = {row["id"]: row for row in metadata(dataset)}

    assert CONDITION_SIDE > SIDE
    for pairs in data.splits.values():
        for identity, ids in zip(pairs.ids, pairs.conditions, strict=True):
            whole = pixels(dataset / rows[identity]["layout_file_name"])
            # Bilinear reduction would make 2, 6, 10 ... out of 0, 4, 8, 12, 16.
            assert set(ids.unique().tolist()) <= set(np.unique(whole).tolist())
            assert np.array_equal(ids[0], whole[1::2, 1::2])
    x = network_input(SEGMENTATION, data.splits[VALIDATION].conditions)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(x.sum(1), torch.ones_like(x[:, 0]))


def test_a_dataset_that_was_touched_is_refused_in_one_line(dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy", ignore=shutil.ignore_patterns(".build"))
    read_dataset(copy, FACE, SIDE, SIDE)
    text = (copy / "metadata.jsonl").read_text()
    (copy / "metadata.jsonl").write_text(text.replace('"train"', '"validation"', 1))
    min((copy / "images").iterdir()).unlink()

    with pytest.raises(UsageError, match=r"fails verification: .* and 1 more") as caught:
        read_dataset(copy, FACE, SIDE, SIDE)
    assert "\n" not in str(caught.value)


# --- order and batches


def test_an_epoch_has_every_picture_once_and_none_is_dropped() -> None:
    order = BatchOrder(10, seed=3)
    # Batches of 4 do not fit into 10: the third goes on with the next epoch.
    batches = [[order.at(step * 4 + place) for place in range(4)] for step in range(5)]
    seen = [index for batch in batches for index in batch]

    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:] and seen[:10] != list(range(10))
    assert [BatchOrder(10, seed=3).at(place) for place in (17, 2)] == [seen[17], seen[2]]
    assert [BatchOrder(10, seed=4).at(place) for place in range(10)] != seen[:10]
    # Fewer pictures than a batch are still a batch.
    assert Counter(BatchOrder(3, seed=0).at(place) for place in range(9)) == {0: 3, 1: 3, 2: 3}


def some_pairs(count: int) -> Pairs:
    random = torch.Generator().manual_seed(0)
    return Pairs(
        tuple(map(str, range(count))),
        torch.randint(0, 19, (count, 1, SIDE, SIDE), generator=random, dtype=torch.uint8),
        torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=random, dtype=torch.uint8),
        torch.arange(count).float()[:, None].expand(count, 4),
    )


@pytest.mark.parametrize("task", [SKETCH, SEGMENTATION])
def test_a_picture_depends_on_its_place_alone(task: str) -> None:
    pairs = some_pairs(10)
    whole = Batches(task, pairs, 7, 1.0, CPU).at(range(40, 56))

    other = Batches(task, pairs, 7, 1.0, CPU)
    other.at(range(3))
    for part in (range(40, 48), range(48, 56)):
        batch, start = other.at(part), part.start - 40
        torch.testing.assert_close(batch.x, whole.x[start : start + 8], atol=1e-6, rtol=0)
        assert torch.equal(batch.faces, whole.faces[start : start + 8])
        assert torch.equal(batch.w, whole.w[start : start + 8])
    # The same picture in another epoch is changed otherwise.
    later = Batches(task, pairs, 7, 1.0, CPU).at(range(60, 70))
    first = int(whole.w[0, 0])
    again = next(i for i in range(10) if int(later.w[i, 0]) == first)
    assert not torch.equal(later.x[again], whole.x[0])


def test_condition_face_and_w_stay_together() -> None:
    pairs = some_pairs(6)
    batch = Batches(SEGMENTATION, pairs, 0, 0.0, CPU).at(range(12))

    for x, face, w in zip(batch.x, batch.faces, batch.w, strict=True):
        index = int(w[0])
        assert torch.equal(x.argmax(0), pairs.conditions[index, 0].long())
        assert torch.equal(((face + 1) * 127.5).round().byte(), pairs.faces[index])
    plain = Batches(SEGMENTATION, pairs, 0, 1.0, CPU).plain([4, 1])
    assert plain.w[:, 0].tolist() == [4, 1]
    assert torch.equal(plain.x.argmax(1), pairs.conditions[[4, 1], 0].long())
