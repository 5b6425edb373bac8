"""The processes that train together, and what each computes on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from faceloom.core.errors import UsageError


@dataclass(frozen=True)
class World:
    """This process among those that torchrun started, or alone.

    Args:
        device: What it computes on.
        rank: Its number; the first one writes.
        size: How many there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def wait(self) -> None:
        """Goes on when all processes are here."""
        if self.size > 1:
            dist.barrier()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size


def first_process() -> bool:
    """Whether this process is the first that torchrun started, or alone."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Meets the other processes that torchrun started; gloo on CPU, NCCL on CUDA.

    Args:
        device: `cpu`, `cuda`, or `auto` for CUDA where there is one.

    Raises:
        UsageError: There is no such device.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device is auto, cpu or cuda, not {device}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that PyTorch can use")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = torch.device("cpu")
    if device != "cpu" and torch.cuda.is_available():
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    if size == 1:
        yield World(chosen)
        return
    cuda = chosen.type == "cuda"
    dist.init_process_group("nccl" if cuda else "gloo", device_id=chosen if cuda else None)
    try:
        yield World(chosen, dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
