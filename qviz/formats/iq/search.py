"""The search for the scale of a sub-block whose groups of weights become entries of a codebook.

Sixteen sub-blocks lie side by side: ``xs[16 * i + lane]`` is magnitude i of sub-block `lane`. A candidate rounds each
weight to a level. Where the levels of a group are no entry of the codebook, a neighbour takes their place: the one
with the least weighted error under the candidate's scale. Then the scale is fitted to the levels by weighted least
squares, and the candidate with the largest gain ``(Σ w·x·q)² / Σ w·q²`` wins, as in `qviz.formats.kquant.search`. At
last, groups of the winner are rounded once more, under the scale that was fitted.

Levels are the odd numbers q = 1, 3, 5 …; a digit is (q − 1) / 2.
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import Kernel, f32, i32, kernel, simd, specialise
from qviz.formats.kquant.search import nearest_level
from qviz.formats.kquant.tiles import room

LEVELS = np.arange(1, 16, 2, dtype=np.float32)
"""What digits stand for."""

ALL_AGAIN, OFF_AGAIN, ALL_IF_OFF_AGAIN = range(3)
"""Which groups of the winner are rounded once more: all; those off the codebook; all if one is off."""


@kernel
def search_lattice(xs, ws, reach, empty, first, count, packed, near, scales, at, codes, trace):
    """Template: the scales of sixteen sub-blocks, and the entries of their groups.

    Parameters
    ----------
    xs, ws : float32 arrays (16 n,)
        Magnitudes, and how much their errors count.
    reach : float32 array (16,)
        What the largest level is stretched to, more or less.
    empty : float32 array (16,)
        1 for a sub-block that is not searched: it gets scale 0 and the first entry.
    first, count, packed, near
        Fields of a `Lattice`.
    scales : float32 array
        Sixteen from position `at`: the scale should no candidate fit; then the result. It may be negative.
    codes : float32 array (16 groups,)
        Result: packed entries, ``codes[16 * group + lane]``.
    trace : float32 array
        Empty, or (candidates + 1, 2 + groups, 16) for scale, gain and packed entries of each candidate and after the
        last rounding.
    """
    size = codes.size
    products, rows, roots = room(xs.size), room(xs.size), room(xs.size)
    points, entries, off, again, wanted, now = (
        room(size),
        room(size),
        room(size),
        room(size),
        room(size),
        room(simd.LANES),
    )
    zero, one, never = simd.spread(f32(0)), simd.spread(f32(1)), simd.spread(-f32(np.inf))
    extent, blank = simd.load(reach, 0), simd.load(empty, 0)
    for i in range(0, xs.size, simd.LANES):
        x, w = simd.load(xs, i), simd.load(ws, i)
        simd.store(products, i, w * x)
        simd.store(roots, i, simd.root(w))
    for i in range(0, xs.size, simd.LANES * simd.LANES):
        simd.transpose(xs, i, simd.LANES, rows, i)
        simd.transpose(roots, i, simd.LANES, roots, i)
    for g in range(0, size, simd.LANES):
        simd.store(wanted, g, one - blank)
        simd.store(codes, g, zero)
        simd.store(again, g, one if _AGAIN == ALL_IF_OFF_AGAIN else zero)

    scale, gain = simd.load(scales, at), zero
    for k in range(2 * _SPAN + 1):
        inverse = (f32(2 * _TOP + 1) + f32(k - _SPAN) * _STEP) / extent
        simd.store(now, 0, f32(1) / inverse)
        _round(xs, inverse, points)
        _look_up(points, wanted, rows, roots, now, first, count, packed, near, entries, off)
        sum_qx, sum_qq = _fit(products, ws, entries)
        if trace.size > 0:
            _record(trace, k, sum_qx / sum_qq, sum_qx / sum_qq * sum_qx, entries)
        better = simd.select(sum_qq > zero, sum_qx * sum_qx, never) > gain * sum_qq
        scale = simd.select(better, sum_qx / sum_qq, scale)
        gain = simd.select(better, scale * sum_qx, gain)
        for g in range(0, size, simd.LANES):
            simd.store(codes, g, simd.select(better, simd.load(entries, g), simd.load(codes, g)))
            simd.store(again, g, simd.select(better, simd.load(off, g), simd.load(again, g)))

    positive, some_off = scale > zero, one if _AGAIN == ALL_AGAIN else zero
    for g in range(0, size, simd.LANES):
        some_off = some_off + simd.load(again, g)
    some_off = simd.select(positive, some_off, zero) * (one - blank)
    for g in range(0, size, simd.LANES):
        which = simd.load(again, g) if _AGAIN == OFF_AGAIN else one
        simd.store(wanted, g, simd.select(some_off > zero, which, zero))
    simd.store(now, 0, scale)
    _round(xs, one / scale, points)
    _look_up(points, wanted, rows, roots, now, first, count, packed, near, entries, off)
    for g in range(0, size, simd.LANES):
        code = simd.select(simd.load(wanted, g) > zero, simd.load(entries, g), simd.load(codes, g))
        simd.store(codes, g, simd.select(blank > zero, zero, code))
    sum_qx, sum_qq = _fit(products, ws, codes)
    scale = simd.select(simd.select(sum_qq > zero, some_off, zero) > zero, sum_qx / sum_qq, scale)
    if trace.size > 0:
        _record(trace, 2 * _SPAN + 1, scale, scale * sum_qx, codes)
    simd.store(scales, at, simd.select(blank > zero, zero, scale))


@kernel
def _round(xs, inverse, points):
    """The numbers of the points that groups become if each weight is rounded by itself."""
    for g in range(points.size // simd.LANES):
        number, place = simd.spread(f32(0)), f32(1)
        for i in range(_GROUP):
            x = simd.load(xs, simd.LANES * (_GROUP * g + i))
            digit = nearest_level(f32(0.5) * (inverse * x - f32(1)), f32(0), f32(_TOP))
            number = number + digit * place
            place *= f32(_TOP + 1)
        simd.store(points, simd.LANES * g, number)


@kernel
def _look_up(points, wanted, rows, roots, scales, first, count, packed, near, entries, off):
    """The entries for `points` where `wanted`: themselves, or, and then `off` is 1, their best neighbour."""
    for j in range(points.size):
        entries[j], off[j] = f32(0), f32(0)
        if wanted[j] > f32(0):
            point = int(points[j])
            start = first[point]
            if start < i32(0):
                entries[j] = f32(packed[point])
            else:
                lane, i = j % simd.LANES, j // simd.LANES * _GROUP
                place = (i // simd.LANES * simd.LANES + lane) * simd.LANES + i % simd.LANES
                if _GROUP == 8:
                    best = simd.nearest_of_eight(rows, roots, place, scales[lane], LEVELS, near, start, count[point])
                else:
                    best = simd.nearest_of_four(rows, roots, place, scales[lane], LEVELS, near, start, count[point])
                entries[j], off[j] = f32(near[start + best]), f32(1)


@kernel
def _fit(products, ws, codes):
    """The two sums that the best scale of packed entries is made of."""
    sum_qx, sum_qq = simd.spread(f32(0)), simd.spread(f32(0))
    for g in range(codes.size // simd.LANES):
        code = simd.load(codes, simd.LANES * g)
        for i in range(_GROUP):
            at = simd.LANES * (_GROUP * g + i)
            q = f32(2) * simd.digits(code, i32(_BITS * i), i32((1 << _BITS) - 1)) + f32(1)
            sum_qx = sum_qx + simd.load(products, at) * q
            sum_qq = sum_qq + simd.load(ws, at) * q * q
    return sum_qx, sum_qq


@kernel
def _record(trace, k, scale, gain, codes):
    at = k * (2 * simd.LANES + codes.size)
    simd.store(trace, at, scale)
    simd.store(trace, at + simd.LANES, gain)
    for g in range(0, codes.size, simd.LANES):
        simd.store(trace, at + 2 * simd.LANES + g, simd.load(codes, g))


# What the templates read; `searcher` puts a format's own values behind these names.
_GROUP, _TOP, _BITS, _SPAN, _STEP, _AGAIN = 8, 2, 2, 9, f32(0.1), OFF_AGAIN


def searcher(name: str, *, group: int, span: int, step: float, again: int) -> Kernel:
    """`search_lattice` for one format.

    Parameters
    ----------
    name : str
    group : int
        Weights of an entry: eight with three levels, or four with eight.
    span : int
        Candidates on either side of the middle one.
    step : float
        How much further each stretches the levels than the one before, in levels.
    again : int
        `ALL_AGAIN`, `OFF_AGAIN` or `ALL_IF_OFF_AGAIN`.
    """
    top, bits = (2, 2) if group == 8 else (7, 3)
    names = {"_GROUP": group, "_TOP": top, "_BITS": bits, "_SPAN": span, "_STEP": f32(step), "_AGAIN": again}
    parts = {
        key: specialise(part, f"{name}{key}", **names)
        for key, part in (("_round", _round), ("_look_up", _look_up), ("_fit", _fit))
    }
    return specialise(search_lattice, f"search_{name}", **names, **parts)
