"""Published checkpoints make the pictures that an independent implementation makes of the same numbers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.reference import stylegan2 as plain
from tests.reference.stylegan2 import StyleGAN2
from tests.reference.stylegan2_files import (
    nvlabs_snapshot,
    rosinality_converted,
    rosinality_trained,
    tensorflow_networks,
    write_pickle,
)
from torch import Tensor

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.importer import import_model
from faceloom.checkpoints.state_dict import weights
from faceloom.generator.checkpoint import FORMATS
from faceloom.stylegan2.latents import z_of
from faceloom.stylegan2.network import Generator

Pair: TypeAlias = tuple[Generator, StyleGAN2]
Maps: TypeAlias = Sequence[Tensor] | None

# Side of the pictures: feature maps by resolution, length of the latents, depth of the mapping.
SHAPES: dict[int, tuple[tuple[int, ...], int, int]] = {
    8: ((12, 8), 16, 2),
    32: ((16, 12, 10, 8), 24, 8),
    64: ((16, 16, 12, 8, 4), 32, 3),
}
SEEDS = (0, 85, 2**32 - 1)
# Low enough to be reached.
CLAMP = 2.5


def write_rosinality(net: StyleGAN2, path: Path) -> None:
    torch.save(rosinality_converted(net), path)


def write_nvlabs(net: StyleGAN2, path: Path) -> None:
    write_pickle(nvlabs_snapshot(net), path, 3)


def write_tensorflow(net: StyleGAN2, path: Path) -> None:
    write_pickle(tensorflow_networks(net), path, 4)


WRITERS: dict[str, Callable[[StyleGAN2, Path], None]] = {
    "rosinality": write_rosinality,
    "nvlabs": write_nvlabs,
    "tensorflow": write_tensorflow,
}


def read(form: str, path: Path) -> Imported:
    return FORMATS[form](path, Answers())


def loaded(found: Imported) -> Generator:
    """The served network, of what a model folder would hold."""
    generator = Generator(**json.loads(json.dumps(found.network)))
    weights = dict(found.weights)
    generator.latent_avg.copy_(weights.pop("latent_avg"))
    generator.load_state_dict(weights, strict=True)
    generator.freeze()
    return generator.requires_grad_(False)


@pytest.fixture(
    scope="module", params=[(form, size) for form in FORMATS for size in SHAPES], ids=str
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A network that went through a file, and the numbers that were written."""
    form, size = request.param
    net = plain.random_network(*SHAPES[size], seed=size)
    path = tmp_path_factory.mktemp(form) / "network"
    WRITERS[form](net, path)
    return loaded(read(form, path)), net


def assert_equal_images(
    ours: Tensor, net: StyleGAN2, styles: Sequence[Tensor], noises: Sequence[Maps]
) -> None:
    """To 1e-4 of the range of the output."""
    theirs = torch.stack([plain.synthesis(net, *each) for each in zip(styles, noises, strict=True)])
    assert (ours - theirs).abs().max() <= 1e-4 * (theirs.max() - theirs.min())


def plain_styles(net: StyleGAN2) -> list[Tensor]:
    """w+ of the seeds; NVlabs' generate script draws z in this way."""
    z = [np.random.RandomState(seed).randn(1, net.style_dim)[0] for seed in SEEDS]
    return [plain.broadcast(net, plain.mapping(net, torch.from_numpy(each).float())) for each in z]


def our_styles(generator: Generator) -> Tensor:
    z = np.stack([z_of(seed, generator.style_dim) for seed in SEEDS])
    return generator.broadcast(generator.mapping(torch.from_numpy(z)))


def stored_noise(net: StyleGAN2) -> list[Maps]:
    return [plain.constant_noise(net)] * len(SEEDS)


@pytest.mark.parametrize("cutoff", [None, 0, 3])
@pytest.mark.parametrize("psi", [1.0, 0.7, 0.0, -0.5])
def test_seeds_and_truncation(pair: Pair, psi: float, cutoff: int | None) -> None:
    generator, net = pair

    ours = generator.synthesis(generator.truncate(our_styles(generator), psi, cutoff))

    styles = [plain.truncate(net, w_plus, psi, cutoff) for w_plus in plain_styles(net)]
    assert_equal_images(ours, net, styles, stored_noise(net))


def test_no_noise(pair: Pair) -> None:
    generator, net = pair

    ours = generator.synthesis(our_styles(generator), "none")

    assert_equal_images(ours, net, plain_styles(net), [None] * len(SEEDS))


def test_given_noise(pair: Pair) -> None:
    generator, net = pair
    maps = [torch.randn(len(SEEDS), 1, side, side) for side in generator.noise_sides]

    ours = generator.synthesis(our_styles(generator), maps)

    noises = [[each[i, 0] for each in maps] for i in range(len(SEEDS))]
    assert_equal_images(ours, net, plain_styles(net), noises)


def test_style_mixing(pair: Pair) -> None:
    generator, net = pair
    ours, theirs = our_styles(generator), plain_styles(net)
    layers = len(theirs[0])

    for split in (1, layers // 2, layers - 1):
        mixed = torch.cat([ours[:, :split], ours.roll(1, dims=0)[:, split:]], dim=1)
        styles = [torch.cat([theirs[i][:split], theirs[i - 1][split:]]) for i in range(len(theirs))]
        assert_equal_images(generator.synthesis(mixed), net, styles, stored_noise(net))


def test_w_and_w_plus(pair: Pair) -> None:
    generator, net = pair
    w = torch.randn(len(SEEDS), net.style_dim)
    w_plus = torch.randn(len(SEEDS), generator.n_latent, net.style_dim)

    from_w = generator.synthesis(generator.broadcast(w))
    from_w_plus = generator.synthesis(w_plus)

    styles = [plain.broadcast(net, each) for each in w]
    assert_equal_images(from_w, net, styles, stored_noise(net))
    assert_equal_images(from_w_plus, net, list(w_plus), stored_noise(net))


@pytest.mark.parametrize("form", ["nvlabs", "tensorflow"])
def test_the_limit_to_what_convolutions_put_out(form: str, tmp_path: Path) -> None:
    net = plain.random_network(*SHAPES[32], clamp=CLAMP)
    files = {
        "nvlabs": lambda: write_pickle(nvlabs_snapshot(net), tmp_path / "network", 3),
        "tensorflow": lambda: write_pickle(
            tensorflow_networks(net, conv_clamp=CLAMP, num_fp16_res=4), tmp_path / "network", 4
        ),
    }
    found = read(form, files[form]())
    generator = loaded(found)
    unlimited = loaded(replace(found, network={**found.network, "conv_clamp": None}))

    ours = generator.synthesis(our_styles(generator))

    assert_equal_images(ours, net, plain_styles(net), stored_noise(net))
    with torch.no_grad():
        assert not torch.allclose(unlimited.synthesis(our_styles(generator)), ours, atol=1e-2)
    assert any("limited to 2.5" in note for note in found.notes)
    assert any("float32" in note for note in found.notes)


@pytest.mark.parametrize("rate", [0.1, 1.0])
@pytest.mark.parametrize("form", ["nvlabs", "tensorflow"])
def test_another_learning_rate_of_the_mapping(form: str, rate: float, tmp_path: Path) -> None:
    net = plain.random_network(*SHAPES[8], lr_multiplier=rate)
    WRITERS[form](net, tmp_path / "network")
    generator = loaded(read(form, tmp_path / "network"))

    assert_equal_images(
        generator.synthesis(our_styles(generator)), net, plain_styles(net), stored_noise(net)
    )


@pytest.mark.parametrize(
    ("form", "protocol"),
    [("nvlabs", 3), ("nvlabs", 4), ("nvlabs", 5), ("tensorflow", 3), ("tensorflow", 4)],
)
def test_pickles_of_newer_numpy_and_python(form: str, protocol: int, tmp_path: Path) -> None:
    net = plain.random_network(*SHAPES[8])
    contents = {"nvlabs": nvlabs_snapshot, "tensorflow": tensorflow_networks}
    path = write_pickle(contents[form](net), tmp_path / "network", protocol, old_numpy=False)
    generator = loaded(read(form, path))

    assert_equal_images(
        generator.synthesis(our_styles(generator)), net, plain_styles(net), stored_noise(net)
    )


@pytest.mark.parametrize("zipped", [True, False])
def test_what_the_trainer_saves(zipped: bool, tmp_path: Path) -> None:
    net = plain.random_network(*SHAPES[8])
    path = tmp_path / "550000.pt"
    torch.save(rosinality_trained(net), path, _use_new_zipfile_serialization=zipped)

    found, again = read("rosinality", path), read("rosinality", path)

    mapped = torch.stack(
        [plain.mapping(net, z) for z in torch.randn(4000, 16, generator=torch.Generator())]
    )
    error = mapped.std(dim=0) / len(mapped) ** 0.5
    assert ((found.weights["latent_avg"] - mapped.mean(dim=0)).abs() < 6 * error).all()
    assert torch.equal(found.weights["latent_avg"], again.weights["latent_avg"])
    assert any("no mean latent" in note for note in found.notes)
    generator = loaded(found)
    ours = generator.synthesis(our_styles(generator))
    assert_equal_images(ours, net, plain_styles(net), stored_noise(net))


@pytest.mark.parametrize("content", [rosinality_converted, rosinality_trained])
def test_a_file_without_noise_maps_gets_its_own(
    content: Callable[[StyleGAN2], dict[str, Any]], tmp_path: Path
) -> None:
    net = plain.random_network(*SHAPES[32])
    saved = content(net)
    saved["g_ema"] = {name: t for name, t in saved["g_ema"].items() if "noises." not in name}
    torch.save(saved, tmp_path / "550000.pt")

    found, again = (read("rosinality", tmp_path / "550000.pt") for _ in range(2))

    assert any("holds no noise maps" in note for note in found.notes)
    maps = [found.weights[f"noises.noise_{i}"] for i in range(7)]
    assert [each.shape[-1] for each in maps] == [4, 8, 8, 16, 16, 32, 32]
    assert all(torch.equal(each, again.weights[f"noises.noise_{i}"]) for i, each in enumerate(maps))
    assert all(0.5 < each.std() < 1.5 for each in maps)
    generator = loaded(found)
    ours = generator.synthesis(our_styles(generator), noise="none")
    assert_equal_images(ours, net, plain_styles(net), [None] * len(SEEDS))
    ours = generator.synthesis(our_styles(generator))
    assert_equal_images(ours, net, plain_styles(net), [[each[0, 0] for each in maps]] * len(SEEDS))


@pytest.mark.parametrize("form", FORMATS)
def test_shape_is_read_from_the_tensors(form: str, tmp_path: Path) -> None:
    net = plain.random_network((12, 10, 8), 16, 5)
    WRITERS[form](net, tmp_path / "network")

    found = read(form, tmp_path / "network")

    assert found.network == {
        "size": 16,
        "style_dim": 16,
        "n_mlp": 5,
        "channels": {4: 12, 8: 10, 16: 8},
        "lr_mlp": 0.01,
    }
    assert found.options == {} and found.licence is None
    assert any("does not say under which licence" in note for note in found.notes)
    stored = weights(found.weights)
    assert len({tensor.untyped_storage().data_ptr() for tensor in stored.values()}) == len(stored)
    for tensor in stored.values():
        assert tensor.dtype == torch.float32 and tensor.is_contiguous() and not tensor.requires_grad


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_told_and_brought_to_float32(
    precision: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(tmp_path))
    net = plain.random_network(*SHAPES[8])
    content = rosinality_converted(net)
    content["g_ema"] = {name: tensor.to(precision) for name, tensor in content["g_ema"].items()}
    save_file(content["g_ema"], tmp_path / "network.safetensors")

    file = tmp_path / "network.safetensors"
    model = import_model("generator", "rosinality", file, "mine", "NC", Answers())

    stored = load_file(model.weights_path)
    assert all(tensor.dtype == torch.float32 for tensor in stored.values())
    assert torch.equal(stored["input.input"][0], net.const.to(precision).float())
    assert any(str(precision).removeprefix("torch.") in note for note in model.notes)


# Where the generator is, by what the note must say of it.
PLACES: dict[str, Callable[[dict[str, Tensor]], dict[str, Any]]] = {
    "": lambda state: {"g_ema": state, "g": {name: 2 * each for name, each in state.items()}},
    "has no g_ema": lambda state: {"g": {f"module.{name}": each for name, each in state.items()}},
    "a state dict alone": lambda state: dict(state),
}


@pytest.mark.parametrize("form", ["pt", "safetensors"])
@pytest.mark.parametrize("note", PLACES)
def test_a_generator_without_its_wrapping(note: str, form: str, tmp_path: Path) -> None:
    net = plain.random_network(*SHAPES[32])
    converted = rosinality_converted(net)
    content = PLACES[note](converted["g_ema"]) | {"latent_avg": converted["latent_avg"]}
    if form == "pt":
        torch.save(content, tmp_path / "net")
    else:
        save_file(flat(content), tmp_path / "net", {"format": "pt"})

    found = read("rosinality", tmp_path / "net")

    told = [each for each in found.notes if "g_ema" in each]
    assert note in told[0] if note else told == [], found.notes
    generator = loaded(found)
    ours = generator.synthesis(our_styles(generator))
    assert_equal_images(ours, net, plain_styles(net), stored_noise(net))
    assert torch.equal(generator.latent_avg, net.w_avg)


def flat(content: dict[str, Any]) -> dict[str, Tensor]:
    """Dicts in dicts, as names with dots."""
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        tensors |= {f"{name}.{part}" if part else name: each.clone() for part, each in parts}
    return tensors


@pytest.mark.parametrize("shape", [(1, 24), (8, 24), (1, 8, 24), (24,)])
def test_a_mean_latent_of_any_published_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    net = plain.random_network(*SHAPES[32])
    content = rosinality_converted(net) | {"latent_avg": net.w_avg.expand(shape).clone()}
    torch.save(content, tmp_path / "net.pt")

    assert torch.equal(read("rosinality", tmp_path / "net.pt").weights["latent_avg"], net.w_avg)


@pytest.mark.parametrize("old_numpy", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_any_protocol(protocol: int, old_numpy: bool, tmp_path: Path) -> None:
    # One kernel of 512x512x3x3 is what protocol 2 has as a text of megabytes.
    net = plain.random_network((64, 8), 16, 2)
    path = write_pickle(tensorflow_networks(net), tmp_path / "star.pkl", protocol, old_numpy)
    torch_path = write_pickle(nvlabs_snapshot(net), tmp_path / "ffhq.pkl", protocol, old_numpy)

    for found in (read("tensorflow", path), read("nvlabs", torch_path)):
        generator = loaded(found)
        ours = generator.synthesis(our_styles(generator))
        assert_equal_images(ours, net, plain_styles(net), stored_noise(net))
