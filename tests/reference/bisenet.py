"""Face-parsing BiSeNet as zllrunning/face-parsing.PyTorch defines it, written out in float64 on the state
dict itself, and the same numbers in the layout of yakhyo/face-parsing. Nothing of the network that the
project serves is used here.

Paper: Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation" (2018). Its
spatial path is replaced by the ResNet's features at 1/8.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]

RESNET18 = (2, 2, 2, 2)
RESNET34 = (3, 4, 6, 3)


def layers(
    width: int, blocks: Sequence[int], classes: int
) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Name of zllrunning, name of yakhyo and shape of every layer; batch norms have one length.

    Args:
        width: Channels of the ResNet's stem, 64 in the published networks.
        blocks: Of its four stages.
        classes: That it tells apart.
    """
    yield "cp.resnet.conv1", "fpn.backbone.conv1", (width, 3, 7, 7)
    yield "cp.resnet.bn1", "fpn.backbone.bn1", (width,)
    before = width
    for stage, count in enumerate(blocks):
        after = width * 2**stage
        for i in range(count):
            part = f"layer{stage + 1}.{i}"
            for name, shape in (
                ("conv1", (after, before, 3, 3)),
                ("bn1", (after,)),
                ("conv2", (after, after, 3, 3)),
                ("bn2", (after,)),
                ("downsample.0", (after, before, 1, 1)),
                ("downsample.1", (after,)),
            ):
                if before != after or not name.startswith("downsample"):
                    yield f"cp.resnet.{part}.{name}", f"fpn.backbone.{part}.{name}", shape
            before = after
    context = 2 * width
    for arm, channels in (("arm16", 4 * width), ("arm32", 8 * width)):
        shape = (context, channels, 3, 3)
        yield f"cp.{arm}.conv.conv", f"fpn.{arm}.conv_block.conv", shape
        yield f"cp.{arm}.conv.bn", f"fpn.{arm}.conv_block.norm", (context,)
        yield f"cp.{arm}.conv_atten", f"fpn.{arm}.attention.0", (context, context, 1, 1)
        yield f"cp.{arm}.bn_atten", f"fpn.{arm}.attention.1", (context,)
    for head, shape in (
        ("conv_head32", (context, context, 3, 3)),
        ("conv_head16", (context, context, 3, 3)),
        ("conv_avg", (context, 8 * width, 1, 1)),
    ):
        yield f"cp.{head}.conv", f"fpn.{head}.conv", shape
        yield f"cp.{head}.bn", f"fpn.{head}.norm", (context,)
    fused = 4 * width
    yield "ffm.convblk.conv", "ffm.conv_block.conv", (fused, 2 * context, 1, 1)
    yield "ffm.convblk.bn", "ffm.conv_block.norm", (fused,)
    yield "ffm.conv1", "ffm.conv1", (width, fused, 1, 1)
    yield "ffm.conv2", "ffm.conv2", (fused, width, 1, 1)
    for head, inputs, middle in (
        ("conv_out", fused, fused),
        ("conv_out16", context, width),
        ("conv_out32", context, width),
    ):
        yield f"{head}.conv.conv", f"{head}.conv_block.conv", (middle, inputs, 3, 3)
        yield f"{head}.conv.bn", f"{head}.conv_block.norm", (middle,)
        yield f"{head}.conv_out", f"{head}.conv", (classes, middle, 1, 1)


def random_state(
    width: int = 8, blocks: Sequence[int] = RESNET18, classes: int = 19, seed: int = 0
) -> State:
    """zllrunning's state dict of a network in which every number counts."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    state: State = {}
    for name, _, shape in layers(width, blocks, classes):
        if len(shape) == 4:
            fan_in = shape[1] * shape[2] * shape[3]
            state[f"{name}.weight"] = normal(*shape) * (2 / fan_in) ** 0.5
            continue
        state[f"{name}.weight"] = 1 + 0.2 * normal(*shape)
        state[f"{name}.bias"] = 0.3 * normal(*shape)
        state[f"{name}.running_mean"] = 0.3 * normal(*shape)
        state[f"{name}.running_var"] = 0.5 + torch.rand(*shape, generator=random)
        state[f"{name}.num_batches_tracked"] = torch.tensor(80_000)
    return state


def yakhyo_state(state: State, width: int = 8, blocks: Sequence[int] = RESNET18) -> State:
    """The same numbers as yakhyo saves them, with the classifier that torchvision's ResNet has."""
    renamed: State = {}
    for name, theirs, _ in layers(width, blocks, 19):
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            if f"{name}.{part}" in state:
                renamed[f"{theirs}.{part}"] = state[f"{name}.{part}"].clone()
    fc = {"weight": torch.ones(1000, 8 * width), "bias": torch.ones(1000)}
    return renamed | {f"fpn.backbone.fc.{part}": tensor for part, tensor in fc.items()}


def scores(state: State, image: Tensor) -> Tensor:
    """Normalised image [3, H, W] -> class scores [classes, H, W]."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"].double()
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(name: str, x: Tensor) -> Tensor:
        weight, bias, mean, variance = (
            state[f"{name}.{part}"].double()[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias

    def block(name: str, x: Tensor) -> Tensor:
        return norm(f"{name}.bn", conv(f"{name}.conv", x)).relu()

    def average(x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def residual(name: str, x: Tensor, stride: int) -> Tensor:
        y = norm(f"{name}.bn1", conv(f"{name}.conv1", x, stride)).relu()
        y = norm(f"{name}.bn2", conv(f"{name}.conv2", y))
        if f"{name}.downsample.0.weight" in state:
            x = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride))
        return (x + y).relu()

    def refined(name: str, x: Tensor) -> Tensor:
        x = block(f"{name}.conv", x)
        return x * norm(f"{name}.bn_atten", conv(f"{name}.conv_atten", average(x))).sigmoid()

    x = norm("cp.resnet.bn1", conv("cp.resnet.conv1", image[None].double(), 2)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    features = []
    for stage in range(1, 5):
        i = 0
        while f"cp.resnet.layer{stage}.{i}.conv1.weight" in state:
            x = residual(f"cp.resnet.layer{stage}.{i}", x, 2 if stage > 1 and i == 0 else 1)
            i += 1
        features.append(x)
    _, eighth, sixteenth, last = features
    context = refined("cp.arm32", last) + block("cp.conv_avg", average(last))
    context = block("cp.conv_head32", nearest(context, sixteenth))
    context = refined("cp.arm16", sixteenth) + context
    context = block("cp.conv_head16", nearest(context, eighth))
    fused = block("ffm.convblk", torch.cat([eighth, context], 1))
    fused = fused + fused * conv("ffm.conv2", conv("ffm.conv1", average(fused)).relu()).sigmoid()
    result = conv("conv_out.conv_out", block("conv_out.conv", fused))[0]
    return stretched(stretched(result, image.shape[1], 1), image.shape[2], 2)


def nearest(x: Tensor, like: Tensor) -> Tensor:
    """[1, C, h, w] at the size of another, every pixel from where its corner lies."""
    rows = [i * x.shape[2] // like.shape[2] for i in range(like.shape[2])]
    columns = [i * x.shape[3] // like.shape[3] for i in range(like.shape[3])]
    return x[:, :, rows][:, :, :, columns]


def stretched(x: Tensor, length: int, axis: int) -> Tensor:
    """Interpolated along one axis, so that the first and the last pixels stay where they are."""
    lines = x.unbind(axis)
    result = []
    for i in range(length):
        place = i * (len(lines) - 1) / (length - 1)
        before = min(int(place), len(lines) - 2)
        share = place - before
        result.append(lines[before] * (1 - share) + lines[before + 1] * share)
    return torch.stack(result, axis)
