"""F16: IEEE 754 half precision, 2 bytes a weight: 11 significant bits, magnitudes 6e-8 … 65504.

Rounded to nearest, ties to even. Beyond 65504 a weight becomes infinity, which is why trained weights in BF16 are
not always safe to store as F16.

Bytes::

    x  float16   1 sign, 5 exponent, 10 fraction bits

Examples
--------
>>> from qviz.formats import quantize
>>> quantize([0.1, 65504, 65520], "F16").dequantize().tolist()
[0.0999755859375, 65504.0, inf]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import half_bits, half_float, kernel
from qviz.formats.base import Format


@kernel
def _quantize(x, blocks):
    for b in range(blocks.size):
        blocks[b].x = half_bits(x[b])
    return -1


@kernel
def _dequantize(blocks, out):
    for b in range(blocks.size):
        out[b] = half_float(blocks[b].x)


F16 = Format(
    name="F16",
    type_id=1,
    block_size=1,
    type_size=2,
    dtype=np.dtype([("x", "<f2")]),
    field_notes={"x": "the weight"},
    quantize_blocks=_quantize,
    dequantize_blocks=_dequantize,
    source="IEEE 754 binary16; NaN as GGML_FP32_TO_FP16 in ggml-impl.h",
)
