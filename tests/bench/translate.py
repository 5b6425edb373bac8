"""Translations through front and TorchServe, and in the loop over the same network that a script would be."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from faceloom.common.v1 import image_pb2
from faceloom.core.arrays import Pixels
from faceloom.runtime.channel import ChannelCaller
from faceloom.store.model import open_model
from faceloom.store.profile import model_folder
from faceloom.stylegan2.latents import to_pixels, z_of
from faceloom.translator.conditions import sketch_tensor
from faceloom.translator.model import SKETCH, load_translator, mix
from faceloom.translator.v1 import translator_pb2 as pb
from tests.bench.turns import call_all, in_turn, latencies, rates
from tests.samples import file, page

# Calls of one picture each, variants of each, calls in flight.
CASES = {"1x1": (32, 1, 4), "8x4": (8, 4, 8)}
PAIRS = 15
LONE_CALLS = 30


class Loop:
    """Drawings to faces one after the other, all variants of one in one batch."""

    def __init__(self) -> None:
        model = open_model(model_folder("tiny", "translator"))
        self._options = model.options
        self._network = load_translator(model, "cpu")

    @torch.inference_mode()
    def translate(self, png: bytes, variants: int, seed: int) -> Pixels:
        """The faces, uint8 [variants, 64, 64, 3]."""
        network, decoder = self._network, self._network.decoder
        drawing = np.array(Image.open(io.BytesIO(png)).convert("L"))
        code = network.w_plus(SKETCH, sketch_tensor(drawing, network.side(SKETCH))[None])
        z = np.stack([z_of(seed + k, decoder.style_dim) for k in range(variants)])
        styles = decoder.broadcast(decoder.mapping(torch.from_numpy(z)))
        styles = decoder.truncate(styles, self._options["psi"])
        mixed = mix(code, styles, self._options["mixed_layers"])
        return to_pixels(decoder.synthesis(mixed))


async def measure(case: str) -> dict[str, Any]:
    """Faces per second, and the latency of a lone call."""
    calls, variants, in_flight = CASES[case]
    jobs = [(file(page(n)).data, variants, 1000 * n) for n in range(calls)]
    requests = [_request(*job).SerializeToString() for job in jobs]
    loop, caller = Loop(), ChannelCaller()
    _assert_same(await caller.call("translator", "Translate", requests[0], 60), loop, jobs[0])
    served, looped = await in_turn(
        lambda: call_all(caller, "translator", "Translate", requests, in_flight),
        lambda: [loop.translate(*job) for job in jobs],
        PAIRS,
    )
    lone_served, lone_looped = await in_turn(
        lambda: caller.call("translator", "Translate", requests[0], 60),
        lambda: loop.translate(*jobs[0]),
        LONE_CALLS,
    )
    await caller.close()
    return {
        **rates({"served": served, "loop": looped}, calls * variants),
        **latencies({"served": lone_served, "loop": lone_looped}),
        "variants": variants,
        "calls_in_flight": in_flight,
    }


def _request(png: bytes, variants: int, seed: int) -> pb.TranslateRequest:
    sketch = image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=png)
    return pb.TranslateRequest(sketch=sketch, variants=variants, style_seed=seed)


def _assert_same(response: bytes, loop: Loop, job: tuple[bytes, int, int]) -> None:
    """Both make the same faces; in a batch values half way may round otherwise."""
    translations = pb.TranslateResponse.FromString(response).translations
    served = np.stack([np.frombuffer(one.image.data, np.uint8) for one in translations])
    looped = loop.translate(*job).reshape(served.shape)
    assert np.abs(served.astype(int) - looped).max() <= 1
