"""The networks at the sizes they were published in, with random weights, on what this machine has to compute
on: images per second and memory, and on a GPU what TF32 saves and costs."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from faceloom.quality.network import MixNetS
from faceloom.runtime.service import service
from faceloom.segmentation.network import BiSeNet
from faceloom.sketch.network import SketchSimplification
from faceloom.store.torch_model import available_device
from faceloom.stylegan2.network import Generator
from faceloom.translator.network import GradualStyleEncoder

ROUNDS = 7
_STYLES, _DIM = 18, 512


class Psp(nn.Module):
    """A layout of 256 pixels to a face of 1024."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = GradualStyleEncoder(19, _STYLES, _DIM)
        self.decoder = _generator()

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder.synthesis(self.encoder(x))


def _generator() -> Generator:
    return Generator(1024, _DIM, 8)


# By service: the network, and the shape of one input.
NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "generator": (_generator, (_DIM,)),
    "quality": (MixNetS, (3, 224, 224)),
    "sketch": (SketchSimplification, (1, 256, 256)),
    "segmentation": (BiSeNet, (3, 512, 512)),
    "translator": (Psp, (19, 256, 256)),
}


@torch.inference_mode()
def measure(name: str) -> dict[str, Any]:
    """Images per second in chunks as the service computes them."""
    device = available_device()
    on_gpu = device != "cpu"
    kind, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = _as_served(kind().to(device).eval())
    sizes = service(name).compute_batch
    batch = torch.randn(sizes.cuda if on_gpu else sizes.cpu, *shape, device=device)
    figures: dict[str, Any] = {"device": device, "batch": len(batch)}
    answers = {}
    for tf32 in (False, True) if on_gpu else (False,):
        torch.backends.cudnn.allow_tf32 = tf32
        answers[tf32] = network(batch)
        figures["tf32" if tf32 else "fp32"] = round(len(batch) / _seconds(network, batch), 3)
    if on_gpu:
        exact, fast = answers[False], answers[True]
        spread = float((exact.max() - exact.min()).clamp(min=1e-9))
        figures["tf32_error"] = float((exact - fast).abs().max()) / spread
        figures["bytes"] = torch.cuda.max_memory_allocated()
    return figures


def _as_served(network: nn.Module) -> nn.Module:
    """What `load_weights` and the handlers do to a network."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, Generator):
            module.freeze()
    return network


def _seconds(network: nn.Module, batch: Tensor) -> float:
    """The median of some rounds after the first, which chooses kernels."""
    spent = []
    for _ in range(1 + ROUNDS):
        started = time.perf_counter()
        answer = network(batch)
        # Reading one number waits for all of them.
        float(answer.flatten()[0])
        spent.append(time.perf_counter() - started)
    return statistics.median(spent[1:])
