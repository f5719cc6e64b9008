"""Q4_K: 256 weights in 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum: 144 bytes, 4.5 bits per weight.

That is as many bits as Q4_0 spends (4 for the code, 0.375 for a sub-block's scale and minimum, 0.125 for the two
float16 that all of those share), but with a minimum for every 32 weights. The minimum is **subtracted** when decoding:
x = d · scale · code − dmin · min. Since it is stored as a multiple of dmin ≥ 0, a sub-block's lowest level is never
above zero.

Bytes::

    d       float16    factor of the scales
    dmin    float16    factor of the minimums
    scales  12 × u8    bytes 0 … 3: scales 0 … 3; bytes 4 … 7: minimums 0 … 3, six bits each. Bytes 8 … 11: low four
                       bits of scales (low half) and minimums (high half) 4 … 7, whose upper two bits stand on top of
                       bytes 0 … 7
    qs      128 × u8   codes: byte l of each quarter (32 bytes for 64 weights) holds weights l and l + 32

Examples
--------
Sub-block j holds 0, j + 1, 2 (j + 1) … 15 (j + 1), twice: its scale is j + 1 and its minimum 0. The largest scale, 8,
gets 63 steps, so d = 8 / 63, and scale j + 1 gets round((j + 1) · 63 / 8) steps: 8, 16, 24, 32, 39, 47, 55, 63.

>>> from qviz.formats import quantize
>>> t = quantize((np.arange(32) % 16 * np.arange(1, 9)[:, None]).ravel(), "Q4_K")
>>> round(8 / float(t.blocks["d"][0]), 1), float(t.blocks["dmin"][0])
(63.0, 0.0)
>>> t.blocks["scales"][0].tolist()  # byte 0: scale 0 is 8, and above it the top of scale 4: 39 = 2 · 16 + 7
[136, 144, 216, 224, 0, 0, 0, 0, 7, 15, 7, 15]
>>> t.unpack().codes[:16].tolist()
[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, kernel, specialise, u8
from qviz.formats.base import Format
from qviz.formats.kquant.codes import put_nibbles, put_sixes, take_nibbles, take_sixes
from qviz.formats.kquant.encode import encode_with_min, without_imatrix
from qviz.formats.kquant.search import Search
from qviz.formats.kquant.weights import weigh_by_size


@kernel
def _put_codes(codes, block):
    block.qs[:] = u8(0)
    put_nibbles(codes, block.qs)


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        take_sixes(blocks[b], scales, mins, 8 * b)
        take_nibbles(blocks[b].qs, codes, 256 * b)


_search = Search(width=32, top=15, first=-1, step=0.1, steps=20, weigh=weigh_by_size)

_encode = specialise(
    encode_with_min,
    "quantize_Q4_K",
    **_search.names(),
    _SCALE_TOP=f32(63),
    _SCALE_LIMIT=f32(63),
    _put_scales=put_sixes,
    _take_scales=take_sixes,
    _put_codes=_put_codes,
)


Q4_K = Format(
    name="Q4_K",
    type_id=12,
    block_size=256,
    type_size=144,
    dtype=np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", (12,)), ("qs", "u1", (128,))]),
    field_notes={
        "d": "factor of the scales",
        "dmin": "factor of the minimums",
        "scales": "8 scales and 8 minimums, 6 bits each",
        "qs": "codes, two a byte",
    },
    sub_block_size=32,
    codes=(0, 15),
    quantize_blocks=without_imatrix(_encode),
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    search=_search,
    source="ggml-quants.c: quantize_row_q4_K_ref, dequantize_row_q4_K; ggml-common.h: block_q4_K",
)
