"""F32: IEEE 754 single precision, 4 bytes a weight. What models are trained and compared in; kept as it is.

Bytes::

    x  float32   1 sign, 8 exponent, 23 fraction bits

Examples
--------
>>> from qviz.formats import quantize
>>> quantize([1.0, -2.0], "F32").tobytes().hex()
'0000803f000000c0'
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import kernel
from qviz.formats.base import Format


@kernel
def _quantize(x, blocks):
    for b in range(blocks.size):
        blocks[b].x = x[b]
    return -1


@kernel
def _dequantize(blocks, out):
    for b in range(blocks.size):
        out[b] = blocks[b].x


F32 = Format(
    name="F32",
    type_id=0,
    block_size=1,
    type_size=4,
    dtype=np.dtype([("x", "<f4")]),
    field_notes={"x": "the weight"},
    quantize_blocks=_quantize,
    dequantize_blocks=_dequantize,
    source="IEEE 754 binary32",
)
