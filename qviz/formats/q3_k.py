"""Q3_K: 256 weights in 16 sub-blocks of 16, each with a 6-bit scale and no minimum: 110 bytes, 3.4375 bits per weight.

Of the 3.4375 bits, 3 are the code, 0.375 the sub-block's scale (6 bits for 16 weights) and 0.0625 the float16 that all
scales share. A code is −4 … 3 and decodes as x = d · scale · code. Scales are signed (−32 … 31, stored plus 32), and
the one of largest magnitude becomes −32, the end with one step more; so d is usually **negative**.

Without an importance matrix, the search moves one code at a time (`refine_centred`); with one, it tries nineteen
stretches for the weights, and nineteen more for the scales.

Bytes::

    hmask   32 × u8   third bits: bit k of byte l belongs to weight 32 k + l; it is set for codes 0 … 3
    qs      64 × u8   low two bits of code + 4: byte l of each half holds weights l, l + 32, l + 64, l + 96
    scales  12 × u8   low four bits of scale j in byte j mod 8, high two in byte 8 + j mod 4
    d       float16   factor of the scales

Examples
--------
Weights −4 … 3 over and over are their own codes, with scale 1 everywhere. The largest scale becomes −32 (stored as 0),
so d = 1 / −32:

>>> from qviz.formats import quantize
>>> t = quantize(np.arange(256) % 8 - 4, "Q3_K")
>>> float(t.blocks["d"][0]), t.blocks["scales"][0].tolist() == [0] * 12
(-0.03125, True)
>>> t.unpack().codes[:8].tolist()
[-4, -3, -2, -1, 0, 1, 2, 3]
>>> t.blocks["hmask"][0, :8].tolist()  # set from code 0 on, in all eight weights of a byte
[0, 0, 0, 0, 255, 255, 255, 255]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_float, i8, i32, kernel, simd, specialise, u8
from qviz.formats.base import Format
from qviz.formats.kquant.codes import put_pairs
from qviz.formats.kquant.encode import encode_centred, without_imatrix
from qviz.formats.kquant.search import Search
from qviz.formats.kquant.tiles import TILE


@kernel
def _put_scales(block, steps, lane):
    for j in range(8):
        first, second = i32(steps[j * TILE + lane]), i32(steps[(j + 8) * TILE + lane])
        block.scales[j] = u8((first & 15) | ((second & 15) << 4))
    for j in range(4):
        upper = i32(0)
        for k in range(4):
            upper |= (i32(steps[(j + 4 * k) * TILE + lane]) >> 4) << (2 * k)
        block.scales[8 + j] = u8(upper)


@kernel
def _take_scales(block, scales, at):
    d = half_float(block.d)
    for j in range(16):
        low = (block.scales[j % 8] >> u8(4 * (j // 8))) & u8(15)
        high = (block.scales[8 + j % 4] >> u8(2 * (j // 4))) & u8(3)
        scales[at + j] = d * (f32(u8(low | (high << u8(4)))) - f32(32))


@kernel
def _put_codes(codes, block):
    block.qs[:], block.hmask[:] = u8(0), u8(0)
    put_pairs(codes, block.qs)
    for k in range(8):
        simd.put_bits(codes, 32 * k, u8(2), u8(1), u8(k), block.hmask, 0)


@kernel
def _unpack(blocks, codes, scales, mins):
    mins[:] = f32(0)
    for b in range(blocks.size):
        _take_scales(blocks[b], scales, 16 * b)
        for k in range(8):
            at = 256 * b + 32 * k
            simd.take_bits(blocks[b].qs, 32 * (k // 4), u8(2 * (k % 4)), u8(3), i8(0), codes, at)
            simd.add_bits(blocks[b].hmask, 0, u8(k), u8(1), u8(2), i8(4), codes, at)


_search = Search(width=16, top=4, refines=True)

_encode = specialise(
    encode_centred,
    "quantize_Q3_K",
    **_search.names(),
    _BLANKS=False,
    _SCALE_TOP=f32(32),
    _SCALE_OFFSET=f32(32),
    _SCALE_LEAST=f32(1e-45),
    _put_scales=_put_scales,
    _take_scales=_take_scales,
    _put_codes=_put_codes,
)


Q3_K = Format(
    name="Q3_K",
    type_id=11,
    block_size=256,
    type_size=110,
    dtype=np.dtype([("hmask", "u1", (32,)), ("qs", "u1", (64,)), ("scales", "u1", (12,)), ("d", "<f2")]),
    field_notes={
        "hmask": "third bits of the codes, eight a byte",
        "qs": "low two bits of the codes, four a byte",
        "scales": "16 scales + 32, 6 bits each",
        "d": "factor of the scales",
    },
    sub_block_size=16,
    codes=(-4, 3),
    quantize_blocks=without_imatrix(_encode),
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    search=_search,
    source="ggml-quants.c: quantize_row_q3_K_ref, dequantize_row_q3_K; ggml-common.h: block_q3_K",
)
