"""Q1_0: 128 weights, one float16 scale, one bit each: 18 bytes, 1.125 bits per weight.

The least that can be kept of a weight: its sign. The scale is the mean magnitude of the block, which is the best
choice for weights that all become ±d (it minimises the squared error). For models trained that way.

Bytes::

    d   float16   scale, the mean magnitude
    qs  16 × u8   bit k of qs[i] is set if weight 8·i + k is not negative

Examples
--------
>>> from qviz.formats import quantize
>>> t = quantize(np.tile(np.float32([1, -3, 0, 4]), 32), "Q1_0")
>>> float(t.blocks["d"][0]), t.unpack().codes[:4].tolist()  # (1 + 3 + 0 + 4) / 4
(2.0, [1, -1, 1, 1])
>>> hex(t.blocks["qs"][0, 0])  # 1101 twice, weight 0 in the lowest bit
'0xdd'
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_bits, half_float, i32, kernel, simd, u8
from qviz.formats._blocks32 import read_word
from qviz.formats.base import Format

# Sums that run at the same time: each is a chain of additions that cannot be reordered.
_TOGETHER = 16


@kernel
def _quantize(x, blocks):
    width = x.shape[1]
    total = np.empty(_TOGETHER, np.float32)
    for start in range(0, blocks.size, _TOGETHER):
        rows, part = x[start : start + _TOGETHER], blocks[start : start + _TOGETHER]
        for b in range(part.size):
            total[b] = f32(0)
            for k in range(0, width, 32):
                row = rows[b, k : k + 32]
                if simd.smallest_key(row) < i32(-0x7F800000) or simd.largest_key(row) >= i32(0x7F800000):
                    return start + b
        for j in range(width):
            for b in range(part.size):
                total[b] += np.abs(rows[b, j])
        for b in range(part.size):
            part[b].d = half_bits(total[b] / f32(width))
            for i in range(width // 8):
                bits = u8(0)
                for k in range(8):
                    bits = u8(bits | u8(u8(rows[b, 8 * i + k] >= f32(0)) << u8(k)))
                part[b].qs[i] = bits
    return -1


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = f32(0)
        for k in range(4):
            simd.spread_signs(read_word(blocks[b].qs[4 * k :]), codes[b], 32 * k)


Q1_0 = Format(
    name="Q1_0",
    type_id=41,
    block_size=128,
    type_size=18,
    dtype=np.dtype([("d", "<f2"), ("qs", "u1", (16,))]),
    field_notes={"d": "scale", "qs": "signs, eight a byte"},
    codes=(-1, 1),
    quantize_blocks=_quantize,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q1_0_ref, dequantize_row_q1_0; ggml-common.h: block_q1_0",
)
