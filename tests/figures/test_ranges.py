"""Range figures, by hand."""

from __future__ import annotations

import bounds
import numpy as np
import pytest

from qviz import AffineGrid
from qviz.errors import WidgetError
from qviz.figures.ranges import group_strip, range_curve, range_histogram

LEVELS = np.float32([-1, 0, 1])


def test_what_lies_outside_is_counted_on_both_sides():
    shown = range_histogram(np.float32([[-4, -1, -0.5], [0, 1, 1.5]]), (-1, 1), LEVELS)
    assert (shown.below, shown.above) == (1, 1)  # the ends themselves lie inside
    assert shown.values.total == 6
    assert shown.values.outside == 0
    assert shown.before is None


def test_the_axis_holds_values_range_and_levels():
    for values, ends in (([-5, 5], (-1, 1)), ([-0.1, 0.1], (-3, 2)), ([0, 0], (-0.5, 0.5))):
        shown = range_histogram(np.float32(values), ends, LEVELS)
        assert shown.values.low < min(*values, *ends, -1)
        assert shown.values.high > max(*values, *ends, 1)


def test_other_values_share_the_axis_but_do_not_set_it():
    shown = range_histogram(np.float32([-1, 1]), (-1, 1), LEVELS, np.float32([0, 100]))
    assert (shown.before.low, shown.before.high) == (shown.values.low, shown.values.high)
    assert shown.values.high < 2
    assert shown.before.outside == 1


@pytest.mark.parametrize(("step", "zero"), [(1.0, 0), (0.5, 2)])
def test_the_errors_of_each_bin_are_those_of_its_values(step, zero):
    x = np.random.default_rng(2).normal(1, 2, (40, 50)).astype(np.float32)
    levels = np.float32(step) * (np.arange(4, dtype=np.float32) - zero)
    shown = range_histogram(x, (levels[0], levels[-1]), levels, rounded_by=(AffineGrid(2), step, zero))
    flat = x.reshape(-1).astype(np.float64)
    nearest = levels[np.abs(flat[:, None] - levels).argmin(axis=1)]
    square = (flat - nearest) ** 2
    out = (flat < levels[0] - step / 2) | (flat > levels[-1] + step / 2)
    low, high, bins = shown.values.low, shown.values.high, shown.values.counts.size
    place = ((flat - low) * (bins / (high - low))).astype(int)
    assert np.bincount(place, minlength=bins).tolist() == shown.values.counts.tolist()
    for found, which in ((shown.clipping, out), (shown.rounding, ~out)):
        expected = np.bincount(place[which], square[which], minlength=bins)
        assert expected.any()
        bounds.assert_within(found, expected, bounds.double_bound(x.size) * expected.max())


def test_without_a_grid_there_are_no_errors():
    shown = range_histogram(ROW, (-1, 1), LEVELS)
    assert shown.clipping.size == shown.rounding.size == 0


def test_errors_become_shares_of_the_signal_in_ascending_order():
    shares, clip, round_ = np.array([1.0, 0.5, 0.25]), np.array([0.0, 1.0, 6.0]), np.array([4.0, 1.0, 0.5])
    curve = range_curve(shares, clip, round_, 2.0, 0.5, {"a": (1.0, 4.0), "b": (0.6, 3.0)})
    assert curve.shares.tolist() == [0.25, 0.5, 1.0]
    assert curve.clipping.tolist() == [3.0, 0.5, 0.0]
    assert curve.rounding.tolist() == [0.25, 0.5, 2.0]
    assert curve.total.tolist() == [3.25, 1.0, 2.0]
    assert curve.best == 1
    assert (curve.names, curve.at.tolist(), curve.errors.tolist()) == (("a", "b"), [1.0, 0.6], [2.0, 1.5])
    assert curve.before.size == 0


def test_the_widest_of_equal_ranges_is_the_best():
    curve = range_curve(np.array([0.5, 1.0]), np.zeros(2), np.ones(2), 1.0, 1.0, {})
    assert curve.best == 1


def test_errors_of_the_values_before_have_their_own_signal():
    curve = range_curve(np.array([1.0, 0.5]), np.ones(2), np.ones(2), 1.0, 1, {}, (np.array([3.0, 6.0]), 3.0))
    assert curve.before.tolist() == [2.0, 1.0]


def test_a_signal_of_nothing_is_no_divisor():
    assert range_curve(np.ones(1), np.zeros(1), np.zeros(1), 0.0, 1, {}).total.tolist() == [0.0]


ROW, BACK = np.float32([1, 2, 30, 4, 5]), np.float32([1, 1, 32, 6, 5])


@pytest.mark.parametrize(
    ("size", "starts", "noise"),
    [(2, [0, 2, 4], [0.5**0.5, 2, 0]), (-1, [0], [(5 / 4) ** 0.5]), (0, [0], [(5 / 4) ** 0.5]), (9, [0], [1.25**0.5])],
)
def test_noise_of_each_group_leaves_the_multiplied_one_out(size, starts, noise):
    strip = group_strip(ROW, BACK, size, np.ones(len(starts)), 2, 3.0, 0.5)
    assert strip.starts.tolist() == starts
    assert strip.noise == pytest.approx(noise)


def test_without_a_multiplied_one_every_error_counts():
    strip = group_strip(ROW, BACK, -1, [1.0], 2, 30.0, 0.5)
    assert strip.noise == pytest.approx([(9 / 5) ** 0.5])


@pytest.mark.parametrize(
    "make",
    [
        lambda: range_histogram(np.float32([]), (-1, 1), LEVELS),
        lambda: range_histogram(ROW, (-1, 1), LEVELS[:0]),
        lambda: range_curve(np.ones(2), np.ones(1), np.ones(2), 1.0, 1, {}),
        lambda: range_curve(np.ones(2), np.ones(2), np.ones(2), 1.0, 1, {}, (np.ones(3), 1.0)),
        lambda: group_strip(ROW, BACK[:4], 2, np.ones(3), 0, 1.0, 1.0),
        lambda: group_strip(ROW, BACK, 2, np.ones(2), 0, 1.0, 1.0),
        lambda: group_strip(ROW, BACK, 2, np.ones(3), 5, 1.0, 1.0),
        lambda: group_strip(ROW[None], BACK[None], 2, np.ones(3), 0, 1.0, 1.0),
    ],
)
def test_what_cannot_be_drawn(make):
    with pytest.raises(WidgetError):
        make()
