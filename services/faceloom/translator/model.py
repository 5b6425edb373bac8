"""A translator: one StyleGAN2 decoder, and an encoder into its w+ for every kind of picture it understands.

A model folder stores it flat: `decoder.*` with the decoder's `latent_avg`, and `<task>.*` for every encoder.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from faceloom.layouts.classes import CLASS_NAMES
from faceloom.store.model import Model
from faceloom.store.torch_model import load_weights, ready_network
from faceloom.stylegan2.network import with_mean
from faceloom.translator.network import GradualStyleEncoder

SKETCH: Final = "sketch"
SEGMENTATION: Final = "segmentation"
# A photograph, whose appearance another picture may take.
FACE: Final = "face"
CHANNELS: Final = {SKETCH: 1, SEGMENTATION: len(CLASS_NAMES), FACE: 3}

# What the names of the decoder's tensors begin with.
DECODER: Final = "decoder."
_ENCODERS = "encoders."
# From where on styles mix in: at 256 pixels and more as in published pSp. Small decoders have light and
# colour in the 16x16 layers already.
_FIRST_FINE, _FIRST_FINE_OF_SMALL = 8, 3


class Translator(nn.Module):
    """Pictures to w+, and w+ to faces.

    Args:
        decoder: Arguments of `faceloom.stylegan2.network.Generator`, whatever its size, mapping depth and
            widths.
        encoders: Arguments of `GradualStyleEncoder` by task: `sketch`, `segmentation`, `face`, or some of
            them. `input_nc`, `n_styles` and `style_dim` follow from task and decoder when not given.

    Raises:
        ValueError: A task is unknown, or an encoder does not fit its task or the decoder.
    """

    def __init__(
        self, decoder: Mapping[str, Any], encoders: Mapping[str, Mapping[str, Any]]
    ) -> None:
        super().__init__()
        self.decoder = with_mean(**decoder)
        self.encoders = nn.ModuleDict(
            {
                task: GradualStyleEncoder(**self._fitting(task, arguments))
                for task, arguments in encoders.items()
            }
        )

    def w_plus(self, task: str, x: Tensor) -> Tensor:
        """Pictures [N, C, side, side] as `conditions` makes them -> w+ [N, n_latent, style_dim].

        Raises:
            KeyError: There is no encoder for the task.
        """
        styles: Tensor = self.encoders[task](x) + self.decoder.latent_avg
        return styles

    def side(self, task: str) -> int:
        """The side of the pictures that a task's encoder takes."""
        encoder = self.encoders[task]
        assert isinstance(encoder, GradualStyleEncoder)
        return encoder.side

    def _fitting(self, task: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if task not in CHANNELS:
            raise ValueError(f"no task {task!r}; there are {', '.join(CHANNELS)}")
        wanted = {
            "input_nc": CHANNELS[task],
            "n_styles": self.decoder.n_latent,
            "style_dim": self.decoder.style_dim,
        }
        for name, value in wanted.items():
            if arguments.get(name, value) != value:
                raise ValueError(f"{name} of the {task} encoder is {arguments[name]}, not {value}")
        return {**arguments, **wanted}


def mix(code: Tensor, style: Tensor, layers: Sequence[int], alpha: float = 1.0) -> Tensor:
    """Style mixing: alpha * style + (1 - alpha) * code on some layers, the code itself on the others.

    Args:
        code: w+ of the picture, [N or 1, n_latent, style_dim].
        style: w+ of the style, [N or 1, n_latent, style_dim].
        layers: Which layers are mixed.
        alpha: 0 leaves the code, 1 takes the style.

    Returns:
        w+ [N, n_latent, style_dim].
    """
    mixed, chosen = code.expand(max(len(code), len(style)), -1, -1).clone(), list(layers)
    mixed[:, chosen] = alpha * style[:, chosen] + (1 - alpha) * code[:, chosen]
    return mixed


def stored_tensors(translator: Translator) -> dict[str, Tensor]:
    """The translator's state under the names it has in a model folder."""
    state = translator.state_dict()
    return {name.removeprefix(_ENCODERS): tensor for name, tensor in state.items()}


def state_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `stored_tensors`: a state for `Translator.load_state_dict`."""
    return {
        name if name.startswith(DECODER) else f"{_ENCODERS}{name}": tensor
        for name, tensor in tensors.items()
    }


def shift_codes(
    tensors: dict[str, Tensor], encoder: str, offsets: Tensor, deltas: bool = False
) -> None:
    """Adds something to all codes of an encoder, through the biases of its style heads.

    Args:
        tensors: Of which those of the style heads are replaced.
        encoder: What the names of the encoder's tensors begin with.
        offsets: What is added, [n_styles, style_dim].
        deltas: Of the encoder, see `GradualStyleEncoder`.
    """
    if deltas:
        # What the first head says is in all styles.
        offsets = torch.cat([offsets[:1], offsets[1:] - offsets[:1]])
    for index, offset in enumerate(offsets):
        name = f"{encoder}styles.{index}.linear.bias"
        tensors[name] = tensors[name].float() + offset


def load_translator(model: Model, device: str) -> Translator:
    """The translator of a model folder for inference on `device`: in float32, frozen, on one thread.

    Raises:
        RuntimeError: The weights are not those of the network that `model.json` describes.
    """
    # No name for the weights: freezing lets go of some.
    translator = ready_network(Translator, model.network, state_of(load_weights(model)), device)
    translator.decoder.freeze()
    return translator


def fine_layers(n_latent: int) -> list[int]:
    """The layers that colour and light are in, of a decoder with that many."""
    return list(range(_FIRST_FINE if n_latent >= 14 else _FIRST_FINE_OF_SMALL, n_latent))
