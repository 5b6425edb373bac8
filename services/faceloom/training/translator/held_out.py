"""The faces that a translator is examined on, and the training faces that are nearest to them."""

from dataclasses import dataclass
from pathlib import Path

from faceloom import datasets
from faceloom.core.arrays import Pixels
from faceloom.core.errors import UsageError
from faceloom.datasets.records import FaceRecord
from faceloom.training.translator.baselines import SIDE, neighbours
from faceloom.training.translator.pairs import KINDS, TRAIN, Pairs, read_dataset
from faceloom.translator.model import FACE, SEGMENTATION, SKETCH

# A covariance needs two faces.
FEWEST = 2


@dataclass(frozen=True)
class HeldOutFace:
    """One face with what can be seen in it, as the build wrote them.

    Args:
        face: [S, S, 3].
        sketch: [H, W], dark lines on white.
        layout: Class ids [H, W].
        neighbour: The training face whose condition is nearest, [S, S, 3].
    """

    face: Pixels
    sketch: Pixels
    layout: Pixels
    neighbour: Pixels

    def condition(self, task: str) -> Pixels:
        """What a translator of the task is given."""
        return {SKETCH: self.sketch, SEGMENTATION: self.layout, FACE: self.face}[task]


def read_held_out(
    folder: Path, task: str, face_side: int, split: str, limit: int | None
) -> tuple[str, list[HeldOutFace]]:
    """The digest of a verified dataset, and the first faces of a split.

    Args:
        folder: Of the dataset.
        task: Whose conditions are compared for neighbours.
        face_side: That faces must have.
        split: `validation` or `test`.
        limit: How many faces at most.

    Raises:
        UsageError: The dataset fails verification, has too few faces, or faces of another size.
    """
    dataset = read_dataset(folder, task, SIDE, face_side, (TRAIN, split))
    train, wanted = dataset.splits[TRAIN], _first(dataset.splits[split], limit)
    if len(wanted) < FEWEST:
        raise UsageError(f"{folder} has fewer than {FEWEST} {split} faces; build a larger dataset")
    opened = datasets.open(folder)
    records = {record.id: record for record in opened.faces() if record.split == split}
    nearest = train.faces[neighbours(task, wanted, train)].permute(0, 2, 3, 1).numpy()
    found = [
        _read(opened, records[identity], neighbour)
        for identity, neighbour in zip(wanted.ids, nearest, strict=True)
    ]
    side = found[0].face.shape[0]
    if side != face_side:
        raise UsageError(f"{folder} has faces of {side} pixels; the model makes {face_side}")
    return dataset.digest, found


def _first(pairs: Pairs, limit: int | None) -> Pairs:
    return Pairs(pairs.ids[:limit], pairs.conditions[:limit], pairs.faces[:limit], pairs.w[:limit])


def _read(dataset: datasets.Dataset, record: FaceRecord, neighbour: Pixels) -> HeldOutFace:
    face, sketch, layout = (
        dataset.pixels(record, KINDS[of]) for of in (FACE, SKETCH, SEGMENTATION)
    )
    return HeldOutFace(face, sketch, layout, neighbour)
