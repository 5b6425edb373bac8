"""How the projects that publish StyleGAN2 networks name their tensors, and which of ours each is."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from faceloom.checkpoints.untrusted import Refusal

# Beyond what can be served, so that it can be told what is in a file.
_LARGEST_SIDE = 4096
_MOST_DENSE = 32


@dataclass(frozen=True)
class TensorNames:
    """The names of one project.

    Args:
        mean: The mean latent.
        const: The constant that every picture begins with.
        dense: What the names of a mapping layer `{n}` begin with, counted from 0.
        first: What those of the convolution at 4x4 begin with.
        up: Those of the upsampling convolution at `{side}`.
        plain: Those of the other convolution at `{side}`.
        to_rgb: Those of the convolution to colours at `{side}`.
        noise: The noise map of the convolution `{layer}`, counted from 0, whose names begin with `{conv}`.
        style: Of every convolution: what our parts are called.
    """

    mean: str
    const: str
    dense: str
    first: str
    up: str
    plain: str
    to_rgb: str
    noise: str
    style: Mapping[str, str]

    def ours(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same tensors by our names.

        Raises:
            Refusal: A StyleGAN2 has no such tensor.
        """
        ours = {theirs: name for name, theirs in self.names.items()}
        extra = sorted(tensors.keys() - ours.keys())
        if extra:
            more = f" and {len(extra) - 1} more" if extra[1:] else ""
            raise Refusal(f"has {extra[0]}{more}, which no StyleGAN2 has")
        return {ours[theirs]: tensor for theirs, tensor in tensors.items()}

    @cached_property
    def names(self) -> dict[str, str]:
        """The project's name for each of our tensors, for networks of any depth and size."""
        names = {"latent_avg": self.mean, "input.input": self.const}
        for n in range(_MOST_DENSE):
            for part in ("weight", "bias"):
                names[f"style.{n + 1}.{part}"] = self.dense.format(n=n) + part
        names |= self._conv("conv1", self.first, 0) | self._to_rgb("to_rgb1", 4)
        side, layer = 8, 1
        while side <= _LARGEST_SIDE:
            names |= self._conv(f"convs.{layer - 1}", self.up.format(side=side), layer)
            names |= self._conv(f"convs.{layer}", self.plain.format(side=side), layer + 1)
            names |= self._to_rgb(f"to_rgbs.{(layer - 1) // 2}", side)
            side, layer = 2 * side, layer + 2
        return names

    def _conv(self, ours: str, theirs: str, layer: int) -> dict[str, str]:
        return self._styled(ours, theirs) | {
            f"{ours}.noise.weight": f"{theirs}noise_strength",
            f"{ours}.activate.bias": f"{theirs}bias",
            f"noises.noise_{layer}": self.noise.format(conv=theirs, layer=layer),
        }

    def _to_rgb(self, ours: str, side: int) -> dict[str, str]:
        theirs = self.to_rgb.format(side=side)
        return self._styled(ours, theirs) | {f"{ours}.bias": f"{theirs}bias"}

    def _styled(self, ours: str, theirs: str) -> dict[str, str]:
        return {f"{ours}.conv.{part}": theirs + name for part, name in self.style.items()}
