"""Ranges: where a grid ends, what that clips, and who has to share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qviz._arrays import finite_array, finite_number, real_array
from qviz._types import DoubleArray, FloatArray
from qviz.errors import WidgetError
from qviz.figures import _charts
from qviz.figures.histogram import Histogram, histogram
from qviz.grids import AffineGrid
from qviz.grids.ranges import error_profile

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class RangeHistogram:
    """Values as a hill, the range that a grid spans drawn over it; counts stand on a logarithmic scale.

    Attributes
    ----------
    values : Histogram
    before : Histogram or None
        Other values on the same axis, e.g. those that the range was chosen on.
    low, high : float
        Ends of the range.
    levels : float32 array (n,)
        What the grid can represent, lowest first.
    below, above : int
        Values outside the range.
    clipping, rounding : float64 arrays (bins,)
        Sums of the squared errors of the values in each bin, of those that are clipped and of all others; empty where
        no grid was given.
    """

    values: Histogram
    before: Histogram | None
    low: float
    high: float
    levels: FloatArray
    below: int
    above: int
    clipping: DoubleArray
    rounding: DoubleArray

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: the values, and the range that is kept of them."""
        figure = _charts.chart(_charts.axis("value"), _charts.axis("how many"))
        _charts.steps(figure, self.values.low, self.values.high, self.values.counts, "values", "weight")
        _charts.mark(figure, self.low, "low", "level")
        _charts.mark(figure, self.high, "high", "level")
        return figure


@dataclass(frozen=True, eq=False)
class RangeCurve:
    """The two errors of a range against its width, and where choosers end up.

    Attributes
    ----------
    shares : float64 array (k,)
        Width as a share of the range from smallest to largest value, ascending.
    clipping, rounding : float64 arrays (k,)
        Shares of the values' own sum of squares.
    before : float64 array (k,)
        Both errors together of other values, the calibration inputs; empty where there are none.
    current : float
        The share on show.
    best : int
        Index of the least error.
    names : tuple of str
        Choosers, and for each the share it chose and the error it makes there:
    at, errors : float64 arrays (n,)
    """

    shares: DoubleArray
    clipping: DoubleArray
    rounding: DoubleArray
    before: DoubleArray
    current: float
    best: int
    names: tuple[str, ...]
    at: DoubleArray
    errors: DoubleArray

    @property
    def total(self) -> DoubleArray:
        """Both errors together, float64 (k,)."""
        return self.clipping + self.rounding

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: both errors stacked over the width of the range, and what choosers took."""
        upwards = _charts.logarithmic("share of the values' own square", _charts.room([*self.total, *self.errors], 0.1))
        figure = _charts.chart(_charts.axis("width of the range, 1 is from smallest to largest"), upwards)
        _charts.curve(figure, self.shares, self.clipping, "clipping", "changed")
        _charts.curve(figure, self.shares, self.rounding, "rounding", "level")
        _charts.curve(figure, self.shares, self.total, "both", "ink")
        _charts.points(figure, self.at, self.errors, self.names, "choosers", "weight")
        return figure


@dataclass(frozen=True, eq=False)
class GroupStrip:
    """One row of values, what each is rounded to, and the groups that share a step.

    Attributes
    ----------
    values, rounded : float32 arrays (n,)
    starts : int32 array (n_groups,)
        Where each group begins.
    steps : float32 array (n_groups,)
        Distance between two levels of the group.
    noise : float32 array (n_groups,)
        Root mean square of the group's errors; what is multiplied does not count.
    column : int
        The value picked out.
    original : float
        What it was before it was multiplied.
    quiet : float
        Root mean square error of the row as it was, for comparison.
    """

    values: FloatArray
    rounded: FloatArray
    starts: npt.NDArray[np.int32]
    steps: FloatArray
    noise: FloatArray
    column: int
    original: float
    quiet: float


def range_histogram(
    values: FloatArray,
    ends: tuple[float, float],
    levels: FloatArray,
    before: FloatArray | None = None,
    rounded_by: tuple[AffineGrid, float, int] | None = None,
) -> RangeHistogram:
    """Values against the range of a grid.

    Parameters
    ----------
    values : float32 array, any shape
    ends : (float, float)
        Lowest and highest value that the grid should span.
    levels : float32 array (n,)
        What the grid can represent.
    before : float32 array, any shape, optional
        Other values to show behind.
    rounded_by : (AffineGrid, float, int), optional
        The grid, its scale and its zero point: then the errors are counted, too.

    Returns
    -------
    RangeHistogram
        Its axis holds all values, the range and all levels; other values only as far as it reaches.

    Raises
    ------
    WidgetError
        Nothing to show.

    Examples
    --------
    >>> shown = range_histogram(np.float32([-3, 0, 1, 2]), (-1, 1), np.float32([-1, 0, 1]))
    >>> shown.below, shown.above, shown.values.total
    (1, 1, 4)
    """
    levels = finite_array(levels, "levels", WidgetError)
    if not values.size or not levels.size:
        raise WidgetError("a range needs at least one value and one level to be drawn")
    low, high = (float(end) for end in finite_array(ends, "ends", WidgetError, (np.float64,), shape=(2,)))
    everything = (values.reshape(-1), levels, np.array([low, high]))
    left, right = min(float(part.min()) for part in everything), max(float(part.max()) for part in everything)
    margin = 0.02 * (right - left) or 1.0
    axis = left - margin, right + margin
    counted = histogram(np.ascontiguousarray(values), *axis)
    errors = (np.zeros(0), np.zeros(0))
    if rounded_by is not None:
        errors = error_profile(values, *rounded_by, *axis, counted.counts.size)
    return RangeHistogram(
        counted,
        None if before is None else histogram(np.ascontiguousarray(before), *axis),
        low,
        high,
        levels,
        int(np.count_nonzero(values < np.float32(low))),
        int(np.count_nonzero(values > np.float32(high))),
        *errors,
    )


def range_curve(
    shares: DoubleArray,
    clipping: DoubleArray,
    rounding: DoubleArray,
    signal: float,
    current: float,
    chosen: Mapping[str, tuple[float, float]],
    before: tuple[DoubleArray, float] | None = None,
) -> RangeCurve:
    """Put the errors of all widths in order, as shares of the signal.

    Parameters
    ----------
    shares, clipping, rounding : float64 arrays (k,)
        Widths, and sums of squared errors, in any order.
    signal : float
        Sum of the squares of the values; 1 is used where that is 0.
    current : float
        The share on show.
    chosen : mapping of str to (float, float)
        For each chooser, its share and the sum of squared errors there.
    before : (float64 array (k,), float), optional
        Sums of squared errors of other values, and their signal.

    Returns
    -------
    RangeCurve

    Raises
    ------
    WidgetError
        Lengths that differ.

    Examples
    --------
    >>> curve = range_curve(np.array([1, 0.5]), np.array([0, 1.0]), np.array([4, 1.0]), 8, 1, {"min–max": (1, 4)})
    >>> curve.shares.tolist(), curve.total.tolist(), curve.best, curve.errors.tolist()
    ([0.5, 1.0], [0.25, 0.5], 0, [0.5])
    """
    for part in (shares, clipping, rounding, *(() if before is None else before[:1])):
        finite_array(part, "a width or an error", WidgetError, (np.float64,))
    if shares.ndim != 1 or not shares.size or not shares.shape == clipping.shape == rounding.shape:
        raise WidgetError(f"{shares.size} widths, {clipping.size} and {rounding.size} errors: one each is needed")
    if before is not None and before[0].shape != shares.shape:
        raise WidgetError(f"{shares.size} widths, and {before[0].size} errors of the values before")
    order = np.argsort(shares, kind="stable")
    unit = signal if signal > 0 else 1.0
    total = (clipping + rounding)[order]
    return RangeCurve(
        shares[order].astype(np.float64),
        clipping[order] / unit,
        rounding[order] / unit,
        np.zeros(0) if before is None else before[0][order] / (before[1] if before[1] > 0 else 1.0),
        float(current),
        # the widest of equals: nothing is won by clipping more
        int(total.size - 1 - total[::-1].argmin()),
        tuple(chosen),
        np.array([share for share, _ in chosen.values()], np.float64),
        np.array([error / unit for _, error in chosen.values()], np.float64),
    )


def group_strip(
    values: FloatArray,
    rounded: FloatArray,
    group_size: int,
    steps: Sequence[float] | FloatArray,
    column: int,
    original: float,
    quiet: float,
) -> GroupStrip:
    """One row and its rounding, group by group.

    Parameters
    ----------
    values, rounded : float32 arrays (n,)
    group_size : int
        Values that share a step; 0 or less for the whole row.
    steps : float32 array (n_groups,)
        The step of each group.
    column : int
        The value picked out; its own error is left out of `noise` where it was multiplied.
    original : float
        What it was before.
    quiet : float
        Root mean square error of the row before.

    Returns
    -------
    GroupStrip

    Raises
    ------
    WidgetError
        Lengths that do not fit.

    Examples
    --------
    >>> row, back = np.float32([1, 2, 30, 4]), np.float32([1, 1, 32, 4])
    >>> strip = group_strip(row, back, 2, [1, 4], 2, 3.0, 0.5)
    >>> strip.starts.tolist(), [f"{noise:.3f}" for noise in strip.noise]
    ([0, 2], ['0.707', '0.000'])
    """
    n = values.size
    size = group_size if 0 < group_size < n else max(n, 1)
    starts = np.arange(0, n, size, dtype=np.int32)
    sizes = real_array(steps, "steps", WidgetError).reshape(-1)
    original = finite_number(original, "original", WidgetError)
    if values.ndim != 1 or rounded.shape != values.shape or not 0 <= column < n or sizes.size != starts.size:
        raise WidgetError(
            f"a row of {n} values in groups of {size} needs as many rounded ones, {starts.size} steps and a column "
            f"below {n}; got {rounded.size}, {sizes.size} and {column}"
        )
    square = np.square(rounded - values, dtype=np.float64)
    counts = np.ones(n)
    if values[column] != np.float32(original):
        square[column] = counts[column] = 0
    sums, counted = np.add.reduceat(square, starts), np.add.reduceat(counts, starts)
    noise = np.sqrt(sums / np.maximum(counted, 1)).astype(np.float32)
    return GroupStrip(values, rounded, starts, sizes, noise, int(column), float(original), float(quiet))
