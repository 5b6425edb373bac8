"""A model's weights in torch, and what torch computes on. Apart from `model.py`, which images without
torch use too."""

from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from faceloom.store.model import Model

N = TypeVar("N", bound=nn.Module)


def load_weights(model: Model) -> dict[str, Tensor]:
    """All tensors of the model, in float32 whatever they are stored as."""
    return {name: tensor.float() for name, tensor in load_file(model.weights_path).items()}


def ready_network(network: N, weights: dict[str, Tensor], device: str) -> N:
    """The network with these weights, strictly, for inference on `device`.

    From here on this process computes on one thread: kernels divide work by the number of threads, and
    the bytes of an answer must not depend on how many cores a machine has. More workers use more cores.
    """
    torch.set_num_threads(1)
    network.load_state_dict(weights, strict=True)
    network.requires_grad_(False).eval().to(device)
    # The layout that convolutions prefer on every processor here.
    for tensor in network.parameters():
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return network


def processor(device: str) -> str:
    """The kind of processor that results are reproducible on."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability()
