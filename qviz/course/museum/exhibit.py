"""What an exhibit is: a fault that shipped, run again on real weights.

An exhibit holds two functions that differ in a line or two, `wrong` and `right`; two tests, one that both pass
(`blind`) and one that only the right one passes (`sharp`); and `examine`, which runs both functions on real weights
and says how far they are apart. The code on show is the code that runs: it is read from the functions themselves.

The functions are ours. They repeat the *idea* of a fault, as its thread tells it, in a few lines of NumPy.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from qviz import metrics
from qviz._machine.blas import on_one_thread
from qviz._types import FloatArray
from qviz.errors import MuseumError, shortened


@dataclass(frozen=True)
class Thread:
    """Where a fault was reported or repaired.

    Examples
    --------
    >>> thread = Thread("ml-explore/mlx-lm", 1878)
    >>> thread.name, thread.url
    ('ml-explore/mlx-lm#1878', 'https://github.com/ml-explore/mlx-lm/issues/1878')
    """

    repository: str
    number: int
    kind: Literal["issues", "pull"] = "issues"

    @property
    def name(self) -> str:
        """``owner/repo#number``."""
        return f"{self.repository}#{self.number}"

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://github.com/{self.repository}/{self.kind}/{self.number}"


@dataclass(frozen=True)
class Diagnosis:
    """One answer to "what is wrong?".

    Attributes
    ----------
    text : str
    feedback : str
        What speaks for it or against it; for a wrong one, the misconception behind it.
    right : bool
    """

    text: str
    feedback: str
    right: bool = False


@dataclass(frozen=True)
class Number:
    """One measured quantity of both builds.

    Attributes
    ----------
    label : str
    right, wrong : float
        What the correct build gives, and the one that shipped.
    kind : {"share", "count", "number"}
        How to write it: in percent, as a whole number, or as it is.
    note : str
        What is counted, where the label is too short for it.
    """

    label: str
    right: float
    wrong: float
    kind: Literal["share", "count", "number"] = field(default="number", kw_only=True)
    note: str = field(default="", kw_only=True)


@dataclass(frozen=True, eq=False)
class Trial:
    """Both builds, run on the same real weights.

    Attributes
    ----------
    material : str
        Which weights and inputs.
    right, wrong : float32 arrays (rows, columns)
        What the correct build and the one that shipped make of them. NaN and infinity stay as they are.
    numbers : tuple of Number
    block : int
        Columns between two lines in the pictures: a block, a group or a super-block.
    block_name : str
        What that is.
    """

    material: str
    right: FloatArray
    wrong: FloatArray
    numbers: tuple[Number, ...]
    block: int
    block_name: str

    @cached_property
    def differing(self) -> int:
        """Weights that are not the same in both; NaN differs from everything."""
        return int((self.right != self.wrong).sum())

    @cached_property
    def first_column(self) -> int:
        """The first column in which any weight differs; -1 if none does."""
        columns = np.flatnonzero((self.right != self.wrong).any(axis=0))
        return int(columns[0]) if columns.size else -1


@dataclass(frozen=True, eq=False)
class Exhibit:
    """One fault.

    Attributes
    ----------
    name : str
        To find it by.
    symptom : str
        What people noticed, as a headline that gives nothing away.
    story : str
        The same in two or three sentences.
    fault : str
        The diagnosis.
    shipped_in : str
        Where, and when it was reported.
    threads : tuple of Thread
    wrong, right : callable
        The step at fault, as it shipped and as it should be. Their names start with ``_wrong_`` and ``_right_``.
    blind, sharp : callable ``(step) -> bool``
        A test that lets the fault through, and one that would have caught it.
    why_green : str
        Why tests did not notice.
    remedy : str
        What kind of test notices.
    examine : callable ``() -> Trial``
    diagnoses : tuple of Diagnosis
        Exactly one is right.
    made_up : str
        What of it is not as it was found in the wild; empty if nothing.

    Raises
    ------
    MuseumError
        Something is missing.
    """

    name: str
    symptom: str
    story: str
    fault: str
    shipped_in: str
    threads: tuple[Thread, ...]
    wrong: Callable[..., Any]
    right: Callable[..., Any]
    blind: Callable[[Callable[..., Any]], bool]
    sharp: Callable[[Callable[..., Any]], bool]
    why_green: str
    remedy: str
    examine: Callable[[], Trial]
    diagnoses: tuple[Diagnosis, ...]
    made_up: str = ""

    def __post_init__(self) -> None:
        right = sum(diagnosis.right for diagnosis in self.diagnoses)
        if right != 1 or len(self.diagnoses) < 3:
            raise MuseumError(
                f"exhibit {shortened(self.name)} has {len(self.diagnoses)} diagnoses, {right} of them right; "
                f"give it at least three, and exactly one that is right"
            )
        if not self.threads:
            raise MuseumError(f"exhibit {shortened(self.name)} has no thread; say where the fault was reported")
        for step, prefix in ((self.wrong, "_wrong_"), (self.right, "_right_")):
            called = getattr(step, "__name__", "without a name")
            if not called.startswith(prefix):
                raise MuseumError(
                    f"the step {called} of exhibit {shortened(self.name)} must have a name that starts with {prefix}"
                )

    @property
    def answer(self) -> int:
        """Index of the right diagnosis."""
        return next(i for i, diagnosis in enumerate(self.diagnoses) if diagnosis.right)

    @cached_property
    def trial(self) -> Trial:
        """What `examine` found; run once."""
        return on_one_thread(self.examine)()

    def passes(self, test: Literal["blind", "sharp"], step: Literal["wrong", "right"]) -> bool:
        """Run one of the two tests on one of the two functions.

        Parameters
        ----------
        test : {"blind", "sharp"}
        step : {"wrong", "right"}

        Returns
        -------
        bool
            Whether the test is green.

        Examples
        --------
        >>> from qviz.course.museum import get
        >>> [[get("block-index").passes(test, step) for step in ("wrong", "right")] for test in ("blind", "sharp")]
        [[True, True], [False, True]]
        """
        tests, steps = {"blind": self.blind, "sharp": self.sharp}, {"wrong": self.wrong, "right": self.right}
        if test not in tests or step not in steps:
            raise MuseumError(
                f"test must be blind or sharp and step wrong or right, got {shortened(test)} and {shortened(step)}"
            )
        return bool(on_one_thread(tests[test])(steps[step]))

    def __repr__(self) -> str:
        return f"<Exhibit {self.name}: {self.symptom}>"


def source(function: Callable[..., Any]) -> str:
    """The code of an exhibit's function as it is shown: without the prefix of its name and without its docstring.

    Raises
    ------
    MuseumError
        A function whose source is in no file.

    Examples
    --------
    >>> from qviz.course.museum import EXHIBITS
    >>> print(source(EXHIBITS["min-sign"].right))
    def decode(code, scale, low):
        return scale * code - low
    """
    try:
        text = inspect.getsource(function).rstrip()
    except (OSError, TypeError) as problem:  # typed into a console; written in C
        raise MuseumError(f"{shortened(function)} has no source that can be read: {problem}") from None
    text = re.sub(r'^    """.*?"""\n', "", text, count=1, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^def _(?:wrong|right|blind|sharp)_", "def ", text)


def output_error(inputs: FloatArray, weight: FloatArray, other: FloatArray) -> float:
    """‖X·(Ŵ − W)ᵀ‖² / ‖X·Wᵀ‖²; infinity where the other weights are not finite.

    Parameters
    ----------
    inputs : float32 array (n_tokens, n_in)
    weight, other : float32 arrays (n_out, n_in)

    Returns
    -------
    float

    Examples
    --------
    >>> output_error(np.float32([[2.0]]), np.float32([[1.0]]), np.float32([[1.5]]))
    0.25
    """
    if not np.isfinite(other).all():
        return math.inf
    return metrics.output_error(inputs, weight, other)


def weight_error(weight: FloatArray, other: FloatArray) -> float:
    """‖Ŵ − W‖² / ‖W‖²; infinity where the other weights are not finite."""
    if not np.isfinite(other).all():
        return math.inf
    apart = metrics.compare(weight, other)
    return apart.error / apart.signal


def weight_errors(weight: FloatArray, right: FloatArray, wrong: FloatArray) -> Number:
    """The `weight_error` of both builds, as one of a trial's numbers."""
    return Number("Weight error", weight_error(weight, right), weight_error(weight, wrong), kind="share")
