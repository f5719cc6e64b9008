"""How sure, how right: a forecaster's confidence against the share of forecasts that came true."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qviz._types import DoubleArray
from qviz.errors import WidgetError
from qviz.figures import _charts

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class Calibration:
    """Answers put together by confidence.

    Attributes
    ----------
    confidence, share : float64 arrays (k,)
        How sure each group was, and the share of it that was right; from the least sure to the surest.
    low, high : float64 arrays (k,)
        Where the true share probably lies: Wilson's interval at 68 %, one standard error.
    counts : int32 array (k,)
        Answers in each group.
    brier : float
        Mean of (confidence − right)²: 0 is best, and saying 50 % every time gives 0.25.
    sure, right : float
        Mean confidence, and the share of all answers that were right.
    """

    confidence: DoubleArray
    share: DoubleArray
    low: DoubleArray
    high: DoubleArray
    counts: npt.NDArray[np.int32]
    brier: float
    sure: float
    right: float

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: how sure across, how right upwards, with one standard error."""
        figure = _charts.chart(
            _charts.axis("how sure", range=[-0.03, 1.06]), _charts.axis("how right", range=[-0.03, 1.06])
        )
        _charts.curve(figure, [0, 1], [0, 1], "as right as sure", "soft", line={"dash": "dash", "width": 1})
        up, down = (_charts.plain(part) for part in (self.high - self.share, self.share - self.low))
        bars = {"array": up, "arrayminus": down, "thickness": 1, "width": 0}
        _charts.points(
            figure, self.confidence, self.share, [str(n) for n in self.counts], "answers", "level", error_y=bars
        )
        return figure


def calibration(confidence: npt.ArrayLike, right: npt.ArrayLike) -> Calibration:
    """Compare confidence with what came true.

    Parameters
    ----------
    confidence : array_like (n,)
        Probabilities, 0 … 1, that each answer is right.
    right : array_like (n,)
        Whether it was.

    Returns
    -------
    Calibration
        Without any answers, `brier`, `sure` and `right` are NaN.

    Raises
    ------
    WidgetError
        Lengths that differ, or numbers that are no probabilities.

    Notes
    -----
    G. W. Brier, *Verification of forecasts expressed in terms of probability*, Monthly Weather Review 78, 1950; here
    for the chosen answer alone. E. B. Wilson, *Probable inference*, Journal of the American Statistical Association
    22, 1927.

    Examples
    --------
    >>> c = calibration([0.5, 0.9, 0.9, 0.9], [True, True, True, False])
    >>> c.counts.tolist(), c.share.round(2).tolist(), round(c.brier, 2)
    ([1, 3], [1.0, 0.67], 0.27)
    """
    p, hit = np.asarray(confidence, np.float64).reshape(-1), np.asarray(right, bool).reshape(-1)
    if p.size != hit.size:
        raise WidgetError(f"{p.size} confidences and {hit.size} results: one each is needed")
    if not ((p >= 0) & (p <= 1)).all():
        raise WidgetError("a confidence is a probability: 0 … 1")
    if not p.size:
        nothing = np.empty(0)
        return Calibration(nothing, nothing, nothing, nothing, np.empty(0, np.int32), math.nan, math.nan, math.nan)
    # whatever is below a toss-up is guessing, among however many options it was
    bins = np.where(p < 0.5, 0, np.rint(10 * p)).astype(int)
    _, at = np.unique(bins, return_inverse=True)
    n = np.bincount(at)
    share = np.bincount(at, hit) / n
    middle, half = _wilson(share, n)
    return Calibration(
        np.bincount(at, p) / n,
        share,
        (middle - half).clip(0, 1),
        (middle + half).clip(0, 1),
        n.astype(np.int32),
        float(np.mean((p - hit) ** 2)),
        float(p.mean()),
        float(hit.mean()),
    )


def _wilson(share: DoubleArray, n: npt.NDArray[np.int64], z: float = 1.0) -> tuple[DoubleArray, DoubleArray]:
    scale = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return middle, half
