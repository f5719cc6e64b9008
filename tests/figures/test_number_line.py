"""The number line, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import number_line
from qviz.grids import AffineGrid


def test_a_group_by_hand():
    # 2 bits, step 1, zero point 1: levels −1, 0, 1, 2
    group = np.float32([-1, -0.6, 0.4, 0.6, 1.2, 2])
    line = number_line(np.float32([-9, *group, 9]), group, AffineGrid(2, 32), (1.0, 1))
    assert line.levels.tolist() == [-1, 0, 1, 2]
    assert line.codes.tolist() == [0, 1, 2, 3]
    assert line.snapped.tolist() == [-1, -1, 0, 1, 1, 2]
    assert line.used.tolist() == [2, 1, 2, 1]
    assert line.group_size == 6
    # all weights stand behind, but the axis is the group's: ±9 lie outside
    assert line.density.total == 8
    assert line.density.outside == 2
    assert line.density.low == pytest.approx(-1 - 0.04 * 3)
    assert line.density.high == pytest.approx(2 + 0.04 * 3)


def test_symmetric_codes_start_below_zero():
    group = np.float32([-1.5, 0, 1.5])
    line = number_line(group, group, AffineGrid(2, -1, sym=True), (1.0, 0))
    assert line.codes.tolist() == [-2, -1, 0, 1]
    assert line.levels.tolist() == [-2, -1, 0, 1]
    assert line.snapped.tolist() == [-2, 0, 1]  # ±1.5 are ties: to even, and 2 does not exist


def test_long_groups_are_sampled_evenly_and_counted_whole():
    group = np.linspace(0, 3, 1001, dtype=np.float32)
    line = number_line(group, group, AffineGrid(2, 0), (1.0, 0))
    assert len(line.weights) == 48
    assert line.weights[[0, -1]].tolist() == [0, 3]
    assert line.used.sum() == 1001
    assert np.array_equal(line.snapped, np.rint(line.weights))


def test_a_group_of_zeros_has_an_axis():
    group = np.zeros(4, np.float32)
    grid = AffineGrid(4, -1)
    scale, zero = (p.item() for p in grid.params(group))
    line = number_line(group, group, grid, (scale, zero))
    assert line.density.low < 0 < line.density.high
    assert line.used.max() == 4


def test_a_group_is_one_row():
    with pytest.raises(WidgetError, match=r"\(2, 2\)"):
        number_line(np.zeros(4, np.float32), np.zeros((2, 2), np.float32), AffineGrid(4, -1), (1.0, 0))
