"""IQ4_NL: 32 weights, one float16 scale, 4-bit codes into a table of uneven levels: 18 bytes, 4.5 bits per weight.

The size of Q4_0, better spent. A code is not a step on a ruler but the number of one of sixteen **levels** that
stand dense around zero, where most weights are, and thin at the ends ("NL" is non-linear)::

    -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113        x = d · table[code]

No formula gives the best scale for such a table, so the encoder searches: it puts the block's largest weight on
−134 … −120, around the first level, and once on +127; takes the nearest level for every weight; and fits the scale by
weighted least squares, ``d = Σ w·q·x / Σ w·q²``. A weight counts by w = x², or, with an importance matrix, by the
importance of its column times √(2 · mean square of the block + x²). The best fit wins.

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

import numpy as np

from qviz._machine.kernels import f32, half_bits, half_float, i8, kernel, simd
from qviz.formats._blocks32 import load_blocks, load_columns, store_codes
from qviz.formats.base import Format
from qviz.formats.kquant.search import signed_extreme
from qviz.formats.kquant.tiles import NOTHING, room
from qviz.formats.kquant.weights import weigh_by_importance

TABLE = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


@kernel
def _nearest(a, table):
    """The entry of `table` at the level nearest to `a`; the upper one of a tie, and for NaN the last."""
    level = simd.spread(f32(table[0]))
    level = simd.select(a < f32(-115.5), level, simd.spread(f32(table[1])))
    level = simd.select(a < f32(-93.5), level, simd.spread(f32(table[2])))
    level = simd.select(a < f32(-74), level, simd.spread(f32(table[3])))
    level = simd.select(a < f32(-57), level, simd.spread(f32(table[4])))
    level = simd.select(a < f32(-42), level, simd.spread(f32(table[5])))
    level = simd.select(a < f32(-28.5), level, simd.spread(f32(table[6])))
    level = simd.select(a < f32(-16), level, simd.spread(f32(table[7])))
    level = simd.select(a < f32(-4.5), level, simd.spread(f32(table[8])))
    level = simd.select(a < f32(7), level, simd.spread(f32(table[9])))
    level = simd.select(a < f32(19), level, simd.spread(f32(table[10])))
    level = simd.select(a < f32(31.5), level, simd.spread(f32(table[11])))
    level = simd.select(a < f32(45.5), level, simd.spread(f32(table[12])))
    level = simd.select(a < f32(61), level, simd.spread(f32(table[13])))
    level = simd.select(a < f32(79), level, simd.spread(f32(table[14])))
    return simd.select(a < f32(101), level, simd.spread(f32(table[15])))


_NUMBERS = tuple(range(16))


@kernel
def nearest_codes(xs, inverses, found):
    """Number of the level nearest to each ``x * inverse`` of sixteen blocks, as float32 `found`."""
    inverse = simd.load(inverses, 0)
    for i in range(0, xs.size, simd.LANES):
        simd.store(found, i, _nearest(inverse * simd.load(xs, i), _NUMBERS))


@kernel
def _fit(xs, ws, inverse):
    """``Σ w·q·x`` and ``Σ w·q²`` of sixteen blocks, q the level nearest to ``x * inverse``."""
    sum_qx, sum_qq = simd.spread(f32(0)), simd.spread(f32(0))
    for i in range(0, xs.size, simd.LANES):
        x = simd.load(xs, i)
        q = _nearest(inverse * x, TABLE)
        wq = simd.load(ws, i) * q
        sum_qx, sum_qq = sum_qx + wq * x, sum_qq + wq * q
    return sum_qx, sum_qq


@kernel
def search_scales(xs, ws, scales):
    """The best scales of sixteen blocks `xs` under the importances `ws`; 0 where all weights are tiny."""
    zero, never = simd.spread(f32(0)), simd.spread(-f32(np.inf))
    extreme, empty = signed_extreme(xs, 0, xs.size)
    # first guess: the largest weight on +127, beyond the last level
    sum_qx, sum_qq = _fit(xs, ws, f32(1) / (extreme / f32(127)))
    scale = simd.select(sum_qq > zero, sum_qx / sum_qq, zero)
    gain = scale * sum_qx
    # the others: the largest weight on −134 … −120
    for k in range(-134, -119):
        sum_qx, sum_qq = _fit(xs, ws, f32(k) / extreme)
        better = simd.select(sum_qq > zero, sum_qx * sum_qx, never) > gain * sum_qq
        scale = simd.select(better, sum_qx / sum_qq, scale)
        gain = simd.select(better, scale * sum_qx, gain)
    simd.store(scales, 0, simd.select(empty, zero, scale))


@kernel
def weigh(xs, imatrix, start, n, means, importances, ws, sums):
    """How much each weight of blocks `start` … `start + n` counts, into `ws`: x², or imatrix · √(mean + x²)."""
    if imatrix.size:
        load_columns(imatrix, start, n, importances)
        weigh_by_importance(xs, importances, means, 0, ws, sums)
        return
    for i in range(0, xs.size, simd.LANES):
        x = simd.load(xs, i)
        simd.store(ws, i, x * x)


@kernel
def reciprocals(scales, inverses):
    """1 / scale of sixteen blocks, and 0 for 0."""
    scale = simd.load(scales, 0)
    simd.store(inverses, 0, simd.select(scale == f32(0), simd.spread(f32(0)), f32(1) / scale))


@kernel
def _encode(x, imatrix, blocks):
    lanes = simd.LANES
    rows = x.reshape(blocks.size, 32)
    xs, ws, importances, found = room(32 * lanes), room(32 * lanes), room(32 * lanes), room(32 * lanes)
    scales, inverses, means, sums = room(lanes), room(lanes), room(lanes), room(lanes)
    codes = np.empty((lanes, 32), np.uint8)
    for start in range(0, blocks.size, lanes):
        part = blocks[start : start + lanes]
        bad = load_blocks(rows, start, part.size, xs)
        if bad >= 0:
            return start + bad
        # twice the mean square of the block
        total = simd.spread(f32(0))
        for i in range(0, xs.size, lanes):
            total = total + simd.load(xs, i) * simd.load(xs, i)
        simd.store(means, 0, total * f32(2 / 32))
        weigh(xs, imatrix, start, part.size, means, importances, ws, sums)
        search_scales(xs, ws, scales)
        reciprocals(scales, inverses)
        nearest_codes(xs, inverses, found)
        store_codes(found, f32(0), codes)
        for b in range(part.size):
            part[b].d = half_bits(scales[b])
            simd.join_nibbles(codes[b], part[b].qs)
    return -1


@kernel
def _quantize(x, blocks):
    return _encode(x, NOTHING, blocks)


@kernel
def _unpack(blocks, codes, scales, mins):
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
    quantize_weighted=_encode,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_iq4_nl, dequantize_row_iq4_nl; ggml-common.h: block_iq4_nl, kvalues_iq4nl",
)
