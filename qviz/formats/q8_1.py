"""Q8_1: Q8_0 and the sum of its weights: 36 bytes for 32 weights, 9 bits per weight.

Not a format of files: ggml rounds *activations* to it, right before multiplying them with weights in Q4_1 or Q5_1.
Those have a minimum, and ``Σ (d·q + m)·y = d·Σ q·y + m·Σ y`` needs the sum of the activations: here it stands ready.
Decoding ignores it. It can be read here, not written.

Bytes::

    d   float16   scale
    s   float16   d times the sum of the codes
    qs  32 × i8   codes

Examples
--------
>>> from qviz.formats import QTensor
>>> t = QTensor.from_bytes("Q8_1", bytes([0x00, 0x38, 0, 0]) + bytes(range(32)), (32,))  # d = 0.5
>>> t.dequantize()[:4].tolist()
[0.0, 0.5, 1.0, 1.5]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_float, kernel, simd
from qviz.formats.base import Format


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = f32(0)
        simd.copy32(blocks[b].qs, codes[b])


Q8_1 = Format(
    name="Q8_1",
    type_id=9,
    block_size=32,
    type_size=36,
    dtype=np.dtype([("d", "<f2"), ("s", "<f2"), ("qs", "i1", (32,))]),
    field_notes={"d": "scale", "s": "scale × sum of codes, unused here", "qs": "codes, one a byte"},
    codes=(-128, 127),
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q8_1_ref; ggml-common.h: block_q8_1",
)
