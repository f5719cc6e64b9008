"""BF16: the upper half of a float32, 2 bytes a weight: float32's range with 8 significant bits.

Rounded to nearest, ties to even; a NaN is made quiet, so that cutting its low bits cannot turn it into infinity.

Bytes::

    x  u16   the upper 16 bits of the float32: 1 sign, 8 exponent, 7 fraction bits

Examples
--------
>>> from qviz.formats import quantize
>>> quantize([0.1, 3e38], "BF16").dequantize().tolist()
[0.10009765625, 3.00405527047391e+38]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import bits_float, float_bits, kernel, u16, u32
from qviz.formats.base import Format


@kernel
def _quantize(x, blocks):
    for b in range(blocks.size):
        bits = float_bits(x[b])
        rounded = u32(u32(bits + u32(0x7FFF) + u32(u32(bits >> u32(16)) & u32(1))) >> u32(16))
        quiet = u32(u32(bits >> u32(16)) | u32(64))
        blocks[b].x = u16(quiet if u32(bits & u32(0x7FFFFFFF)) > u32(0x7F800000) else rounded)
    return -1


@kernel
def _dequantize(blocks, out):
    for b in range(blocks.size):
        out[b] = bits_float(u32(u32(blocks[b].x) << u32(16)))


BF16 = Format(
    name="BF16",
    type_id=30,
    block_size=1,
    type_size=2,
    dtype=np.dtype([("x", "<u2")]),
    field_notes={"x": "the upper half of the float32"},
    quantize_blocks=_quantize,
    dequantize_blocks=_dequantize,
    source="ggml-impl.h: ggml_compute_fp32_to_bf16",
)
