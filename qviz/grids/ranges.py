"""Which range of values a grid should span, and what is lost inside and outside of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qviz._arrays import one_of, real_array, token_rows
from qviz._machine.kernels import f32, i32, kernel
from qviz._types import FloatArray
from qviz.errors import CalibrationError, shortened
from qviz.grids.affine import AffineGrid, steps_from_zero

_LANES = 256  # sums side by side; see `qviz.metrics`

RangeMethod = Literal["minmax", "percentile", "mse", "kl"]


def choose_range(
    x: npt.ArrayLike, grid: AffineGrid, method: RangeMethod = "minmax", *, percentile: float = 99.9, steps: int = 80
) -> tuple[float, float]:
    """The range of values that a grid should span, everything outside it being clipped.

    Parameters
    ----------
    x : array_like
        Weights or activations, any shape.
    grid : AffineGrid
        Its bits and symmetry count; its group_size does not.
    method : {"minmax", "percentile", "mse", "kl"}
        The smallest and largest value; percentiles on both sides; the shrunken range of least squared error; or the one
        whose rounded histogram diverges least from that of `x` (the idea of TensorRT's entropy calibration).
    percentile : float
        For ``"percentile"``: the upper one, 50 to 100.
    steps : int
        For ``"mse"`` and ``"kl"``: how many shrunken ranges to try, 1 to 99 hundredths off.

    Returns
    -------
    (low, high)
        low ≤ 0 ≤ high; low = −high on a symmetric grid.

    Raises
    ------
    CalibrationError
        Nothing to look at, values that are not finite, an unknown method.

    Examples
    --------
    >>> choose_range([-1.0, 0.5, 3.0], AffineGrid(bits=8))
    (-1.0, 3.0)
    """
    values = real_array(x, "x", CalibrationError).ravel()
    if not values.size or not np.isfinite(values).all():
        raise CalibrationError("a range needs at least one value, and finite ones only")
    one_of(method, "method", ("minmax", "percentile", "mse", "kl"), CalibrationError)
    if not isinstance(grid, AffineGrid):
        raise CalibrationError(f"grid must be an AffineGrid, got {type(grid).__name__}")
    numbers = isinstance(percentile, int | float | np.floating) and isinstance(steps, int | np.integer)
    if not numbers or not 50 <= percentile <= 100 or not 1 <= steps <= 99:
        raise CalibrationError(
            "percentile must be a number 50 to 100 and steps an integer 1 to 99, "
            f"got {shortened(percentile)} and {shortened(steps)}"
        )
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if method == "percentile":
        low = min(float(np.percentile(values, 100 - percentile)), 0.0)
        high = max(float(np.percentile(values, percentile)), 0.0)
    if grid.sym:
        high = max(high, -low)
        low = -high
    if method in ("minmax", "percentile") or low == high:
        return low, high
    tried = [(low * (1 - i / 100), high * (1 - i / 100)) for i in range(steps)]
    if method == "mse":
        shares = [1 - i / 100 for i in range(steps)]
        return tried[int(range_errors(values, AffineGrid(grid.bits, 0, grid.sym), shares).total.argmin())]
    whole = np.histogram(values, max(2048, 4 << grid.bits), (float(values.min()), float(values.max())))
    return min(tried, key=lambda ends: _divergence(whole, ends[0], ends[1], grid))


@dataclass(frozen=True, eq=False)
class RangeErrors:
    """What shrinking every range costs and brings; see `range_errors`.

    Attributes
    ----------
    shares : float64 array (k,)
        Widths, as shares of the range from smallest to largest value of each group.
    clipping, rounding : float64 arrays (k,)
        Sums of squared errors: of values whose code the grid does not have, and of all others.
    best : float32 array (..., n_groups)
        For each group by itself, the share with the least error.
    """

    shares: npt.NDArray[np.float64]
    clipping: npt.NDArray[np.float64]
    rounding: npt.NDArray[np.float64]
    best: FloatArray

    @property
    def total(self) -> npt.NDArray[np.float64]:
        """Both errors together, float64 (k,)."""
        return self.clipping + self.rounding


def range_errors(
    x: npt.ArrayLike, grid: AffineGrid, shares: npt.ArrayLike, ends: tuple[float, float] | None = None
) -> RangeErrors:
    """Squared error of rounding onto ranges that are shrunk to a share of what min–max would choose.

    A narrower range has a smaller step, so what lies inside is rounded more finely; what lies outside is clipped to the
    outermost level. The two errors are counted apart.

    Parameters
    ----------
    x : array_like (..., n)
        Weights, or inputs of a layer.
    grid : AffineGrid
        Its group_size says what shares a range.
    shares : array_like (k,)
        Positive, at most 1 makes sense.
    ends : (low, high), optional
        One range for all values, chosen on others, in place of what min–max makes of `x`.

    Returns
    -------
    RangeErrors

    Raises
    ------
    CalibrationError
        No values, values that are not finite, shares that are not positive, or ends that enclose no zero.

    Examples
    --------
    At half the range 4 is clipped to 2, and the others move less:

    >>> errors = range_errors([[0.0, 0.5, 1.0, 4.0]], AffineGrid(2, -1), [1.0, 0.5])
    >>> errors.clipping.tolist(), errors.rounding.round(3).tolist(), errors.best.tolist()
    ([0.0, 4.0], [0.361, 0.139], [[1.0]])
    """
    values = real_array(x, "x", CalibrationError)
    if not isinstance(grid, AffineGrid):
        raise CalibrationError(f"grid must be an AffineGrid, got {type(grid).__name__}")
    tried = real_array(shares, "shares", CalibrationError, (np.float64,)).reshape(-1)
    if not values.size or not values.ndim or not np.isfinite(values).all():
        raise CalibrationError("a range needs at least one row of values, and finite ones only")
    if not tried.size or not np.isfinite(tried).all() or tried.min() <= 0:
        raise CalibrationError(f"shares of a range must be positive numbers, got {shortened(shares)}")
    if ends is None:
        scale, zero = grid.params(values)
        rows, size = grid._rows(values)
    else:
        scale, zero = AffineGrid(grid.bits, -1, grid.sym).params(np.array([_ends(ends)], np.float32))
        rows, size = values.reshape(1, -1), values.size
    shared = scale.reshape(len(rows), -1), zero.reshape(len(rows), -1)
    sums, best = np.zeros((2, tried.size)), np.empty(shared[0].shape, np.float32)
    _range_errors(rows, size, grid.qmin, grid.qmax, *shared, tried, sums, best)
    return RangeErrors(tried, sums[0], sums[1], best.reshape(scale.shape))


@kernel
def _range_errors(rows, size, qmin, qmax, scales, zeros, shares, sums, best):
    width = min(_LANES, size)
    lanes = np.zeros((2, width))
    for r in range(rows.shape[0]):
        for g in range(scales.shape[1]):
            group = rows[r, g * size : (g + 1) * size]
            lowest, highest = f32(i32(qmin - zeros[r, g])), f32(i32(qmax - zeros[r, g]))
            least = np.inf
            for k in range(shares.size):
                lanes[:] = 0.0
                scale = f32(scales[r, g] * shares[k])
                for start in range(0, group.size, width):
                    _split_errors(group[start : start + width], scale, lowest, highest, lanes[0], lanes[1])
                clipping, rounding = lanes[0].sum(), lanes[1].sum()
                sums[0, k] += clipping
                sums[1, k] += rounding
                if clipping + rounding < least:
                    least = clipping + rounding
                    best[r, g] = f32(shares[k])


@kernel
def _split_errors(part, scale, lowest, highest, clipping, rounding):
    # half a step beyond the last level is where rounding asks for a code that is not there; the largest weight of a
    # symmetric group lies exactly there, give or take a float32's last bit
    first, last = f32(lowest - f32(0.499999)), f32(highest + f32(0.499999))
    for j in range(part.size):
        x = part[j]
        off = np.float64(x) - np.float64(f32(scale * steps_from_zero(x, scale, lowest, highest)))
        steps = f32(x / scale)
        inside = np.float64((steps >= first) & (steps <= last))
        rounding[j] += off * off * inside
        clipping[j] += off * off * (1.0 - inside)


def error_profile(
    x: npt.ArrayLike, grid: AffineGrid, scale: float, zero_point: int, low: float, high: float, bins: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Where along the axis of values the squared error of a range is made.

    Parameters
    ----------
    x : array_like
        Values that share a range, any shape.
    grid : AffineGrid
        Its bits and symmetry count.
    scale, zero_point : float, int
        The range, as `AffineGrid.params` returns them.
    low, high : float
        Ends of the axis, ``low < high``; values beyond them are left out.
    bins : int
        Equal parts of the axis.

    Returns
    -------
    (clipping, rounding) : float64 arrays (bins,)
        Sums of the squared errors of the values in each part, told apart as in `range_errors`.

    Raises
    ------
    CalibrationError
        No values, values that are not finite, or no such axis.

    Examples
    --------
    Steps of 1 from 0 to 3: the value 5 is clipped to 3.

    >>> clipping, rounding = error_profile([0.5, 1.25, 2.0, 5.0], AffineGrid(2), 1.0, 0, 0, 6, 3)
    >>> clipping.tolist(), rounding.tolist()
    ([0.0, 0.0, 4.0], [0.3125, 0.0, 0.0])
    """
    values = real_array(x, "x", CalibrationError).reshape(-1)
    if not isinstance(grid, AffineGrid):
        raise CalibrationError(f"grid must be an AffineGrid, got {type(grid).__name__}")
    if not values.size or not np.isfinite(values).all():
        raise CalibrationError("a profile needs at least one value, and finite ones only")
    if not np.isfinite([low, high]).all() or not low < high or bins < 1 or not scale > 0:
        raise CalibrationError(
            f"a profile needs finite low < high, at least one part and a step above 0, got {low} … {high} in {bins} "
            f"parts, and {scale}"
        )
    sums = np.zeros((2, bins))
    lowest, highest = np.float32(grid.qmin - int(zero_point)), np.float32(grid.qmax - int(zero_point))
    _profile(values, np.float32(scale), lowest, highest, float(low), float(high), sums[0], sums[1])
    return sums[0], sums[1]


@kernel
def _profile(values, scale, lowest, highest, low, high, clipping, rounding):
    lanes = np.empty((2, _LANES))
    factor, last = clipping.size / (high - low), clipping.size - 1
    for start in range(0, values.size, _LANES):
        part = values[start : start + _LANES]
        lanes[:] = 0.0
        _split_errors(part, scale, lowest, highest, lanes[0], lanes[1])
        for j in range(part.size):
            if low <= part[j] <= high:
                place = min(int((part[j] - low) * factor), last)
                clipping[place] += lanes[0, j]
                rounding[place] += lanes[1, j]


def round_inputs(x: npt.ArrayLike, grid: AffineGrid, ends: tuple[float, float] | None = None) -> FloatArray:
    """Activations as they come back from being rounded at run time.

    Parameters
    ----------
    x : array_like (..., n_in)
        Inputs of a layer.
    grid : AffineGrid
        Its bits, symmetry and, for dynamic ranges, group_size: −1 is a range for each token.
    ends : (low, high), optional
        A static range, chosen beforehand (`choose_range`): costs nothing at run time, and clips what lies outside.
        Without it the range is dynamic, from the values at hand.

    Returns
    -------
    float32 array of the shape of `x`

    Raises
    ------
    CalibrationError
        Values that are not finite, or ends that enclose no zero.

    Examples
    --------
    A token ten times as large as the one that calibrated:

    >>> x, grid = np.array([[3.0, -1.0], [30.0, -10.0]]), AffineGrid(2, -1)
    >>> round_inputs(x, grid).tolist()
    [[2.6666667461395264, -1.3333333730697632], [26.66666603088379, -13.333333015441895]]
    >>> round_inputs(x, grid, choose_range(x[:1], grid)).tolist()
    [[2.6666667461395264, -1.3333333730697632], [2.6666667461395264, -1.3333333730697632]]
    """
    array = real_array(x, "x", CalibrationError)
    flat = token_rows(array)
    if not isinstance(grid, AffineGrid):
        raise CalibrationError(f"grid must be an AffineGrid, got {type(grid).__name__}")
    if ends is None:
        return grid.fake_quantize(flat).reshape(array.shape)
    return _rounded(flat.ravel(), *_ends(ends), grid).reshape(array.shape)


def _ends(ends: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise CalibrationError(f"ends must be two numbers (low, high), got {shortened(ends)}") from None
    if not (np.isfinite([low, high]).all() and low <= 0 <= high and low < high):
        raise CalibrationError(f"a range must be finite and enclose zero, got {low} … {high}")
    return low, high


def _rounded(values: FloatArray, low: float, high: float, grid: AffineGrid) -> FloatArray:
    row = AffineGrid(grid.bits, -1, grid.sym)
    params = row.params(np.array([[low, high]], np.float32))
    rounded: FloatArray = row.fake_quantize(values[None], params=params)[0]
    return rounded


def _divergence(whole: tuple[Any, Any], low: float, high: float, grid: AffineGrid) -> float:
    """KL divergence of two histograms: `whole` with what is outside clipped, and its mass spread evenly in each level.

    `whole` has at least 2048 bins, and four for each level.
    """
    bins = len(whole[0])
    centres = ((whole[1][1:] + whole[1][:-1]) / 2).astype(np.float32)
    levels = np.unique(_rounded(centres, low, high, grid), return_inverse=True)[1]
    counts = whole[0].astype(np.float64)
    inside = (centres >= low) & (centres <= high)
    p = np.where(inside, counts, 0)
    if not inside.any():
        return float("inf")
    first, last = np.flatnonzero(inside)[[0, -1]]
    p[first] += counts[:first].sum()
    p[last] += counts[last + 1 :].sum()
    used = inside & (counts > 0)
    mass = np.bincount(levels, np.where(inside, counts, 0))
    share = mass / np.maximum(np.bincount(levels, used.astype(np.float64)), 1)
    q = np.where(used, share[levels], 0) + 1e-9 * counts.sum() / bins
    p, q = p / p.sum(), q / q.sum()
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / q[seen])).sum())
