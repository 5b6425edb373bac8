"""Photographs as cameras make them, and results in the size of their pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import samples
from tests.commands import Done
from tests.commands import faceloom as faceloom_with

from faceloom.cli.inputs import InputFile
from faceloom.cli.photographs import MAX_PICTURE_BYTES, Size, read_layout, read_picture
from faceloom.common.v1 import image_pb2
from faceloom.core.errors import FaceloomError
from faceloom.core.images import decode_rgb
from faceloom.layouts.classes import PALETTE
from faceloom.runtime.service import MAX_MESSAGE_BYTES
from faceloom.store.profile import model_store

Resampling = Image.Resampling


def faceloom(*arguments: object) -> Done:
    return faceloom_with(*arguments, "--engine", "inprocess", store=model_store())


def source(file: Path) -> InputFile:
    return InputFile(str(file), file)


def photograph(width: int, height: int, grain: int = 30) -> Image.Image:
    """A face of that size, with the grain of a sensor."""
    face = Image.fromarray(samples.face(1, 256, 256)).resize((width, height), Resampling.BICUBIC)
    noise = np.random.RandomState(1).randint(-grain, grain + 1, (height, width, 1), np.int16)
    return Image.fromarray((np.asarray(face) + noise).clip(0, 255).astype(np.uint8))


def seen(picture: Image.Image, side: int = 512) -> np.ndarray:
    """As the sketch network's service brings it to its size."""
    size = (side, round(side * picture.height / picture.width))
    return np.asarray(picture.resize(size, Resampling.LANCZOS)).astype(int)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_a_service_takes_is_sent_as_it_is(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "photo"
    photograph(2000, 1500).save(file, kind)

    sent = read_picture(source(file))

    assert sent.image.data == file.read_bytes()
    assert sent.image.format == image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{kind}")


def test_a_file_that_no_message_holds_is_sent_as_fewer_pixels(tmp_path: Path) -> None:
    picture = photograph(3000, 2400)
    picture.save(tmp_path / "photo.png", compress_level=0)
    assert (tmp_path / "photo.png").stat().st_size > MAX_MESSAGE_BYTES

    sent = read_picture(source(tmp_path / "photo.png")).image

    assert 0.9 * MAX_PICTURE_BYTES < len(sent.data) <= MAX_PICTURE_BYTES
    decoded = Image.fromarray(decode_rgb(sent, "image"))
    assert abs(seen(decoded) - seen(picture)).max() <= 3


def test_pixels_that_are_sent_are_upright_and_in_srgb(tmp_path: Path) -> None:
    """As they are when the service reads the file itself."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = photograph(3000, 2400)
    file = tmp_path / "photo.png"
    picture.save(file, compress_level=0, exif=exif)

    sent = read_picture(source(file), Size.ORIGINAL)

    assert sent.size == (2400, 3000)
    decoded = Image.fromarray(decode_rgb(sent.image, "image"))
    upright = picture.transpose(Image.Transpose.ROTATE_270)
    assert abs(seen(decoded) - seen(upright)).max() <= 3


def test_a_hundred_megapixels_are_drawn(tmp_path: Path) -> None:
    file = tmp_path / "scan.png"
    Image.fromarray(samples.page(1)).resize((12000, 9000), Resampling.NEAREST).save(file)

    done = faceloom("sketch", file, "--out", tmp_path / "out")

    assert done.code == 0, done.err
    with Image.open(tmp_path / "out" / "scan.png") as drawing:
        assert drawing.size == (512, 384)


def test_more_pixels_than_memory_are_refused_with_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "bomb.png"
    file.write_bytes(samples.png_header(60_000, 60_000))

    done = faceloom("classify", file)

    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"faceloom: {file}: 60000x60000 pixels; a PNG like this one may have 195 million, for which"
        " decoding takes 2 GiB of memory\n"
    )


def test_a_reference_and_a_picture_share_a_message(tmp_path: Path) -> None:
    files = [tmp_path / "photo.png", tmp_path / "reference.png"]
    for file in files:
        photograph(2100, 1700).save(file, compress_level=0)
        assert 2 * file.stat().st_size > MAX_MESSAGE_BYTES

    told = ["--task", "face", "--style-reference", files[1], "--out", tmp_path / "out"]
    done = faceloom("translate", files[0], *told)

    assert done.code == 0, done.err


def test_a_label_map_is_never_made_smaller(tmp_path: Path) -> None:
    file = tmp_path / "layout.png"
    Image.fromarray(np.zeros((4500, 4500), np.uint8)).save(file, compress_level=0)

    with pytest.raises(FaceloomError, match="make it smaller without interpolation"):
        read_layout(source(file))


@pytest.mark.parametrize(("width", "height"), [(100, 64), (700, 1000)])
def test_results_of_the_pictures_size(tmp_path: Path, width: int, height: int) -> None:
    """Turned by its camera, as photographs are."""
    exif = Image.Exif()
    exif[0x0112] = 8
    file = tmp_path / "photo.jpg"
    photograph(height, width).save(file, exif=exif)
    told = [file, "--size", "original", "--out"]

    drawn = faceloom("sketch", *told, tmp_path / "sketches")
    laid = faceloom("segment", *told, tmp_path / "layouts")
    served = faceloom("segment", file, "--out", tmp_path / "served")

    assert (drawn.code, laid.code, served.code) == (0, 0, 0), drawn.err + laid.err
    with Image.open(tmp_path / "sketches" / "photo.png") as drawing:
        assert (drawing.mode, drawing.size) == ("L", (width, height))
    with (
        Image.open(tmp_path / "layouts" / "photo.png") as layout,
        Image.open(tmp_path / "served" / "photo.png") as small,
    ):
        assert (layout.mode, layout.size) == ("P", (width, height))
        assert layout.getpalette()[: 3 * len(PALETTE)] == [c for rgb in PALETTE for c in rgb]
        # Every pixel has the class of the served pixel below its centre.
        rows = ((np.arange(height) + 0.5) * small.height / height).astype(int)
        columns = ((np.arange(width) + 0.5) * small.width / width).astype(int)
        assert np.array_equal(np.asarray(layout), np.asarray(small)[np.ix_(rows, columns)])


def test_the_size_of_results_is_said_in_help() -> None:
    done = faceloom_with("sketch", "--help", store=model_store())

    assert "the longer side 256 to 512" in " ".join(done.out.replace("│", " ").split())
