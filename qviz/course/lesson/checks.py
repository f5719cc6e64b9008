"""`check` compares an answer with the right one, and names the misconception that a wrong one looks like.

Works without widgets, so that graded cells can use it. What is compared with what is said in the feedback, never the
right values themselves: a student who gets a check wrong should still have something to find.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from qviz.course.lesson.bank import Question, question
from qviz.errors import LessonError, WrongAnswerError

_FEW = 3  # wrong places that are listed


@dataclass(frozen=True, repr=False)
class Check:
    """What became of one answer.

    Attributes
    ----------
    id : str
        The question.
    passed : bool
    mistake : str
        The misconception that the answer looks like, in a few words; empty if there is none, or none was recognised.
    feedback : str
        What to think about next.

    Examples
    --------
    >>> Check("05.3", True, "", "Everything counted.")
    05.3 ✓ Right. Everything counted.
    """

    id: str
    passed: bool
    mistake: str
    feedback: str

    def __bool__(self) -> bool:
        return self.passed

    def require(self) -> Check:
        """Fail as a grader expects, unless the answer is right.

        Returns
        -------
        Check
            Itself.

        Raises
        ------
        WrongAnswerError
            The answer is wrong. It is an `AssertionError` too.
        """
        if not self.passed:
            raise WrongAnswerError(repr(self))
        return self

    def __repr__(self) -> str:
        if self.passed:
            return f"{self.id} ✓ Right. {self.feedback}".strip()
        mistake = f" This looks like: {self.mistake}." if self.mistake else ""
        return f"{self.id} ✗ Not yet.{mistake} {self.feedback}".strip()


def check(id: str, answer: Any, expected: Any = None, *, tolerance: float | None = None) -> Check:
    """Compare an answer with the right one; a wrong answer's feedback names the misconception.

    Parameters
    ----------
    id : str
        The question, such as ``"05.3"``. With `expected` it may be any name.
    answer : str, number, bytes or array_like
        For a question with options: the key or the text of one.
    expected : number, bytes or array_like, optional
        What is right, if the question itself does not say. Best computed by qviz in the same cell.
    tolerance : float, optional
        How far off each number may be. The question's own unless given; else 0 for whole numbers and bytes, and a
        millionth of the largest expected number for others.

    Returns
    -------
    Check

    Raises
    ------
    LessonError
        An unknown question, or an answer that cannot be compared with what is expected at all.

    Examples
    --------
    >>> check("05.bits", 4)  # doctest: +ELLIPSIS
    05.bits ✗ Not yet. This looks like: counting only the codes. Each sub-block has a scale and a minimum of ...
    >>> check("my sum", [1.0, -2.0], [1.0, 2.0])
    my sum ✗ Not yet. This looks like: a sign turned round. 1 of 2 numbers have the right size and the wrong sign.
    >>> check("my sum", [1.0, 2.0], [1.0, 2.0]).require()
    my sum ✓ Right.
    """
    asked = question(id) if expected is None else _maybe(id)
    if answer is None or answer is Ellipsis:
        return Check(id, False, "", "There is no answer yet.")
    if expected is None:
        if asked.options:
            return _choice(asked, answer)
        if asked.answer is None:
            raise LessonError(f"question {id} does not hold its answer; give what is right as `expected`")
        expected = asked.answer
    got, right = _array(answer, id, "answer"), _array(expected, id, "expected")
    limit = tolerance if tolerance is not None else (asked.tolerance or _tolerance(right))
    if got.shape == right.shape and _close(got, right, limit).all():
        return Check(id, True, "", asked.right.feedback if asked.options else "")
    if got.size == 1 == right.size:
        for known in asked.wrong:
            if abs(float(got.reshape(-1)[0]) - known.value) <= max(limit, 1e-9 * abs(known.value)):
                return Check(id, False, known.mistake, known.feedback)
    mistake, feedback = next(_mistakes(got, right, limit, raw=isinstance(expected, bytes | bytearray)))
    return Check(id, False, mistake, feedback)


def _maybe(id: str) -> Question:
    try:
        return question(id)
    except LessonError:
        return Question(id, "")


def _choice(asked: Question, answer: Any) -> Check:
    if isinstance(answer, int | float | np.number) and not isinstance(answer, bool):
        # options that are numbers may be answered by a number
        answer = next((o.key for o in asked.options if _number(o.text) == float(answer)), answer)
    chosen = asked.option(str(answer))
    return Check(asked.id, chosen.right, chosen.mistake, chosen.feedback)


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "").replace("−", "-"))
    except ValueError:
        return math.nan


def _array(value: Any, id: str, what: str) -> np.ndarray[Any, Any]:
    if isinstance(value, bytes | bytearray | memoryview):
        return np.frombuffer(value, np.uint8)
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise LessonError(
            f"{id}: the {what} must be a number, bytes or an array of numbers, got "
            f"{type(value).__name__} {str(value)[:60]!r}"
        )
    return array


def _tolerance(right: np.ndarray[Any, Any]) -> float:
    if right.dtype.kind != "f" or not right.size:
        return 0.0
    finite = np.abs(right[np.isfinite(right)].astype(np.float64))
    return 1e-6 * float(finite.max(initial=0.0))


def _close(got: np.ndarray[Any, Any], right: np.ndarray[Any, Any], limit: float) -> np.ndarray[Any, Any]:
    a, b = got.astype(np.float64), right.astype(np.float64)
    with np.errstate(invalid="ignore"):
        close: np.ndarray[Any, Any] = (np.abs(a - b) <= limit) | (a == b) | (np.isnan(a) & np.isnan(b))
    return close


def _mistakes(
    got: np.ndarray[Any, Any], right: np.ndarray[Any, Any], limit: float, *, raw: bool
) -> Iterator[tuple[str, str]]:
    """Misconceptions that explain the whole answer, likeliest first; at last, where it differs."""
    if not got.size:
        yield "nothing computed", "The answer is empty."
    if got.shape != right.shape:
        yield from _shapes(got, right, limit)
        return
    a, b = got.astype(np.float64), right.astype(np.float64)
    n, wrong = b.size, int((~_close(a, b, limit)).sum())
    if not np.isfinite(a).all() and np.isfinite(b).all():
        yield (
            "a division by zero, or float16 running over",
            f"{int((~np.isfinite(a)).sum())} of {n} numbers are not finite. Which of your steps can divide by 0?",
        )
        return
    if n > 1 and not a.any():
        yield "an empty array filled in nowhere", f"All {n} numbers are 0."
    if _close(-a, b, limit).all() and b.any():
        yield (
            "the sign turned round",
            "Every number has the right size and the wrong sign. Is something subtracted that is added here?",
        )
    if raw or (got.dtype == np.uint8 and right.dtype == np.uint8):
        yield from _bytes(got, right)
    for factor, mistake, feedback in _FACTORS:
        if b.any() and _close(a, factor * b, max(limit * factor, limit)).all():
            yield mistake, feedback
    flipped = _close(np.abs(a), np.abs(b), limit)
    if flipped.all() and n > 1:
        yield "a sign turned round", f"{wrong} of {n} numbers have the right size and the wrong sign."
    if n > 1 and np.ptp(a - b) <= limit + 1e-9 * np.abs(b).max():
        yield _shifted(float((a - b).flat[0]), right.dtype.kind in "iu")
    if n > 1 and right.ndim == 1 and _close(a[::-1], b, limit).all():
        yield "the order turned round", "All numbers are right, from the last to the first."
    if right.ndim == 2 and right.shape[0] == right.shape[1] and _close(a.T, b, limit).all():
        yield "the wrong axis", "Your answer is right when transposed: rows and columns have changed places."
    if n > 1 and _close(np.sort(a, axis=None), np.sort(b, axis=None), limit).all():
        yield "the right numbers in the wrong order", f"{wrong} of {n} stand in another place."
    if right.dtype.kind in "iu" and np.abs(a - b).max() <= 1 and n > 1:
        yield (
            "cutting off instead of rounding",
            f"{wrong} of {n} numbers are off by one. Are fractions cut off, or is something rounded twice?",
        )
    if n == 1:
        yield "", "Another number. " + ("Too small." if float(a.flat[0]) < float(b.flat[0]) else "Too large.")
    first = np.argwhere(~_close(a, b, limit))[:_FEW]
    places = ", ".join(str([int(i) for i in place]) for place in first)
    yield "", f"{wrong} of {n} numbers differ, the first ones at {places}."


def _shifted(step: float, whole: bool) -> tuple[str, str]:
    """What explains an answer that is off by the same step everywhere; `whole`: numbers are codes."""
    if abs(step) == 1:
        where = f"Every number is one {'more' if step > 0 else 'less'} than it should be. Where do the codes start?"
        return "off by one", where
    if whole and abs(step) in (8, 16, 128):
        return (
            "codes that are stored, for codes that are meant",
            f"Every number is off by {step:+.0f}: what a file stores starts at 0, the code that is meant may not.",
        )
    return (
        "a constant left out, or added with the wrong sign",
        "Every number is off by the same amount. Is a minimum or zero point missing, or taken twice?",
    )


_FACTORS = (
    (
        2.0,
        "twice as much",
        "The answer is twice what it should be. Is something counted twice, or are steps twice as wide?",
    ),
    (
        0.5,
        "half as much",
        "The answer is half of what it should be. Is a second part left out, or are steps half as wide?",
    ),
    (8.0, "bits for bytes", "The answer is eight times what it should be: those are bits, and bytes were asked for."),
    (
        0.125,
        "bytes for bits",
        "The answer is an eighth of what it should be: those are bytes, and bits were asked for.",
    ),
    (1000.0, "a unit too small", "The answer is a thousand times what it should be."),
    (0.001, "a unit too large", "The answer is a thousandth of what it should be."),
    (
        100.0,
        "percent for a share",
        "The answer is a hundred times what it should be: a share was asked for, not percent.",
    ),
    (
        0.01,
        "a share for percent",
        "The answer is a hundredth of what it should be: percent were asked for, not a share.",
    ),
    (2**30 / 1e9, "GB for GiB", "Off by 2³⁰/10⁹: GiB were asked for, and a GiB is 2³⁰ bytes."),
    (1e9 / 2**30, "GiB for GB", "Off by 10⁹/2³⁰: GB were asked for, and a GB is 10⁹ bytes."),
)


def _shapes(got: np.ndarray[Any, Any], right: np.ndarray[Any, Any], limit: float) -> Iterator[tuple[str, str]]:
    shapes = f"The shape is {got.shape}, expected {right.shape}."
    if got.size == right.size and _close(got.reshape(-1), right.reshape(-1), limit).all():
        yield "the right numbers in another shape", shapes
    if got.ndim == 2 and got.shape == right.shape[::-1]:
        yield "the wrong axis", f"{shapes} Rows and columns have changed places."
    if right.ndim and got.ndim and right.size == 2 * got.size:
        yield "half as many", f"{shapes} Two 4-bit codes share a byte: is one of the two halves missing?"
    if right.ndim and got.ndim and got.size == 2 * right.size:
        yield "twice as many", f"{shapes} Two 4-bit codes share a byte: are they in a byte each?"
    yield "", shapes


def _bytes(got: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> Iterator[tuple[str, str]]:
    a, b = got.reshape(-1).astype(np.uint8), right.reshape(-1).astype(np.uint8)
    swapped = (a >> 4) | (a << 4)
    if (swapped == b).all():
        yield "high and low half of a byte swapped", "Each byte has its two 4-bit halves the wrong way round."
        return
    differ = a != b
    if (swapped[differ] == b[differ]).all() and differ.sum() > 1:
        yield (
            "high and low half of a byte swapped",
            f"{int(differ.sum())} of {b.size} bytes have their two 4-bit halves the wrong way round.",
        )
    if b.size % 2 == 0 and (a.reshape(-1, 2)[:, ::-1].reshape(-1) == b).all():
        yield "the other byte order", "Each pair of bytes is the wrong way round: the lowest byte comes first."
    if b.size > 2 and (a[2:] == b[2:]).all() and a[0] == b[1] and a[1] == b[0]:
        yield (
            "the other byte order",
            "The first two bytes are the wrong way round: the lowest byte of a float16 comes first.",
        )
    places = np.flatnonzero(differ)
    run = ", ".join(map(str, places[:_FEW])) + (" …" if places.size > _FEW else "")
    if 0 < places.size <= 2 and places.max() < 2 and b.size > 2:
        yield (
            "the scale rounded another way, or with the other sign",
            "All codes are right; the bytes of the scale differ.",
        )
    yield "", f"{places.size} of {b.size} bytes differ: {run}."
