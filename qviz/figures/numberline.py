"""Weights on the number line, and the levels they round to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz.errors import WidgetError
from qviz.figures.histogram import Histogram, histogram
from qviz.grids import AffineGrid

FloatArray = npt.NDArray[np.float32]

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


def number_line(weights: FloatArray, group: FloatArray, grid: AffineGrid, params: tuple[float, int]) -> NumberLine:
    """Show how one group rounds.

    Parameters
    ----------
    weights : float32 array, any shape
        All weights of the tensor, for the density behind.
    group : float32 array (n,)
        The weights that share one scale.
    grid : AffineGrid
    params : (float, int)
        Scale and zero point of the group.

    Returns
    -------
    NumberLine

    Examples
    --------
    >>> group = np.float32([-1.0, 0.2, 0.5, 2.0])
    >>> line = number_line(group, group, AffineGrid(bits=2, group_size=-1), (1.0, 1))
    >>> line.levels.tolist(), line.used.tolist(), line.snapped.tolist()
    ([-1.0, 0.0, 1.0, 2.0], [1, 2, 0, 1], [-1.0, 0.0, 0.0, 2.0])
    """
    if group.ndim != 1 or group.size == 0:
        raise WidgetError(f"a group is one row of weights, got an array of shape {group.shape}")
    scale, zero_point = params
    shared = np.full(1, scale, np.float32), np.full(1, zero_point, np.int32)
    whole = AffineGrid(grid.bits, -1, grid.sym)  # `group` is all that shares this scale
    codes = whole.quantize(group, shared).codes.astype(np.int32)
    levels = grid.levels(scale, zero_point)
    sample = np.unique(np.linspace(0, group.size - 1, min(group.size, SAMPLE)).astype(int))
    low, high = min(group.min(), levels[0]), max(group.max(), levels[-1])
    margin = 0.04 * (float(high) - float(low))
    return NumberLine(
        levels,
        np.arange(grid.qmin, grid.qmax + 1, dtype=np.int32),
        np.bincount((codes - grid.qmin).reshape(-1), minlength=levels.size).astype(np.int32),
        group[sample],
        levels[codes[sample] - grid.qmin],
        histogram(weights, float(low) - margin, float(high) + margin),
        group.size,
    )
