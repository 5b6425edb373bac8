"""Seeds and latents to faces."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from faceloom.common.v1 import image_pb2
from faceloom.core.arrays import Floats, Pixels
from faceloom.core.errors import TOO_MANY_ITEMS, InvalidArgument
from faceloom.core.images import check_output, encode
from faceloom.generator.v1 import generator_pb2 as pb
from faceloom.runtime.handler import MAX_ANSWER_BYTES, Handler, Work
from faceloom.store.model import open_model
from faceloom.store.torch_model import load_weights, processor, ready_network
from faceloom.stylegan2.latents import Vector, to_pixels, z_of
from faceloom.stylegan2.network import Noise, with_mean

_MAX_PSI = 1.5
_OUTPUTS = (
    image_pb2.IMAGE_FORMAT_RGB8,
    image_pb2.IMAGE_FORMAT_PNG,
    image_pb2.IMAGE_FORMAT_JPEG,
    image_pb2.IMAGE_FORMAT_WEBP,
)


@dataclass(frozen=True)
class SynthesisSettings:
    """What the faces of one chunk have in common."""

    space: int
    psi: float
    cutoff: int | None
    noise: int


@dataclass(frozen=True)
class Sample:
    """One face to make: a latent of the recipe's space, and the seed of its random noise."""

    latent: Vector
    noise_seed: int


@dataclass(frozen=True)
class GeneratedFace:
    """One face: uint8 pixels [S, S, 3] and the w+ [layers, w_dim] that made it."""

    pixels: Pixels
    w_plus: Vector


class GeneratorHandler(Handler[pb.GenerateRequest, Sample, GeneratedFace]):
    """Serves a StyleGAN2."""

    request_type = pb.GenerateRequest

    def load(self, folder: Path, device: str) -> None:
        model = open_model(folder)
        self.service = model.limited(self.service)
        self._network = ready_network(with_mean, model.network, load_weights(model), device)
        self._network.freeze()
        self._device = device
        self.model = model.info(device, processor(device))

    def sample_request(self) -> pb.GenerateRequest:
        return pb.GenerateRequest(seeds=[0])

    def decode(self, request: pb.GenerateRequest) -> Work[Sample]:
        self.check_version(request.model_version)
        check_output(request.output_format, image_pb2.IMAGE_FORMAT_RGB8, _OUTPUTS)
        if bool(request.seeds) == bool(request.latents):
            raise InvalidArgument("give either seeds or latents", field="seeds")
        field = "seeds" if request.seeds else "latents"
        self.check_count(field, len(request.seeds) + len(request.latents))
        self._check_size(field, len(request.seeds) + len(request.latents))
        space = pb.LATENT_SPACE_Z if request.seeds else request.latents[0].space
        recipe = SynthesisSettings(
            space, self._psi(request), self._cutoff(request), self._noise_mode(request)
        )
        if request.seeds:
            dim = self._network.style_dim
            return Work([Sample(z_of(seed, dim), seed) for seed in request.seeds], recipe)
        return Work(
            [Sample(self._latent(i, latent, space), i) for i, latent in enumerate(request.latents)],
            recipe,
        )

    @torch.inference_mode()
    def predict(self, key: object, samples: Sequence[Sample]) -> Sequence[GeneratedFace]:
        images, w_plus = self._synthesise(cast(SynthesisSettings, key), samples)
        return [
            GeneratedFace(*made)
            for made in zip(to_pixels(images), w_plus.cpu().numpy(), strict=True)
        ]

    @torch.inference_mode()
    def outputs(self, key: object, samples: Sequence[Sample]) -> Sequence[Floats]:
        """The synthesis network's images, [3, S, S] each, nominal range [-1, 1], not clamped."""
        images, _ = self._synthesise(cast(SynthesisSettings, key), samples)
        return list(images.cpu().numpy())

    def encode(
        self, request: pb.GenerateRequest, outputs: Sequence[GeneratedFace]
    ) -> pb.GenerateResponse:
        faces = []
        for index, made in enumerate(outputs):
            face = pb.Face(
                seed=request.seeds[index] if request.seeds else 0,
                image=encode(made.pixels, request.output_format or image_pb2.IMAGE_FORMAT_RGB8),
            )
            if request.return_latents:
                if request.seeds:
                    face.z.extend(z_of(face.seed, self._network.style_dim))
                shared = bool((made.w_plus == made.w_plus[:1]).all())
                face.w.extend(made.w_plus[0] if shared else made.w_plus.ravel())
            faces.append(face)
        return pb.GenerateResponse(faces=faces, model=self.model)

    def _synthesise(
        self, recipe: SynthesisSettings, samples: Sequence[Sample]
    ) -> tuple[Tensor, Tensor]:
        """Images [N, 3, S, S], and the w+ [N, layers, w_dim] that they were made of."""
        net = self._network
        latents = torch.from_numpy(np.stack([sample.latent for sample in samples]))
        latents = latents.to(self._device)
        w = net.mapping(latents) if recipe.space == pb.LATENT_SPACE_Z else latents
        w_plus = (
            w.reshape(len(samples), net.n_latent, net.style_dim)
            if recipe.space == pb.LATENT_SPACE_W_PLUS
            else net.broadcast(w)
        )
        # Pulling by 1 would round: a w that was answered has to give the same face when it comes back.
        if recipe.psi != 1:
            w_plus = net.truncate(w_plus, recipe.psi, recipe.cutoff)
        w_plus = w_plus.contiguous()
        return net.synthesis(w_plus, self._noise(recipe, samples)), w_plus

    def _check_size(self, field: str, count: int) -> None:
        most = MAX_ANSWER_BYTES // (3 * self._network.size**2)
        if count > most:
            raise InvalidArgument(
                f"{count} faces of {self._network.size} pixels do not fit into one message;"
                f" at most {most} do",
                reason=TOO_MANY_ITEMS,
                field=field,
            )

    def _psi(self, request: pb.GenerateRequest) -> float:
        if not request.HasField("truncation_psi"):
            return 1.0
        psi = request.truncation_psi
        if not (math.isfinite(psi) and 0 <= psi <= _MAX_PSI):
            raise InvalidArgument(
                f"truncation_psi is {psi}; give 0 to {_MAX_PSI}", field="truncation_psi"
            )
        return psi

    def _cutoff(self, request: pb.GenerateRequest) -> int | None:
        if not request.HasField("truncation_cutoff"):
            return None
        if request.truncation_cutoff > self._network.n_latent:
            raise InvalidArgument(
                f"truncation_cutoff is {request.truncation_cutoff}; the model has"
                f" {self._network.n_latent} layers",
                field="truncation_cutoff",
            )
        return request.truncation_cutoff

    def _noise_mode(self, request: pb.GenerateRequest) -> int:
        if request.noise_mode not in pb.NoiseMode.values():
            raise InvalidArgument(f"unknown noise_mode {request.noise_mode}", field="noise_mode")
        return request.noise_mode or pb.NOISE_MODE_CONST

    def _latent(self, index: int, latent: pb.Latent, space: int) -> Vector:
        dim = self._network.style_dim
        lengths = {
            pb.LATENT_SPACE_Z: dim,
            pb.LATENT_SPACE_W: dim,
            pb.LATENT_SPACE_W_PLUS: dim * self._network.n_latent,
        }
        field = f"latents[{index}]"
        if latent.space not in lengths or latent.space != space:
            raise InvalidArgument(
                "set the same space, Z, W or W_PLUS, on all latents", field=f"{field}.space"
            )
        values = np.asarray(latent.values, np.float32)
        if len(values) != lengths[latent.space] or not np.isfinite(values).all():
            raise InvalidArgument(
                f"{len(values)} values; {lengths[latent.space]} finite ones are needed",
                field=f"{field}.values",
            )
        return values

    def _noise(self, recipe: SynthesisSettings, samples: Sequence[Sample]) -> Noise:
        """The synthesis network's noise: by name, or drawn from each sample's own seed."""
        if recipe.noise == pb.NOISE_MODE_CONST:
            return "const"
        if recipe.noise == pb.NOISE_MODE_NONE:
            return "none"
        # A third word keeps the stream apart from the one that z came from.
        words = [(sample.noise_seed & 0xFFFFFFFF, sample.noise_seed >> 32, 1) for sample in samples]
        sources = [np.random.RandomState(word) for word in words]
        return [
            torch.from_numpy(np.stack([source.randn(1, side, side) for source in sources]))
            .float()
            .to(self._device)
            for side in self._network.noise_sides
        ]
