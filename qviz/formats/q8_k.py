"""Q8_K: 256 weights, one float32 scale, 8-bit codes and their sums: 292 bytes, 9.125 bits per weight.

Not a format of files: ggml rounds *activations* to it, right before multiplying them with weights in a K-quant. The
sums of every sixteen codes stand ready for the minimums of those weights, as in Q8_1. Decoding ignores them. It can
be read here, not written.

Bytes::

    d      float32    scale
    qs     256 × i8   codes
    bsums  16 × i16   sums of codes 0 … 15, 16 … 31, and so on

Examples
--------
>>> from qviz.formats import QTensor
>>> raw = np.float32(0.25).tobytes() + bytes([4, 255]) * 128 + bytes(32)  # 255 is −1 as an int8
>>> QTensor.from_bytes("Q8_K", raw, (256,)).dequantize()[:3].tolist()
[1.0, -0.25, 1.0]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, i8, kernel, simd, u8
from qviz.formats.base import Format


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = blocks[b].d
        mins[b] = f32(0)
        for k in range(0, blocks[b].qs.size, 32):
            simd.take_bits(blocks[b].qs, k, u8(0), u8(255), i8(0), codes[b], k)


Q8_K = Format(
    name="Q8_K",
    type_id=15,
    block_size=256,
    type_size=292,
    dtype=np.dtype([("d", "<f4"), ("qs", "i1", (256,)), ("bsums", "<i2", (16,))]),
    field_notes={"d": "scale", "qs": "codes, one a byte", "bsums": "sums of sixteen codes, unused here"},
    codes=(-128, 127),
    unpack_blocks=_unpack,
    source="ggml-quants.c: dequantize_row_q8_K; ggml-common.h: block_q8_K",
)
