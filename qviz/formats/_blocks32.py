"""What the 32-weight formats (Q4_0 … Q8_0) share.

Their encoders work on `AT_ONCE` blocks at a time, in three stages: the range of each block, then the scales of all of
them side by side (divisions and float16 rounding vectorise across blocks), then the codes.
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import bits_float, f32, i32, kernel, order_key, simd, u8, u32
from qviz.formats.kquant.tiles import room
from qviz.formats.kquant.weights import weigh_by_importance

AT_ONCE = 64
"""Blocks encoded at a time."""


@kernel
def ranges(rows, low, high):
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
def extremes(rows, extreme):
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
def reciprocal(d):
    """1 / d as the encoders need it: 0 for 0, and NaN where 1 / d overflows, since there C's casts give code 0."""
    inverse = f32(1) / d
    inverse = f32(np.nan) if np.abs(inverse) == f32(np.inf) else inverse
    return f32(0) if d == f32(0) else inverse


@kernel
def _first_of(row, magnitude):
    for j in range(row.size):
        if np.abs(row[j]) == magnitude:
            return row[j]
    return magnitude


@kernel
def read_word(qh):
    """Four bytes, little-endian, as one number."""
    return u32(u32(qh[0]) | u32(u32(qh[1]) << u32(8)) | u32(u32(qh[2]) << u32(16)) | u32(u32(qh[3]) << u32(24)))


@kernel
def write_word(qh, word):
    """The reverse of `read_word`."""
    for k in range(4):
        qh[k] = u8(u32(word >> u32(8 * k)))


# --- searches: sixteen blocks side by side ---------------------------------------------------------------------------
#
# Weight i of block `lane` is ``xs[16 * i + lane]``, as in `kquant`.


@kernel
def load_blocks(rows, start, n, xs):
    """Blocks `start` … `start + n` of `rows` (..., 32) side by side in `xs` (32 · 16,), zeros beside them.

    Returns the position, from `start` on, of the first block that holds NaN or infinity, or -1.
    """
    width, lanes = rows.shape[1], simd.LANES
    if n == lanes:
        for j in range(0, width, lanes):
            simd.transpose(rows, start * width + j, width, xs, j * lanes)
    else:
        xs[:] = f32(0)
        for b in range(n):
            for j in range(width):
                xs[j * lanes + b] = rows[start + b, j]
    strange = simd.spread(f32(0))
    for i in range(0, xs.size, lanes):
        value = simd.load(xs, i)
        strange = strange + (value - value)  # 0 if finite, else NaN
    if simd.some(strange != f32(0)):
        for b in range(n):
            for j in range(width):
                if not np.isfinite(rows[start + b, j]):
                    return b
    return -1


@kernel
def load_columns(imatrix, start, n, importances):
    """The importance of each weight that `load_blocks` loads, laid out the same."""
    width, lanes = importances.size // simd.LANES, simd.LANES
    column = start * width % imatrix.size
    if n == lanes and column + n * width <= imatrix.size:
        for j in range(0, width, lanes):
            simd.transpose(imatrix, column + j, width, importances, j * lanes)
        return
    importances[:] = f32(0)
    for b in range(n):
        for j in range(width):
            importances[j * lanes + b] = imatrix[((start + b) * width + j) % imatrix.size]


@kernel
def store_codes(found, offset, codes):
    """Codes side by side in `found`, plus `offset` -> bytes `codes` (16, 32), a block a row; `found` is overwritten."""
    lanes = simd.LANES
    for j in range(codes.shape[1] // lanes):
        square = found[j * lanes * lanes :]
        simd.transpose(square, 0, lanes, square, 0)
        for b in range(lanes):
            simd.store_bytes(codes, b * codes.shape[1] + j * lanes, simd.load(square, b * lanes) + offset)


@kernel
def encode_weighted(x, imatrix, blocks):
    """Template of Q4_0 … Q5_1 with an importance matrix: fill `blocks` from rows `x` (rows, n), 32 weights a block."""
    lanes = simd.LANES
    rows = x.reshape(blocks.size, 32)
    xs, ws, importances, found = room(32 * lanes), room(32 * lanes), room(32 * lanes), room(32 * lanes)
    scales, mins, means, sums = room(lanes), room(lanes), room(lanes), room(lanes)
    codes = np.empty((lanes, 32), np.uint8)
    per_row, row, mean = imatrix.size // 32, -1, f32(0)
    for start in range(0, blocks.size, lanes):
        part = blocks[start : start + lanes]
        bad = load_blocks(rows, start, part.size, xs)
        if bad >= 0:
            return start + bad
        load_columns(imatrix, start, part.size, importances)
        for b in range(part.size):
            if (start + b) // per_row != row:
                row = (start + b) // per_row
                mean = _mean_square(x[row])
            means[b] = mean
        weigh_by_importance(xs, importances, means, 0, ws, sums)
        _search(xs, ws, found, scales, mins)
        store_codes(found, _OFFSET, codes)
        for b in range(part.size):
            _write(part[b], scales[b], mins[b], codes[b])
    return -1


@kernel
def _mean_square(row):
    total = f32(0)
    for j in range(row.size):
        total += row[j] * row[j]
    return total / f32(row.size)


# What the template calls; `specialise` puts a format's own functions behind these names.
_search = _write = _mean_square
_OFFSET = f32(0)
