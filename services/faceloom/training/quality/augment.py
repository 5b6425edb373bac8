"""Training views of faces for the quality filter: augmentation, and artificial flaws for pre-training."""

import torch
from torch import Tensor
from torch.nn import functional as F

# What the filter looks at, in pixels a side.
SIDE = 96
# Strength of changes that leave a face worth what it was.
GENTLE = 0.35


def uniform(count: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    return torch.rand(count, 1, 1, 1, generator=rng) * (high - low) + low


def resize(faces: Tensor, side: int) -> Tensor:
    """uint8 [N,3,H,W] -> [N,3,side,side] in [0,1]; Pillow's bicubic, which the service uses."""
    return F.interpolate(
        faces.float() / 255, side, mode="bicubic", antialias=True, align_corners=False
    ).clamp(0, 1)


def augment(faces: Tensor, side: int, rng: torch.Generator, strength: float = 1.0) -> Tensor:
    """uint8 [N,3,H,W] -> [N,3,side,side] in [0,1]: mirrored, moved a little, other light and colour.

    Focus changes only a little, because a blurred face is one that the filter should reject. Light and
    colour are among what people judge, so a view that keeps its face's label needs a low `strength`.
    """
    count = len(faces)
    images = resize(faces, side)
    angle = strength * 0.09 * torch.randn(count, generator=rng)
    zoom = torch.exp(strength * 0.05 * torch.randn(count, generator=rng))
    sign = torch.where(torch.rand(count, generator=rng) < 0.5, -1.0, 1.0)
    shift = strength * 0.05 * torch.randn(2, count, generator=rng)
    rows = (
        torch.stack([sign * zoom * angle.cos(), -zoom * angle.sin(), shift[0]], -1),
        torch.stack([sign * zoom * angle.sin(), zoom * angle.cos(), shift[1]], -1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), [count, 3, side, side], align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    images = images.clamp(1e-3, 1) ** torch.exp(
        strength * 0.2 * torch.randn(count, 1, 1, 1, generator=rng)
    )
    images = images * (1 + strength * 0.06 * torch.randn(count, 3, 1, 1, generator=rng))
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (1 + strength * uniform(count, -0.3, 0.3, rng))
    soft = F.interpolate(F.avg_pool2d(images, 2), side, mode="bilinear", align_corners=False)
    images = images + strength * uniform(count, -0.35, 0.35, rng) * (images - soft)
    return (images + strength * 0.01 * torch.randn(images.shape, generator=rng)).clamp(0, 1)


def spoil(images: Tensor, rng: torch.Generator) -> Tensor:
    """Put one flaw into each of [N,3,S,S]: a melted patch, another face's patch, or smeared checks.

    They imitate what goes wrong in generated faces, so telling them from intact ones teaches the
    network where to look before it has seen a single label.
    """
    count, _, side, _ = images.shape
    axis = torch.linspace(-1, 1, side)
    x, y = axis.view(1, 1, 1, -1), axis.view(1, 1, -1, 1)
    centre_x, centre_y = uniform(count, -0.45, 0.45, rng), uniform(count, -0.4, 0.6, rng)
    radius = uniform(count, 0.2, 0.45, rng)
    distance = ((x - centre_x) ** 2 + (y - centre_y) ** 2).sqrt() / radius
    patch = ((1.15 - distance) * 5).clamp(0, 1)

    field = torch.randn(count, 2, 6, 6, generator=rng)
    field = F.interpolate(field, side, mode="bicubic", align_corners=False) * 0.11 * patch
    straight = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    melted = F.grid_sample(
        images, straight + field.permute(0, 2, 3, 1), padding_mode="border", align_corners=True
    )
    other = images.roll(1, 0)
    foreign = images + patch * (other - images)
    wave = torch.sin(axis * side * 0.785)
    checks = torch.sign(wave.view(1, -1) * wave.view(-1, 1))
    soft = F.interpolate(F.avg_pool2d(images, 6), side, mode="bilinear", align_corners=False)
    smeared = images + patch * (soft + 0.04 * checks - images)
    kind = torch.randint(4, (count, 1, 1, 1), generator=rng)
    spoiled = torch.where(kind == 0, foreign, torch.where(kind == 1, smeared, melted))
    return spoiled.clamp(0, 1)
