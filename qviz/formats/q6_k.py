"""Q6_K: 256 weights in 16 sub-blocks of 16, each with an 8-bit scale and no minimum: 210 bytes, 6.5625 bits per weight.

Of the 6.5625 bits, 6 are the code, half a bit is the sub-block's scale (8 bits for 16 weights), and 0.0625 the float16
that all scales share. A code is −32 … 31 and decodes as x = d · scale · code. Scales are signed, and the one of
largest magnitude becomes −128, the end with one step more; so d is usually **negative**.

The search tries nineteen stretches of the levels. Errors count by x², or by the importance matrix alone: here, unlike
in the other K-quants, the weights themselves do not enter then.

Bytes::

    ql      128 × u8   low four bits of code + 32: of each half (64 bytes for 128 weights), byte l holds weights l
                       and l + 64, byte l + 32 weights l + 32 and l + 96
    qh      64 × u8    high two bits: byte l of each half holds weights l, l + 32, l + 64, l + 96
    scales  16 × i8    one scale a sub-block
    d       float16    factor of the scales

Examples
--------
Weights −32, −28 … 28 over and over are their own codes, with scale 1 everywhere. The largest scale becomes −128, so
d = 1 / −128:

>>> from qviz.formats import quantize
>>> t = quantize(np.arange(256) % 16 * 4 - 32, "Q6_K")
>>> float(t.blocks["d"][0]), t.blocks["scales"][0, :3].tolist()
(-0.0078125, [-128, -128, -128])
>>> t.unpack().codes[:4].tolist()
[-32, -28, -24, -20]
>>> hex(t.blocks["ql"][0, 1]), hex(t.blocks["qh"][0, 15])  # code −28 is stored as 4; code 28 as 60 = 3 · 16 + 12
('0x44', '0xff')
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_float, i8, kernel, simd, specialise, u8
from qviz.formats.base import Format
from qviz.formats.kquant.encode import encode_centred, without_imatrix
from qviz.formats.kquant.search import Search
from qviz.formats.kquant.tiles import TILE


@kernel
def _put_scales(block, steps, lane):
    for j in range(16):
        block.scales[j] = i8(steps[j * TILE + lane])


@kernel
def _take_scales(block, scales, at):
    d = half_float(block.d)
    for j in range(16):
        scales[at + j] = d * f32(block.scales[j])


@kernel
def _put_codes(codes, block):
    block.ql[:], block.qh[:] = u8(0), u8(0)
    for k in range(8):
        half, quarter = k // 4, k % 4
        simd.put_bits(codes, 32 * k, u8(0), u8(15), u8(4 * (quarter // 2)), block.ql, 64 * half + 32 * (quarter % 2))
        simd.put_bits(codes, 32 * k, u8(4), u8(3), u8(2 * quarter), block.qh, 32 * half)


@kernel
def _unpack(blocks, codes, scales, mins):
    mins[:] = f32(0)
    for b in range(blocks.size):
        _take_scales(blocks[b], scales, 16 * b)
        for k in range(8):
            half, quarter, at = k // 4, k % 4, 256 * b + 32 * k
            simd.take_bits(
                blocks[b].ql, 64 * half + 32 * (quarter % 2), u8(4 * (quarter // 2)), u8(15), i8(0), codes, at
            )
            simd.add_bits(blocks[b].qh, 32 * half, u8(2 * quarter), u8(3), u8(4), i8(32), codes, at)


_search = Search(width=16, top=32)

_encode = specialise(
    encode_centred,
    "quantize_Q6_K",
    **_search.names(),
    _BLANKS=True,
    _SCALE_TOP=f32(128),
    _SCALE_OFFSET=f32(0),
    _SCALE_LEAST=f32(1e-15),
    _put_scales=_put_scales,
    _take_scales=_take_scales,
    _put_codes=_put_codes,
)


Q6_K = Format(
    name="Q6_K",
    type_id=14,
    block_size=256,
    type_size=210,
    dtype=np.dtype([("ql", "u1", (128,)), ("qh", "u1", (64,)), ("scales", "i1", (16,)), ("d", "<f2")]),
    field_notes={
        "ql": "low four bits of the codes + 32, two a byte",
        "qh": "upper two bits of the codes + 32, four a byte",
        "scales": "16 scales, 8 bits each",
        "d": "factor of the scales",
    },
    sub_block_size=16,
    codes=(-32, 31),
    quantize_blocks=without_imatrix(_encode),
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    search=_search,
    source="ggml-quants.c: quantize_row_q6_K_ref, dequantize_row_q6_K; ggml-common.h: block_q6_K",
)
