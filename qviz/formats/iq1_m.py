"""IQ1_M: 256 weights, groups of eight from IQ1_S's codebook: 56 bytes, 1.75 bits per weight.

IQ1_S with a 3-bit scale for sixteen weights instead of thirty-two and a shift bit for every eight. There is no room
left for the float16, so its four hexadecimal digits hide in the four spare bits of four scale words.

See `qviz.formats.iq.ternary` for how levels and scales are found; without an importance matrix they are of little use.

Bytes::

    qs      32 × u8  low eight bits of each group's entry
    qh      16 × u8  for two groups each: the upper three bits of the first's entry and its shift (set: down),
                     then the same for the second
    scales  8 × u8   four 16-bit words: four 3-bit scales each, and in the upper four bits a digit of d,
                     the lowest digit in the first word

    x = d · (2 · scale + 1) · (level ± 1/8)

Examples
--------
Entry 0 is −1 eight times. d = 8 is the float16 0x4800; all scales are 0, the first group is shifted up, the second
down:

>>> from qviz.formats import QTensor
>>> raw = bytes(32) + bytes([0b1000_0000] * 16) + np.uint16([0x0000, 0x0000, 0x8000, 0x4000]).tobytes()
>>> QTensor.from_bytes("IQ1_M", raw, (256,)).dequantize()[[0, 8]].tolist()
[-7.0, -9.0]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_bits, half_float, kernel, simd, u8, u16
from qviz.formats.base import Format
from qviz.formats.iq.ternary import SHIFT, TernaryEncoder, cut_halves, cut_halves_before
from qviz.formats.iq1_s import place_shifted
from qviz.formats.kquant.search import nearest_whole


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        block = blocks[b]
        half = u16(0)
        for k in range(4):
            half = u16(half | u16(u16(block.scales[2 * k + 1] >> u8(4)) << u16(4 * k)))
        d = half_float(half)
        for s in range(16):
            word = u16(u16(block.scales[s // 4 * 2]) | u16(u16(block.scales[s // 4 * 2 + 1]) << u16(8)))
            k = 16 * b + s
            scales[k] = d * (f32(2) * f32(u16(word >> u16(3 * (s % 4))) & u16(7)) + f32(1)) * f32(0.125)
            mins[k] = f32(0)
            for group in range(2):
                upper = u8(block.qh[s] >> u8(4 * group))
                index = u16(u16(block.qs[2 * s + group]) | u16(u16(upper & u8(7)) << u16(8)))
                place_shifted(index, (upper & u8(8)) != u8(0), codes[k], 8 * group)


@kernel
def _put(block, lane, scales, codes, down, entry, rows, row_ws):
    block.scales[:] = u8(0)
    largest = f32(0)
    for s in range(16):
        largest = largest if largest > scales[s] else scales[s]
        upper = u8(0)
        for group in range(2):
            number = entry[int(codes[simd.LANES * group + s])]
            block.qs[2 * s + group] = u8(number)
            upper |= u8(u8(number >> u16(8)) << u8(4 * group))
        block.qh[s] = upper
    if largest == f32(0):
        return
    d = largest / f32(15)
    inverse, sum_qx, sum_qq = f32(1) / d, f32(0), f32(0)
    for s in range(16):
        step = min(max(nearest_whole(f32(0.5) * (inverse * scales[s] - f32(1))), 0), 7)
        bits = u16(u16(step) << u16(3 * (s % 4)))
        block.scales[s // 4 * 2] |= u8(bits)
        block.scales[s // 4 * 2 + 1] |= u8(bits >> u16(8))
        for group in range(2):
            packed, way = u16(codes[simd.LANES * group + s]), down[simd.LANES * group + s] > f32(0)
            if way:
                block.qh[s] |= u8(8 << 4 * group)
            shift = -SHIFT if way else SHIFT
            for i in range(8):
                level = f32(u16(packed >> u16(2 * i)) & u16(3)) - f32(1) + shift
                q = level * f32(2 * step + 1)
                at = 16 * s + 8 * group + i
                wq = row_ws[at] * q
                sum_qx += wq * rows[at]
                sum_qq += wq * q
    # the scale of the scales is fitted once more, now to the levels that the file holds
    if sum_qq > f32(0):
        d = sum_qx / sum_qq
    half = half_bits(d * f32(1.1125))
    for k in range(4):
        block.scales[2 * k + 1] |= u8(u16(u16(u16(half >> u16(4 * k)) & u16(15)) << u16(4)))


_encoder = TernaryEncoder("IQ1_M", _put, cut=cut_halves, width=16, least=1e-7)
encoder_before = TernaryEncoder("IQ1_M_before", _put, cut=cut_halves_before, width=16, least=1e-7)
"""What ggml wrote before ggml-org/llama.cpp#28706 (September 2026)."""


IQ1_M = Format(
    name="IQ1_M",
    type_id=29,
    block_size=256,
    sub_block_size=16,
    type_size=56,
    dtype=np.dtype([("qs", "u1", (32,)), ("qh", "u1", (16,)), ("scales", "u1", (8,))]),
    field_notes={
        "qs": "low bits of codebook entries",
        "qh": "upper bits of codebook entries, shifts",
        "scales": "scales, and the scale of the scales",
    },
    codes=(-9, 9),
    quantize_blocks=_encoder.blocks,
    quantize_weighted=_encoder.weighted,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_iq1_m_impl, dequantize_row_iq1_m; ggml-common.h: block_iq1_m, iq1s_grid",
)
