"""Q5_0: 32 weights, one float16 scale, 5-bit codes: 22 bytes, 5.5 bits per weight.

Q4_0 with one bit more. Five bits do not tile a byte, so the fifth bits live apart: `qs` holds the low four of each
code exactly as Q4_0 does, and bit l of the 32-bit word `qh` is the fifth bit of weight l.

With an importance matrix the encoder searches instead: nineteen scales around that one, each fitted by least squares
in which a weight counts by the importance of its column, times √(mean square of the row + x²).

Bytes::

    d   float16   scale; takes the sign that puts the largest weight on code −16
    qh  4 × u8    a little-endian word: bit l = fifth bit of weight l
    qs  16 × u8   low four bits, weights l and l + 16 in one byte

Examples
--------
Thirty-two weights −16 … 15 are a grid of their own with d = 1: nothing is lost.

>>> from qviz.formats import quantize
>>> t = quantize(np.arange(-16, 16, dtype=np.float32), "Q5_0")
>>> float(t.blocks["d"][0]), t.dequantize()[[0, 15, 31]].tolist()
(1.0, [-16.0, -1.0, 15.0])
>>> [hex(byte) for byte in t.blocks["qh"][0].tolist()]  # codes + 16 reach 16 from weight 16 on
['0x0', '0x0', '0xff', '0xff']
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_bits, half_float, i8, kernel, simd, specialise
from qviz.formats._blocks32 import AT_ONCE, encode_weighted, extremes, read_word, reciprocal, write_word
from qviz.formats.base import Format
from qviz.formats.kquant.search import search_centred
from qviz.formats.kquant.tiles import NOTHING


@kernel
def _quantize(x, blocks):
    extreme, inverse, half = np.empty(AT_ONCE, np.float32), np.empty(AT_ONCE, np.float32), np.empty(AT_ONCE, np.uint16)
    codes = np.empty(x.shape[1], np.uint8)
    for start in range(0, blocks.size, AT_ONCE):
        rows, part = x[start : start + AT_ONCE], blocks[start : start + AT_ONCE]
        # range
        bad = extremes(rows, extreme)
        if bad >= 0:
            return start + bad
        # scale
        for b in range(part.size):
            d = extreme[b] / f32(-16)
            inverse[b] = reciprocal(d)
            half[b] = half_bits(d)
        # codes
        for b in range(part.size):
            part[b].d = half[b]
            simd.truncated_codes(rows[b], f32(0), inverse[b], f32(16.5), f32(31), codes)
            write_word(part[b].qh, simd.fifth_bits(codes))
            simd.join_nibbles(codes, part[b].qs)
    return -1


@kernel
def _search(xs, ws, found, scales, mins):
    search_centred(xs, ws, f32(16), found, scales, 0, NOTHING)
    mins[:] = f32(0)


@kernel
def _write(block, scale, low, codes):
    block.d = half_bits(scale)
    write_word(block.qh, simd.fifth_bits(codes))
    simd.join_nibbles(codes, block.qs)


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = f32(0)
        simd.split_fives(read_word(blocks[b].qh), blocks[b].qs, codes[b], i8(16))


Q5_0 = Format(
    name="Q5_0",
    type_id=6,
    block_size=32,
    type_size=22,
    dtype=np.dtype([("d", "<f2"), ("qh", "u1", (4,)), ("qs", "u1", (16,))]),
    field_notes={"d": "scale", "qh": "fifth bits", "qs": "low four bits of codes + 16"},
    codes=(-16, 15),
    quantize_blocks=_quantize,
    quantize_weighted=specialise(
        encode_weighted, "quantize_weighted_Q5_0", _search=_search, _write=_write, _OFFSET=f32(16)
    ),
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q5_0_ref, quantize_row_q5_0_impl, dequantize_row_q5_0; "
    "ggml-common.h: block_q5_0",
)
