"""Some input channels of one group: their scales, the levels that these leave their weights, what rounding costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._types import DoubleArray, FloatArray, IntArray
from qviz.errors import WidgetError
from qviz.grids import AffineGrid

WIDTH = 24
"""Channels that are shown at once."""


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Weights of one row before and after their channels are scaled; all channels belong to one group.

    Attributes
    ----------
    channels : int32 array (k,)
        Input channels on show, as they stand in the matrix.
    scale : float32 array (k,)
        What the weights of each channel are multiplied by before rounding, and divided by after it.
    weights : float32 array (k,)
        Those of the row.
    rounded_before, rounded : float32 arrays (k,)
        Without and with the scales.
    step_before, step : float32 arrays (k,)
        Distance of two levels that a weight may take.
    bottom_before, bottom : float32 arrays (k,)
        The lowest level.
    levels : int
    cost_before, cost : float64 arrays (k,)
        What the rounding of each channel, in all rows, adds to the error of the output; the largest one of
        `cost_before` is 1.
    current : int
        The channel on show, a place in `channels`.
    low, high : float
        Ends of the axis of weights: the same for all scales.
    stretch : float
        How many times as far apart the levels of an unscaled channel are in this row.
    stretched : float
        Share of the rows whose levels are farther apart than before, by more than 1 %.
    left : float
        The group's error of the output, relative to that without scales.
    """

    channels: IntArray
    scale: FloatArray
    weights: FloatArray
    rounded_before: FloatArray
    rounded: FloatArray
    step_before: FloatArray
    step: FloatArray
    bottom_before: FloatArray
    bottom: FloatArray
    levels: int
    cost_before: DoubleArray
    cost: DoubleArray
    current: int
    low: float
    high: float
    stretch: float
    stretched: float
    left: float


def channel_group(
    weight: npt.ArrayLike,
    gram: npt.ArrayLike,
    grid: AffineGrid,
    scale: npt.ArrayLike,
    *,
    row: int = 0,
    channel: int = 0,
    width: int = WIDTH,
) -> ChannelGroup:
    """Round one group of a matrix with scaled channels, and without.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    gram : array_like (n_in, n_in)
        XᵀX of the inputs that the error is measured on, in any unit.
    grid : AffineGrid
        Its group size says which channels share a range.
    scale : array_like (n_in,)
        Positive; 1 leaves a channel as it is.
    row, channel : int
        Which row to show, and which channel to begin from.
    width : int
        Channels to show.

    Returns
    -------
    ChannelGroup

    Raises
    ------
    WidgetError
        Arrays that do not fit together, scales that are not positive, no such row or channel.

    Examples
    --------
    Levels are 1 apart. Scaled by 2, the first channel has levels ½ apart; its scaled weight is still smaller than 3,
    so its neighbours keep theirs.

    >>> shown = channel_group([[0.4, 0.0, 3.0]], np.eye(3), AffineGrid(2, -1), [2, 1, 1])
    >>> shown.step_before.tolist(), shown.step.tolist(), shown.stretch
    ([1.0, 1.0, 1.0], [0.5, 1.0, 1.0], 1.0)
    >>> shown.rounded_before.tolist(), shown.rounded.tolist()
    ([0.0, 0.0, 3.0], [0.5, 0.0, 3.0])
    """
    w, G, s = np.asarray(weight, np.float32), np.asarray(gram, np.float64), np.asarray(scale, np.float32)
    if w.ndim != 2 or s.shape != w.shape[1:] or G.shape != (s.size, s.size):
        raise WidgetError(
            f"a matrix, its gram and a scale a channel are needed, got {w.shape}, {G.shape} and {s.shape}"
        )
    if not (np.isfinite(s).all() and (s > 0).all()):
        raise WidgetError("scales must be positive numbers")
    if row not in range(w.shape[0]) or channel not in range(s.size):
        raise WidgetError(f"no weight [{row}, {channel}]: the matrix has {w.shape[0]} rows and {w.shape[1]} columns")
    size = grid.group_size if 0 < grid.group_size < s.size else s.size
    start = channel // size * size
    part = slice(start, min(start + size, s.size))
    w, G, s = np.ascontiguousarray(w[:, part]), G[part, part], s[part]
    one = AffineGrid(grid.bits, -1, grid.sym)
    (before, zero), (after, zero_after) = one.params(w), one.params(w * s)
    plain, scaled = one.fake_quantize(w), one.fake_quantize(w * s) / s
    offs = plain.astype(np.float64) - w, scaled.astype(np.float64) - w
    errors = [float(np.einsum("ij,jk,ik->", off, G, off, optimize=True)) for off in offs]
    costs = [np.square(off).sum(axis=0) * np.diagonal(G) for off in offs]
    place = channel - start
    first = min(max(0, place - width // 3), max(0, w.shape[1] - width))
    seen = slice(first, first + width)
    unit = float(costs[0][seen].max()) or 1.0
    low, high = float(w[row].min()), float(w[row].max())
    margin = 0.06 * (high - low) or 1.0
    lowest = [(one.qmin - z[row]).astype(np.float32) * d[row] for d, z in ((before, zero), (after, zero_after))]
    return ChannelGroup(
        np.arange(start, start + w.shape[1], dtype=np.int32)[seen],
        s[seen].copy(),
        w[row, seen].copy(),
        plain[row, seen].copy(),
        scaled[row, seen].copy(),
        np.full(w.shape[1], before[row], np.float32)[seen],
        (after[row] / s).astype(np.float32)[seen],
        np.full(w.shape[1], lowest[0], np.float32)[seen],
        (lowest[1] / s).astype(np.float32)[seen],
        one.qmax - one.qmin + 1,
        costs[0][seen] / unit,
        costs[1][seen] / unit,
        place - first,
        low - margin,
        high + margin,
        float(after[row, 0] / before[row, 0]),
        float((after[:, 0] > 1.01 * before[:, 0]).mean()),
        errors[1] / errors[0] if errors[0] > 0 else 1.0,
    )
