"""Histograms of a million numbers, fast enough to follow a finger."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qviz._arguments import check_record
from qviz._machine.kernels import f32, i32, kernel
from qviz._types import FloatArray
from qviz.errors import WidgetError
from qviz.figures import _charts

if TYPE_CHECKING:
    import plotly.graph_objects as go

_STRETCH = 4096  # weights whose bins are known before any is counted: what is kept between fits the first cache

_MOST_BINS = 1 << 20  # more than any screen has pixels across

BINS = 241
"""Enough for a curve: a bin is 4 to 5 screen pixels wide. Odd, so that 0 lies inside a bin of a symmetric axis."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of numbers in equal bins.

    Attributes
    ----------
    low, high : float
        Ends of the axis.
    counts : int32 array (bins,)
    outside : int
        Numbers beyond either end (or NaN), in no bin.
    """

    low: float
    high: float
    counts: npt.NDArray[np.int32]
    outside: int

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf or self.counts.ndim != 1:
            shape = self.counts.shape
            raise WidgetError(f"a histogram needs finite low < high, got {self.low} … {self.high} and counts {shape}")

    @property
    def total(self) -> int:
        """All numbers, also those outside."""
        return int(self.counts.sum()) + self.outside


check_record(Histogram, WidgetError)


@dataclass(frozen=True, eq=False)
class ErrorHistogram:
    """The rounding errors of all weights, in front of the weights themselves.

    The two stand on one axis, so the picture is noise against signal. It does not move with the bits: as the
    grid gets finer, the errors shrink.

    Attributes
    ----------
    errors, weights : Histogram
        On the same axis, ``-limit`` to ``limit``.
    rmse : float
        Root mean square of the errors.
    """

    errors: Histogram
    weights: Histogram
    rmse: float

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: the errors in front of the weights, on one axis."""
        figure = _charts.chart(_charts.axis("value"), _charts.axis("how many"))
        _charts.steps(figure, self.weights.low, self.weights.high, self.weights.counts, "weights", "weight")
        _charts.steps(figure, self.errors.low, self.errors.high, self.errors.counts, "errors", "level")
        return figure


def histogram(x: FloatArray, low: float, high: float, bins: int = BINS) -> Histogram:
    """Count numbers in `bins` equal bins from `low` to `high`; the last bin includes `high`.

    Parameters
    ----------
    x : float32 array, any shape, C-contiguous
    low, high : float
        ``low < high``.
    bins : int

    Returns
    -------
    Histogram

    Examples
    --------
    >>> h = histogram(np.float32([-3, -1, -0.5, 0, 0.75, 1]), -1, 1, bins=2)
    >>> h.counts.tolist(), h.outside
    ([2, 3], 1)
    """
    counts = _bins(low, high, bins)
    outside = _count(x.reshape(-1), float(low), float(high), counts)
    return Histogram(float(low), float(high), counts, int(outside))


def error_histogram(before: FloatArray, after: FloatArray, limit: float, bins: int = BINS) -> Histogram:
    """`histogram` of ``after - before`` from ``-limit`` to ``limit``, without making the difference.

    Parameters
    ----------
    before, after : float32 arrays of one shape, C-contiguous
    limit : float
        > 0.
    bins : int

    Returns
    -------
    Histogram
    """
    if before.shape != after.shape:
        raise WidgetError(f"before {before.shape} and after {after.shape} must have one shape")
    counts = _bins(-limit, limit, bins)
    outside = _count_errors(before.reshape(-1), after.reshape(-1), float(limit), counts)
    return Histogram(-float(limit), float(limit), counts, int(outside))


def _bins(low: float, high: float, bins: int) -> npt.NDArray[np.int32]:
    if not (-math.inf < low < high < math.inf) or not 1 <= bins <= _MOST_BINS:
        wanted = f"finite low < high and 1 … {_MOST_BINS:,} bins"
        raise WidgetError(f"a histogram needs {wanted}, got {low} … {high} in {bins}")
    return np.zeros(bins, np.int32)


# In float64, where neither the width of a bin nor its inverse can leave the range, whatever float32 the ends are.


@kernel
def _count(x, low, high, counts):
    factor, last, outside = counts.size / (high - low), counts.size - 1, 0
    for value in x:
        if low <= value <= high:
            counts[min(int((value - low) * factor), last)] += 1
        else:
            outside += 1
    return outside


@kernel
def _count_errors(before, after, limit, counts):
    factor, last = counts.size / (2 * limit), counts.size - 1
    # four counts of each bin: with small errors nearly all are in one, and would wait for the one before
    slots, places = np.zeros((4, counts.size + 1), np.int32), np.empty(_STRETCH, np.int32)
    for start in range(0, before.size, _STRETCH):
        stop = min(start + _STRETCH, before.size)
        _places(before[start:stop], after[start:stop], limit, factor, last, places)
        for j in range(stop - start):
            slots[j & 3, places[j]] += 1
    outside = 0
    for slot in range(4):
        for at in range(counts.size):
            counts[at] += slots[slot, at]
        outside += slots[slot, counts.size]
    return outside


@kernel
def _places(before, after, limit, factor, last, places):
    """The bin of each error, or the slot behind the last one: no weight waits for another here, as in counting."""
    for j in range(before.size):
        error = np.float64(f32(after[j] - before[j]))
        at = min(max((error + limit) * factor, 0.0), np.float64(last))
        places[j] = i32(at) if abs(error) <= limit else i32(last + 1)
