"""The number line, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import group_axis, histogram, number_line
from qviz.grids import AffineGrid


def no_density():
    return histogram(np.zeros(1, np.float32), -1, 1)


def test_a_group_by_hand():
    # 2 bits, step 1, zero point 1: levels −1, 0, 1, 2
    group = np.float32([-1, -0.6, 0.4, 0.6, 1.2, 2])
    density = histogram(np.float32([-9, *group, 9]), -1.5, 2.5)
    line = number_line(group, AffineGrid(2, 32), (1.0, 1), density)
    assert line.levels.tolist() == [-1, 0, 1, 2]
    assert line.codes.tolist() == [0, 1, 2, 3]
    assert line.snapped.tolist() == [-1, -1, 0, 1, 1, 2]
    assert line.used.tolist() == [2, 1, 2, 1]
    assert line.group_size == 6
    assert line.density is density


def test_symmetric_codes_start_below_zero():
    group = np.float32([-1.5, 0, 1.5])
    line = number_line(group, AffineGrid(2, -1, sym=True), (1.0, 0), no_density())
    assert line.codes.tolist() == [-2, -1, 0, 1]
    assert line.levels.tolist() == [-2, -1, 0, 1]
    assert line.snapped.tolist() == [-2, 0, 1]  # ±1.5 are ties: to even, and 2 does not exist


def test_long_groups_are_sampled_evenly_and_counted_whole():
    group = np.linspace(0, 3, 1001, dtype=np.float32)
    line = number_line(group, AffineGrid(2, 0), (1.0, 0), no_density())
    assert len(line.weights) == 48
    assert line.weights[[0, -1]].tolist() == [0, 3]
    assert line.used.sum() == 1001
    assert np.array_equal(line.snapped, np.rint(line.weights))


def test_a_group_of_zeros_has_an_axis():
    group = np.zeros(4, np.float32)
    grid = AffineGrid(4, -1)
    scale, zero = (p.item() for p in grid.params(group))
    line = number_line(group, grid, (scale, zero), histogram(group, *group_axis(group, False)))
    assert line.density.low < 0 < line.density.high
    assert line.used.max() == 4


def test_a_group_is_one_row():
    with pytest.raises(WidgetError, match=r"\(2, 2\)"):
        number_line(np.zeros((2, 2), np.float32), AffineGrid(4, -1), (1.0, 0), no_density())


@pytest.mark.parametrize("sym", [False, True])
@pytest.mark.parametrize("group", [[-1, 0.2, 2], [3, 4, 5], [-3, -1], [0, 0], [1e-30, -2e-30], [1e37, -3e36]], ids=str)
def test_an_axis_holds_every_level_of_every_grid(group, sym):
    group = np.float32(group)
    low, high = group_axis(group, sym)
    for bits in range(2, 9):
        grid = AffineGrid(bits, -1, sym)
        levels = grid.levels(*grid.params(group))
        slack = 1e-5 * (high - low)
        assert low - slack <= min(levels.min(), group.min())
        assert max(levels.max(), group.max()) <= high + slack
    assert (
        high - low <= 4 / 3 * 1.001 * max(2 * np.abs(group).max() if sym else np.ptp([*group, 0]), 0) or not group.any()
    )
