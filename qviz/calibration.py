"""What the inputs of a weight matrix look like: statistics for GPTQ and AWQ, and range choosers.

GPTQ needs the Hessian of the output error, ``2/n · XᵀX`` (IST-DASLab/gptq, ``gptq.py``); AWQ the mean |x| of each
channel (mit-han-lab/llm-awq); an importance matrix is the mean x², half of the Hessian's diagonal. All of it sums over
tokens, so statistics of different shards can be merged.

Examples
--------
>>> stats = ActivationStats.from_inputs([[1.0, 2.0], [3.0, 0.0]])
>>> stats.hessian.tolist(), stats.mean_abs.tolist(), stats.n_tokens
([[10.0, 2.0], [2.0, 4.0]], [2.0, 1.0], 2)
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qviz._arrays import one_of, real_array, whole_number
from qviz._files import as_path, open_file, replacing
from qviz._machine.blas import on_one_thread
from qviz._machine.kernels import f32, i32, kernel
from qviz.errors import CalibrationError
from qviz.grids import AffineGrid
from qviz.grids.affine import steps_from_zero

FloatArray = npt.NDArray[np.float32]
_LANES = 256  # sums side by side; see `qviz.metrics`
_CHUNK = 4096  # tokens whose products are summed in float32; the sums of chunks are float64


class ActivationStats:
    """Sums over the inputs of one weight matrix.

    Parameters
    ----------
    n_in : int
        Input channels.
    """

    def __init__(self, n_in: int) -> None:
        n_in = whole_number(n_in, "n_in", CalibrationError, least=1, most=1 << 20)  # of which every two are multiplied
        self.n_tokens = 0
        self._products = np.zeros((int(n_in), int(n_in)), np.float64)
        self._abs = np.zeros(int(n_in), np.float64)
        self._max = np.zeros(int(n_in), np.float32)

    @classmethod
    def from_inputs(cls, x: npt.ArrayLike) -> ActivationStats:
        """Statistics of inputs x (..., n_in); the leading axes are tokens.

        Raises
        ------
        CalibrationError
            No tokens, or a value that is not finite.
        """
        array = _inputs(x)
        return cls(array.shape[1]).update(array)

    @property
    def n_in(self) -> int:
        """Input channels."""
        return len(self._abs)

    @on_one_thread
    def update(self, x: npt.ArrayLike) -> ActivationStats:
        """Add tokens x (..., n_in); returns itself.

        Raises
        ------
        CalibrationError
            Another number of channels, or a value that is not finite; the statistics stay as they were.
        """
        array = _inputs(x)
        if array.shape[1] != self.n_in:
            raise CalibrationError(f"these statistics are of {self.n_in} channels, got x with {array.shape[1]}")
        # no sum of products is larger than the largest sum of squares (Cauchy and Schwarz)
        if np.einsum("ti,ti->i", array, array, dtype=np.float64).max() > np.finfo(np.float32).max:
            raise CalibrationError(
                f"the products of inputs as large as {np.abs(array).max():g} overflow float32; scale x down"
            )
        for start in range(0, len(array), _CHUNK):
            part = array[start : start + _CHUNK]
            self._products += part.T @ part
        size = np.abs(array)
        self._abs += size.sum(axis=0, dtype=np.float64)
        self._max = np.maximum(self._max, size.max(axis=0))
        self.n_tokens += len(array)
        return self

    def merge(self, other: ActivationStats) -> ActivationStats:
        """Statistics of both sets of tokens, as a new object.

        Examples
        --------
        >>> a, b = ActivationStats.from_inputs([[1.0]]), ActivationStats.from_inputs([[3.0]])
        >>> a.merge(b).mean_sq.tolist()
        [5.0]
        """
        if not isinstance(other, ActivationStats) or other.n_in != self.n_in:
            raise CalibrationError(f"only statistics of {self.n_in} channels can be merged here, got {other!r}")
        both = ActivationStats(self.n_in)
        both._products = self._products + other._products
        both._abs = self._abs + other._abs
        both._max = np.maximum(self._max, other._max)
        both.n_tokens = self.n_tokens + other.n_tokens
        return both

    @property
    def hessian(self) -> FloatArray:
        """2/n · XᵀX, float32 (n_in, n_in)."""
        hessian = np.empty(self._products.shape, np.float32)
        with np.errstate(over="ignore"):  # methods refuse infinity
            np.multiply(self._products, 2 / self._count(), out=hessian, casting="same_kind")
        return hessian

    @property
    def mean_abs(self) -> FloatArray:
        """Mean |x| of each channel, float32 (n_in,)."""
        return (self._known(self._abs) / self._count()).astype(np.float32)

    @property
    def max_abs(self) -> FloatArray:
        """Largest |x| of each channel, float32 (n_in,)."""
        self._count()
        return self._known(self._max).copy()

    @property
    def mean_sq(self) -> FloatArray:
        """Mean x² of each channel, float32 (n_in,): what an importance matrix holds."""
        return (np.diagonal(self._products) / self._count()).astype(np.float32)

    def rotated(self, matrix: FloatArray) -> ActivationStats:
        """Statistics of ``x @ matrix``, for a matrix (n_in, n_in).

        The sums of products are exact; sums of |x| cannot be had from them, so `mean_abs` and `max_abs` are refused.

        Examples
        --------
        >>> turned = ActivationStats.from_inputs([[1.0, 2.0]]).rotated(np.array([[0, 1], [-1, 0]], np.float32))
        >>> turned.mean_sq.tolist()
        [4.0, 1.0]
        """
        square = real_array(matrix, "matrix", CalibrationError)
        if square.shape != self._products.shape:
            raise CalibrationError(f"matrix must be of shape {self._products.shape}, got {square.shape}")
        turned = ActivationStats(self.n_in)
        wide = square.astype(np.float64)
        turned._products, turned.n_tokens = wide.T @ self._products @ wide, self.n_tokens
        turned._abs[:], turned._max[:] = np.nan, np.nan
        return turned

    def _known(self, sums: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if np.isnan(sums).any():
            raise CalibrationError("|x| of rotated inputs is not known; collect statistics of x @ matrix itself")
        return sums

    def _count(self) -> int:
        if not self.n_tokens:
            raise CalibrationError("no tokens were seen yet; call update(x) first")
        return self.n_tokens

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write an ``.npz`` file that `load` reads, whole or not at all; returns its path."""
        where = as_path(path)
        with replacing(where, CalibrationError) as file:
            np.savez(file, products=self._products, abs=self._abs, max=self._max, n_tokens=np.int64(self.n_tokens))
        return where

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ActivationStats:
        """Read what `save` wrote.

        Raises
        ------
        CalibrationError
            No such file, or another kind of file.
        """
        where = as_path(path)
        try:
            open_file(where, error=CalibrationError, wanted="the .npz file in it").close()  # no pipe, no device
            if sum(part.file_size for part in zipfile.ZipFile(where).infolist()) > where.stat().st_size:
                raise ValueError("it unpacks to more than it holds")  # what `save` writes is not packed
            with np.load(where, allow_pickle=False) as file:
                products, sums, most = file["products"], file["abs"], file["max"]
                count = int(file["n_tokens"])
        except CalibrationError:
            raise
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise CalibrationError(f"{os.fspath(path)}: not saved activation statistics: {error}") from None
        fits = sums.ndim == 1 and sums.size and products.shape == (sums.size, sums.size) and count >= 0
        fits = fits and most.shape == sums.shape
        if not fits or not all(np.isfinite(array).all() for array in (products, sums, most)):
            raise CalibrationError(f"{os.fspath(path)}: damaged statistics; collect them again")
        stats = cls(sums.size)
        stats._products, stats._abs = products.astype(np.float64), sums.astype(np.float64)
        stats._max = most.astype(np.float32)
        stats.n_tokens = count
        return stats

    def __repr__(self) -> str:
        return f"<ActivationStats: {self.n_tokens} tokens, {self.n_in} channels>"


class Collector:
    """An ``on_linear_input(name, x)`` callback that keeps statistics for each name.

    Examples
    --------
    >>> collect = Collector()
    >>> collect("q_proj", np.ones((3, 2)))
    >>> collect.stats
    {'q_proj': <ActivationStats: 3 tokens, 2 channels>}
    """

    def __init__(self) -> None:
        self.stats: dict[str, ActivationStats] = {}

    def __call__(self, name: str, x: npt.ArrayLike) -> None:
        """Add the inputs x (..., n_in) of the weight matrix `name`."""
        array = _inputs(x)
        if name not in self.stats:
            self.stats[name] = ActivationStats(array.shape[1])
        self.stats[name].update(array)

    def merge(self, other: Mapping[str, ActivationStats]) -> None:
        """Add the statistics that another collector, e.g. on another machine, has in its ``stats``."""
        for name, stats in other.items():
            self.stats[name] = self.stats[name].merge(stats) if name in self.stats else stats


def _inputs(x: npt.ArrayLike) -> FloatArray:
    array = real_array(x, "x", CalibrationError)
    if array.ndim < 2 or array.size == 0:
        raise CalibrationError(f"x must be (n_tokens, n_in) and not empty, got shape {array.shape}")
    array = array.reshape(-1, array.shape[-1])
    if not np.isfinite(array).all():
        token, channel = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise CalibrationError(
            f"x[{token}, {channel}] is {array[token, channel]}: inputs must be finite; "
            "look for an overflow in the layer before, or run the model in float32"
        )
    return array


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
            f"percentile must be a number 50 to 100 and steps an integer 1 to 99, got {percentile!r} and {steps!r}"
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
        Of the range from smallest to largest value of each group.
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
        raise CalibrationError(f"shares of a range must be positive numbers, got {shares!r}")
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
def _range_errors(rows, size, qmin, qmax, scales, zeros, shares, sums, best):  # type: ignore[no-untyped-def]
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
def _split_errors(part, scale, lowest, highest, clipping, rounding):  # type: ignore[no-untyped-def]
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
    flat = _inputs(array)
    if not isinstance(grid, AffineGrid):
        raise CalibrationError(f"grid must be an AffineGrid, got {type(grid).__name__}")
    if ends is None:
        return grid.fake_quantize(flat).reshape(array.shape)
    return _rounded(flat.ravel(), *_ends(ends), grid).reshape(array.shape)


def _ends(ends: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise CalibrationError(f"ends must be two numbers (low, high), got {ends!r}") from None
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
