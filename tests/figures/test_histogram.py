"""Histograms against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import error_histogram, histogram

rng = np.random.default_rng(3)


@pytest.mark.parametrize("n", [1, 33, 100_000])
def test_against_numpy(n):
    # multiples of 1/64 and power-of-two bins: float32 and float64 agree on every edge
    x = (rng.integers(-200, 200, n) / 64).astype(np.float32)
    found = histogram(x, -2, 2, bins=128)
    expected, _ = np.histogram(x.astype(np.float64), bins=128, range=(-2, 2))
    assert np.array_equal(found.counts, expected)
    assert found.outside == n - expected.sum()
    assert found.total == n
    x[n // 2] = np.nan
    expected, _ = np.histogram(np.delete(x, n // 2).astype(np.float64), bins=128, range=(-2, 2))
    errors = error_histogram(np.zeros_like(x), x, 2, bins=128)
    assert np.array_equal(errors.counts, expected)
    assert errors.total == n


def test_edges_belong_to_the_bins():
    found = histogram(np.float32([-1, 1, -1.0000001, 1.0000001, 0]), -1, 1, bins=4)
    assert found.counts.tolist() == [1, 0, 1, 1]
    assert found.outside == 2


def test_what_is_not_a_number_lies_outside():
    found = histogram(np.float32([np.nan, np.inf, -np.inf, 0.5]), 0, 1, bins=2)
    assert found.counts.tolist() == [0, 1]
    assert found.outside == 3


def test_errors_are_after_minus_before():
    before, after = np.float32([[1, 2, 3, 4]]), np.float32([[1.5, 2, 2.25, 9]])
    found = error_histogram(before, after, 1.0, bins=4)  # +0.5, 0, −0.75, and +5 outside
    assert found.counts.tolist() == [1, 0, 1, 1]
    assert (found.low, found.high, found.outside) == (-1, 1, 1)


@pytest.mark.parametrize("limits", [(1, 1), (2, 1), (0, float("nan"))])
def test_empty_axis(limits):
    with pytest.raises(WidgetError, match="low < high"):
        histogram(np.zeros(3, np.float32), *limits)


@pytest.mark.parametrize("bins", [0, -1, 1 << 31, 10**15])
def test_as_many_bins_as_a_screen_may_have(bins):
    with pytest.raises(WidgetError, match=f"1 … 1,048,576 bins, got 0.0 … 1.0 in {bins}"):
        histogram(np.zeros(3, np.float32), 0.0, 1.0, bins)


def test_shapes_must_match():
    with pytest.raises(WidgetError, match="one shape"):
        error_histogram(np.zeros(3, np.float32), np.zeros(4, np.float32), 1)


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-38, 1e30, 3e38])
def test_the_smallest_and_largest_numbers(size):
    x = np.float32([-size, -size / 3, 0, size / 3, size])
    low, high = float(x[0]), float(x[-1])
    for found in (histogram(x, low, high, bins=8), error_histogram(np.zeros_like(x), x, high, bins=8)):
        assert found.counts.sum() == 5
        assert found.counts[0] >= 1
        assert found.counts[-1] >= 1
        assert found.outside == 0


@pytest.mark.parametrize("limits", [(-np.inf, 0), (0, np.inf)])
def test_endless_axis(limits):
    with pytest.raises(WidgetError, match="finite"):
        histogram(np.zeros(3, np.float32), *limits)
