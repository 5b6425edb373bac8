"""sketchKeras' detail is the picture less OpenCV's blur of it, to the last bit."""

import numpy as np
import torch

from faceloom.sketch.sketch_keras import SIDE, _blurred, detail

# cv2.GaussianBlur(picture, (0, 0), 3) of OpenCV 5.0.0, the picture as in the test.
OPENCV = [
    [90, 93, 98, 105, 111, 116, 120, 122, 126, 130, 133, 137, 139, 140],
    [92, 95, 100, 106, 112, 117, 121, 123, 127, 130, 134, 137, 139, 140],
    [97, 100, 104, 109, 115, 119, 123, 125, 128, 131, 134, 137, 139, 140],
    [104, 106, 110, 114, 118, 122, 125, 127, 129, 131, 134, 136, 137, 138],
    [112, 113, 116, 119, 122, 124, 127, 129, 131, 132, 134, 136, 137, 138],
    [118, 119, 121, 122, 125, 126, 128, 130, 132, 133, 134, 136, 136, 137],
    [123, 124, 124, 125, 126, 127, 129, 130, 132, 133, 134, 134, 134, 135],
    [126, 126, 126, 126, 127, 128, 129, 131, 132, 133, 134, 134, 135, 135],
    [128, 128, 127, 127, 128, 128, 130, 131, 132, 134, 135, 135, 135, 136],
    [128, 128, 127, 127, 127, 128, 129, 131, 132, 134, 135, 135, 136, 136],
    [129, 128, 127, 127, 127, 127, 129, 131, 132, 134, 135, 136, 137, 137],
    [128, 128, 127, 127, 128, 128, 130, 131, 133, 135, 136, 137, 137, 138],
]


def test_the_blur_is_opencvs() -> None:
    picture = np.add.outer(np.arange(12) ** 2 * 7, np.arange(14) ** 3 * 3) % 256

    blurred = _blurred(torch.tensor(picture)[None, None].float())

    assert blurred[0, 0].int().tolist() == OPENCV


def test_flat_pictures_of_every_level_stay_flat() -> None:
    levels = torch.arange(256.0).view(-1, 1, 1, 1).expand(-1, 1, 12, 12)

    assert torch.equal(_blurred(levels), levels)


def test_detail_is_what_the_blur_lacks() -> None:
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[100, 200] = (255, 100, 0)

    found = detail(picture)[:, 0]

    # 34 * 34 of 65536 of a dot are left at its place.
    left = [value - round(value * 34 * 34 / 65536) for value in (255, 100, 0)]
    assert torch.allclose(found[:, 100, 200] * left[0], torch.tensor(left).float())
