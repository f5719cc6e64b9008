"""Q3_K."""

from __future__ import annotations

import numpy as np

from qviz._numba import f32, half_float, i8, i32, kernel, simd, specialise, u8
from qviz.formats._kquant import TILE, encode_centred, put_pairs, take_pairs, without_imatrix
from qviz.formats.base import Format


@kernel
def _put_scales(block, steps, lane):  # type: ignore[no-untyped-def]
    block.scales[:] = u8(0)
    for j in range(16):
        step = i32(steps[j * TILE + lane])
        block.scales[j % 8] |= u8((step & 15) << (4 * (j // 8)))
        block.scales[8 + j % 4] |= u8((step >> 4) << (2 * (j // 4)))


@kernel
def _take_scales(block, scales, at):  # type: ignore[no-untyped-def]
    d = half_float(block.d)
    for j in range(16):
        low = (block.scales[j % 8] >> u8(4 * (j // 8))) & u8(15)
        high = (block.scales[8 + j % 4] >> u8(2 * (j // 4))) & u8(3)
        scales[at + j] = d * (f32(u8(low | (high << u8(4)))) - f32(32))


@kernel
def _put_codes(codes, block):  # type: ignore[no-untyped-def]
    block.qs[:], block.hmask[:] = u8(0), u8(0)
    put_pairs(codes, block.qs)
    for k in range(8):
        simd.put_bits(codes, 32 * k, u8(2), u8(1), u8(k), block.hmask, 0)


@kernel
def _unpack(blocks, codes, scales, mins):  # type: ignore[no-untyped-def]
    mins[:] = f32(0)
    for b in range(blocks.size):
        _take_scales(blocks[b], scales, 16 * b)
        take_pairs(blocks[b].qs, codes, 256 * b)
        for k in range(8):
            simd.add_bits(blocks[b].hmask, 0, u8(k), u8(1), u8(2), i8(4), codes, 256 * b + 32 * k)


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
    _put_scales=_put_scales,
    _take_scales=_take_scales,
    _put_codes=_put_codes,
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
