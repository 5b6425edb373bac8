"""The folder of one training run: what it is a run of, where it stands, what it measured."""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from faceloom.core.atomic_files import take_lock
from faceloom.core.errors import UsageError
from faceloom.core.wording import unreadable
from faceloom.training.runs import save_state, write_atomically

DESCRIPTION: Final = "run.json"
CHECKPOINT: Final = "checkpoint.pt"
BEST: Final = "best.pt"
METRICS: Final = "metrics.csv"
SAMPLES: Final = "samples"
_LOCK = "lock"


class RunFolder:
    """A run that can be killed at any moment: every file is replaced whole, metrics grow by lines.

    Args:
        path: The folder, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / BEST
        self._checkpoint = path / CHECKPOINT
        self._metrics = path / METRICS

    def check(self, description: Mapping[str, Any]) -> None:
        """Make sure that the folder holds this run or nothing.

        Raises:
            UsageError: It holds something else.
        """
        try:
            known = json.loads((self.path / DESCRIPTION).read_bytes())
        except FileNotFoundError:
            if self.path.is_dir() and set(os.listdir(self.path)) - {_LOCK}:
                raise UsageError(
                    f"{self.path} is not empty and no run; choose another --out"
                ) from None
            return
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.path / DESCRIPTION} cannot be read: {unreadable(error)}"
            ) from None
        wanted = json.loads(json.dumps(description))
        if known != wanted:
            raise UsageError(
                f"{self.path} is another run ({_difference(known, wanted)}); choose another --out"
            )

    @contextmanager
    def held(self, description: Mapping[str, Any]) -> Iterator[None]:
        """Holds the folder, making it if need be; call it in the process that writes.

        Raises:
            UsageError: The folder holds something else, another process works on it, or it cannot be written.
        """
        self.check(description)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = take_lock(self.path / _LOCK)
        except BlockingIOError:
            raise UsageError(f"another process is working on {self.path}") from None
        except OSError as error:
            raise UsageError(f"cannot write to {self.path}: {error.strerror}") from None
        try:
            self.check(description)
            for left_behind in self.path.glob(".new-*"):
                left_behind.unlink()
            text = json.dumps(description, indent=2) + "\n"
            write_atomically(self.path / DESCRIPTION, lambda path: path.write_text(text))
            yield
        finally:
            os.close(lock)

    def read_checkpoint(self) -> dict[str, Any] | None:
        """What was last saved, on the CPU; nothing at the beginning."""
        if not self._checkpoint.exists():
            return None
        state: dict[str, Any] = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
        return state

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        save_state(self._checkpoint, state)

    def write_best(self, state: Mapping[str, Any]) -> None:
        """Replace the best weights."""
        save_state(self.best, state)

    def write_sample(self, step: int, sheet: Image.Image) -> None:
        """Write `samples/NNNNNN.png`."""
        write_atomically(
            self.path / SAMPLES / f"{step:06d}.png", lambda path: sheet.save(path, "PNG")
        )

    def append_metrics(self, row: Mapping[str, float | None]) -> None:
        """Add a line to metrics.csv; the first one names the columns."""
        new = not self._metrics.exists()
        with self._metrics.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

    def forget_metrics_after(self, step: int) -> None:
        """Drop the lines of steps that will be done again, and a line that a kill cut short."""
        if not self._metrics.exists():
            return
        header, *rows = self._metrics.read_text().splitlines(keepends=True) or [""]
        kept = [row for row in rows if row.endswith("\n") and int(row.partition(",")[0]) <= step]
        if not header.endswith("\n"):
            self._metrics.unlink()
            return
        write_atomically(
            self._metrics, lambda path: path.write_text("".join([header, *kept]), newline="")
        )


def _difference(known: Any, wanted: Any, path: str = "") -> str:
    """The first thing that differs: `options.batch: 16 there, 8 here`."""
    if isinstance(known, dict) and isinstance(wanted, dict):
        for name in [*known, *wanted]:
            if known.get(name) != wanted.get(name):
                inner = f"{path}.{name}" if path else name
                return _difference(known.get(name), wanted.get(name), inner)
    return f"{path}: {_short(known)} there, {_short(wanted)} here"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:12]}…"
