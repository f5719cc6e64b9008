"""IQ1_S: 256 weights, groups of eight from a codebook of 2048: 50 bytes, 1.5625 bits per weight.

Eleven bits choose eight levels −1, 0, 1 at once, signs included, out of the 6561 combinations that there are. So few
levels need help where they stand: 32 weights share a 3-bit scale and one bit that shifts all their levels up or down
by an eighth.

``scale · (level ± 1/8)`` is written here as ``scale / 8 · (8 · level ± 1)``, the same float32: so codes are whole
numbers, −9 −1 7 or −7 1 9.

Writing it needs an importance matrix. See `qviz.formats.iq.ternary` for how levels and scales are found.

Bytes::

    d   float16  scale of the scales
    qs  32 × u8  low eight bits of each group's entry
    qh  8 × u16  one a sub-block of 32: the upper three bits of its four entries, the scale in bits 12 … 14,
                 and the shift in bit 15 (set: down)

    x = d · (2 · scale + 1) · (level ± 1/8)

Examples
--------
Entry 0 is −1 eight times. With d = 8, all scales 0, the first sub-block shifted up, the second down:

>>> from qviz.formats import QTensor
>>> raw = np.float16(8).tobytes() + bytes(32) + np.uint16([0, 0x8000] * 4).tobytes()
>>> t = QTensor.from_bytes("IQ1_S", raw, (256,))
>>> t.dequantize()[[0, 32]].tolist(), t.unpack().codes[[0, 32]].tolist()
([-7.0, -9.0], [-7, -9])
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_bits, half_float, i8, kernel, simd, u8, u16
from qviz.formats.base import Format
from qviz.formats.iq.codebooks import IQ1_GRID
from qviz.formats.iq.ternary import TernaryEncoder, cut_together
from qviz.formats.kquant.search import nearest_whole


@kernel
def place_shifted(index, down, codes, to):
    """Eight times the levels of entry `index`, less 1 if `down`, else plus 1, to ``codes[to:]``."""
    entry, shift = IQ1_GRID[index], i8(-1) if down else i8(1)
    for j in range(entry.size):
        codes[to + j] = i8(i8(entry[j] * i8(8)) + shift)


@kernel
def _unpack(blocks, codes, scales, mins):
    for b in range(blocks.size):
        d = half_float(blocks[b].d)
        for s in range(8):
            word = blocks[b].qh[s]
            k = 8 * b + s
            scales[k] = d * (f32(2) * f32(u16(word >> u16(12)) & u16(7)) + f32(1)) * f32(0.125)
            mins[k] = f32(0)
            for group in range(4):
                upper = u16(u16(word >> u16(3 * group)) & u16(7))
                index = u16(u16(blocks[b].qs[4 * s + group]) | u16(upper << u16(8)))
                place_shifted(index, word >= u16(0x8000), codes[k], 8 * group)


@kernel
def _put(block, lane, scales, codes, down, entry, rows, row_ws):
    largest = f32(0)
    for s in range(8):
        largest = largest if largest > scales[lane + s] else scales[lane + s]
    d = largest / f32(15)
    inverse = f32(1) / d
    block.d = half_bits(d * f32(1.125))
    for s in range(8):
        word = u16(0)
        if largest != f32(0):
            step = min(max(nearest_whole(f32(0.5) * (inverse * scales[lane + s] - f32(1))), 0), 7)
            word = u16(u16(step) << u16(12)) | u16(u16(down[lane + s]) << u16(15))
        for group in range(4):
            number = entry[int(codes[simd.LANES * group + lane + s])]
            block.qs[4 * s + group] = u8(number)
            word = u16(word | u16(u16(number >> u16(8)) << u16(3 * group)))
        block.qh[s] = word


_encoder = TernaryEncoder("IQ1_S", _put, cut=cut_together, width=32, least=1e-12)


IQ1_S = Format(
    name="IQ1_S",
    type_id=19,
    block_size=256,
    sub_block_size=32,
    type_size=50,
    dtype=np.dtype([("d", "<f2"), ("qs", "u1", (32,)), ("qh", "<u2", (8,))]),
    field_notes={
        "d": "scale of the scales",
        "qs": "low bits of codebook entries",
        "qh": "upper bits of codebook entries, scales, shifts",
    },
    codes=(-9, 9),
    quantize_weighted=_encoder.weighted,
    unpack_blocks=_unpack,
    source="ggml-quants.c: quantize_row_iq1_s_impl, dequantize_row_iq1_s; ggml-common.h: block_iq1_s, iq1s_grid",
)
