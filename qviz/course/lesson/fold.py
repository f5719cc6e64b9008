"""`fold`: an output that answers a prediction, kept closed until the prediction is made."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from qviz.course.lesson.bank import question
from qviz.errors import LessonError


@dataclass(frozen=True, eq=False, repr=False)
class Folded:
    """Something to show under a line to click on; see `fold`.

    Attributes
    ----------
    inner : object
        What is inside, as a notebook or as text.
    line : str
        What is seen of it while it is closed.
    """

    inner: Any
    line: str

    def __repr__(self) -> str:
        return str(self.inner)

    def _repr_html_(self) -> str:
        rich = getattr(self.inner, "_repr_html_", None)
        inside = rich() if rich is not None else f"<pre>{html.escape(str(self.inner))}</pre>"
        return f"<details><summary>{html.escape(self.line)}</summary>{inside}</details>"


def fold(shown: Any, id: str) -> Folded:
    """Keep an output closed that would answer a prediction on the same screen.

    Parameters
    ----------
    shown : object
        A table, or a text.
    id : str
        The question that it answers; or, where it answers none of them, what to write on the line.

    Returns
    -------
    Folded
        Closed for everybody, so that a notebook's outputs are the same for everybody; one click opens it.

    Examples
    --------
    >>> fold("about 6 dB", "00.1")
    about 6 dB
    >>> print(fold("1 < 2", "the end")._repr_html_())
    <details><summary>the end</summary><pre>1 &lt; 2</pre></details>
    """
    try:
        asked = question(id)
    except LessonError:
        return Folded(shown, id)
    number = asked.id.partition(".")[2]
    return Folded(shown, f"What prediction {number} is about, measured: open it when you have made yours")
