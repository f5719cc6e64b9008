"""What the 32-weight formats (Q4_0 … Q8_0) share.

Their encoders work on `TILE` blocks at a time, in three stages: the range of each block, then the scales of all of
them side by side (divisions and float16 rounding vectorise across blocks), then the codes.
"""

from __future__ import annotations

import numpy as np

from qviz._numba import bits_float, f32, float_bits, i32, kernel, order_key, simd, u8, u32

TILE = 64


@kernel
def ranges(rows, low, high):  # type: ignore[no-untyped-def]
    """Minimum and maximum of each block, as ggml's loop finds them.

    Returns the index of the first block that holds NaN or infinity, or -1. ggml keeps the first of equal values, which
    shows only in the sign of a zero minimum.
    """
    for b in range(rows.shape[0]):
        low_key, high_key = simd.smallest_key(rows[b]), simd.largest_key(rows[b])
        if low_key < i32(-0x7F800000) or high_key >= i32(0x7F800000):
            return b
        smallest, largest = bits_float(u32(order_key(low_key))), bits_float(u32(order_key(high_key)))
        if smallest == f32(0):
            smallest = _first_of(rows[b], f32(0))
            if largest == f32(0):
                largest = smallest
        low[b], high[b] = smallest, largest
    return -1


@kernel
def extremes(rows, extreme):  # type: ignore[no-untyped-def]
    """The FIRST weight of each block whose |x| is the largest, with its sign; returns as `ranges` does."""
    for b in range(rows.shape[0]):
        low_key, high_key = simd.smallest_key(rows[b]), simd.largest_key(rows[b])
        if low_key < i32(-0x7F800000) or high_key >= i32(0x7F800000):
            return b
        smallest, largest = bits_float(u32(order_key(low_key))), bits_float(u32(order_key(high_key)))
        extreme[b] = largest if largest > -smallest else smallest
        if largest == -smallest:  # +a and -a are both there, or only zeros, which ggml counts as +0
            extreme[b] = _first_of(rows[b], largest) if largest > f32(0) else f32(0)
    return -1


@kernel
def reciprocal(d):  # type: ignore[no-untyped-def]
    """1 / d as the encoders need it: 0 for 0, and NaN where 1 / d overflows, since there C's casts give code 0."""
    inverse = f32(1) / d
    inverse = f32(np.nan) if np.abs(inverse) == f32(np.inf) else inverse
    return f32(0) if d == f32(0) else inverse


@kernel
def _first_of(row, magnitude):  # type: ignore[no-untyped-def]
    for j in range(row.size):
        if np.abs(row[j]) == magnitude:
            return row[j]
    return magnitude


@kernel
def read_word(qh):  # type: ignore[no-untyped-def]
    """Four bytes, little-endian, as one number."""
    return u32(u32(qh[0]) | u32(u32(qh[1]) << u32(8)) | u32(u32(qh[2]) << u32(16)) | u32(u32(qh[3]) << u32(24)))


@kernel
def write_word(qh, word):  # type: ignore[no-untyped-def]
    """The reverse of `read_word`."""
    for k in range(4):
        qh[k] = u8(u32(word >> u32(8 * k)))


# --- searches: many blocks side by side -----------------------------------------------------------------------------
#
# A sum must run from a block's first weight to its last, which leaves nothing to vectorise inside a block. So blocks
# stand side by side as lanes, x[j, lane] is weight j of block `lane`, and each lane keeps the reference's order.

LANES = 64
"""Blocks side by side; 64 of them, with their weights, fill half of a first-level cache."""

NOTHING = np.empty(0, np.float32)
"""No importance matrix."""


@kernel
def nearest_int(x):  # type: ignore[no-untyped-def]
    """The nearest int32, ties to even, up to 4194303; beyond, and for NaN, what ggml's bit trick makes of it."""
    return i32(i32(float_bits(x + f32(12582912)) & u32(0x007FFFFF)) - i32(0x00400000))


@kernel
def to_lanes(tile, x):  # type: ignore[no-untyped-def]
    """Up to `LANES` blocks `tile` (n, 32) -> columns of `x` (32, LANES); the rest is zero.

    Returns the index of the first block that holds NaN or infinity, or -1.
    """
    n, width = tile.shape
    for b in range(n):
        if simd.smallest_key(tile[b]) < i32(-0x7F800000) or simd.largest_key(tile[b]) >= i32(0x7F800000):
            return b
    for j in range(width):
        for b in range(n):
            x[j, b] = tile[b, j]
        for b in range(n, x.shape[1]):
            x[j, b] = f32(0)
    return -1


@kernel
def importance(x, imatrix, first, n, sigma, w):  # type: ignore[no-untyped-def]
    """How much each weight of `x` (32, lanes) counts, into `w`: x², or with an imatrix imatrix · √(sigma + x²).

    The first `n` lanes are blocks `first` … of rows as long as `imatrix`, each with its own `sigma`.
    """
    width, lanes = x.shape
    if imatrix.size == 0:
        for j in range(width):
            for lane in range(lanes):
                w[j, lane] = x[j, lane] * x[j, lane]
        return
    per_row = imatrix.size // width
    for lane in range(lanes):
        column = (first + lane) % per_row * width
        for j in range(width):
            w[j, lane] = imatrix[column + j]
    for j in range(width):
        for lane in range(lanes):
            w[j, lane] *= np.sqrt(sigma[lane] + x[j, lane] * x[j, lane])
