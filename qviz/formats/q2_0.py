"""Q2_0: 64 weights, one float16 scale, 2-bit codes −1 … 2: 18 bytes, 2.25 bits per weight.

For ternary models, as TQ2_0, in smaller blocks; here the fourth pattern has a meaning, 2 · d, but the encoder never
writes it: d is the largest magnitude of the block.

Bytes::

    d   float16   scale
    qs  16 × u8   bits 2k and 2k + 1 of qs[i]: code + 1 of weight 4·i + k

Examples
--------
The byte 0b11100100 holds, from its low end, 0 1 2 3: codes −1 0 1 2. With d = 0.5 (0x3800):

>>> from qviz.formats import QTensor
>>> t = QTensor.from_bytes("Q2_0", bytes([0x00, 0x38]) + bytes([0b11100100]) * 16, (64,))
>>> t.dequantize()[:5].tolist()
[-0.5, 0.0, 0.5, 1.0, -0.5]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import bits_float, f32, half_bits, half_float, i8, i32, kernel, simd, u8, u32
from qviz.formats.base import Format


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = f32(0)
        for i in range(blocks[b].qs.size):
            byte = blocks[b].qs[i]
            for k in range(4):
                codes[b, 4 * i + k] = i8(u8(byte >> u8(2 * k)) & u8(3)) - i8(1)


@kernel
def _quantize(x, blocks):
    codes = np.empty(x.shape[1], np.int8)
    for b in range(blocks.size):
        largest = max(simd.largest_bits(x[b], 0), simd.largest_bits(x[b], 32))
        if largest >= i32(0x7F800000):
            return b
        d = bits_float(u32(largest))
        inverse = f32(1) / d if d > f32(0) else f32(0)
        for k in range(0, codes.size, 32):
            simd.rounded_codes(x[b, k : k + 32], inverse, codes[k : k + 32])
        blocks[b].d = half_bits(d)
        if inverse == f32(np.inf):  # d is so small that C's casts go wrong
            codes[:] = i8(-1)
        for i in range(blocks[b].qs.size):
            byte = u8(0)
            for k in range(4):
                code = min(max(codes[4 * i + k], i8(-1)), i8(2)) + i8(1)
                byte |= u8(u8(code) << u8(2 * k))
            blocks[b].qs[i] = byte
    return -1


Q2_0 = Format(
    name="Q2_0",
    type_id=42,
    block_size=64,
    type_size=18,
    dtype=np.dtype([("d", "<f2"), ("qs", "u1", (16,))]),
    field_notes={"d": "scale", "qs": "codes + 1, four a byte"},
    codes=(-1, 2),
    quantize_blocks=_quantize,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q2_0_ref, dequantize_row_q2_0; ggml-common.h: block_q2_0",
)
