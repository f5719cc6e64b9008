"""A group whose channels are scaled by hand, worked out on paper and by the definition."""

import bounds
import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures.channel_group import channel_group
from qviz.grids import AffineGrid

GRID = AffineGrid(2, -1)


def test_a_channel_by_hand():
    """Two bits from 0 to 3: levels 0, 1, 2, 3. Times 4 the first weight is 1.6: its levels are 1/4 apart."""
    shown = channel_group([[0.4, 1.6, 3.0]], np.diag([9, 1, 1]), GRID, [4, 1, 1], channel=0)
    assert shown.step.tolist() == [0.25, 1, 1]
    assert shown.rounded_before.tolist() == [0, 2, 3]
    assert shown.rounded.tolist() == [0.5, 2, 3]
    assert (shown.stretch, shown.stretched) == (1, 0)
    # costs 9 · 0.4² and 1 · 0.4² before; 9 · 0.1² after
    before, after = 9 * 0.4**2 + 0.4**2, 9 * 0.1**2 + 0.4**2
    bounds.assert_within(shown.left, after / before, bounds.size_bound(after / before, 64))
    bounds.assert_within(shown.cost, [9 * 0.1**2 / 1.44, 0.16 / 1.44, 0], bounds.size_bound(1, 64))
    assert (shown.levels, shown.current, shown.channels.tolist()) == (4, 0, [0, 1, 2])


def test_neighbours_stretch_once_the_range_grows():
    """Times 16 the first weight is 6.4, twice the range: the levels of the others are 6.4 / 3 apart."""
    shown = channel_group([[0.4, 1.6, 3.0], [0, 1, 3]], np.eye(3), GRID, [16, 1, 1])
    bounds.assert_within(shown.stretch, 6.4 / 3, bounds.size_bound(6.4 / 3, 4))
    assert shown.stretched == 0.5
    bounds.assert_within(shown.step, 6.4 / 3 / np.array([16, 1, 1]), bounds.size_bound(6.4 / 3, 4))


def test_only_the_group_of_the_channel_is_shown():
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((5, 96)).astype(np.float32), rng.standard_normal((40, 96))
    grid, scale = AffineGrid(3, 32), np.ones(96, np.float32)
    scale[70] = 5
    shown = channel_group(w, x.T @ x, grid, scale, row=2, channel=70, width=16)
    assert set(shown.channels) < set(range(64, 96))
    assert shown.channels[shown.current] == 70
    whole = grid.fake_quantize(w * scale) / scale
    np.testing.assert_array_equal(shown.rounded, whole[2, shown.channels])
    np.testing.assert_array_equal(shown.rounded_before, grid.fake_quantize(w)[2, shown.channels])
    off = (grid.fake_quantize(w).astype(np.float64) - w)[:, 64:], (whole.astype(np.float64) - w)[:, 64:]
    errors = [np.square(x[:, 64:] @ one.T).sum() for one in off]
    bounds.assert_within(shown.left, errors[1] / errors[0], 2**-40)  # stated: float64, far more exact than is shown
    on_levels = (shown.rounded - shown.bottom) / shown.step
    bounds.assert_within(on_levels, np.rint(on_levels), bounds.size_bound(16, 8))
    same = channel_group(w, x.T @ x, grid, np.ones(96), channel=70)
    assert (same.left, same.stretch, same.stretched) == (1, 1, 0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scale": [1, 0, 1]}, "positive"),
        ({"scale": [1, 1]}, "a scale a channel"),
        ({"channel": 3}, r"\[0, 3\]: the matrix has 1 rows and 3 columns"),
    ],
)
def test_what_cannot_be_shown(changes, says):
    given = {"scale": [1, 1, 1], "channel": 0} | changes
    with pytest.raises(WidgetError, match=says):
        channel_group([[0.4, 1.6, 3.0]], np.eye(3), GRID, given["scale"], channel=given["channel"])
