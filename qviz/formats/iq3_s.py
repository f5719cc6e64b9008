"""IQ3_S: 256 weights, groups of four from a codebook of 512: 110 bytes, 3.4375 bits per weight.

Nine bits choose the magnitudes of four weights among the odd numbers 1 … 15, and every weight has a sign bit of its
own. Each 32 weights share a 4-bit scale, which counts in odd steps: 1, 3, … 31.

See `qviz.formats.iq.search` for how entries and scales are found.

ggml's encoder has a flaw, which is kept here, since files have to be the same byte for byte: a sub-block of zeros takes
no place among entries and signs, so those of all later sub-blocks of its super-block stand where another's belong.
Weights that were pruned in whole groups are better off in another format.

Bytes::

    d       float16  scale of the scales
    qs      64 × u8  low eight bits of the entry for each four weights
    qh      8 × u8   their ninth bits, eight a byte
    signs   32 × u8  a bit for each weight
    scales  4 × u8   two a byte, the lower half first: one scale a sub-block of 32

    x = d · (2 · scale + 1) · sign · level

Examples
--------
Entry 1 is 3 1 1 1, entry 0 is 1 1 1 1. With d = 0.5, all scales 1 (three steps) and the second sign of each eight
negative:

>>> from qviz.formats import QTensor
>>> raw = np.float16(0.5).tobytes() + bytes([1, 0] * 32) + bytes(8) + bytes([0b10] * 32) + bytes([0x11] * 4)
>>> QTensor.from_bytes("IQ3_S", raw, (256,)).dequantize()[:8].tolist()
[4.5, -1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_float, kernel, u8, u16
from qviz.formats.base import Format
from qviz.formats.iq.codebooks import IQ3_S_GRID, place
from qviz.formats.iq.encode import Encoder, put_steps
from qviz.formats.iq.search import ALL_IF_OFF_AGAIN


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        block = blocks[b]
        d = half_float(block.d)
        for s in range(8):
            k = 8 * b + s
            scale = u8(block.scales[s // 2] >> u8(4 * (s % 2))) & u8(15)
            scales[k] = d * (f32(1) + f32(2) * f32(scale))
            mins[k] = f32(0)
            for half in range(8):
                ninth = u8(block.qh[s] >> u8(half)) & u8(1)
                index = u16(u16(block.qs[8 * s + half]) | u16(u16(ninth) << u16(8)))
                signs = u8(block.signs[4 * s + half // 2] >> u8(4 * (half % 2)))
                place(IQ3_S_GRID, index, signs, codes[k], 4 * half)


@kernel
def _put(block, steps, entries, signs, empty):
    block.qs[:], block.qh[:], block.signs[:] = u8(0), u8(0), u8(0)
    at = 0  # ggml does not count a sub-block of zeros: codes and signs of all later ones stand one place early
    for s in range(8):
        for k in range(8):
            block.qh[s] |= u8(u8(entries[8 * s + k] >> u16(8)) << u8(k))
        if empty[s] == f32(0):
            for k in range(8):
                block.qs[8 * at + k] = u8(entries[8 * s + k])
            for k in range(4):
                block.signs[4 * at + k] = signs[4 * s + k]
            at += 1
    put_steps(steps, block.scales)


_encoder = Encoder(
    "IQ3_S",
    _put,
    width=32,
    group=4,
    span=9,
    step=0.2,
    again=ALL_IF_OFF_AGAIN,
    even=False,
    mean_factor=2,
    least=1e-45,
    fudge=1.033,
    blanks=False,
)


IQ3_S = Format(
    name="IQ3_S",
    type_id=21,
    block_size=256,
    sub_block_size=32,
    type_size=110,
    dtype=np.dtype(
        [("d", "<f2"), ("qs", "u1", (64,)), ("qh", "u1", (8,)), ("signs", "u1", (32,)), ("scales", "u1", (4,))]
    ),
    field_notes={
        "d": "scale of the scales",
        "qs": "low bits of codebook entries",
        "qh": "ninth bits of codebook entries",
        "signs": "signs, eight a byte",
        "scales": "scales, two a byte",
    },
    codes=(-15, 15),
    quantize_blocks=_encoder.blocks,
    quantize_weighted=_encoder.weighted,
    unpack_blocks=_unpack,
    lattice=_encoder,
    source="ggml-quants.c: quantize_row_iq3_s_impl, dequantize_row_iq3_s; ggml-common.h: block_iq3_s, iq3s_grid",
)
