"""Checks name the misconception. Each wrong answer here is made the way a student would make it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import qviz
from qviz.course.lesson import check
from qviz.errors import LessonError, QvizError, WrongAnswerError

X = np.random.default_rng(7).standard_normal((4, 32)).astype(np.float32)
PACKED = qviz.quantize(X, "Q4_0")
RAW = PACKED.tobytes()
CODES = PACKED.unpack().codes.reshape(4, 32)
SCALE, MIN = np.float32(0.1), np.float32(0.7)
DECODED = SCALE * np.arange(16, dtype=np.float32) - MIN


def swapped(raw):
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, 18).copy()
    blocks[:, 2:] = blocks[:, 2:] >> 4 | blocks[:, 2:] << 4
    return blocks.tobytes()


def neighbours(codes):
    """Weights 2i and 2i + 1 in one byte, as many think."""
    stored = (codes + 8).astype(np.uint8)
    return stored[:, ::2] | stored[:, 1::2] << 4


WRONG = [
    (2 * DECODED, DECODED, "twice as much"),
    (DECODED / 2, DECODED, "half as much"),
    (SCALE * np.arange(16) + MIN, DECODED, "a constant left out"),  # the minimum added instead of subtracted
    (SCALE * np.arange(16), DECODED, "a constant left out"),
    (-DECODED, DECODED, "the sign turned round"),
    (CODES + 8, CODES, "codes that are stored, for codes that are meant"),
    (CODES + 1, CODES, "off by one"),
    (np.trunc(X / X.std()).astype(int), np.rint(X / X.std()).astype(int), "cutting off instead of rounding"),
    (X[:, :4].T.copy(), X[:, :4], "the wrong axis"),
    (X.T, X, "the wrong axis"),
    (X[0].reshape(4, 8), X[0], "the right numbers in another shape"),
    (X[0][::-1], X[0], "the order turned round"),
    (np.sort(X[0]), X[0], "the right numbers in the wrong order"),
    (swapped(RAW), RAW, "high and low half of a byte swapped"),
    (RAW[1::-1] + RAW[2:18], RAW[:18], "the other byte order"),
    (qviz.quantize(-X[0], "Q4_0").tobytes()[:2] + RAW[2:18], RAW[:18], "the scale rounded another way"),
    (CODES[:, :16], CODES, "half as many"),
    (np.zeros(8), np.ones(8), "an empty array filled in nowhere"),
    (np.array([1.0, np.inf]), np.array([1.0, 2.0]), "a division by zero"),
    (8 * 144, 144, "bits for bytes"),
    (144 / 8, 144, "bytes for bits"),
    (12.5, 0.125, "percent for a share"),
    (3.5623 * 2**30 / 1e9, 3.5623, "GB for GiB"),
    (4, qviz.formats.get("Q4_K").bpw, ""),
    (neighbours(CODES), (CODES[:, :16] + 8 | CODES[:, 16:] + 8 << 4).astype(np.uint8), ""),
]


@pytest.mark.parametrize(
    ("answer", "expected", "mistake"), WRONG, ids=lambda part: part if isinstance(part, str) else ""
)
def test_a_wrong_answer_is_recognised(answer, expected, mistake):
    found = check("an exercise", answer, expected)
    assert not found.passed
    assert found.mistake.startswith(mistake)
    assert bool(found.mistake) == bool(mistake), f"recognised as {found.mistake!r}"
    assert len(found.feedback) > 10
    with pytest.raises(WrongAnswerError, match="an exercise ✗ Not yet"):
        found.require()


@pytest.mark.parametrize(
    "right", [DECODED, CODES, X, RAW, 4.5, 144, True, [1, 2, 3], np.array([1.0, np.nan, np.inf])], ids=repr
)
def test_the_right_answer_passes(right):
    assert check("an exercise", right, right)
    assert check("an exercise", right, right).require().passed
    if isinstance(right, np.ndarray):
        assert check("an exercise", right.tolist(), right).passed, "a list will do"


def test_float_noise_is_no_mistake_and_a_tolerance_can_be_given():
    assert check("a", DECODED.astype(np.float64) * (1 + 1e-8), DECODED)
    assert not check("a", DECODED + 1e-3, DECODED)
    assert check("a", DECODED + 1e-3, DECODED, tolerance=2e-3)


def test_questions_that_hold_their_answer():
    assert check("05.bits", 4.5).passed
    assert check("05.bits", np.float32(4.5)).passed
    assert check("05.bits", 4.125).mistake == "leaving out the scales of the sub-blocks"
    assert check("05.bits", 7).feedback.endswith("Too large.")
    assert check("05.3", "b").passed
    assert check("05.3", "About 80 % less").mistake == "taking the best case for the typical one"


def test_feedback_does_not_give_the_answer_away():
    for answer in (3.0, 5.5, [1, 2]):
        assert "4.5" not in repr(check("05.bits", answer))
    assert str(CODES[0, 0]) not in check("a", CODES + 3, CODES).feedback


@pytest.mark.parametrize("nothing", [None, ...])
def test_no_answer_yet(nothing):
    assert repr(check("05.bits", nothing)) == "05.bits ✗ Not yet. There is no answer yet."


def test_a_failure_is_what_graders_and_readers_catch():
    for kind in (AssertionError, QvizError, LessonError):
        with pytest.raises(kind):
            check("05.bits", 4).require()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check("no such", 4), "no question 'no such'"),
        (lambda: check("05.9", 4), "lesson 05 has 05.1, 05.bits, 05.2"),
        (lambda: check("05.3", "z"), "has no option 'z'; answer with 'a' for “About 2 % less”"),
        (lambda: check("a", "four", 4), "the answer must be a number, bytes or an array of numbers, got str 'four'"),
        (lambda: check("a", [[1], [2, 3]], [1, 2, 3]), "must be a number, bytes or an array"),
        (lambda: check("a", {"x": 1}, 4), "got dict"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(call, message):
    with pytest.raises(LessonError, match=message):
        call()


@pytest.mark.parametrize("odd", [[], [[]], np.zeros((0, 3)), 0, -0.0, True, [float("nan")], "1e999"], ids=repr)
def test_odd_answers_never_raise_numpy(odd):
    for expected in (RAW, CODES, 4.5, DECODED):
        try:
            assert not check("a", odd, expected).passed
        except LessonError:
            assert isinstance(odd, str)


def test_checks_need_no_widgets():
    code = (
        "import sys, qviz; qviz.course.lesson.check('05.bits', 4.5).require(); "
        "print([m for m in ('ipywidgets', 'anywidget', 'numba', 'platformdirs') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
