"""How far an approximation is from what it stands for.

All sums are float64, whatever the arrays hold. NaN anywhere makes every measure NaN: nothing is skipped.
Tensors that can be dequantized (`QTensor`, `AffineTensor`) may be passed as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import check_shape, real_array, whole_number
from qviz._machine.kernels import kernel
from qviz.errors import FormatError, ShapeError

_LANES = 256  # sums side by side: LLVM may not reorder one sum, but it may run many at once


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
    with np.errstate(over="ignore", invalid="ignore"):  # inf or NaN says enough
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


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Find the points worth choosing: no other is smaller in both numbers. Sorted by the first; NaN counts for none.

    Raises
    ------
    FormatError
        Not pairs of real numbers.

    Examples
    --------
    >>> pareto([(4, 1.0), (5, 0.5), (6, 0.7), (3, 2.0)])  # the third costs more than the second, and is worse
    [3, 0, 1]
    """
    pairs = real_array(points, "points", FormatError, (np.float64, np.float32))
    if pairs.size:
        check_shape(pairs, "points", ShapeError, ("n_points", 2))
    front: list[int] = []
    there = [i for i in range(len(pairs)) if not np.isnan(pairs[i]).any()]
    for i in sorted(there, key=lambda i: tuple(pairs[i])):
        if pairs[i][1] < (pairs[front[-1]][1] if front else math.inf):
            front.append(i)
    return front


def rank_correlation(x: Any, y: Any) -> float:
    """Spearman's rank correlation: 1 if the larger x has the larger y throughout, −1 if it has the smaller one.

    Ranks are counted here: `scipy.stats` brings 54 MB and a second of imports to a notebook that asks for one number.

    Parameters
    ----------
    x, y : array_like (n,)
        Equal values share the mean of their ranks.

    Returns
    -------
    float
        NaN if all of x are equal, or all of y, or one of them is NaN.

    Raises
    ------
    ShapeError
        Arrays of different lengths, or of more than one axis.

    Examples
    --------
    >>> rank_correlation([1, 2, 3, 4], [10, 1000, 20, 2000])
    0.8

    References
    ----------
    C. Spearman, "The Proof and Measurement of Association between Two Things", 1904.
    """
    kept = (np.float64,)
    a = real_array(x, "x", ShapeError, kept, shape=("n",))
    b = real_array(y, "y", ShapeError, kept, shape=(len(a),))
    if np.isnan(a).any() or np.isnan(b).any():
        return math.nan
    of_a, of_b = _ranks(a), _ranks(b)
    products = float((of_a * of_a).sum() * (of_b * of_b).sum())
    return float((of_a * of_b).sum()) / math.sqrt(products) if products else math.nan


def _ranks(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Twice the distance of each rank from the middle one: whole numbers, also where equal values share a mean."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    middles = 2 * np.cumsum(counts) - counts - len(x)
    return middles[place].astype(np.float64)


def _pair(reference: Any, approximation: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    kept = (np.float32, np.float64)
    x = real_array(reference, "reference", FormatError, kept)
    y = real_array(approximation, "approximation", FormatError, kept)
    if x.shape != y.shape or x.size == 0:
        raise ShapeError(f"two non-empty arrays of the same shape are needed, got {x.shape} and {y.shape}")
    return x, y


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
