"""What `faceloom build` wrote, as pairs in memory: the picture an encoder sees, the face, the face's w.

Everything is held as bytes at the size that training wants, so that no step ever waits for a file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom import datasets
from faceloom.core.arrays import Pixels
from faceloom.core.errors import UsageError
from faceloom.datasets.records import FaceRecord
from faceloom.datasets.verification import dataset_faults
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.stylegan2.network import Generator
from faceloom.translator.conditions import face_tensor, layout_tensor, sketch_tensor
from faceloom.translator.model import FACE, SEGMENTATION, SKETCH

TRAIN, VALIDATION, TEST = "train", "validation", "test"

# Told (what, done, in all).
ProgressCallback = Callable[[str, int, int], None]

# What the encoder sees, as the dataset calls it.
KINDS: Final = {SKETCH: "sketches", SEGMENTATION: "layouts", FACE: "images"}
# Mean difference of 0 to 255 up to which a face counts as decoded from its own w.
_SAME_FACE: Final = 4.0


@dataclass(frozen=True)
class Pairs:
    """Pictures that belong together, by their place.

    Args:
        ids: Of the candidates.
        conditions: uint8 [N, C, side, side]: grey drawings, label ids (C is 1), or RGB faces.
        faces: uint8 [N, 3, S, S].
        w: float32 [N, style_dim], what the generator made the faces from.
    """

    ids: tuple[str, ...]
    conditions: Tensor
    faces: Tensor
    w: Tensor

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class PairedDataset:
    """A verified dataset, as far as one training needs it.

    Args:
        digest: Of the dataset.
        seed: Of the build: faces of builds with other seeds are others.
        generator: Digest of the generator's weights.
        splits: Pairs by split.
    """

    digest: str
    seed: int
    generator: str
    splits: Mapping[str, Pairs]


def read_dataset(
    folder: Path,
    task: str,
    side: int,
    image_side: int,
    splits: Sequence[str] = (TRAIN, VALIDATION),
    tell: ProgressCallback = lambda what, done, total: None,
) -> PairedDataset:
    """The pairs of a dataset that is exactly what its build wrote.

    Args:
        folder: Of the dataset.
        task: `sketch`, `segmentation` or `face`: which pictures the encoder sees.
        side: Of those pictures.
        image_side: Of the faces.
        splits: Which splits to read.
        tell: Told of every pair.

    Raises:
        UsageError: The dataset is not there or fails verification, has no such pictures or other
            classes, or a split is empty.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give what `faceloom build` wrote")
    if faults := dataset_faults(folder):
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise UsageError(f"{folder} fails verification: {faults[0]}{more}; see `faceloom verify`")
    dataset = datasets.open(folder)
    recipe = dataset.recipe
    if KINDS[task] not in {kind.folder for kind in recipe.kinds}:
        raise UsageError(
            f"{folder} has no {KINDS[task]}; give a dataset whose build had --stages {task}"
        )
    if task == SEGMENTATION and recipe.class_names != CLASS_NAMES:
        raise UsageError(f"{folder} has layouts of other classes than CelebAMask-HQ's")
    records = list(dataset.faces())
    # A copy: the file is mapped for reading only.
    rows = torch.tensor(dataset.latents().w)
    w = dict(zip((record.id for record in records), rows, strict=True))
    found = {}
    for split in splits:
        chosen = [record for record in records if record.split == split]
        if not chosen:
            raise UsageError(f"{folder} has no {split} faces; build a larger dataset")
        told = _told(chosen, partial(tell, f"reading {split}"))
        found[split] = read_pairs(dataset, told, w, task, side, image_side)
    generator = recipe.models["generator"].digest
    return PairedDataset(dataset.summary.dataset_digest, recipe.spec.seed, generator, found)


def read_pairs(
    dataset: datasets.Dataset,
    records: Iterable[FaceRecord],
    w: Mapping[str, Tensor],
    task: str,
    side: int,
    image_side: int,
) -> Pairs:
    """The pictures of those faces, with the w of the same ids."""
    ids, conditions, faces = [], [], []
    for record in records:
        ids.append(record.id)
        conditions.append(_condition(dataset.pixels(record, KINDS[task]), task, side))
        faces.append(_bytes(face_tensor(dataset.pixels(record), image_side)))
    known = torch.stack([w[identity] for identity in ids])
    return Pairs(tuple(ids), torch.stack(conditions), torch.stack(faces), known)


def network_input(task: str, conditions: Tensor) -> Tensor:
    """uint8 conditions [N, C, S, S] -> what `conditions` makes of the same pictures, float32."""
    if task == SKETCH:
        return conditions.float() / 255
    if task == SEGMENTATION:
        one_hot = F.one_hot(conditions[:, 0].long(), len(CLASS_NAMES))
        return one_hot.movedim(-1, 1).float()
    return images(conditions)


def images(faces: Tensor) -> Tensor:
    """uint8 [N, 3, S, S] -> float32 in [-1, 1]."""
    return faces.float() / 127.5 - 1


@torch.no_grad()
def check_latents(pairs: Pairs, decoder: Generator) -> None:
    """Make sure that the decoder makes the faces out of their w; otherwise w teaches nothing.

    Raises:
        UsageError: It does not.
    """
    faces, w = pairs.faces[:4].float(), pairs.w[:4].to(decoder.latent_avg.device)
    made = decoder.synthesis(decoder.broadcast(w)).clamp(-1, 1).cpu()
    made = F.adaptive_avg_pool2d(made, faces.shape[-1]) * 127.5 + 127.5
    difference = float((made - faces).abs().mean())
    if difference > _SAME_FACE:
        raise UsageError(
            f"the dataset's latents do not decode to its faces (they differ by {difference:.0f} of"
            " 255 levels); build it again with the generator of this profile"
        )


def _condition(pixels: Pixels, task: str, side: int) -> Tensor:
    if task == SKETCH:
        return (sketch_tensor(pixels, side) * 255).round().byte()
    if task == SEGMENTATION:
        return layout_tensor(pixels, side).argmax(0, keepdim=True).byte()
    return _bytes(face_tensor(pixels, side))


def _bytes(image: Tensor) -> Tensor:
    return ((image + 1) * 127.5).round().byte()


def _told(records: Sequence[FaceRecord], tell: Callable[[int, int], None]) -> Iterator[FaceRecord]:
    for done, record in enumerate(records, 1):
        yield record
        tell(done, len(records))
