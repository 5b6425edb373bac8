"""What `--raw` writes of published checkpoints is what an independent implementation computes of the same
numbers, for every service and every way to ask."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests import samples
from tests.commands import Done, faceloom
from tests.imported import assert_equal_output
from tests.published import random_psp
from tests.reference import bisenet, mixnet, psp, sketch_simplification
from tests.reference import stylegan2 as plain
from tests.reference.stylegan2 import StyleGAN2
from tests.reference.stylegan2_files import rosinality_converted
from torch import Tensor

from faceloom.segmentation.network import IMAGENET_MEAN, IMAGENET_STD
from faceloom.sketch.classical import drawing
from faceloom.store.profile import model_store

SEEDS = (0, 85, 2**32 + 7)
DIM, LAYERS = 24, 8
LICENCE = ("--license", "NVIDIA Source Code License-NC")

# Runs a command with what it is given and `--engine inprocess --raw`, and answers with the array.
Raw = Callable[..., Any]


def import_file(store: Path, kind: str, form: str, file: Path, *options: str) -> Path:
    """The store with the model `mine` of that kind."""
    told = ["--kind", kind, "--format", form, "--name", "mine", *options]
    done = faceloom("models", "import", file, *told, store=store)
    assert done.code == 0, done.err
    return store


@pytest.fixture
def raw(tmp_path: Path) -> Raw:
    def run(store: Path, *arguments: object) -> Any:
        file = tmp_path / "raw.npy"
        options = ["--engine", "inprocess", "--model", "mine", "--raw", file]
        done: Done = faceloom(*arguments, *options, store=store)
        assert done.code == 0, done.err
        array = np.load(file, allow_pickle=False)
        assert array.dtype == np.float32
        return array

    return run


@pytest.fixture(scope="module")
def network() -> StyleGAN2:
    return plain.random_network((16, 12, 10, 8), DIM, 3, seed=5)


@pytest.fixture(scope="module")
def generators(network: StyleGAN2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generators")
    torch.save(rosinality_converted(network), folder / "net.pt")
    return import_file(
        folder / "store", "generator", "rosinality", folder / "net.pt", *LICENCE
    )  # fmt: skip


def mapped(net: StyleGAN2, z: Any) -> list[Tensor]:
    """w+ of every z."""
    return [plain.broadcast(net, plain.mapping(net, torch.from_numpy(row))) for row in z]


def z_of_seeds(seeds: Sequence[int] = SEEDS) -> Any:
    """As NVlabs' generate script draws it, float32; seeds beyond 32 bits in two words, the low one first."""
    words: list[Any] = [seed if seed < 2**32 else [seed % 2**32, seed >> 32] for seed in seeds]
    return np.stack([np.random.RandomState(word).randn(DIM) for word in words]).astype(np.float32)


def assert_images(ours: Any, net: StyleGAN2, styles: Sequence[Tensor], noise: Any) -> None:
    """`noise` is what all of them have: maps, or nothing; or a list of one of these for each."""
    noises = noise if isinstance(noise, tuple) else (noise,) * len(styles)
    images = [plain.synthesis(net, *pair) for pair in zip(styles, noises, strict=True)]
    assert_equal_output(torch.from_numpy(ours), torch.stack(images))


def drawn_noise(seed: int) -> list[Tensor]:
    """What `--noise random` stands for: a stream of its own for every seed."""
    random = np.random.RandomState((seed % 2**32, seed >> 32, 1))
    sides = (4, 8, 8, 16, 16, 32, 32)
    return [torch.from_numpy(random.randn(side, side)) for side in sides]


@pytest.mark.parametrize(("psi", "cutoff"), [(1, None), (0.7, None), (0.25, 3), (1.5, 0)])
def test_faces_of_seeds(
    raw: Raw, generators: Path, network: StyleGAN2, tmp_path: Path, psi: float, cutoff: int | None
) -> None:
    options = ["--psi", psi, *(["--cutoff", cutoff] if cutoff is not None else [])]

    out = tmp_path / "faces"
    seeds = ",".join(map(str, SEEDS))
    ours = raw(generators, "generate", "--seeds", seeds, *options, "--out", out)

    styles = [plain.truncate(network, w, psi, cutoff) for w in mapped(network, z_of_seeds())]
    assert_images(ours, network, styles, plain.constant_noise(network))
    # The faces that are served are the same, rounded as NVlabs' generate script rounds them.
    for seed, image in zip(SEEDS, ours, strict=True):
        rounded = (image.transpose(1, 2, 0) * 127.5 + 128).clip(0, 255).astype(np.uint8)
        served = np.asarray(Image.open(out / f"seed{seed:07d}.png"))
        assert np.array_equal(served, rounded)


def test_noise(raw: Raw, generators: Path, network: StyleGAN2, tmp_path: Path) -> None:
    command = ["generate", "--seeds", "3,4", "--out", tmp_path / "faces"]

    const = raw(generators, *command)
    none = raw(generators, *command, "--noise", "none")
    random = raw(generators, *command, "--noise", "random")

    styles = [plain.truncate(network, w, 0.7) for w in mapped(network, z_of_seeds((3, 4)))]
    assert_images(const, network, styles, plain.constant_noise(network))
    assert_images(none, network, styles, None)
    assert_images(random, network, styles, (drawn_noise(3), drawn_noise(4)))


def latents(space: str) -> Any:
    random = np.random.RandomState(9)
    return random.randn(2, LAYERS, DIM) if space == "w+" else random.randn(2, DIM)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("space", ["z", "w", "w+"])
def test_faces_of_latents(
    raw: Raw, generators: Path, network: StyleGAN2, tmp_path: Path, space: str, kind: type
) -> None:
    given = latents(space).astype(kind)
    np.save(tmp_path / "latents.npy", given)
    told = ["--space", "w"] if space == "w" else []

    command = ["generate", "--latents", tmp_path / "latents.npy", *told, "--out", tmp_path / "f"]
    ours = raw(generators, *command)
    pulled = raw(generators, *command, "--psi", 0.5, "--cutoff", 2)

    styles = {
        "z": lambda: mapped(network, given),
        "w": lambda: [plain.broadcast(network, torch.from_numpy(row)) for row in given],
        "w+": lambda: [torch.from_numpy(rows) for rows in given],
    }[space]()
    noise = plain.constant_noise(network)
    # What comes out of a mapping is left as it is, unless a person asks for something else.
    usual = [plain.truncate(network, w, 0.7) for w in styles] if space == "z" else styles
    assert_images(ours, network, usual, noise)
    assert_images(pulled, network, [plain.truncate(network, w, 0.5, 2) for w in styles], noise)
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == [
        "latent0000000.png", "latent0000001.png",
    ]  # fmt: skip


def test_random_noise_of_latents_does_not_depend_on_their_place(
    raw: Raw, generators: Path, network: StyleGAN2, tmp_path: Path
) -> None:
    given = latents("w+")
    np.save(tmp_path / "latents.npy", given)

    out = tmp_path / "f"
    command = ["generate", "--latents", tmp_path / "latents.npy", "--noise", "random", "--out", out]
    ours = raw(generators, *command)

    styles = [torch.from_numpy(rows) for rows in given]
    assert_images(ours, network, styles, drawn_noise(0))
    rounded = (ours[1].transpose(1, 2, 0) * 127.5 + 128).clip(0, 255).astype(np.uint8)
    assert np.array_equal(np.asarray(Image.open(out / "latent0000001.png")), rounded)


def put(folder: Path, *pictures: samples.Array) -> list[Path]:
    """Files of these pictures."""
    files = [folder / f"picture{number}.png" for number in range(len(pictures))]
    for file, pixels in zip(files, pictures, strict=True):
        Image.fromarray(pixels).save(file)
    return files


def normalised(pixels: samples.Array) -> Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std


def test_logits(raw: Raw, tmp_path: Path) -> None:
    state = mixnet.random_state(3)
    # Pictures of 64 pixels are shown as they are.
    content = mixnet.trained(state, img_size=64, crop_pct=1.0)
    torch.save(content, tmp_path / "net.pth.tar")
    classes = ("--license", "own", "--classes", "a,b,c", "--keep", "b")
    store = import_file(tmp_path / "s", "quality", "timm", tmp_path / "net.pth.tar", *classes)
    # More than one chunk of four, and the last one not full.
    pictures = [samples.face(number) for number in range(5)]

    ours = raw(store, "classify", *put(tmp_path, *pictures))

    theirs = [mixnet.logits(state, normalised(pixels), tf=False) for pixels in pictures]
    assert_equal_output(torch.from_numpy(ours), torch.stack(theirs))


@pytest.fixture(scope="module")
def simplification() -> list[sketch_simplification.Layer]:
    return sketch_simplification.random_layers(seed=2)


@pytest.fixture(scope="module")
def sketches(
    simplification: list[sketch_simplification.Layer], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("sketches")
    table = sketch_simplification.torch7_table(simplification)
    file = sketch_simplification.write_torch7(table, folder / "model_gan.t7")
    return import_file(folder / "store", "sketch", "torch7", file)


def test_drawings(
    raw: Raw,
    sketches: Path,
    simplification: list[sketch_simplification.Layer],
    tmp_path: Path,
) -> None:
    pictures = [samples.face(number, 256, 200) for number in (1, 2)]

    ours = raw(sketches, "sketch", *put(tmp_path, *pictures), "--out", tmp_path / "out")

    mean, std = sketch_simplification.MEAN, sketch_simplification.STD
    # Upstream's luminance is whole; Pillow's weights are 65536ths.
    weighed = [pixels.astype(int) @ [19595, 38470, 7471] for pixels in pictures]
    grey = [torch.from_numpy((values + 2**15 >> 16) / 255) for values in weighed]
    theirs = [sketch_simplification.drawing(simplification, (g - mean) / std) for g in grey]
    assert_equal_output(torch.from_numpy(ours), torch.stack(theirs))


def test_classical_drawings(raw: Raw, sketches: Path, tmp_path: Path) -> None:
    pixels = samples.face(1, 256, 200)
    files = put(tmp_path, pixels)

    ours = raw(sketches, "sketch", *files, "--style", "classical", "--out", tmp_path / "out")

    assert np.array_equal(ours, [drawing(pixels)])
    served = np.asarray(Image.open(tmp_path / "out" / "picture0.png"))
    assert np.abs(served - 255 * ours[0]).max() <= 0.51


def test_scores_in_the_networks_own_order(raw: Raw, tmp_path: Path) -> None:
    state = bisenet.random_state(seed=3)
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    store = import_file(tmp_path / "store", "segmentation", "zllrunning", tmp_path / "net.pth")
    pixels = samples.face(4, 512, 512)

    ours = raw(store, "segment", *put(tmp_path, pixels), "--out", tmp_path / "out")

    assert_equal_output(
        torch.from_numpy(ours), bisenet.scores(state, normalised(pixels).double())[None]
    )


@pytest.fixture(scope="module")
def translators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translators")
    torch.save(psp.checkpoint(random_psp(1, levels=5)), folder / "psp.pt")
    return import_file(folder / "store", "translator", "psp", folder / "psp.pt", *LICENCE)


def test_translations(raw: Raw, translators: Path, tmp_path: Path) -> None:
    net = random_psp(1, levels=5)
    # Drawings of the size that the encoder takes are shown as they are.
    pages = [samples.page(number, 64, 64) for number in (1, 2)]

    command = ["translate", "--task", "sketch", *put(tmp_path, *pages), "--out", tmp_path / "out"]
    ours = raw(translators, *command)

    codes = [psp.w_plus_of(net, torch.tensor(page)[None] / 255) for page in pages]
    theirs = torch.stack([psp.face_of(net, code)[None] for code in codes])
    assert_equal_output(torch.from_numpy(ours), theirs)


def test_variants(raw: Raw, translators: Path, tmp_path: Path) -> None:
    net = random_psp(1, levels=5)
    page = samples.page(3, 64, 64)
    style = ["--variants", 2, "--style-seed", 5, "--alpha", 0.75, "--psi", 0.5]

    command = ["translate", "--task", "sketch", *put(tmp_path, page), "--out", tmp_path / "out"]
    ours = raw(translators, *command, *style)

    (described,) = translators.glob("models/translator/mine/*/model.json")
    code = psp.w_plus_of(net, torch.tensor(page)[None] / 255)
    theirs = []
    for seed in (5, 6):
        z = torch.from_numpy(np.random.RandomState(seed).randn(12).astype(np.float32))
        w = plain.truncate(net.decoder, plain.mapping(net.decoder, z)[None], 0.5)[0]
        mixed = code.clone()
        for layer in json.loads(described.read_text())["options"]["mixed_layers"]:
            mixed[layer] = 0.75 * w + 0.25 * code[layer]
        theirs.append(psp.face_of(net, mixed))
    assert_equal_output(torch.from_numpy(ours), torch.stack(theirs)[None])


def test_without_a_name_it_is_the_shipped_model(tmp_path: Path) -> None:
    store, command = model_store(), ["generate", "--seeds", 3, "--engine", "inprocess"]
    for name, model in (("one", []), ("two", ["--model", "tiny"])):
        file = tmp_path / f"{name}.npy"
        done = faceloom(
            *command, *model, "--raw", file, "--out", tmp_path, "--json", store=store
        )  # fmt: skip
        assert done.code == 0, done.err
        assert json.loads(done.out)["raw"] == str(file)

    assert (tmp_path / "one.npy").read_bytes() == (tmp_path / "two.npy").read_bytes()
    assert np.load(tmp_path / "one.npy").shape == (1, 3, 64, 64)
