"""XDoG draws dark lines on white, whatever the light."""

import numpy as np
import pytest

from faceloom.sketch.classical import gaussian_blur, xdog


def test_blur_keeps_flat_images_and_total_light() -> None:
    flat = np.full((20, 30), 0.3, np.float32)
    np.testing.assert_allclose(gaussian_blur(flat, 2.0), flat, rtol=1e-5)
    dot = np.zeros((41, 41), np.float32)
    dot[20, 20] = 1
    blurred = gaussian_blur(dot, 2.0)
    assert blurred.sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(blurred, blurred.T, atol=1e-7)


@pytest.mark.parametrize("light", [60, 200])
def test_a_dark_line_is_drawn_and_flat_areas_stay_white(light: int) -> None:
    picture = np.full((128, 96, 3), light, np.uint8)
    picture[60:63] = light // 4
    drawing = xdog(picture)
    assert drawing.shape == (128, 96) and drawing.dtype == np.uint8
    assert drawing[61].max() < 60
    assert drawing[:40].min() == 255 and drawing[90:].min() == 255


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (256, 256)])
@pytest.mark.parametrize("value", [0, 255])
def test_any_size_and_extreme_values(shape: tuple[int, int], value: int) -> None:
    drawing = xdog(np.full((*shape, 3), value, np.uint8))
    assert drawing.shape == shape
