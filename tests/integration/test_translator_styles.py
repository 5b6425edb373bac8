"""Styles by seed, by value and by example, against the generator's own answers and numpy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests import samples
from tests.translators import (
    DIM,
    LAYERS,
    PSI,
    assert_shows,
    bytes_of,
    latents,
    translate,
    w_plus_of,
)

from faceloom.common.v1 import engine_pb2
from faceloom.generator.v1 import generator_pb2 as gen
from faceloom.runtime.batch import run_batch
from faceloom.runtime.handler import AnyHandler
from faceloom.translator.conditions import face_tensor
from faceloom.translator.model import Translator


def test_mixed_layers_are_the_generators_and_the_others_the_drawings(
    translator: AnyHandler, handler_of: Callable[[str], AnyHandler]
) -> None:
    (plain,) = translate(translator, return_latents=True)

    for fields, psi in (({}, PSI), ({"truncation_psi": 0.4}, 0.4), ({"truncation_psi": 1.0}, 1.0)):
        made = translate(translator, variants=3, style_seed=5, return_latents=True, **fields)
        request = gen.GenerateRequest(seeds=[5, 6, 7], truncation_psi=psi, return_latents=True)
        call = engine_pb2.EngineCall(method="Generate", request=request.SerializeToString())
        (result,) = run_batch(handler_of("generator"), engine_pb2.EngineBatch(calls=[call])).results
        faces = gen.GenerateResponse.FromString(result.response).faces
        for translation, face in zip(made, faces, strict=True):
            w_plus = w_plus_of(translation)
            assert np.array_equal(w_plus[:5], w_plus_of(plain)[:5])
            assert np.array_equal(w_plus[5:], np.tile(np.float32(face.w), (5, 1)))


def test_variants_differ_and_are_what_their_latents_say(
    translator: AnyHandler, translator_network: Translator
) -> None:
    made = translate(translator, variants=4, style_seed=5, return_latents=True)

    assert len(set(bytes_of(made))) == 4
    for translation in made:
        assert_shows(translation, translator_network, w_plus_of(translation))


def test_a_variant_does_not_depend_on_how_many_are_asked_for(translator: AnyHandler) -> None:
    many = translate(translator, variants=16, style_seed=100, return_latents=True)

    for count in (1, 2, 3, 7):
        assert (
            translate(translator, variants=count, style_seed=100, return_latents=True)
            == many[:count]
        )
    for k in (1, 6, 15):
        assert translate(translator, style_seed=100 + k, return_latents=True) == [many[k]]


def test_the_seed_after_the_last_is_0(translator: AnyHandler) -> None:
    last, first = translate(translator, variants=2, style_seed=2**64 - 1)

    assert [first] == translate(translator, style_seed=0)
    assert [last] == translate(translator, style_seed=2**64 - 1)


def test_the_encoder_runs_once_however_many_variants(translator: Any) -> None:
    seen: list[int] = []
    encoder = translator._network.encoders["sketch"]
    hook = encoder.register_forward_hook(lambda module, args, output: seen.append(len(output)))

    translate(translator, variants=8, style_seed=1)
    hook.remove()

    assert seen == [1]


def test_below_the_first_mixed_layer_variants_are_decoded_once(translator: Any) -> None:
    runs: list[int] = []
    decoder = translator._network.decoder
    hooks = [
        conv.register_forward_hook(lambda module, args, output, i=i: runs.append(i))
        for i, conv in enumerate([decoder.conv1, *decoder.convs])
    ]

    translate(translator, variants=3, style_seed=1, mixed_layers=[9, 4])
    for hook in hooks:
        hook.remove()

    assert [runs.count(i) for i in range(9)] == [1, 1, 1, 1, 3, 3, 3, 3, 3]


def test_alpha_is_the_share_of_the_style(translator: AnyHandler) -> None:
    code, style, mixed = (
        w_plus_of(translate(translator, return_latents=True, **fields)[0]).astype(np.float64)
        for fields in (
            {},
            {"style_seed": 3, "mixed_layers": range(LAYERS)},
            {"style_seed": 3, "alpha": 0.25, "mixed_layers": [0, 8]},
        )
    )

    want = code.copy()
    for layer in (0, 8):
        want[layer] = 0.25 * style[layer] + 0.75 * code[layer]
    np.testing.assert_allclose(mixed, want, rtol=1e-5, atol=1e-6)
    assert np.array_equal(np.delete(mixed, [0, 8], 0), np.delete(code, [0, 8], 0))


def test_alpha_0_is_the_plain_translation(translator: AnyHandler) -> None:
    assert translate(translator, style_seed=3, alpha=0, return_latents=True) == translate(
        translator, return_latents=True
    )


def test_psi_0_is_the_mean_style(translator: AnyHandler, translator_network: Translator) -> None:
    made = translate(translator, variants=3, style_seed=3, truncation_psi=0, return_latents=True)

    assert len(set(bytes_of(made))) == 1
    assert np.array_equal(w_plus_of(made[0])[9], translator_network.decoder.latent_avg.numpy())


def test_answered_latents_are_the_same_face_again(translator: AnyHandler) -> None:
    every = list(range(LAYERS))
    made = translate(translator, variants=3, style_seed=9, return_latents=True)

    again = translate(
        translator,
        sketch=samples.raw(samples.page(1)),
        variants=3,
        style_latents=latents(*(w_plus_of(one) for one in made)),
        mixed_layers=every,
        return_latents=True,
    )

    assert again == made


def test_one_latent_is_for_all_variants_and_w_for_all_layers(translator: AnyHandler) -> None:
    w = np.random.RandomState(1).randn(DIM).astype(np.float32)

    from_w = translate(
        translator,
        variants=3,
        style_latents=latents(w, space=gen.LATENT_SPACE_W),
        return_latents=True,
    )
    from_w_plus = translate(
        translator,
        variants=3,
        style_latents=latents(*[np.tile(w, LAYERS)] * 3),
        return_latents=True,
    )

    assert from_w == from_w_plus
    assert len(set(bytes_of(from_w))) == 1
    assert np.array_equal(w_plus_of(from_w[2])[5:], np.tile(w, (5, 1)))


def test_a_reference_gives_its_own_latents(
    translator: AnyHandler, translator_network: Translator
) -> None:
    face = samples.face(3, 100, 80)
    (plain,) = translate(translator, return_latents=True)

    (made,) = translate(translator, style_reference=samples.raw(face), return_latents=True)

    with torch.inference_mode():
        style = translator_network.w_plus("face", face_tensor(face, 64)[None])[0].numpy()
    assert np.array_equal(w_plus_of(made)[5:], style[5:])
    assert np.array_equal(w_plus_of(made)[:5], w_plus_of(plain)[:5])


@pytest.mark.parametrize("fields", [{"style_seed": 0}, {"variants": 1, "style_seed": 2**63}])
def test_a_seed_of_0_is_a_seed(translator: AnyHandler, fields: dict[str, Any]) -> None:
    assert bytes_of(translate(translator, **fields)) != bytes_of(translate(translator))
