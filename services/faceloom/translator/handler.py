"""Drawings, label maps and photographs to faces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from faceloom.common.v1 import image_pb2
from faceloom.core.arrays import Floats, Pixels
from faceloom.core.errors import TOO_MANY_ITEMS, InvalidArgument
from faceloom.core.images import check_output, encode
from faceloom.runtime.handler import MAX_ANSWER_BYTES, Handler, Work
from faceloom.store.model import open_model
from faceloom.store.torch_model import processor
from faceloom.stylegan2.latents import Vector, to_pixels
from faceloom.translator.model import FACE, SEGMENTATION, SKETCH, load_translator, mix
from faceloom.translator.preprocessing import Preprocessing
from faceloom.translator.v1 import translator_pb2 as pb
from faceloom.translator.validation import (
    LatentStyle,
    SeedStyle,
    Style,
    read_condition,
    read_mixing,
    read_style,
)

_OUTPUTS = (
    image_pb2.IMAGE_FORMAT_RGB8,
    image_pb2.IMAGE_FORMAT_PNG,
    image_pb2.IMAGE_FORMAT_JPEG,
    image_pb2.IMAGE_FORMAT_WEBP,
)


@dataclass(frozen=True)
class Job:
    """One request: a picture for the encoder of its task, and the styles its faces take."""

    task: str
    condition: Tensor
    variants: int
    style: Style | None
    layers: tuple[int, ...]
    alpha: float


@dataclass(frozen=True)
class TranslatedFace:
    """One face: uint8 pixels [S, S, 3] and the w+ [layers, style_dim] that made it."""

    pixels: Pixels
    w_plus: Vector


class TranslatorHandler(Handler[pb.TranslateRequest, Job, Sequence[TranslatedFace]]):
    """Serves pixel2style2pixel encoders and their decoder."""

    request_type = pb.TranslateRequest

    def load(self, folder: Path, device: str) -> None:
        model = open_model(folder)
        self.service = model.limited(self.service)
        self._options = model.options
        self._shown = Preprocessing(model.options)
        self._network = load_translator(model, device)
        self._device = device
        self.model = model.info(device, processor(device))

    def sample_request(self) -> pb.TranslateRequest:
        black = np.zeros((16, 16), np.uint8)
        if SKETCH in self._network.encoders:
            dot = np.pad(black[:4, :4], 6, constant_values=255)
            return pb.TranslateRequest(sketch=encode(dot, image_pb2.IMAGE_FORMAT_GRAY8))
        if SEGMENTATION not in self._network.encoders:
            return pb.TranslateRequest(face=encode(black, image_pb2.IMAGE_FORMAT_GRAY8))
        background = encode(black, image_pb2.IMAGE_FORMAT_LABELS8)
        layout = pb.Layout(image=background, order=pb.LABEL_ORDER_CELEBAMASK_HQ)
        return pb.TranslateRequest(layout=layout)

    def decode(self, request: pb.TranslateRequest) -> Work[Job]:
        self.check_version(request.model_version)
        output = check_output(request.output_format, image_pb2.IMAGE_FORMAT_RGB8, _OUTPUTS)
        variants = request.variants or 1
        self._check_variants(variants, output)
        network, options = self._network, self._options
        layers, alpha = read_mixing(request, network.decoder.n_latent, options["mixed_layers"])
        style = read_style(request, variants, network, options["psi"], self._shown)
        task, condition = read_condition(request, network, self._shown)
        return Work([Job(task, condition, variants, style, layers, alpha)])

    @torch.inference_mode()
    def predict(self, key: object, samples: Sequence[Job]) -> Sequence[Sequence[TranslatedFace]]:
        return [self._translate(job) for job in samples]

    @torch.inference_mode()
    def outputs(self, key: object, samples: Sequence[Job]) -> Sequence[Floats]:
        """The decoder's images, [variants, 3, S, S] for each job, nominal range [-1, 1], not clamped."""
        return [self._images(job) for job in samples]

    def encode(
        self, request: pb.TranslateRequest, outputs: Sequence[Sequence[TranslatedFace]]
    ) -> pb.TranslateResponse:
        output = request.output_format or image_pb2.IMAGE_FORMAT_RGB8
        return pb.TranslateResponse(
            translations=[
                pb.Translation(
                    image=encode(made.pixels, output),
                    w_plus=made.w_plus.ravel() if request.return_latents else None,
                )
                for made in outputs[0]
            ],
            model=self.model,
        )

    def _translate(self, job: Job) -> list[TranslatedFace]:
        made = [
            TranslatedFace(*face)
            for images, w_plus in self._decoded(job)
            for face in zip(to_pixels(images), w_plus.cpu().numpy(), strict=True)
        ]
        return made * (job.variants // len(made))

    def _images(self, job: Job) -> Floats:
        images = torch.cat([images for images, _ in self._decoded(job)]).cpu().numpy()
        return np.tile(images, (job.variants // len(images), 1, 1, 1))

    def _decoded(self, job: Job) -> Iterator[tuple[Tensor, Tensor]]:
        """Images [n, 3, S, S] and their w+ [n, layers, style_dim], part by part; one style for all variants
        is decoded once."""
        w_plus = self._network.w_plus(job.task, job.condition[None].to(self._device))
        shared: list[Tensor] = []
        if job.style is not None:
            # Below the first mixed layer variants are the same.
            shared = list(islice(self._network.decoder.features(w_plus), min(job.layers)))
            w_plus = mix(w_plus, self._styles(job.style), job.layers, job.alpha)
        for part in self._parts(w_plus):
            yield self._network.decoder.synthesis(part, known=shared), part

    def _styles(self, style: Style) -> Tensor:
        """The styles' w+, [1 or variants, n_latent, style_dim]."""
        if isinstance(style, LatentStyle):
            return style.w_plus.to(self._device)
        if isinstance(style, SeedStyle):
            decoder = self._network.decoder
            z = style.z.to(self._device)
            w_plus = decoder.broadcast(
                torch.cat([decoder.mapping(part) for part in self._parts(z)])
            )
            # Pulling by 1 would round, as in the generator.
            return w_plus if style.psi == 1 else decoder.truncate(w_plus, style.psi)
        return self._network.w_plus(FACE, style.face[None].to(self._device))

    def _parts(self, variants: Tensor) -> Sequence[Tensor]:
        """What is computed at a time: one variant on CPU, whose kernels would let the bytes of a variant
        depend on how many there are; all of them on CUDA."""
        return variants.chunk(len(variants) if self.model.device == "cpu" else 1)

    def _check_variants(self, variants: int, output: int) -> None:
        most = self.service.max_items
        if variants > most:
            raise InvalidArgument(
                f"variants is {variants}; give 1 to {most}",
                reason=TOO_MANY_ITEMS,
                field="variants",
            )
        fitting = MAX_ANSWER_BYTES // (3 * self._network.decoder.size**2)
        if output == image_pb2.IMAGE_FORMAT_RGB8 and variants > fitting:
            raise InvalidArgument(
                f"{variants} raw faces of {self._network.decoder.size} pixels do not fit into one"
                f" message; {fitting} do, or ask for a compressed output_format",
                reason=TOO_MANY_ITEMS,
                field="variants",
            )
