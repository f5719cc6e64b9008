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

from qviz._machine.kernels import f32, half_bits, half_float, kernel, simd
from qviz.formats._blocks32 import AT_ONCE, extremes, reciprocal
from qviz.formats.base import Format


@kernel
def _quantize(x, blocks):
    extreme, inverse, half = np.empty(AT_ONCE, np.float32), np.empty(AT_ONCE, np.float32), np.empty(AT_ONCE, np.uint16)
    for start in range(0, blocks.size, AT_ONCE):
        rows, part = x[start : start + AT_ONCE], blocks[start : start + AT_ONCE]
        # range
        bad = extremes(rows, extreme)
        if bad >= 0:
            return start + bad
        # scale
        for b in range(part.size):
            d = np.abs(extreme[b]) / f32(127)
            inverse[b] = reciprocal(d)
            half[b] = half_bits(d)
        # codes
        for b in range(part.size):
            part[b].d = half[b]
            simd.rounded_codes(rows[b], inverse[b], part[b].qs)
    return -1


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = f32(0)
        simd.copy32(blocks[b].qs, codes[b])


Q8_0 = Format(
    name="Q8_0",
    type_id=8,
    block_size=32,
    type_size=34,
    dtype=np.dtype([("d", "<f2"), ("qs", "i1", (32,))]),
    field_notes={"d": "scale", "qs": "codes"},
    codes=(-127, 127),
    quantize_blocks=_quantize,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q8_0_ref, dequantize_row_q8_0; ggml-common.h: block_q8_0",
)
