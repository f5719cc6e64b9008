"""Q4_0: 32 weights, one float16 scale, 4-bit codes: 18 bytes, 4.5 bits per weight.

The scale is chosen so that the weight of largest magnitude lands exactly on code −8, the end of the range that has
one step more. It takes that weight's sign along, so **a scale may be negative**: then codes run downwards.

With an importance matrix the encoder searches instead: nineteen scales around that one, each fitted by least squares
in which a weight counts by the importance of its column, times √(mean square of the row + x²).

Bytes::

    d   float16   scale
    qs  16 × u8   code of weight l in the low four bits of qs[l], of weight l + 16 in the high four, both + 8

Examples
--------
Thirty-two weights −16 … 15. The largest magnitude is −16, so d = −16 / −8 = 2 and codes are round(x / 2):

>>> from qviz.formats import quantize
>>> t = quantize(np.arange(-16, 16, dtype=np.float32), "Q4_0")
>>> float(t.blocks["d"][0]), t.unpack().codes[:5].tolist()
(2.0, [-8, -7, -7, -6, -6])
>>> hex(t.blocks["qs"][0, 0])  # weight 0: −8 + 8 = 0, weight 16 (x = 0): 0 + 8 = 8
'0x80'
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_bits, half_float, i8, kernel, simd, specialise
from qviz.formats._blocks32 import AT_ONCE, encode_weighted, extremes, reciprocal
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
            d = extreme[b] / f32(-8)
            inverse[b] = reciprocal(d)
            half[b] = half_bits(d)
        # codes
        for b in range(part.size):
            part[b].d = half[b]
            simd.truncated_codes(rows[b], f32(0), inverse[b], f32(8.5), f32(15), codes)
            simd.join_nibbles(codes, part[b].qs)
    return -1


@kernel
def _search(xs, ws, found, scales, mins):
    search_centred(xs, ws, f32(8), found, scales, 0, NOTHING)
    mins[:] = f32(0)


@kernel
def _write(block, scale, low, codes):
    block.d = half_bits(scale)
    simd.join_nibbles(codes, block.qs)


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = f32(0)
        simd.split_nibbles(blocks[b].qs, codes[b], i8(8))


Q4_0 = Format(
    name="Q4_0",
    type_id=2,
    block_size=32,
    type_size=18,
    dtype=np.dtype([("d", "<f2"), ("qs", "u1", (16,))]),
    field_notes={"d": "scale", "qs": "codes + 8, two a byte"},
    codes=(-8, 7),
    quantize_blocks=_quantize,
    quantize_weighted=specialise(
        encode_weighted, "quantize_weighted_Q4_0", _search=_search, _write=_write, _OFFSET=f32(8)
    ),
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q4_0_ref, quantize_row_q4_0_impl, dequantize_row_q4_0; "
    "ggml-common.h: block_q4_0",
)
