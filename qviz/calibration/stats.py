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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import flag, real_array, token_rows, whole_number
from qviz._files import as_path, read_arrays, replacing
from qviz._machine.blas import on_one_thread
from qviz._types import DoubleArray, FloatArray
from qviz.errors import CalibrationError, shortened

_LANES = 256  # sums side by side; see `qviz.metrics`
_CHUNK = 4096  # tokens whose products are summed in float32; the sums of chunks are float64


class ActivationStats:
    """Sums over the inputs of one weight matrix.

    Parameters
    ----------
    n_in : int
        Input channels.
    products : bool, optional
        Sum the products of every two channels, which `hessian` is made of: 8 bytes for each two. Without, there are
        only the means of each channel.
    """

    def __init__(self, n_in: int, *, products: bool = True) -> None:
        n_in = whole_number(n_in, "n_in", CalibrationError, least=1, most=1 << 20)  # of which every two are multiplied
        self.n_tokens = 0
        # of every two channels, or of each with itself
        self._products = np.zeros((n_in, n_in) if flag(products, "products", CalibrationError) else n_in)
        self._abs = np.zeros(n_in, np.float64)
        self._max = np.zeros(n_in, np.float32)

    @classmethod
    def from_inputs(cls, x: npt.ArrayLike) -> ActivationStats:
        """Statistics of inputs x (..., n_in); the leading axes are tokens.

        Raises
        ------
        CalibrationError
            No tokens, or a value that is not finite.
        """
        array = token_rows(x)
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
        array = token_rows(x)
        if array.shape[1] != self.n_in:
            raise CalibrationError(f"these statistics are of {self.n_in} channels, got x with {array.shape[1]}")
        # no sum of products is larger than the largest sum of squares (Cauchy and Schwarz)
        if np.einsum("ti,ti->i", array, array, dtype=np.float64).max() > np.finfo(np.float32).max:
            raise CalibrationError(
                f"the products of inputs as large as {np.abs(array).max():g} overflow float32; scale x down"
            )
        for start in range(0, len(array), _CHUNK):
            part = array[start : start + _CHUNK]
            if self._products.ndim == 2:
                self._products += part.T @ part
            else:
                self._products += np.einsum("ti,ti->i", part, part, dtype=np.float64)
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
            raise CalibrationError(
                f"only statistics of {self.n_in} channels can be merged here, got {shortened(other)}"
            )
        whole = self._products.ndim == other._products.ndim == 2
        both = ActivationStats(self.n_in, products=whole)
        both._products = self._products + other._products if whole else self._squares() + other._squares()
        both._abs = self._abs + other._abs
        both._max = np.maximum(self._max, other._max)
        both.n_tokens = self.n_tokens + other.n_tokens
        return both

    @property
    def hessian(self) -> FloatArray:
        """2/n · XᵀX, float32 (n_in, n_in)."""
        products = self._of_every_two()
        hessian = np.empty(products.shape, np.float32)
        with np.errstate(over="ignore"):  # methods refuse infinity
            np.multiply(products, 2 / self._count(), out=hessian, casting="same_kind")
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
        return (self._squares() / self._count()).astype(np.float32)

    def rotated(self, matrix: FloatArray) -> ActivationStats:
        """Statistics of ``x @ matrix``, for a matrix (n_in, n_in).

        The sums of products are exact; sums of |x| cannot be had from them, so `mean_abs` and `max_abs` are refused.

        Examples
        --------
        >>> turned = ActivationStats.from_inputs([[1.0, 2.0]]).rotated(np.array([[0, 1], [-1, 0]], np.float32))
        >>> turned.mean_sq.tolist()
        [4.0, 1.0]
        """
        square, products = real_array(matrix, "matrix", CalibrationError), self._of_every_two()
        if square.shape != products.shape:
            raise CalibrationError(f"matrix must be of shape {products.shape}, got {square.shape}")
        turned = ActivationStats(self.n_in)
        wide = square.astype(np.float64)
        turned._products, turned.n_tokens = wide.T @ products @ wide, self.n_tokens
        turned._abs[:], turned._max[:] = np.nan, np.nan
        return turned

    def _of_every_two(self) -> DoubleArray:
        if self._products.ndim != 2:
            raise CalibrationError("products of channels were not summed here; collect them with products=True")
        return self._products

    def _squares(self) -> DoubleArray:
        return np.diagonal(self._products) if self._products.ndim == 2 else self._products

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
        file = read_arrays(where, error=CalibrationError)
        try:
            products, sums, most, count = file["products"], file["abs"], file["max"], int(file["n_tokens"])
        except (KeyError, ValueError, TypeError) as error:
            raise CalibrationError(f"{os.fspath(path)}: not saved activation statistics: {error}") from None
        fits = sums.ndim == 1 and sums.size and products.shape in ((sums.size,) * 2, sums.shape) and count >= 0
        fits = fits and most.shape == sums.shape
        if not fits or not all(np.isfinite(array).all() for array in (products, sums, most)):
            raise CalibrationError(f"{os.fspath(path)}: damaged statistics; collect them again")
        stats = cls(sums.size, products=products.ndim == 2)
        stats._products, stats._abs = products.astype(np.float64), sums.astype(np.float64)
        stats._max = most.astype(np.float32)
        stats.n_tokens = count
        return stats

    def __repr__(self) -> str:
        return f"<ActivationStats: {self.n_tokens} tokens, {self.n_in} channels>"


class Collector:
    """An ``on_linear_input(name, x)`` callback that keeps statistics for each name.

    Parameters
    ----------
    products : bool, optional
        As for `ActivationStats`: without, there is no `hessian`, and a model takes kilobytes, not megabytes.

    Examples
    --------
    >>> collect = Collector()
    >>> collect("q_proj", np.ones((3, 2)))
    >>> collect.stats
    {'q_proj': <ActivationStats: 3 tokens, 2 channels>}
    """

    def __init__(self, *, products: bool = True) -> None:
        self.products = flag(products, "products", CalibrationError)
        self.stats: dict[str, ActivationStats] = {}

    def __call__(self, name: str, x: npt.ArrayLike) -> None:
        """Add the inputs x (..., n_in) of the weight matrix `name`."""
        array = token_rows(x)
        if not isinstance(name, str):
            raise CalibrationError(f"the name of a matrix is a text, not {shortened(name)}")
        if name not in self.stats:
            self.stats[name] = ActivationStats(array.shape[1], products=self.products)
        self.stats[name].update(array)

    def merge(self, other: Mapping[str, ActivationStats]) -> None:
        """Add the statistics that another collector, e.g. on another machine, has in its ``stats``."""
        for name, stats in other.items():
            self.stats[name] = self.stats[name].merge(stats) if name in self.stats else stats
