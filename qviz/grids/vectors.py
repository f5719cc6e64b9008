"""Codebooks of groups: a code stands for several weights at once, for a point with as many coordinates.

Levels for single weights make a grid of points for pairs: every level of the first with every level of the second.
Points that need not form a grid can stand where the pairs are. This is vector quantization; `kmeans_vectors` fits the
points as `qviz.grids.kmeans` fits levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array, whole_number
from qviz._machine.kernels import f32, kernel
from qviz._types import FloatArray
from qviz.errors import GridError


@dataclass(frozen=True, eq=False)
class VectorCodebook:
    """Points that groups of neighbouring weights of a row are rounded to.

    Attributes
    ----------
    points : float32 array (n, together)
        One a row; `together` weights get one code.
    """

    points: FloatArray

    @property
    def bpw(self) -> float:
        """Bits of the codes for each weight; the points are not counted."""
        return float(np.log2(len(self.points)) / self.points.shape[1])

    def quantize(self, weight: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """The nearest point of each group, int32 (n_groups,); of equally near ones the first.

        Raises
        ------
        GridError
            Weights that are not finite, or rows that are not a whole number of groups.
        """
        groups = _groups(weight, self.points.shape[1])
        codes = np.empty(len(groups), np.int32)
        _nearest(groups, self.points, codes)
        return codes

    def fake_quantize(self, weight: npt.ArrayLike) -> FloatArray:
        """The points that the groups of weights become, in the shape of `weight`."""
        rounded: FloatArray = self.points[self.quantize(weight)].reshape(np.shape(weight))
        return rounded


def kmeans_vectors(weight: npt.ArrayLike, together: int, bits: int, *, iterations: int = 30) -> VectorCodebook:
    """Fit a codebook of groups: each group goes to its nearest point, each point to the mean of its groups.

    Lloyd's iterations in several dimensions (Linde, Buzo and Gray 1980). They start from groups that lie evenly spread
    over the matrix, so nothing is random. A point without groups stays where it is.

    Parameters
    ----------
    weight : array_like (..., n)
        `n` is a multiple of `together`.
    together : int
        Weights of a group.
    bits : int
        Bits of a code for each weight: 2**(bits · together) points, 65,536 at most.
    iterations : int

    Returns
    -------
    VectorCodebook

    Raises
    ------
    GridError
        Weights that are not finite, rows that are not a whole number of groups, or fewer groups than points.

    Examples
    --------
    >>> kmeans_vectors([[0.0, 0.0], [9.0, 5.0], [0.0, 2.0], [9.0, 7.0]], together=2, bits=1, iterations=1).points.shape
    (4, 2)
    >>> pairs = [[0.0, 0.0, 0.0, 2.0, 9.0, 5.0, 9.0, 7.0]]
    >>> kmeans_vectors(pairs, together=4, bits=0).points.tolist()
    [[4.5, 2.5, 4.5, 4.5]]
    """
    together = whole_number(together, "together", GridError, least=1)
    bits = whole_number(bits, "bits", GridError, least=0)
    iterations = whole_number(iterations, "iterations", GridError, least=1, most=1_000_000)
    if bits * together > 16:
        raise GridError(f"{together} weights of {bits} bits need 2**{bits * together} points; 2**16 at most")
    groups, n = _groups(weight, together), 1 << bits * together
    if len(groups) < n:
        raise GridError(f"{len(groups)} groups are too few for {n} points; give more weights, or fewer bits")
    points = groups[:: len(groups) // n][:n].copy()
    codes = np.empty(len(groups), np.int32)
    for _ in range(iterations):
        _nearest(groups, points, codes)
        counts = np.bincount(codes, minlength=n)
        used = counts > 0
        for i in range(together):
            points[used, i] = np.bincount(codes, groups[:, i], n)[used] / counts[used]
    return VectorCodebook(points)


def _groups(weight: npt.ArrayLike, together: int) -> FloatArray:
    w = real_array(weight, "weight", GridError)
    if not w.ndim or not w.size or w.shape[-1] % together:
        raise GridError(f"rows must be a whole number of groups of {together}, got shape {w.shape}")
    if not np.isfinite(w).all():
        raise GridError("weights must be finite numbers")
    return np.ascontiguousarray(w.reshape(-1, together))


@kernel
def _nearest(groups, points, codes):
    """The nearest point of each group. Sums are built in order, so that every processor finds the same."""
    for g in range(groups.shape[0]):
        best, nearest = 0, f32(np.inf)
        for k in range(points.shape[0]):
            distance = f32(0)
            for i in range(groups.shape[1]):
                off = groups[g, i] - points[k, i]
                distance += off * off
                if distance >= nearest:
                    break
            if distance < nearest:
                best, nearest = k, distance
        codes[g] = best
