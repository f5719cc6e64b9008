"""The search of the K-quants for a scale, candidate by candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qviz._types import FloatArray, IntArray
from qviz.errors import WidgetError
from qviz.figures import _charts
from qviz.figures.histogram import Histogram
from qviz.figures.numberline import NumberLine

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class ScaleSearch:
    """What the search saw: ``weight ≈ scale · code − min`` for each of k candidates; candidate 0 is the baseline.

    Attributes
    ----------
    weights, importance : float32 arrays (n,)
        One sub-block, and how much the error of each weight counts.
    scales, mins, errors : float32 arrays (k,)
        The error is the weighted sum that the search keeps small; NaN where a candidate has no fit.
    codes : int32 array (k, n)
    best : int32 array (k,)
        For each candidate, the best one so far.
    winner : int
        The candidate that the encoder returned.
    """

    weights: FloatArray
    importance: FloatArray
    scales: FloatArray
    mins: FloatArray
    errors: FloatArray
    codes: IntArray
    best: IntArray
    winner: int

    @property
    def ratio(self) -> float:
        """Error of the winner over that of the baseline; 1 where the baseline has none."""
        before = float(self.errors[0])
        return float(self.errors[self.winner]) / before if before > 0 else 1.0


@dataclass(frozen=True, eq=False)
class SearchCurve:
    """The errors of all candidates, one of them picked out.

    Attributes
    ----------
    errors : float32 array (k,)
        In units of the baseline's error where that is not 0; NaN where a candidate has no fit.
    relative : bool
        False where the baseline has no error to compare with.
    best : int32 array (k,)
    current, winner : int
    baseline : str
        What candidate 0 is called.
    """

    errors: FloatArray
    relative: bool
    best: IntArray
    current: int
    winner: int
    baseline: str

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: the error of each candidate, and the least so far."""
        unit = f"error, 1 is {self.baseline}" if self.relative else "error"
        figure = _charts.chart(_charts.axis("candidate"), _charts.axis(unit))
        tried = np.arange(len(self.errors))
        marker = {"color": "rgba(0,0,0,0)", "line": {"width": 1.5}}
        figure.add_scatter(
            x=_charts.plain(tried), y=_charts.plain(self.errors), mode="markers", name="tried", marker=marker
        )
        _charts.curve(figure, tried, self.errors[self.best], "best so far", "ok", line={"shape": "hv"})
        return figure


def scale_search(
    weights: FloatArray,
    importance: FloatArray,
    trace: FloatArray,
    returned: tuple[float, FloatArray],
    errors: FloatArray,
) -> ScaleSearch:
    """Put a recorded search in order, and find its winner.

    Parameters
    ----------
    weights, importance : float32 arrays (n,)
    trace : float32 array (k, 3 + n)
        Scale, minimum, score and codes of each candidate, as the encoder recorded them.
    returned : (float, float32 array (n,))
        The scale and the codes that the encoder returned.
    errors : float32 array (k,)
        The weighted error of each candidate.

    Returns
    -------
    ScaleSearch

    Raises
    ------
    WidgetError
        No candidate is what the encoder returned.

    Examples
    --------
    >>> x = np.float32([0, 1, 3])
    >>> trace = np.float32([[1.5, 0, 0.5, 0, 1, 2], [1, 0, 0, 0, 1, 3]])
    >>> search = scale_search(x, np.ones_like(x), trace, (1.0, trace[1, 3:]), trace[:, 2])
    >>> search.winner, search.best.tolist(), search.ratio
    (1, [0, 1], 0.0)
    """
    scale, codes = returned
    same = (trace[:, 0] == np.float32(scale)) & (trace[:, 3:] == codes).all(axis=1)
    if not same.any():
        raise WidgetError(
            f"none of {len(trace)} candidates has the scale {scale!r} that the encoder returned; "
            f"the trace belongs to another sub-block"
        )
    winner = int(np.flatnonzero(same)[0])
    best = np.zeros(len(trace), np.int32)
    for k in range(1, len(trace)):
        best[k] = k if errors[k] < errors[best[k - 1]] else best[k - 1]
    # where two fits differ by less than float32 tells apart, the encoder's word counts
    best[winner:][best[winner:] != winner] = winner
    return ScaleSearch(
        weights,
        importance,
        trace[:, 0].copy(),
        trace[:, 1].copy(),
        errors.astype(np.float32),
        trace[:, 3:].astype(np.int32),
        best,
        winner,
    )


def search_line(search: ScaleSearch, candidate: int, codes: tuple[int, int], density: Histogram) -> NumberLine:
    """The weights of the sub-block above the levels of one candidate.

    Parameters
    ----------
    search : ScaleSearch
    candidate : int
    codes : (int, int)
        Smallest and largest code of the format.
    density : Histogram
        Weights to show behind; its ends are those of the axis.

    Returns
    -------
    NumberLine
        Levels from left to right, whatever the sign of the scale.
    """
    scale, low = search.scales[candidate], search.mins[candidate]
    all_codes = np.arange(codes[0], codes[1] + 1, dtype=np.int32)
    levels = scale * all_codes.astype(np.float32) - low
    used = np.bincount(search.codes[candidate] - codes[0], minlength=all_codes.size).astype(np.int32)
    snapped = scale * search.codes[candidate].astype(np.float32) - low
    order = slice(None, None, -1 if scale < 0 else 1)
    return NumberLine(
        np.ascontiguousarray(levels[order]),
        np.ascontiguousarray(all_codes[order]),
        np.ascontiguousarray(used[order]),
        search.weights,
        snapped,
        density,
        search.weights.size,
    )


def search_curve(search: ScaleSearch, candidate: int, baseline: str) -> SearchCurve:
    """The error of every candidate, as shares of the baseline's.

    Parameters
    ----------
    search : ScaleSearch
    candidate : int
        The one picked out.
    baseline : str

    Returns
    -------
    SearchCurve
    """
    relative = bool(search.errors[0] > 0)
    unit = search.errors[0] if relative else np.float32(1)
    return SearchCurve(search.errors / unit, relative, search.best, candidate, search.winner, baseline)
