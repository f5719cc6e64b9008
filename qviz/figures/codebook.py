"""Codebooks: how fitted levels move, what stands beside them, and what their codes say."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qviz._arrays import check_shape, finite_array, finite_number, real_array
from qviz._types import DoubleArray, FloatArray
from qviz.errors import WidgetError, shortened
from qviz.figures import _charts
from qviz.figures.histogram import Histogram
from qviz.grids.codebook import KMeansStep

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class LloydPicture:
    """Values, the levels of a codebook among them, how these got there, and the levels of others.

    Attributes
    ----------
    values : Histogram
    paths : float32 array (steps, n)
        The levels at each iteration, ascending.
    current : int
        The iteration on show.
    edges : float32 array (n − 1,)
        Half-way between neighbouring levels: where the nearest one changes.
    used : int32 array (n,)
        Values nearest to each level.
    names : tuple of str
        Other codebooks, and their levels on the same axis:
    others : tuple of float32 arrays
    """

    values: Histogram
    paths: FloatArray
    current: int
    edges: FloatArray
    used: npt.NDArray[np.int32]
    names: tuple[str, ...]
    others: tuple[FloatArray, ...]


@dataclass(frozen=True, eq=False)
class LloydCurve:
    """How good a codebook is at each iteration, beside others that are not fitted.

    Attributes
    ----------
    decibels : float64 array (steps,)
        SQNR; larger is better.
    current : int
    names : tuple of str
    others : float64 array (n,)
        SQNR of the others.
    """

    decibels: DoubleArray
    current: int
    names: tuple[str, ...]
    others: DoubleArray

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: quality after each iteration, beside codebooks that are not fitted."""
        figure = _charts.chart(_charts.axis("iteration"), _charts.axis("SQNR in dB"))
        _charts.curve(figure, np.arange(len(self.decibels)), self.decibels, "k-means", "level")
        for name, decibels in zip(self.names, self.others, strict=True):
            _charts.mark(figure, float(decibels), name, "weight", upright=False)
        return figure


def lloyd_picture(
    values: FloatArray,
    steps: Sequence[KMeansStep],
    current: int,
    density: Histogram,
    others: Mapping[str, npt.ArrayLike],
) -> LloydPicture:
    """One moment of Lloyd's iterations.

    Parameters
    ----------
    values : float32 array (n,), ascending
        All that share the codebook.
    steps : sequence of KMeansStep
        As `qviz.grids.codebook.kmeans` traces them.
    current : int
        Which step to show.
    density : Histogram
        The values to show, on the axis of the picture.
    others : mapping of str to array_like
        Levels of other codebooks.

    Returns
    -------
    LloydPicture

    Raises
    ------
    WidgetError
        No such step.

    Examples
    --------
    >>> from qviz.figures import histogram
    >>> from qviz.grids import kmeans
    >>> x, steps = np.float32([0, 1, 2, 9]), []
    >>> _ = kmeans(x, 1, trace=steps)
    >>> shown = lloyd_picture(x, steps, 0, histogram(x, 0, 9), {})
    >>> shown.paths.tolist(), shown.edges.tolist(), shown.used.tolist()
    ([[0.0, 2.0], [0.5, 5.5], [1.0, 9.0]], [1.0], [2, 2])
    """
    if not 0 <= current < len(steps):
        raise WidgetError(f"no iteration {current}: there are 0 … {len(steps) - 1}")
    check_shape(values, "values", WidgetError, ("n",))
    for step in steps:
        finite_array(step.levels, "the levels of a step", WidgetError, shape=(steps[0].levels.size,))
    paths = np.stack([step.levels for step in steps])
    levels = paths[current]
    edges = (levels[1:] + levels[:-1]) / 2
    ends = np.searchsorted(values, edges, side="right")
    used = np.diff(np.concatenate([[0], ends, [values.size]])).astype(np.int32)
    return LloydPicture(
        density,
        paths,
        int(current),
        edges,
        used,
        tuple(others),
        tuple(finite_array(levels, shortened(name), WidgetError) for name, levels in others.items()),
    )


def lloyd_curve(
    steps: Sequence[KMeansStep], mean_square: float, current: int, others: Mapping[str, float]
) -> LloydCurve:
    """The errors of all iterations as decibels.

    Parameters
    ----------
    steps : sequence of KMeansStep
    mean_square : float
        Mean square of the values: what the errors are compared with.
    current : int
        Which step is on show.
    others : mapping of str to float
        SQNR of other codebooks, decibels.

    Returns
    -------
    LloydCurve

    Raises
    ------
    WidgetError
        No such step, or a mean square that is not positive.

    Examples
    --------
    >>> steps = [KMeansStep(np.float32([0, 1]), 1.0), KMeansStep(np.float32([0, 2]), 0.1)]
    >>> lloyd_curve(steps, 10.0, 1, {"grid": 12.0}).decibels.tolist()
    [10.0, 20.0]
    """
    others = {name: finite_number(sqnr, shortened(name), WidgetError) for name, sqnr in others.items()}
    if not 0 <= current < len(steps) or not 0 < mean_square < math.inf:
        raise WidgetError(f"no iteration {current} of {len(steps)}, or nothing to compare with ({mean_square})")
    errors = np.array([finite_number(step.error, "the error of a step", WidgetError, least=0) for step in steps])
    with np.errstate(divide="ignore"):
        decibels = 10 * np.log10(mean_square / errors)
    return LloydCurve(decibels, int(current), tuple(others), np.array(list(others.values()), np.float64))


def entropy(counts: npt.ArrayLike) -> float:
    """Bits a symbol that no code for single symbols can go below, Σ −p·log₂ p (Shannon 1948).

    Parameters
    ----------
    counts : array_like
        How often each symbol occurs.

    Returns
    -------
    float

    Raises
    ------
    WidgetError
        Nothing was counted, or a count is negative.

    Examples
    --------
    >>> entropy([1, 1, 1, 1]), entropy([4, 2, 1, 1]), entropy([7, 0])
    (2.0, 1.75, 0.0)
    """
    share = _shares(counts)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum()) + 0.0


def huffman_lengths(counts: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """How many bits a Huffman code gives each symbol (Huffman 1952): often ones few, rare ones many.

    Parameters
    ----------
    counts : array_like (n,)
        How often each symbol occurs.

    Returns
    -------
    int32 array (n,)
        0 for symbols that never occur; 1 where there is only one.

    Raises
    ------
    WidgetError
        Nothing was counted, or a count is negative.

    Examples
    --------
    >>> huffman_lengths([4, 2, 1, 1, 0]).tolist()
    [1, 2, 3, 3, 0]
    """
    share = _shares(counts)
    lengths = np.zeros(share.size, np.int32)
    heap = [(float(weight), i, [i]) for i, weight in enumerate(share) if weight > 0]
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, first, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[left + right] += 1
        heapq.heappush(heap, (a + b, first, left + right))
    return lengths


def huffman_bits(counts: npt.ArrayLike) -> float:
    """Bits a symbol of a Huffman code, without the table that says which code is whose.

    Examples
    --------
    >>> huffman_bits([4, 2, 1, 1])
    1.75
    """
    return float((_shares(counts) * huffman_lengths(counts)).sum())


def normal_levels(bits: int = 4, offset: float = 0.9677083) -> FloatArray:
    """The levels of NF4 by their construction: quantiles of a normal distribution, with a zero.

    Half of the levels stand above zero: quantiles of evenly spaced probabilities from ½ to `offset`, ½ itself left out.
    One fewer stand below, in the same way. All are divided by the largest.

    Parameters
    ----------
    bits : int
        2 to 8.
    offset : float
        The outermost probability. QLoRA's code has the mean of 1 − 1/32 and 1 − 1/30.

    Returns
    -------
    float32 array (2**bits,)
        Ascending, −1 … 1.

    Raises
    ------
    WidgetError
        Other bits, or no such probability.

    Notes
    -----
    T. Dettmers and others, *QLoRA*, 2023, arXiv:2305.14314, section 3; ``create_normal_map`` in bitsandbytes.

    Examples
    --------
    >>> [f"{level:.3f}" for level in normal_levels(2)]
    ['-1.000', '0.000', '0.338', '1.000']
    """
    if bits not in range(2, 9) or not 0.5 < offset < 1:
        raise WidgetError(
            "normal levels need 2 to 8 bits and an offset between ½ and 1, "
            f"got {shortened(bits)} and {shortened(offset)}"
        )
    half, quantile = 1 << (bits - 1), NormalDist().inv_cdf
    above = [quantile(p) for p in np.linspace(offset, 0.5, half + 1)[:-1]]
    below = [-quantile(p) for p in np.linspace(offset, 0.5, half)[:-1]]
    levels = np.array([*below, 0.0, *above[::-1]])
    normal: FloatArray = (levels / levels.max()).astype(np.float32)
    return normal


def _shares(counts: npt.ArrayLike) -> DoubleArray:
    array = real_array(counts, "counts", WidgetError, (np.float64,)).reshape(-1)
    if not array.size or not np.isfinite(array).all() or array.min() < 0 or not array.any():
        raise WidgetError(f"counts must be numbers, none negative and one at least positive; got {shortened(counts)}")
    shares: DoubleArray = array / array.sum()
    return shares
