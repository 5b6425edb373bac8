"""A critic for the second part of training: tells drawn targets from the network's drawings, patch by
patch, given the picture (Isola et al., "pix2pix", CVPR 2017; the published Sketch Simplification
GAN is trained with such a loss too). Pixel losses alone leave a grey smear where the network is
not sure of a line's place; the critic has never seen a smear in a target.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from faceloom.sketch.network import SketchSimplification


class Critic(nn.Module):
    """(grey input, drawing), both [N,1,H,W] -> scores [N,1,H/8,W/8]; high where it looks drawn."""

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 2
        for outputs in (channels, 2 * channels, 4 * channels):
            conv = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
            layers += [spectral_norm(conv), nn.LeakyReLU(0.2)]
            inputs = outputs
        layers += [spectral_norm(nn.Conv2d(inputs, inputs, 3, padding=1)), nn.LeakyReLU(0.2)]
        layers += [spectral_norm(nn.Conv2d(inputs, 1, 3, padding=1))]
        self.layers = nn.Sequential(*layers)

    def forward(self, grey: Tensor, drawing: Tensor) -> Tensor:
        scores: Tensor = self.layers(torch.cat([grey, drawing * 2 - 1], 1))
        return scores


class Studio(nn.Module):
    """The network and its critic, trained, averaged and saved together."""

    def __init__(self, draughtsman: SketchSimplification) -> None:
        super().__init__()
        self.draughtsman = draughtsman
        self.critic = Critic()

    def adversarial_losses(
        self, grey: Tensor, drawn: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(what the draughtsman pays, what the critic pays): hinge losses. The first moves no
        weight of the critic, the second none of the draughtsman."""
        self.critic.requires_grad_(False)
        draughtsman = -self.critic(grey, drawn).mean()
        self.critic.requires_grad_(True)
        real, false = self.critic(grey, wanted), self.critic(grey, drawn.detach())
        return draughtsman, F.relu(1 - real).mean() + F.relu(1 + false).mean()
