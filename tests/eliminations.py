"""What GPTQ does to a row, column by column, from the definition and in float64: an oracle for its tests."""

from __future__ import annotations

from typing import Any

import numpy as np


def adjusted(hessian: Any, weights: Any, rounded: Any) -> Any:
    """Where weights (rows, n) stand when their turn comes: those before are rounded, the free ones make up for most.

    The free ones lie where the gradient is zero: H₁₁ · free = −H₁₀ · (rounded − w).
    """
    h, w, done = (np.asarray(part, np.float64) for part in (hessian, weights, rounded))
    stand, off = w.copy(), done - w
    for i in range(1, w.shape[1]):
        stand[:, i] += np.linalg.solve(h[i:, i:], -h[i:, :i] @ off[:, :i].T)[0]
    return stand


def factor(hessian: Any) -> Any:
    """U with UᵀU = H⁻¹, upper triangular."""
    return np.linalg.cholesky(np.linalg.inv(np.asarray(hessian, np.float64))).T


def errors(hessian: Any, weights: Any, rounded: Any) -> Any:
    """What each weight is off by when its turn comes, in units of Uᵢᵢ."""
    return (adjusted(hessian, weights, rounded) - rounded) / np.diagonal(factor(hessian))


def losses(hessian: Any, weights: Any, rounded: Any) -> Any:
    """What each column adds to Σ d · H · d over rows, d = rounded − weight."""
    return np.square(errors(hessian, weights, rounded)).sum(axis=0)
