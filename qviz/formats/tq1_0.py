"""TQ1_0: 256 weights, one float16 scale, ternary codes five to a byte: 54 bytes, 1.6875 bits per weight.

A ternary digit ("trit") carries log2(3) ≈ 1.585 bits. Five of them make a number below 3⁵ = 243, which fits a byte
with little to spare: 1.6 bits a weight, where TQ2_0 spends 2. The weights and the scale are those of TQ2_0.

The number is not stored as it is, but as a fraction: ``byte = ⌈number · 256 / 243⌉``. So the first trit is the
integer part of 3 · byte / 256, and multiplying the byte by 3 (keeping eight bits) brings up the next one: no
division on the way back.

Bytes::

    qs  48 × u8   five trits each; byte m of the first 32: weights m, m + 32, … m + 128,
                  byte m of the other 16: weights 160 + m, 176 + m, … 224 + m
    qh  4 × u8    four trits each and a 0; byte m: weights 240 + m, 244 + m, 248 + m, 252 + m
    d   float16   scale, the largest magnitude

Examples
--------
Weights 0, 32, 64, 96 and 128 share byte 0. All are the largest here, so their trits are 2 2 2 2 2, the number 242:

>>> from qviz.formats import quantize
>>> t = quantize(np.full(256, 3, np.float32), "TQ1_0")
>>> float(t.blocks["d"][0]), int(t.blocks["qs"][0, 0]), -(-242 * 256 // 243)
(3.0, 255, 255)
>>> [255 * 3**k % 256 * 3 // 256 for k in range(5)]  # and back
[2, 2, 2, 2, 2]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_bits, half_float, kernel, simd, u8, u16
from qviz.formats.base import Format
from qviz.formats.tq2_0 import ternary_digits

_FRACTION = -(-np.arange(243) * 256 // 243).astype(np.uint8)


@kernel
def _join(digits, n, qs):
    """Digits m, m + len(qs), … (`n` of them, the rest 0) -> byte m of `qs`."""
    for m in range(qs.size):
        number = u16(0)
        for k in range(5):
            number = u16(u16(number * u16(3)) + u16(digits[k * qs.size + m] if k < n else u8(0)))
        qs[m] = _FRACTION[number]


@kernel
def _quantize(x, blocks):
    digits = np.empty(x.shape[1], np.uint8)
    for b in range(blocks.size):
        largest = ternary_digits(x[b], digits)
        if not largest >= f32(0):
            return b
        blocks[b].d = half_bits(largest)
        _join(digits, 5, blocks[b].qs[:32])
        _join(digits[160:], 5, blocks[b].qs[32:])
        _join(digits[240:], 4, blocks[b].qh)
    return -1


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = f32(0)
        power = u8(1)
        for k in range(5):
            simd.take_trits(blocks[b].qs, 0, power, codes[b], 32 * k)
            simd.take_trits(blocks[b].qs, 16, power, codes[b], 32 * k + 16)
            simd.take_trits(blocks[b].qs, 32, power, codes[b], 160 + 16 * k)
            power = u8(power * u8(3))
        simd.take_last_trits(blocks[b].qh, codes[b], 240)


TQ1_0 = Format(
    name="TQ1_0",
    type_id=34,
    block_size=256,
    type_size=54,
    dtype=np.dtype([("qs", "u1", (48,)), ("qh", "u1", (4,)), ("d", "<f2")]),
    field_notes={"qs": "codes, five a byte", "qh": "the last codes, four a byte", "d": "scale"},
    codes=(-1, 1),
    quantize_blocks=_quantize,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_tq1_0_ref, dequantize_row_tq1_0; ggml-common.h: block_tq1_0",
)
