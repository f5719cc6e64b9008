"""Matrix images: what a pixel shows, against NumPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import Window, error_image, weights_image

rng = np.random.default_rng(7)
SHAPES = [(1, 1), (1, 600), (600, 1), (256, 256), (257, 255), (1024, 1024), (576, 1536), (300, 70)]


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_tile_the_matrix(shape):
    window = Window(0, 0, *shape)
    height, width = window.pixels
    assert 1 <= height <= 256
    assert 1 <= width <= 256
    covered = np.zeros(shape, int)
    for y in range(height):
        for x in range(width):
            cell = window.cell(y, x)
            covered[cell.top : cell.top + cell.rows, cell.left : cell.left + cell.columns] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_pixel_shows_its_largest_weight(shape):
    x = rng.standard_normal(shape).astype(np.float32)
    image = weights_image(x, limit=2.0)
    for y, c in rng.integers(0, image.pixels.shape, (60, 2)):
        part = image.window.cell(y, c).of(x)
        extreme = part.reshape(-1)[np.abs(part).argmax()]
        expected = 127 + round(127 * float(np.clip(extreme / 2, -1, 1)))
        assert abs(int(image.pixels[y, c]) - expected) <= (abs(127 * extreme / 2 % 1 - 0.5) < 1e-4)


def test_colours_of_weights_by_hand():
    image = weights_image(np.float32([[-4, -2, -0.02, 0, 0.02, 1, 4, np.nan, np.inf]]), limit=2)
    #                                 both ends saturate          NaN and infinity have their own colour
    assert image.pixels.tolist() == [[0, 0, 126, 127, 128, 191, 254, 255, 255]]
    assert image.colours == "diverging"


def test_outlier_and_nan_survive_any_shrinking():
    x = rng.standard_normal((1000, 1000)).astype(np.float32) * 0.01
    x[123, 456], x[700, 3], x[40, 41] = 50, -60, np.nan
    pixels = weights_image(x, limit=1).pixels
    assert pixels[123 // 4, 456 // 4] == 254
    assert pixels[700 // 4, 3 // 4] == 0
    assert pixels[40 // 4, 41 // 4] == 255
    assert np.sort(np.unique(pixels, return_counts=True)[1])[:2].tolist() == [1, 1]


def test_errors_by_hand():
    before = np.zeros((1, 7), np.float32)
    after = np.float32([[0, 8, -4, 2, 8 / 1024, 1e-9, np.nan]])
    # limit 8: codes 254 at 8; each halving takes 253 / 10; at 8 / 1024 and below 1; 0 only without any error
    expected = [0, 254, round(254 - 25.3), round(254 - 50.6), 1, 1, 255]
    assert error_image(before, after, limit=8).pixels.tolist() == [expected]


def test_error_of_a_pixel_is_its_largest():
    before = rng.standard_normal((512, 512)).astype(np.float32)
    after = before.copy()
    after[10:12, 20:22] += np.float32([[0.25, -1.0], [0.5, 0.125]])
    pixels = error_image(before, after, limit=1.0).pixels
    assert pixels[5, 10] == 254
    assert np.count_nonzero(pixels) == 1


def test_one_bit_more_is_the_same_step_anywhere():
    errors = np.float32([[0.1, 0.05, 0.025, 0.0125]])
    codes = error_image(np.zeros_like(errors), errors, limit=0.3).pixels[0].astype(int)
    assert np.abs(np.diff(codes) + 25.3).max() <= 0.8


def test_window_shows_only_its_part():
    x = np.arange(64, dtype=np.float32).reshape(8, 8)
    image = weights_image(x, limit=63, window=Window(2, 3, 2, 4))
    expected = np.rint(127 + 127 * x[2:4, 3:7] / 63)
    assert np.array_equal(image.pixels, expected)


@pytest.mark.parametrize(
    "bad", [np.zeros(4, np.float32), np.zeros((0, 4), np.float32), np.zeros((2, 2, 2), np.float32)]
)
def test_only_matrices(bad):
    with pytest.raises(WidgetError, match="shape"):
        weights_image(bad, limit=1)


@pytest.mark.parametrize("window", [Window(-1, 0, 2, 2), Window(0, 3, 2, 2), Window(3, 0, 2, 2)])
def test_window_must_lie_inside(window):
    with pytest.raises(WidgetError, match="inside"):
        weights_image(np.zeros((4, 4), np.float32), limit=1, window=window)


def test_before_and_after_must_match():
    with pytest.raises(WidgetError, match=r"\(2, 3\).*\(3, 2\)"):
        error_image(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32), limit=1)


def test_read_only_and_strided_input():
    x = rng.standard_normal((64, 128)).astype(np.float32)
    x.setflags(write=False)
    every_other = x[:, ::2]
    assert np.array_equal(
        weights_image(every_other, limit=1).pixels, weights_image(np.ascontiguousarray(every_other), limit=1).pixels
    )
