"""LPIPS v0.1 on AlexNet (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric", 2018), the perceptual loss of the published pSp.

Names are those of the published files: torchvision's AlexNet (`features.*`; `classifier.*` is not used) and
LPIPS' linear heads (`lin0.model.1.weight` to `lin4`).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from faceloom.training.translator.weight_files import load_frozen

# Output of every convolution's ReLU in torchvision's `features`, and its channels.
_TAPS = {1: 64, 4: 192, 7: 384, 9: 256, 11: 256}
# AlexNet's, which is not looked at.
UNUSED = "classifier."
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class Head(nn.Module):
    """How much every channel counts: squared differences [N, C, H, H] -> [N, 1, H, H]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        weighted: Tensor = self.model(x)
        return weighted


class Lpips(nn.Module):
    """Images [N, 3, S, S] in [-1, 1] twice -> distances [N]; S is 32 or more."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1),
            nn.ReLU(),
        )
        for index, channels in enumerate(_TAPS.values()):
            setattr(self, f"lin{index}", Head(channels))
        for name, values in (("shift", _SHIFT), ("scale", _SCALE)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            theirs = self._maps(target)
        parts = []
        for index, (a, b) in enumerate(zip(self._maps(image), theirs, strict=True)):
            head = self.get_submodule(f"lin{index}")
            parts.append(head((a - b).square()).mean((1, 2, 3)))
        return torch.stack(parts).sum(0)

    def _maps(self, image: Tensor) -> list[Tensor]:
        x = (image - self.shift) / self.scale
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _TAPS:
                maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps


def load_lpips(files: Sequence[Path]) -> Lpips:
    """LPIPS from torchvision's AlexNet and LPIPS' `alex.pth`, or from one file that holds both; files, or
    model folders that they were imported into.

    Raises:
        UsageError: They are something else.
        BrokenModel: A folder is not what it says it is.
    """
    return load_frozen(Lpips(), files, UNUSED)
