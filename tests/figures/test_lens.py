"""A frame on a whole matrix, and single weights under it."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import Window, matrix_lens, matrix_overview, weights_image

W = np.arange(300 * 600, dtype=np.float32).reshape(300, 600)


@functools.cache
def whole():
    return weights_image(W, limit=1e6)


def image(*window):
    return weights_image(W, limit=1e6, window=Window(*window))


def test_a_frame_lies_inside():
    for frame in (Window(0, 0, 300, 600), Window(299, 599, 1, 1)):
        assert matrix_overview(whole(), frame).frame is frame
    for frame in (Window(-1, 0, 4, 4), Window(0, -1, 4, 4), Window(299, 0, 2, 4), Window(0, 599, 4, 2)):
        with pytest.raises(WidgetError, match="does not lie inside"):
            matrix_overview(whole(), frame)


def test_a_frame_is_placed_in_the_matrix_whatever_part_of_it_is_the_whole():
    part = image(100, 200, 50, 60)
    assert matrix_overview(part, Window(149, 259, 1, 1)).frame.left == 259
    for frame in (Window(99, 200, 2, 2), Window(149, 259, 2, 1), Window(149, 259, 1, 2)):
        with pytest.raises(WidgetError, match="does not lie inside"):
            matrix_overview(part, frame)


def test_a_lens_shows_single_weights_of_one_part():
    part = (10, 20, 40, 64)
    lens = matrix_lens(image(*part), image(*part), block=32)
    assert lens.image.pixels.shape == (40, 64)
    assert lens.block == 32
    with pytest.raises(WidgetError, match="2 × 3 weights"):
        matrix_lens(whole())
    with pytest.raises(WidgetError, match="one part"):
        matrix_lens(image(*part), image(11, 20, 40, 64))
