"""How far two sums of the same floats may lie apart: derived here once, for every test that compares some.

In which order a processor adds, and whether it fuses a product into the sum, is not ours to say. For float32 each
operation is off by at most U = 2⁻²⁴ of its result, so T terms, added in any order, end within T · U · Σ |terms| of the
exact sum (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2; terms of the order U² are left out, and
one operation more than needed is counted for them). Two float32 results may differ by twice that.

The bound is absolute: where terms cancel the sum is small and its error is not, so a bound that is relative to the sum
holds on one machine and fails on the next.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

U = 2.0**-24


def sum_bound(terms: Any, axis: int = -1, roundings: int = 1) -> Any:
    """Of a float32 sum of terms that were rounded `roundings` times themselves: (T + roundings) · U · Σ |terms|."""
    size = np.abs(np.asarray(terms, np.float64))
    return (size.shape[axis] + roundings) * U * size.sum(axis)


def dot_bound(x: Any, w: Any, roundings: int = 1) -> Any:
    """Of float32 products x (tokens, n) @ w (rows, n).T: (n + roundings) · U · |x| @ |w|.T, shape (tokens, rows)."""
    a, b = (np.abs(np.asarray(part, np.float64)) for part in (x, w))
    return (a.shape[-1] + roundings) * U * (a @ b.T)


def block_bound(tensor: Any, x: Any) -> Any:
    """Of products of blocks with activations x (tokens, n) in int8, shape (tokens, rows).

    Inside a sub-block the sum of code · code is a whole number, and exact. What float32 adds are two terms a sub-block:
    scale · scale of x · that number, and min · scale of x · sum of x. Each is rounded at most six times; codes are
    counted by their largest, since they may meet x before an offset is taken off.
    T = 2 · sub-blocks: (T + 6) · U · Σ (|scale| · codes + |min|) · (|x| + half a step of int8).
    """
    parts, width = tensor.unpack(), tensor.format.sub_block_size
    scale, low = (np.repeat(np.abs(part).astype(np.float64), width, axis=-1) for part in (parts.scales, parts.mins))
    table = tensor.format.table
    largest = 2 * max(map(abs, tensor.format.codes)) + 1 if table is None else float(np.abs(table).max())
    seen = np.abs(np.asarray(x, np.float64))
    seen = seen + seen.max(-1, keepdims=True) / 254
    return (2 * (tensor.shape[-1] // width) + 6) * U * (seen @ (scale * largest + low).T)


def form_bound(off: Any, hessian: Any, tokens: int) -> Any:
    """Of Σ off · H · offᵀ over the rows of `off` (rows, n), H a float32 sum: (tokens + 2n) · U · Σ (|off| · d)².

    d holds the roots of H's diagonal: no entry of H, nor the sum of the magnitudes in it, is larger than dᵢ · dⱼ.
    """
    a = np.abs(np.asarray(off, np.float64))
    spread = np.sqrt(np.diagonal(np.asarray(hessian, np.float64)))
    return (tokens + 2 * a.shape[-1]) * U * float(np.square(a @ spread).sum())


def paired_bound(a: Any, b: Any, n: int | None = None, k: float = 5) -> float:
    """Of the difference of two means over the same tokens: k standard errors of mean(a − b).

    The two differ by roundings that fall to either side, token by token and independently. Measured on part of the
    tokens, it holds for `n` of them.
    """
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return float(k * difference.std(ddof=1) / math.sqrt(n or difference.size))
