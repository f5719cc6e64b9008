"""Size against damage: which formats are worth choosing, and which one fits a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array, whole_array
from qviz._types import DoubleArray
from qviz.errors import WidgetError
from qviz.figures import _charts
from qviz.metrics import pareto

if TYPE_CHECKING:
    import plotly.graph_objects as go

SERIES_ROLES = ("level", "field-2", "ok")
"""Colour of each series: recipes, recipes with an importance matrix, best files."""


@dataclass(frozen=True, eq=False)
class Balance:
    """Points in a plane, both axes the smaller the better; the damage on a logarithmic scale.

    Attributes
    ----------
    names : tuple of str
    sizes, damage, errors : float64 arrays (n,)
        Across, upwards, and the standard error of what is upwards.
    front : int32 array (k,)
        The points that no other beats in both, from left to right.
    fits : uint8 array (n,)
        1 where the size is within the budget.
    budget : float
    current : int
        The point on show.
    best : int
        The least damage within the budget; -1 where nothing fits.
    across, upwards : str
        What the axes mean.
    series : uint8 array (n,)
        Which way of making files each point belongs to, an index into `titles`.
    titles : tuple of str
        What each of these ways is called.
    fronts : tuple of int32 arrays
        The front of each series alone.
    ghost : int
        What was chosen before; -1 for nothing.
    """

    names: tuple[str, ...]
    sizes: DoubleArray
    damage: DoubleArray
    errors: DoubleArray
    front: npt.NDArray[np.int32]
    fits: npt.NDArray[np.uint8]
    budget: float
    current: int
    best: int
    across: str
    upwards: str
    series: npt.NDArray[np.uint8]
    titles: tuple[str, ...]
    fronts: tuple[npt.NDArray[np.int32], ...]
    ghost: int

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: points with their standard errors, the front, the budget."""
        across = _charts.logarithmic(self.across, _charts.room([*self.sizes, self.budget]))
        figure = _charts.chart(across, _charts.logarithmic(self.upwards, _charts.room(self.damage)))
        order = self.front
        _charts.curve(
            figure, self.sizes[order], self.damage[order], "nothing is better in both", "soft", line={"width": 1}
        )
        for k, (title, role) in enumerate(zip(self.titles, SERIES_ROLES, strict=False)):
            mine = np.flatnonzero(self.series == k)
            bars = {"array": _charts.plain(self.errors[mine]), "thickness": 1, "width": 0}
            names = [self.names[i] for i in mine]
            _charts.points(figure, self.sizes[mine], self.damage[mine], names, title, role, error_y=bars)
        _charts.mark(figure, self.budget, "budget", "weight")
        return figure


def balance(
    names: Sequence[str],
    sizes: npt.ArrayLike,
    damage: npt.ArrayLike,
    errors: npt.ArrayLike,
    *,
    budget: float,
    current: int = 0,
    across: str = "size",
    upwards: str = "damage",
    series: npt.ArrayLike | None = None,
    titles: Sequence[str] = ("measured",),
    ghost: int = -1,
) -> Balance:
    """Find the front of what is worth choosing, and the best point within a budget.

    Parameters
    ----------
    names : sequence of str
    sizes, damage, errors : array_like (n,)
        Damage may be 0 or below (a difference within its error): it is drawn at the foot of the scale.
    budget : float
        Largest size that is wanted, in the unit of `sizes`.
    current : int
        The point on show.
    across, upwards : str
        What the axes mean.
    series : array_like of int (n,), optional
        Which of `titles` each point belongs to; the first unless given.
    titles : sequence of str
        Up to three ways of making files.
    ghost : int
        The point that was chosen before; -1 for none.

    Returns
    -------
    Balance

    Raises
    ------
    WidgetError
        No points, lengths that differ, a series without a title, or numbers that are not finite.

    Examples
    --------
    >>> b = balance(["a", "b", "c"], [4, 5, 6], [1, 0.5, 0.7], [0, 0, 0], budget=5.5)
    >>> [b.names[i] for i in b.front], b.names[b.best], b.fits.tolist()
    (['a', 'b'], 'b', [1, 1, 0])
    >>> two = balance(["a", "b", "c"], [4, 5, 6], [1, 2, 3], [0, 0, 0], budget=7, series=[0, 1, 1], titles=["x", "y"])
    >>> two.front.tolist(), [front.tolist() for front in two.fronts]  # a beats both, b beats c
    ([0], [[0], [1]])
    """
    x, y, e = (real_array(a, "sizes", WidgetError, (np.float64,)).reshape(-1) for a in (sizes, damage, errors))
    if not len(names) or not len(names) == x.size == y.size == e.size:
        raise WidgetError(f"{len(names)} names, {x.size} sizes, {y.size} damages, {e.size} errors: one each is needed")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(e).all() and np.isfinite(budget)):
        raise WidgetError("sizes, damages, errors and the budget must be finite numbers")
    if not 1 <= len(titles) <= len(SERIES_ROLES):
        raise WidgetError(f"one to {len(SERIES_ROLES)} titles are needed, got {len(titles)}")
    kind = np.zeros(x.size, np.int64)
    if series is not None:
        kind = whole_array(series, "series", WidgetError, shape=(x.size,), least=0, most=len(titles) - 1)
    fits = x <= budget
    best = int(np.where(fits, y, np.inf).argmin()) if fits.any() else -1
    return Balance(
        tuple(names),
        x,
        y,
        e,
        _front(np.arange(x.size), x, y),
        fits.astype(np.uint8),
        float(budget),
        min(max(int(current), 0), x.size - 1),
        best,
        across,
        upwards,
        kind.astype(np.uint8),
        tuple(titles),
        tuple(_front(np.flatnonzero(kind == k), x, y) for k in range(len(titles))),
        int(ghost) if 0 <= ghost < x.size else -1,
    )


def _front(among: npt.NDArray[np.intp], x: DoubleArray, y: DoubleArray) -> npt.NDArray[np.int32]:
    """Those of some points that no other of them beats in both."""
    return among[pareto(list(zip(x[among], y[among], strict=True)))].astype(np.int32)
