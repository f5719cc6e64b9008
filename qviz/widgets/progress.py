"""`ProgressBar`: what a long cell is doing, shown above it."""

from __future__ import annotations

import time

import ipywidgets


class ProgressBar(ipywidgets.HBox):  # type: ignore[misc]
    """A bar that long work reports to; show it in a cell of its own, before the cell that works.

    Examples
    --------
    >>> bar = ProgressBar()
    >>> bar("scoring", 3, 10)
    >>> bar
    ProgressBar(scoring: 3 of 10)
    """

    def __init__(self) -> None:
        self._bar = ipywidgets.IntProgress(0, 0, 1, layout={"width": "240px"})
        self._label = ipywidgets.Label("nothing to do yet")
        self._said: tuple[str, int, int | None] = ("", 0, 0)
        self._at = 0.0
        super().__init__([self._bar, self._label])

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Report: `done` of `total` pieces of `what` are finished; None: nobody knows how many there are."""
        new = what != self._said[0]
        self._said = (what, done, total)
        if new or done == total or time.monotonic() - self._at > 0.1:  # the browser need not hear of every piece
            self._at = time.monotonic()
            self._bar.max, self._bar.value = max(total or done, 1), done
            self._label.value = _line(what, done, total)

    def __repr__(self) -> str:
        return f"ProgressBar({_line(*self._said)})" if self._said[0] else "ProgressBar()"


def _line(what: str, done: int, total: int | None) -> str:
    return f"{what}: {done}" if total is None else f"{what}: {done} of {total}"
