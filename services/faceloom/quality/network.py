"""MixNet-S, the quality filter's classifier (Tan & Le, "MixConv: Mixed Depthwise Convolutional
Kernels", BMVC 2019, https://arxiv.org/abs/1907.09595).

Module and parameter names are those of timm's `mixnet_s`, so its checkpoints load with
`load_state_dict(strict=True)`. `tf_padding=True` gives `tf_mixnet_s`: TensorFlow's input-dependent
'same' padding and batch-norm epsilon 1e-3; the parameters are the same. `bn_eps` is another epsilon.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# What batch norms add to variances, in PyTorch and in networks that come from TensorFlow.
BN_EPS = 1e-5
TF_BN_EPS = 1e-3


@dataclass(frozen=True)
class BlockArgs:
    """One row of MixNet-S: an inverted residual block, or a depthwise-separable one if expand = 1.

    `kernels` are the depthwise kernel sizes, `expand_groups` and `project_groups` the number of
    parts the 1x1 convolutions split the channels into, `squeeze` the squeeze-and-excite ratio
    relative to the block's input channels (0: none). Blocks with `swish` use SiLU, others ReLU.
    """

    channels: int
    kernels: tuple[int, ...] = (3,)
    stride: int = 1
    expand: int = 6
    expand_groups: int = 1
    project_groups: int = 1
    squeeze: float = 0.0
    swish: bool = True


STAGES: tuple[tuple[BlockArgs, ...], ...] = (
    (BlockArgs(16, expand=1, swish=False),),
    (
        BlockArgs(24, stride=2, expand_groups=2, project_groups=2, swish=False),
        BlockArgs(24, expand=3, expand_groups=2, project_groups=2, swish=False),
    ),
    (
        BlockArgs(40, (3, 5, 7), stride=2, squeeze=0.5),
        *[BlockArgs(40, (3, 5), expand_groups=2, project_groups=2, squeeze=0.5)] * 3,
    ),
    (
        BlockArgs(80, (3, 5, 7), stride=2, project_groups=2, squeeze=0.25),
        *[BlockArgs(80, (3, 5), project_groups=2, squeeze=0.25)] * 2,
    ),
    (
        BlockArgs(120, (3, 5, 7), expand_groups=2, project_groups=2, squeeze=0.5),
        *[BlockArgs(120, (3, 5, 7, 9), expand=3, expand_groups=2, project_groups=2, squeeze=0.5)]
        * 2,
    ),
    (
        BlockArgs(200, (3, 5, 7, 9, 11), stride=2, squeeze=0.5),
        *[BlockArgs(200, (3, 5, 7, 9), project_groups=2, squeeze=0.5)] * 2,
    ),
)
STEM_CHANNELS = 16
HEAD_CHANNELS = 1536


def split_channels(channels: int, parts: int) -> list[int]:
    """Equal parts, the remainder going to the first one: (40, 3) -> [14, 13, 13]."""
    sizes = [channels // parts] * parts
    sizes[0] += channels - sum(sizes)
    return sizes


class SamePadConv2d(nn.Conv2d):
    """Convolution with TensorFlow's 'same' padding, which depends on the input's size."""

    def forward(self, input: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(
            input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(
            F.pad(input, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


def conv2d(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, tf_padding: bool
) -> nn.Conv2d:
    """A bias-free convolution whose output side is ceil(input side / stride)."""
    if tf_padding:
        return SamePadConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(
        inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, groups=groups, bias=False
    )


class MixedConv2d(nn.ModuleDict):
    """Channels split into parts, each with its own kernel size: parameters `0.weight`, `1.weight`…

    A ModuleDict, not a ModuleList, because that is what timm's checkpoints were saved from.
    """

    def __init__(
        self, inputs: int, outputs: int, kernels: Sequence[int], stride: int, *,
        depthwise: bool, tf_padding: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.sizes = split_channels(inputs, len(kernels))
        for index, (kernel, part_in, part_out) in enumerate(
            zip(kernels, self.sizes, split_channels(outputs, len(kernels)), strict=True)
        ):
            groups = part_in if depthwise else 1
            self[str(index)] = conv2d(
                part_in, part_out, kernel, stride, groups, tf_padding=tf_padding
            )

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, self.sizes, dim=1)
        return torch.cat([conv(part) for conv, part in zip(self.values(), parts, strict=True)], 1)


def mixed_conv2d(
    inputs: int, outputs: int, kernels: Sequence[int], stride: int = 1, *,
    depthwise: bool, tf_padding: bool,
) -> nn.Module:  # fmt: skip
    """A plain convolution for one kernel size, a MixedConv2d for several."""
    if len(kernels) > 1:
        return MixedConv2d(
            inputs, outputs, kernels, stride, depthwise=depthwise, tf_padding=tf_padding
        )
    groups = inputs if depthwise else 1
    return conv2d(inputs, outputs, kernels[0], stride, groups, tf_padding=tf_padding)


class SqueezeExcite(nn.Module):
    """Channel gates from the image-wide mean (Hu et al. 2018)."""

    def __init__(self, channels: int, squeezed: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.act1 = activation
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.conv_reduce(x.mean((2, 3), keepdim=True))
        # One sample at a time: on CPU the end of a tensor goes through another exp than the rest, and a
        # sample's place in the batch would show in its last bits.
        squeezed = torch.cat([self.act1(sample) for sample in squeezed.split(1)])
        gate: Tensor = self.conv_expand(squeezed).sigmoid()
        return x * gate


class DepthwiseSeparable(nn.Module):
    """Depthwise k x k, then 1x1; the first block of the network."""

    def __init__(self, inputs: int, block: BlockArgs, eps: float, *, tf_padding: bool) -> None:
        super().__init__()
        self.conv_dw = mixed_conv2d(
            inputs, inputs, block.kernels, block.stride, depthwise=True, tf_padding=tf_padding
        )
        self.bn1 = nn.BatchNorm2d(inputs, eps)
        self.act1 = nn.SiLU() if block.swish else nn.ReLU()
        self.conv_pw = conv2d(inputs, block.channels, 1, tf_padding=tf_padding)
        self.bn2 = nn.BatchNorm2d(block.channels, eps)
        self.skip = block.stride == 1 and inputs == block.channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv_pw(self.act1(self.bn1(self.conv_dw(x)))))
        return x + y if self.skip else y


class InvertedResidual(nn.Module):
    """1x1 expansion, mixed depthwise convolution, squeeze-and-excite, linear 1x1 projection."""

    def __init__(self, inputs: int, block: BlockArgs, eps: float, *, tf_padding: bool) -> None:
        super().__init__()
        middle = inputs * block.expand
        self.act = nn.SiLU() if block.swish else nn.ReLU()
        self.conv_pw = mixed_conv2d(
            inputs, middle, (1,) * block.expand_groups, depthwise=False, tf_padding=tf_padding
        )
        self.bn1 = nn.BatchNorm2d(middle, eps)
        self.conv_dw = mixed_conv2d(
            middle, middle, block.kernels, block.stride, depthwise=True, tf_padding=tf_padding
        )
        self.bn2 = nn.BatchNorm2d(middle, eps)
        self.se: nn.Module = (
            SqueezeExcite(middle, round(inputs * block.squeeze), self.act)
            if block.squeeze
            else nn.Identity()
        )
        self.conv_pwl = mixed_conv2d(
            middle, block.channels, (1,) * block.project_groups,
            depthwise=False, tf_padding=tf_padding,
        )  # fmt: skip
        self.bn3 = nn.BatchNorm2d(block.channels, eps)
        self.skip = block.stride == 1 and inputs == block.channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn1(self.conv_pw(x)))
        y = self.se(self.act(self.bn2(self.conv_dw(y))))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.skip else y


class MixNetS(nn.Module):
    """[N,3,H,W] normalised by IMAGENET_MEAN and IMAGENET_STD -> logits [N,num_classes].

    Any H and W from 32 up; the published weights expect 224. Overall stride 32.
    """

    def __init__(
        self,
        num_classes: int = 2,
        tf_padding: bool = False,
        dropout: float = 0.0,
        bn_eps: float | None = None,
    ) -> None:
        super().__init__()
        eps = bn_eps or (TF_BN_EPS if tf_padding else BN_EPS)
        self.conv_stem = conv2d(3, STEM_CHANNELS, 3, 2, tf_padding=tf_padding)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS, eps)
        stages: list[nn.Module] = []
        channels = STEM_CHANNELS
        for stage in STAGES:
            blocks: list[nn.Module] = []
            for block in stage:
                kind = DepthwiseSeparable if block.expand == 1 else InvertedResidual
                blocks.append(kind(channels, block, eps, tf_padding=tf_padding))
                channels = block.channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = conv2d(channels, HEAD_CHANNELS, 1, tf_padding=tf_padding)
        self.bn2 = nn.BatchNorm2d(HEAD_CHANNELS, eps)
        self.dropout = dropout
        self.classifier = nn.Linear(HEAD_CHANNELS, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """[N,3,H,W] -> pooled features [N,1536], what the classifier sees."""
        x = self.blocks(F.relu(self.bn1(self.conv_stem(x))))
        return F.relu(self.bn2(self.conv_head(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        features = F.dropout(self.features(x), self.dropout, self.training)
        logits: Tensor = self.classifier(features)
        return logits
