"""Grids whose levels are not evenly spaced: a code is an index into a short table.

::

    code = nearest level of x / scale        x̂ = scale · levels[code]

===========  ====================================================================  =========================
codebook     levels                                                                scale
===========  ====================================================================  =========================
`NF4`        quantiles of a normal distribution, −1 … 1 (QLoRA, arXiv:2305.14314)  max|x| of a group
`FP4`        the float of 1 sign, 2 exponent, 1 mantissa bit: 0 .5 1 1.5 2 3 4 6   max|x| / 6
`MXFP4`      the same levels (OCP Microscaling, v1.0)                              2^(⌊log₂ max|x|⌋ − 2)
`MXFP8`      the numbers of `E4M3` (the same specification)                        2^(⌊log₂ max|x|⌋ − 8)
`NVFP4`      the levels of `FP4`, for 16 weights                                   an `E4M3` · a float32 of all
`kmeans`     fitted to the weights themselves (Lloyd's iterations)                 1
===========  ====================================================================  =========================

Examples
--------
>>> MXFP4.fake_quantize([[0.0, 0.6, -3.4, 5.0]]).tolist()
[[0.0, 0.5, -3.0, 4.0]]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arguments import check_record
from qviz._arrays import dimensions, one_of, real_array, whole_array, whole_number
from qviz._machine.kernels import kernel
from qviz._types import DoubleArray, FloatArray
from qviz.errors import GridError, shortened
from qviz.grids.floats import E2M1, E4M3, two_level_scales


@dataclass(frozen=True, eq=False)
class Codebook:
    """A table of levels that groups of weights share.

    Parameters
    ----------
    levels : float32 array (n,)
        2 to 256, ascending.
    group_size : int
        Weights of a row that share a scale; −1 for the whole row.
    scale : {"absmax", "power", "two-level", "none"}
        The largest weight meets the largest level; the power of two below that (MXFP4); as the first, but rounded to
        `E4M3` under one float32 of the whole matrix (NVFP4); no scale.

    Raises
    ------
    GridError
        No such codebook.
    """

    levels: FloatArray
    group_size: int = -1
    scale: str = "absmax"

    def __post_init__(self) -> None:
        levels = real_array(self.levels, "levels", GridError)
        good = levels.ndim == 1 and 2 <= levels.size <= 256 and np.isfinite(levels).all()
        if not good or (np.diff(levels) <= 0).any() or not levels.any():
            raise GridError(f"levels must be 2 … 256 ascending numbers, got {shortened(levels)}")
        one_of(self.scale, "scale", ("absmax", "power", "two-level", "none"), GridError)
        if whole_number(self.group_size, "group_size, −1 for a row,", GridError, least=-1) == 0:
            raise GridError("group_size must be −1 (a row) or positive, got 0")
        object.__setattr__(self, "levels", levels)

    def bpw(self, shape: tuple[int, ...]) -> float:
        """Bits per weight: codes; a scale a group, 16 or 8 bits; a float32 of the matrix; fitted levels as float16."""
        shape = dimensions(shape, "shape", GridError, least=1) or (1,)
        n = shape[-1]
        size = n if self.group_size == -1 else min(self.group_size, n)
        share = {"absmax": 16, "power": 8, "two-level": 8, "none": 0}[self.scale] * -(-n // size) / n
        once = {"two-level": 32, "none": 16 * self.levels.size}.get(self.scale, 0) / float(np.prod(shape))
        return float(np.ceil(np.log2(self.levels.size)) + share + once)

    def quantize(self, weight: npt.ArrayLike) -> tuple[npt.NDArray[np.uint8], FloatArray]:
        """Codes, uint8 (n_out, n_in), and scales, float32 (n_out, n_groups), of a weight matrix.

        Raises
        ------
        GridError
            Not a matrix of finite numbers.
        """
        w = real_array(weight, "weight", GridError)
        if w.ndim != 2 or not w.size or not np.isfinite(w).all():
            raise GridError(f"weight must be a matrix of finite numbers, got shape {w.shape}")
        starts = np.arange(0, w.shape[1], self._size(w.shape[1]))
        most = np.maximum.reduceat(np.abs(w), starts, axis=1)
        if self.scale == "none":
            scales = np.ones_like(most)
        elif self.scale == "absmax":
            scales = most / np.float32(np.abs(self.levels).max())
        elif self.scale == "two-level":
            scales = two_level_scales(most, float(np.abs(self.levels).max()))[2]
        else:
            reach = int(np.floor(np.log2(np.abs(self.levels).max())))
            scales = np.ldexp(np.float32(1), np.frexp(most)[1] - 1 - reach).astype(np.float32)
        scales = np.where((most > 0) & (scales > 0), scales, np.float32(1))
        middles = (self.levels[1:] + self.levels[:-1]) / 2
        codes = np.searchsorted(middles, w / self._spread(scales, w.shape[1]), side="left").astype(np.uint8)
        return codes, scales

    def dequantize(self, codes: npt.NDArray[np.uint8], scales: FloatArray) -> FloatArray:
        """The weights that `quantize` rounded to, float32 (n_out, n_in)."""
        last = self.levels.size - 1
        codes = whole_array(codes, "codes", GridError, shape=("n_out", "n_in"), least=0, most=last, dtype=None)
        groups = -(-codes.shape[1] // self._size(codes.shape[1]))
        scales = real_array(scales, "scales", GridError, shape=(codes.shape[0], groups))
        values: FloatArray = self.levels[codes] * self._spread(scales, codes.shape[1])
        return values

    def fake_quantize(self, weight: npt.ArrayLike) -> FloatArray:
        """``dequantize(*quantize(weight))``."""
        return self.dequantize(*self.quantize(weight))

    def _size(self, n: int) -> int:
        return n if self.group_size == -1 else min(self.group_size, n)

    def _spread(self, scales: FloatArray, n: int) -> FloatArray:
        spread: FloatArray = np.repeat(scales, self._size(n), axis=1)[:, :n]
        return spread


# As printed in QLoRA's appendix E and bitsandbytes' functional.py.
_NORMAL = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    np.float32,
)
NF4 = Codebook(_NORMAL, 64)
FP4 = Codebook(E2M1.levels, 64)
MXFP4 = Codebook(E2M1.levels, 32, "power")
MXFP8 = Codebook(E4M3.levels, 32, "power")
NVFP4 = Codebook(E2M1.levels, 16, "two-level")


@dataclass(frozen=True, eq=False)
class KMeansStep:
    """One Lloyd iteration: the levels before it, and the mean squared error of rounding onto them."""

    levels: FloatArray
    error: float


check_record(KMeansStep, GridError)


def _quantiles(values: DoubleArray, bits: int) -> DoubleArray:
    levels: DoubleArray = np.unique(
        np.quantile(values, (np.arange(1 << bits) + 0.5) / (1 << bits), method="inverted_cdf")
    )
    return levels if levels.size > 1 else values[[0, -1]]  # one of two values stands for half of all quantiles


def _started(start: npt.ArrayLike, bits: int) -> DoubleArray:
    levels: DoubleArray = np.unique(real_array(start, "start", GridError).astype(np.float64))
    if not np.isfinite(levels).all() or not 2 <= levels.size <= 1 << bits:
        raise GridError(
            f"start must be 2 to {1 << bits} different finite levels for {bits} bits, got {shortened(start)}"
        )
    return levels


def kmeans(
    weight: npt.ArrayLike,
    bits: int = 4,
    *,
    iterations: int = 100,
    start: npt.ArrayLike | None = None,
    trace: list[KMeansStep] | None = None,
) -> Codebook:
    """Fit a codebook to weights: round each to its nearest level, move each level to the mean of its weights.

    Lloyd 1982; starts from quantiles unless told otherwise, so nothing is random. Stops when no level moves.

    Parameters
    ----------
    weight : array_like
        Any shape; one codebook for all of it.
    bits : int
        1 to 8; 2**bits levels, fewer where the weights have fewer different values.
    iterations : int
        At most.
    start : array_like (n,), optional
        Levels to start from, at least two and at most 2**bits. Where they lie decides where they end.
    trace : list, optional
        Gets a `KMeansStep` for each iteration.

    Returns
    -------
    Codebook
        Without scale.

    Raises
    ------
    GridError
        Weights that are not finite, or fewer than two different ones; no such levels to start from.

    Examples
    --------
    >>> kmeans([0.0, 1.0, 10.0, 12.0], bits=1).levels.tolist()
    [0.5, 11.0]
    >>> kmeans([0.0, 6.0, 12.0], bits=1, start=[1.0, 4.0]).levels.tolist()
    [0.0, 9.0]
    """
    values = np.sort(real_array(weight, "weight", GridError).ravel()).astype(np.float64)
    bits = whole_number(bits, "bits", GridError, least=1, most=8)
    iterations = whole_number(iterations, "iterations", GridError, least=1)
    if trace is not None and not isinstance(trace, list):
        raise GridError(f"trace is {shortened(trace)}; a list is wanted, which gets the steps")
    if not values.size or not np.isfinite(values).all() or values[0] == values[-1]:
        raise GridError("a codebook needs at least two different weights, and finite ones only")
    levels = _quantiles(values, bits) if start is None else _started(start, bits)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(iterations):
        ends: Any = [0, *np.searchsorted(values, (levels[1:] + levels[:-1]) / 2, side="right"), values.size]
        ends = np.array(ends)
        if trace is not None:
            off = values - np.repeat(levels, np.diff(ends))
            trace.append(KMeansStep(levels.astype(np.float32), float(np.mean(off * off))))
        used = np.diff(ends) > 0  # a level that no weight is nearest to stays where it is
        moved = np.where(used, np.diff(sums[ends]) / np.maximum(np.diff(ends), 1), levels)
        if np.array_equal(moved, levels):
            break
        levels = moved
    return Codebook(np.unique(levels.astype(np.float32)), -1, "none")


@dataclass(frozen=True, eq=False)
class GroupCodebooks:
    """Weights, each group of a row with a fitted codebook of its own.

    Attributes
    ----------
    codes : uint8 array (n_out, n_in)
    levels : float32 array (n_out, n_groups, 2**bits)
        Ascending; a group with fewer different weights repeats its last level.
    group_size : int
        Weights of a row that share levels; −1 for the whole row.
    """

    codes: npt.NDArray[np.uint8]
    levels: FloatArray
    group_size: int

    @property
    def bpw(self) -> float:
        """Bits per weight: codes, and each level as float16. Small groups pay dearly for their tables."""
        return float(np.log2(self.levels.shape[-1]) + 16 * self.levels.size / self.codes.size)

    def dequantize(self) -> FloatArray:
        """The weights that the codes stand for, float32 (n_out, n_in)."""
        rows, n = self.codes.shape
        group = np.arange(n) // (n if self.group_size == -1 else self.group_size)
        values: FloatArray = self.levels[np.arange(rows)[:, None], group, self.codes]
        return values


def kmeans_groups(
    weight: npt.ArrayLike, bits: int = 4, group_size: int = -1, *, iterations: int = 100
) -> GroupCodebooks:
    """`kmeans` for every group of a weight matrix.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    bits : int
        1 to 8.
    group_size : int
        Weights of a row that share levels; −1 for the whole row.
    iterations : int
        At most, for each group.

    Returns
    -------
    GroupCodebooks

    Raises
    ------
    GridError
        Not a matrix of finite numbers, or a group size that is neither −1 nor positive.

    Examples
    --------
    >>> books = kmeans_groups([[0.0, 1.0, 10.0, 12.0, 5.0, 5.0, 6.0, 6.0]], bits=1, group_size=4)
    >>> books.levels.tolist(), books.bpw
    ([[[0.5, 11.0], [5.0, 6.0]]], 9.0)
    """
    w = real_array(weight, "weight", GridError)
    if w.ndim != 2 or not w.size or not np.isfinite(w).all():
        raise GridError(f"weight must be a matrix of finite numbers, got shape {w.shape}")
    bits = whole_number(bits, "bits", GridError, least=1, most=8)
    iterations = whole_number(iterations, "iterations", GridError, least=1, most=1 << 31)
    whole = not isinstance(group_size, bool) and isinstance(group_size, int | np.integer)
    if not whole or not (group_size == -1 or group_size >= 1):
        raise GridError(f"group_size must be −1 or positive, got {shortened(group_size)}")
    size = w.shape[1] if group_size == -1 else min(int(group_size), w.shape[1])
    levels = np.empty((len(w), -(-w.shape[1] // size), 1 << bits), np.float32)
    codes = np.empty(w.shape, np.uint8)
    _fit_groups(w, size, iterations, levels, codes)
    return GroupCodebooks(codes, levels, int(group_size))


@kernel
def _fit_groups(w, size, iterations, levels, codes):
    for r in range(w.shape[0]):
        for g in range(levels.shape[1]):
            group = w[r, g * size : (g + 1) * size]
            values = np.sort(group).astype(np.float64)
            book = _lloyd(values, levels.shape[2], iterations)
            n = book.size
            for k in range(levels.shape[2]):
                levels[r, g, k] = book[min(k, n - 1)]
            for j in range(group.size):
                code = 0
                while code < n - 1 and np.float64(group[j]) > (book[code] + book[code + 1]) / 2:
                    code += 1
                codes[r, g * size + j] = code


@kernel
def _lloyd(values, count, iterations):
    """The levels of sorted `values`, float64; from quantiles, as `kmeans` starts."""
    n = values.size
    levels = np.empty(max(count, 2))
    used = 0
    for k in range(count):
        start = values[max(np.int64(np.ceil((k + 0.5) / count * n)) - 1, 0)]
        if used == 0 or start > levels[used - 1]:
            levels[used] = start
            used += 1
    if used == 1 and values[0] < values[n - 1]:
        levels[0], levels[1], used = values[0], values[n - 1], 2
    levels = levels[:used]
    for _ in range(iterations):
        changed, first = False, 0
        previous = levels.copy()  # all move at once
        for k in range(used):
            last, total = first, 0.0
            while last < n and (k == used - 1 or values[last] <= (previous[k] + previous[k + 1]) / 2):
                total += values[last]
                last += 1
            if last > first and total / (last - first) != levels[k]:
                levels[k], changed = total / (last - first), True
            first = last
        if not changed:
            break
    return levels
