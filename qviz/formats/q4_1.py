"""Q4_1: 32 weights, a float16 scale and a float16 minimum, 4-bit codes: 20 bytes, 5 bits per weight.

The sixteen levels run from the block's smallest weight to its largest. The minimum is **added** when decoding
(x = d · code + m), whereas the K-quants subtract theirs; here it reaches the shared formula with its sign turned.

Bytes::

    d   float16   scale, never negative
    m   float16   smallest weight
    qs  16 × u8   code of weight l in the low four bits of qs[l], of weight l + 16 in the high four

Examples
--------
Weights 100 … 131 span 31, so d = 31 / 15 in float16, and weight 131 gets code 15:

>>> from qviz.formats import quantize
>>> t = quantize(np.arange(100, 132, dtype=np.float32), "Q4_1")
>>> float(t.blocks["m"][0]), round(float(t.blocks["d"][0]), 3), int(t.unpack().codes[-1])
(100.0, 2.066, 15)
"""

from __future__ import annotations

import numpy as np

from qviz._numba import f32, half_bits, half_float, i8, i32, kernel, u8
from qviz.formats._blocks32 import smallest_and_largest
from qviz.formats.base import Format


@kernel
def _quantize(x, blocks):  # type: ignore[no-untyped-def]
    half = x.shape[1] // 2
    for b in range(blocks.size):
        row, qs = x[b], blocks[b].qs
        low, high, finite = smallest_and_largest(row)
        if not finite:
            return b
        d = (high - low) / f32(15)
        inverse = f32(1) / d if d != f32(0) else f32(0)
        blocks[b].d = half_bits(d)
        blocks[b].m = half_bits(low)
        if np.isinf(inverse) or np.isinf(d):  # C's cast of inf and NaN gives 0
            inverse = f32(0)
        for j in range(half):
            first = min(i32((row[j] - low) * inverse + f32(0.5)), i32(15))
            second = min(i32((row[j + half] - low) * inverse + f32(0.5)), i32(15))
            qs[j] = u8(first | (second << 4))
    return -1


@kernel
def _unpack(blocks, codes, scales, mins):  # type: ignore[no-untyped-def]
    half = codes.shape[1] // 2
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = -half_float(blocks[b].m)
        qs = blocks[b].qs
        for j in range(half):
            codes[b, j] = i8(qs[j] & u8(15))
            codes[b, j + half] = i8(qs[j] >> u8(4))


Q4_1 = Format(
    name="Q4_1",
    type_id=3,
    block_size=32,
    type_size=20,
    dtype=np.dtype(
        [
            ("d", "<f2"),  # scale
            ("m", "<f2"),  # smallest weight, added
            ("qs", "u1", (16,)),  # codes, two a byte
        ]
    ),
    codes=(0, 15),
    quantize_blocks=_quantize,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q4_1_ref, dequantize_row_q4_1; ggml-common.h: block_q4_1",
)
