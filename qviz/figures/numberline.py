"""Weights on the number line, and the levels they round to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._arrays import finite_number, whole_number
from qviz._types import FloatArray
from qviz.errors import WidgetError
from qviz.figures.histogram import Histogram
from qviz.grids import AffineGrid

SAMPLE = 48
"""Most weights drawn as dots: more would hide one another."""


@dataclass(frozen=True, eq=False)
class NumberLine:
    """One group of weights above the levels of its grid.

    Attributes
    ----------
    levels : float32 array (2**bits,)
        Everything that the group's grid can represent, lowest first.
    codes : int32 array (2**bits,)
        The integer that stands for each level.
    used : int32 array (2**bits,)
        Weights of the group on each level.
    weights, snapped : float32 arrays (n,)
        Up to `SAMPLE` weights of the group, evenly spaced along it, and the level each rounds to.
    density : Histogram
        All weights of the tensor, on the axis of this picture.
    group_size : int
        Weights in the group.
    """

    levels: FloatArray
    codes: npt.NDArray[np.int32]
    used: npt.NDArray[np.int32]
    weights: FloatArray
    snapped: FloatArray
    density: Histogram
    group_size: int


def sampled(n: int) -> npt.NDArray[np.int64]:
    """Which of a group's weights are drawn: `SAMPLE` of them at most, evenly spaced along it.

    Parameters
    ----------
    n : int
        Weights in the group.

    Returns
    -------
    int64 array
        Ascending, from the first to the last.

    Examples
    --------
    >>> sampled(3).tolist(), len(sampled(1000)), int(sampled(1000)[-1])
    ([0, 1, 2], 48, 999)
    """
    return np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))


def group_axis(group: FloatArray, sym: bool) -> tuple[float, float]:
    """Ends of an axis that holds a group and the levels of its grid, however many bits that has.

    So nothing moves but the levels as bits come and go. The outermost level lies at most half a step outside the
    group's range, and with two bits half a step is a sixth of it.

    Parameters
    ----------
    group : float32 array (n,)
    sym : bool
        Whether the grid is symmetric.

    Returns
    -------
    low, high : float

    Examples
    --------
    >>> group_axis(np.float32([-1, 0.5, 2]), sym=False)
    (-1.5, 2.5)
    """
    if not group.size or not np.isfinite(group).all():
        raise WidgetError(f"an axis needs finite weights to hold, got an array of shape {group.shape}")
    low, high = min(float(group.min()), 0.0), max(float(group.max()), 0.0)
    if sym:
        low, high = min(low, -high), max(high, -low)
    if low == high:
        low, high = -1.0, 1.0  # as the grid has it for a group of zeros
    margin = (high - low) / 6
    return low - margin, high + margin


def number_line(group: FloatArray, grid: AffineGrid, params: tuple[float, int], density: Histogram) -> NumberLine:
    """Show how one group rounds.

    Parameters
    ----------
    group : float32 array (n,)
        The weights that share one scale.
    grid : AffineGrid
    params : (float, int)
        Scale and zero point of the group.
    density : Histogram
        All weights of the tensor, on an axis such as `group_axis`.

    Returns
    -------
    NumberLine

    Examples
    --------
    >>> from qviz.figures import histogram
    >>> group = np.float32([-1.0, 0.2, 0.5, 2.0])
    >>> density = histogram(group, *group_axis(group, sym=False))
    >>> line = number_line(group, AffineGrid(bits=2, group_size=-1), (1.0, 1), density)
    >>> line.levels.tolist(), line.used.tolist(), line.snapped.tolist()
    ([-1.0, 0.0, 1.0, 2.0], [1, 2, 0, 1], [-1.0, 0.0, 0.0, 2.0])
    """
    if group.ndim != 1 or group.size == 0:
        raise WidgetError(f"a group is one row of weights, got an array of shape {group.shape}")
    scale = finite_number(params[0], "scale", WidgetError, above=0)
    zero_point = whole_number(params[1], "zero_point", WidgetError, least=-(1 << 31), most=(1 << 31) - 1)
    shared = np.full(1, scale, np.float32), np.full(1, zero_point, np.int32)
    whole = AffineGrid(grid.bits, -1, grid.sym)  # `group` is all that shares this scale
    codes = whole.quantize(group, shared).codes.astype(np.int32)
    levels = grid.levels(scale, zero_point)
    sample = sampled(group.size)
    return NumberLine(
        levels,
        np.arange(grid.qmin, grid.qmax + 1, dtype=np.int32),
        np.bincount((codes - grid.qmin).reshape(-1), minlength=levels.size).astype(np.int32),
        group[sample],
        levels[codes[sample] - grid.qmin],
        density,
        group.size,
    )
