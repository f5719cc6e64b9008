"""IQ2_XXS: 256 weights, groups of eight from a codebook of 256: 66 bytes, 2.0625 bits per weight.

Thirty-two weights cost eight bytes: four 8-bit entries of the codebook, four times seven sign bits, and a 4-bit
scale fill them exactly. The eighth sign of a group follows from the other seven, since an even number of signs is
negative.

Writing it needs an importance matrix. See `qviz.formats.iq.search` for how entries and scales are found.

Bytes::

    d   float16   scale of the scales
    qs  32 × u16  four words a sub-block of 32: the first two hold four entry numbers, a byte each;
                  the last two, as one 32-bit word, seven sign bits a group, and above them the scale

    x = d · (scale + 0.5) / 4 · sign · level

Examples
--------
Entry 1 is 43 and seven times 8. With d = 4, scale 0 (half a step), and the sign bits 0000001 of the first group, whose
eighth sign must then be negative too:

>>> from qviz.formats import QTensor
>>> raw = np.float16(4).tobytes() + bytes([1, 0, 0, 0, 0b0000001, 0, 0, 0]) * 8
>>> QTensor.from_bytes("IQ2_XXS", raw, (256,)).dequantize()[:8].tolist()
[-21.5, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, -4.0]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_float, kernel, u16, u32
from qviz.formats.base import Format
from qviz.formats.iq.codebooks import EIGHTH, IQ2_XXS_GRID, place
from qviz.formats.iq.encode import Encoder, begin_fitted
from qviz.formats.iq.search import ALL_AGAIN


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        d, qs = half_float(blocks[b].d), blocks[b].qs
        for s in range(8):
            word = u32(u32(qs[4 * s + 2]) | u32(u32(qs[4 * s + 3]) << u32(16)))
            k = 8 * b + s
            scales[k] = d * (f32(0.5) + f32(u32(word >> u32(28)))) * f32(0.25)
            mins[k] = f32(0)
            for group in range(4):
                index = u16(qs[4 * s + group // 2] >> u16(8 * (group % 2))) & u16(255)
                signs = EIGHTH[u32(word >> u32(7 * group)) & u32(127)]
                place(IQ2_XXS_GRID, index, signs, codes[k], 8 * group)


@kernel
def _put(block, steps, entries, signs, empty):
    for s in range(8):
        word = u32(u32(steps[s]) << u32(28))
        for group in range(4):
            word = u32(word | u32(u32(signs[4 * s + group]) << u32(7 * group)))
        for half in range(2):
            first = 4 * s + 2 * half
            block.qs[first // 2 + 2 * s] = u16(entries[first] | u16(entries[first + 1] << u16(8)))
            block.qs[4 * s + 2 + half] = u16(u32(word >> u32(16 * half)))


_encoder = Encoder(
    "IQ2_XXS",
    _put,
    width=32,
    group=8,
    span=6,
    step=0.1,
    again=ALL_AGAIN,
    even=True,
    mean_factor=1,
    least=1e-15,
    fudge=1,
    blanks=True,
    begin=begin_fitted,
)


IQ2_XXS = Format(
    name="IQ2_XXS",
    type_id=16,
    block_size=256,
    sub_block_size=32,
    type_size=66,
    dtype=np.dtype([("d", "<f2"), ("qs", "<u2", (32,))]),
    field_notes={"d": "scale of the scales", "qs": "codebook entries, signs, scales"},
    codes=(-43, 43),
    quantize_weighted=_encoder.weighted,
    unpack_blocks=_unpack,
    lattice=_encoder,
    source="ggml-quants.c: quantize_row_iq2_xxs_impl, dequantize_row_iq2_xxs; "
    "ggml-common.h: block_iq2_xxs, iq2xxs_grid, ksigns_iq2xs",
)
