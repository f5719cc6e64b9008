"""Q2_K: 256 weights in 16 sub-blocks of 16, each with a 4-bit scale and minimum: 84 bytes, 2.625 bits per weight.

Of the 2.625 bits, 2 are the code, half a bit is the sub-block's scale and minimum (8 bits for 16 weights), and an
eighth is the two float16 that all of those share. The minimum is **subtracted** when decoding:
x = d · scale · code − dmin · min. Since it is stored as a multiple of dmin ≥ 0, a sub-block's lowest level is never
above zero.

With an importance matrix the search is finer (37 candidates instead of 16) and counts squared errors; without one it
counts errors by their size, times |x|.

Bytes::

    scales  16 × u8   scale of sub-block j in the low four bits, its minimum in the high four
    qs      64 × u8   codes: byte l of each half (32 bytes for 128 weights) holds weights l, l + 32, l + 64, l + 96
    d       float16   factor of the scales
    dmin    float16   factor of the minimums

Examples
--------
Weights −1, 0, 1, 2 over and over are four levels, 1 apart, from −1: every sub-block has scale 1 and minimum 1, so
d = dmin = 1 / 15, and all the 4-bit steps are 15:

>>> from qviz.formats import quantize
>>> t = quantize(np.arange(256) % 4 - 1, "Q2_K")
>>> round(1 / float(t.blocks["d"][0]), 1), round(1 / float(t.blocks["dmin"][0]), 1), hex(t.blocks["scales"][0, 0])
(15.0, 15.0, '0xff')
>>> [hex(byte) for byte in t.blocks["qs"][0, :4]]  # weights 1, 33, 65, 97 all have code 1: 01 01 01 01
['0x0', '0x55', '0xaa', '0xff']
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_float, i32, kernel, specialise, u8
from qviz.formats.base import Format
from qviz.formats.kquant.codes import put_pairs, take_pairs
from qviz.formats.kquant.encode import encode_with_min, without_imatrix
from qviz.formats.kquant.search import Search
from qviz.formats.kquant.tiles import TILE
from qviz.formats.kquant.weights import weigh_by_magnitude


@kernel
def _put_scales(block, scale_steps, min_steps, lane):
    for j in range(16):
        at = j * TILE + lane
        block.scales[j] = u8(i32(scale_steps[at]) | (i32(min_steps[at]) << 4))


@kernel
def _take_scales(block, scales, mins, at):
    d, dmin = half_float(block.d), half_float(block.dmin)
    for j in range(16):
        scales[at + j] = d * f32(block.scales[j] & u8(15))
        mins[at + j] = dmin * f32(block.scales[j] >> u8(4))


@kernel
def _put_codes(codes, block):
    block.qs[:] = u8(0)
    put_pairs(codes, block.qs)


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        _take_scales(blocks[b], scales, mins, 16 * b)
        take_pairs(blocks[b].qs, codes, 256 * b)


_search = Search(
    width=16,
    top=3,
    first=-0.5,
    step=0.1,
    steps=15,
    absolute=True,
    weigh=weigh_by_magnitude,
    mean_factor=1,
)

_encode = specialise(
    encode_with_min,
    "quantize_Q2_K",
    **_search.names(),
    _SCALE_TOP=f32(15),
    _SCALE_LIMIT=f32(255),
    _put_scales=_put_scales,
    _take_scales=_take_scales,
    _put_codes=_put_codes,
)


Q2_K = Format(
    name="Q2_K",
    type_id=10,
    block_size=256,
    type_size=84,
    dtype=np.dtype([("scales", "u1", (16,)), ("qs", "u1", (64,)), ("d", "<f2"), ("dmin", "<f2")]),
    field_notes={
        "scales": "16 scales and 16 minimums, 4 bits each",
        "qs": "codes, four a byte",
        "d": "factor of the scales",
        "dmin": "factor of the minimums",
    },
    sub_block_size=16,
    codes=(0, 3),
    quantize_blocks=without_imatrix(_encode),
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    search=_search,
    source="ggml-quants.c: quantize_row_q2_K_ref, dequantize_row_q2_K; ggml-common.h: block_q2_K",
)
