"""Q3_K."""

from __future__ import annotations

import numpy as np

from qviz._numba import f32, half_float, i8, i32, kernel, specialise, u8
from qviz.formats._kquant import TILE, encode_centred, join_pairs, without_imatrix
from qviz.formats.base import Format


@kernel
def _pack_scales(block, steps, lane):  # type: ignore[no-untyped-def]
    block.scales[:] = u8(0)
    for j in range(16):
        step = i32(steps[j * TILE + lane])
        block.scales[j % 8] |= u8((step & 15) << (4 * (j // 8)))
        block.scales[8 + j % 4] |= u8((step >> 4) << (2 * (j // 4)))


@kernel
def _scale(block, j):  # type: ignore[no-untyped-def]
    low = (block.scales[j % 8] >> u8(4 * (j // 8))) & u8(15)
    high = (block.scales[8 + j % 4] >> u8(2 * (j // 4))) & u8(3)
    return half_float(block.d) * (f32(u8(low | (high << u8(4)))) - f32(32))


@kernel
def _pack_codes(codes, block):  # type: ignore[no-untyped-def]
    join_pairs(codes, block)
    block.hmask[:] = u8(0)
    for k in range(8):
        for l in range(32):
            block.hmask[l] |= u8(((codes[32 * k + l] + 4) >> 2) << k)


@kernel
def _unpack(blocks, codes, scales, mins):  # type: ignore[no-untyped-def]
    for b in range(blocks.size):
        for j in range(16):
            scales[16 * b + j], mins[16 * b + j] = _scale(blocks[b], j), f32(0)
            half, shift, bit = 16 * (j % 2), u8(2 * (j % 8 // 2)), u8(j // 2)
            for l in range(codes.shape[1]):
                low = (blocks[b].qs[32 * (j // 8) + half + l] >> shift) & u8(3)
                high = (blocks[b].hmask[half + l] >> bit) & u8(1)
                codes[16 * b + j, l] = i8(low | (high << u8(2))) - i8(4)


_encode = specialise(
    encode_centred,
    "quantize_Q3_K",
    _WIDTH=16,
    _TOP=f32(4),
    _REFINES=True,
    _BLANKS=False,
    _SCALE_TOP=f32(32),
    _SCALE_OFFSET=f32(32),
    _SCALE_LEAST=f32(1e-45),
    _pack_scales=_pack_scales,
    _scale=_scale,
    _pack_codes=_pack_codes,
)


Q3_K = Format(
    name="Q3_K",
    type_id=11,
    block_size=256,
    type_size=110,
    dtype=np.dtype([("hmask", "u1", (32,)), ("qs", "u1", (64,)), ("scales", "u1", (12,)), ("d", "<f2")]),
    field_notes={
        "hmask": "third bits of the codes, eight a byte",
        "qs": "low two bits of the codes, four a byte",
        "scales": "16 scales + 32, 6 bits each",
        "d": "factor of the scales",
    },
    sub_block_size=16,
    codes=(-4, 3),
    quantize_blocks=without_imatrix(_encode),
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q3_K_ref, dequantize_row_q3_K; ggml-common.h: block_q3_K",
)
