"""What a request asks for, checked: every refusal of the service is in here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from faceloom.core.arrays import Pixels
from faceloom.core.errors import FailedPrecondition, InvalidArgument
from faceloom.core.images import decode_grey, decode_rgb
from faceloom.generator.v1 import generator_pb2
from faceloom.layouts.labels import BISENET_TO_CELEBA
from faceloom.layouts.pictures import ToldBy, read_layout
from faceloom.stylegan2.latents import z_of
from faceloom.translator.model import FACE, SEGMENTATION, SKETCH, Translator
from faceloom.translator.preprocessing import Preprocessing
from faceloom.translator.v1 import translator_pb2 as pb

_MAX_PSI = 1.5


@dataclass(frozen=True)
class SeedStyle:
    """Styles of z [variants, style_dim], truncated by psi."""

    z: Tensor
    psi: float


@dataclass(frozen=True)
class LatentStyle:
    """Styles by value, w+ [1 or variants, n_latent, style_dim]."""

    w_plus: Tensor


@dataclass(frozen=True)
class ReferenceStyle:
    """The style of a face, [3, side, side] for its encoder."""

    face: Tensor


Style: TypeAlias = SeedStyle | LatentStyle | ReferenceStyle


def read_condition(
    request: pb.TranslateRequest, network: Translator, shown: Preprocessing
) -> tuple[str, Tensor]:
    """The task, and the picture as its encoder takes it, [C, side, side].

    Raises:
        InvalidArgument: The picture is missing, broken, empty or of another kind.
        FailedPrecondition: The model was not trained for the task.
    """
    kind = request.WhichOneof("condition")
    if kind is None:
        raise InvalidArgument("give a sketch, a layout or a face", field="condition")
    if kind == "sketch":
        side = _side(network, SKETCH, "sketch")
        return SKETCH, shown.sketch(decode_grey(request.sketch, "sketch"), side)
    if kind == "face":
        side = _side(network, FACE, "face")
        return FACE, shown.face(decode_rgb(request.face, "face"), side)
    side = _side(network, SEGMENTATION, "layout")
    return SEGMENTATION, shown.layout(_labels(request.layout), side)


def read_style(
    request: pb.TranslateRequest,
    variants: int,
    network: Translator,
    psi: float,
    shown: Preprocessing,
) -> Style | None:
    """The style, or None for a plain translation.

    Args:
        request: The request.
        variants: How many faces it asks for.
        network: The model.
        psi: Truncation of seeded styles when the request says nothing.
        shown: How faces come to the model.

    Raises:
        InvalidArgument: A field is out of range, or means nothing beside the others.
        FailedPrecondition: The model cannot read faces.
    """
    kind = request.WhichOneof("style")
    if request.HasField("truncation_psi") and kind != "style_seed":
        raise InvalidArgument("it truncates seeded styles; set style_seed", field="truncation_psi")
    if kind == "style_seed":
        psi = _number(request, "truncation_psi", psi, _MAX_PSI)
        seeds = ((request.style_seed + k) % 2**64 for k in range(variants))
        z = np.stack([z_of(seed, network.decoder.style_dim) for seed in seeds])
        return SeedStyle(torch.from_numpy(z), psi)
    if kind == "style_latents":
        return LatentStyle(_latents(request.style_latents.latents, variants, network))
    if variants > 1:
        raise InvalidArgument(
            f"{variants} variants would all be the same; set style_seed or style_latents",
            field="variants",
        )
    if kind == "style_reference":
        side = _side(network, FACE, "style_reference")
        return ReferenceStyle(
            shown.face(decode_rgb(request.style_reference, "style_reference"), side)
        )
    return None


def read_mixing(
    request: pb.TranslateRequest, n_layers: int, default: Sequence[int]
) -> tuple[tuple[int, ...], float]:
    """Which layers take the style, and how much of it.

    Raises:
        InvalidArgument: There is no style to mix, no such layer, or alpha is out of range.
    """
    idle = (
        "mixed_layers" if request.mixed_layers else "alpha" if request.HasField("alpha") else None
    )
    if idle and request.WhichOneof("style") is None:
        raise InvalidArgument(
            "there is nothing to mix; set style_seed, style_latents or style_reference", field=idle
        )
    layers = tuple(request.mixed_layers)
    if len(set(layers)) < len(layers):
        raise InvalidArgument("a layer is there twice", field="mixed_layers")
    if layers and max(layers) >= n_layers:
        raise InvalidArgument(
            f"there is no layer {max(layers)}; give 0 to {n_layers - 1}", field="mixed_layers"
        )
    return layers or tuple(default), _number(request, "alpha", 1.0, 1.0)


def _side(network: Translator, task: str, field: str) -> int:
    if task not in network.encoders:
        raise FailedPrecondition(
            f"this model has no {task} encoder; it has {', '.join(network.encoders)}",
            reason="TASK_NOT_LOADED",
            field=field,
        )
    return network.side(task)


def _labels(layout: pb.Layout) -> Pixels:
    """Ids in CelebAMask-HQ's order, [H, W]."""
    labels, told_by = read_layout(layout.image, "layout.image")
    if layout.order not in (pb.LABEL_ORDER_CELEBAMASK_HQ, pb.LABEL_ORDER_BISENET):
        raise InvalidArgument("say CELEBAMASK_HQ or BISENET", field="layout.order")
    # Colours name classes; an order is a matter of ids.
    if layout.order == pb.LABEL_ORDER_CELEBAMASK_HQ or told_by is ToldBy.COLOURS:
        return labels
    meant = BISENET_TO_CELEBA[labels]
    if told_by is ToldBy.BOTH and (meant != labels).any():
        raise InvalidArgument(
            "its palette has CelebAMask-HQ's colours in CelebAMask-HQ's order; say that order, or send ids in"
            " BiSeNet's order as grey",
            field="layout.order",
        )
    return meant


def _latents(latents: Sequence[generator_pb2.Latent], variants: int, network: Translator) -> Tensor:
    if len(latents) not in (1, variants):
        raise InvalidArgument(
            f"{len(latents)} latents for {variants} variants; give one, or one per variant",
            field="style_latents.latents",
        )
    return torch.stack(
        [
            _latent(latent, f"style_latents.latents[{index}]", network)
            for index, latent in enumerate(latents)
        ]
    )


def _latent(latent: generator_pb2.Latent, field: str, network: Translator) -> Tensor:
    """The w+ [n_latent, style_dim] of a w or w+."""
    layers, dim = network.decoder.n_latent, network.decoder.style_dim
    rows = {generator_pb2.LATENT_SPACE_W: 1, generator_pb2.LATENT_SPACE_W_PLUS: layers}
    if latent.space not in rows:
        raise InvalidArgument("styles are of space W or W_PLUS", field=f"{field}.space")
    values = np.asarray(latent.values, np.float32)
    needed = rows[latent.space] * dim
    if len(values) != needed or not np.isfinite(values).all():
        raise InvalidArgument(
            f"{len(values)} values; {needed} finite ones are needed", field=f"{field}.values"
        )
    return torch.from_numpy(values).view(-1, dim).expand(layers, dim)


def _number(request: pb.TranslateRequest, field: str, default: float, most: float) -> float:
    """An optional number of the request between 0 and `most`."""
    if not request.HasField(field):  # type: ignore[arg-type]
        return default
    value: float = getattr(request, field)
    if not (math.isfinite(value) and 0 <= value <= most):
        raise InvalidArgument(f"{field} is {value}; give 0 to {most:g}", field=field)
    return value
