"""IQ2_XS: 256 weights, groups of eight from a codebook of 512: 74 bytes, 2.3125 bits per weight.

IQ2_XXS with a codebook twice as large and scales twice as dense, one 4-bit scale for sixteen weights. A group of
eight is one 16-bit word: nine bits choose the entry, seven give the signs, and the eighth sign follows from them.

Writing it needs an importance matrix. See `qviz.formats.iq.search` for how entries and scales are found.

Bytes::

    d       float16   scale of the scales
    qs      32 × u16  a group each: entry in the low nine bits, seven sign bits above
    scales  8 × u8    two a byte, the lower half first: one scale a sub-block of 16

    x = d · (scale + 0.5) / 4 · sign · level

Examples
--------
Entry 1 is 43 and seven times 8. With d = 4, all scales 0 (half a step), and one negative sign, to which the eighth
is added:

>>> from qviz.formats import QTensor
>>> raw = np.float16(4).tobytes() + np.uint16([1 | 0b0000010 << 9] * 32).tobytes() + bytes(8)
>>> QTensor.from_bytes("IQ2_XS", raw, (256,)).dequantize()[:8].tolist()
[21.5, -4.0, 4.0, 4.0, 4.0, 4.0, 4.0, -4.0]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_float, kernel, u8, u16
from qviz.formats.base import Format
from qviz.formats.iq.codebooks import EIGHTH, IQ2_XS_GRID, place
from qviz.formats.iq.encode import Encoder, put_steps
from qviz.formats.iq.search import OFF_AGAIN


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        d, qs = half_float(blocks[b].d), blocks[b].qs
        for s in range(16):
            k = 16 * b + s
            scale = u8(blocks[b].scales[s // 2] >> u8(4 * (s % 2))) & u8(15)
            scales[k] = d * (f32(0.5) + f32(scale)) * f32(0.25)
            mins[k] = f32(0)
            for group in range(2):
                word = qs[2 * s + group]
                place(IQ2_XS_GRID, u16(word & u16(511)), EIGHTH[u16(word >> u16(9))], codes[k], 8 * group)


@kernel
def _put(block, steps, entries, signs, empty):
    for k in range(32):
        block.qs[k] = u16(entries[k] | u16(u16(signs[k]) << u16(9)))
    put_steps(steps, block.scales)


_encoder = Encoder(
    "IQ2_XS",
    _put,
    width=16,
    group=8,
    span=9,
    step=0.1,
    again=OFF_AGAIN,
    even=True,
    mean_factor=1,
    least=1e-15,
    fudge=1,
    blanks=True,
)


IQ2_XS = Format(
    name="IQ2_XS",
    type_id=17,
    block_size=256,
    sub_block_size=16,
    type_size=74,
    dtype=np.dtype([("d", "<f2"), ("qs", "<u2", (32,)), ("scales", "u1", (8,))]),
    field_notes={"d": "scale of the scales", "qs": "codebook entries and signs", "scales": "scales, two a byte"},
    codes=(-43, 43),
    quantize_weighted=_encoder.weighted,
    unpack_blocks=_unpack,
    lattice=_encoder,
    source="ggml-quants.c: quantize_row_iq2_xs_impl, dequantize_row_iq2_xs; "
    "ggml-common.h: block_iq2_xs, iq2xs_grid, ksigns_iq2xs",
)
