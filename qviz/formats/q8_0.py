"""Q8_0: 32 weights, one float16 scale, 8-bit codes: 34 bytes, 8.5 bits per weight.

Symmetric: d = max|x| / 127, codes −127 … 127, so code −128 is never written. Rounding is half away from zero
(C's ``roundf``), unlike Python's ``round``.

Bytes::

    d   float16   scale
    qs  32 × i8   code of each weight

Examples
--------
>>> from qviz.formats import quantize
>>> t = quantize(np.r_[127, 1.5, -1.5, np.zeros(29)], "Q8_0")
>>> float(t.blocks["d"][0]), t.blocks["qs"][0, :3].tolist()  # 1.5 rounds to 2, away from zero
(1.0, [127, 2, -2])
"""

from __future__ import annotations

import numpy as np

from qviz._numba import bits_float, f32, half_bits, half_float, i8, i32, kernel
from qviz.formats._blocks32 import INF_BITS, largest_magnitude_bits
from qviz.formats.base import Format

# 0.5 would round 0.49999997 up: adding it is not exact. The float just below 0.5 gives roundf's result everywhere.
_ALMOST_HALF = np.float32(np.nextafter(np.float32(0.5), np.float32(0)))


@kernel
def _quantize(x, blocks):  # type: ignore[no-untyped-def]
    for b in range(blocks.size):
        row, qs = x[b], blocks[b].qs
        magnitude = largest_magnitude_bits(row)
        if magnitude >= INF_BITS:
            return b
        d = bits_float(magnitude) / f32(127)
        inverse = f32(1) / d if d != f32(0) else f32(0)
        blocks[b].d = half_bits(d)
        if np.isinf(inverse):  # d < 2^-128: C's cast of inf and NaN gives 0
            for j in range(row.size):
                qs[j] = i8(0)
            continue
        for j in range(row.size):
            v = row[j] * inverse
            qs[j] = i8(i32(v + np.copysign(_ALMOST_HALF, v)))
    return -1


@kernel
def _unpack(blocks, codes, scales, mins):  # type: ignore[no-untyped-def]
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = f32(0)
        qs = blocks[b].qs
        for j in range(codes.shape[1]):
            codes[b, j] = qs[j]


Q8_0 = Format(
    name="Q8_0",
    type_id=8,
    block_size=32,
    type_size=34,
    dtype=np.dtype(
        [
            ("d", "<f2"),  # scale
            ("qs", "i1", (32,)),  # codes
        ]
    ),
    codes=(-127, 127),
    quantize_blocks=_quantize,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q8_0_ref, dequantize_row_q8_0; ggml-common.h: block_q8_0",
)
