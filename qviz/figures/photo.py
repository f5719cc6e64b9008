"""A photograph and a weight matrix that lose bits in the same way: levels, rounding, dithering.

Nothing here knows which of the two it has in hand. That is the point: what differs is what the result is for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._arrays import dimensions, finite_array, finite_number, real_array, whole_number
from qviz._machine.kernels import kernel
from qviz._types import FloatArray
from qviz.errors import WidgetError, shortened
from qviz.figures import _theme
from qviz.figures.histogram import BINS, Histogram, histogram
from qviz.grids.codebook import kmeans

LEVELS = ("uniform", "palette")
"""Evenly spaced from the smallest value to the largest; or fitted to the values by k-means."""

_MOST_SQUARES = 1 << 20

FAR = 4
"""Pixels across and down that are averaged into one, seen from afar."""


@dataclass(frozen=True, eq=False)
class PixelImage:
    """A matrix of numbers as an image, one pixel a number.

    Attributes
    ----------
    pixels : uint8 array (rows, columns)
        Codes of a colour table.
    colours : str
        ``"grey"`` (0 is black, 255 white) or ``"diverging"`` (127 is zero; see `_theme.diverging`).
    low, high : float
        What the first and the last colour stand for.
    """

    pixels: npt.NDArray[np.uint8]
    colours: str
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class LevelSet:
    """Where levels lie among the values that fall onto them.

    Attributes
    ----------
    density : Histogram
        All values.
    levels : float32 array (n,)
        Ascending.
    used : int32 array (n,)
        Values on each level.
    """

    density: Histogram
    levels: FloatArray
    used: npt.NDArray[np.int32]


def spread_levels(values: npt.ArrayLike, bits: int, kind: str = "uniform") -> FloatArray:
    """Choose levels for all of `values` together.

    Parameters
    ----------
    values : array_like
        At least two different finite numbers.
    bits : int
        1 to 8: 2**bits levels, fewer in a palette of fewer different values.
    kind : {"uniform", "palette"}

    Returns
    -------
    float32 array (n,)
        Ascending.

    Raises
    ------
    WidgetError
        Another kind, other bits, or nothing to spread levels over.

    Examples
    --------
    >>> spread_levels([0, 1, 10, 12], 1).tolist(), spread_levels([0, 1, 10, 12], 1, "palette").tolist()
    ([0.0, 12.0], [0.5, 11.0])
    """
    x = real_array(values, "values", WidgetError)
    if kind not in LEVELS:
        raise WidgetError(f"levels must be one of {', '.join(LEVELS)}, got {shortened(kind)}")
    bits = whole_number(bits, "bits", WidgetError, least=1, most=8)
    if not x.size or not np.isfinite(x).all() or x.min() == x.max():
        raise WidgetError(f"levels need at least two different finite values, got an array of shape {x.shape}")
    if kind == "palette":
        return kmeans(x, bits).levels
    return np.linspace(x.min(), x.max(), 1 << bits, dtype=np.float32)


def squares(shape: tuple[int, ...], size: int) -> list[tuple[slice, slice]]:
    """The parts of a matrix that have a set of levels each.

    Parameters
    ----------
    shape : (rows, columns)
    size : int
        Rows and columns of a square; 0 for the matrix as a whole. Squares at the right and at the bottom are as large
        as what is left for them.

    Returns
    -------
    list of (slice, slice)
        Row by row.

    Examples
    --------
    >>> [(a.start, a.stop, b.start, b.stop) for a, b in squares((4, 6), 4)]
    [(0, 4, 0, 4), (0, 4, 4, 6)]
    """
    shape, size = dimensions(shape, "shape", WidgetError), whole_number(size, "size", WidgetError, least=0)
    if len(shape) != 2 or math.prod(-(-n // (size or n or 1)) for n in shape) > _MOST_SQUARES:
        raise WidgetError(
            f"shape {shortened(shape)} in squares of {size}: a matrix is wanted, and {_MOST_SQUARES:,} squares at most"
        )
    rows, columns = (range(0, n, size or n or 1) for n in shape)
    return [
        (slice(i, min(i + rows.step, shape[0])), slice(j, min(j + columns.step, shape[1])))
        for i in rows
        for j in columns
    ]


def round_to_levels(values: FloatArray, levels: FloatArray, dither: bool = False) -> FloatArray:
    """Replace each number of a matrix by a level.

    Parameters
    ----------
    values : float32 array (rows, columns)
    levels : float32 array (n,)
        Ascending.
    dither : bool
        Hand the error of each number on to the neighbours that are still to come, so that errors cancel over a
        small area. R. W. Floyd and L. Steinberg, *An adaptive algorithm for spatial grey scale*, 1976.

    Returns
    -------
    float32 array (rows, columns)
        The nearest level of each number (the lower of two that are equally near); with dithering, of the number and
        the errors that it was handed.

    Raises
    ------
    WidgetError
        Not a matrix, or no ascending levels.

    Examples
    --------
    Greys of a quarter: rounding loses them all, dithering turns every fourth one white.

    >>> grey, levels = np.full((4, 8), 0.25, np.float32), np.float32([0, 1])
    >>> round_to_levels(grey, levels).sum(), round_to_levels(grey, levels, dither=True).sum()
    (np.float32(0.0), np.float32(8.0))
    """
    values, levels = real_array(values, "values", WidgetError), finite_array(levels, "levels", WidgetError)
    if values.ndim != 2 or not values.size:
        raise WidgetError(f"a matrix (rows, columns) is needed, got an array of shape {values.shape}")
    if levels.ndim != 1 or not levels.size or (np.diff(levels) <= 0).any():
        raise WidgetError(f"levels must be ascending numbers, got {shortened(levels)}")
    middles = (levels[1:] + levels[:-1]) / 2
    if not dither:
        return levels[np.searchsorted(middles, values)]
    out = np.empty(values.shape, np.float32)
    _diffuse(values.astype(np.float64), levels, middles.astype(np.float64), out)
    return out


@kernel
def _diffuse(work, levels, middles, out):
    """Floyd–Steinberg, row by row from left to right; `work` is used up."""
    rows, columns = work.shape
    for i in range(rows):
        for j in range(columns):
            value = work[i, j]
            low, high = 0, middles.size
            while low < high:
                middle = (low + high) // 2
                if middles[middle] < value:
                    low = middle + 1
                else:
                    high = middle
            out[i, j] = levels[low]
            error = value - np.float64(levels[low])
            if j + 1 < columns:
                work[i, j + 1] += error * 7 / 16
            if i + 1 < rows:
                if j > 0:
                    work[i + 1, j - 1] += error * 3 / 16
                work[i + 1, j] += error * 5 / 16
                if j + 1 < columns:
                    work[i + 1, j + 1] += error / 16


def psnr(before: npt.ArrayLike, after: npt.ArrayLike, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in decibels: 10·log₁₀(peak² / mean squared error); infinite where nothing changed.

    Examples
    --------
    >>> psnr([0, 255], [255, 0]), round(psnr([10, 20], [11, 19]), 2)
    (0.0, 48.13)
    """
    x, y = (finite_array(a, "an image", WidgetError, (np.float64,)) for a in (before, after))
    if x.shape != y.shape or not x.size:
        raise WidgetError(f"two non-empty arrays of the same shape are needed, got {x.shape} and {y.shape}")
    peak = finite_number(peak, "peak", WidgetError, above=0)
    with np.errstate(over="ignore"):
        error = float(np.mean((x - y) ** 2))
    if error in (0, math.inf):
        return -10 * math.log10(error) if error else math.inf
    ratio = peak * peak / error
    return 10 * math.log10(ratio) if 0 < ratio < math.inf else 20 * math.log10(peak) - 10 * math.log10(error)


def from_afar(image: npt.ArrayLike, step: int = FAR) -> npt.NDArray[np.float64]:
    """Means of `step` × `step` pixels: what is left where an eye or a small screen cannot tell them apart.

    Parameters
    ----------
    image : array_like (rows, columns)
        What does not fill a whole square at the right and at the bottom is left out.
    step : int

    Returns
    -------
    float64 array (rows // step, columns // step)

    Examples
    --------
    >>> from_afar([[0, 4], [4, 8]], 2).tolist()
    [[4.0]]
    """
    x = real_array(image, "image", WidgetError, (np.float64,))
    if x.ndim != 2 or step < 1 or min(x.shape) < step:
        raise WidgetError(f"squares of {step} × {step} do not fit an array of shape {x.shape}")
    rows, columns = (n // step for n in x.shape)
    means: npt.NDArray[np.float64] = (
        x[: rows * step, : columns * step].reshape(rows, step, columns, step).mean(axis=(1, 3))
    )
    return means


def pixel_image(values: FloatArray, colours: str, low: float, high: float) -> PixelImage:
    """Show numbers between `low` and `high` as pixels; what lies beyond is shown as the end that is near.

    Parameters
    ----------
    values : float32 array (rows, columns)
    colours : {"grey", "diverging"}
    low, high : float
        ``low < high``; with diverging colours, 0 should lie half-way.

    Returns
    -------
    PixelImage

    Examples
    --------
    >>> pixel_image(np.float32([[0, 128, 300]]), "grey", 0, 255).pixels.tolist()
    [[0, 128, 255]]
    >>> pixel_image(np.float32([[-2, 0, 1]]), "diverging", -1, 1).pixels.tolist()
    [[0, 127, 254]]
    """
    if colours not in ("grey", "diverging"):
        raise WidgetError(f"colours must be grey or diverging, got {shortened(colours)}")
    values = real_array(values, "values", WidgetError)
    if values.ndim != 2 or not values.size or np.isnan(values).any() or not -math.inf < low < high < math.inf:
        wanted = "a matrix without NaN, and finite low < high"
        raise WidgetError(f"an image needs {wanted}; got shape {values.shape}, {low} … {high}")
    last = 255 if colours == "grey" else 2 * _theme.ZERO
    share = (np.clip(values.astype(np.float64), low, high) - low) / (high - low)
    return PixelImage(np.rint(share * last).astype(np.uint8), colours, float(low), float(high))


def level_set(
    values: FloatArray, rounded: FloatArray, levels: FloatArray, low: float, high: float, bins: int = BINS
) -> LevelSet:
    """Show levels among the values that fell onto them.

    Parameters
    ----------
    values, rounded : float32 arrays of one shape
        Before and after.
    levels : float32 array (n,)
        Ascending; every number of `rounded` is one of them.
    low, high : float
        Ends of the axis.
    bins : int
        Bars of the histogram; one for each value where values are whole numbers.

    Returns
    -------
    LevelSet

    Raises
    ------
    WidgetError
        Something was rounded to no level.

    Examples
    --------
    >>> level_set(np.float32([[0, 1, 4]]), np.float32([[0, 0, 4]]), np.float32([0, 4]), 0, 4).used.tolist()
    [2, 1]
    """
    if levels.ndim != 1 or not levels.size or (np.diff(levels) <= 0).any():
        raise WidgetError(f"levels must be ascending numbers, got {shortened(levels)}")
    where = np.searchsorted(levels, rounded.reshape(-1)).clip(0, levels.size - 1)
    if values.shape != rounded.shape or (levels[where] != rounded.reshape(-1)).any():
        raise WidgetError("every rounded value must be one of the levels, and there must be one for each value")
    used = np.bincount(where, minlength=levels.size).astype(np.int32)
    return LevelSet(histogram(np.ascontiguousarray(values), low, high, bins), levels, used)
