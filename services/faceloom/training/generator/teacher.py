"""The teacher of the ``tiny`` generator: the DCGAN of the package gan-face-generate (MIT).

Its weights are a plain state dict, so the few lines of the network are written here and the
package, with its heavy imports, is never imported. z is [N, 100], images are [N, 3, 64, 64] in
[-1, 1]. Paper: Radford et al., "Unsupervised Representation Learning with DCGANs" (2016).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

Z_DIM = 100
WIDTHS = {4: 512, 8: 256, 16: 128, 32: 64}  # feature maps per resolution


class Teacher(nn.Module):
    """DCGAN generator, parameter names as in the published file (``main.N``)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        below = Z_DIM
        for level, width in enumerate(WIDTHS.values()):
            stride, padding = (1, 0) if level == 0 else (2, 1)
            layers.append(nn.ConvTranspose2d(below, width, 4, stride, padding, bias=False))
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            below = width
        layers += [nn.ConvTranspose2d(below, 3, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """z [N, 100] -> image [N, 3, 64, 64]."""
        return self.features(z)[-1]

    def features(self, z: Tensor) -> list[Tensor]:
        """Activations at 4, 8, 16 and 32 px (512, 256, 128, 64 maps), then the image."""
        x = z[:, :, None, None]
        taps = []
        for index, layer in enumerate(self.main):
            x = layer(x)
            if index in (2, 5, 8, 11):
                taps.append(x)
        return [*taps, x]


def load_teacher(path: Path) -> Teacher:
    """Read ``weights.tar`` of gan-face-generate without unpickling code; frozen, in eval mode.

    Raises FileNotFoundError, KeyError when the file holds no ``netG_state_dict``, or RuntimeError
    when its tensors do not fit.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)["netG_state_dict"]
    teacher = Teacher()
    teacher.load_state_dict(state, strict=True)
    return teacher.eval().requires_grad_(False)


def unit_z(count: int, generator: torch.Generator) -> Tensor:
    """Random z [count, 100] of unit mean square.

    The student normalises its z; drawing it normalised gives both networks the very same vector. In
    100 dimensions the length hardly varies anyway, so the teacher sees what it was trained on.
    """
    z = torch.randn(count, Z_DIM, generator=generator)
    return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True))
