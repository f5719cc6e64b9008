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
DOUBLE = 2.0**-53


def assert_within(found: Any, expected: Any, bound: Any) -> None:
    """Fail, and say by how much, unless every entry is as close as its bound demands."""
    a, b, most = np.broadcast_arrays(*(np.asarray(part, np.float64) for part in (found, expected, bound)))
    off = np.abs(a - b)
    wrong = ~(off <= most)  # NaN is wrong, too
    if wrong.any():
        at = np.unravel_index(int(np.argmax(np.where(wrong, np.nan_to_num(off - most, nan=np.inf), -1))), off.shape)
        said = f"found {a[at]!r}, expected {b[at]!r}: off by {off[at]:.3g}, and {most[at]:.3g} is the bound"
        raise AssertionError(f"{wrong.sum()} of {off.size} are too far off; at {at}: {said}")


def size_bound(value: Any, roundings: int) -> Any:
    """Of a float32 that `roundings` operations made, none of which cancels: roundings · U · |value|.

    A sum of T terms of one sign counts T, whatever its order.
    """
    return roundings * U * np.abs(np.asarray(value, np.float64))


def ratio_bound(a: Any, a_bound: Any, b: Any, b_bound: Any) -> Any:
    """Of a / b, when each of the two is known to its bound."""
    top, below = np.abs(np.asarray(a, np.float64)), np.abs(np.asarray(b, np.float64))
    return (a_bound + top / below * b_bound) / (below - b_bound)


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


def errors_bound(
    off: Any, size: Any, weights: Any = 1.0, *, power: int = 2, roundings: int = 2, axis: int | None = -1
) -> Any:
    """Of Σ weights · |off|^power, each `off` a float32 difference of numbers not larger than `size`.

    Each `off` is known to δ = roundings · U · size, and T terms are summed:
    Σ weights · ((|off| + δ)^power − |off|^power) + (T + 3) · U · Σ weights · (|off| + δ)^power.
    """
    a, most, w = np.broadcast_arrays(*(np.abs(np.asarray(part, np.float64)) for part in (off, size, weights)))
    further = w * (a + roundings * U * most) ** power
    terms = a.size if axis is None else a.shape[axis]
    return (further - w * a**power).sum(axis) + (terms + 3) * U * further.sum(axis)


def decibel_bound(value: Any, bound: Any) -> Any:
    """Of 10 · log10(value), when the value is known to its bound."""
    return 10 / math.log(10) * np.asarray(bound) / (np.abs(np.asarray(value, np.float64)) - bound)


def double_bound(terms: int) -> float:
    """Of 10 · log10 of a ratio of two float64 sums of so many squares."""
    return float(decibel_bound(1, 2 * (terms + 3) * DOUBLE))


def shown_bound(decimals: int) -> float:
    """Of what is printed with so many decimals."""
    return 0.5 * 10.0**-decimals


def line_bound(x: Any, w: Any, codes: Any) -> tuple[float, float]:
    """Of scale and minimum of the weighted least-squares line x ≈ scale · code − min, solved by its two equations.

    Each is a quotient of differences of products of two sums; of T terms each sum is off by (T + 2) · U of its terms'
    sizes, a product of two by twice that and one rounding.
    """
    x, w, codes = (np.asarray(part, np.float64) for part in (x, w, codes))
    sums = {"w": w, "l": w * codes, "ll": w * codes**2, "x": w * x, "lx": w * codes * x}
    total, size = ({name: float(f(part).sum()) for name, part in sums.items()} for f in (np.asarray, np.abs))
    share = (2 * (len(x) + 2) + 2) * U

    def difference(a: str, b: str, c: str, d: str) -> tuple[float, float]:
        return total[a] * total[b] - total[c] * total[d], share * (size[a] * size[b] + size[c] * size[d])

    det = difference("w", "ll", "l", "l")
    scale, low = difference("w", "lx", "x", "l"), difference("ll", "x", "l", "lx")
    return tuple(float(ratio_bound(*part, *det) + U * abs(part[0] / det[0])) for part in (scale, low))  # type: ignore[return-value]


def response_bound(result: Any, hessian: Any, k: float = 5, runs: int = 8, u: float = U) -> Any:
    """Of what is computed from H by a Cholesky factorization with roundings of `u`, entry by entry.

    The factor is the exact one of a matrix whose entries are off by at most (n + 1) · u · dᵢ · dⱼ, d being the roots of
    the diagonal (Higham, theorem 10.3). How far the result moves with them is measured: k root mean squares over random
    changes of that size, and n roundings of the result itself.
    """
    h, rng = np.asarray(hessian, np.float64), np.random.default_rng(0)
    size = np.sqrt(np.diagonal(h))
    most = (len(h) + 1) * u * np.outer(size, size)
    exact, moved = np.asarray(result(h), np.float64), []
    for _ in range(runs):
        change = np.triu(rng.uniform(-1, 1, h.shape) * most)
        moved.append(np.asarray(result(h + change + np.triu(change, 1).T), np.float64) - exact)
    return k * np.sqrt(np.mean(np.square(moved), axis=0)) + len(h) * u * np.abs(exact)


def rounding_change(weights: Any, scales: Any, roundings: int) -> Any:
    """How far weights may lie off their rounded values when scales and products are known to `roundings` · U.

    As far as that everywhere, and a whole step where weight / scale lies so close to a half that the last bits decide.
    """
    w, step = np.broadcast_arrays(*(np.abs(np.asarray(part, np.float64)) for part in (weights, scales)))
    steps = w / step
    either = np.abs(steps - np.floor(steps) - 0.5) <= roundings * U * (steps + 1)
    return roundings * U * (w + step) + np.where(either, step, 0)


def output_bound(off: Any, x: Any, change: Any = 0.0) -> float:
    """Of Σ (x @ off.T)², formed in float32 from the products xᵀ · x, when entries of `off` move by up to `change`.

    With d the norms of the columns of x, no change adds more to the root of the sum than D = ‖|change| · d‖:
    2 · √sum · D + D² for the change, and as in `form_bound` for the sums.
    """
    a, inputs = np.asarray(off, np.float64), np.asarray(x, np.float64)
    norms = np.sqrt(np.square(inputs).sum(0))
    moved = float(np.linalg.norm(np.broadcast_to(np.abs(np.asarray(change, np.float64)), a.shape) @ norms))
    root = float(np.linalg.norm(inputs @ a.T))
    terms = len(inputs) + 2 * a.shape[-1]
    return 2 * root * moved + moved**2 + terms * U * float(np.square(np.abs(a) @ norms).sum())


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
