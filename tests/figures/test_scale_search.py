"""A recorded search, put in order by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import histogram
from qviz.figures.scale_search import scale_search, search_curve, search_line

X = np.float32([0, 1, 3])
W = np.ones_like(X)
# scale, min, score, three codes; the second candidate could not be fitted
TRACE = np.float32([[1.5, 0, 0.5, 0, 1, 2], [9, 0, np.nan, 0, 0, 0], [1, 0, 0.25, 0, 1, 3], [2, 0, 2, 0, 1, 2]])


def search():
    return scale_search(X, W, TRACE, (1.0, TRACE[2, 3:]), TRACE[:, 2])


def test_the_best_so_far_and_the_winner():
    found = search()
    assert found.best.tolist() == [0, 0, 2, 2]
    assert found.winner == 2
    assert found.ratio == 0.5
    assert found.codes.tolist() == [[0, 1, 2], [0, 0, 0], [0, 1, 3], [0, 1, 2]]


def test_a_result_that_no_candidate_gave_is_refused():
    with pytest.raises(WidgetError, match="none of 4 candidates"):
        scale_search(X, W, TRACE, (1.25, TRACE[2, 3:]), TRACE[:, 2])
    with pytest.raises(WidgetError, match="another sub-block"):
        scale_search(X, W, TRACE, (1.0, TRACE[0, 3:]), TRACE[:, 2])


def test_shares_of_the_baseline():
    curve = search_curve(search(), 1, "min–max")
    assert curve.relative
    assert curve.errors[[0, 2, 3]].tolist() == [1, 0.5, 4]
    assert np.isnan(curve.errors[1])
    assert (curve.current, curve.winner) == (1, 2)


def test_a_baseline_without_error_is_no_measure():
    exact = TRACE[[2, 0]].copy()
    exact[0, 2] = 0
    found = scale_search(X, W, exact, (1.0, exact[0, 3:]), exact[:, 2])
    curve = search_curve(found, 0, "min–max")
    assert not curve.relative
    assert curve.errors.tolist() == [0, 0.5]
    assert found.ratio == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_levels_stand_from_left_to_right(sign):
    trace = np.float32([[sign * 0.5, 0, 1, -2, 0, 1]])
    found = scale_search(X, W, trace, (sign * 0.5, trace[0, 3:]), trace[:, 2])
    line = search_line(found, 0, (-2, 1), histogram(X, -1, 4))
    assert line.levels.tolist() == ([-1, -0.5, 0, 0.5] if sign > 0 else [-0.5, 0, 0.5, 1])
    assert line.codes.tolist() == [-2, -1, 0, 1][::sign]
    assert line.used.tolist() == [1, 0, 1, 1][::sign]
    assert line.snapped.tolist() == [sign * -1, 0, sign * 0.5]


def test_the_minimum_is_subtracted():
    trace = np.float32([[1, 0.25, 0, 0, 1, 3]])
    line = search_line(scale_search(X, W, trace, (1.0, trace[0, 3:]), trace[:, 2]), 0, (0, 3), histogram(X, -1, 4))
    assert line.levels.tolist() == [-0.25, 0.75, 1.75, 2.75]
    assert line.snapped.tolist() == [-0.25, 0.75, 2.75]
