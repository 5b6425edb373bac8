"""Checkpoint files of a StyleGAN2 in the layouts of the projects that publish them.

Each layout has a function that lays the network out, whose result tests may damage, and one that writes it.
"""

import pickle
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from tests.reference.stylegan2 import Conv, StyleGAN2

FIR = torch.tensor([1.0, 3.0, 3.0, 1.0]).outer(torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64
# Source code that upstream runs when it reads a pickle.
SOURCE = "raise SystemExit('code of the file was executed')"


@contextmanager
def importable(*things: Any) -> Iterator[None]:
    """Lets pickle find classes and functions under the upstream module names that they carry."""
    modules: dict[str, ModuleType] = {}
    for thing in things:
        module = modules.setdefault(thing.__module__, ModuleType(thing.__module__))
        setattr(module, thing.__qualname__, thing)
        for name in accumulate(thing.__module__.split(".")[:-1], "{}.{}".format):
            modules.setdefault(name, sys.modules.get(name, ModuleType(name)))
    with mock.patch.dict(sys.modules, modules):
        yield


def upstream(module: str, name: str) -> Any:
    """Decorates a class or function with the place where upstream has it."""

    def rename(thing: Any) -> Any:
        thing.__module__, thing.__qualname__, thing.__name__ = module, name, name
        return thing

    return rename


@upstream("dnnlib.util", "EasyDict")
class EasyDict(dict):  # type: ignore[type-arg]
    """A dict whose items are attributes too; upstream keeps all arguments in it."""


def torch_weight(conv: Conv) -> Tensor:
    """[O, I, k, k]; in torch the upsampling one is a transposed convolution, which turns its kernel."""
    return conv.weight.flip(2, 3) if conv.up else conv.weight


# rosinality/stylegan2-pytorch


def rosinality_state(net: StyleGAN2) -> dict[str, Tensor]:
    """The state dict of its Generator."""
    state = {"input.input": net.const[None].clone()}
    for i, (weight, bias) in enumerate(net.dense, start=1):
        state |= {f"style.{i}.weight": weight.clone(), f"style.{i}.bias": bias.clone()}
    for i, conv in enumerate(net.convs):
        assert conv.noise is not None and conv.strength is not None
        name = f"convs.{i - 1}" if i else "conv1"
        state |= _rosinality_conv(f"{name}.conv", conv)
        state[f"{name}.noise.weight"] = conv.strength.reshape(1).clone()
        state[f"{name}.activate.bias"] = conv.bias.clone()
        state[f"noises.noise_{i}"] = conv.noise[None, None].clone()
        if conv.up:
            state[f"{name}.conv.blur.kernel"] = 4 * FIR
    for i, block in enumerate(net.blocks):
        name = f"to_rgbs.{i - 1}" if i else "to_rgb1"
        state |= _rosinality_conv(f"{name}.conv", block.to_rgb)
        state[f"{name}.bias"] = block.to_rgb.bias.reshape(1, 3, 1, 1).clone()
        if i:
            state[f"{name}.upsample.kernel"] = 4 * FIR
    return state


def _rosinality_conv(name: str, conv: Conv) -> dict[str, Tensor]:
    return {
        f"{name}.weight": torch_weight(conv)[None].clone(),
        f"{name}.modulation.weight": conv.affine_weight.clone(),
        f"{name}.modulation.bias": conv.affine_bias.clone(),
    }


def rosinality_converted(net: StyleGAN2) -> dict[str, Any]:
    """What `convert_weight.py --gen --disc` saves."""
    others = {"g": rosinality_state(net), "d": {"convs.0.0.weight": torch.randn(4, 3, 1, 1)}}
    return {"g_ema": rosinality_state(net), "latent_avg": net.w_avg.clone(), **others}


def rosinality_trained(net: StyleGAN2) -> dict[str, Any]:
    """What `train.py` saves."""
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([weight]).state_dict()
    arguments = Namespace(arch="stylegan2", size=net.size, latent=net.style_dim, path="faces.lmdb")
    return {
        "g": {name: torch.zeros_like(value) for name, value in rosinality_state(net).items()},
        "d": {"convs.0.0.weight": torch.randn(4, 3, 1, 1)},
        "g_ema": rosinality_state(net),
        "g_optim": optimizer,
        "d_optim": optimizer,
        "args": arguments,
        "ada_aug_p": 0.25,
    }


# NVlabs/stylegan2-ada-pytorch


@upstream("torch_utils.persistence", "_reconstruct_persistent_obj")
def reconstruct(meta: Any) -> Any:
    raise AssertionError("only its name is written")


class Persistent(nn.Module):
    """A module that pickles as a call of `_reconstruct_persistent_obj`, with the source of its class."""

    def __init__(self, class_name: str, **attributes: Any) -> None:
        super().__init__()
        self._class_name = class_name
        for name, value in attributes.items():
            setattr(self, name, value)

    def __reduce__(self) -> Any:
        state = {name: value for name, value in self.__dict__.items() if name != "_class_name"}
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": self._class_name,
            "state": state,
        }
        return reconstruct, (meta,), None


def _parameter(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.clone(), requires_grad=False)


def _fully_connected(weight: Tensor, bias: Tensor, activation: str, rate: float) -> Persistent:
    layer = Persistent("FullyConnectedLayer", activation=activation, bias_gain=rate)
    layer.weight, layer.bias = _parameter(weight), _parameter(bias)
    layer.weight_gain = rate / np.sqrt(weight.shape[1])  # a numpy scalar, upstream too
    return layer


def _torch_layer(net: StyleGAN2, conv: Conv, class_name: str) -> Persistent:
    layer = Persistent(class_name, conv_clamp=net.clamp)
    layer.affine = _fully_connected(conv.affine_weight, conv.affine_bias, "linear", 1)
    layer.weight, layer.bias = _parameter(torch_weight(conv)), _parameter(conv.bias)
    if conv.noise is None or conv.strength is None:
        return layer
    layer.resolution, layer.up, layer.use_noise = len(conv.noise), 1 + conv.up, True
    layer.activation, layer.padding, layer.act_gain = "lrelu", 1, np.sqrt(2)
    layer.register_buffer("resample_filter", FIR.clone())
    layer.register_buffer("noise_const", conv.noise.clone())
    layer.noise_strength = _parameter(conv.strength)
    return layer


def nvlabs_generator(net: StyleGAN2) -> Persistent:
    """The modules of `training.networks.Generator`, unconditional."""
    shape = {"img_resolution": net.size, "img_channels": 3}
    dims = {"z_dim": net.style_dim, "c_dim": 0, "w_dim": net.style_dim}
    layers = 2 * len(net.blocks)
    mapping = Persistent("MappingNetwork", **dims, num_layers=len(net.dense), w_avg_beta=0.995)
    mapping.num_ws = layers
    for i, (weight, bias) in enumerate(net.dense):
        layer = _fully_connected(weight, bias, "lrelu", net.lr_multiplier)
        setattr(mapping, f"fc{i}", layer)
    mapping.register_buffer("w_avg", net.w_avg.clone())
    synthesis = Persistent("SynthesisNetwork", w_dim=net.style_dim, num_ws=layers, **shape)
    for level, block in enumerate(net.blocks):
        side = 4 * 2**level
        part = Persistent("SynthesisBlock", resolution=side, architecture="skip", use_fp16=side > 8)
        part.is_last, part.num_conv, part.num_torgb = side == net.size, len(block.convs), 1
        part.register_buffer("resample_filter", FIR.clone())
        if not level:
            part.const = _parameter(net.const)
        for conv in block.convs:
            setattr(part, f"conv{0 if conv.up else 1}", _torch_layer(net, conv, "SynthesisLayer"))
        part.torgb = _torch_layer(net, block.to_rgb, "ToRGBLayer")
        setattr(synthesis, f"b{side}", part)
    generator = Persistent("Generator", **dims, **shape, num_ws=layers)
    generator.mapping, generator.synthesis = mapping, synthesis
    generator._init_args = ()
    generator._init_kwargs = EasyDict(
        **dims, **shape, mapping_kwargs=EasyDict(num_layers=len(net.dense))
    )
    return generator


def nvlabs_snapshot(net: StyleGAN2) -> dict[str, Any]:
    """What its training loop saves."""
    discriminator = Persistent("Discriminator", c_dim=0, img_resolution=net.size)
    discriminator.fromrgb = _parameter(torch.randn(4, 3, 1, 1))
    augment = Persistent("AugmentPipe", xflip=1.0)
    augment.register_buffer("p", torch.tensor(0.5))
    return {
        "training_set_kwargs": EasyDict(class_name="training.dataset.ImageFolderDataset"),
        "G": nvlabs_generator(net),
        "D": discriminator,
        "G_ema": nvlabs_generator(net),
        "augment_pipe": augment,
    }


# NVlabs/stylegan2 and stylegan2-ada, which run on TensorFlow 1


@upstream("dnnlib.tflib.network", "Network")
class Network:
    """A network of dnnlib: its arguments, its parts, the source of its code, its variables."""

    def __init__(
        self, name: str, function: str, variables: dict[str, Any], **arguments: Any
    ) -> None:
        self.name, self.function, self.variables = name, function, variables
        self.arguments, self.components, self.version = arguments, dict[str, Network](), 4
        self.again: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "name": self.name,
            "static_kwargs": self.arguments,
            "components": self.components,
            "build_module_src": SOURCE,
            "build_func_name": self.function,
            "variables": [(name, self.variables[name]) for name in (*self.variables, *self.again)],
        }


def _tensorflow_conv(name: str, conv: Conv) -> dict[str, Any]:
    variables: dict[str, Any] = {
        f"{name}/weight": conv.weight.permute(2, 3, 1, 0).contiguous().numpy(),
        f"{name}/mod_weight": conv.affine_weight.t().contiguous().numpy(),
        f"{name}/mod_bias": conv.affine_bias.numpy() - 1,
        f"{name}/bias": conv.bias.numpy().copy(),
    }
    if conv.strength is not None:
        variables[f"{name}/noise_strength"] = np.float32(conv.strength.item())
    return variables


def tensorflow_generator(net: StyleGAN2, name: str = "Gs", **arguments: Any) -> Network:
    """The network of `training.networks_stylegan2.G_main` with its two parts."""
    shape = {"num_channels": 3, "resolution": net.size, "label_size": 0} | arguments
    dims = {"latent_size": net.style_dim, "dlatent_size": net.style_dim}
    dims |= {"mapping_fmaps": net.style_dim, "mapping_layers": len(net.dense)}
    shape |= dims | {"mapping_lrmul": net.lr_multiplier}
    dense: dict[str, Any] = {}
    for i, (weight, bias) in enumerate(net.dense):
        dense[f"Dense{i}/weight"] = weight.t().contiguous().numpy()
        dense[f"Dense{i}/bias"] = bias.numpy().copy()
    images: dict[str, Any] = {}
    for i, conv in enumerate(net.convs):
        assert conv.noise is not None
        images[f"noise{i}"] = conv.noise[None, None].numpy().copy()
    images["4x4/Const/const"] = net.const[None].numpy().copy()
    for level, block in enumerate(net.blocks):
        scope = f"{4 * 2**level}x{4 * 2**level}"
        for conv in block.convs:
            part = "Conv0_up" if conv.up else "Conv1" if level else "Conv"
            images |= _tensorflow_conv(f"{scope}/{part}", conv)
        images |= _tensorflow_conv(f"{scope}/ToRGB", block.to_rgb)
    own = {"lod": np.float32(0), "dlatent_avg": net.w_avg.numpy().copy()}
    network = Network(name, "G_main", own, **shape)
    network.components = {
        "synthesis": Network("G_synthesis", "G_synthesis_stylegan2", images, **shape),
        "mapping": Network("G_mapping", "G_mapping", dense, dlatent_broadcast=18, **shape),
    }
    return network


def tensorflow_networks(net: StyleGAN2, **arguments: Any) -> tuple[Network, Network, Network]:
    """What its training loop saves: G, D and the average of G."""
    weight = {"4x4/Dense0/weight": np.zeros((4, 4), np.float32)}
    discriminator = Network("D", "D_stylegan2", weight, num_channels=3, resolution=net.size)
    training = tensorflow_generator(net, "G", **arguments)
    training.variables["dlatent_avg"] = np.zeros(net.style_dim, np.float32)
    return training, discriminator, tensorflow_generator(net, **arguments)


# NVIDIA's pickles


@upstream("numpy.core.multiarray", "_reconstruct")
def numpy_reconstruct(*arguments: Any) -> Any:
    raise AssertionError("only its name is written")


@upstream("numpy.core.multiarray", "scalar")
def numpy_scalar(*arguments: Any) -> Any:
    raise AssertionError("only its name is written")


class OldNumpyPickler(pickle.Pickler):
    """Writes arrays as numpy 1 did, which published files come from."""

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, np.ndarray):
            state = (1, thing.shape, thing.dtype, False, thing.tobytes())
            return numpy_reconstruct, (np.ndarray, (0,), b"b"), state
        if isinstance(thing, np.generic):
            return numpy_scalar, (thing.dtype, thing.tobytes())
        return NotImplemented


def write_pickle(content: Any, path: Path, protocol: int, old_numpy: bool = True) -> Path:
    """Upstream's pickle. Published ones are of protocol 3 (PyTorch) and 4 (TensorFlow), and of numpy 1."""
    names = (EasyDict, reconstruct, Network)
    if not old_numpy:
        with importable(*names), path.open("wb") as file:
            pickle.Pickler(file, protocol).dump(content)
        return path
    with importable(*names, numpy_reconstruct, numpy_scalar), path.open("wb") as file:
        OldNumpyPickler(file, protocol).dump(content)
    return path
