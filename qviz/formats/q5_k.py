"""Q5_K."""

from __future__ import annotations

import numpy as np

from qviz._numba import f32, i8, kernel, simd, specialise, u8
from qviz.formats._kquant import (
    encode_with_min,
    put_nibbles,
    put_sixes,
    take_nibbles,
    take_sixes,
    weigh_by_size,
    without_imatrix,
)
from qviz.formats.base import Format


@kernel
def _put_codes(codes, block):  # type: ignore[no-untyped-def]
    block.qs[:], block.qh[:] = u8(0), u8(0)
    put_nibbles(codes, block.qs)
    for k in range(8):
        simd.put_bits(codes, 32 * k, u8(4), u8(1), u8(k), block.qh, 0)


@kernel
def _unpack(blocks, codes, scales, mins):  # type: ignore[no-untyped-def]
    for b in range(blocks.size):
        take_sixes(blocks[b], scales, mins, 8 * b)
        take_nibbles(blocks[b].qs, codes, 256 * b)
        for k in range(8):
            simd.add_bits(blocks[b].qh, 0, u8(k), u8(1), u8(4), i8(0), codes, 256 * b + 32 * k)


_encode = specialise(
    encode_with_min,
    "quantize_Q5_K",
    _WIDTH=32,
    _TOP=f32(31),
    _FIRST=f32(-0.5),
    _STEP=f32(0.1),
    _STEPS=15,
    _ABSOLUTE=False,
    _SCALE_TOP=f32(63),
    _SCALE_LIMIT=f32(63),
    _WEIGHTED_LIMIT=f32(63),
    _weigh=weigh_by_size,
    _put_scales=put_sixes,
    _take_scales=take_sixes,
    _put_codes=_put_codes,
)


Q5_K = Format(
    name="Q5_K",
    type_id=13,
    block_size=256,
    type_size=176,
    dtype=np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", (12,)), ("qh", "u1", (32,)), ("qs", "u1", (128,))]),
    field_notes={
        "d": "factor of the scales",
        "dmin": "factor of the minimums",
        "scales": "8 scales and 8 minimums, 6 bits each",
        "qh": "fifth bits of the codes, eight a byte",
        "qs": "low four bits of the codes, two a byte",
    },
    sub_block_size=32,
    codes=(0, 31),
    quantize_blocks=without_imatrix(_encode),
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q5_K_ref, dequantize_row_q5_K; ggml-common.h: block_q5_K",
)
