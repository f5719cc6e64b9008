"""How sure, how right: numbers against hand-worked ones."""

import math

import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures.calibration import calibration


def test_by_hand():
    c = calibration([0.6, 0.6, 0.9, 0.9, 0.9, 1.0], [1, 0, 1, 1, 0, 1])
    assert c.confidence.tolist() == pytest.approx([0.6, 0.9, 1.0])
    assert c.share.tolist() == pytest.approx([1 / 2, 2 / 3, 1])
    assert c.counts.tolist() == [2, 3, 1]
    assert c.brier == pytest.approx((0.4**2 + 0.6**2 + 2 * 0.1**2 + 0.9**2 + 0) / 6)
    assert (c.sure, c.right) == pytest.approx((4.9 / 6, 4 / 6))


def test_guesses_are_one_group():
    c = calibration([0.25, 0.33, 0.33, 0.5], [0, 1, 0, 1])
    assert c.counts.tolist() == [3, 1]
    assert c.confidence[0] == pytest.approx((0.25 + 0.33 + 0.33) / 3)


def test_wilsons_interval():
    """The end points solve (p̂ − p)² = p (1 − p) / n."""
    c = calibration([0.7] * 10, [1] * 7 + [0] * 3)
    for end in (c.low[0], c.high[0]):
        assert (0.7 - end) ** 2 == pytest.approx(end * (1 - end) / 10)
    one = calibration([0.7], [1])
    assert 0 < one.low[0] < one.high[0] <= 1, "a single answer is no certainty"


def test_a_calibrated_student_lies_on_the_diagonal():
    rng = np.random.default_rng(0)
    p = rng.choice([0.5, 0.6, 0.7, 0.8, 0.9, 1.0], 60_000)
    c = calibration(p, rng.random(p.size) < p)
    assert np.abs(c.share - c.confidence).max() < 0.02
    assert c.brier == pytest.approx(np.mean(p * (1 - p)), abs=0.01)  # stated: 60,000 answers, drawn with a fixed seed


def test_nothing_yet():
    c = calibration([], [])
    assert c.counts.size == 0
    assert math.isnan(c.brier)


@pytest.mark.parametrize(("p", "hit"), [([0.5], []), ([1.2], [1]), ([math.nan], [1]), ([-0.1], [0])])
def test_what_is_no_probability_is_refused(p, hit):
    with pytest.raises(WidgetError):
        calibration(p, hit)
