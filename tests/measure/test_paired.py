"""Two models on the same questions, against examples of others and by hand."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from bounds import DOUBLE, assert_within
from scipy.stats import binom, binomtest

from qviz.errors import QvizError
from qviz.measure import PairedAccuracy, items_needed, paired_accuracy


def test_counts():
    found = paired_accuracy([True, True, True, False, False], [True, False, False, True, False])
    assert found == PairedAccuracy(both=1, lost=2, won=1, neither=1)
    assert (found.n, found.before, found.after, found.difference, found.flips) == (5, 0.6, 0.4, -0.2, 0.6)


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 1), (3, 3), (1, 9), (121, 59), (400, 371)])
def test_p_value_is_scipys(lost, won):
    ours = PairedAccuracy(101, lost, won, 33).p_value
    theirs = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert_within(ours, theirs, 2 * (won + lost + 8) * DOUBLE)


def test_p_value_of_an_example_of_others():
    # stated: statsmodels' documentation of mcnemar([[101, 121], [59, 33]])
    assert PairedAccuracy(101, 121, 59, 33).p_value == pytest.approx(4.434449e-06, rel=1e-5)


def test_interval_by_hand():
    """21 patients, 1 and 7 of whom differ: (2 - 8) / 23 ± 1.96 · √((10/23 - (6/23)²) / 23)."""
    low, high = PairedAccuracy(1, 7, 1, 12).interval()
    half = NormalDist().inv_cdf(0.975) * math.sqrt((10 / 23 - 36 / 529) / 23)
    assert (low, high) == (-6 / 23 - half, -6 / 23 + half)
    assert (round(low, 3), round(high, 3)) == (-0.508, -0.013)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of 2000 tests of 300 questions; the share that holds it has a standard error of √(0.95 · 0.05 / 2000)."""
    rng, lost, won = np.random.default_rng(0), 0.08, 0.05
    kept = 0
    for both, a, b, neither in rng.multinomial(300, [0.6, lost, won, 0.27], size=2000):
        low, high = PairedAccuracy(both, a, b, neither).interval()
        kept += low <= won - lost <= high
    assert abs(kept / 2000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_intervals_stay_inside():
    assert PairedAccuracy(0, 1, 0, 0).interval()[0] >= -1
    assert PairedAccuracy(0, 0, 1, 0).interval()[1] <= 1


def test_items_by_hand():
    """A fifth of a difference in two fifths of flips: (1.96 · √0.4 + 0.8416 · √0.36)² / 0.04 = 76.1."""
    assert items_needed(0.2, 0.4) == 77
    assert items_needed(-0.2, 0.4) == 77


def test_as_many_items_see_it_as_often_as_they_say():
    """The power of McNemar's test with so many questions, over all counts of flips, in the normal form of the formula.

    Counts are whole numbers, so the power goes up in steps; a step is at most the likeliest number of flips.
    """
    difference, flips = 0.04, 0.1
    n, z = items_needed(difference, flips), NormalDist().inv_cdf(0.975)
    m = np.arange(1, n + 1)[:, None]
    won = np.arange(n + 1)[None, :]
    seen = (np.abs(2 * won - m) > z * np.sqrt(m)) & (won <= m)
    power = float((binom.pmf(m, n, flips) * binom.pmf(won, m, (1 + difference / flips) / 2) * seen).sum())
    step = float(binom.pmf(m[:, 0], n, flips).max())
    assert abs(power - 0.8) < step


def test_fewer_flips_need_fewer_items():
    assert items_needed(0.01, 0.02) < items_needed(0.01, 0.05) < items_needed(0.01, 0.5)
    assert items_needed(0.02, 0.05) < items_needed(0.01, 0.05) < items_needed(0.01, 0.05, power=0.95)


@pytest.mark.parametrize(
    ("before", "after"), [([True], [True, False]), ([], []), ([1, 0], [True, False]), ([[True]], [[True]])]
)
def test_other_questions_are_refused(before, after):
    with pytest.raises(QvizError, match="equally long and not empty"):
        paired_accuracy(before, after)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"difference": 0.1, "flips": 0.05}, r"0\.05 flips cannot make a difference of 0\.1"),
        ({"difference": 0.0, "flips": 0.05}, "cannot make a difference of 0;"),
        ({"difference": 0.1, "flips": 1.5}, "flips is 1.5"),
        ({"difference": 0.1, "flips": 0.2, "power": 1.0}, "power is 1.0"),
        ({"difference": 0.1, "flips": 0.2, "level": 0}, "level is 0"),
    ],
)
def test_impossible_tests_are_refused(arguments, message):
    with pytest.raises(QvizError, match=message):
        items_needed(**arguments)


def test_an_interval_of_no_level_is_refused():
    with pytest.raises(QvizError, match="level is 95"):
        PairedAccuracy(1, 1, 1, 1).interval(95)


def test_it_says_what_it_found():
    text = str(PairedAccuracy(50, 10, 2, 38))
    assert text.startswith("60.0% before, 52.0% after: 10 lost, 2 won of 100; difference -8.0 points (")
    assert text.endswith(", p = 0.039")
