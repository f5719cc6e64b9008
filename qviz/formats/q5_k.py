"""Q5_K: 256 weights in 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum: 176 bytes, 5.5 bits per weight.

Q4_K with one more bit for every code: x = d · scale · code − dmin · min, codes 0 … 31. The minimum is **subtracted**,
and a sub-block's lowest level is never above zero. The fifth bits stand apart.

Bytes::

    d       float16    factor of the scales
    dmin    float16    factor of the minimums
    scales  12 × u8    8 scales and 8 minimums of 6 bits, packed as in Q4_K
    qh      32 × u8    fifth bits: bit k of byte l belongs to weight 32 k + l
    qs      128 × u8   low four bits: byte l of each quarter (32 bytes for 64 weights) holds weights l and l + 32

Examples
--------
Weights 0 … 31 over and over are their own codes, with scale 1 (63 steps of d = 1 / 63) and minimum 0 everywhere:

>>> from qviz.formats import quantize
>>> t = quantize(np.arange(256) % 32, "Q5_K")
>>> round(1 / float(t.blocks["d"][0]), 1), t.unpack().codes[32:35].tolist()
(63.0, [0, 1, 2])
>>> hex(t.blocks["qs"][0, 17]), hex(t.blocks["qh"][0, 17])  # code 17 = 16 + 1, at weights 17, 49, 81 …
('0x11', '0xff')
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, i8, kernel, simd, specialise, u8
from qviz.formats.base import Format
from qviz.formats.kquant.codes import put_nibbles, put_sixes, take_sixes
from qviz.formats.kquant.encode import encode_with_min, without_imatrix
from qviz.formats.kquant.search import Search
from qviz.formats.kquant.weights import weigh_by_size


@kernel
def _put_codes(codes, block):
    block.qs[:], block.qh[:] = u8(0), u8(0)
    put_nibbles(codes, block.qs)
    for k in range(8):
        simd.put_bits(codes, 32 * k, u8(4), u8(1), u8(k), block.qh, 0)


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        take_sixes(blocks[b], scales, mins, 8 * b)
        for k in range(8):
            at = 256 * b + 32 * k
            simd.take_bits(blocks[b].qs, 32 * (k // 2), u8(4 * (k % 2)), u8(15), i8(0), codes, at)
            simd.add_bits(blocks[b].qh, 0, u8(k), u8(1), u8(4), i8(0), codes, at)


_search = Search(width=32, top=31, first=-0.5, step=0.1, steps=15, weigh=weigh_by_size)

_encode = specialise(
    encode_with_min,
    "quantize_Q5_K",
    **_search.names(),
    _SCALE_TOP=f32(63),
    _SCALE_LIMIT=f32(63),
    _WEIGHTED_LIMIT=f32(63),
    _put_scales=put_sixes,
    _take_scales=take_sixes,
    _put_codes=_put_codes,
)


Q5_K = Format(
    name="Q5_K",
    type_id=13,
    block_size=256,
    type_size=176,
    dtype=np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", (12,)), ("qh", "u1", (32,)), ("qs", "u1", (128,))]),
    field_notes={
        "d": "factor of the scales",
        "dmin": "factor of the minimums",
        "scales": "8 scales and 8 minimums, 6 bits each",
        "qh": "fifth bits of the codes, eight a byte",
        "qs": "low four bits of the codes, two a byte",
    },
    sub_block_size=32,
    codes=(0, 31),
    quantize_blocks=without_imatrix(_encode),
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    search=_search,
    source="ggml-quants.c: quantize_row_q5_K_ref, dequantize_row_q5_K; ggml-common.h: block_q5_K",
)
