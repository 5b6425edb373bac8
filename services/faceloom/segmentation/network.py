"""BiSeNet for face parsing: zllrunning's variant, whose context path, a ResNet, also serves as the
spatial path (Yu et al., "BiSeNet", ECCV 2018, https://arxiv.org/abs/1808.00897).

Parameter names are those of zllrunning/face-parsing.PyTorch, so `79999_iter.pth` loads strictly
at width 1. Nothing is downloaded: the published constructor fetches ImageNet weights each time,
which its own checkpoint then overwrites.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Blocks in the four stages; (3, 4, 6, 3) are a ResNet-34's.
RESNET18 = (2, 2, 2, 2)


class ConvBNReLU(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """ResNet's two 3x3 convolutions with a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(torch.add(shortcut, residual))


class ResNet(nn.Module):
    """[N,3,H,W] -> features at 1/8 (128·w channels), 1/16 (256·w) and 1/32 (512·w)."""

    def __init__(self, width: float, blocks: Sequence[int]) -> None:
        super().__init__()
        c1, c2, c3, c4 = (round(c * width) for c in (64, 128, 256, 512))
        n1, n2, n3, n4 = blocks
        self.conv1 = nn.Conv2d(3, c1, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(c1)
        self.layer1 = _stage(c1, c1, 1, n1)
        self.layer2 = _stage(c1, c2, 2, n2)
        self.layer3 = _stage(c2, c3, 2, n3)
        self.layer4 = _stage(c3, c4, 2, n4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        feat8 = self.layer2(self.layer1(x))
        feat16 = self.layer3(feat8)
        return feat8, feat16, self.layer4(feat16)


def _stage(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    later = [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *later)


class AttentionRefinementModule(nn.Module):
    """A 3x3 convolution whose channels are gated by the image-wide mean."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        feat: Tensor = self.conv(x)
        # A mean, not avg_pool2d with a kernel read from the input: that one does not export.
        gate: Tensor = self.bn_atten(self.conv_atten(feat.mean((2, 3), keepdim=True))).sigmoid()
        return feat * gate


class ContextPath(nn.Module):
    """[N,3,H,W] -> (ResNet features at 1/8, context at 1/8, context at 1/16)."""

    def __init__(self, width: float, blocks: Sequence[int]) -> None:
        super().__init__()
        context, c3, c4 = (round(c * width) for c in (128, 256, 512))
        self.resnet = ResNet(width, blocks)
        self.arm16 = AttentionRefinementModule(c3, context)
        self.arm32 = AttentionRefinementModule(c4, context)
        self.conv_head32 = ConvBNReLU(context, context)
        self.conv_head16 = ConvBNReLU(context, context)
        self.conv_avg = ConvBNReLU(c4, context, kernel=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        feat8, feat16, feat32 = self.resnet(x)
        mean = self.conv_avg(feat32.mean((2, 3), keepdim=True))
        up16 = F.interpolate(self.arm32(feat32) + mean, feat16.shape[2:], mode="nearest")
        context16 = self.conv_head32(up16)
        up8 = F.interpolate(self.arm16(feat16) + context16, feat8.shape[2:], mode="nearest")
        return feat8, self.conv_head16(up8), context16


class FeatureFusionModule(nn.Module):
    """Concatenate detail and context, mix them by 1x1, re-weight the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convblk = ConvBNReLU(inputs, outputs, kernel=1)
        self.conv1 = nn.Conv2d(outputs, outputs // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs // 4, outputs, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        feat: Tensor = self.convblk(torch.cat([detail, context], dim=1))
        mean = feat.mean((2, 3), keepdim=True)
        gate: Tensor = self.conv2(F.relu(self.conv1(mean))).sigmoid()
        return feat + feat * gate


class BiSeNetOutput(nn.Module):
    """A head: 3x3 convolution, then class scores by 1x1."""

    def __init__(self, inputs: int, middle: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(inputs, middle)
        self.conv_out = nn.Conv2d(middle, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.conv_out(self.conv(x))
        return scores


class BiSeNet(nn.Module):
    """[N,3,H,W] normalised by IMAGENET_MEAN and IMAGENET_STD -> class scores [N,classes,H,W].

    The published weights expect 512x512; any size from 32 up works. `width` scales every channel
    count (1 is the published network); it should keep 64 x width a multiple of 4. `blocks` are those
    of the ResNet's four stages. `forward` is for inference and skips the two auxiliary heads;
    `forward_heads` is for training.
    """

    def __init__(
        self, classes: int = 19, width: float = 1.0, blocks: Sequence[int] = RESNET18
    ) -> None:
        super().__init__()
        fused, context, middle = (round(c * width) for c in (256, 128, 64))
        self.cp = ContextPath(width, blocks)
        self.ffm = FeatureFusionModule(context * 2, fused)
        self.conv_out = BiSeNetOutput(fused, fused, classes)
        self.conv_out16 = BiSeNetOutput(context, middle, classes)
        self.conv_out32 = BiSeNetOutput(context, middle, classes)

    def forward(self, x: Tensor) -> Tensor:
        detail8, context8, _ = self.cp(x)
        scores = self.conv_out(self.ffm(detail8, context8))
        return F.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=True)

    def forward_heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of all heads at their own sizes: main at 1/8, context at 1/8 and at 1/16."""
        detail8, context8, context16 = self.cp(x)
        main = self.conv_out(self.ffm(detail8, context8))
        return main, self.conv_out16(context8), self.conv_out32(context16)
