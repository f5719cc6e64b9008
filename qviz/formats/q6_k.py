"""Q6_K."""

from __future__ import annotations

import numpy as np

from qviz._numba import f32, half_float, i8, kernel, specialise, u8
from qviz.formats._kquant import TILE, encode_centred, without_imatrix
from qviz.formats.base import Format


@kernel
def _pack_scales(block, steps, lane):  # type: ignore[no-untyped-def]
    for j in range(16):
        block.scales[j] = i8(steps[j * TILE + lane])


@kernel
def _scale(block, j):  # type: ignore[no-untyped-def]
    return half_float(block.d) * f32(block.scales[j])


@kernel
def _pack_codes(codes, block):  # type: ignore[no-untyped-def]
    for half in range(2):
        for l in range(32):
            at = 128 * half + l
            a, b, c, d = codes[at] + 32, codes[at + 32] + 32, codes[at + 64] + 32, codes[at + 96] + 32
            block.ql[64 * half + l] = u8((a & 15) | ((c & 15) << 4))
            block.ql[64 * half + 32 + l] = u8((b & 15) | ((d & 15) << 4))
            block.qh[32 * half + l] = u8((a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((d >> 4) << 6))


@kernel
def _unpack(blocks, codes, scales, mins):  # type: ignore[no-untyped-def]
    for b in range(blocks.size):
        for j in range(16):
            scales[16 * b + j], mins[16 * b + j] = _scale(blocks[b], j), f32(0)
            half, quarter, l0 = j // 8, j % 8 // 2, 16 * (j % 2)
            low_at, low_shift = 64 * half + 32 * (quarter % 2) + l0, u8(4 * (quarter // 2))
            high_at, high_shift = 32 * half + l0, u8(2 * quarter)
            for l in range(codes.shape[1]):
                low = (blocks[b].ql[low_at + l] >> low_shift) & u8(15)
                high = (blocks[b].qh[high_at + l] >> high_shift) & u8(3)
                codes[16 * b + j, l] = i8(low | (high << u8(4))) - i8(32)


_encode = specialise(
    encode_centred,
    "quantize_Q6_K",
    _WIDTH=16,
    _TOP=f32(32),
    _REFINES=False,
    _BLANKS=True,
    _SCALE_TOP=f32(128),
    _SCALE_OFFSET=f32(0),
    _SCALE_LEAST=f32(1e-15),
    _pack_scales=_pack_scales,
    _scale=_scale,
    _pack_codes=_pack_codes,
)


Q6_K = Format(
    name="Q6_K",
    type_id=14,
    block_size=256,
    type_size=210,
    dtype=np.dtype([("ql", "u1", (128,)), ("qh", "u1", (64,)), ("scales", "i1", (16,)), ("d", "<f2")]),
    field_notes={
        "ql": "low four bits of the codes + 32, two a byte",
        "qh": "upper two bits of the codes + 32, four a byte",
        "scales": "16 scales, 8 bits each",
        "d": "factor of the scales",
    },
    sub_block_size=16,
    codes=(-32, 31),
    quantize_blocks=without_imatrix(_encode),
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_q6_K_ref, dequantize_row_q6_K; ggml-common.h: block_q6_K",
)
