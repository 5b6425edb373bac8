"""Building blocks of the StyleGAN2 generator, with rosinality's parameter names.

A modulated convolution is computed by scaling activations: with one style s per input channel,
``conv(x, W * s) == conv(x * s, W)``, and demodulation is a factor per output channel. The usual form
builds one weight tensor per sample and runs a grouped convolution, which is slow on CPU and tied to
the batch; this form is one ordinary convolution with shared weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BLUR = (1.0, 3.0, 3.0, 1.0)
_SLOPE = 0.2
_GAIN = math.sqrt(2.0)


def _resample_kernel() -> Tensor:
    """Separable [1, 3, 3, 1] low-pass filter, [4, 4], with the gain of 4 that upsampling needs."""
    gain = 4.0 / sum(_BLUR) ** 2
    return torch.tensor([[gain * a * b for b in _BLUR] for a in _BLUR])


def normal(*shape: int, divisor: float = 1.0) -> Tensor:
    """Normal numbers over `divisor`; none on the meta device, where PyTorch would load its compiler first."""
    tensor = torch.empty(shape)
    return tensor if tensor.is_meta else tensor.normal_().div_(divisor)


class PixelNorm(nn.Module):
    """Scale every row of [N, C] to unit mean square."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate, [N, in] -> [N, out]; optional fused leaky ReLU."""

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        bias_init: float = 0.0,
        lr_mul: float = 1.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(out_dim, in_dim, divisor=lr_mul))
        self.bias = nn.Parameter(torch.full((out_dim,), float(bias_init)))
        self.scale = lr_mul / math.sqrt(in_dim)
        self.lr_mul = lr_mul
        self.activate = activate
        self._frozen: tuple[Tensor, Tensor] | None = None

    def freeze(self) -> None:
        """Compute what depends on the weights alone once, and let go of them."""
        self._frozen = self._scaled()
        del self.weight, self.bias

    def _scaled(self) -> tuple[Tensor, Tensor]:
        return self.weight * self.scale, self.bias * self.lr_mul

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, *(self._frozen or self._scaled()))
        return F.leaky_relu(x, _SLOPE) * _GAIN if self.activate else x


class Blur(nn.Module):
    """The [1, 3, 3, 1] filter after a stride-2 transposed convolution: [N, C, 2H+1, .] -> [.., 2H, .]."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", _resample_kernel())

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.flip(0, 1).to(x.dtype).expand(channels, 1, 4, 4)
        return F.conv2d(x, kernel, padding=1, groups=channels)


class Upsample(nn.Module):
    """Double the size of an image with the [1, 3, 3, 1] filter: [N, 3, H, H] -> [N, 3, 2H, 2H]."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", _resample_kernel())

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        # zero insertion, padding (2, 1) and a true convolution are one transposed convolution
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


class ModulatedConv2d(nn.Module):
    """Convolution whose input channels are scaled by a style: x [N, I, H, H], w [N, style_dim]."""

    def __init__(
        self,
        in_channel: int,
        out_channel: int,
        kernel_size: int,
        style_dim: int,
        demodulate: bool = True,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(1, out_channel, in_channel, kernel_size, kernel_size))
        self.modulation = EqualLinear(style_dim, in_channel, bias_init=1.0)
        self.scale = 1.0 / math.sqrt(in_channel * kernel_size**2)
        self.demodulate = demodulate
        self.blur = Blur() if upsample else None
        self._frozen: tuple[Tensor, Tensor] | None = None

    def freeze(self) -> None:
        """Compute what depends on the weights alone once, and let go of them."""
        kernel, energy = self._kernel()
        self._frozen = kernel.contiguous(memory_format=torch.channels_last), energy.contiguous()
        del self.weight

    def _kernel(self) -> tuple[Tensor, Tensor]:
        """The convolution's weight, and its energy between every two channels [I, O]."""
        weight = self.weight[0] * self.scale
        energy = weight.float().square().sum(dim=(2, 3)).t()
        return weight if self.blur is None else weight.transpose(0, 1), energy

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.modulation(w)
        kernel, energy = self._frozen or self._kernel()
        x = x * style[:, :, None, None].to(x.dtype)
        if self.blur is None:
            x = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        else:
            x = self.blur(F.conv_transpose2d(x, kernel, stride=2))
        if not self.demodulate:
            return x
        # the norm of what the per-sample weights would have been; half precision would overflow
        with torch.autocast(x.device.type, enabled=False):
            factor = torch.rsqrt(style.float().square() @ energy + 1e-8)
        return x * factor[:, :, None, None].to(x.dtype)


class NoiseInjection(nn.Module):
    """Add per-pixel noise [N or 1, 1, H, H] times one learned strength."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        return x if noise is None else x + (self.weight * noise).to(x.dtype)


def _clamped(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else x.clamp(-limit, limit)


class FusedLeakyReLU(nn.Module):
    """Bias per channel, leaky ReLU 0.2 and a gain of sqrt(2) that keeps the variance."""

    def __init__(self, channels: int, clamp: float | None = None) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.clamp = clamp

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(x + self.bias[:, None, None].to(x.dtype), _SLOPE) * _GAIN
        return _clamped(x, self.clamp)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias and activation; doubles the size if ``upsample``."""

    def __init__(
        self,
        in_channel: int,
        out_channel: int,
        style_dim: int,
        upsample: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channel, out_channel, 3, style_dim, upsample=upsample)
        self.noise = NoiseInjection()
        self.activate = FusedLeakyReLU(out_channel, clamp)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        out: Tensor = self.activate(self.noise(self.conv(x, w), noise))
        return out


class ToRGB(nn.Module):
    """1x1 modulated convolution to colour, added to the upsampled image of the level below."""

    def __init__(
        self,
        in_channel: int,
        style_dim: int,
        upsample: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.clamp = clamp
        self.upsample = Upsample() if upsample else None
        self.conv = ModulatedConv2d(in_channel, 3, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, w: Tensor, skip: Tensor | None) -> Tensor:
        rgb = _clamped(self.conv(x, w) + self.bias, self.clamp)
        return rgb if skip is None or self.upsample is None else rgb + self.upsample(skip)


class ConstantInput(nn.Module):
    """The learned [1, C, 4, 4] every image starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(normal(1, channels, 4, 4))

    def forward(self, batch: int) -> Tensor:
        x = self.input.expand(batch, -1, -1, -1)
        # every later convolution keeps this layout, the fast one on CPU
        return x.contiguous(memory_format=torch.channels_last)
