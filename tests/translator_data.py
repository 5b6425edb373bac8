"""A small but real dataset for translators, built by the pipeline with a generator of unusual sizes."""

import asyncio
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf.message import Message

from faceloom.builds.run import run_build
from faceloom.common.v1 import image_pb2, model_pb2
from faceloom.core.images import decode_rgb
from faceloom.datasets.spec import BuildSpec
from faceloom.generator.v1 import generator_pb2
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.quality.v1 import quality_pb2
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2
from faceloom.store.model import open_model
from faceloom.store.torch_model import load_weights
from faceloom.stylegan2.network import Generator
from faceloom.training.runs import save_model
from faceloom.training.translator.lpips import Lpips
from faceloom.training.translator.options import TrainingOptions
from faceloom.training.translator.train import train
from tests.builds.fake_services import FakeServices

# Neither the published mapping depth nor the published widths.
DECODER: dict[str, Any] = {
    "size": 32,
    "style_dim": 12,
    "n_mlp": 3,
    "channels": {"4": 16, "8": 12, "16": 10, "32": 8},
    "lr_mlp": 0.1,
}
FACES = 128
CONDITION_SIDE = 64


def small_options(**changes: Any) -> TrainingOptions:
    """Options that train in milliseconds."""
    facts: dict[str, Any] = {
        "side": 32,
        "blocks": (1, 1, 1, 1),
        # Of a strided 1x1 convolution with other than eights of inputs, oneDNN 3.12 (in torch 2.13) computes
        # gradients beyond the end of its arrays, on processors without AVX-512.
        "widths": (8, 16, 16, 10),
        "image_side": 32,
        "steps": 6,
        "batch": 4,
        "rate": 1e-2,
        "warm_up": 2,
        "log_every": 1,
        "validate_every": 2,
        "sample_every": 3,
        "save_every": 3,
    }
    return TrainingOptions(**facts | changes)


def write_generator(folder: Path, seed: int = 0) -> Path:
    """A model folder with a generator of random weights."""
    random = torch.random.get_rng_state()
    torch.manual_seed(seed)
    network = Generator(**DECODER)
    torch.random.set_rng_state(random)
    network.latent_avg.copy_(network.mean_latent(1000, torch.Generator().manual_seed(seed)))
    save_model(
        folder, service="generator", network=DECODER, options={}, licence="MIT", sources=[],
        weights=network.state_dict() | {"latent_avg": network.latent_avg}, metrics={},
    )  # fmt: skip
    return folder


def write_lpips(path: Path, seed: int = 0) -> Path:
    """A file with random weights of LPIPS, in the names of the published ones."""
    random = torch.random.get_rng_state()
    torch.manual_seed(seed)
    state = Lpips().state_dict()
    torch.random.set_rng_state(random)
    for name in state:
        if name.startswith("lin"):
            state[name] = state[name].abs()
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, path)
    return path


def build_dataset(folder: Path, generator: Path, seed: int = 0) -> Path:
    """128 accepted faces of the generator, with their sketches and layouts."""
    client = Factory(generator).client()
    asyncio.run(run_build(BuildSpec(FACES, None, seed, 0.7), folder, client))
    return folder


def with_edited_sums(dataset: Path, folder: Path) -> Path:
    """A copy of a dataset with another digit in its list of sums."""
    shutil.copytree(dataset, folder)
    sums = (folder / "SHA256SUMS").read_text()
    # A new file: datasets share theirs with their build.
    (folder / "SHA256SUMS").unlink()
    (folder / "SHA256SUMS").write_text(sums.replace("a", "b", 1))
    return folder


def train_alone(store: Path, out: Path) -> None:
    """A run of six steps in this process, from what `store` holds."""
    generator = store / "store" / "tiny" / "generator"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the children do
    train(
        "sketch", store / "dataset", small_options(), out, generator, [store / "lpips.pth"],
        device="cpu",
    )  # fmt: skip
    torch.set_num_threads(threads)


class Factory(FakeServices):
    """Services around a real generator. Everything is accepted; drawings and layouts follow from light."""

    def __init__(self, generator: Path) -> None:
        super().__init__()
        model = open_model(generator)
        self._digest = model.weights.sha256
        self._network = Generator(**model.network)
        weights = load_weights(model)
        self._network.latent_avg.copy_(weights.pop("latent_avg"))
        self._network.load_state_dict(weights)

    @torch.no_grad()
    def _generator(self, data: bytes) -> Message:
        request = generator_pb2.GenerateRequest.FromString(data)
        network, faces = self._network, []
        for seed in request.seeds:
            z = torch.randn(1, network.style_dim, generator=torch.Generator().manual_seed(seed))
            w = network.truncate(network.broadcast(network.mapping(z)), request.truncation_psi)
            image = network.synthesis(w)[0].clamp(-1, 1)
            pixels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0)
            faces.append(
                generator_pb2.Face(
                    seed=seed,
                    image=_image(pixels.numpy(), image_pb2.IMAGE_FORMAT_RGB8),
                    z=z[0].tolist(),
                    w=w[0, 0].tolist(),
                )
            )
        return generator_pb2.GenerateResponse(faces=faces, model=self._model("generator"))

    def _quality(self, data: bytes) -> Message:
        request = quality_pb2.ClassifyRequest.FromString(data)
        best = quality_pb2.Quality(score=1, accepted=True)
        return quality_pb2.ClassifyResponse(
            qualities=[best] * len(request.images), threshold=0.5, model=self._model("quality")
        )

    def _sketch(self, data: bytes) -> Message:
        request = sketch_pb2.SketchRequest.FromString(data)
        sketches = [
            _image((_light(image) > 110).astype(np.uint8) * 255, image_pb2.IMAGE_FORMAT_GRAY8)
            for image in request.images
        ]
        return sketch_pb2.SketchResponse(sketches=sketches, model=self._model("sketch"))

    def _segmentation(self, data: bytes) -> Message:
        request = segmentation_pb2.SegmentRequest.FromString(data)
        # Only ids far apart, so that a mean of neighbours would be another id.
        layouts = [
            _image((_light(image) // 52 * 4).astype(np.uint8), image_pb2.IMAGE_FORMAT_LABELS8)
            for image in request.images
        ]
        return segmentation_pb2.SegmentResponse(
            layouts=layouts, class_names=CLASS_NAMES, model=self._model("segmentation")
        )

    def _model(self, service: str) -> model_pb2.ModelInfo:
        model = super()._model(service)
        digest = hashlib.sha256(service.encode()).hexdigest()
        model.digest = self._digest if service == "generator" else digest
        return model


def _light(image: image_pb2.Image) -> np.ndarray:
    """Mean of the channels at twice the size, [S, S]."""
    pixels = decode_rgb(image, "image").mean(2).astype(int)
    times = CONDITION_SIDE // len(pixels)
    return pixels.repeat(times, 0).repeat(times, 1)


def _image(pixels: np.ndarray, image_format: int) -> image_pb2.Image:
    height, width = pixels.shape[:2]
    return image_pb2.Image(
        format=image_format, width=width, height=height, data=np.ascontiguousarray(pixels).tobytes()
    )
