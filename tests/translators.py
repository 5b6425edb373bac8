"""Translators for tests, and requests to them.

Weights are random: the decoder is the shipped generator, the encoders are small.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.rpc import status_pb2

from faceloom.common.v1 import engine_pb2, image_pb2
from faceloom.core.errors import ServiceError, from_status
from faceloom.core.images import decode_rgb, encode
from faceloom.generator.v1 import generator_pb2 as gen
from faceloom.runtime.batch import run_batch
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import service
from faceloom.store.model import open_model
from faceloom.store.profile import model_folder
from faceloom.store.torch_model import load_weights
from faceloom.training.runs import save_model
from faceloom.translator.model import CHANNELS, Translator, stored_tensors
from faceloom.translator.v1 import translator_pb2 as pb
from tests import samples

SMALL = {"side": 64, "blocks": (1, 1, 1, 1), "widths": (8, 8, 16, 16)}
MIXED = [5, 6, 7, 8, 9]
PSI = 0.7
LAYERS, DIM = 10, 100


def write_model(folder: Path, tasks: tuple[str, ...]) -> Path:
    """A translator with random encoders whose styles spread as the generator's own do."""
    generator = open_model(model_folder("tiny", "generator"))
    network = {"decoder": generator.network, "encoders": {task: SMALL for task in tasks}}
    torch.manual_seed(0)
    translator = Translator(**network).eval()
    weights = load_weights(generator)
    translator.decoder.load_state_dict(weights)
    with torch.inference_mode():
        for task, encoder in translator.encoders.items():
            offsets = encoder(torch.rand(8, CHANNELS[task], 64, 64))
            for index, head in enumerate(encoder.styles):  # type: ignore[arg-type, union-attr]
                head.linear.weight /= offsets[:, index].std(0).mean() * 4
    save_model(
        folder, service="translator", network=network,
        options={"mixed_layers": MIXED, "psi": PSI}, weights=stored_tensors(translator),
        licence="MIT", sources=[], metrics={},
    )  # fmt: skip
    return folder


def loaded(folder: Path) -> AnyHandler:
    handler = service("translator").new_handler()
    handler.load(folder, "cpu")
    return handler


def layout(number: int = 0) -> samples.Array:
    """A label map in CelebAMask-HQ's order with every id. [128, 128]"""
    random = np.random.RandomState(number)
    coarse = random.randint(0, 19, (8, 8)).astype(np.uint8)
    coarse.ravel()[:19] = random.permutation(19)
    return coarse.repeat(16, 0).repeat(16, 1)


def labels8(ids: samples.Array) -> image_pb2.Image:
    return encode(ids, image_pb2.IMAGE_FORMAT_LABELS8)


def map_of(image: image_pb2.Image, order: int = pb.LABEL_ORDER_CELEBAMASK_HQ) -> pb.Layout:
    return pb.Layout(image=image, order=pb.LabelOrder.ValueType(order))


def asked(**fields: Any) -> pb.TranslateRequest:
    """A request for a sketch, unless it says otherwise."""
    if not {"sketch", "layout", "face"} & fields.keys():
        fields["sketch"] = samples.raw(samples.page())
    return pb.TranslateRequest(**fields)


def latents(*values: Any, space: int = gen.LATENT_SPACE_W_PLUS) -> pb.StyleLatents:
    kind = gen.LatentSpace.ValueType(space)
    return pb.StyleLatents(
        latents=[gen.Latent(values=np.ravel(value), space=kind) for value in values]
    )


def results(handler: AnyHandler, *requests: Any) -> list[pb.TranslateResponse | ServiceError]:
    """The answers to requests that were coalesced into one engine batch."""
    calls = [
        engine_pb2.EngineCall(
            method="Translate",
            request=request if isinstance(request, bytes) else request.SerializeToString(),
        )
        for request in requests
    ]
    return [
        pb.TranslateResponse.FromString(result.response)
        if result.WhichOneof("outcome") == "response"
        else from_status(status_pb2.Status.FromString(result.error))
        for result in run_batch(handler, engine_pb2.EngineBatch(calls=calls)).results
    ]


def translate(handler: AnyHandler, **fields: Any) -> list[pb.Translation]:
    """The faces of one request."""
    (answer,) = results(handler, asked(**fields))
    assert isinstance(answer, pb.TranslateResponse), answer
    return list(answer.translations)


def refusal(handler: AnyHandler, **fields: Any) -> ServiceError:
    (answer,) = results(handler, asked(**fields))
    assert isinstance(answer, ServiceError)
    return answer


def bytes_of(translations: list[pb.Translation]) -> list[bytes]:
    return [translation.image.data for translation in translations]


def w_plus_of(translation: pb.Translation) -> Any:
    return np.asarray(translation.w_plus, np.float32).reshape(LAYERS, DIM)


def assert_shows(translation: pb.Translation, network: Translator, w_plus: Any) -> None:
    """It is the decoder's picture of that w+; frozen or not, values half way may round otherwise."""
    with torch.inference_mode():
        image = network.decoder.synthesis(torch.as_tensor(w_plus).view(1, LAYERS, DIM))[0]
    want = (image.permute(1, 2, 0).numpy() * 127.5 + 128).clip(0, 255).astype(np.uint8)
    difference = np.abs(decode_rgb(translation.image, "f").astype(int) - want)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01
