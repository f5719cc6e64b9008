"""A graded cell of an exercise says one thing: what was earned, or what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qviz.errors import WrongAnswerError


@contextmanager
def graded(points: int) -> Iterator[None]:
    """Run the checks of a graded cell, and say what became of them.

    Parameters
    ----------
    points : int
        What the cell is worth; the same number stands in its nbgrader metadata.

    Raises
    ------
    WrongAnswerError
        A check failed. Its text is the check's own message, and a notebook shows that alone, without a traceback. Any
        other error comes from the answer's own code, and is shown as it is.

    Examples
    --------
    >>> with graded(points=2):
    ...     assert sum([1, 2]) == 3, "add all of them"
    ✓ passed, 2 points
    """
    try:
        yield
    except WrongAnswerError:
        raise
    except AssertionError as error:
        said = str(error) or "a check failed; look at the last line of this cell that compares something"
        raise WrongAnswerError(said) from None
    print(f"✓ passed, {points} point{'s' * (points != 1)}")
