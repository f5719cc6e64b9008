"""NVFP4: 64 weights in four sub-blocks of 16, each with an 8-bit float as scale: 36 bytes, 4.5 bits per weight.

The same tiny floats as MXFP4 (levels 0, 0.5, 1, 1.5, 2, 3, 4, 6 with a sign), with two changes for a quarter of a
bit: sixteen weights share a scale instead of thirty-two, and the scale has a mantissa. It is a UE4M3, an unsigned
float of four exponent and three mantissa bits, chosen so that the largest weight of the sub-block comes out near
level 6 instead of anywhere from 4 to 8.

A UE4M3 reaches from 2^-9 to 448 only. Models made for NVFP4 therefore carry one more float32 scale a tensor, as a
tensor of its own; weights far outside ±2688 or below 0.001 need it.

As in MXFP4, the table holds the levels twice as large, and the scale is halved.

Bytes::

    d   4 × u8    scale of each sub-block, UE4M3: exponent + 7 in bits 3 … 6, mantissa in bits 0 … 2
    qs  32 × u8   eight bytes a sub-block: weight l in the low four bits of its byte l, weight l + 8 in the high four

Examples
--------
The largest weight is 12, so the scale is 12 / 6 = 2 = 1.0 · 2^(8 − 7): exponent field 8, mantissa 0, the byte 0x40.
In units of the table a step is 1:

>>> from qviz.formats import quantize
>>> t = quantize(np.tile(np.float32([12, -1, 2, 0]), 16), "NVFP4")
>>> hex(t.blocks["d"][0, 0]), t.unpack().codes[:4].tolist(), t.unpack().scales.tolist()
('0x40', [7, 9, 2, 0], [1.0, 1.0, 1.0, 1.0])
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, float_bits, i8, i32, kernel, simd, u8, u32
from qviz.formats.base import Format
from qviz.formats.mxfp4 import TABLE, nearest_codes

_SUB_BLOCKS = 4


@kernel
def _to_ue4m3(x):
    """A positive float32 as UE4M3, halves up; from 248 on always 448 (0x7e), as ggml has it."""
    if not x > f32(0):
        return u8(0)
    bits = float_bits(min(x, f32(448)))
    exponent = i32(bits >> u32(23)) - i32(120)
    if exponent <= i32(0):  # subnormal: steps of 2^-9
        return u8(min(i32(x * f32(512) + f32(0.5)), i32(7)))
    # exponent and mantissa side by side: a mantissa that rounds up to 8 carries by itself
    rounded = i32(i32(exponent << i32(3)) + i32(u32(bits >> u32(20)) & u32(7)) + i32(u32(bits >> u32(19)) & u32(1)))
    return u8(rounded if rounded < i32(0x78) else i32(0x7E))


@kernel
def _half_ue4m3(byte):
    """Half of a UE4M3, as a float32; 0x7f is not a number there, and counts as 0."""
    if byte == u8(0x7F):
        return f32(0)
    exponent, mantissa = i32(byte >> u8(3)) & i32(15), f32(byte & u8(7))
    if exponent == i32(0):
        return mantissa * f32(2**-10)
    return f32((f32(8) + mantissa) * f32(2**-11)) * f32(u32(u32(1) << u32(exponent)))


@kernel
def _quantize(x, blocks):
    width = x.shape[1] // _SUB_BLOCKS
    codes = np.empty(width, np.uint8)
    for b in range(blocks.size):
        for k in (0, 32):
            part = x[b, k : k + 32]
            if simd.smallest_key(part) < i32(-0x7F800000) or simd.largest_key(part) >= i32(0x7F800000):
                return b
        for s in range(_SUB_BLOCKS):
            row, qs = x[b, s * width : (s + 1) * width], blocks[b].qs[s * width // 2 :]
            largest = f32(0)
            for j in range(width):
                largest = max(largest, np.abs(row[j]))
            blocks[b].d[s] = _to_ue4m3(largest / f32(6))
            nearest_codes(row, largest, _half_ue4m3(blocks[b].d[s]), codes)
            for j in range(width // 2):
                qs[j] = u8(codes[j] | u8(codes[j + width // 2] << u8(4)))
    return -1


@kernel
def _unpack(blocks, codes, scales, mins):
    half = codes.shape[1] // 2
    for b in range(blocks.size):
        for s in range(_SUB_BLOCKS):
            k, qs = b * _SUB_BLOCKS + s, blocks[b].qs[s * half :]
            scales[k] = _half_ue4m3(blocks[b].d[s])
            mins[k] = f32(0)
            for j in range(half):
                codes[k, j] = i8(qs[j] & u8(15))
                codes[k, j + half] = i8(qs[j] >> u8(4))


NVFP4 = Format(
    name="NVFP4",
    type_id=40,
    block_size=64,
    sub_block_size=16,
    type_size=36,
    dtype=np.dtype([("d", "u1", (4,)), ("qs", "u1", (32,))]),
    field_notes={"d": "scales (8-bit floats)", "qs": "codes (tiny floats), two a byte"},
    codes=(0, 15),
    table=TABLE,
    quantize_blocks=_quantize,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_nvfp4_ref, dequantize_row_nvfp4; ggml-impl.h: ggml_fp32_to_ue4m3; "
    "ggml-common.h: block_nvfp4, kvalues_fp4",
)
