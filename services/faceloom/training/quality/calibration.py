"""From a network's margins to probabilities: scoring many faces, Platt's correction, and the two-class
network that has it built in."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from faceloom.quality.network import HEAD_CHANNELS, IMAGENET_MEAN, IMAGENET_STD, MixNetS
from faceloom.training.quality.augment import SIDE, resize

NETWORK: dict[str, Any] = {"num_classes": 2}
KEEP = 1  # class index of "keep", and of "intact" here


def normalise(images: Tensor) -> Tensor:
    """[N,3,H,W] in [0,1] -> network input."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def scores_by(network: MixNetS, faces: Tensor, side: int = SIDE) -> NDArray[np.float64]:
    """All outputs for uint8 faces [N,3,H,W]."""
    parts = [network(normalise(resize(part, side))) for part in torch.split(faces, 16)]
    return torch.cat(parts).double().numpy()


def platt(margin: NDArray[np.float64], keep: NDArray[np.bool_]) -> tuple[float, float]:
    """Scale and shift for which sigmoid(scale * margin + shift) is calibrated (Platt 1999)."""
    x, y = torch.from_numpy(margin), torch.from_numpy(keep).double()
    # Platt's targets keep a few dozen labels from being trusted to infinity.
    y = torch.where(y > 0, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
    parameters = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(parameters[0] * x + parameters[1], y)
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    scale, shift = parameters.detach().tolist()
    return scale, shift


def classifier_of(network: MixNetS, head: int, scale: float, shift: float) -> MixNetS:
    """The two-class network whose softmax is the calibrated score of that head: Platt's correction
    goes into the logit of "keep", the logit of "reject" is 0."""
    state = network.state_dict()
    weight, bias = torch.zeros(2, HEAD_CHANNELS), torch.zeros(2)
    weight[KEEP] = scale * state["classifier.weight"][head]
    bias[KEEP] = scale * state["classifier.bias"][head] + shift
    result = MixNetS(**NETWORK)
    result.load_state_dict(state | {"classifier.weight": weight, "classifier.bias": bias})
    # What is measured is what will be stored.
    return result.half().float().eval()


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))
