"""The generator's answers against numpy and against the bare network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from faceloom.common.v1 import engine_pb2, image_pb2
from faceloom.core.images import decode_rgb
from faceloom.generator.handler import z_of
from faceloom.generator.v1 import generator_pb2 as gen
from faceloom.runtime.batch import run_batch
from faceloom.runtime.handler import AnyHandler
from faceloom.stylegan2.network import Generator

HandlerOf = Callable[[str], AnyHandler]


@pytest.fixture
def handler(handler_of: HandlerOf) -> AnyHandler:
    return handler_of("generator")


@pytest.fixture
def network(handler: Any) -> Generator:
    return handler._network  # type: ignore[no-any-return]


def faces(handler: AnyHandler, **fields: Any) -> list[gen.Face]:
    """The faces of one request."""
    request = gen.GenerateRequest(**fields).SerializeToString()
    call = engine_pb2.EngineCall(method="Generate", request=request)
    (result,) = run_batch(handler, engine_pb2.EngineBatch(calls=[call])).results
    assert result.WhichOneof("outcome") == "response", result.error
    return list(gen.GenerateResponse.FromString(result.response).faces)


def pixels(face: gen.Face) -> Any:
    return decode_rgb(face.image, "f")


def latents(space: int, *values: Any) -> list[gen.Latent]:
    return [gen.Latent(values=value, space=gen.LatentSpace.ValueType(space)) for value in values]


def test_z_is_drawn_as_nvlabs_draws_it(handler: AnyHandler, network: Generator) -> None:
    first, second = faces(handler, seeds=[0, 2**32 - 1], return_latents=True)

    for seed, face in ((0, first), (2**32 - 1, second)):
        expected = np.random.RandomState(seed).randn(1, network.style_dim).astype(np.float32)
        assert np.array_equal(np.asarray(face.z, np.float32), expected[0])
        assert face.seed == seed
    # numpy.random.RandomState(0).randn(), as in numpy's own documentation.
    assert first.z[0] == pytest.approx(1.764052345967664, abs=1e-7)


def test_seeds_of_64_bits_are_different_faces() -> None:
    seeds = [1, 2**32, 2**32 + 1, 2**33, 2**63, 2**64 - 1]

    assert len({z_of(seed, 8).tobytes() for seed in seeds}) == len(seeds)


def test_faces_are_what_the_bare_network_makes(handler: AnyHandler, network: Generator) -> None:
    seeds = range(4)
    made = faces(handler, seeds=seeds, truncation_psi=0.5)

    z = torch.stack(
        [torch.from_numpy(np.random.RandomState(seed).randn(100)).float() for seed in seeds]
    )
    with torch.inference_mode():
        images = network(z, psi=0.5)
    # NVlabs: (img * 127.5 + 128).clamp(0, 255).to(uint8)
    expected = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    # The handler computes them one by one, with frozen weights, so values half way may round otherwise.
    for face, want in zip(made, expected, strict=True):
        difference = np.abs(pixels(face).astype(int) - want)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_the_same_seed_is_the_same_face_and_another_is_another(handler: AnyHandler) -> None:
    one, two, again = faces(handler, seeds=[7, 8, 7])

    assert one.SerializeToString() == again.SerializeToString()
    assert one.image.data != two.image.data


def test_psi_0_is_the_mean_face_and_psi_1_is_the_default(handler: AnyHandler) -> None:
    mean = faces(handler, seeds=[1, 2, 3], truncation_psi=0)
    whole = faces(handler, seeds=[1, 2, 3], truncation_psi=1)

    assert len({face.image.data for face in mean}) == 1
    assert len({face.image.data for face in whole}) == 3
    assert [face.image.data for face in whole] == [
        face.image.data for face in faces(handler, seeds=[1, 2, 3])
    ]


def test_truncation_may_stop_at_a_layer(handler: AnyHandler, network: Generator) -> None:
    none, some, every, unlimited = (
        faces(handler, seeds=[3], truncation_psi=0.5, return_latents=True, **cutoff)[0]
        for cutoff in (
            {"truncation_cutoff": 0},
            {"truncation_cutoff": 4},
            {"truncation_cutoff": network.n_latent},
            {},
        )
    )
    full = faces(handler, seeds=[3])[0]

    assert none.image.data == full.image.data
    assert every == unlimited
    assert some.image.data not in (none.image.data, every.image.data)
    layers = np.asarray(some.w).reshape(network.n_latent, network.style_dim)
    assert np.array_equal(layers[:4], np.tile(every.w, (4, 1)))
    assert np.array_equal(layers[4:], np.tile(none.w, (network.n_latent - 4, 1)))


def test_noise_comes_from_the_model_or_the_seed_or_nowhere(handler: AnyHandler) -> None:
    const, named, fresh, again, none = (
        faces(handler, seeds=[5, 6], noise_mode=mode)
        for mode in (
            gen.NOISE_MODE_UNSPECIFIED,
            gen.NOISE_MODE_CONST,
            gen.NOISE_MODE_RANDOM,
            gen.NOISE_MODE_RANDOM,
            gen.NOISE_MODE_NONE,
        )
    )

    assert const == named
    assert fresh == again
    strengths = [
        abs(float(tensor))
        for name, tensor in handler._network.named_parameters()  # type: ignore[attr-defined]
        if name.endswith("noise.weight")
    ]
    if max(strengths) > 0.01:
        assert len({face[0].image.data for face in (const, fresh, none)}) == 3


@pytest.mark.parametrize("psi", [0.7, 1.0])
def test_an_answered_w_gives_the_same_face_again(handler: AnyHandler, psi: float) -> None:
    asked = faces(handler, seeds=[1, 2, 3], truncation_psi=psi, return_latents=True)

    from_w = faces(
        handler,
        latents=latents(gen.LATENT_SPACE_W, *(face.w for face in asked)),
        return_latents=True,
    )

    assert [face.image.data for face in from_w] == [face.image.data for face in asked]
    assert [list(face.w) for face in from_w] == [list(face.w) for face in asked]
    assert all(face.seed == 0 and not face.z for face in from_w)


def test_an_answered_w_plus_gives_the_same_face_again(
    handler: AnyHandler, network: Generator
) -> None:
    (asked,) = faces(
        handler, seeds=[9], truncation_psi=0.5, truncation_cutoff=3, return_latents=True
    )
    assert len(asked.w) == network.n_latent * network.style_dim

    (again,) = faces(
        handler, latents=latents(gen.LATENT_SPACE_W_PLUS, asked.w), return_latents=True
    )

    assert again.image.data == asked.image.data
    assert list(again.w) == list(asked.w)


def test_a_z_given_by_value_is_the_face_of_its_seed(handler: AnyHandler) -> None:
    (asked,) = faces(handler, seeds=[4], truncation_psi=0.6, return_latents=True)

    (again,) = faces(handler, latents=latents(gen.LATENT_SPACE_Z, asked.z), truncation_psi=0.6)

    assert again.image.data == asked.image.data


def test_a_w_repeated_for_every_layer_is_that_w(handler: AnyHandler, network: Generator) -> None:
    (asked,) = faces(handler, seeds=[4], return_latents=True)

    (again,) = faces(
        handler,
        latents=latents(gen.LATENT_SPACE_W_PLUS, list(asked.w) * network.n_latent),
        return_latents=True,
    )

    assert again.image.data == asked.image.data
    assert list(again.w) == list(asked.w)


def test_latents_are_answered_only_when_asked_for(handler: AnyHandler) -> None:
    (face,) = faces(handler, seeds=[4])

    assert not face.z and not face.w


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_shows_the_same_face(handler: AnyHandler, kind: str) -> None:
    (raw,) = faces(handler, seeds=[4])
    (file,) = faces(
        handler,
        seeds=[4],
        output_format=image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{kind}"),
    )

    difference = np.abs(pixels(raw).astype(int) - pixels(file)).mean()
    assert difference == 0 if kind == "PNG" else difference < 12
    assert (file.image.width, file.image.height) == (64, 64)


def test_the_largest_request_is_answered(handler: AnyHandler) -> None:
    assert len(faces(handler, seeds=range(64))) == 64
