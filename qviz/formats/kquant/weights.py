"""How much the error of each weight counts in a search."""

from __future__ import annotations

from qviz._machine.kernels import f32, kernel, simd


@kernel
def weigh_by_importance(x, importance, means, at, w, sums):
    """Errors count by the importance of their column, times the root of x² plus the super-block's mean square."""
    mean, total = simd.load(means, at), simd.spread(f32(0))
    for i in range(0, x.size, simd.LANES):
        value = simd.load(x, i)
        weight = simd.load(importance, i) * simd.root(mean + value * value)
        simd.store(w, i, weight)
        total = total + weight
    simd.store(sums, at, total)


@kernel
def weigh_by_size(x, w):
    """Errors of larger weights count more: |x|, plus the root mean square of the sub-block."""
    total = simd.spread(f32(0))
    for i in range(0, x.size, simd.LANES):
        total = total + simd.load(x, i) * simd.load(x, i)
    typical = simd.root(total / f32(x.size // simd.LANES))
    for i in range(0, x.size, simd.LANES):
        simd.store(w, i, typical + simd.magnitude(simd.load(x, i)))


@kernel
def weigh_by_magnitude(x, w):
    """Errors count by |x|."""
    for i in range(0, x.size, simd.LANES):
        simd.store(w, i, simd.magnitude(simd.load(x, i)))


@kernel
def weigh_by_square(x, w):
    """Errors count by x²."""
    for i in range(0, x.size, simd.LANES):
        simd.store(w, i, simd.load(x, i) * simd.load(x, i))
