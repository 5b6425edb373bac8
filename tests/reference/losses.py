"""The networks that pixel2style2pixel's losses look through, written out, with random numbers by the names of
the published files. Nothing of the networks that the project trains with is used here.

Papers: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (2018), on the
AlexNet of Krizhevsky's "One weird trick" (2014); Deng et al., "ArcFace" (2019).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.reference.psp import Encoder, normalised, random_encoder, rectified, residual
from tests.reference.psp import convolved as padded

State = dict[str, Tensor]

# Of AlexNet: place among its layers, maps in and out, side of the kernel, stride, padding.
CONVOLUTIONS = (
    (0, 3, 64, 11, 4, 2),
    (3, 64, 192, 5, 1, 2),
    (6, 192, 384, 3, 1, 1),
    (8, 384, 256, 3, 1, 1),
    (10, 256, 256, 3, 1, 1),
)
_BLOCKS = (3, 4, 14, 3)


def random_alexnet(seed: int = 0) -> State:
    """torchvision's state dict; of its classifier, one tensor."""
    random = torch.Generator().manual_seed(seed)
    state = {"classifier.6.bias": torch.randn(1000, generator=random)}
    for place, below, here, side, _, _ in CONVOLUTIONS:
        weight = torch.randn(here, below, side, side, generator=random)
        state[f"features.{place}.weight"] = weight / math.sqrt(below * side**2 / 2)
        state[f"features.{place}.bias"] = 0.1 * torch.randn(here, generator=random)
    return state


def random_heads(seed: int = 0) -> State:
    """LPIPS' own `alex.pth`."""
    random = torch.Generator().manual_seed(seed)
    return {
        f"lin{index}.model.1.weight": torch.rand(1, here, 1, 1, generator=random)
        for index, (_, _, here, _, _, _) in enumerate(CONVOLUTIONS)
    }


def random_ir_se50(seed: int = 0) -> State:
    """`model_ir_se50.pth`."""
    random = torch.Generator().manual_seed(seed)
    encoder = random_encoder(3, 0, 512, 112, _BLOCKS, (64, 128, 256, 512), seed).state
    state = {name: value for name, value in encoder.items() if "latlayer" not in name}
    for index in (0, 4):
        for part in ("weight", "bias", "running_mean"):
            state[f"output_layer.{index}.{part}"] = torch.randn(512, generator=random)
        state[f"output_layer.{index}.running_var"] = 0.5 + torch.rand(512, generator=random)
        state[f"output_layer.{index}.num_batches_tracked"] = torch.tensor(1000)
    state["output_layer.3.weight"] = torch.randn(512, 512 * 7 * 7, generator=random) / 158
    state["output_layer.3.bias"] = torch.randn(512, generator=random)
    return state


def lpips(state: State, image: Tensor, target: Tensor) -> Tensor:
    """Equation 1 of the paper: [N, 3, S, S] in [-1, 1] twice -> [N]."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def maps(x: Tensor) -> list[Tensor]:
        x, found = (x - shift[:, None, None]) / scale[:, None, None], []
        for place, _, _, _, stride, padding in CONVOLUTIONS:
            x = F.max_pool2d(x, 3, 2) if place in (3, 6) else x
            name = f"features.{place}"
            x = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride, padding).relu()
            found.append(x)
        return found

    total = torch.zeros(len(image))
    for index, (a, b) in enumerate(zip(maps(image), maps(target), strict=True)):
        a, b = (m / (m.norm(dim=1, keepdim=True) + 1e-10) for m in (a, b))
        weight = state[f"lin{index}.model.1.weight"][0]
        total += ((a - b) ** 2 * weight).sum(1).mean((1, 2))
    return total


def identity(state: State, face: Tensor) -> Tensor:
    """The features of a face [3, 112, 112]: [512], of length 1."""
    net = Encoder(state, _BLOCKS, 0)
    x = padded(net, "input_layer.0", face.double())
    x = rectified(net, "input_layer.2", normalised(net, "input_layer.1", x))
    index = 0
    for count in _BLOCKS:
        for k in range(count):
            x = residual(net, f"body.{index}", x, 1 if k else 2)
            index += 1
    x = normalised(net, "output_layer.0", x).flatten()
    x = net["output_layer.3.weight"] @ x + net["output_layer.3.bias"]
    x = normalised(net, "output_layer.4", x[:, None, None])[:, 0, 0]
    return x / x.norm()
