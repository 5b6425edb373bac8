"""StyleGAN2 generator in plain PyTorch, with the parameter names of rosinality/stylegan2-pytorch.

Published checkpoints of that code load with ``load_state_dict(strict=True)`` at any size, mapping
depth and channel multiplier. Runs on CPU and CUDA, batched, with no compiled custom op.

Shapes: z and w are [N, style_dim]; w+ is [N, n_latent, style_dim]; images are [N, 3, S, S], nominal
range [-1, 1], not clamped. Papers: Karras et al., "A Style-Based Generator Architecture for
Generative Adversarial Networks" (2019), "Analyzing and Improving the Image Quality of StyleGAN" (2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from faceloom.stylegan2.layers import (
    ConstantInput,
    EqualLinear,
    ModulatedConv2d,
    PixelNorm,
    StyledConv,
    ToRGB,
    normal,
)

# By name, or one tensor [N, 1, s, s] per noise layer.
Noise = Literal["const", "random", "none"] | Sequence[Tensor]


def default_channels(multiplier: int = 2) -> dict[int, int]:
    """Feature maps per resolution of the published networks (2: config-f, 1: config-e)."""
    wide = {4: 512, 8: 512, 16: 512, 32: 512}
    return wide | {2**k: 2 ** (14 - k) * multiplier for k in range(6, 11)}


def with_mean(**arguments: Any) -> Generator:
    """A generator whose ``latent_avg`` is part of its state, as it is in model folders.

    Raises ValueError as ``Generator`` does.
    """
    generator = Generator(**arguments)
    generator.register_buffer("latent_avg", generator.latent_avg, persistent=True)
    return generator


class Generator(nn.Module):
    """StyleGAN2 generator.

    size: side of the image in pixels, a power of two from 8 to 1024. style_dim: length of z and w.
    n_mlp: mapping layers. channels: feature maps per resolution, for example {4: 128, 8: 64};
    without it the published widths at ``channel_multiplier``. lr_mlp: learning-rate multiplier of
    the mapping. conv_clamp: limit to what convolutions put out (networks trained in half precision
    have one). Raises ValueError when size is out of range or a resolution has no width.
    """

    latent_avg: Tensor

    def __init__(
        self,
        size: int,
        style_dim: int,
        n_mlp: int,
        channel_multiplier: int = 2,
        channels: Mapping[int, int] | Mapping[str, int] | None = None,
        lr_mlp: float = 0.01,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        if size not in (2**k for k in range(3, 11)):
            raise ValueError(f"size must be a power of two from 8 to 1024, not {size}")
        # JSON turns integer keys into strings, so both are taken
        widths = channels or default_channels(channel_multiplier)
        width = {int(side): count for side, count in widths.items()}
        log_size = size.bit_length() - 1
        missing = [2**k for k in range(2, log_size + 1) if 2**k not in width]
        if missing:
            raise ValueError(f"channels has no width for {missing}")
        self.size = size
        self.style_dim = style_dim
        self.n_latent = 2 * log_size - 2

        layers: list[nn.Module] = [PixelNorm()]
        for _ in range(n_mlp):
            layers.append(EqualLinear(style_dim, style_dim, lr_mul=lr_mlp, activate=True))
        self.style = nn.Sequential(*layers)
        self.input = ConstantInput(width[4])
        self.conv1 = StyledConv(width[4], width[4], style_dim, clamp=conv_clamp)
        self.to_rgb1 = ToRGB(width[4], style_dim, upsample=False, clamp=conv_clamp)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for k in range(3, log_size + 1):
            below, here = width[2 ** (k - 1)], width[2**k]
            self.convs.append(StyledConv(below, here, style_dim, upsample=True, clamp=conv_clamp))
            self.convs.append(StyledConv(here, here, style_dim, clamp=conv_clamp))
            self.to_rgbs.append(ToRGB(here, style_dim, clamp=conv_clamp))
        self.noises = nn.Module()
        self.noise_sides = [2 ** ((i + 5) // 2) for i in range(2 * log_size - 3)]
        for i, side in enumerate(self.noise_sides):
            self.noises.register_buffer(f"noise_{i}", normal(1, 1, side, side))
        # upstream keeps the mean latent beside the state dict, not in it
        self.register_buffer("latent_avg", torch.zeros(style_dim), persistent=False)

    @torch.no_grad()
    def freeze(self) -> None:
        """Compute once what depends on the weights alone, for inference, and let go of them: there is no
        state to save after that."""
        for module in self.modules():
            if isinstance(module, EqualLinear | ModulatedConv2d):
                module.freeze()

    def mapping(self, z: Tensor) -> Tensor:
        """z [N, style_dim], any scale (it is normalised) -> w [N, style_dim]."""
        w: Tensor = self.style(z)
        return w

    def broadcast(self, w: Tensor) -> Tensor:
        """One w [N, style_dim] for every layer: [N, n_latent, style_dim]."""
        return w[:, None].expand(-1, self.n_latent, -1)

    @torch.no_grad()
    def mean_latent(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Mean w [style_dim] of ``count`` random z, in chunks so that memory stays small."""
        total = torch.zeros_like(self.latent_avg, dtype=torch.float64)
        for start in range(0, count, 4096):
            rows = min(4096, count - start)
            z = torch.randn(rows, self.style_dim, generator=generator).to(total.device)
            total += self.mapping(z).double().sum(dim=0)
        return (total / count).to(self.latent_avg.dtype)

    def truncate(self, w_plus: Tensor, psi: float | Tensor, cutoff: int | None = None) -> Tensor:
        """Pull w+ [N, n_latent, style_dim] toward ``latent_avg``; 1 leaves it, 0 gives the mean.

        psi: a number or a tensor [N, 1, 1]. cutoff: only the first that many layers.
        """
        pulled = self.latent_avg + psi * (w_plus - self.latent_avg)
        if cutoff is None or cutoff >= self.n_latent:
            return pulled
        return torch.cat([pulled[:, :cutoff], w_plus[:, cutoff:]], dim=1)

    def _noise(self, index: int, mode: Noise, like: Tensor, batch: int) -> Tensor | None:
        if mode == "none":
            return None
        if not isinstance(mode, str):
            return mode[index]
        fixed: Tensor = self.noises.get_buffer(f"noise_{index}")
        if mode == "const":
            return fixed
        return torch.randn(batch, *fixed.shape[1:], device=like.device, dtype=like.dtype)

    def features(
        self, w_plus: Tensor, noise: Noise = "const", known: Sequence[Tensor] = ()
    ) -> Iterator[Tensor]:
        """What every convolution makes, [N, C, s, s]; the i-th takes style i.

        known: what the first ones made of the same styles, [N or 1, C, s, s]; they are not run again.
        """
        yield from known
        batch = w_plus.shape[0]
        x = known[-1] if known else self.input(batch)
        convs = [self.conv1, *self.convs]
        for i in range(len(known), len(convs)):
            x = convs[i](x, w_plus[:, i], self._noise(i, noise, w_plus, batch))
            yield x

    def pyramid(
        self,
        w_plus: Tensor,
        noise: Noise = "const",
        size: int | None = None,
        known: Sequence[Tensor] = (),
    ) -> list[tuple[Tensor, Tensor]]:
        """Features and image of every level up to ``size``: [([N, C, s, s], [N, 3, s, s]), ...].

        known: see ``features``.
        """
        to_rgbs = [self.to_rgb1, *self.to_rgbs][: (size or self.size).bit_length() - 2]
        # the features of a level are its second convolution's; the lowest has one
        features = islice(self.features(w_plus, noise, known), 0, None, 2)
        levels: list[tuple[Tensor, Tensor]] = []
        rgb = None
        # the levels first: after the last one, no convolution runs in vain
        for k, (to_rgb, x) in enumerate(zip(to_rgbs, features, strict=False)):
            rgb = to_rgb(x, w_plus[:, 2 * k + 1], rgb)
            levels.append((x, rgb))
        return levels

    def synthesis(
        self, w_plus: Tensor, noise: Noise = "const", known: Sequence[Tensor] = ()
    ) -> Tensor:
        """w+ [N, n_latent, style_dim] -> image [N, 3, size, size], about [-1, 1], not clamped.

        noise: "const" uses the stored maps (deterministic), "random" draws new ones, "none" adds
        nothing; or give the maps, one tensor [N, 1, s, s] per side in ``noise_sides``. known: see
        ``features``.
        """
        return self.pyramid(w_plus, noise, known=known)[-1][1]

    def forward(
        self, z: Tensor, psi: float = 1.0, cutoff: int | None = None, noise: Noise = "const"
    ) -> Tensor:
        """z [N, style_dim] -> image [N, 3, size, size]."""
        return self.synthesis(self.truncate(self.broadcast(self.mapping(z)), psi, cutoff), noise)
