"""Rotation: mix all input channels before rounding, so that none stands out.

With an orthogonal R, X·Wᵀ = (X·R)·(W·R)ᵀ exactly. A Hadamard matrix has only ±1 (over √n), so every new channel holds
an equal share of every old one: outliers spread evenly, and a grid's range fits all. Signs at random keep regular rows
from lining up with it. As in QuIP# (arXiv:2402.04396) and QuaRot (arXiv:2404.00456).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import whole_number
from qviz._machine.blas import on_one_thread
from qviz._types import FloatArray
from qviz.calibration import ActivationStats
from qviz.errors import MethodError, shortened
from qviz.grids import AffineGrid
from qviz.methods._inputs import checked
from qviz.methods.recommended import recommended
from qviz.methods.result import MethodResult


def hadamard(n: int) -> FloatArray:
    """An orthogonal matrix (n, n) from Hadamard matrices of orders 2 and 12.

    Where n is no product of those, the largest one that divides it, along the diagonal: channels then mix only within
    such blocks.

    Examples
    --------
    >>> bool(np.allclose(np.abs(hadamard(384)), 384**-0.5))
    True
    >>> int((hadamard(40)[0] != 0).sum())
    8
    """
    n = whole_number(n, "n", MethodError, least=1, most=1 << 16)  # a matrix of n² numbers
    matrix, left = np.ones((1, 1)), int(n)
    for order, base in ((12, _paley()), (2, np.array([[1.0, 1.0], [1.0, -1.0]]))):
        while left % order == 0:
            matrix, left = np.kron(matrix, base), left // order
    spread: FloatArray = np.kron(np.eye(left), matrix / np.sqrt(len(matrix))).astype(np.float32)
    return spread


def random_hadamard(n: int, seed: int = 0) -> FloatArray:
    """`hadamard` with a random sign for each row: an orthogonal matrix (n, n), float32.

    Raises
    ------
    MethodError
        A seed that is no whole number from 0.

    Examples
    --------
    >>> R = random_hadamard(8)
    >>> bool(np.allclose(R @ R.T, np.eye(8), atol=1e-6))
    True
    """
    seed = whole_number(seed, "seed", MethodError, least=0)
    spread = hadamard(n)
    signs = np.random.default_rng(seed).choice([-1, 1], len(spread))
    turned: FloatArray = (signs[:, None] * spread).astype(np.float32)
    return turned


def _paley() -> npt.NDArray[np.float64]:
    """The Hadamard matrix of order 12, from which numbers are squares modulo 11 (Paley 1933)."""
    squares = {i * i % 11 for i in range(1, 11)}
    core = [[0 if i == j else 1 if (j - i) % 11 in squares else -1 for j in range(11)] for i in range(11)]
    skew = np.zeros((12, 12))
    skew[0, 1:], skew[1:, 0], skew[1:, 1:] = 1, -1, core
    return skew + np.eye(12)


@on_one_thread
def rotation(
    weight: npt.ArrayLike,
    stats: ActivationStats,
    grid: AffineGrid,
    *,
    method: Callable[..., MethodResult] = recommended,
    seed: int = 0,
    **options: Any,
) -> MethodResult:
    """Rotate weights and statistics by a random-sign Hadamard matrix, and round with another method.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats
        What is known of the layer's inputs.
    grid : AffineGrid
    method : callable
        `rtn`, `gptq` or `recommended`.
    seed : int
        Chooses the signs.
    **options
        For the method.

    Returns
    -------
    MethodResult
        `rotation` is R; `codes` stand for ``weight @ R``, and the layer's inputs have to be multiplied by R too.

    Raises
    ------
    MethodError
        As the method; or one that needs what only unrotated inputs could tell.

    Examples
    --------
    >>> from qviz.methods import rtn
    >>> w = np.eye(4) * 10  # one large weight in each row
    >>> result = rotation(w, ActivationStats.from_inputs(np.eye(4)), AffineGrid(3, -1, sym=True), method=rtn)
    >>> sorted({abs(c) for c in result.codes.ravel().tolist()})  # evenly spread: all the same size
    [3, 4]
    """
    w = checked(weight, stats, grid)
    if not callable(method):
        raise MethodError(f"method must be rtn, gptq or recommended, got {shortened(method)}")
    R = random_hadamard(w.shape[1], seed)
    result = method(w @ R, stats.rotated(R), grid, **options)
    if not isinstance(result, MethodResult):
        raise MethodError(f"method returned {type(result).__name__}; a rounding method returns a MethodResult")
    return replace(result, weight=result.weight @ R.T, rotation=R)
