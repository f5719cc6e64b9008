"""MXFP4: 32 weights, one power of two as scale, 4-bit floating-point codes: 17 bytes, 4.25 bits per weight.

An open standard (OCP Microscaling) rather than ggml's own. Each code is a tiny float, E2M1: a sign, two exponent
bits and one mantissa bit, which can say 0, 0.5, 1, 1.5, 2, 3, 4 and 6, and the same below zero. The scale is a
single byte, E8M0: an exponent and nothing else. A multiplication by it moves no mantissa bit, which makes hardware
cheap, but lets the scale fit a block only to within a factor of two.

To stay with whole numbers, ggml's table holds the levels twice as large and halves the scale instead::

    x = 2^(e − 128) · table[code],   table = 0 1 2 3 4 6 8 12, then the same with a minus sign

The exponent is that of the largest weight less two, so that this weight comes out between 4 and 8; what lies beyond 6
becomes 6.

Bytes::

    e   u8        exponent of the scale + 127
    qs  16 × u8   code of weight l in the low four bits of qs[l], of weight l + 16 in the high four

Examples
--------
The largest weight is 6, between 2² and 2³, so e = 2 − 2 + 127 and a step of one table unit is 2^(127 − 128) = 0.5:

>>> from qviz.formats import quantize
>>> t = quantize(np.tile(np.float32([6, -0.5, 1, 0]), 8), "MXFP4")
>>> int(t.blocks["e"][0]), t.unpack().codes[:4].tolist(), t.unpack().scales.tolist()
(127, [7, 9, 2, 0], [0.5])
>>> t.dequantize()[:4].tolist()
[6.0, -0.5, 1.0, 0.0]
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import bits_float, f32, float_bits, i8, i32, kernel, order_key, simd, u8, u32
from qviz.formats.base import Format

TABLE = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)

_LEVELS = np.array(TABLE, np.float32)


@kernel
def nearest_codes(row, largest, scale, codes):
    """Number of the level nearest to each ``row / scale``, into uint8 `codes`; of a tie, the one nearer to zero.

    `largest` is the largest magnitude of the row.
    """
    if not (f32(12) * scale < f32(np.inf) and largest <= f32(65536) * scale):
        _first_nearest(row, scale, codes)
        return
    t1, t2, t3, t4 = f32(0.5) * scale, f32(1.5) * scale, f32(2.5) * scale, f32(3.5) * scale
    t6, t8, t12 = f32(5) * scale, f32(7) * scale, f32(10) * scale
    for j in range(row.size):
        x = row[j]
        a = np.abs(x)
        code = u8(1) if a > t1 else u8(0)
        code = u8(2) if a > t2 else code
        code = u8(3) if a > t3 else code
        code = u8(4) if a > t4 else code
        code = u8(5) if a > t6 else code
        code = u8(6) if a > t8 else code
        code = u8(7) if a > t12 else code
        codes[j] = u8(code | u8(8)) if (x < f32(0)) & (a > t1) else code


@kernel
def _first_nearest(row, scale, codes):
    """The plain search, where its rounding decides: levels that overflow or coincide, weights far beyond them all."""
    for j in range(row.size):
        best, code = np.abs(_LEVELS[0] * scale - row[j]), u8(0)
        for k in range(1, _LEVELS.size):
            error = np.abs(_LEVELS[k] * scale - row[j])
            if error < best:
                best, code = error, u8(k)
        codes[j] = code


@kernel
def _exponent(magnitude):
    """``floor(log2f(magnitude))`` as C computes it: just below a power of two, log2f rounds up to it."""
    bits = float_bits(magnitude)
    mantissa = u32(bits & u32(0x007FFFFF))
    if bits >= u32(0x00800000) and mantissa < u32(0x007FFF00):
        return i32(bits >> u32(23)) - i32(127)
    return i32(np.floor(f32(np.log2(np.float64(magnitude)))))


@kernel
def half_power(e):
    """2^(e − 128) as a float32."""
    return bits_float(u32(u32(e - u8(1)) << u32(23)) if e > u8(1) else u32(u32(0x00200000) << u32(e)))


@kernel
def _quantize(x, blocks):
    codes = np.empty(x.shape[1], np.uint8)
    for b in range(blocks.size):
        low_key, high_key = simd.smallest_key(x[b]), simd.largest_key(x[b])
        if low_key < i32(-0x7F800000) or high_key >= i32(0x7F800000):
            return b
        largest = max(-bits_float(u32(order_key(low_key))), bits_float(u32(order_key(high_key))))
        # a magnitude below 2^-125 wraps around, as C's cast to a byte does
        e = u8(_exponent(largest) + i32(125)) if largest > f32(0) else u8(0)
        blocks[b].e = e
        nearest_codes(x[b], largest, half_power(e), codes)
        simd.join_nibbles(codes, blocks[b].qs)
    return -1


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b] = half_power(blocks[b].e)
        mins[b] = f32(0)
        simd.split_nibbles(blocks[b].qs, codes[b], i8(0))


MXFP4 = Format(
    name="MXFP4",
    type_id=39,
    block_size=32,
    type_size=17,
    dtype=np.dtype([("e", "u1"), ("qs", "u1", (16,))]),
    field_notes={"e": "exponent of the scale + 127", "qs": "codes (tiny floats), two a byte"},
    codes=(0, 15),
    table=TABLE,
    quantize_blocks=_quantize,
    unpack_blocks=_unpack,
    source="OCP Microscaling Formats v1.0; ggml-quants.c: quantize_row_mxfp4_ref, dequantize_row_mxfp4; "
    "ggml-common.h: block_mxfp4, kvalues_fp4",
)
