"""Q5_1: 32 weights, a float16 scale and a float16 minimum, 5-bit codes: 24 bytes, 6 bits per weight.

Q4_1 with one bit more; the fifth bits live apart, as in Q5_0.

With an importance matrix the encoder searches instead: levels stretched 37 ways, scale and minimum fitted to each by
least squares in which a weight counts by the importance of its column, times √(mean square of the row + x²). The
minimum is then never above zero.

Bytes::

    d   float16   scale, never negative
    m   float16   smallest weight, added
    qh  4 × u8    a little-endian word: bit l = fifth bit of weight l
    qs  16 × u8   low four bits, weights l and l + 16 in one byte

Examples
--------
Weights 100 … 131 span 31 steps of 1: a perfect fit.

>>> from qviz.formats import quantize
>>> t = quantize(np.arange(100, 132, dtype=np.float32), "Q5_1")
>>> float(t.blocks["d"][0]), float(t.blocks["m"][0]), t.dequantize()[[0, 31]].tolist()
(1.0, 100.0, [100.0, 131.0])
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_bits, half_float, i8, kernel, simd, specialise
from qviz.formats._blocks32 import AT_ONCE, encode_weighted, ranges, read_word, reciprocal, write_word
from qviz.formats.base import Format
from qviz.formats.kquant.search import search_with_min
from qviz.formats.kquant.tiles import NOTHING


@kernel
def _quantize(x, blocks):
    low, high, inverse = np.empty(AT_ONCE, np.float32), np.empty(AT_ONCE, np.float32), np.empty(AT_ONCE, np.float32)
    half_d, half_m = np.empty(AT_ONCE, np.uint16), np.empty(AT_ONCE, np.uint16)
    codes = np.empty(x.shape[1], np.uint8)
    for start in range(0, blocks.size, AT_ONCE):
        rows, part = x[start : start + AT_ONCE], blocks[start : start + AT_ONCE]
        # range
        bad = ranges(rows, low, high)
        if bad >= 0:
            return start + bad
        # scale
        for b in range(part.size):
            d = (high[b] - low[b]) / f32(31)
            inverse[b] = reciprocal(d)
            half_d[b], half_m[b] = half_bits(d), half_bits(low[b])
        # codes
        for b in range(part.size):
            part[b].d, part[b].m = half_d[b], half_m[b]
            simd.truncated_codes(rows[b], low[b], inverse[b], f32(0.5), f32(31), codes)
            write_word(part[b].qh, simd.fifth_bits(codes))
            simd.join_nibbles(codes, part[b].qs)
    return -1


@kernel
def _search(xs, ws, found, scales, mins):
    search_with_min(xs, ws, f32(31), f32(-0.9), f32(0.05), 36, False, found, scales, mins, 0, NOTHING)


@kernel
def _write(block, scale, low, codes):
    block.d, block.m = half_bits(scale), half_bits(-low)
    write_word(block.qh, simd.fifth_bits(codes))
    simd.join_nibbles(codes, block.qs)


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = -half_float(blocks[b].m)
        simd.split_fives(read_word(blocks[b].qh), blocks[b].qs, codes[b], i8(0))


Q5_1 = Format(
    name="Q5_1",
    type_id=7,
    block_size=32,
    type_size=24,
    dtype=np.dtype([("d", "<f2"), ("m", "<f2"), ("qh", "u1", (4,)), ("qs", "u1", (16,))]),
    field_notes={"d": "scale", "m": "smallest weight, added", "qh": "fifth bits", "qs": "low four bits of the codes"},
    codes=(0, 31),
    quantize_blocks=_quantize,
    quantize_weighted=specialise(
        encode_weighted, "quantize_weighted_Q5_1", _search=_search, _write=_write, _OFFSET=f32(0)
    ),
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q5_1_ref, quantize_row_q5_1_impl, dequantize_row_q5_1; "
    "ggml-common.h: block_q5_1",
)
