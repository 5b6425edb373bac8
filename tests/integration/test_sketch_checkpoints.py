"""Sketch Simplification makes the drawings that an independent implementation makes of the same numbers."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests import samples
from tests.imported import assert_equal_output, served
from tests.reference import sketch_simplification as plain
from tests.reference.sketch_simplification import Layer

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.untrusted import RefusedFile
from faceloom.sketch.checkpoint import FORMATS
from faceloom.sketch.network import SketchSimplification
from faceloom.store.licences import consequence

Change = Callable[[Any], object]


def read(form: str, path: Path) -> Imported:
    return FORMATS[form](path, Answers())


def torch7(layers: list[Layer], path: Path) -> None:
    plain.write_torch7(plain.torch7_table(layers), path)


def torch7_of_a_gpu(layers: list[Layer], path: Path) -> None:
    plain.write_torch7(plain.torch7_table(layers, "Cuda", shared=False), path)


def torch7_without_versions(layers: list[Layer], path: Path) -> None:
    plain.write_torch7(plain.torch7_table(layers), path, versioned=False)


def torch7_of_windows(layers: list[Layer], path: Path) -> None:
    plain.write_torch7(plain.torch7_table(layers), path, long="i")


def pth_flat(layers: list[Layer], path: Path) -> None:
    torch.save(plain.flat(layers), path)


def pth_nested(layers: list[Layer], path: Path) -> None:
    # Its order in the file says nothing.
    shuffled = dict(sorted(plain.nested(layers).items(), key=lambda item: item[0][::-1]))
    torch.save(shuffled, path, _use_new_zipfile_serialization=False)


def pth_listed(layers: list[Layer], path: Path) -> None:
    torch.save({"state_dict": plain.listed(layers)}, path)


WRITERS = (
    torch7, torch7_of_a_gpu, torch7_without_versions, torch7_of_windows, pth_flat, pth_nested, pth_listed,
)  # fmt: skip


@pytest.mark.parametrize("write", WRITERS)
def test_simplified(tmp_path: Path, write: Callable[[list[Layer], Path], None]) -> None:
    layers = plain.random_layers()
    write(layers, tmp_path / "net")

    found = read(write.__name__.partition("_")[0], tmp_path / "net")

    assert found.network == {"channels": list(plain.NARROW)}
    network = SketchSimplification(**json.loads(json.dumps(found.network)))
    network.load_state_dict(found.weights, strict=True)
    image = torch.randn(48, 72, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours = network(image[None, None])[0, 0]
    assert_equal_output(ours, plain.drawing(layers, image))


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_said_of_a_simplification(
    tmp_path: Path, write: Callable[[list[Layer], Path], None]
) -> None:
    write(plain.random_layers(), tmp_path / "net")

    found = read(write.__name__.partition("_")[0], tmp_path / "net")

    assert found.licence is not None and "not for others" in str(consequence(found.licence))
    if write.__name__.startswith("torch7"):
        assert (found.options["mean"], found.options["std"]) == (plain.MEAN, plain.STD)
        assert not found.notes
    else:
        assert found.options["mean"] == 0.9664114577640158
        assert found.options["std"] == 0.0858381272736797
        assert "these are model_gan's" in found.notes[0]


@pytest.mark.parametrize("device", ["", "Cuda"])
def test_batch_norms_of_the_trainer_are_folded(device: str, tmp_path: Path) -> None:
    # Its fourth layer is wider than that of the released networks.
    channels = list(plain.NARROW)
    channels[3] = channels[4]
    layers = plain.with_norms(plain.random_layers(channels))
    plain.write_torch7(plain.torch7_table(layers, device, shared=False), tmp_path / "iter.t7")

    found = read("torch7", tmp_path / "iter.t7")

    assert found.network == {"channels": channels}
    assert "batch norms" in found.notes[0]
    network = SketchSimplification(**json.loads(json.dumps(found.network)))
    network.load_state_dict(found.weights, strict=True)
    image = torch.randn(48, 72, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours = network(image[None, None])[0, 0]
    assert_equal_output(ours, plain.drawing(layers, image))


@pytest.mark.parametrize("affine", [True, False])
def test_older_and_plainer_batch_norms(affine: bool, tmp_path: Path) -> None:
    layers = plain.with_norms(plain.random_layers())
    table = plain.torch7_table(layers, shared=False)
    for index, layer in enumerate(layers[:-1]):
        assert layer.norm
        fields = table["model"].fields["modules"][3 * index + 2].fields
        fields["running_var"].storage.numbers = (layer.norm[1] + plain.EPS).rsqrt().numpy()
        fields["running_std"] = fields.pop("running_var")
        if not affine:
            fields |= {"affine": False, "weight": None, "bias": None}
            ones, zeros = torch.ones_like(layer.bias), torch.zeros_like(layer.bias)
            layer.norm = (*layer.norm[:2], ones, zeros)
    plain.write_torch7(table, tmp_path / "iter.t7")

    found = read("torch7", tmp_path / "iter.t7")

    network = SketchSimplification(**found.network)
    network.load_state_dict(found.weights, strict=True)
    image = torch.randn(16, 24, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours = network(image[None, None])[0, 0]
    assert_equal_output(ours, plain.drawing(layers, image))


def test_weights_of_twice_as_many_bits(tmp_path: Path) -> None:
    layers = plain.random_layers()
    table = plain.torch7_table(layers, shared=False)
    for module in table["model"].fields["modules"].values():
        for name in ("weight", "bias"):
            if name in module.fields:
                tensor = module.fields[name]
                numbers = tensor.storage.numbers.astype(np.float64)
                storage = plain.LuaStorage("torch.DoubleStorage", numbers)
                module.fields[name] = plain.LuaTensor("torch.DoubleTensor", storage, tensor.size)
    plain.write_torch7(table, tmp_path / "net")

    found = read("torch7", tmp_path / "net")

    assert torch.equal(found.weights["4.weight"], layers[2].weight)
    assert found.weights["4.weight"].dtype == torch.float32


def test_weights_kept_as_a_matrix(tmp_path: Path) -> None:
    layers = plain.random_layers()
    table = plain.torch7_table(layers)
    module = table["model"].fields["modules"][5]
    module.kind = "nn.SpatialConvolutionMM"
    outputs, inputs, height, width = module.fields["weight"].size
    module.fields["weight"].size = (outputs, inputs * height * width)
    plain.write_torch7(table, tmp_path / "net")

    found = read("torch7", tmp_path / "net")

    assert torch.equal(found.weights["4.weight"], layers[2].weight)


def test_served_simplification(tmp_path: Path) -> None:
    layers = plain.random_layers(seed=2)
    torch7(layers, tmp_path / "net")
    handler = served("sketch", read("torch7", tmp_path / "net"), tmp_path / "model")
    pixels = samples.face(1, 250, 301)
    request = samples.with_images("sketch", samples.raw(pixels))

    work = handler.decode(request)
    response = handler.encode(request, handler.predict(work.key, work.samples))

    # Upstream repeats the last column and row up to a multiple of eight.
    # It rounds luminance to 8 bits; Pillow's weights are 65536ths.
    whole = (pixels.astype(int) @ [19595, 38470, 7471] + 2**15) >> 16
    grey = np.pad(whole, ((0, 3), (0, 6)), mode="edge")
    theirs = plain.drawing(layers, torch.from_numpy((grey / 255 - plain.MEAN) / plain.STD))
    drawn = np.frombuffer(response.sketches[0].data, np.uint8).reshape(301, 250)
    assert np.abs(drawn - 255 * theirs.numpy()[:301, :250]).max() <= 0.51
    assert drawn.std() > 1


def test_layout_is_the_published_one() -> None:
    channels = (1, *plain.PUBLISHED, 1)
    sizes = [
        kernel * kernel * inputs * outputs + outputs
        for (kernel, _), inputs, outputs in zip(plain.SHAPE, channels, channels[1:], strict=False)
    ]

    assert (len(sizes), sum(sizes)) == (23, 44_387_249)
    assert [*plain.nested(plain.random_layers())][-1] == "layer7.2.bias"


def modules(table: Any) -> dict[int, Any]:
    found: dict[int, Any] = table["model"].fields["modules"]
    return found


def put(number: int, name: str, value: Any) -> Change:
    return lambda t: modules(t)[number].fields.update({name: value})


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (put(2, "running_var", None), "has no running_var in module 2"),
        (put(5, "eps", "small"), "has 'small' as eps of module 5"),
        (put(5, "bias", None), "has no bias in module 5"),
        (
            lambda t: setattr(modules(t)[8].fields["running_mean"], "size", (1,)),
            r"has \[1\] as running_mean of module 8, not \[6\]",
        ),
        (
            lambda t: modules(t)[2].fields.update(modules(t)[5].fields),
            r"has \[5\] as running_var of module 2, not \[3\]",
        ),
        (lambda t: setattr(modules(t)[2], "kind", "nn.ReLU"), "has a nn.ReLU as module 2"),
        (lambda t: setattr(modules(t)[68], "kind", "nn.ReLU"), "has a nn.ReLU as module 68"),
        (lambda t: modules(t).pop(67), "has 67 modules; released networks"),
    ],
)
def test_strictness_of_batch_norms(tmp_path: Path, change: Change, refusal: str) -> None:
    table = plain.torch7_table(plain.with_norms(plain.random_layers()), shared=False)
    change(table)
    path = plain.write_torch7(table, tmp_path / "net")

    with pytest.raises(RefusedFile, match=f"{re.escape(str(path))}.*{refusal}"):
        read("torch7", path)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda t: t.pop("model"), "is no table that holds a model"),
        (lambda t: t.pop("mean"), "has None as the mean of its input"),
        (lambda t: t.update(std=0.0), "has 0 as the std of its input"),
        (lambda t: t.update(std="0.1"), "has '0.1' as the std of its input"),
        (lambda t: t.update(mean=float("inf")), "has inf as the mean of its input"),
        (lambda t: setattr(t["model"], "kind", "nn.Parallel"), "has a nn.Parallel as its model"),
        (lambda t: t["model"].fields.pop("modules"), "as its model, not an nn.Sequential"),
        (lambda t: modules(t).pop(46), "has 45 modules; released networks, whose batch norms"),
        (
            lambda t: modules(t).update({2: 7}),
            "has a int as module 2; the released networks have nn.R",
        ),
        (
            lambda t: setattr(modules(t)[3], "kind", "nn.SpatialBatchNormalization"),
            "has a nn.SpatialBatchNormalization as module 3",
        ),
        (lambda t: setattr(modules(t)[46], "kind", "nn.Tanh"), "has a nn.Tanh as module 46"),
        (
            lambda t: setattr(modules(t)[29], "kind", "nn.SpatialConvolution"),
            "module 29; the released networks have nn.SpatialFullConvolution",
        ),
        (lambda t: modules(t)[7].fields.update(dW=1), "has 1 as dW of module 7, not 2"),
        (lambda t: modules(t)[7].fields.pop("padH"), "has None as padH of module 7, not 1"),
        (lambda t: modules(t)[5].fields.update(padW=0), "has 0 as padW of module 5, not 1"),
        (lambda t: modules(t)[1].fields.update(kW=3), "has 3 as kW of module 1, not 5"),
        (lambda t: modules(t)[29].fields.update(adjW=1), "has 1 as adjW of module 29, not 0"),
        (lambda t: modules(t)[9].fields.pop("bias"), "has no bias in module 9"),
        (
            lambda t: setattr(modules(t)[9].fields["bias"], "size", (3,)),
            r"the bias of module 9 is \[3\], not \[8\]",
        ),
        (
            lambda t: setattr(modules(t)[11].fields["weight"], "size", (9, 7, 3, 3)),
            r"the weight of module 11 is \[9, 7, 3, 3\], not \[9, 8, 3, 3\]",
        ),
    ],
)
def test_strictness_of_torch7(tmp_path: Path, change: Change, refusal: str) -> None:
    table = plain.torch7_table(plain.random_layers())
    change(table)
    path = plain.write_torch7(table, tmp_path / "net")

    with pytest.raises(RefusedFile, match=f"{re.escape(str(path))}.*{refusal}"):
        read("torch7", path)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda s: s.pop("layer4.4.bias"), r"no layer4\.4\.bias"),
        (lambda s: s.pop("layer1.0.weight"), "has no convolution as layer 1 of 23"),
        (lambda s: s.update({"layer8.0.weight": torch.zeros(1)}), r"layer8\.0\.weight left over"),
        (
            lambda s: s.update({"layer2.2.running_mean": torch.zeros(8)}),
            r"layer2\.2\.running_mean left over",
        ),
        (
            lambda s: s.update({"layer3.4.weight": torch.zeros(11, 9, 3, 3)}),
            r"layer3\.4\.weight is \[11, 9, 3, 3\], not \[11, 13, 3, 3\]",
        ),
        (lambda s: s.update({"mean": torch.zeros(1)}), "has layers of different names"),
        (
            lambda s: s.update({"layer1.0.weight": 1.5}),
            r"has layer1\.0\.weight, which is no tensor",
        ),
    ],
)
def test_strictness_of_conversions(tmp_path: Path, change: Change, refusal: str) -> None:
    state = plain.nested(plain.random_layers())
    change(state)
    torch.save(state, tmp_path / "net")

    with pytest.raises(RefusedFile, match=f"{re.escape(str(tmp_path / 'net'))}.*{refusal}"):
        read("pth", tmp_path / "net")
