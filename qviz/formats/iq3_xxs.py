"""IQ3_XXS: 256 weights, groups of four from a codebook of 256: 98 bytes, 3.0625 bits per weight.

One byte chooses the magnitudes of four weights among eight levels 4 … 62. The signs of eight weights take seven
bits, the eighth following from them, and four such sevens share a 32-bit word with the 4-bit scale of those 32
weights, as in IQ2_XXS.

See `qviz.formats.iq.search` for how entries and scales are found; with an importance matrix they are far better.

Bytes::

    d   float16  scale of the scales
    qs  96 × u8  64 bytes: an entry for each four weights; then eight 32-bit words, one a sub-block of 32:
                 four times seven sign bits, and above them the scale

    x = d · (scale + 0.5) / 2 · sign · level

Examples
--------
Entry 1 is 20 4 4 4, entry 0 is 4 4 4 4. With d = 4, scale 0 (half a step) and one negative sign, to which the eighth
is added:

>>> from qviz.formats import QTensor
>>> raw = np.float16(4).tobytes() + bytes([1, 0] * 32) + bytes([0b0000010, 0, 0, 0] * 8)
>>> QTensor.from_bytes("IQ3_XXS", raw, (256,)).dequantize()[:8].tolist()
[20.0, -4.0, 4.0, 4.0, 4.0, 4.0, 4.0, -4.0]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_float, kernel, u8, u32
from qviz.formats._blocks32 import read_word, write_word
from qviz.formats.base import Format
from qviz.formats.iq.codebooks import EIGHTH, IQ3_XXS_GRID, place
from qviz.formats.iq.encode import Encoder
from qviz.formats.iq.search import OFF_AGAIN


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        d, qs = half_float(blocks[b].d), blocks[b].qs
        for s in range(8):
            word = read_word(qs[64 + 4 * s :])
            k = 8 * b + s
            scales[k] = d * (f32(0.5) + f32(u32(word >> u32(28)))) * f32(0.5)
            mins[k] = f32(0)
            for group in range(4):
                signs = EIGHTH[u32(word >> u32(7 * group)) & u32(127)]
                first = 8 * s + 2 * group
                place(IQ3_XXS_GRID, qs[first], signs, codes[k], 8 * group)
                place(IQ3_XXS_GRID, qs[first + 1], u8(signs >> u8(4)), codes[k], 8 * group + 4)


@kernel
def _put(block, steps, entries, signs, empty):
    for k in range(64):
        block.qs[k] = u8(entries[k])
    for s in range(8):
        word = u32(u32(steps[s]) << u32(28))
        for group in range(4):
            word = u32(word | u32(u32(signs[4 * s + group]) << u32(7 * group)))
        write_word(block.qs[64 + 4 * s :], word)


_encoder = Encoder(
    "IQ3_XXS",
    _put,
    width=32,
    group=4,
    span=15,
    step=0.2,
    again=OFF_AGAIN,
    even=True,
    mean_factor=2,
    least=1e-8,
    fudge=1.0125,
    blanks=True,
)


IQ3_XXS = Format(
    name="IQ3_XXS",
    type_id=18,
    block_size=256,
    sub_block_size=32,
    type_size=98,
    dtype=np.dtype([("d", "<f2"), ("qs", "u1", (96,))]),
    field_notes={"d": "scale of the scales", "qs": "codebook entries, then signs and scales"},
    codes=(-62, 62),
    quantize_blocks=_encoder.blocks,
    quantize_weighted=_encoder.weighted,
    unpack_blocks=_unpack,
    lattice=_encoder,
    source="ggml-quants.c: quantize_row_iq3_xxs_impl, dequantize_row_iq3_xxs; "
    "ggml-common.h: block_iq3_xxs, iq3xxs_grid, ksigns_iq2xs",
)
