"""Training scenes: a labelled face placed in a frame, near or far, on its own or a made-up ground.

The teacher's faces fill their 64x64 frames and are dark and smooth. Photographs are not: the face
may be a quarter of the frame, with a body below it and a bright cluttered ground behind it, and
sharp. Scenes close that gap for segmentation and sketch training alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.layouts.classes import CLASS_NAMES
from faceloom.layouts.labels import MIRRORED

CLOTH = CLASS_NAMES.index("cloth")
CLOSE_UP_SCALES = (0.85, 1.45)  # side of the face's tile in units of the frame's side
DISTANT_SCALES = (0.3, 0.85)


@dataclass(frozen=True)
class Scenes:
    """images [N,3,S,S] in [0,1], labels [N,S,S] int64, lines [N,1,S,S] darkness in [0,1]."""

    images: Tensor
    labels: Tensor
    lines: Tensor


def uniform(count: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    return torch.rand(count, 1, 1, 1, generator=rng) * (high - low) + low


def noise_texture(count: int, channels: int, side: int, rng: torch.Generator) -> Tensor:
    """Smooth random fields [N,C,side,side], about zero mean: octaves of interpolated noise."""
    total = torch.zeros(count, channels, 48, 48)
    for cells, weight in ((3, 1.0), (9, 0.6), (48, 0.25)):
        octave = torch.randn(count, channels, cells, cells, generator=rng)
        weights = weight * torch.rand(count, 1, 1, 1, generator=rng)
        total += weights * F.interpolate(octave, 48, mode="bicubic", align_corners=False)
    return F.interpolate(total, side, mode="bilinear", align_corners=False)


def stripes(count: int, side: int, rng: torch.Generator) -> Tensor:
    """Bands of random direction, width and sharpness [N,1,side,side] in [-1,1]."""
    axis = torch.linspace(-1, 1, side)
    angle = uniform(count, 0, 3.1416, rng)
    position = axis.view(1, 1, 1, -1) * angle.cos() + axis.view(1, 1, -1, 1) * angle.sin()
    wave = torch.sin(position * uniform(count, 3, 30, rng) + uniform(count, 0, 6, rng))
    return (wave * uniform(count, 1, 12, rng)).clamp(-1, 1)


def random_grounds(count: int, side: int, rng: torch.Generator) -> Tensor:
    """Made-up backgrounds or cloth [N,3,side,side] in [0,1]; in half of them stand up to five
    things: turned rounded boxes and discs, so that an object is not taken for a person."""
    grounds = textures(count, side, rng)
    axis = torch.linspace(-1, 1, side)
    busy = torch.rand(count, 1, 1, 1, generator=rng) < 0.5
    for _ in range(5):
        x = axis.view(1, 1, 1, -1) - uniform(count, -1, 1, rng)
        y = axis.view(1, 1, -1, 1) - uniform(count, -1, 1, rng)
        angle = uniform(count, 0, 3.1416, rng)
        u = (x * angle.cos() + y * angle.sin()) / uniform(count, 0.08, 0.7, rng)
        v = (y * angle.cos() - x * angle.sin()) / uniform(count, 0.08, 0.7, rng)
        power = uniform(count, 1.5, 8, rng)
        thing = (u.abs() ** power + v.abs() ** power < 1) & busy
        grounds = torch.where(thing, textures(count, side, rng), grounds)
    return grounds


def textures(count: int, side: int, rng: torch.Generator) -> Tensor:
    """Plain, shaded, mottled or striped colours [N,3,side,side] in [0,1]."""
    base = torch.rand(count, 3, 1, 1, generator=rng)
    grey = base.mean(1, keepdim=True)
    base = grey + (base - grey) * uniform(count, 0, 0.9, rng)
    shade = noise_texture(count, 1, side, rng) * uniform(count, 0, 0.25, rng)
    colour = noise_texture(count, 3, side, rng) * uniform(count, 0, 0.12, rng)
    strength = uniform(count, -0.6, 0.35, rng).clamp(min=0)
    bands = stripes(count, side, rng) * strength * torch.randn(count, 3, 1, 1, generator=rng)
    return (base + shade + colour + bands).clamp(0, 1)


class Grounds:
    """A stock of backgrounds and cloths, because making one anew for each scene takes longer than
    the network does. Mirrored, turned and with their colours swapped, few look alike."""

    def __init__(self, side: int, rng: torch.Generator, stock: int = 400) -> None:
        self.side = side
        parts = [random_grounds(min(50, stock - i), side, rng) for i in range(0, stock, 50)]
        self.stock = (torch.cat(parts) * 255).byte()

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """[count,3,side,side] in [0,1]."""
        chosen = self.stock[torch.randint(len(self.stock), (count,), generator=rng)]
        turn = int(torch.randint(4, (), generator=rng))
        colours = torch.randperm(3, generator=rng)
        return torch.rot90(chosen, turn, (2, 3))[:, colours].float() / 255


def expose(faces: Tensor, rng: torch.Generator) -> Tensor:
    """Bring faces [N,3,H,W] in [0,1], most of them dark, to a random photographic exposure."""
    mean = faces.mean((1, 2, 3), keepdim=True).clamp(0.02, 0.9)
    target = uniform(len(faces), 0.13, 0.6, rng)
    # A power keeps black black and white white; its limits keep noise from being blown up.
    return faces.clamp(1e-3, 1) ** (target.log() / mean.log()).clamp(0.45, 1.5)


def photograph(images: Tensor, rng: torch.Generator) -> Tensor:
    """Random contrast, colour, focus and sensor noise."""
    count = len(images)
    images = images * (1 + 0.12 * torch.randn(count, 3, 1, 1, generator=rng))
    images = images * uniform(count, 0.75, 1.3, rng) + uniform(count, -0.06, 0.06, rng)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * uniform(count, 0.2, 1.7, rng)
    blurred = F.interpolate(F.avg_pool2d(images, 2), images.shape[2:], mode="bilinear")
    # Negative amounts blur, positive ones sharpen; a third of the pictures keep their focus.
    focus = uniform(count, -0.9, 1.6, rng)
    focus = torch.where(focus.abs() < 0.4, 0, focus)
    images = images + focus * (images - blurred)
    grain = uniform(count, -0.03, 0.06, rng).clamp(min=0)
    return (images + grain * torch.randn(images.shape, generator=rng)).clamp(0, 1)


def tile_grids(
    count: int, side: int, distant: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Sampling grids [N,S,S,2] from frame to tile (-1..1), their scales [N,1,1,1] and mirror
    flags [N]. About half of the distant tiles stand a little below the middle, as portraits do."""
    close = uniform(count, *CLOSE_UP_SCALES, rng)
    scale = torch.where(distant, uniform(count, *DISTANT_SCALES, rng), close)
    angle = uniform(count, -0.22, 0.22, rng)
    # Close-ups shift by a fixed share of the frame, distant faces anywhere they still fit.
    room = torch.where(distant, (1 - scale).clamp(min=0.1), 0.15)
    shift_x = room * uniform(count, -1, 1, rng)
    shift_y = room * uniform(count, -1, 0.6, rng)
    mirrored = torch.rand(count, generator=rng) < 0.5
    sign = torch.where(mirrored, -1.0, 1.0).view(-1, 1, 1, 1)
    axis = torch.linspace(-1, 1, side)
    x = axis.view(1, 1, -1, 1) - shift_x
    y = axis.view(1, -1, 1, 1) - shift_y
    stretch = uniform(count, 0.9, 1.1, rng)
    u = (x * angle.cos() + y * angle.sin()) / scale * sign * stretch
    v = (y * angle.cos() - x * angle.sin()) / scale
    return torch.cat([u, v], -1), scale, mirrored


def body_mask(grid: Tensor, rng: torch.Generator) -> Tensor:
    """Shoulders and chest below the tile [N,1,S,S]: the head's frame cuts them off."""
    count = len(grid)
    u, v = grid[..., 0].unsqueeze(1), grid[..., 1].unsqueeze(1)
    top = uniform(count, 0.75, 1.0, rng)
    width = uniform(count, 1.5, 2.6, rng)
    slope = uniform(count, 0.15, 0.5, rng)
    shoulder = top + slope * ((u.abs() - 0.4).clamp(min=0) / width) ** 1.5 * 2
    return ((v > shoulder) & (u.abs() < width)).float()


def outline(mask: Tensor) -> Tensor:
    """A line of about two pixels along the border of a 0/1 mask [N,1,S,S]."""
    grown = F.max_pool2d(mask, 3, 1, 1)
    shrunk = -F.max_pool2d(-mask, 3, 1, 1)
    return grown - shrunk


def compose(
    faces: Tensor, labels: Tensor, lines: Tensor | None, grounds: Grounds, distant_share: float,
    rng: torch.Generator,
) -> Scenes:  # fmt: skip
    """faces uint8 [N,3,64,64], labels uint8 [N,L,L], lines uint8 [N,L,L] (255 paper, 0 line) or
    None -> scenes of the grounds' size, `distant_share` of them with a small face on one of them."""
    count, side = len(faces), grounds.side
    distant = torch.rand(count, 1, 1, 1, generator=rng) < distant_share
    new_ground = distant | (torch.rand(count, 1, 1, 1, generator=rng) < 0.3)
    grid, scale, mirrored = tile_grids(count, side, distant, rng)

    # Upscaling first and sampling linearly is several times faster than sampling bicubically.
    exposed = expose(faces.float() / 255, rng)
    smooth = F.interpolate(exposed, side, mode="bicubic", align_corners=False)
    image = F.grid_sample(smooth, grid, mode="bilinear", padding_mode="border", align_corners=False)
    ids = F.grid_sample(
        labels.unsqueeze(1).float(), grid, mode="nearest", padding_mode="border",
        align_corners=False,
    )  # fmt: skip
    u, v = grid[..., 0].unsqueeze(1), grid[..., 1].unsqueeze(1)
    # The tile's edge cuts heads off flat: where it shows, round them off instead.
    beyond = u.abs() ** 3 + (-v).clamp(min=0) ** 3 >= 1
    below = (v - 1).clamp(min=0)
    person = (ids > 0) & ~(beyond & new_ground) & (below < 0.5)
    body = body_mask(grid, rng).bool() & distant & ((ids == 0) | (ids == CLOTH) | (below > 0.1))
    body |= distant & person & (ids == CLOTH)

    soft = F.avg_pool2d(person.float(), 3, 1, 1)
    ground, cloth = grounds.draw(count, rng), grounds.draw(count, rng)
    picture = torch.where(new_ground, ground + soft * (image - ground), image)
    picture = torch.where(body, cloth, picture)
    ids = torch.where(person, ids, 0)
    ids = torch.where(body, CLOTH, ids).long().squeeze(1)
    swap = torch.from_numpy(MIRRORED).long()
    ids = torch.where(mirrored.view(-1, 1, 1), swap[ids], ids)

    dark = torch.zeros(count, 1, side, side)
    if lines is not None:
        dark = F.grid_sample(
            1 - lines.unsqueeze(1).float() / 255, grid, mode="bilinear", align_corners=False
        )
        # Shrinking a thin line turns it grey; a draughtsman's pen stays black.
        dark = (dark * (1 / scale).clamp(min=1) ** 0.7).clamp(0, 1)
        contour = outline((body | person).float()) * distant
        near_tile = F.max_pool2d(dark, 5, 1, 2) > 0.3
        dark = torch.where(body, 0, dark)
        dark = torch.maximum(dark, torch.where(near_tile & ~body, 0, contour * 0.9))
    return Scenes(photograph(picture, rng), ids, dark)
