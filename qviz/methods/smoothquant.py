"""SmoothQuant: move outliers from the activations, which are hard to round, into the weights, which are easy.

With s per input channel, X·Wᵀ = (X/s)·(W·s)ᵀ exactly, as in AWQ. Here both sides will be rounded, so s balances their
largest values: s = max|x|^α / max|w|^(1 − α). Xiao et al. 2022, arXiv:2211.10438.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array
from qviz._types import FloatArray
from qviz.calibration import ActivationStats
from qviz.errors import MethodError, shortened
from qviz.grids import AffineGrid
from qviz.methods._inputs import checked, groups_of
from qviz.methods.result import MethodResult


def smoothquant(weight: npt.ArrayLike, stats: ActivationStats, grid: AffineGrid, *, alpha: float = 0.5) -> MethodResult:
    """Smooth, then round the weights to nearest.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats
        What is known of the layer's inputs.
    grid : AffineGrid
        For the weights; the activations are the caller's to round (`qviz.grids.round_inputs`).
    alpha : float
        How much goes into the weights: 0 nothing but their own balance, 1 all.

    Returns
    -------
    MethodResult
        `equivalence_scale` is s: the operation before divides its outputs by it. `codes` stand for ``weight · s``.

    Raises
    ------
    MethodError
        An alpha outside 0 … 1, or arrays that do not fit together.

    Examples
    --------
    >>> stats = ActivationStats.from_inputs([[1.0, 100.0]])
    >>> smoothquant([[1.0, 1.0]], stats, AffineGrid(8, -1)).equivalence_scale.tolist()
    [1.0, 10.0]
    """
    w = checked(weight, stats, grid)
    s = smooth_scale(stats.max_abs, np.abs(w).max(axis=0), alpha)
    t = grid.quantize(w * s)
    index = groups_of(grid, w.shape[1])
    weight = (t.dequantize() / s).astype(np.float32)
    return MethodResult(weight, t.codes, t.scale, t.zero_point, index, t.bpw, equivalence_scale=s)


def smooth_scale(inputs: npt.ArrayLike, weights: npt.ArrayLike, alpha: float) -> FloatArray:
    """The scale s of each input channel: its inputs are divided by s, its weights multiplied.

    Parameters
    ----------
    inputs, weights : array_like (n_in,)
        The largest magnitude of each channel, on either side.
    alpha : float
        How much goes into the weights, 0 … 1.

    Returns
    -------
    float32 array (n_in,)
        max|x|^α / max|w|^(1 − α). A channel without inputs or without weights has nothing to balance.

    Raises
    ------
    MethodError
        An alpha outside 0 … 1, or arrays that do not fit together.

    Examples
    --------
    >>> smooth_scale([1, 100], [1, 1], 0.5).tolist()
    [1.0, 10.0]
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float | np.floating) or not 0 <= alpha <= 1:
        raise MethodError(f"alpha must be a number 0 … 1, got {shortened(alpha)}")
    x = real_array(inputs, "inputs", MethodError, shape=("n_in",)).astype(np.float64)
    w = real_array(weights, "weights", MethodError, shape=(x.size,)).astype(np.float64)
    used = (x > 0) & (w > 0)
    balance = np.where(used, x, 1) ** alpha / np.where(used, w, 1) ** (1 - alpha)
    s: FloatArray = np.clip(balance, 1e-5, 1e5).astype(np.float32)
    return s
