"""TQ2_0: 256 weights, one float16 scale, ternary codes in two bits each: 66 bytes, 2.0625 bits per weight.

For models trained with weights that are only −1, 0 or 1 times a scale (BitNet b1.58, TriLM). For those nothing is
lost; other models do not survive it. The scale is simply the largest magnitude, and a weight becomes 0 below half of
it.

Two bits could say four things and say three; TQ1_0 packs tighter but unpacks slower. The fourth pattern, never
written, would decode to 2.

Bytes::

    qs  64 × u8   bits 2n and 2n + 1 of qs[32·h + m]: code + 1 of weight 128·h + 32·n + m
    d   float16   scale, the largest magnitude

Examples
--------
Magnitudes from half of the largest on become ±1:

>>> from qviz.formats import quantize
>>> t = quantize(np.tile(np.float32([4, -2, 1.9, 0]), 64), "TQ2_0")
>>> float(t.blocks["d"][0]), t.unpack().codes[:4].tolist()
(4.0, [1, -1, 0, 0])
>>> t.blocks["qs"][0, :3].tolist()  # weights 0, 32, 64 and 96 share a byte and are equal here: 2, 0 or 1 four times
[170, 0, 85]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import bits_float, f32, half_bits, half_float, i8, i32, kernel, order_key, simd, u8, u32
from qviz.formats._blocks32 import reciprocal
from qviz.formats.base import Format


@kernel
def ternary_digits(row, digits):
    """Round a block to −1, 0 and 1 times its largest magnitude: uint8 `digits` 0, 1 and 2.

    Returns that magnitude, or NaN if the block holds NaN or infinity.
    """
    largest = f32(0)
    for k in range(0, row.size, 32):
        low_key, high_key = simd.smallest_key(row[k : k + 32]), simd.largest_key(row[k : k + 32])
        if low_key < i32(-0x7F800000) or high_key >= i32(0x7F800000):
            return f32(np.nan)
        largest = max(largest, -bits_float(u32(order_key(low_key))), bits_float(u32(order_key(high_key))))
    inverse = reciprocal(largest)
    for j in range(row.size):
        step = row[j] * inverse
        digit = u8(2) if step >= f32(0.5) else u8(1)
        digits[j] = u8(0) if step <= f32(-0.5) else digit
    return largest


@kernel
def _quantize(x, blocks):
    digits = np.empty(x.shape[1], np.uint8)
    for b in range(blocks.size):
        largest = ternary_digits(x[b], digits)
        if not largest >= f32(0):
            return b
        blocks[b].d = half_bits(largest)
        for h in range(2):
            part, qs = digits[128 * h : 128 * h + 128], blocks[b].qs[32 * h : 32 * h + 32]
            for m in range(qs.size):
                low = u8(part[m] | u8(part[m + 32] << u8(2)))
                qs[m] = u8(low | u8(u8(part[m + 64] << u8(4)) | u8(part[m + 96] << u8(6))))
    return -1


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = f32(0)
        for h in range(2):
            for n in range(4):
                simd.take_bits(blocks[b].qs, 32 * h, u8(2 * n), u8(3), i8(1), codes[b], 128 * h + 32 * n)


TQ2_0 = Format(
    name="TQ2_0",
    type_id=35,
    block_size=256,
    type_size=66,
    dtype=np.dtype([("qs", "u1", (64,)), ("d", "<f2")]),
    field_notes={"qs": "codes + 1, four a byte", "d": "scale"},
    codes=(-1, 2),
    quantize_blocks=_quantize,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_tq2_0_ref, dequantize_row_tq2_0; ggml-common.h: block_tq2_0",
)
