"""The encoders of IQ1: levels −1, 0 and 1, all of them shifted up or down by an eighth.

With three levels the best rounding can be found: sort the weights of a sub-block, and try every way to cut them into
those that become −1, 0 and 1. For each cut the best scale follows from sums over the three parts, which are
differences of running sums. The largest gain wins, as in `qviz.formats.kquant.search`. Then groups of eight whose
levels are no entry of the codebook get their best neighbour.

Sixteen sub-blocks lie side by side: ``xs[16 * i + lane]`` is weight i of sub-block `lane`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qviz._machine.kernels import Kernel, f32, i32, kernel, simd, specialise
from qviz.formats.iq.lattice import lattice
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

SHIFT = f32(0.125)

_UP = np.array([-1, 0, 1, 0], np.float32) + SHIFT
_DOWN = np.array([-1, 0, 1, 0], np.float32) - SHIFT
_UP_SQUARES, _DOWN_SQUARES = _UP * _UP, _DOWN * _DOWN


def _network(n: int) -> Any:
    """Pairs of places, to be put in order one after the other, that sort `n` values: Batcher's odd-even mergesort."""
    pairs = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                lower = range(j, j + min(k, n - j - k))
                pairs += [(i, i + k) for i in lower if i // (2 * p) == (i + k) // (2 * p)]
            k //= 2
        p *= 2
    return np.array(pairs, np.int32)


_SORT_16, _SORT_32 = _network(16), _network(32)


@kernel
def _sort(values, order):
    """Sort sixteen lists side by side, equal values by their `order`, which is carried along."""
    pairs = _SORT_16 if values.size == 16 * simd.LANES else _SORT_32
    for k in range(pairs.shape[0]):
        p, q = simd.LANES * pairs[k, 0], simd.LANES * pairs[k, 1]
        a, b, i, j = simd.load(values, p), simd.load(values, q), simd.load(order, p), simd.load(order, q)
        wrong = simd.select(a == b, i, a) > simd.select(a == b, j, b)
        simd.store(values, p, simd.select(wrong, b, a))
        simd.store(values, q, simd.select(wrong, a, b))
        simd.store(order, p, simd.select(wrong, j, i))
        simd.store(order, q, simd.select(wrong, i, j))


@kernel
def search_ternary(xs, ws, rows, row_ws, empty, first, count, packed, near, scales, codes, down):
    """Template: the scales of sixteen sub-blocks, the entries of their groups, and which way those are shifted.

    Parameters
    ----------
    xs, ws : float32 arrays (16 n,)
        Weights, and how much their errors count.
    rows, row_ws : float32 arrays (16 n,)
        The same, of each sixteen weights those of one sub-block beside each other.
    empty : float32 array (16,)
        1 for a sub-block that gets scale 0, the first entry, and shifts up; also a result.
    first, count, packed, near
        Fields of the `Lattice`.
    scales : float32 array (16,)
        Result, not negative.
    codes, down : float32 arrays (16 groups,)
        Results: packed entries; 1 where they are shifted down.
    """
    n, groups = xs.size // simd.LANES, codes.size // simd.LANES
    values, order, weights, points = room(xs.size), room(xs.size), room(xs.size), np.zeros(codes.size, np.float32)
    low, high, off = room(simd.LANES), room(simd.LANES), np.zeros(simd.LANES, np.float32)
    zero, one = simd.spread(f32(0)), simd.spread(f32(1))
    for i in range(n):
        simd.store(values, simd.LANES * i, simd.load(xs, simd.LANES * i))
        simd.store(order, simd.LANES * i, simd.spread(f32(i)))
    _sort(values, order)
    for j in range(xs.size):
        weights[j] = ws[int(order[j]) * simd.LANES + j % simd.LANES]
    _cut(values, order, weights, scales, low, high, down)

    # nothing to choose from where all weights count nothing
    blank = simd.select(simd.load(low, 0) < zero, one, simd.load(empty, 0))
    simd.store(empty, 0, blank)
    for j in range(n):
        for lane in range(simd.LANES):
            digit = f32(0) if f32(j) < low[lane] else f32(1) if f32(j) < high[lane] else f32(2)
            i = int(order[j * simd.LANES + lane])
            points[i // 8 * simd.LANES + lane] += (f32(2) - digit if scales[lane] < f32(0) else digit) * _PLACES[i % 8]
    scale = simd.load(scales, 0)
    for g in range(0, codes.size, simd.LANES):
        way = simd.load(down, g)
        way = simd.select(scale < zero, one - way, way)
        simd.store(down, g, simd.select(blank > zero, zero, way))
    scale = simd.magnitude(scale)
    simd.store(scales, 0, scale)

    for j in range(codes.size):
        lane, g = j % simd.LANES, j // simd.LANES
        codes[j] = f32(0)
        if empty[lane] == f32(0):
            point = int(points[j])
            start = first[point]
            if start < i32(0):
                codes[j] = f32(packed[point])
            else:
                place = (g // 2 * simd.LANES + lane) * simd.LANES + 8 * (g % 2)
                levels = _DOWN if down[j] > f32(0) else _UP
                best = simd.nearest_of_eight(rows, row_ws, place, scales[lane], levels, near, start, count[point])
                codes[j], off[lane] = f32(near[start + best]), f32(1)

    sum_qx, sum_qq = zero, zero
    for g in range(groups):
        code = simd.load(codes, simd.LANES * g)
        shift = simd.select(simd.load(down, simd.LANES * g) > zero, simd.spread(-SHIFT), simd.spread(SHIFT))
        for i in range(8):
            at = simd.LANES * (8 * g + i)
            q = simd.digits(code, i32(2 * i), i32(3)) - f32(1) + shift
            wq = simd.load(ws, at) * q
            sum_qx = sum_qx + wq * simd.load(xs, at)
            sum_qq = sum_qq + wq * q
    fits = simd.select(sum_qq > zero, simd.load(off, 0), zero)
    scale = simd.select(simd.select(sum_qx > zero, fits, zero) > zero, sum_qx / sum_qq, scale)
    simd.store(scales, 0, simd.select(blank > zero, zero, scale))


_PLACES = np.float32(3) ** np.arange(8, dtype=np.float32)


# --- the best cut ----------------------------------------------------------------------------------------------------
#
# Of n sorted weights, the first i become −1, those up to k become 0, the rest 1.


@kernel
def _better(sum_qx, sum_qq, gain):
    """The mask of lanes in which a cut beats the best so far."""
    zero, never = simd.spread(f32(0)), simd.spread(-f32(np.inf))
    return simd.select(sum_qq > zero, sum_qx * sum_qx, never) > gain * sum_qq


@kernel
def cut_together(values, order, weights, scales, low, high, down):
    """IQ1_S: all weights of the sub-block are shifted the same way."""
    n = values.size // simd.LANES
    size = (n + 1) * simd.LANES
    sums, totals = room(size), room(size)  # of w·x, and of w
    left, right, left_w, right_w = room(2 * size), room(2 * size), room(2 * size), room(2 * size)
    sum_x, sum_w = simd.spread(f32(0)), simd.spread(f32(0))
    simd.store(sums, 0, sum_x)
    simd.store(totals, 0, sum_w)
    for j in range(n):
        w = simd.load(weights, simd.LANES * j)
        sum_x, sum_w = sum_x + w * simd.load(values, simd.LANES * j), sum_w + w
        simd.store(sums, simd.LANES * (j + 1), sum_x)
        simd.store(totals, simd.LANES * (j + 1), sum_w)
    for way in range(2):
        levels = _DOWN if way else _UP
        for j in range(0, size, simd.LANES):
            part, part_w = simd.load(sums, j), simd.load(totals, j)
            simd.store(left, way * size + j, part * levels[0])
            simd.store(right, way * size + j, (sum_x - part) * levels[2])
            simd.store(left_w, way * size + j, part_w * levels[0] * levels[0])
            simd.store(right_w, way * size + j, (sum_w - part_w) * levels[2] * levels[2])
    gain, scale = simd.spread(-f32(np.finfo(np.float32).max)), simd.spread(f32(0))
    best_i, best_k, best_way = simd.spread(f32(-1)), simd.spread(f32(-1)), simd.spread(f32(0))
    for i in range(n + 1):
        at_i = simd.LANES * i
        for k in range(i, n + 1):
            at_k = simd.LANES * k
            middle = simd.load(sums, at_k) - simd.load(sums, at_i)
            middle_w = simd.load(totals, at_k) - simd.load(totals, at_i)
            for way in range(2):
                level, p, q = (_DOWN if way else _UP)[1], way * size + at_i, way * size + at_k
                sum_qx = simd.load(left, p) + middle * level + simd.load(right, q)
                sum_qq = simd.load(left_w, p) + middle_w * level * level + simd.load(right_w, q)
                better = _better(sum_qx, sum_qq, gain)
                if simd.some(better):
                    scale = simd.select(better, sum_qx / sum_qq, scale)
                    gain = simd.select(better, scale * sum_qx, gain)
                    best_i = simd.select(better, simd.spread(f32(i)), best_i)
                    best_k = simd.select(better, simd.spread(f32(k)), best_k)
                    best_way = simd.select(better, simd.spread(f32(way)), best_way)
    simd.store(scales, 0, scale)
    simd.store(low, 0, best_i)
    simd.store(high, 0, best_k)
    for g in range(0, down.size, simd.LANES):
        simd.store(down, g, best_way)


@kernel
def cut_halves(values, order, weights, scales, low, high, down):
    """IQ1_M: each eight weights are shifted their own way; running sums for each half, four combinations of ways.

    Since levels are 1 apart, a half's Σ w·q·x is its whole sum times the largest level, less the running sums at both
    cuts; Σ w·q² likewise, with the differences of the squares of levels.
    """
    n = values.size // simd.LANES
    size = (n + 1) * simd.LANES
    sums, totals, near_low, near_high = room(2 * size), room(2 * size), room(4 * size), room(4 * size)
    tops = room(4 * simd.LANES)
    zero = simd.spread(f32(0))
    for half in range(2):
        sum_x, sum_w = zero, zero
        simd.store(sums, half * size, zero)
        simd.store(totals, half * size, zero)
        for j in range(n):
            w = simd.load(weights, simd.LANES * j)
            second = simd.load(order, simd.LANES * j) > f32(7)
            more, more_w = sum_x + w * simd.load(values, simd.LANES * j), sum_w + w
            if half == 1:
                sum_x, sum_w = simd.select(second, more, sum_x), simd.select(second, more_w, sum_w)
            else:
                sum_x, sum_w = simd.select(second, sum_x, more), simd.select(second, sum_w, more_w)
            simd.store(sums, half * size + simd.LANES * (j + 1), sum_x)
            simd.store(totals, half * size + simd.LANES * (j + 1), sum_w)
        for way in range(2):
            levels, squares = (_DOWN, _DOWN_SQUARES) if way else (_UP, _UP_SQUARES)
            at = 2 * half + way
            simd.store(tops, simd.LANES * at, sum_x * levels[2])
            whole = sum_w * levels[2] * levels[2]
            for j in range(0, size, simd.LANES):
                part = simd.load(totals, half * size + j)
                simd.store(near_low, at * size + j, whole + part * (squares[0] - squares[1]))
                simd.store(near_high, at * size + j, part * (squares[1] - squares[2]))
    gain, scale = simd.spread(-f32(np.finfo(np.float32).max)), zero
    best_i, best_k, best_way = simd.spread(f32(-1)), simd.spread(f32(-1)), zero
    for i in range(n + 1):
        for k in range(i, n + 1):
            at_i, at_k = simd.LANES * i, simd.LANES * k
            cut_1 = simd.load(sums, at_i) + simd.load(sums, at_k)
            cut_2 = simd.load(sums, size + at_i) + simd.load(sums, size + at_k)
            for way in range(4):
                p, q = way // 2, 2 + way % 2
                sum_qx = (simd.load(tops, simd.LANES * p) - cut_1) + (simd.load(tops, simd.LANES * q) - cut_2)
                first = simd.load(near_low, p * size + at_i) + simd.load(near_high, p * size + at_k)
                sum_qq = first + (simd.load(near_low, q * size + at_i) + simd.load(near_high, q * size + at_k))
                better = _better(sum_qx, sum_qq, gain)
                if simd.some(better):
                    scale = simd.select(better, sum_qx / sum_qq, scale)
                    gain = simd.select(better, scale * sum_qx, gain)
                    best_i = simd.select(better, simd.spread(f32(i)), best_i)
                    best_k = simd.select(better, simd.spread(f32(k)), best_k)
                    best_way = simd.select(better, simd.spread(f32(way)), best_way)
    _store_halves(scale, best_i, best_k, best_way, scales, low, high, down)


@kernel
def _store_halves(scale, best_i, best_k, best_way, scales, low, high, down):
    zero, one = simd.spread(f32(0)), simd.spread(f32(1))
    second = simd.select(best_way == f32(1), one, simd.select(best_way == f32(3), one, zero))
    simd.store(scales, 0, scale)
    simd.store(low, 0, best_i)
    simd.store(high, 0, best_k)
    simd.store(down, 0, simd.select(best_way > one, one, zero))
    simd.store(down, simd.LANES, second)


@kernel
def cut_halves_before(values, order, weights, scales, low, high, down):
    """`cut_halves` as ggml had it before ggml-org/llama.cpp#28706: every cut sums over all weights anew.

    The same in exact numbers; in float32 the sums differ in their last bits, so other cuts may win, above all where
    columns of no importance make ties.
    """
    n = values.size // simd.LANES
    zero = simd.spread(f32(0))
    gain, scale = simd.spread(-f32(np.finfo(np.float32).max)), zero
    best_i, best_k, best_way = simd.spread(f32(-1)), simd.spread(f32(-1)), zero
    for i in range(n + 1):
        for k in range(i, n + 1):
            for way in range(4):
                sum_qx, sum_qq = zero, zero
                for j in range(n):
                    x, w = simd.load(values, simd.LANES * j), simd.load(weights, simd.LANES * j)
                    level = 0 if j < i else 1 if j < k else 2
                    of_first, of_second = (_DOWN if way > 1 else _UP)[level], (_DOWN if way % 2 else _UP)[level]
                    second = simd.load(order, simd.LANES * j) > f32(7)
                    q = simd.select(second, simd.spread(of_second), simd.spread(of_first))
                    sum_qx = sum_qx + w * q * x
                    sum_qq = sum_qq + w * q * q
                better = _better(sum_qx, sum_qq, gain)
                scale = simd.select(better, sum_qx / sum_qq, scale)
                gain = simd.select(better, scale * sum_qx, gain)
                best_i = simd.select(better, simd.spread(f32(i)), best_i)
                best_k = simd.select(better, simd.spread(f32(k)), best_k)
                best_way = simd.select(better, simd.spread(f32(way)), best_way)
    _store_halves(scale, best_i, best_k, best_way, scales, low, high, down)


# --- the way through a tensor ----------------------------------------------------------------------------------------


@kernel
def encode_ternary(x, imatrix, first, count, packed, near, entry, blocks):
    """Template: fill `blocks` from `x` (blocks.size, 256)."""
    per_block, group = SUPER // _WIDTH, _WIDTH * simd.LANES
    n = TILE * per_block
    rows, importance, importances, xs, ws = (
        room(TILE * SUPER),
        room(TILE * SUPER),
        room(group),
        room(group),
        room(group),
    )
    means, sums, empty, scales = room(n), room(n), room(simd.LANES), room(simd.LANES)
    codes, down, row_xs, row_ws = room(group // 8), room(group // 8), room(group), room(group)
    weighted = imatrix.size > 0
    for start in range(0, blocks.size, TILE):
        part = blocks[start : start + TILE]
        bad = load_tile(x, start, part.size, rows)
        if bad >= 0:
            return start + bad
        if weighted:
            load_importance(imatrix, start, part.size, importance)
        mean_squares(rows, f32(2), means)
        for at in range(0, part.size * per_block, simd.LANES):
            side_by_side(rows, at // simd.LANES, xs)
            if weighted:
                side_by_side(importance, at // simd.LANES, importances)
                weigh_by_importance(xs, importances, means, at, ws, sums)
            else:
                weigh_by_square(xs, ws)
            largest = simd.spread(f32(0))
            for i in range(0, group, simd.LANES):
                size = simd.magnitude(simd.load(xs, i))
                largest = simd.select(largest > size, largest, size)
            simd.store(empty, 0, simd.select(largest < _LEAST, simd.spread(f32(1)), simd.spread(f32(0))))
            for i in range(0, group, simd.LANES * simd.LANES):
                simd.transpose(xs, i, simd.LANES, row_xs, i)
                simd.transpose(ws, i, simd.LANES, row_ws, i)
            _search(xs, ws, row_xs, row_ws, empty, first, count, packed, near, scales, codes, down)
            for lane in range(0, simd.LANES, per_block):
                b = (at + lane) // per_block
                if b < part.size:
                    _put(part[b], lane, scales, codes, down, entry, row_xs, row_ws)
    return -1


# What the templates call; `TernaryEncoder` puts a format's own values behind these names.
_WIDTH, _LEAST = 32, f32(0)
_cut, _search, _put = cut_together, search_ternary, _sort


class TernaryEncoder:
    """``quantize_blocks`` and ``quantize_weighted`` of IQ1_S or IQ1_M.

    Parameters
    ----------
    name : str
    put : Kernel
        ``(block, lane, scales, codes, down, entry, rows, row_ws)``: fill a block from the sub-blocks from `lane` on.
    cut : Kernel
        `cut_together` or `cut_halves`.
    width : int
        Weights of a sub-block.
    least : float
        A sub-block whose magnitudes are all smaller counts as zero.
    """

    def __init__(self, name: str, put: Kernel, *, cut: Kernel, width: int, least: float) -> None:
        search = specialise(search_ternary, f"search_{name}", _cut=cut)
        names = {"_WIDTH": width, "_LEAST": f32(least), "_search": search, "_put": put}
        self.encode = specialise(encode_ternary, f"quantize_{name}", **names)

    def blocks(self, x: Any, blocks: Any) -> int:
        """`Format.quantize_blocks`."""
        return self.weighted(x, NOTHING, blocks)

    def weighted(self, x: Any, imatrix: Any, blocks: Any) -> int:
        """`Format.quantize_weighted`."""
        places = lattice("IQ1")
        return int(
            self.encode(x, imatrix, places.first, places.count, places.packed, places.near, places.entry, blocks)
        )
