"""Checkpoints that are not exactly a StyleGAN2 that can be served are refused, by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.reference.stylegan2 import StyleGAN2, random_network
from tests.reference.stylegan2_files import (
    FIR,
    Network,
    Persistent,
    nvlabs_snapshot,
    rosinality_converted,
    tensorflow_networks,
    write_pickle,
)

from faceloom.checkpoints.import_result import Answers
from faceloom.checkpoints.untrusted import RefusedFile
from faceloom.generator.checkpoint import FORMATS

Damage = Callable[[Any], Any]


@pytest.fixture
def net() -> StyleGAN2:
    return random_network((8, 6, 4), 8, 2)


def refused(form: str, path: Path, reason: str) -> None:
    """In one line that begins with the file."""
    with pytest.raises(RefusedFile) as caught:
        FORMATS[form](path, Answers())
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert reason in message


def drop(name: str) -> Damage:
    return lambda tensors: tensors.pop(name)


def put(name: str, value: Any) -> Damage:
    return lambda tensors: tensors.update({name: value})


def attribute(module: str, name: str, value: Any) -> Damage:
    """Sets an attribute of a module of the averaged generator."""
    return lambda generator: setattr(generator.get_submodule(module), name, value)


def remove(module: str, name: str) -> Damage:
    return lambda generator: delattr(generator.get_submodule(module), name)


def parameter(*shape: int) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(*shape))


ROSINALITY: dict[str, tuple[Damage, str]] = {
    "missing": (drop("convs.1.conv.modulation.weight"), "no convs.1.conv.modulation.weight"),
    "missing width": (drop("convs.1.conv.weight"), "has no convs.1.conv.weight"),
    "missing filter": (drop("convs.0.conv.blur.kernel"), "no convs.0.conv.blur.kernel"),
    "missing noise": (drop("noises.noise_4"), "no noises.noise_4"),
    "missing layer": (drop("style.1.weight"), "no style.1.weight"),
    "extra": (put("convs.0.conv.extra", torch.zeros(1)), "convs.0.conv.extra left over"),
    "misshapen": (
        put("convs.2.conv.weight", torch.zeros(1, 4, 7, 3, 3)),
        "convs.2.conv.weight is [1, 4, 7, 3, 3], not [1, 4, 6, 3, 3]",
    ),
    "no axis": (put("input.input", torch.zeros(())), "has input.input in the shape []"),
    "no maps": (put("input.input", torch.zeros(1, 0, 4, 4)), "has input.input in the shape [1, 0"),
    "whole numbers": (
        put("conv1.activate.bias", torch.zeros(8, dtype=torch.int64)),
        "has conv1.activate.bias, which is no tensor of floating-point numbers",
    ),
    "no tensor": (put("conv1.activate.bias", "x"), "has conv1.activate.bias, which is no tensor"),
    "blur": (
        put("convs.2.conv.blur.kernel", torch.ones(4, 4) / 4),
        "resamples with another filter than [1, 3, 3, 1]: convs.2.conv.blur.kernel",
    ),
    "upsample": (
        put("to_rgbs.1.upsample.kernel", FIR),
        "resamples with another filter than [1, 3, 3, 1]: to_rgbs.1.upsample.kernel",
    ),
    "wavelets": (put("iwt.ll", torch.zeros(2, 2)), "is a SWAGAN"),
    "too large": (put("to_rgbs.8.bias", torch.zeros(1, 3, 1, 1)), "makes pictures of 2048 pixels"),
    "odd name": (put("a\x1b[2J", torch.zeros(1)), "with names that no network has"),
    "too many": (
        lambda state: state.update({f"x{i}": torch.zeros(1) for i in range(2000)}),
        "holds far more tensors than a network",
    ),
}


@pytest.mark.parametrize(("damage", "reason"), ROSINALITY.values(), ids=ROSINALITY)
def test_rosinality(net: StyleGAN2, tmp_path: Path, damage: Damage, reason: str) -> None:
    content = rosinality_converted(net)
    damage(content["g_ema"])
    torch.save(content, tmp_path / "network.pt")

    refused("rosinality", tmp_path / "network.pt", reason)


def only(content: dict[str, Any]) -> Damage:
    """Nothing but this is in the file."""

    def damage(found: dict[str, Any]) -> None:
        found.clear()
        found.update(content)

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (only({"g_optim": {}}), "has no g_ema, no g and no input.input"),
        (
            only({"d": {"convs.0.0.weight": torch.zeros(1)}}),
            "has no g_ema, no g and no input.input",
        ),
        (
            only({"module.synthesis.b4.const": torch.zeros(1)}),
            "holds a generator by NVIDIA's names, without its options; import the .pkl",
        ),
        (
            only({"state_dict": {"decoder.input.input": torch.zeros(1)}}),
            "is a checkpoint of a translator; import it with --kind translator",
        ),
        (put("g_ema", [1, 2]), "holds no state dict"),
        (put("latent_avg", torch.zeros(9)), "latent_avg is [9], not [8]"),
        (put("latent_avg", torch.eye(8)), "has another latent_avg for every layer"),
        (
            put("latent_avg", torch.zeros(8, dtype=torch.int64)),
            "has latent_avg, which is no tensor",
        ),
        (put("latent_avg", 1.0), "has latent_avg, which is no tensor"),
    ],
)
def test_rosinality_around_the_state(
    net: StyleGAN2, tmp_path: Path, damage: Damage, reason: str
) -> None:
    content = rosinality_converted(net)
    damage(content)
    torch.save(content, tmp_path / "network.pt")

    refused("rosinality", tmp_path / "network.pt", reason)


NVLABS: dict[str, tuple[Damage, str]] = {
    "conditional": (attribute("", "c_dim", 10), "is conditional: c_dim is 10"),
    "grey": (attribute("", "img_channels", 1), "makes no colour pictures: img_channels is 1"),
    "resnet": (attribute("synthesis.b8", "architecture", "resnet"), "different architecture"),
    "no option": (remove("mapping.fc0", "activation"), "has parts of different activation"),
    "activation": (attribute("mapping.fc1", "activation", "relu"), "different activation"),
    "a clamp": (attribute("synthesis.b4.torgb", "conv_clamp", 256), "of different conv_clamp"),
    "a rate": (attribute("mapping.fc1", "bias_gain", 0.1), "has parts of different bias_gain"),
    "latents": (attribute("", "z_dim", 6), "maps z of 6 to w of 8"),
    "odd option": (attribute("", "c_dim", {"a": 1}), "has a dict where networks have a number"),
    "filter": (
        attribute("synthesis.b16.conv0", "resample_filter", torch.ones(4, 4) / 16),
        "another filter than [1, 3, 3, 1]: synthesis.b16.conv0.resample_filter",
    ),
    "longer filter": (
        attribute("synthesis.b16", "resample_filter", torch.ones(6, 6) / 36),
        "another filter than [1, 3, 3, 1]: synthesis.b16.resample_filter",
    ),
    "missing": (
        remove("synthesis.b8.conv0.affine", "weight"),
        "no synthesis.b8.conv0.affine.weight",
    ),
    "missing mean": (remove("mapping", "w_avg"), "no mapping.w_avg"),
    "missing colours": (remove("synthesis.b8.torgb", "bias"), "no synthesis.b8.torgb.bias"),
    "extra": (
        attribute("synthesis.b8", "extra", parameter(1)),
        "has synthesis.b8.extra, which no StyleGAN2 has",
    ),
    "our name": (
        lambda generator: generator.register_parameter("latent_avg", parameter(8)),
        "has latent_avg, which no StyleGAN2 has",
    ),
    "misshapen": (
        attribute("synthesis.b8.conv1", "bias", parameter(5)),
        "synthesis.b8.conv1.bias is [5], not [6]",
    ),
    "too many axes": (
        attribute("synthesis.b16.conv1", "noise_strength", parameter(1)),
        "synthesis.b16.conv1.noise_strength is [1, 1], not [1]",
    ),
    "too large": (
        lambda generator: generator.synthesis.add_module(
            "b2048", generator.synthesis.b16.requires_grad_(False)
        ),
        "makes pictures of 2048 pixels; 8 to 1024 can be served",
    ),
}


def every(pattern: str, option: str, value: Any) -> Damage:
    def damage(generator: Persistent) -> None:
        for name, module in generator.named_modules():
            if pattern in name and hasattr(module, option):
                setattr(module, option, value)

    return damage


NVLABS |= {
    "all resnet": (
        every("b", "architecture", "resnet"),
        "another architecture: architecture is 'r",
    ),
    "all orig": (
        every("b", "architecture", "orig"),
        "another architecture: architecture is 'orig'",
    ),
    "all swish": (
        every("fc", "activation", "swish"),
        "another architecture: activation is 'swish'",
    ),
    "no noise": (every("conv", "use_noise", False), "takes no noise: use_noise is False"),
    "no clamp": (every("", "conv_clamp", -1.0), "has -1.0 as the limit"),
    "no rate": (every("fc", "bias_gain", float("nan")), "has parts of different bias_gain"),
    "endless rate": (every("fc", "bias_gain", float("inf")), "has inf as the learning rate"),
    "words": (every("fc", "bias_gain", "fast"), "has 'fast' as the learning rate"),
}


@pytest.mark.parametrize(("damage", "reason"), NVLABS.values(), ids=NVLABS)
def test_nvlabs(net: StyleGAN2, tmp_path: Path, damage: Damage, reason: str) -> None:
    snapshot = nvlabs_snapshot(net)
    damage(snapshot["G_ema"])

    refused("nvlabs", write_pickle(snapshot, tmp_path / "network.pkl", 3), reason)


def test_stylegan3(net: StyleGAN2, tmp_path: Path) -> None:
    snapshot = nvlabs_snapshot(net)
    snapshot["G_ema"].synthesis.input = Persistent("SynthesisInput")

    refused("nvlabs", write_pickle(snapshot, tmp_path / "network.pkl", 3), "is a StyleGAN3")


@pytest.mark.parametrize("content", [{}, {"G_ema": {}}, [1], Persistent("Generator"), None])
def test_pickles_without_an_averaged_generator(content: Any, tmp_path: Path) -> None:
    path = write_pickle(content, tmp_path / "network.pkl", 3)

    refused("nvlabs", path, "has no G_ema")
    refused("tensorflow", path, "nvlabs" if isinstance(content, dict) else "holds no (G, D, Gs)")


def test_modules_that_are_many_by_sharing(tmp_path: Path) -> None:
    module = Persistent("Block")
    for _ in range(20):
        above = Persistent("Block")
        above.a = above.b = module
        module = above
    path = write_pickle({"G_ema": module}, tmp_path / "network.pkl", 3)

    refused("nvlabs", path, "holds far more than a generator")


@pytest.mark.parametrize("state", [None, [], {}, {"_modules": 5}])
def test_modules_without_their_state(state: Any, tmp_path: Path) -> None:
    class Odd(Persistent):
        def __reduce__(self) -> Any:
            function, (meta,), _ = super().__reduce__()
            return function, (meta | {"state": state},), None

    refused(
        "nvlabs",
        write_pickle({"G_ema": Odd("Generator")}, tmp_path / "network.pkl", 3),
        "is damaged",
    )


def variable(part: str, name: str, value: Any) -> Damage:
    return lambda average: average.components[part].variables.update({name: value})


def without(part: str, name: str) -> Damage:
    return lambda average: average.components[part].variables.pop(name)


def argument(name: str, value: Any) -> Damage:
    return lambda average: average.arguments.update({name: value})


def function(name: str, part: str | None = None) -> Damage:
    return lambda average: setattr(average.components[part] if part else average, "function", name)


zeros = np.zeros


TENSORFLOW: dict[str, tuple[Damage, str]] = {
    "conditional": (argument("label_size", 10), "is conditional: label_size is 10"),
    "grey": (argument("num_channels", 1), "makes no colour pictures: num_channels is 1"),
    "resnet": (
        argument("architecture", "resnet"),
        "another architecture: architecture is 'resnet'",
    ),
    "orig": (argument("architecture", "orig"), "another architecture: architecture is 'orig'"),
    "swish": (argument("mapping_nonlinearity", "swish"), "mapping_nonlinearity is 'swish'"),
    "unnormalised": (argument("normalize_latents", False), "normalize_latents is False"),
    "filter": (argument("resample_kernel", [1, 2, 1]), "another filter: resample_kernel is [1, 2"),
    "no filter": (argument("resample_kernel", None), "another filter: resample_kernel is None"),
    "precision": (argument("dtype", "float16"), "another precision: dtype is 'float16'"),
    "option": (argument("attention", True), "was built with attention, which no published"),
    "odd option": (argument("fmap_base", {"a": 1}), "has a dict where networks have a number"),
    "rate": (argument("mapping_lrmul", 0), "has 0 as the learning rate of the mapping"),
    "StyleGAN1": (function("G_style"), "is built by 'G_style'; only StyleGAN2"),
    "config D": (
        function("G_synthesis_stylegan_revised", "synthesis"),
        "is built by 'G_synthesis_stylegan_revised'; only StyleGAN2 from configuration E on",
    ),
    "mapping": (function("G_mapping_attention", "mapping"), "is built by 'G_mapping_attention'"),
    "version": (lambda average: setattr(average, "version", 3), "is a pickle of version 3"),
    "no mapping": (lambda average: average.components.pop("mapping"), "is built by None"),
    "component": (
        lambda average: average.components.update(style=Network("S", "S_main", {})),
        "has the component style/, which no StyleGAN2 has",
    ),
    "missing": (
        without("synthesis", "8x8/Conv0_up/mod_weight"),
        "no synthesis/8x8/Conv0_up/mod_weight",
    ),
    "missing mean": (lambda average: average.variables.pop("dlatent_avg"), "no dlatent_avg"),
    "missing layer": (without("mapping", "Dense0/bias"), "no mapping/Dense0/bias"),
    "extra": (
        variable("synthesis", "8x8/Skip/weight", zeros((1, 1, 8, 6), np.float32)),
        "has synthesis/8x8/Skip/weight, which no StyleGAN2 has",
    ),
    "misshapen": (
        variable("synthesis", "16x16/Conv1/weight", zeros((3, 3, 5, 4), np.float32)),
        "synthesis/16x16/Conv1/weight is [1, 4, 5, 3, 3], not [1, 4, 4, 3, 3]",
    ),
    "too few axes": (
        variable("synthesis", "16x16/Conv1/weight", zeros((3, 3), np.float32)),
        "has synthesis/16x16/Conv1/weight in the shape [3, 3], which cannot be",
    ),
    "whole numbers": (
        variable("mapping", "Dense0/bias", zeros(8, np.int64)),
        "has mapping/Dense0/bias, which is no tensor of floating-point numbers",
    ),
    "twice": (lambda average: average.components["mapping"].again.append("Dense0/bias"), "twice"),
    "word": (
        variable("mapping", "Dense0/bias", "x"),
        "has mapping/Dense0/bias, which is no tensor",
    ),
}


@pytest.mark.parametrize(("damage", "reason"), TENSORFLOW.values(), ids=TENSORFLOW)
def test_tensorflow(net: StyleGAN2, tmp_path: Path, damage: Damage, reason: str) -> None:
    networks = tensorflow_networks(net)
    damage(networks[2])

    refused("tensorflow", write_pickle(networks, tmp_path / "network.pkl", 4), reason)


def test_one_format_taken_for_another(net: StyleGAN2, tmp_path: Path) -> None:
    torch.save(rosinality_converted(net), tmp_path / "network.pt")
    torch_pickle = write_pickle(nvlabs_snapshot(net), tmp_path / "network.pkl", 3)
    tensorflow_pickle = write_pickle(tensorflow_networks(net), tmp_path / "star.pkl", 4)

    refused("nvlabs", tensorflow_pickle, "import it with --format tensorflow")
    refused("tensorflow", torch_pickle, "import it with --format nvlabs")
    refused("rosinality", torch_pickle, "is not a PyTorch checkpoint")
    refused("nvlabs", tmp_path / "network.pt", "is not a pickle")
