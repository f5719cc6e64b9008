"""IQ4_NL: 32 weights, one float16 scale, 4-bit codes into a table of uneven levels: 18 bytes, 4.5 bits per weight.

The size of Q4_0, better spent. A code is not a step on a ruler but the number of one of sixteen **levels** that stand
dense around zero, where most weights are, and thin at the ends ("NL" is non-linear)::

    -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113        x = d · table[code]

No formula gives the best scale for such a table, so the encoder searches: it puts the block's largest weight on −127
and on fifteen positions around it, takes the nearest level for every weight, and fits the scale by weighted least
squares, ``d = Σ w·q·x / Σ w·q²``, where the weight w is x², or the importance of its column. The best fit wins.

Bytes::

    d   float16   scale, may be negative
    qs  16 × u8   code of weight l in the low four bits of qs[l], of weight l + 16 in the high four

Examples
--------
Weights that are two of the levels, doubled: −254 is 2 · −127 (code 0) and 26 is 2 · 13 (code 9). Nothing is lost.

>>> from qviz.formats import quantize
>>> t = quantize(np.tile(np.float32([-254, 26]), 16), "IQ4_NL")
>>> float(t.blocks["d"][0]), t.unpack().codes[:2].tolist(), t.dequantize()[:2].tolist()
(2.0, [0, 9], [-254.0, 26.0])
>>> hex(t.blocks["qs"][0, 0])  # weights 0 and 16 are both −254: code 0 twice
'0x0'
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from qviz._numba import f32, half_bits, half_float, i8, kernel, simd, u8
from qviz.formats._blocks32 import LANES, NOTHING, importance, to_lanes
from qviz.formats.base import Format

TABLE = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

# Below this magnitude ggml calls a block empty.
_EMPTY = f32(1e-15)


@kernel
def _level(a):  # type: ignore[no-untyped-def]
    """The level nearest to `a`; the upper one of a tie, and for NaN the last."""
    q = f32(-127)
    q = q if a < f32(-115.5) else f32(-104)
    q = q if a < f32(-93.5) else f32(-83)
    q = q if a < f32(-74) else f32(-65)
    q = q if a < f32(-57) else f32(-49)
    q = q if a < f32(-42) else f32(-35)
    q = q if a < f32(-28.5) else f32(-22)
    q = q if a < f32(-16) else f32(-10)
    q = q if a < f32(-4.5) else f32(1)
    q = q if a < f32(7) else f32(13)
    q = q if a < f32(19) else f32(25)
    q = q if a < f32(31.5) else f32(38)
    q = q if a < f32(45.5) else f32(53)
    q = q if a < f32(61) else f32(69)
    q = q if a < f32(79) else f32(89)
    return q if a < f32(101) else f32(113)


_MIDDLES = np.array([(a + b) / 2 for a, b in pairwise(TABLE)], np.float32)


@kernel
def nearest_codes(row, inverse, codes):  # type: ignore[no-untyped-def]
    """Number of the level nearest to each ``row * inverse``, into uint8 `codes`; ties and NaN as `_level`."""
    for j in range(row.size):
        a = row[j] * inverse
        code = u8(0)
        for k in range(_MIDDLES.size):
            code = code if a < _MIDDLES[k] else u8(k + 1)
        codes[j] = code


@kernel
def _fit(x, w, inverse, sum_qx, sum_qq):  # type: ignore[no-untyped-def]
    """``Σ w·q·x`` and ``Σ w·q²`` of each lane, q the level nearest to ``x * inverse``; summed from weight 0 on."""
    n, lanes = x.shape
    for lane in range(lanes):
        sum_qx[lane] = sum_qq[lane] = f32(0)
    for j in range(n):
        for lane in range(lanes):
            q = _level(inverse[lane] * x[j, lane])
            wq = w[j, lane] * q
            sum_qx[lane] += wq * x[j, lane]
            sum_qq[lane] += wq * q


@kernel
def search_scales(x, w, scales):  # type: ignore[no-untyped-def]
    """The best scale of each lane's weights `x` (32, lanes) under the importances `w`; 0 where all are tiny."""
    n, lanes = x.shape
    largest, extreme, inverse = np.empty(lanes, np.float32), np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    sum_qx, sum_qq, best = np.empty(lanes, np.float32), np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    # range: the first weight of largest magnitude, with its sign
    for lane in range(lanes):
        largest[lane] = extreme[lane] = f32(0)
    for j in range(n):
        for lane in range(lanes):
            magnitude = np.abs(x[j, lane])
            extreme[lane] = x[j, lane] if magnitude > largest[lane] else extreme[lane]
            largest[lane] = max(magnitude, largest[lane])
    # first guess: the largest weight on +127, beyond the last level
    for lane in range(lanes):
        inverse[lane] = f32(1) / (-extreme[lane] / f32(-127))
    _fit(x, w, inverse, sum_qx, sum_qq)
    for lane in range(lanes):
        scales[lane] = sum_qx[lane] / sum_qq[lane] if sum_qq[lane] > f32(0) else f32(0)
        best[lane] = scales[lane] * sum_qx[lane]
    # the others: the largest weight on −134 … −120
    for step in range(-7, 8):
        for lane in range(lanes):
            inverse[lane] = f32(step - 127) / extreme[lane]
        _fit(x, w, inverse, sum_qx, sum_qq)
        for lane in range(lanes):
            better = (sum_qq[lane] > f32(0)) & (sum_qx[lane] * sum_qx[lane] > best[lane] * sum_qq[lane])
            scale = sum_qx[lane] / sum_qq[lane]
            scales[lane] = scale if better else scales[lane]
            best[lane] = scale * sum_qx[lane] if better else best[lane]
    for lane in range(lanes):
        scales[lane] = f32(0) if largest[lane] < _EMPTY else scales[lane]


@kernel
def _encode(rows, imatrix, blocks):  # type: ignore[no-untyped-def]
    n = rows.shape[1]
    x, w = np.empty((n, LANES), np.float32), np.empty((n, LANES), np.float32)
    sigma, scales = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    codes = np.empty(n, np.uint8)
    for start in range(0, blocks.size, LANES):
        tile, part = rows[start : start + LANES], blocks[start : start + LANES]
        bad = to_lanes(tile, x)
        if bad >= 0:
            return start + bad
        # importance: twice the mean square of the block under the root
        for lane in range(LANES):
            sigma[lane] = f32(0)
        for j in range(n):
            for lane in range(LANES):
                sigma[lane] += x[j, lane] * x[j, lane]
        for lane in range(LANES):
            sigma[lane] *= f32(0.0625)
        importance(x, imatrix, start, part.size, sigma, w)
        search_scales(x, w, scales)
        # codes
        for b in range(part.size):
            part[b].d = half_bits(scales[b])
            inverse = f32(0) if scales[b] == f32(0) else f32(1) / scales[b]
            nearest_codes(tile[b], inverse, codes)
            simd.join_nibbles(codes, part[b].qs)
    return -1


@kernel
def _quantize(x, blocks):  # type: ignore[no-untyped-def]
    return _encode(x, NOTHING, blocks)


@kernel
def _quantize_weighted(x, imatrix, blocks):  # type: ignore[no-untyped-def]
    return _encode(x.reshape(blocks.size, 32), imatrix, blocks)


@kernel
def _unpack(blocks, codes, scales, mins):  # type: ignore[no-untyped-def]
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = f32(0)
        simd.split_nibbles(blocks[b].qs, codes[b], i8(0))


IQ4_NL = Format(
    name="IQ4_NL",
    type_id=20,
    block_size=32,
    type_size=18,
    dtype=np.dtype([("d", "<f2"), ("qs", "u1", (16,))]),
    field_notes={"d": "scale", "qs": "codes, two a byte"},
    codes=(0, 15),
    table=TABLE,
    quantize_blocks=_quantize,
    quantize_weighted=_quantize_weighted,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_iq4_nl, dequantize_row_iq4_nl; ggml-common.h: block_iq4_nl, kvalues_iq4nl",
)
