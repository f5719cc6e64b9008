"""GPTQ's update the long way round, in float64: the formula that the fast way must agree with.

Rounding weight i of a row costs least if all weights that are still free move by the formula of the Optimal Brain
Surgeon (Hassibi and Stork 1993), in the notation of GPTQ (Frantar et al. 2022, arXiv:2210.17323, equations 2 and 3)::

    w ← w − (wᵢ − q) / [H⁻¹]ᵢᵢ · [H⁻¹]ᵢ         H⁻¹ ← H⁻¹ − [H⁻¹]:ᵢ [H⁻¹]ᵢ: / [H⁻¹]ᵢᵢ

The second line is one step of Gaussian elimination: it makes H⁻¹ the inverse for the weights that remain. GPTQ never
does it. Row i of the Cholesky factor of H⁻¹ holds, divided by its diagonal, what the i-th step would have found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array
from qviz._machine.blas import on_one_thread
from qviz._types import DoubleArray
from qviz.errors import MethodError
from qviz.grids import AffineGrid


@dataclass(frozen=True, eq=False)
class ObsRow:
    """One row of weights, rounded by the explicit formula, in processing order.

    Attributes
    ----------
    adjusted : float64 array (n,)
        Each weight when its turn came.
    rounded : float64 array (n,)
    codes : int32 array (n,)
    errors : float64 array (n,)
        (adjusted − rounded) / √[H⁻¹]ᵢᵢ; the loss of the row is half the sum of their squares.
    """

    adjusted: DoubleArray
    rounded: DoubleArray
    codes: npt.NDArray[np.int32]
    errors: DoubleArray


@on_one_thread
def obs_factor(hessian: npt.ArrayLike) -> DoubleArray:
    """What GPTQ reads off a Cholesky factor, by eliminating one column after the other from the inverse.

    Parameters
    ----------
    hessian : array_like (n, n)
        Damped, in processing order: ``trace["hessian"]`` of `gptq`.

    Returns
    -------
    float64 array (n, n)
        Row i is [H⁻¹]ᵢ / √[H⁻¹]ᵢᵢ after i eliminations: zero before the diagonal.

    Raises
    ------
    MethodError
        Not a square matrix, or not positive definite.

    Examples
    --------
    >>> H = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> np.allclose(obs_factor(H), np.linalg.cholesky(np.linalg.inv(H)).T)
    True
    """
    inverse = _inverse(hessian)
    n = len(inverse)
    rows = np.zeros((n, n))
    for i in range(n):
        pivot = inverse[0, 0]
        if not pivot > 0:
            raise MethodError(f"[H⁻¹][{i}, {i}] is {pivot:g} after {i} eliminations; damp the Hessian more")
        rows[i, i:] = inverse[0] / np.sqrt(pivot)
        # what has been eliminated is zero from here on, so it is left out
        inverse = inverse[1:, 1:] - np.outer(rows[i, i + 1 :], rows[i, i + 1 :])
    return rows


@on_one_thread
def obs_row(
    weights: npt.ArrayLike,
    hessian: npt.ArrayLike,
    scales: npt.ArrayLike,
    zero_points: npt.ArrayLike,
    grid: AffineGrid,
) -> ObsRow:
    """Round one row by the explicit formula: round, move all weights to come, eliminate, and so on.

    Parameters
    ----------
    weights : array_like (n,)
        In processing order.
    hessian : array_like (n, n)
        Damped, in processing order.
    scales, zero_points : array_like (n,)
        What each weight's group has.
    grid : AffineGrid
        Its smallest and largest code count.

    Returns
    -------
    ObsRow

    Raises
    ------
    MethodError
        Lengths that differ, or a matrix that is not positive definite.

    Examples
    --------
    The two inputs mostly agree, so half of the first error goes into the second weight:

    >>> row = obs_row([1.42, 0.3], [[2.0, 1.0], [1.0, 2.0]], [1, 1], [0, 0], AffineGrid(2, -1))
    >>> row.codes.tolist(), row.adjusted.round(6).tolist()
    ([1, 1], [1.42, 0.51])
    """
    inverse = _inverse(hessian)
    n = len(inverse)
    if not isinstance(grid, AffineGrid):
        raise MethodError(f"grid must be an AffineGrid, got {type(grid).__name__}")
    row, scale, points = (
        real_array(given, what, MethodError, (np.float64,))
        for what, given in (("weights", weights), ("scales", scales), ("zero_points", zero_points))
    )
    if not row.shape == scale.shape == points.shape == (n,):
        raise MethodError(
            f"{n} columns in the Hessian, but {row.shape}, {scale.shape}, {points.shape} weights and scales"
        )
    whole = np.abs(points).max() < 1 << 31 and (points == np.rint(points)).all()
    if not np.isfinite(row).all() or not (np.isfinite(scale) & (scale != 0)).all() or not whole:
        raise MethodError("weights, scales and zero points must be finite, scales not 0, zero points whole numbers")
    row, zero = row.copy(), points.astype(np.int64)
    rounded, codes = np.empty(n), np.empty(n, np.int32)
    errors = np.empty(n)
    for i in range(n):
        codes[i] = np.clip(np.rint(row[i] / scale[i]) + zero[i], grid.qmin, grid.qmax)
        rounded[i] = scale[i] * (codes[i] - zero[i])
        pivot = inverse[0, 0]
        if not pivot > 0:
            raise MethodError(f"[H⁻¹][{i}, {i}] is {pivot:g} after {i} eliminations; damp the Hessian more")
        off = row[i] - rounded[i]
        errors[i] = off / np.sqrt(pivot)
        row[i + 1 :] -= off / pivot * inverse[0, 1:]
        inverse = inverse[1:, 1:] - np.outer(inverse[1:, 0], inverse[0, 1:]) / pivot
    return ObsRow(row, rounded, codes, errors)


def _inverse(hessian: npt.ArrayLike) -> DoubleArray:
    H = real_array(hessian, "hessian", MethodError, (np.float64,))
    if H.ndim != 2 or H.shape[0] != H.shape[1] or not H.size:
        raise MethodError(f"the Hessian must be a square matrix, got shape {H.shape}")
    if not np.isfinite(H).all():
        raise MethodError("the Hessian holds NaN or infinity; collect the statistics again")
    try:
        inverse: DoubleArray = np.linalg.inv(H)
    except np.linalg.LinAlgError:
        raise MethodError("the Hessian is singular: some columns follow from others; damp it first") from None
    return inverse
