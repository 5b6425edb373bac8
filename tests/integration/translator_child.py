"""A training in a process of its own, alone or under torchrun, which may kill itself at a chosen moment.

`python translator_child.py '{"dataset": ..., "out": ..., "generator": ..., "lpips": ..., "task": ...,
"options": {...}, "kill_after_step": 4, "kill_in_save": 2}'`
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

import torch
from tests.translator_data import small_options

from faceloom.training.translator.train import train


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_save(number: int) -> None:
    """From now on, the so-manieth checkpoint is torn: half of it is written when the process dies."""
    save, count = torch.save, 0

    def torn(state: dict[str, Any], file: BinaryIO) -> None:
        nonlocal count
        save(state, file)
        if "optimizer" in state:
            count += 1
            if count == number:
                file.truncate(file.tell() // 2)
                die()

    torch.save = torn


def main() -> None:
    what = json.loads(sys.argv[1])
    options = small_options(**what["options"])
    if "kill_in_save" in what:
        die_in_save(what["kill_in_save"])

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "training" and done == what.get("kill_after_step", -1) * options.batch:
            die()

    train(
        what["task"],
        Path(what["dataset"]),
        options,
        Path(what["out"]),
        Path(what["generator"]),
        [Path(what["lpips"])],
        device="cpu",
        progress=progress,
    )


if __name__ == "__main__":
    main()
