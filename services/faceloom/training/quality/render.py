"""Makes faces for the recipe: those of a label file again, and others that nobody has looked at."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faceloom.generator.v1 import generator_pb2 as pb
from faceloom.runtime.service import service
from faceloom.store.model import file_sha256
from faceloom.training.runs import write_atomically

# Far from the seeds of label files, which start at one, two and three million.
UNSEEN_SEED = 900_000_000


def make_faces(generator: Path, seeds: Sequence[int], psis: Sequence[float]) -> NDArray[np.uint8]:
    """uint8 RGB [N,S,S,3] by the model folder `generator`, one psi a seed.

    The service's own handler makes them, so the pixels are those that clients get.
    """
    handler = service("generator").new_handler()
    handler.load(generator, "cpu")
    size = handler.compute_batch
    faces: dict[int, NDArray[np.uint8]] = {}
    for psi in set(psis):
        wanted = [i for i, other in enumerate(psis) if other == psi]
        for start in range(0, len(wanted), size):
            chunk = wanted[start : start + size]
            # Always full batches, as the service computes them: batch size reaches the last bits.
            batch = [seeds[i] for i in (chunk * size)[:size]]
            work = handler.decode(pb.GenerateRequest(seeds=batch, truncation_psi=psi))
            made = handler.predict(work.key, work.samples)
            faces |= {i: face.pixels for i, face in zip(chunk, made, strict=False)}
    return np.stack([faces[i] for i in range(len(seeds))])


def render_labelled(labels: Path, generator: Path, out: Path) -> None:
    """The faces of a label file, row by row, into a .npy.

    Raises:
        ValueError: The labels were given to the faces of another generator.
    """
    header, *rows = (json.loads(line) for line in labels.read_text().splitlines() if line.strip())
    digest = file_sha256(generator / "weights.safetensors")
    if header["generator"] != digest:
        raise ValueError(
            f"{labels} was made with generator {header['generator']}; {generator} is {digest}"
        )
    save_faces(out, make_faces(generator, [r["seed"] for r in rows], [r["psi"] for r in rows]))


def render_unlabelled(generator: Path, out: Path, count: int = 16_000) -> None:
    """`count` faces into a .npy: three quarters at psi 0.7, the rest at 1, as in the label file."""
    seeds = range(UNSEEN_SEED, UNSEEN_SEED + count)
    save_faces(out, make_faces(generator, seeds, [1.0 if i % 4 == 3 else 0.7 for i in seeds]))


def save_faces(out: Path, faces: NDArray[np.uint8]) -> None:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, faces)

    write_atomically(out, write)
