"""IQ4_XS: a super-block of 256 weights in eight sub-blocks, codes into IQ4_NL's table: 136 bytes, 4.25 bits per weight.

What Q4_K is to Q4_0, this is to IQ4_NL: one float16 serves 256 weights, and each sub-block of 32 has a 6-bit integer
scale of its own, −32 … 31, stored + 32. So a sub-block spends eight bits on its scale in place of sixteen: six of its
own and an eighth of the float16.

The scale of each sub-block is searched as IQ4_NL does. The sub-block with the largest then gets −32, which may turn
the sign of d, and the others are rounded to multiples of d. Codes are chosen for the rounded scale, but before d
itself becomes a float16.

Bytes::

    d         float16   scale of the scales, may be negative
    scales_h  u16       bits 2s and 2s + 1: the upper two bits of sub-block s's scale
    scales_l  4 × u8    the lower four: sub-blocks 2k and 2k + 1 in the low and the high half of scales_l[k]
    qs        128 × u8  sixteen bytes a sub-block, as in IQ4_NL

Examples
--------
Every sub-block holds the levels −127 (code 0) and 13 (code 9), times 32, so each has the scale 32. The first of the
largest scales is stored as −32: d = 32 / −32 = −1.

>>> from qviz.formats import quantize
>>> t = quantize(np.tile(np.float32([-127 * 32, 13 * 32]), 128), "IQ4_XS")
>>> float(t.blocks["d"][0]), t.unpack().scales[:2].tolist(), t.unpack().codes[:2].tolist()
(-1.0, [32.0, 32.0], [0, 9])
>>> hex(t.blocks["scales_h"][0]), t.blocks["scales_l"][0].tolist()  # −32 + 32 = 0
('0x0', [0, 0, 0, 0])
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_bits, half_float, i8, i32, kernel, simd, u8, u16
from qviz.formats._blocks32 import load_blocks, store_codes
from qviz.formats.base import Format
from qviz.formats.iq4_nl import TABLE, nearest_codes, reciprocals, search_scales, weigh
from qviz.formats.kquant.search import nearest_whole
from qviz.formats.kquant.tiles import NOTHING, room

_SUB_BLOCKS = 8


@kernel
def _encode(x, imatrix, blocks):
    lanes = simd.LANES
    rows = x.reshape(blocks.size * _SUB_BLOCKS, 32)
    xs, ws, importances, found = room(32 * lanes), room(32 * lanes), room(32 * lanes), room(32 * lanes)
    scales, inverses, means, sums = room(lanes), room(lanes), room(lanes), room(lanes)
    codes = np.empty((lanes, 32), np.uint8)
    together = lanes // _SUB_BLOCKS
    for start in range(0, blocks.size, together):
        part = blocks[start : start + together]
        first, n = start * _SUB_BLOCKS, part.size * _SUB_BLOCKS
        bad = load_blocks(rows, first, n, xs)
        if bad >= 0:
            return start + bad // _SUB_BLOCKS
        if imatrix.size:
            for b in range(part.size):
                means[b * _SUB_BLOCKS : (b + 1) * _SUB_BLOCKS] = _twice_mean_square(rows, first + b * _SUB_BLOCKS)
        weigh(xs, imatrix, first, n, means, importances, ws, sums)
        search_scales(xs, ws, scales)
        for b in range(part.size):
            _share(scales[b * _SUB_BLOCKS : (b + 1) * _SUB_BLOCKS], part[b])
        reciprocals(scales, inverses)
        nearest_codes(xs, inverses, found)
        store_codes(found, f32(0), codes)
        for k in range(n):
            simd.join_nibbles(codes[k], part[k // _SUB_BLOCKS].qs[16 * (k % _SUB_BLOCKS) :])
    return -1


@kernel
def _twice_mean_square(rows, first):
    """Twice the mean square of the super-block that starts with sub-block `first`."""
    total = f32(0)
    for k in range(first, first + _SUB_BLOCKS):
        for j in range(rows.shape[1]):
            total += rows[k, j] * rows[k, j]
    return total * f32(2 / 256)


@kernel
def _share(scales, block):
    """Store the scales of a super-block as multiples of one, and round `scales` to those, before d is a float16."""
    largest, extreme = f32(0), f32(0)
    for s in range(_SUB_BLOCKS):
        if np.abs(scales[s]) > largest:
            largest, extreme = np.abs(scales[s]), scales[s]
    d = -extreme / f32(32)
    inverse = f32(0) if d == f32(0) else f32(1) / d
    block.d = half_bits(d)
    high = u16(0)
    for k in range(_SUB_BLOCKS // 2):
        low = u8(0)
        for half in range(2):
            s = 2 * k + half
            multiple = min(max(nearest_whole(inverse * scales[s]), i32(-32)), i32(31))
            scales[s] = d * f32(multiple)
            stored = u8(multiple + i32(32))
            low |= u8(u8(stored & u8(15)) << u8(4 * half))
            high |= u16(u16(stored >> u8(4)) << u16(2 * s))
        block.scales_l[k] = low
    block.scales_h = high


@kernel
def _quantize(x, blocks):
    return _encode(x, NOTHING, blocks)


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        block = blocks[b]
        d = half_float(block.d)
        for s in range(_SUB_BLOCKS):
            low = i32(block.scales_l[s // 2] >> u8(4 * (s % 2))) & i32(15)
            high = i32(block.scales_h >> u16(2 * s)) & i32(3)
            k = b * _SUB_BLOCKS + s
            scales[k] = d * f32(i32(low | i32(high << i32(4))) - i32(32))
            mins[k] = f32(0)
            simd.split_nibbles(block.qs[16 * s : 16 * s + 16], codes[k], i8(0))


IQ4_XS = Format(
    name="IQ4_XS",
    type_id=23,
    block_size=256,
    sub_block_size=32,
    type_size=136,
    dtype=np.dtype([("d", "<f2"), ("scales_h", "<u2"), ("scales_l", "u1", (4,)), ("qs", "u1", (128,))]),
    field_notes={
        "d": "scale of the scales",
        "scales_h": "upper two bits of each scale + 32",
        "scales_l": "lower four bits of each scale + 32",
        "qs": "codes, two a byte",
    },
    codes=(0, 15),
    table=TABLE,
    quantize_blocks=_quantize,
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_iq4_xs, dequantize_row_iq4_xs; ggml-common.h: block_iq4_xs, kvalues_iq4nl",
)
