"""How far an approximation is from what it stands for.

All sums are float64, whatever the arrays hold. NaN anywhere makes every measure NaN: nothing is skipped.
Tensors that can be dequantized (`QTensor`, `AffineTensor`) may be passed as they are.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import finite_number, real_array, whole_number
from qviz._machine.kernels import i32, kernel
from qviz.errors import FormatError, ShapeError

_LANES = 256  # sums side by side: LLVM may not reorder one sum, but it may run many at once
_CLEAR = 0.4999  # of a bin away from its middle


@dataclass(frozen=True)
class Comparison:
    """Everything that one pass over two arrays tells; see `compare`.

    Attributes
    ----------
    n : int
        Number of weights.
    signal, error : float
        Σ x² and Σ (x − x̂)².
    approximated : float
        Σ x̂².
    product : float
        Σ x·x̂.
    max_abs_error : float
        The largest distance between x and x̂.
    """

    n: int
    signal: float
    error: float
    approximated: float
    product: float
    max_abs_error: float

    @property
    def mse(self) -> float:
        """Mean squared error."""
        return self.error / self.n

    @property
    def rmse(self) -> float:
        """Root of the mean squared error, in the unit of the weights."""
        return math.sqrt(self.mse)

    @property
    def sqnr_db(self) -> float:
        """Signal-to-quantization-noise ratio, 10·log₁₀(Σx² / Σ(x − x̂)²), in decibels.

        Infinity where nothing is lost (an all-zero signal too), −infinity where zeros became something else.
        """
        if self.error == 0:
            return math.inf
        if self.signal == 0:
            return -math.inf
        return 10 * (math.log10(self.signal) - math.log10(self.error))

    @property
    def relative_error(self) -> float:
        """‖x − x̂‖ / ‖x‖: 0 where nothing is lost, infinity where zeros became something else."""
        if self.error == 0:
            return 0.0
        return math.sqrt(self.error) / math.sqrt(self.signal) if self.signal else math.inf

    @property
    def cosine(self) -> float:
        """Cosine of the angle between x and x̂: 1 for two zero vectors, 0 if only one of them is zero."""
        if self.signal == 0 or self.approximated == 0:
            return 1.0 if self.signal == self.approximated else 0.0
        cosine = self.product / math.sqrt(self.signal) / math.sqrt(self.approximated)
        return min(max(cosine, -1.0), 1.0) if not math.isnan(cosine) else cosine


def compare(reference: npt.ArrayLike, approximation: npt.ArrayLike) -> Comparison:
    """Compare two arrays of one shape in a single pass.

    Parameters
    ----------
    reference, approximation : array_like or tensor
        x and x̂. float64 stays float64; everything else is compared as float32.

    Returns
    -------
    Comparison

    Raises
    ------
    ShapeError
        The shapes differ, or there is nothing to compare.
    FormatError
        Not real numbers.

    Examples
    --------
    >>> c = compare([3.0, 4.0], [3.0, 3.0])
    >>> c.mse, c.max_abs_error, c.relative_error
    (0.5, 1.0, 0.2)
    """
    x, y = _pair(reference, approximation)
    signal, error, approximated, product, largest = (float(v) for v in _compare(x.reshape(-1), y.reshape(-1)))
    if math.isnan(error):
        return Comparison(x.size, math.nan, math.nan, math.nan, math.nan, math.nan)
    return Comparison(x.size, signal, error, approximated, product, largest)


def mse(reference: npt.ArrayLike, approximation: npt.ArrayLike) -> float:
    """Mean squared error; arguments as in `compare`.

    Examples
    --------
    >>> mse([0.0, 2.0], [1.0, 1.0])
    1.0
    """
    return compare(reference, approximation).mse


def rmse(reference: npt.ArrayLike, approximation: npt.ArrayLike) -> float:
    """Root of the mean squared error, in the unit of the weights; arguments as in `compare`.

    Examples
    --------
    >>> rmse([0.0, 0.0], [3.0, 3.0])
    3.0
    """
    return compare(reference, approximation).rmse


def max_abs_error(reference: npt.ArrayLike, approximation: npt.ArrayLike) -> float:
    """The largest distance between two weights; arguments as in `compare`.

    Examples
    --------
    >>> max_abs_error([1.0, 2.0], [1.25, 1.5])
    0.5
    """
    return compare(reference, approximation).max_abs_error


def sqnr_db(reference: npt.ArrayLike, approximation: npt.ArrayLike) -> float:
    """Signal-to-quantization-noise ratio in decibels; see `compare` and `Comparison.sqnr_db`.

    Each bit more halves the step of a uniform grid, which is worth 20·log₁₀ 2 ≈ 6 dB.

    Examples
    --------
    >>> sqnr_db([10.0, 10.0], [9.0, 11.0])
    20.0
    """
    return compare(reference, approximation).sqnr_db


def relative_error(reference: npt.ArrayLike, approximation: npt.ArrayLike) -> float:
    """‖x − x̂‖ / ‖x‖; see `compare` and `Comparison.relative_error`.

    Examples
    --------
    >>> relative_error([3.0, 4.0], [3.0, 3.0])
    0.2
    """
    return compare(reference, approximation).relative_error


def cosine_similarity(reference: npt.ArrayLike, approximation: npt.ArrayLike) -> float:
    """Cosine of the angle between two arrays; see `compare` and `Comparison.cosine`.

    Examples
    --------
    >>> cosine_similarity([1.0, 0.0], [2.0, 0.0])
    1.0
    """
    return compare(reference, approximation).cosine


def output_error(inputs: npt.ArrayLike, reference: npt.ArrayLike, approximation: npt.ArrayLike) -> float:
    """How much of a layer's output is lost: ‖X·(W − Ŵ)ᵀ‖² / ‖X·Wᵀ‖².

    Weights are a means; what the next layer sees are products. A weight whose inputs are small may be far off.

    Parameters
    ----------
    inputs : array_like (n_tokens, n_in)
        X.
    reference, approximation : array_like or tensor (n_out, n_in)
        W and Ŵ.

    Returns
    -------
    float
        0 where nothing is lost, infinity where zeros became something else.

    Raises
    ------
    ShapeError
        Arrays that do not fit together.
    FormatError
        Not real numbers.

    Examples
    --------
    The second input is always small, so an error there hardly counts:

    >>> x = [[1.0, 0.1], [2.0, 0.1]]
    >>> f"{output_error(x, [[1.0, 1.0]], [[1.0, 0.5]]):.4f} {output_error(x, [[1.0, 1.0]], [[0.5, 1.0]]):.4f}"
    '0.0009 0.2224'
    """
    w, v = _pair(reference, approximation)
    x = real_array(inputs, "inputs", FormatError)
    if w.ndim != 2 or x.ndim != 2 or not len(x) or x.shape[1] != w.shape[1]:
        raise ShapeError(
            f"inputs (n_tokens, n_in) and weights (n_out, n_in) are needed, got inputs {x.shape} and weights {w.shape}"
        )
    wide = x.astype(np.float64)
    error, signal = (float(np.square(wide @ part.T).sum()) for part in (w - v.astype(np.float64), w))
    return 0.0 if error == 0 else error / signal if signal else math.inf if error > 0 else math.nan


def bits_per_weight(nbytes: int, n_weights: int) -> float:
    """Bits per weight of `n_weights` stored in `nbytes`.

    Raises
    ------
    ShapeError
        There is no weight, or a negative number of bytes.

    Examples
    --------
    >>> bits_per_weight(18, 32)  # one block of Q4_0
    4.5
    """
    nbytes = whole_number(nbytes, "nbytes", ShapeError, least=0)
    n_weights = whole_number(n_weights, "n_weights", ShapeError, least=1)
    return 8 * nbytes / n_weights


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts in bins of equal width.

    Attributes
    ----------
    counts : int64 array (bins,)
        Bin i holds ``edges[i] <= value < edges[i + 1]``; the last bin its upper edge as well.
    edges : float64 array (bins + 1,)
    below, above : int
        Values outside the edges, which no bin counts.
    not_a_number : int
        NaNs, which neither do.
    """

    counts: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float64]
    below: int
    above: int
    not_a_number: int

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        """The middle of each bin, (bins,)."""
        return (self.edges[:-1] + self.edges[1:]) / 2


def histogram(values: npt.ArrayLike, bins: int = 256, limits: tuple[float, float] | None = None) -> Histogram:
    """Count values in bins of equal width.

    Parameters
    ----------
    values : array_like or tensor
        Any shape.
    bins : int
        Number of bins.
    limits : (float, float), optional
        Where the first bin starts and the last one ends. By default the smallest and the largest finite
        value; if they are the same, half a unit on either side.

    Returns
    -------
    Histogram

    Raises
    ------
    ShapeError
        `bins` or `limits` make no sense.

    Examples
    --------
    >>> h = histogram([0.0, 0.1, 0.9, 1.0, 7.0], bins=2, limits=(0, 1))
    >>> h.counts.tolist(), h.above
    ([2, 2], 1)
    """
    x = real_array(values, "values", FormatError, (np.float32, np.float64)).reshape(-1)
    if limits is None:
        limits = _finite_range(x)
    # minus nothing: the same kernel then counts errors without storing them
    return _histogram(x, np.zeros(0, x.dtype), bins, limits)


def error_histogram(
    reference: npt.ArrayLike,
    approximation: npt.ArrayLike,
    bins: int = 256,
    limit: float | None = None,
) -> Histogram:
    """Count the errors x̂ − x in bins of equal width around zero.

    Parameters
    ----------
    reference, approximation : array_like or tensor
        x and x̂, as in `compare`.
    bins : int
        Number of bins.
    limit : float, optional
        The bins reach from −limit to limit. By default the largest error, or 1 if there is none.

    Returns
    -------
    Histogram

    Raises
    ------
    ShapeError
        The shapes differ, or `bins` or `limit` make no sense.

    Examples
    --------
    >>> error_histogram([1.0, 2.0, 3.0], [1.5, 2.0, 2.5], bins=3).counts.tolist()
    [1, 1, 1]
    """
    x, y = _pair(reference, approximation)
    if limit is None:
        limit = max_abs_error(x, y)
        limit = limit if 0 < limit < math.inf else 1.0
    limit = finite_number(limit, "limit", ShapeError, above=0)
    return _histogram(y.reshape(-1), x.reshape(-1), bins, (-limit, limit))


def code_histogram(codes: npt.ArrayLike, lowest: int, highest: int) -> npt.NDArray[np.int64]:
    """Count how often each integer code is used.

    Parameters
    ----------
    codes : integer array
        Any shape.
    lowest, highest : int
        The first and the last code to count, e.g. ``grid.qmin, grid.qmax``.

    Returns
    -------
    int64 array (highest − lowest + 1,)

    Raises
    ------
    ShapeError
        A code lies outside, or `codes` are not integers.

    Examples
    --------
    >>> code_histogram([[-1, 0], [0, 1]], -2, 1).tolist()
    [0, 1, 2, 1]
    """
    try:
        array = np.ascontiguousarray(codes)
    except ValueError as problem:  # rows of different lengths
        raise ShapeError(f"codes must be an array of integers: {problem}") from None
    if array.dtype.kind not in "iu":
        raise ShapeError(f"codes must be integers, got an array of {array.dtype}")
    lowest = whole_number(lowest, "lowest", ShapeError, least=-(1 << 62), most=1 << 62)
    highest = whole_number(highest, "highest", ShapeError, least=-(1 << 62), most=1 << 62)
    if highest < lowest or highest - lowest >= 1 << 24:
        raise ShapeError(f"codes from {lowest} to {highest} cannot be counted one by one")
    counts = np.zeros((4, highest - lowest + 1), np.int64)
    outside = int(_count_codes(array.reshape(-1), lowest, highest, counts))
    if outside >= 0:
        raise ShapeError(f"code {array.reshape(-1)[outside]} lies outside {lowest} … {highest}")
    return np.asarray(counts.sum(axis=0))


def _pair(reference: Any, approximation: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    kept = (np.float32, np.float64)
    x = real_array(reference, "reference", FormatError, kept)
    y = real_array(approximation, "approximation", FormatError, kept)
    if x.shape != y.shape or x.size == 0:
        raise ShapeError(f"two non-empty arrays of the same shape are needed, got {x.shape} and {y.shape}")
    return x, y


def _finite_range(x: npt.NDArray[Any]) -> tuple[float, float]:
    if x.size == 0:
        return 0.0, 1.0
    low, high = float(x.min()), float(x.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = x[np.isfinite(x)]
        if finite.size == 0:
            return 0.0, 1.0
        low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


_MOST_BINS = 1 << 24


def _histogram(x: npt.NDArray[Any], minus: npt.NDArray[Any], bins: int, limits: tuple[float, float]) -> Histogram:
    try:
        low, high = (float(limit) for limit in limits)
        bins = operator.index(bins)
    except (TypeError, ValueError, OverflowError):
        low = high = math.nan
        bins = 0
    if not (1 <= bins <= _MOST_BINS and low < high and math.isfinite(high - low)):
        raise ShapeError(
            f"a histogram needs a whole number of bins from 1 to {_MOST_BINS:,} and two finite limits in order, "
            f"got bins={bins}, limits={limits}"
        )
    edges = np.linspace(low, high, bins + 1)
    # four counters, since consecutive values often fall into one bin and would wait for one another
    counts = np.zeros((4, bins + 3), np.int64)  # below, the bins, above, NaN
    _count(x, minus, edges, counts)
    below, *_, above, nans = counts.sum(axis=0).tolist()
    return Histogram(counts[:, 1:-2].sum(axis=0), edges, below, above, nans)


@kernel
def _compare(x, y):
    sums, largest = np.zeros((4, _LANES)), np.zeros(_LANES)
    for start in range(0, x.size, _LANES):
        _add(x[start : start + _LANES], y[start : start + _LANES], sums, largest)
    return sums[0].sum(), sums[1].sum(), sums[2].sum(), sums[3].sum(), largest.max()


@kernel
def _add(x, y, sums, largest):
    for k in range(x.size):
        a, b = np.float64(x[k]), np.float64(y[k])
        e = a - b
        sums[0, k] += a * a
        sums[1, k] += e * e
        sums[2, k] += b * b
        sums[3, k] += a * b
        largest[k] = max(largest[k], abs(e))


@kernel
def _count(x, minus, edges, counts):
    values, places = np.zeros(_LANES), np.zeros(_LANES, np.int32)
    for start in range(0, x.size, _LANES):
        part, subtract = x[start : start + _LANES], minus[start : start + _LANES]
        for k in range(part.size):
            values[k] = np.float64(part[k])
        for k in range(subtract.size):
            values[k] -= np.float64(subtract[k])
        if _place(values[: part.size], edges, places) > 0:
            _place_exactly(values[: part.size], edges, places)
        for k in range(part.size):
            counts[k & 3, places[k]] += 1


@kernel
def _place(values, edges, places):
    """Write each value's place (0 below the edges, 1 … bins, bins + 1 above); how many are too close to call."""
    bins = np.float64(edges.size - 1)
    low, per_unit = edges[0], bins / (edges[edges.size - 1] - edges[0])
    unclear = 0
    for k in range(values.size):
        place = min(max((values[k] - low) * per_unit + 1.0, 0.0), bins + 1.0)
        places[k] = i32(place)
        unclear += 0 if abs(place - places[k] - 0.5) < _CLEAR else 1
    return unclear


@kernel
def _place_exactly(values, edges, places):
    """Let the edges decide, since a rounded product may land on the wrong side of one; NaN goes last."""
    bins = edges.size - 1
    for k in range(values.size):
        value, place = values[k], places[k]
        if np.isnan(value):
            places[k] = bins + 2
        elif value > edges[bins]:
            places[k] = bins + 1
        elif value < edges[0]:
            places[k] = 0
        else:
            place = min(max(place, 1), bins)
            if value < edges[place - 1]:
                place -= 1
            elif place < bins and value >= edges[place]:
                place += 1
            places[k] = place


@kernel
def _count_codes(codes, lowest, highest, counts):
    for i in range(codes.size):
        code = np.int64(codes[i])
        if code < lowest or code > highest:
            return i
        counts[i & 3, code - lowest] += 1
    return -1
