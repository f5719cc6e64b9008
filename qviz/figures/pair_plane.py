"""Pairs of weights as dots in a plane, among the points that they are rounded to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._arrays import finite_array, finite_number, whole_array
from qviz._types import DoubleArray, FloatArray
from qviz.errors import WidgetError

_FARTHEST = 1e18  # squares of numbers up to it, and their sums, are float32


@dataclass(frozen=True, eq=False)
class PairPlane:
    """Pairs in the plane, the points that they become, and the cells in which a point is the nearest.

    Attributes
    ----------
    pairs : float32 array (n, 2)
    points : float32 array (m, 2)
        What pairs are rounded to.
    taken : int32 array (n,)
        Which point each pair becomes.
    errors : float32 array (n,)
        What this costs: the mean of the two squared errors.
    counts : int32 array (m,)
        How often each point stands in a table, or is taken: the size of its dot.
    edges : float64 array (k, 4)
        Borders of the cells, from (x, y) to (x, y); none where a pair need not take its nearest point.
    current : int
        The pair on show.
    reach : float
        The plane ends here, in all four directions.
    """

    pairs: FloatArray
    points: FloatArray
    taken: npt.NDArray[np.int32]
    errors: FloatArray
    counts: npt.NDArray[np.int32]
    edges: DoubleArray
    current: int
    reach: float

    @property
    def mean_square(self) -> float:
        """The mean squared error of a weight."""
        return float(self.errors.mean(dtype=np.float64))


def pair_plane(
    pairs: npt.ArrayLike,
    points: npt.ArrayLike,
    current: int = 0,
    *,
    reach: float | None = None,
    taken: npt.ArrayLike | None = None,
    counts: npt.ArrayLike | None = None,
) -> PairPlane:
    """Round pairs to the nearest of some points, or to those that something else has chosen for them.

    Parameters
    ----------
    pairs : array_like (n, 2)
    points : array_like (m, 2)
    current : int
        The pair on show.
    reach : float, optional
        Where the plane ends; a little beyond the farthest pair and point unless given.
    taken : array_like (n,), optional
        The points that were chosen: then there are no cells.
    counts : array_like (m,), optional
        How often each point stands in a table; how many pairs take it unless given.

    Returns
    -------
    PairPlane

    Raises
    ------
    WidgetError
        No pairs or points in a plane, numbers that are not finite, no such pair; or `taken` and `counts` do not name
        one of the points for each pair and a number for each point.

    Examples
    --------
    >>> plane = pair_plane([[0, 1], [3, 3]], [[0, 0], [4, 4]])
    >>> plane.taken.tolist(), plane.errors.tolist(), plane.counts.tolist(), plane.mean_square
    ([0, 1], [0.5, 1.0], [1, 1], 0.75)
    >>> [abs(float(x + y)) for x, y in plane.edges.reshape(2, 2)]  # the border is where x + y = 4
    [4.0, 4.0]
    """
    dots = finite_array(pairs, "pairs", WidgetError, shape=("n_pairs", 2))
    stand = finite_array(points, "points", WidgetError, shape=("n_points", 2))
    farthest = float(max(np.abs(dots).max(), np.abs(stand).max()))
    if farthest > _FARTHEST:
        raise WidgetError(f"pairs and points reach to {farthest:g}; {_FARTHEST:g} is as far as squares can be taken")
    if not 0 <= current < len(dots):
        raise WidgetError(f"no pair {current}: there are 0 … {len(dots) - 1}")
    if reach is None:
        reach = 1.05 * farthest or 1.0
    reach = finite_number(reach, "reach", WidgetError, above=0, most=2 * _FARTHEST)
    if taken is None and reach < np.abs(stand).max():
        raise WidgetError(f"reach is {reach:g}; a plane that holds all points ends at {np.abs(stand).max():g} or later")
    if taken is None:
        chosen = nearest_point(dots, stand)
    else:
        last = len(stand) - 1
        chosen = whole_array(taken, "taken", WidgetError, shape=(len(dots),), least=0, most=last, dtype=np.int32)
    errors = np.square(dots - stand[chosen]).mean(axis=1)
    if counts is None:
        counted = np.bincount(chosen, minlength=len(stand))
    else:
        counted = whole_array(counts, "counts", WidgetError, shape=(len(stand),), least=0, most=(1 << 31) - 1)
    edges = borders(stand, reach) if taken is None else np.empty((0, 4))
    return PairPlane(dots, stand, chosen, errors, counted.astype(np.int32), edges, int(current), float(reach))


def nearest_point(pairs: FloatArray, points: FloatArray) -> npt.NDArray[np.int32]:
    """Which of some points is the nearest to each pair; of equally near ones the first.

    Examples
    --------
    >>> nearest_point(np.float32([[0, 1], [3, 3]]), np.float32([[0, 0], [4, 4]])).tolist()
    [0, 1]
    """
    far = sum(np.square(pairs[:, None, axis] - points[None, :, axis]) for axis in (0, 1))
    nearest: npt.NDArray[np.int32] = np.argmin(far, axis=1).astype(np.int32)
    return nearest


def borders(points: FloatArray, reach: float) -> DoubleArray:
    """The borders of the cells of some points, within a square from −reach to reach.

    Each side of the square is a mirror: a point and its image are equally far from it, so all cells end there.

    Parameters
    ----------
    points : float32 array (m, 2)
        Within the square.
    reach : float

    Returns
    -------
    float64 array (k, 4)
        From (x, y) to (x, y).

    Examples
    --------
    >>> borders(np.float32([[-1, 0], [1, 0]]), 2.0).round(3).tolist() in ([[0, -2, 0, 2]], [[0, 2, 0, -2]])
    True
    """
    from scipy.spatial import Voronoi

    own = np.unique(np.asarray(points, np.float64), axis=0)
    images = [own]
    for axis in (0, 1):
        for side in (-reach, reach):
            image = own.copy()
            image[:, axis] = 2 * side - own[:, axis]
            images.append(image)
    cells = Voronoi(np.concatenate(images))
    between = np.flatnonzero((cells.ridge_points < len(own)).all(axis=1))
    ends = np.array([cells.ridge_vertices[ridge] for ridge in between], np.int64).reshape(-1, 2)
    found: DoubleArray = cells.vertices[ends].reshape(-1, 4)
    long = np.abs(found[:, :2] - found[:, 2:]).max(axis=1)
    kept: DoubleArray = found[long > 1e-9 * reach]  # where four cells meet, two of them share no border
    return kept
