"""Where two builds part, two pieces of code side by side, a question."""

import bounds
import numpy as np
import pytest

from qviz.course.museum.figure import code_pair, column_gap, quiz
from qviz.errors import WidgetError


def test_the_gap_is_in_units_of_the_weights():
    right = np.float32([[3, 4, 0], [3, 4, 0]])
    wrong = right + np.float32([[0, 1, 0], [0, -1, 2]])
    unit = np.sqrt(50 / 6)
    found = column_gap(right, wrong, 2, "pair")
    expected = [0, 1 / unit, np.sqrt(2) / unit]
    bounds.assert_within(found.gap, expected, bounds.size_bound(expected, 8))  # two roots of sums of a few squares
    assert (found.first, found.block, found.block_name) == (1, 2, "pair")
    assert column_gap(right, right, 1, "column").first == -1


def test_what_is_not_finite_is_a_gap_of_its_own():
    right = np.ones((2, 4), np.float32)
    wrong = np.float32([[1, np.nan, 1, -np.inf], [1, 1, 1, 1]])
    found = column_gap(right, wrong, 1, "column")
    assert np.isnan(found.gap).tolist() == [False, True, False, True]
    assert found.first == 1
    assert column_gap(np.zeros((1, 2), np.float32), np.float32([[0, 2]]), 1, "c").gap.tolist() == [0, 2]  # no unit


def test_code_keeps_every_line_once():
    left, right = (
        "def f(x):\n    a = 1\n    b = 2\n    return a",
        "def f(x):\n    a = 3\n    c = 4\n    d = 5\n    return a",
    )
    pair = code_pair(left, right)
    assert [line.left for line in pair.lines if line.left] == left.splitlines()
    assert [line.right for line in pair.lines if line.right] == right.splitlines()
    assert [line.same for line in pair.lines] == [True, False, False, False, True]
    assert all(line.left == line.right for line in pair.lines if line.same)


def test_a_choice_stays_open_until_it_is_made():
    answers = [("a", "no", False), ("b", "yes", True), ("c", "no", False)]
    assert [a.state for a in quiz("q", answers, []).answers] == ["open"] * 3
    tried = quiz("q", answers, [2, 1])
    assert [a.state for a in tried.answers] == ["open", "right", "wrong"]
    assert [a.feedback for a in tried.answers] == ["", "yes", "no"]
    assert tried.solved
    assert not quiz("q", answers, [2]).solved


def test_what_is_refused():
    one, two = np.ones((1, 2), np.float32), np.ones((2, 1), np.float32)
    with pytest.raises(WidgetError, match="one shape"):
        column_gap(one, two, 1, "column")
    with pytest.raises(WidgetError, match="one shape"):
        column_gap(one[0], one[0], 1, "column")
    with pytest.raises(WidgetError, match="at least one column"):
        column_gap(one, one, 0, "column")
    with pytest.raises(WidgetError, match="no answer 3"):
        quiz("q", [("a", "b", True)], [3])
