"""Levels, dithering and what is left from afar: against Pillow, against the textbook's loop, and by formula."""

import math

import numpy as np
import pytest
from PIL import Image

from qviz import figures, models
from qviz.errors import WidgetError
from qviz.grids.codebook import kmeans

PHOTO = models.photo()


def textbook(values, levels):
    """Floyd–Steinberg as the paper has it, in exact decimals of float64."""
    work = {(i, j): float(v) for (i, j), v in np.ndenumerate(values)}
    out = np.empty(values.shape, np.float32)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            value = work[i, j]
            out[i, j] = min(levels, key=lambda level, value=value: (abs(level - value), level))
            error = value - float(out[i, j])
            for (di, dj), share in {(0, 1): 7 / 16, (1, -1): 3 / 16, (1, 0): 5 / 16, (1, 1): 1 / 16}.items():
                if (i + di, j + dj) in work:
                    work[i + di, j + dj] += error * share
    return out


@pytest.mark.parametrize("levels", [[0, 255], [0, 85, 170, 255], [-3, 0, 11, 40, 200]])
def test_dithering_equals_the_textbook(levels):
    values = np.random.default_rng(3).integers(0, 256, (23, 17)).astype(np.float32)
    levels = np.array(levels, np.float32)
    assert (figures.round_to_levels(values, levels, dither=True) == textbook(values, levels)).all()


def test_dithering_resembles_pillows():
    """Pillow does the same in whole numbers, so some pixels near the middle fall the other way."""
    ours = figures.round_to_levels(PHOTO.astype(np.float32), np.float32([0, 255]), dither=True)
    pillow = np.asarray(Image.fromarray(PHOTO).convert("1")).astype(np.float64) * 255
    nearest = figures.round_to_levels(PHOTO.astype(np.float32), np.float32([0, 255]))
    apart = figures.psnr(figures.from_afar(pillow), figures.from_afar(ours))
    assert apart > figures.psnr(figures.from_afar(pillow), figures.from_afar(nearest)) + 10


def test_rounding_goes_to_the_nearest_level():
    rng = np.random.default_rng(0)
    values, levels = rng.normal(size=(31, 9)).astype(np.float32), np.sort(rng.normal(size=7)).astype(np.float32)
    found = figures.round_to_levels(values, levels)
    assert (np.abs(found - values) == np.abs(levels - values[..., None]).min(axis=-1)).all()
    assert figures.round_to_levels(np.float32([[1.0]]), np.float32([0, 2])).item() == 0  # half-way goes down


def test_levels():
    values = np.float32([[3, 7, 255]])
    assert figures.spread_levels(values, 2).tolist() == [3, 87, 171, 255]
    assert figures.spread_levels(PHOTO, 3, "palette").tolist() == kmeans(PHOTO, 3).levels.tolist()
    assert len(figures.spread_levels(values, 8, "palette")) == 3  # no more than there are values


@pytest.mark.parametrize(
    ("values", "bits", "kind", "says"),
    [
        ([1, 2], 0, "uniform", "1 to 8"),
        ([1, 2], 9, "palette", "1 to 8"),
        ([1, 2], True, "uniform", "a whole number"),
        ([1, 1], 2, "uniform", "two different"),
        ([1, np.nan], 2, "uniform", "finite"),
        ([1, 2], 2, "median", "uniform, palette"),
    ],
)
def test_levels_that_cannot_be(values, bits, kind, says):
    with pytest.raises(WidgetError, match=says):
        figures.spread_levels(values, bits, kind)


@pytest.mark.parametrize(
    ("values", "levels"), [([1.0, 2.0], [0, 1]), ([[1.0]], [1, 0]), ([[1.0]], []), (np.zeros((0, 3)), [0, 1])]
)
def test_rounding_that_cannot_be(values, levels):
    with pytest.raises(WidgetError):
        figures.round_to_levels(np.asarray(values, np.float32), np.asarray(levels, np.float32))


def test_psnr_by_formula():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, (2, 40, 30))
    error = sum((int(x) - int(y)) ** 2 for x, y in zip(a.flat, b.flat, strict=True)) / a.size
    assert math.isclose(figures.psnr(a, b), 20 * math.log10(255) - 10 * math.log10(error))
    assert figures.psnr(a, a) == math.inf
    with pytest.raises(WidgetError, match="peak is 0; a finite number above 0 is wanted"):
        figures.psnr(a, b, peak=0)
    with pytest.raises(WidgetError, match="same shape"):
        figures.psnr(a, b[1:])


def test_from_afar_is_a_mean_of_squares():
    image = np.arange(70.0).reshape(7, 10)
    far = figures.from_afar(image, 3)
    assert far.shape == (2, 3)
    assert far[1, 2] == image[3:6, 6:9].mean()
    with pytest.raises(WidgetError, match="do not fit"):
        figures.from_afar(image, 8)


def test_images_and_level_sets_hold_the_numbers():
    values = np.float32([[-1.0, 0.25], [0.5, 9.0]])
    image = figures.pixel_image(values, "diverging", -1, 1)
    assert image.pixels.tolist() == [[0, 159], [190, 254]]  # 127 · (1 + value), half to even
    levels = np.float32([-1, 0, 9])
    rounded = figures.round_to_levels(values, levels)
    found = figures.level_set(values, rounded, levels, -1, 9, bins=10)
    assert found.used.tolist() == [1, 2, 1]
    assert found.density.counts.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    with pytest.raises(WidgetError, match="one of the levels"):
        figures.level_set(values, values, levels, -1, 9)
    with pytest.raises(WidgetError, match="grey or diverging"):
        figures.pixel_image(values, "pink", 0, 1)
