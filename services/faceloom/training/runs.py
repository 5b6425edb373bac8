"""What the recipes share: atomic files, resumable runs, moving averages,
the model folder, contact sheets."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from faceloom.core.atomic_files import replacing


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file that takes the place of `path` when it is whole, for everybody to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new:
        write(new)
        new.chmod(0o644)  # safetensors creates files for their owner only


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write what a run goes on from."""

    def write(new: Path) -> None:
        # Of a path torch.save would write the name, which is another every time, into the file.
        with new.open("wb") as file:
            torch.save(dict(state), file)

    write_atomically(path, write)


@dataclass
class TrainingRun:
    """A training run that can be stopped at any time and started again from its checkpoint."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    rng: torch.Generator
    checkpoint: Path
    step: int = 0

    @staticmethod
    def start(
        network: nn.Module, optimizer: torch.optim.Optimizer, seed: int, checkpoint: Path
    ) -> "TrainingRun":
        """A new run, or the continuation of the one that `checkpoint` holds."""
        rng = torch.Generator().manual_seed(seed)
        average = {name: value.clone() for name, value in network.state_dict().items()}
        run = TrainingRun(network, optimizer, average, rng, checkpoint)
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            run.average, run.step = state["average"], state["step"]
            rng.set_state(state["rng"])
        return run

    def save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "rng": self.rng.get_state(),
            "step": self.step,
        }
        save_state(self.checkpoint, state)

    def steps(
        self, total: int, peak_rate: float, save_every: int, warm_up: int = 100
    ) -> Iterator[int]:
        """Yield the steps that remain, setting the learning rate (linear rise, cosine fall) before
        each; after each, move the average, and now and then save."""
        while self.step < total:
            rise = min(1.0, (self.step + 1) / warm_up)
            fall = 0.5 * (1 + np.cos(np.pi * self.step / total))
            for group in self.optimizer.param_groups:
                group["lr"] = peak_rate * rise * max(float(fall), 0.01)
            yield self.step
            self.step += 1
            self._average()
            if self.step % save_every == 0 or self.step == total:
                self.save()

    def _average(self) -> None:
        # Short memory at first, or the initial weights would linger for the whole of a short run.
        decay = min(0.998, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)


def save_model(
    folder: Path, *, service: str, network: Mapping[str, Any], options: Mapping[str, Any],
    weights: Mapping[str, Tensor], licence: str, sources: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any], half: bool = False, name: str = "tiny",
) -> None:  # fmt: skip
    """Write weights.safetensors (float16 if `half`), then model.json, each atomically."""
    stored = {
        name: value.half() if half and value.is_floating_point() else value
        for name, value in weights.items()
    }
    data = save({name: value.contiguous() for name, value in stored.items()})
    write_atomically(folder / "weights.safetensors", lambda path: _write_bytes(path, data))
    description = {
        "service": service,
        "name": name,
        "version": "1",
        "network": dict(network),
        "options": dict(options),
        "weights": {"file": "weights.safetensors", "sha256": hashlib.sha256(data).hexdigest()},
        "license": licence,
        "sources": [dict(source) for source in sources],
        "metrics": dict(metrics),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / "model.json", lambda path: _write_bytes(path, text.encode()))


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def contact_sheet(tiles: Sequence[NDArray[np.uint8]], columns: int) -> Image.Image:
    """Equal RGB or grey tiles in rows; the last row is filled up with white."""
    tiles = [np.repeat(t[..., None], 3, 2) if t.ndim == 2 else t for t in tiles]
    missing = -len(tiles) % columns
    tiles = [*tiles, *[np.full_like(tiles[0], 255)] * missing]
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return Image.fromarray(np.concatenate(rows))


def upscale(face: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """An RGB face at side x side, by Lanczos."""
    return np.asarray(Image.fromarray(face).resize((side, side), Image.Resampling.LANCZOS))
