"""Q2_K."""

from __future__ import annotations

import numpy as np

from qviz._numba import f32, half_float, i8, i32, kernel, specialise, u8
from qviz.formats._kquant import TILE, encode_with_min, join_pairs, weigh_by_magnitude, without_imatrix
from qviz.formats.base import Format


@kernel
def _pack_scales(block, scale_steps, min_steps, lane):  # type: ignore[no-untyped-def]
    for j in range(16):
        at = j * TILE + lane
        block.scales[j] = u8(i32(scale_steps[at]) | (i32(min_steps[at]) << 4))


@kernel
def _scale_and_min(block, j):  # type: ignore[no-untyped-def]
    both = block.scales[j]
    return half_float(block.d) * f32(both & u8(15)), half_float(block.dmin) * f32(both >> u8(4))


@kernel
def _unpack(blocks, codes, scales, mins):  # type: ignore[no-untyped-def]
    for b in range(blocks.size):
        for j in range(16):
            scales[16 * b + j], mins[16 * b + j] = _scale_and_min(blocks[b], j)
            qs, shift = 32 * (j // 8) + 16 * (j % 2), u8(2 * (j % 8 // 2))
            for l in range(codes.shape[1]):
                codes[16 * b + j, l] = i8((blocks[b].qs[qs + l] >> shift) & u8(3))


_encode = specialise(
    encode_with_min,
    "quantize_Q2_K",
    _WIDTH=16,
    _TOP=f32(3),
    _FIRST=f32(-0.5),
    _STEP=f32(0.1),
    _STEPS=15,
    _ABSOLUTE=True,
    _SCALE_TOP=f32(15),
    _SCALE_LIMIT=f32(255),
    _MEAN_FACTOR=f32(1),
    _weigh=weigh_by_magnitude,
    _pack_scales=_pack_scales,
    _scale_and_min=_scale_and_min,
    _pack_codes=join_pairs,
)


Q2_K = Format(
    name="Q2_K",
    type_id=10,
    block_size=256,
    type_size=84,
    dtype=np.dtype([("scales", "u1", (16,)), ("qs", "u1", (64,)), ("d", "<f2"), ("dmin", "<f2")]),
    field_notes={
        "scales": "16 scales and 16 minimums, 4 bits each",
        "qs": "codes, four a byte",
        "d": "factor of the scales",
        "dmin": "factor of the minimums",
    },
    sub_block_size=16,
    codes=(0, 3),
    quantize_blocks=without_imatrix(_encode),
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q2_K_ref, dequantize_row_q2_K; ggml-common.h: block_q2_K",
)
