"""A small file of random weights in every published layout that can be imported, and how it is imported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.reference import bisenet, losses, mixnet, psp, sketch_keras, sketch_simplification
from tests.reference.stylegan2 import StyleGAN2, random_network
from tests.reference.stylegan2_files import (
    nvlabs_snapshot,
    rosinality_converted,
    tensorflow_networks,
    write_pickle,
)

NVIDIA = "NVIDIA Source Code License-NC"

# Writes the file; the number is added to one number in it, so that NaN spoils that.
Write = Callable[[Path, float], object]


@dataclass(frozen=True)
class Published:
    """A file of one format.

    Args:
        kind: The service, or `losses`.
        form: The format.
        file: The name that its owners give it.
        write: Writes it.
        spoilt: What the file calls the tensor with the number that `write` adds to.
        network: What `model.json` must say of the network.
        options: Of the command, besides kind, format and name.
        restricted: Whether its licence is known to forbid commerce.
    """

    kind: str
    form: str
    file: str
    write: Write
    spoilt: str
    network: Mapping[str, Any]
    options: tuple[str, ...] = ()
    restricted: bool = True

    @property
    def command(self) -> list[str]:
        """All of `faceloom models import` but the file."""
        told = ["--kind", self.kind, "--format", self.form, "--name", "mine"]
        return ["models", "import", *told, *self.options]


def added(tensor: Tensor, number: float) -> Tensor:
    """A copy in which the last number is so much larger."""
    copy = tensor.clone()
    copy.view(-1)[-1] += number
    return copy


def with_added(state: dict[str, Tensor], name: str, number: float) -> dict[str, Tensor]:
    return state | {name: added(state[name], number)}


def network(number: float) -> StyleGAN2:
    net = random_network((12, 8), 16, 2)
    net.convs[1].bias = added(net.convs[1].bias, number)
    return net


def rosinality(path: Path, number: float) -> None:
    torch.save(rosinality_converted(network(number)), path)


def nvlabs(path: Path, number: float) -> None:
    write_pickle(nvlabs_snapshot(network(number)), path, 3)


def tensorflow(path: Path, number: float) -> None:
    write_pickle(tensorflow_networks(network(number)), path, 4)


def timm(path: Path, number: float) -> None:
    torch.save(mixnet.trained(_mixnet(number)), path)


def timm_bare(path: Path, number: float) -> None:
    torch.save(_mixnet(number), path)


def _mixnet(number: float) -> dict[str, Tensor]:
    return with_added(mixnet.random_state(), "conv_head.weight", number)


def torch7(path: Path, number: float) -> None:
    sketch_simplification.write_torch7(sketch_simplification.torch7_table(_layers(number)), path)


def pth_flat(path: Path, number: float) -> None:
    torch.save(sketch_simplification.flat(_layers(number)), path)


def pth_nested(path: Path, number: float) -> None:
    torch.save(sketch_simplification.nested(_layers(number)), path)


def _layers(number: float) -> list[sketch_simplification.Layer]:
    layers = sketch_simplification.random_layers()
    layers[2].bias = added(layers[2].bias, number)
    return layers


def keras(path: Path, number: float) -> None:
    sketch_keras.write_keras(_keras_layers(number), path)


def keras_port(path: Path, number: float) -> None:
    torch.save(sketch_keras.port_state(_keras_layers(number)), path)


def _keras_layers(number: float) -> sketch_keras.Layers:
    layers = sketch_keras.random_layers((1, 2, 2, 3, 3))
    layers[2]["bias"] = np.append(
        layers[2]["bias"][:-1], np.float32(layers[2]["bias"][-1] + number)
    )
    return layers


def zllrunning(path: Path, number: float) -> None:
    torch.save(_bisenet(number), path, _use_new_zipfile_serialization=False)


def yakhyo18(path: Path, number: float) -> None:
    torch.save(bisenet.yakhyo_state(_bisenet(number)), path)


def yakhyo34(path: Path, number: float) -> None:
    blocks = bisenet.RESNET34
    torch.save(bisenet.yakhyo_state(_bisenet(number, blocks), blocks=blocks), path)


def _bisenet(number: float, blocks: tuple[int, ...] = bisenet.RESNET18) -> dict[str, Tensor]:
    return with_added(bisenet.random_state(blocks=blocks), "ffm.conv1.weight", number)


def psp_of(channels: int, levels: int = 3) -> Write:
    """Of a translator of pictures with so many channels; 3 levels are 16 pixels."""

    def write(path: Path, number: float) -> None:
        torch.save(psp.checkpoint(random_psp(channels, number, levels)), path)

    return write


def random_psp(channels: int, number: float = 0, levels: int = 3) -> psp.PSp:
    """Those of different channels have one decoder."""
    decoder = random_network([8, 6, 4, 4, 4, 4, 2, 2, 2][:levels], 12, 8)
    encoder = psp.random_encoder(channels, 2 * levels, 12, 64, (1, 1, 1, 1), (4, 6, 8, 10))
    encoder.state = with_added(encoder.state, "latlayer1.bias", number)
    return psp.PSp(encoder, decoder, decoder.w_avg.expand(2 * levels, -1).clone())


def saved(state: Callable[[], dict[str, Tensor]], name: str) -> Write:
    """A state dict in the old format, in which the loss networks are published."""

    def write(path: Path, number: float) -> None:
        content = with_added(state(), name, number)
        torch.save(content, path, _use_new_zipfile_serialization=False)

    return write


_GENERATOR = {"size": 8, "style_dim": 16, "n_mlp": 2, "channels": {"4": 12, "8": 8}, "lr_mlp": 0.01}
_CLASSES = ("--license", "Apache-2.0", "--classes", "bad,good", "--keep", "good")
_SIMPLIFICATION = {"channels": list(sketch_simplification.NARROW)}
_KERAS = {"channels": [1, 2, 2, 3, 3]}


def _bisenet_of(blocks: tuple[int, ...]) -> dict[str, Any]:
    return {"classes": 19, "width": 0.125, "blocks": list(blocks)}


def _psp_network(task: str, channels: int) -> dict[str, Any]:
    encoder = {"input_nc": channels, "n_styles": 6, "style_dim": 12, "side": 64}
    encoder |= {"blocks": [1, 1, 1, 1], "widths": [4, 6, 8, 10]}
    return {"encoders": {task: encoder}}


FILES = (
    Published("generator", "rosinality", "550000.pt", rosinality, "convs.0.activate.bias",
              _GENERATOR, ("--license", NVIDIA)),
    Published("generator", "nvlabs", "ffhq.pkl", nvlabs, "synthesis.b8.conv0.bias",
              _GENERATOR, ("--license", NVIDIA)),
    Published("generator", "tensorflow", "stylegan2-ffhq-config-f.pkl", tensorflow,
              "synthesis/8x8/Conv0_up/bias", _GENERATOR, ("--license", NVIDIA)),
    Published("quality", "timm", "model_best.pth.tar", timm, "conv_head.weight",
              {"num_classes": 2, "tf_padding": False}, _CLASSES, restricted=False),
    Published("quality", "timm-tf_mixnet_s", "tf_mixnet_s.pth", timm_bare, "conv_head.weight",
              {"num_classes": 2, "tf_padding": True}, _CLASSES, restricted=False),
    Published("quality", "timm-mixnet_s", "mixnet_s.pth", timm_bare, "conv_head.weight",
              {"num_classes": 2, "tf_padding": False}, _CLASSES, restricted=False),
    Published("sketch", "torch7", "model_gan.t7", torch7, "the bias of module 5", _SIMPLIFICATION),
    Published("sketch", "pth", "model_gan.pth", pth_flat, "4.bias", _SIMPLIFICATION),
    Published("sketch", "pth", "model_gan_nested.pth", pth_nested, "layer1.4.bias", _SIMPLIFICATION),
    Published("sketch", "sketchkeras", "mod.h5", keras, "/model_weights/conv2d_2/conv2d_2/bias:0",
              _KERAS, restricted=False),
    Published("sketch", "sketchkeras-pytorch", "model.pth", keras_port, "downblock_2.1.bias",
              _KERAS, restricted=False),
    Published("segmentation", "zllrunning", "79999_iter.pth", zllrunning, "ffm.conv1.weight",
              _bisenet_of(bisenet.RESNET18)),
    Published("segmentation", "yakhyo", "resnet18.pt", yakhyo18, "ffm.conv1.weight",
              _bisenet_of(bisenet.RESNET18)),
    Published("segmentation", "yakhyo", "resnet34.pt", yakhyo34, "ffm.conv1.weight",
              _bisenet_of(bisenet.RESNET34)),
    Published("translator", "psp", "psp_celebs_sketch_to_face.pt", psp_of(1),
              "encoder.latlayer1.bias", _psp_network("sketch", 1), ("--license", NVIDIA)),
    Published("translator", "psp", "psp_celebs_seg_to_face.pt", psp_of(19),
              "encoder.latlayer1.bias", _psp_network("segmentation", 19), ("--license", NVIDIA)),
    Published("translator", "psp", "psp_ffhq_encode.pt", psp_of(3),
              "encoder.latlayer1.bias", _psp_network("face", 3), ("--license", NVIDIA)),
    Published("losses", "alexnet", "alexnet-owt-7be5be79.pth",
              saved(losses.random_alexnet, "features.6.bias"), "features.6.bias", {}),
    Published("losses", "lpips", "alex.pth", saved(losses.random_heads, "lin1.model.1.weight"),
              "lin1.model.1.weight", {}, restricted=False),
    Published("losses", "ir_se50", "model_ir_se50.pth",
              saved(losses.random_ir_se50, "output_layer.3.bias"), "output_layer.3.bias", {}),
)  # fmt: skip
