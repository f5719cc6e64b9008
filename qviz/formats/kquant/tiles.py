"""The way through a tensor, sixteen super-blocks at a time: what is loaded, and how it is laid out for the lanes."""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, kernel, reading, simd

SUPER = 256
"""Weights in a super-block."""

TILE = 16
"""Super-blocks encoded at a time, one lane each in stage 2."""

NOTHING = reading(np.empty(0, np.float32))
"""No importance matrix, or no trace."""


@kernel
def room(n):
    """An uninitialised float32 array (n,)."""
    return np.empty(n, np.float32)


@kernel
def load_tile(x, start, n, rows):
    """Copy `n` super-blocks into `rows` (16 · 256,), zeros after them. Returns the first not finite, or -1."""
    for b in range(n):
        strange = simd.spread(f32(0))
        for j in range(0, SUPER, simd.LANES):
            value = simd.load(x, (start + b) * SUPER + j)
            strange = strange + (value - value)  # 0 if finite, else NaN
            simd.store(rows, b * SUPER + j, value)
        if simd.some(strange != f32(0)):
            return b
    for j in range(n * SUPER, rows.size, simd.LANES):
        simd.store(rows, j, simd.spread(f32(0)))
    return -1


@kernel
def load_importance(imatrix, start, n, out):
    """The part of `imatrix` (one value a column) that belongs to each of super-blocks `start` … `start + n`."""
    for b in range(n):
        column = (start + b) * SUPER % imatrix.size
        for j in range(0, SUPER, simd.LANES):
            simd.store(out, b * SUPER + j, simd.load(imatrix, column + j))
    for j in range(n * SUPER, out.size, simd.LANES):
        simd.store(out, j, simd.spread(f32(0)))


@kernel
def mean_squares(rows, factor, out):
    """`factor` times the mean x² of each super-block of a tile, once for each sub-block: `out` (16 n,)."""
    square, means = room(simd.LANES * simd.LANES), room(TILE)
    total = simd.spread(f32(0))
    for j in range(0, SUPER, simd.LANES):
        simd.transpose(rows, j, SUPER, square, 0)
        for i in range(0, square.size, simd.LANES):
            total = total + simd.load(square, i) * simd.load(square, i)
    simd.store(means, 0, factor * total / f32(SUPER))
    for sub in range(out.size):
        out[sub] = means[sub * TILE // out.size]


@kernel
def side_by_side(rows, group, out):
    """Sixteen sub-blocks of ``out.size / 16`` weights, one in each lane."""
    width = out.size // simd.LANES
    for j in range(0, width, simd.LANES):
        simd.transpose(rows, group * out.size + j, width, out, j * simd.LANES)


@kernel
def place(slot, width):
    """Where the first weight of a lane is when groups of sixteen lanes follow each other."""
    return slot // simd.LANES * simd.LANES * width + slot % simd.LANES


@kernel
def by_super_block(values, out):
    """Results in the order of sub-blocks -> ``out[16 * j + lane]`` for sub-block j of super-block `lane`."""
    n = values.size // TILE
    for j in range(n):
        for b in range(TILE):
            out[j * TILE + b] = values[b * n + j]
