"""The identity loss of the published pSp: features of ArcFace's IR-SE50 (Deng et al., "ArcFace", 2019),
with the names of `model_ir_se50.pth`."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceloom.training.translator.weight_files import load_frozen
from faceloom.translator.network import BottleneckIRSE

_UNITS = ((64, 3), (128, 4), (256, 14), (512, 3))
_SIDE = 112
# Rows and columns of the face in pSp's pictures, as shares of their side.
_ROWS = (35 / 256, 223 / 256)
_COLUMNS = (32 / 256, 220 / 256)


class IRSE50(nn.Module):
    """Faces [N, 3, 112, 112] in [-1, 1] -> features [N, 512] of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(512 * (_SIDE // 16) ** 2, 512),
            nn.BatchNorm1d(512),
        )
        body, below = [], 64
        for width, count in _UNITS:
            for index in range(count):
                body.append(BottleneckIRSE(below, width, stride=2 if index == 0 else 1))
                below = width
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.output_layer(self.body(self.input_layer(x))))


class IdentityDistance(nn.Module):
    """Images [N, 3, S, S] in [-1, 1] twice -> one minus the cosine of their identities, [N]."""

    def __init__(self, network: IRSE50) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            theirs = self.network(_face(target))
        cosine: Tensor = (self.network(_face(image)) * theirs).sum(1)
        return 1 - cosine


def _face(image: Tensor) -> Tensor:
    side = image.shape[-1]
    top, bottom = (round(share * side) for share in _ROWS)
    left, right = (round(share * side) for share in _COLUMNS)
    return F.adaptive_avg_pool2d(image[..., top:bottom, left:right], _SIDE)


def load_identity(file: Path) -> IdentityDistance:
    """The identity loss from `model_ir_se50.pth`, or the model folder that it was imported into.

    Raises:
        UsageError: It is something else.
        BrokenModel: The folder is not what it says it is.
    """
    return IdentityDistance(load_frozen(IRSE50(), [file])).eval()
