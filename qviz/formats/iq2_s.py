"""IQ2_S: 256 weights, groups of eight from a codebook of 1024: 82 bytes, 2.5625 bits per weight.

The codebook doubles once more, to ten bits an entry, and all eight signs of a group are stored, so that any
combination is possible. Scales are those of IQ2_XS: four bits for sixteen weights.

See `qviz.formats.iq.search` for how entries and scales are found; with an importance matrix they are far better.

Bytes::

    d       float16  scale of the scales
    qs      64 × u8  32 bytes: the low eight bits of each group's entry; then 32 bytes: its eight signs
    qh      8 × u8   the upper two bits of four entries, those of the first in the lowest
    scales  8 × u8   two a byte, the lower half first: one scale a sub-block of 16

    x = d · (scale + 0.5) / 4 · sign · level

Examples
--------
Entry 1 is 43 and seven times 8. With d = 4, all scales 0 (half a step), and the second sign of each group negative:

>>> from qviz.formats import QTensor
>>> raw = np.float16(4).tobytes() + bytes([1] * 32) + bytes([0b10] * 32) + bytes(8) + bytes(8)
>>> QTensor.from_bytes("IQ2_S", raw, (256,)).dequantize()[:8].tolist()
[21.5, -4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_float, kernel, u8, u16
from qviz.formats.base import Format
from qviz.formats.iq.codebooks import IQ2_S_GRID, place
from qviz.formats.iq.encode import Encoder, put_steps, weigh_with_mean
from qviz.formats.iq.search import OFF_AGAIN


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        block = blocks[b]
        d = half_float(block.d)
        for s in range(16):
            k = 16 * b + s
            scale = u8(block.scales[s // 2] >> u8(4 * (s % 2))) & u8(15)
            scales[k] = d * (f32(0.5) + f32(scale)) * f32(0.25)
            mins[k] = f32(0)
            for group in range(2):
                g = 2 * s + group
                upper = u8(block.qh[g // 4] >> u8(2 * (g % 4))) & u8(3)
                index = u16(u16(block.qs[g]) | u16(u16(upper) << u16(8)))
                place(IQ2_S_GRID, index, block.qs[32 + g], codes[k], 8 * group)


@kernel
def _put(block, steps, entries, signs, empty):
    block.qh[:] = u8(0)
    for k in range(32):
        block.qs[k], block.qs[32 + k] = u8(entries[k]), signs[k]
        block.qh[k // 4] |= u8(u8(entries[k] >> u16(8)) << u8(2 * (k % 4)))
    put_steps(steps, block.scales)


_encoder = Encoder(
    "IQ2_S",
    _put,
    width=16,
    group=8,
    span=9,
    step=0.1,
    again=OFF_AGAIN,
    even=False,
    mean_factor=2,
    least=1e-8,
    fudge=0.9875,
    blanks=False,
    weigh=weigh_with_mean,
)


IQ2_S = Format(
    name="IQ2_S",
    type_id=22,
    block_size=256,
    sub_block_size=16,
    type_size=82,
    dtype=np.dtype([("d", "<f2"), ("qs", "u1", (64,)), ("qh", "u1", (8,)), ("scales", "u1", (8,))]),
    field_notes={
        "d": "scale of the scales",
        "qs": "low bits of codebook entries, then signs",
        "qh": "upper bits of codebook entries",
        "scales": "scales, two a byte",
    },
    codes=(-43, 43),
    quantize_blocks=_encoder.blocks,
    quantize_weighted=_encoder.weighted,
    unpack_blocks=_unpack,
    lattice=_encoder,
    source="ggml-quants.c: quantize_row_iq2_s_impl, dequantize_row_iq2_s; ggml-common.h: block_iq2_s, iq2s_grid",
)
