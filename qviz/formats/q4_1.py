"""Q4_1: 32 weights, a float16 scale and a float16 minimum, 4-bit codes: 20 bytes, 5 bits per weight.

The sixteen levels run from the block's smallest weight to its largest. The minimum is **added** when decoding
(x = d · code + m), whereas the K-quants subtract theirs; here it reaches the shared formula with its sign turned.

With an importance matrix the encoder searches instead: levels stretched 37 ways, scale and minimum fitted to each by
least squares in which a weight counts by the importance of its column, times √(mean square of the row + x²). The
minimum is then never above zero.

Bytes::

    d   float16   scale, never negative
    m   float16   smallest weight
    qs  16 × u8   code of weight l in the low four bits of qs[l], of weight l + 16 in the high four

Examples
--------
Weights 100 … 131 span 31, so d = 31 / 15 in float16, and weight 131 gets code 15:

>>> from qviz.formats import quantize
>>> t = quantize(np.arange(100, 132, dtype=np.float32), "Q4_1")
>>> float(t.blocks["m"][0]), round(float(t.blocks["d"][0]), 3), int(t.unpack().codes[-1])
(100.0, 2.066, 15)
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_bits, half_float, i8, kernel, simd, specialise, u16
from qviz.formats._blocks32 import encode_weighted
from qviz.formats.base import Format
from qviz.formats.kquant.search import search_with_min
from qviz.formats.kquant.tiles import NOTHING, room


@kernel
def _quantize(x, blocks):
    lanes = simd.LANES
    least, most = room(lanes * lanes), room(lanes * lanes)
    lows, scales, inverses = room(lanes), room(lanes), room(lanes)
    half_d, half_m = np.empty(lanes, np.uint16), np.empty(lanes, np.uint16)
    zero = simd.spread(f32(0))
    for start in range(0, blocks.size, lanes):
        part, rows = blocks[start : start + lanes], x[start : start + lanes]
        # range: of two halves of each block, then of all blocks side by side
        strange = zero
        for b in range(part.size):
            first, second = simd.load(rows, 2 * lanes * b), simd.load(rows, 2 * lanes * b + lanes)
            strange = strange + (first - first) + (second - second)  # 0 if finite, else NaN
            simd.store(least, lanes * b, simd.select(second < first, second, first))
            simd.store(most, lanes * b, simd.select(second > first, second, first))
        if simd.some(strange != f32(0)):
            return start + _not_finite(rows)
        simd.transpose(least, 0, lanes, least, 0)
        simd.transpose(most, 0, lanes, most, 0)
        low, high = simd.load(least, 0), simd.load(most, 0)
        for i in range(lanes, least.size, lanes):
            smaller, larger = simd.load(least, i), simd.load(most, i)
            low, high = simd.select(smaller < low, smaller, low), simd.select(larger > high, larger, high)
        # scale; where 1 / d overflows, C's casts give code 0
        d = (high - low) / f32(15)
        inverse = f32(1) / d
        simd.store(inverses, 0, simd.select(inverse == f32(np.inf), zero, inverse))
        simd.store(scales, 0, d)
        simd.store(lows, 0, low)
        for b in range(half_d.size):
            half_d[b], half_m[b] = half_bits(scales[b]), half_bits(lows[b])
        # codes, two a byte
        for b in range(part.size):
            low, inverse = simd.spread(lows[b]), simd.spread(inverses[b])
            first = _level(simd.load(rows, 2 * lanes * b), low, inverse)
            second = _level(simd.load(rows, 2 * lanes * b + lanes), low, inverse)
            simd.store_bytes(part[b].qs, 0, first + f32(16) * second)
            part[b].d, part[b].m = half_d[b], half_m[b]
            if lows[b] == f32(0):
                part[b].d, part[b].m = _zeros(rows[b], scales[b])
    return -1


@kernel
def _not_finite(rows):
    for b in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            if not np.isfinite(rows[b, j]):
                return b
    return -1


@kernel
def _zeros(row, d):
    """Float16 bits of scale and minimum where that is zero: it keeps the sign of the first zero, as in C."""
    for j in range(row.size):
        if row[j] == f32(0):
            return half_bits(abs(d)), half_bits(row[j])
    return half_bits(d), u16(0)


@kernel
def _level(x, low, inverse):
    """Codes 0 … 15; 0 for NaN."""
    level = (x - low) * inverse + f32(0.5)
    level = simd.select(level > f32(0), level, simd.spread(f32(0)))
    return simd.low_byte(simd.select(level < f32(15), level, simd.spread(f32(15))))


@kernel
def _search(xs, ws, found, scales, mins):
    search_with_min(xs, ws, f32(15), f32(-0.9), f32(0.05), 36, False, found, scales, mins, 0, NOTHING)


@kernel
def _write(block, scale, low, codes):
    block.d, block.m = half_bits(scale), half_bits(-low)
    simd.join_nibbles(codes, block.qs)


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = -half_float(blocks[b].m)
        simd.split_nibbles(blocks[b].qs, codes[b], i8(0))


Q4_1 = Format(
    name="Q4_1",
    type_id=3,
    block_size=32,
    type_size=20,
    dtype=np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", (16,))]),
    field_notes={"d": "scale", "m": "smallest weight, added", "qs": "codes, two a byte"},
    codes=(0, 15),
    quantize_blocks=_quantize,
    quantize_weighted=specialise(
        encode_weighted, "quantize_weighted_Q4_1", _search=_search, _write=_write, _OFFSET=f32(0)
    ),
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q4_1_ref, quantize_row_q4_1_impl, dequantize_row_q4_1; "
    "ggml-common.h: block_q4_1",
)
