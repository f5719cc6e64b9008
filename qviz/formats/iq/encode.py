"""The encoders of IQ2 and IQ3: one template, of which `encoder` makes one kernel a format.

The stages are those of the K-quants: *search* the scale of each sub-block, now together with the entries for its
groups (`qviz.formats.iq.search`); *share*: the scales become odd multiples of one float16. Nothing is rounded again,
so entries stay those that the search found under its own scales.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._machine.kernels import Kernel, f32, half_bits, kernel, simd, specialise, u8, u16
from qviz.formats.iq.lattice import lattice, lattice_grid
from qviz.formats.iq.search import search_lattice, searcher
from qviz.formats.iq.signs import part_signs
from qviz.formats.kquant.search import nearest_whole
from qviz.formats.kquant.share import share_weighted
from qviz.formats.kquant.tiles import (
    NOTHING,
    SUPER,
    TILE,
    load_importance,
    load_tile,
    mean_squares,
    room,
    side_by_side,
)
from qviz.formats.kquant.weights import weigh_by_importance, weigh_by_square


@kernel
def encode_lattice(x, imatrix, first, count, packed, near, entry, blocks):
    """Template: fill `blocks` from `x` (blocks.size, 256)."""
    per_block = SUPER // _WIDTH
    n, group, codes_in_group = TILE * per_block, _WIDTH * simd.LANES, _WIDTH // _GROUP * simd.LANES
    rows, xs, ws, magnitudes = room(TILE * SUPER), room(group), room(group), room(group)
    importance, importances = room(TILE * SUPER), room(group)
    scales, means, sums, empty = room(n), room(n), room(n), room(n)
    reach = room(simd.LANES)
    codes, signs = room(TILE * SUPER // _GROUP), room(TILE * SUPER // 8)
    weighted = imatrix.size > 0
    for start in range(0, blocks.size, TILE):
        part = blocks[start : start + TILE]
        bad = load_tile(x, start, part.size, rows)
        if bad >= 0:
            return start + bad
        if weighted:
            load_importance(imatrix, start, part.size, importance)
        mean_squares(rows, _MEAN_FACTOR, means)
        for at in range(0, part.size * per_block, simd.LANES):
            g = at // simd.LANES
            side_by_side(rows, g, xs)
            if weighted:
                side_by_side(importance, g, importances)
                weigh_by_importance(xs, importances, means, at, ws, sums)
            else:
                _weigh(xs, means, at, ws)
            part_signs(xs, ws, _EVEN, magnitudes, signs[2 * _WIDTH * g : 2 * _WIDTH * (g + 1)])
            _begin(magnitudes, ws, f32(_TOP), _LEAST, reach, empty, scales, at)
            part_codes = codes[codes_in_group * g : codes_in_group * (g + 1)]
            _search(magnitudes, ws, reach, empty[at:], first, count, packed, near, scales, at, part_codes, NOTHING)
            _make_positive(scales, empty, at, f32(127) if _EVEN else f32(255), signs[2 * _WIDTH * g :], _WIDTH // 8)
        for b in range(part.size):
            _put_block(part[b], b * per_block, scales, empty, codes, signs, entry)
    return -1


@kernel
def _begin(magnitudes, ws, top, least, reach, empty, scales, at):
    """What the search starts from: the largest level on the largest magnitude."""
    largest = simd.load(magnitudes, 0)
    for i in range(simd.LANES, magnitudes.size, simd.LANES):
        value = simd.load(magnitudes, i)
        largest = simd.select(largest > value, largest, value)
    simd.store(reach, 0, largest)
    simd.store(empty, at, simd.select(largest < least, simd.spread(f32(1)), simd.spread(f32(0))))
    simd.store(scales, at, largest / (f32(2) * top + f32(1)))


@kernel
def begin_fitted(magnitudes, ws, top, least, reach, empty, scales, at):
    """As `_begin`, but the largest level goes where the best scale for codes 0 … 4, all of them free, would have 3."""
    _begin(magnitudes, ws, top, least, reach, empty, scales, at)
    steps, factors = room(magnitudes.size), room(simd.LANES)
    share_weighted(magnitudes, ws, f32(4), f32(255), steps, factors)
    scale, blank = simd.load(factors, 0), simd.load(empty, at)
    simd.store(reach, 0, scale * f32(3))
    without = simd.select(scale == scale, simd.spread(f32(1)), blank)
    simd.store(empty, at, simd.select(scale * f32(3) > f32(0), blank, without))
    simd.store(scales, at, scale)


@kernel
def _make_positive(scales, empty, at, all_signs, signs, groups):
    """A negative scale changes its sign and those of its weights; sub-blocks that were not searched have no signs."""
    zero = simd.spread(f32(0))
    scale, blank = simd.load(scales, at), simd.load(empty, at)
    simd.store(scales, at, simd.select(scale < zero, simd.spread(f32(-0.0)) - scale, scale))
    for g in range(0, groups * simd.LANES, simd.LANES):
        bits = simd.load(signs, g)
        bits = simd.select(scale < zero, all_signs - bits, bits)
        simd.store(signs, g, simd.select(blank > zero, zero, bits))


@kernel
def _put_block(block, sub, scales, empty, codes, signs, entry):
    """Template: fill one block from the results of its sub-blocks, the first of which is number `sub`."""
    n, groups = SUPER // _WIDTH, _WIDTH // _GROUP
    steps, entries, bits = np.zeros(n, np.uint8), np.zeros(SUPER // _GROUP, np.uint16), np.zeros(SUPER // 8, np.uint8)
    largest = f32(0)
    for s in range(n):
        largest = largest if largest > scales[sub + s] else scales[sub + s]
    if largest != f32(0):
        d = largest / f32(31)
        inverse = f32(1) / d
        for s in range(n):
            steps[s] = min(max(nearest_whole(f32(0.5) * (inverse * scales[sub + s] - f32(1))), 0), 15)
        block.d = half_bits(d * _FUDGE)
    else:
        block.d = u16(0)
    if largest != f32(0) or not _BLANKS:
        for s in range(n):
            batch, lane = (sub + s) // simd.LANES, (sub + s) % simd.LANES
            for g in range(groups):
                entries[s * groups + g] = entry[int(codes[(batch * groups + g) * simd.LANES + lane])]
            for g in range(_WIDTH // 8):
                bits[s * (_WIDTH // 8) + g] = u8(signs[(batch * (_WIDTH // 8) + g) * simd.LANES + lane])
    _put(block, steps, entries, bits, empty[sub : sub + n])


@kernel
def _weigh_by_square(xs, means, at, ws):
    """Without an importance matrix errors count by x²."""
    weigh_by_square(xs, ws)


@kernel
def weigh_with_mean(xs, means, at, ws):
    """Without an importance matrix errors count by x² plus a quarter of what `means` holds."""
    mean = f32(0.25) * simd.load(means, at)
    for i in range(0, xs.size, simd.LANES):
        simd.store(ws, i, mean + simd.load(xs, i) * simd.load(xs, i))


@kernel
def put_steps(steps, field):
    """Steps of four bits, two a byte, the first in the lower half."""
    for k in range(field.size):
        field[k] = u8(steps[2 * k] | u8(steps[2 * k + 1] << u8(4)))


@kernel
def _write_levels(d, steps, entries, levels, blocks):
    """Template: fill blocks from numbers that somebody else has chosen."""
    signs, none = np.empty(SUPER // 8, np.uint8), np.zeros(SUPER // _WIDTH, np.float32)
    for b in range(blocks.size):
        for g in range(signs.size):
            bits = 0
            for i in range(7 if _EVEN else 8):
                if levels[b, 8 * g + i] < 0:
                    bits |= 1 << i
            signs[g] = u8(bits)
        blocks[b].d = half_bits(d[b])
        _put(blocks[b], steps[b], entries[b], signs, none)


# What the templates call; `encoder` puts a format's own values behind these names.
_WIDTH, _GROUP, _TOP, _EVEN, _BLANKS, _MEAN_FACTOR, _LEAST, _FUDGE = 32, 8, 2, False, False, f32(2), f32(0), f32(1)
_search, _weigh, _put = search_lattice, _weigh_by_square, put_steps


class Encoder:
    """``quantize_blocks`` and ``quantize_weighted`` of one format.

    Parameters
    ----------
    name : str
        Name of the format and of its `lattice`.
    put : Kernel
        ``(block, steps, entries, signs, empty)``: fill all fields but `d`.
    width, group : int
        Weights of a sub-block and of an entry.
    span, step, again
        See `qviz.formats.iq.search.searcher`.
    even : bool
        Seven signs are stored for eight weights.
    mean_factor : float
        Importance is multiplied by the root of x² plus so many times the mean square of the super-block.
    least : float
        A sub-block whose magnitudes are all smaller counts as zero.
    fudge : float
        What the scale of the scales is multiplied by before it is stored.
    blanks : bool
        A super-block without a scale has no entries either.
    begin, weigh : Kernel
    """

    def __init__(
        self,
        name: str,
        put: Kernel,
        *,
        width: int,
        group: int,
        span: int,
        step: float,
        again: int,
        even: bool,
        mean_factor: float,
        least: float,
        fudge: float,
        blanks: bool,
        begin: Kernel = _begin,
        weigh: Kernel = _weigh_by_square,
    ) -> None:
        self.name, self.width, self.group, self.span, self.even = name, width, group, span, even
        self.top = 2 if group == 8 else 7
        self.mean_factor, self.least, self.begin = f32(mean_factor), f32(least), begin
        self.search = searcher(name, group=group, span=span, step=step, again=again)
        names = {
            "_WIDTH": width,
            "_GROUP": group,
            "_TOP": self.top,
            "_EVEN": even,
            "_MEAN_FACTOR": self.mean_factor,
            "_LEAST": self.least,
            "_FUDGE": f32(fudge),
            "_BLANKS": blanks,
            "_search": self.search,
            "_begin": begin,
            "_weigh": weigh,
            "_put": put,
        }
        put_block = specialise(_put_block, f"put_{name}", **names)
        self.encode = specialise(encode_lattice, f"quantize_{name}", **names, _put_block=put_block)
        self._write = specialise(_write_levels, f"write_{name}", _WIDTH=width, _GROUP=group, _EVEN=even, _put=put)

    @property
    def grid(self) -> npt.NDArray[np.int8]:
        """The codebook: an entry's magnitudes in each row."""
        return lattice_grid(self.name)

    def write(self, d: Any, steps: Any, levels: Any, blocks: Any) -> None:
        """Fill `blocks` (n,) from float32 `d` (n,), uint8 `steps` (n, sub-blocks) and int16 `levels` (n, 256).

        A level is a magnitude of the codebook with its sign, as `Format.unpack_blocks` gives it. Magnitudes of a group
        must be an entry; where seven signs are stored for eight weights, an even number of the eight must be negative.
        The scale of a sub-block is d · (2 · step + 1), times a factor of the format.
        """
        values, places = np.unique(self.grid), lattice(self.name)
        digits = np.searchsorted(values, np.abs(levels)).reshape(len(levels), -1, self.group)
        bits = 2 if self.group == 8 else 3
        packed = (digits << bits * np.arange(self.group)).sum(2)
        self._write(d, steps, places.entry[packed], levels, blocks)

    def blocks(self, x: Any, blocks: Any) -> int:
        """`Format.quantize_blocks`."""
        return self.weighted(x, NOTHING, blocks)

    def weighted(self, x: Any, imatrix: Any, blocks: Any) -> int:
        """`Format.quantize_weighted`."""
        places = lattice(self.name)
        return int(
            self.encode(x, imatrix, places.first, places.count, places.packed, places.near, places.entry, blocks)
        )
