"""Q4_K."""

from __future__ import annotations

import numpy as np

from qviz._numba import f32, kernel, specialise, u8
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
    block.qs[:] = u8(0)
    put_nibbles(codes, block.qs)


@kernel
def _unpack(blocks, codes, scales, mins):  # type: ignore[no-untyped-def]
    for b in range(blocks.size):
        take_sixes(blocks[b], scales, mins, 8 * b)
        take_nibbles(blocks[b].qs, codes, 256 * b)


_encode = specialise(
    encode_with_min,
    "quantize_Q4_K",
    _WIDTH=32,
    _TOP=f32(15),
    _FIRST=f32(-1),
    _STEP=f32(0.1),
    _STEPS=20,
    _ABSOLUTE=False,
    _SCALE_TOP=f32(63),
    _SCALE_LIMIT=f32(63),
    _weigh=weigh_by_size,
    _put_scales=put_sixes,
    _take_scales=take_sixes,
    _put_codes=_put_codes,
)


Q4_K = Format(
    name="Q4_K",
    type_id=12,
    block_size=256,
    type_size=144,
    dtype=np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", (12,)), ("qs", "u1", (128,))]),
    field_notes={
        "d": "factor of the scales",
        "dmin": "factor of the minimums",
        "scales": "8 scales and 8 minimums, 6 bits each",
        "qs": "codes, two a byte",
    },
    sub_block_size=32,
    codes=(0, 15),
    quantize_blocks=without_imatrix(_encode),
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q4_K_ref, dequantize_row_q4_K; ggml-common.h: block_q4_K",
)
