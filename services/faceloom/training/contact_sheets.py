"""Contact sheets of generated faces."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import Tensor


def to_uint8(images: Tensor) -> Tensor:
    """[N, 3, S, S] in [-1, 1] -> uint8 [N, S, S, 3]."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)


def save_sheet(images: Tensor, path: Path, columns: int = 10, zoom: int = 2) -> None:
    """Write [N, 3, S, S] as a grid, enlarged ``zoom`` times; N must fill whole rows."""
    pixels = to_uint8(images)
    count, side = pixels.shape[:2]
    rows = count // columns
    grid = pixels.reshape(rows, columns, side, side, 3).permute(0, 2, 1, 3, 4)
    sheet = Image.fromarray(grid.reshape(rows * side, columns * side, 3).numpy())
    size = (columns * side * zoom, rows * side * zoom)
    sheet.resize(size, Image.Resampling.BICUBIC).save(path)
