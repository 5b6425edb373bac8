"""sketchKeras draws the lines that an independent implementation draws of the same numbers."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests import samples
from tests.imported import assert_equal_output, served
from tests.reference import sketch_keras as keras

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.untrusted import RefusedFile
from faceloom.sketch.checkpoint import FORMATS
from faceloom.sketch.sketch_keras import SketchKeras

# So that pictures of 512 pixels take little time.
TINY = (1, 2, 2, 3, 3)

Change = Callable[[Any], object]


def read(form: str, path: Path) -> Imported:
    return FORMATS[form](path, Answers())


def keras_model(layers: keras.Layers, path: Path) -> None:
    keras.write_keras(layers, path)


def keras_weights(layers: keras.Layers, path: Path) -> None:
    keras.write_keras(layers, path, weights_only=True)


def keras_today(layers: keras.Layers, path: Path) -> None:
    keras.write_keras(layers, path, old=False)


def port(layers: keras.Layers, path: Path) -> None:
    torch.save(keras.port_state(layers), path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [keras_model, keras_weights, keras_today, port])
@pytest.mark.parametrize("channels", [keras.NARROW, (2, 5, 3, 7, 4)])
def test_lines(
    tmp_path: Path, write: Callable[[keras.Layers, Path], None], channels: tuple[int, ...]
) -> None:
    layers = keras.random_layers(channels)
    write(layers, tmp_path / "net")

    found = read("sketchkeras-pytorch" if write is port else "sketchkeras", tmp_path / "net")

    assert found.network == {"channels": list(channels)}
    assert found.licence == "Apache-2.0"
    network = SketchKeras(**json.loads(json.dumps(found.network)))
    network.load_state_dict(found.weights, strict=True)
    network.eval()
    image = torch.randn(64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours = network(image[None, None])[0, 0]
    assert_equal_output(ours, keras.lines(layers, image))


def test_layout_of_sketchkeras_is_the_published_one() -> None:
    sizes = [(k * k * i + 3) * o for k, i, o in keras.convolutions(keras.PUBLISHED)]
    # The last one has no batch norm.
    assert sum(sizes) - 2 == 18_637_601


@pytest.mark.parametrize(("height", "width"), [(512, 384), (300, 512)])
def test_served_lines(tmp_path: Path, height: int, width: int) -> None:
    layers = keras.random_layers(TINY, seed=4)
    keras.write_keras(layers, tmp_path / "mod.h5")
    handler = served("sketch", read("sketchkeras", tmp_path / "mod.h5"), tmp_path / "model")
    pixels = samples.face(1, width, height)

    (drawn,) = handler.predict(None, [pixels])

    found = torch.stack([keras.lines(layers, colour) for colour in keras.detail(pixels)])
    theirs = keras.drawing(found, height, width, 0.1).numpy()
    assert drawn.shape == (height, width)
    assert np.abs(drawn - 255 * theirs).max() <= 0.51
    assert drawn.std() > 1


def test_smaller_pictures_are_drawn_at_their_size(tmp_path: Path) -> None:
    layers = keras.random_layers(TINY, seed=4)
    keras.write_keras(layers, tmp_path / "mod.h5")
    handler = served("sketch", read("sketchkeras", tmp_path / "mod.h5"), tmp_path / "model")
    pixels = samples.face(1, 256, 200)

    (drawn,) = handler.predict(None, [pixels])

    large = np.asarray(Image.fromarray(pixels).resize((512, 400), Image.Resampling.BILINEAR))
    (drawn_large,) = handler.predict(None, [large])
    shrunk = Image.fromarray(drawn_large).resize((256, 200), Image.Resampling.BILINEAR)
    assert np.abs(drawn - np.asarray(shrunk).astype(float)).max() <= 2
    assert drawn.std() > 1


def test_a_picture_of_one_colour_is_drawn(tmp_path: Path) -> None:
    layers = keras.random_layers(TINY)
    keras.write_keras(layers, tmp_path / "mod.h5")
    handler = served("sketch", read("sketchkeras", tmp_path / "mod.h5"), tmp_path / "model")

    (drawn,) = handler.predict(None, [np.full((256, 256, 3), 90, np.uint8)])

    black = torch.zeros(512, 512, dtype=torch.float64)
    found = torch.stack([keras.lines(layers, black)] * 3)
    assert np.abs(drawn.mean() / 255 - keras.drawing(found, 512, 512, 0.1).mean().item()) < 0.01


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda s: s.pop("upblock_3.6.bias"), r"no upblock_3\.6\.bias"),
        (lambda s: s.pop("downblock_4.1.weight"), r"has no downblock_4\.1\.weight"),
        (lambda s: s.update(more=torch.zeros(1)), "more left over"),
        (
            lambda s: s.update({"last_conv.weight": torch.zeros(3, 6, 3, 3)}),
            r"last_conv\.weight is \[3, 6, 3, 3\], not \[1, 6, 3, 3\]",
        ),
    ],
)
def test_strictness_of_the_port(tmp_path: Path, change: Change, refusal: str) -> None:
    state = keras.port_state(keras.random_layers())
    change(state)
    torch.save(state, tmp_path / "net")

    with pytest.raises(RefusedFile, match=f"{re.escape(str(tmp_path / 'net'))}.*{refusal}"):
        read("sketchkeras-pytorch", tmp_path / "net")


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda layers: layers.pop(), "has 17 Conv2d, sketchKeras has 18"),
        (lambda layers: layers.pop(3), "has 16 BatchNorm2d, sketchKeras has 17"),
        (lambda layers: layers[4].pop("bias"), r": no downblock_2\.5\.bias"),
        (
            lambda layers: layers[5].update(scale=layers[5]["gamma"]),
            "has /model_weights/batch_normalization_3/batch_normalization_3/scale:0, which sketchK",
        ),
        (
            lambda layers: layers[5].update(gamma=np.zeros(3, np.float32)),
            r"/model_weights/batch_normalization_3/.*/gamma:0 is \[3\], not \[4\]",
        ),
        (
            lambda layers: layers[2].update(kernel=layers[2]["kernel"].astype(np.int32)),
            "holds other numbers than little-endian floating-point ones: .*conv2d_2/kernel:0",
        ),
        (
            lambda layers: layers[2].update(kernel=layers[2]["kernel"].astype(">f4")),
            "holds other numbers than little-endian floating-point ones: .*conv2d_2/kernel:0",
        ),
    ],
)
def test_strictness_of_keras(tmp_path: Path, change: Change, refusal: str) -> None:
    layers = keras.random_layers()
    change(layers)
    path = keras.write_keras(layers, tmp_path / "net")

    with pytest.raises(RefusedFile, match=f"{re.escape(str(path))}.*{refusal}"):
        read("sketchkeras", path)
