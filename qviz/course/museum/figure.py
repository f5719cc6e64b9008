"""What an exhibit of the bug museum shows: where two builds part, two pieces of code side by side, a question."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qviz._types import FloatArray
from qviz.errors import WidgetError


@dataclass(frozen=True, eq=False)
class ColumnGap:
    """How far two matrices are apart, column by column.

    Attributes
    ----------
    gap : float32 array (columns,)
        Root mean square of the difference, in units of the first matrix's root mean square; 0 where a column is the
        same in both, NaN where one of them is not finite.
    first : int
        The first column that differs; -1 if none does.
    block : int
        Columns between two lines.
    block_name : str
        What that is.
    """

    gap: FloatArray
    first: int
    block: int
    block_name: str


@dataclass(frozen=True)
class CodeLine:
    """One line of `CodePair`; an empty side has no such line.

    Attributes
    ----------
    left, right : str
    same : bool
    """

    left: str
    right: str
    same: bool


@dataclass(frozen=True)
class CodePair:
    """Two versions of one function, line by line.

    Attributes
    ----------
    lines : tuple of CodeLine
    """

    lines: tuple[CodeLine, ...]


@dataclass(frozen=True)
class TestRun:
    """A test, and what it says about both versions.

    Attributes
    ----------
    code : str
    wrong, right : bool
        Whether the version passes.
    note : str
    """

    code: str
    wrong: bool
    right: bool
    note: str

    __test__ = False  # not one of pytest's


@dataclass(frozen=True)
class QuizAnswer:
    """One choice of a `Quiz`.

    Attributes
    ----------
    text : str
    state : str
        ``"open"``, or what it was found to be: ``"right"`` or ``"wrong"``.
    feedback : str
        Empty while it is open.
    """

    text: str
    state: str
    feedback: str


@dataclass(frozen=True)
class Quiz:
    """A question with choices.

    Attributes
    ----------
    name : str
        Changes with the question.
    answers : tuple of QuizAnswer
    solved : bool
    """

    name: str
    answers: tuple[QuizAnswer, ...]
    solved: bool


@dataclass(frozen=True)
class Label:
    """Paragraphs beside an exhibit, each with a heading, and links.

    Attributes
    ----------
    parts : tuple of (heading, text)
    links : tuple of (text, address)
    """

    parts: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...] = ()


def column_gap(right: FloatArray, wrong: FloatArray, block: int, block_name: str) -> ColumnGap:
    """Compare two matrices column by column.

    Parameters
    ----------
    right, wrong : float32 arrays (rows, columns)
    block : int
        Columns between two lines.
    block_name : str

    Returns
    -------
    ColumnGap

    Raises
    ------
    WidgetError
        Not two matrices of one shape, or a block of no columns.

    Examples
    --------
    >>> found = column_gap(np.float32([[1, -1], [1, 1]]), np.float32([[1, 1], [1, 1]]), 1, "column")
    >>> found.gap.astype(float).round(3).tolist(), found.first
    ([0.0, 1.414], 1)
    """
    if right.ndim != 2 or right.shape != wrong.shape or not right.size:
        raise WidgetError(f"two matrices of one shape are compared here, got {right.shape} and {wrong.shape}")
    if block < 1:
        raise WidgetError(f"a block has at least one column, got {block}")
    unit = float(np.sqrt(np.square(right, dtype=np.float64).mean())) or 1.0
    with np.errstate(invalid="ignore", over="ignore"):
        off = wrong.astype(np.float64) - right
        gap = np.sqrt(np.square(off).mean(axis=0)) / unit
    gap[~np.isfinite(gap)] = np.nan
    differing = np.flatnonzero((right != wrong).any(axis=0))
    first = int(differing[0]) if differing.size else -1
    return ColumnGap(gap.astype(np.float32), first, int(block), block_name)


def code_pair(left: str, right: str) -> CodePair:
    r"""Put two versions of a piece of code side by side, equal lines beside one another.

    Parameters
    ----------
    left, right : str

    Returns
    -------
    CodePair

    Examples
    --------
    >>> for line in code_pair("a = 1\nb = 2", "a = 1\nb = 3\nc = 4").lines:
    ...     print(line.same, line.left, "|", line.right)
    True a = 1 | a = 1
    False b = 2 | b = 3
    False  | c = 4
    """
    old, new = left.splitlines(), right.splitlines()
    lines: list[CodeLine] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        for i in range(max(b - a, d - c)):
            sides = (old[a + i] if a + i < b else "", new[c + i] if c + i < d else "")
            lines.append(CodeLine(*sides, kind == "equal"))
    return CodePair(tuple(lines))


def quiz(name: str, answers: Sequence[tuple[str, str, bool]], tried: Sequence[int]) -> Quiz:
    """A question, as far as it has been answered.

    Parameters
    ----------
    name : str
    answers : sequence of (text, feedback, right)
    tried : sequence of int
        The answers given so far.

    Returns
    -------
    Quiz

    Raises
    ------
    WidgetError
        An answer that is not there.

    Examples
    --------
    >>> found = quiz("sum", [("3", "One too few.", False), ("4", "Yes.", True)], [0])
    >>> [(a.state, a.feedback) for a in found.answers], found.solved
    ([('wrong', 'One too few.'), ('open', '')], False)
    """
    for index in tried:
        if index not in range(len(answers)):
            raise WidgetError(f"no answer {index} to {name!r}; there are 0 … {len(answers) - 1}")
    choices = tuple(
        QuizAnswer(text, "right" if right else "wrong", feedback) if i in tried else QuizAnswer(text, "open", "")
        for i, (text, feedback, right) in enumerate(answers)
    )
    return Quiz(name, choices, any(answers[i][2] for i in tried))
