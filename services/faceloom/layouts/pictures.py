"""Layouts as people store them. What a picture shows says the class, not how it is stored: a palette's order
and its depth mean nothing, CelebAMask-HQ's colours mean its classes, and greys from 0 to 18 mean ids.

What shows something else is refused with the first pixel that does: a guess would be another face.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL.ImageFile import ImageFile

from faceloom.common.v1 import image_pb2
from faceloom.core.arrays import Pixels
from faceloom.core.errors import InvalidArgument
from faceloom.core.image_files import MAX_SIDE, opened, turn_upright
from faceloom.core.image_header import MAX_MEMORY
from faceloom.core.images import decode_raw, format_name, is_file
from faceloom.layouts.classes import CLASS_NAMES, PALETTE
from faceloom.layouts.labels import LabelMap
from faceloom.layouts.smoothing import smoothed_at

Colours = Sequence[tuple[int, int, int]]

_LAST: Final = len(CLASS_NAMES) - 1
# PASCAL VOC's colours, in which many tools write ids: red, green and blue take the bits of an id in turns,
# the lowest ones first, and begin with their own highest bit.
_VOC: Final[Colours] = [
    ((i & 1) << 7 | (i & 8) << 3, (i & 2) << 6 | (i & 16) << 2, (i & 4) << 5)
    for i in range(len(CLASS_NAMES))
]
_UNKNOWN: Final = 255
# Pillow spreads grey of few bits over 0 to 255.
_SPREAD: Final = {"L;2": 85, "L;4": 17}
_WANTED: Final = "CelebAMask-HQ's 19 colours or ids 0 to 18 in grey"


class ToldBy(Enum):
    """What said the classes."""

    IDS = auto()
    COLOURS = auto()
    # A palette whose indices are the ids of its colours.
    BOTH = auto()


class Layout(NamedTuple):
    """Ids, uint8 [H, W], 0 to 18, in CelebAMask-HQ's order; if they came as ids, in that of who sent them."""

    labels: LabelMap
    told_by: ToldBy


def read_layout(image: image_pb2.Image, field: str) -> Layout:
    """The layout that a picture shows, upright, sides up to 4096: of longer ones, some pixels of all.

    Transparent pixels are background. ICC profiles count for nothing: these colours are names. Those of
    PASCAL VOC stand for ids.

    Args:
        image: LABELS8, GRAY8, RGB8, a PNG or a WebP.
        field: What refusals are about.

    Raises:
        InvalidArgument: It is no layout, or one that was smoothed, or compressed with loss.
    """
    if is_file(image):
        layout = _of_file(image.data, field)
    elif image.format in (image_pb2.IMAGE_FORMAT_LABELS8, image_pb2.IMAGE_FORMAT_GRAY8):
        layout = Layout(_ids(decode_raw(image, field)[:, :, 0], field), ToldBy.IDS)
    elif image.format == image_pb2.IMAGE_FORMAT_RGB8:
        layout = _of_colours(decode_raw(image, field), field)
    else:
        raise InvalidArgument(
            f"{format_name(image)} is not a format of layouts", field=f"{field}.format"
        )
    step = -(-max(layout.labels.shape) // MAX_SIDE)
    return layout._replace(labels=layout.labels[step // 2 :: step, step // 2 :: step])


def _of_file(data: bytes, field: str) -> Layout:
    # Looking colours up takes as much again as decoding.
    with opened(data, field, MAX_MEMORY // 2) as picture:
        if picture.format == "JPEG":
            raise InvalidArgument(
                "a JPEG mixes the classes at their edges; save the layout as PNG",
                field=f"{field}.data",
            )
        stored = str(picture.tile[0].args) if picture.tile else ""
        picture.load()
        turn_upright(picture)
        if picture.mode in ("1", "L", "I;16") or _is_black(picture):
            return Layout(_ids(_values(picture, stored, field), field), ToldBy.IDS)
        return _of_picture(picture, stored, field)


def _values(picture: ImageFile, stored: str, field: str) -> npt.NDArray[np.integer]:
    """Grey values, or indices of a palette, as they are in the file; those of transparent pixels are 0."""
    if stored == "1":
        raise InvalidArgument(
            f"black and white of 1 bit is a drawing, not a layout; send {_WANTED}",
            field=f"{field}.data",
        )
    values: npt.NDArray[np.integer] = np.asarray(picture)
    if picture.mode == "I;16" and not (values % 257).any():
        values = values // 257
    values = values // _SPREAD.get(stored, 1)
    clear = picture.info.get("transparency")
    return np.where(values == clear, 0, values) if isinstance(clear, int) else values


def _ids(values: npt.NDArray[np.integer], field: str) -> LabelMap:
    if values.max() > _LAST:
        y, x = _first(values > _LAST)
        raise InvalidArgument(
            f"pixel ({x}, {y}) is {values[y, x]}; ids are 0 to {_LAST}", field=field
        )
    return _of_areas(values.astype(np.uint8), field)


def _of_areas(labels: LabelMap, field: str) -> LabelMap:
    """The same labels, if nothing between them was made by smoothing, before they had colours or after."""
    if place := smoothed_at(labels):
        x, y = place
        raise InvalidArgument(
            f"pixel ({x}, {y}) is {labels[y, x]}, between the ids beside it, and so are many: they were"
            " smoothed; resize layouts with nearest neighbour",
            field=field,
        )
    return labels


def _is_black(picture: ImageFile) -> bool:
    """Whether its palette tells nothing, as of programs that set none: the indices are all there is."""
    return picture.mode == "P" and not any(picture.getpalette() or ())


def _of_picture(picture: ImageFile, stored: str, field: str) -> Layout:
    layers = np.asarray(picture.convert("RGBA"))
    alpha = layers[:, :, 3]
    half = (alpha > 0) & (alpha < 255)
    if half.any():
        y, x = _first(half)
        raise InvalidArgument(
            f"pixel ({x}, {y}) is transparent in part; save the layout without soft edges",
            field=field,
        )
    shown = np.where(alpha[:, :, None] == 0, np.uint8(0), layers[:, :, :3])
    if stored.endswith(";16B") and not shown.any():
        raise InvalidArgument(
            "all of it is black in the first 8 bits of 16; save the layout with 8 bits", field=field
        )
    layout = _of_colours(shown, field, exact=picture.format == "PNG")
    if picture.mode == "P" and layout.told_by is ToldBy.COLOURS:
        indices = np.where(alpha == 0, 0, np.asarray(picture))
        _check_indices(indices, picture.getpalette() or [], field)
        same = (indices == layout.labels) | (alpha == 0)
        return layout._replace(told_by=ToldBy.BOTH if same.all() else ToldBy.COLOURS)
    return layout


def _check_indices(indices: LabelMap, palette: Sequence[int], field: str) -> None:
    """Decoders show black where a palette says nothing: behind its end, or behind the classes that its
    indices are. That is no background."""
    of_classes = list(palette[: 3 * len(PALETTE)]) == [
        part for colour in PALETTE for part in colour
    ]
    known = len(PALETTE) if of_classes else len(palette) // 3
    if indices.max() >= known:
        y, x = _first(indices >= known)
        raise InvalidArgument(
            f"pixel ({x}, {y}) has index {indices[y, x]}, which its palette gives no class",
            field=field,
        )


def _of_colours(shown: Pixels, field: str, *, exact: bool = True) -> Layout:
    """The layout of colours [H, W, 3], of which ids are taken only where they are exact."""
    classes = _looked_up(shown, PALETTE)
    if (classes <= _LAST).all():
        return Layout(_of_areas(classes, field), ToldBy.COLOURS)
    grey = (shown == shown[:, :, :1]).all()
    if not exact and grey:
        raise InvalidArgument(
            "a WebP may have changed ids; save the layout as PNG", field=f"{field}.data"
        )
    if grey:
        return Layout(_ids(shown[:, :, 0], field), ToldBy.IDS)
    ids = _looked_up(shown, _VOC)
    if exact and (ids <= _LAST).all():
        return Layout(_ids(ids, field), ToldBy.IDS)
    y, x = _first(classes > _LAST)
    colour = "#" + bytes(shown[y, x]).hex()
    why = (
        "smoothing or compression changed colours: save the layout as PNG, resized with nearest neighbour"
        if _nearly_known(shown) > 0.5
        else f"it is no layout: send {_WANTED}"
    )
    raise InvalidArgument(
        f"pixel ({x}, {y}) is {colour}, which is no colour of CelebAMask-HQ's; {why}", field=field
    )


def _nearly_known(shown: Pixels) -> float:
    """The share of colours [H, W, 3] that are nearly CelebAMask-HQ's, of some thousand of them."""
    some = shown.reshape(-1, 3)[:: max(1, shown.size // 3000)].astype(int)
    apart = np.abs(some[:, None] - np.array(PALETTE)).max(axis=2).min(axis=1)
    return float((apart <= 24).mean())


def _looked_up(shown: Pixels, colours: Colours) -> LabelMap:
    """[H, W, 3] -> the place of each pixel's colour among those, [H, W], or 255."""
    places = np.full(2**24, _UNKNOWN, np.uint8)
    places[_numbered(np.array(colours, np.uint8))] = np.arange(len(colours))
    return places[_numbered(shown)]


def _numbered(colours: Pixels) -> npt.NDArray[np.uint32]:
    """[..., 3] -> one number for every colour."""
    numbers: npt.NDArray[np.uint32] = colours.astype(np.uint32) @ np.array(
        [1 << 16, 1 << 8, 1], np.uint32
    )
    return numbers


def _first(wrong: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column."""
    y, x = np.unravel_index(wrong.argmax(), wrong.shape)
    return int(y), int(x)
