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
from qviz.formats._blocks32 import AT_ONCE, encode_weighted
from qviz.formats.base import Format
from qviz.formats.kquant.search import search_with_min
from qviz.formats.kquant.tiles import NOTHING, room


@kernel
def _quantize(x, blocks):
    lanes, last = simd.LANES, blocks.size - 1
    lows, scales, inverses = room(AT_ONCE), room(AT_ONCE), room(AT_ONCE)
    half_d, half_m = np.empty(AT_ONCE, np.uint16), np.empty(AT_ONCE, np.uint16)
    for start in range(0, blocks.size, AT_ONCE):
        stop = min(start + AT_ONCE, blocks.size)
        # range
        for at in range(0, AT_ONCE, lanes):
            if not simd.sixteen_ranges(x, start + at, last, lows, scales, at):
                bad = _not_finite(x, start + at, stop)
                if bad >= 0:
                    return bad
        # scale; where 1 / d overflows, C's casts give code 0
        for at in range(0, AT_ONCE, lanes):
            d = (simd.load(scales, at) - simd.load(lows, at)) / f32(15)
            inverse = f32(1) / d
            simd.store(scales, at, d)
            simd.store(inverses, at, simd.select(inverse == f32(np.inf), simd.spread(f32(0)), inverse))
        for b in range(half_d.size):
            half_d[b], half_m[b] = half_bits(scales[b]), half_bits(lows[b])
        # codes, two a byte
        for block in range(start, stop):
            b, at = block - start, 2 * lanes * block
            low, inverse = simd.spread(lows[b]), simd.spread(inverses[b])
            first, second = _level(simd.load(x, at), low, inverse), _level(simd.load(x, at + lanes), low, inverse)
            simd.store_nibbles(blocks[block].qs, 0, first, second)
            blocks[block].d, blocks[block].m = half_d[b], half_m[b]
            if lows[b] == f32(0):
                blocks[block].d, blocks[block].m = _zeros(x, block, scales[b])
    return -1


@kernel
def _not_finite(x, start, stop):
    for block in range(start, stop):
        for j in range(x.shape[1]):
            if not np.isfinite(x[block, j]):
                return block
    return -1


@kernel
def _zeros(x, block, d):
    """Float16 bits of scale and minimum where that is zero: it keeps the sign of the first zero, as in C."""
    for j in range(x.shape[1]):
        if x[block, j] == f32(0):
            return half_bits(abs(d)), half_bits(x[block, j])
    return half_bits(d), u16(0)


@kernel
def _level(x, low, inverse):
    """What a code is the whole part of: 0.5 … 15.5, since no x lies farther from `low` than 15 scales; 0.5 for NaN."""
    level = (x - low) * inverse + f32(0.5)
    return simd.select(level > f32(0.5), level, simd.spread(f32(0.5)))


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
