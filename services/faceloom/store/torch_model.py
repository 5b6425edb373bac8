"""A model's weights in torch, and what torch computes on. Apart from `model.py`, which images without
torch use too."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from faceloom.store.model import Model

N = TypeVar("N", bound=nn.Module)


def load_weights(model: Model) -> dict[str, Tensor]:
    """All tensors of the model, in float32 whatever they are stored as, and laid out as convolutions like it.

    They take memory once: of the file, which is mapped, no more is ever in memory than one tensor.
    """
    path = model.weights_path
    with safe_open(path, framework="pt") as file:
        names = file.keys()
    return {name: _read(path, name) for name in names}


def _read(path: Path, name: str) -> Tensor:
    # Mapped anew for each: what was read of a mapping counts as this process's memory until it ends.
    with safe_open(path, framework="pt") as file:
        stored: Tensor = file.get_tensor(name)
    # The layout that convolutions prefer on every processor here. Kernels of one pixel have it anyway.
    preferred = torch.channels_last
    told_apart = stored.dim() == 4 and not stored.is_contiguous(memory_format=preferred)
    return stored.to(
        torch.float32 if stored.is_floating_point() else stored.dtype,
        copy=True,
        memory_format=preferred if told_apart else torch.preserve_format,
    )


def ready_network(
    kind: Callable[..., N], arguments: Mapping[str, Any], weights: Mapping[str, Tensor], device: str
) -> N:
    """The network with these weights, strictly, for inference on `device`. On the CPU it takes the tensors
    themselves.

    From here on this process computes on one thread: kernels divide work by the number of threads, and
    the bytes of an answer must not depend on how many cores a machine has. More workers use more cores.

    Args:
        kind: Class of the network.
        arguments: Of its constructor.
        weights: Every tensor of its state, as `load_weights` gives them.
        device: Where it will compute.

    Raises:
        RuntimeError: The weights are not those of the network.
    """
    torch.set_num_threads(1)
    # The same on a GPU, where some kernels add up in the order in which threads come to it.
    torch.backends.cudnn.deterministic = True
    with torch.device("meta"):
        network = kind(**arguments)
    network.load_state_dict(weights, strict=True, assign=True)
    return network.requires_grad_(False).eval().to(device)


def available_device() -> str:
    """Where this process computes: the first GPU that it may use, otherwise the CPU."""
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def processor(device: str) -> str:
    """The kind of processor that results are reproducible on."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability()
