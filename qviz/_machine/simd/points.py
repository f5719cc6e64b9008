"""Points of a lattice: digits of numbers side by side, and the nearest of a list of points.

A point is a 16-bit number whose digits say which level each of its coordinates has: eight digits of two bits, or four
of three, the first coordinate in the lowest bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from qviz._machine.kernels import f32, kernel, u16
from qviz._machine.simd.side_by_side import _LANES, LANES, lanes
from qviz._machine.simd.vectors import (
    _FLOAT,
    _I32,
    _all,
    _call,
    _function,
    _pick,
    _vector,
    _Vectors,
    intrinsic,
)

_WORDS = _vector(LANES, _I32)
_LARGEST = np.finfo(np.float32).max


@intrinsic
def digits(typingctx, x, shift, mask):
    """Bits of whole numbers: ``(x >> shift) & mask`` in each lane."""

    def body(v: _Vectors) -> Any:
        moved = v.b.lshr(v.b.fptosi(v.args[0], _WORDS), v.splat(v.args[1], _WORDS))
        return v.b.sitofp(v.b.and_(moved, v.splat(v.args[2], _WORDS)), _LANES)

    return _function(lambda x, s, m: lanes(lanes, types.int32, types.int32), body)(x, shift, mask)


def _terms(v: _Vectors, dimensions: int, bits: int) -> list[Any]:
    """For each coordinate, what each level adds to the distance: ``w · (scale · level − x)²``."""
    _, _, at, scale, _, _, _, _ = v.args
    row = v.load(4, _vector(1 << bits, _FLOAT))
    levels = v.b.fmul(v.splat(scale, _LANES), _pick(v, row, [k % (1 << bits) for k in range(LANES)]))
    terms = []
    for i in range(dimensions):
        here = v.b.add(at, ir.Constant(at.type, i))
        x, w = (v.splat(v.b.load(v.pointer(k, _FLOAT, here)), _LANES) for k in (0, 1))
        off = v.b.fsub(levels, x)
        terms.append(v.b.fmul(v.b.fmul(w, off), off))
    return terms


def _looked_up(v: _Vectors, table: Any, number: Any, bits: int) -> Any:
    """The entries of `table` at the lowest digit of each number; higher bits of it do not matter."""
    if v.has("avx512f"):
        return _call(v, "llvm.x86.avx512.permvar.sf.512", _LANES, table, number)
    if v.has("avx2"):
        low, _ = v.halves(table)
        return v.join(*(_call(v, "llvm.x86.avx2.permps", low.type, low, part) for part in v.halves(number)))
    choices = [_pick(v, table, [k] * LANES) for k in range(1 << bits)]
    for bit in range(bits):
        odd = v.b.icmp_unsigned("!=", v.b.and_(number, _all(_WORDS, 1 << bit)), _all(_WORDS, 0))
        choices = [v.b.select(odd, high, low) for low, high in zip(choices[::2], choices[1::2], strict=True)]
    return choices[0]


def _nearest(dimensions: int, bits: int) -> Any:
    def body(v: _Vectors) -> Any:
        _, _, _, _, _, _, first, n = v.args
        steps = [(term, bits * i) for i, term in enumerate(_terms(v, dimensions, bits))]
        if bits == 2 and v.has("avx512f"):  # a table of sixteen holds the sums of two coordinates
            second = _pick(v, steps[1][0], [k // 4 for k in range(LANES)])
            steps = [(v.b.fadd(steps[0][0], second), 0), *steps[2:]]
        lane = ir.Constant(_WORDS, list(range(LANES)))
        best, place = (cgutils.alloca_once_value(v.b, value) for value in (ir.Constant(_LANES, [_LARGEST] * 16), lane))
        with cgutils.for_range_slice(v.b, ir.Constant(n.type, 0), n, ir.Constant(n.type, LANES)) as (start, _):
            listed = v.load(5, _vector(LANES, ir.IntType(16)), v.b.add(first, start))
            points = v.b.zext(listed, _WORDS)
            total = None
            for table, shift in steps:
                number = v.b.lshr(points, _all(_WORDS, shift)) if shift else points
                term = _looked_up(v, table, number, bits)
                total = term if total is None else v.b.fadd(total, term)
            nearer = v.b.fcmp_ordered("<", total, v.b.load(best))
            here = v.b.add(lane, v.splat(v.b.trunc(start, _I32), _WORDS))
            v.b.store(v.b.select(nearer, total, v.b.load(best)), best)
            v.b.store(v.b.select(nearer, here, v.b.load(place)), place)
        # distances are not negative: their bits order as they do; of equal ones the first in the list
        keys = v.b.bitcast(v.b.load(best), _WORDS)
        least = v.splat(_call(v, "llvm.vector.reduce.umin.v16i32", _I32, keys), _WORDS)
        places = v.b.select(v.b.icmp_unsigned("==", keys, least), v.b.load(place), _all(_WORDS, 0x7FFFFFFF))
        return v.b.zext(_call(v, "llvm.vector.reduce.umin.v16i32", _I32, places), n.type)

    return body


def _typed(x: Any, w: Any, at: Any, scale: Any, levels: Any, points: Any, first: Any, n: Any) -> Any:
    p = types.intp
    return p(x, w, p, types.float32, levels, points, p, p)


@intrinsic
def nearest_of_eight(typingctx, x, w, at, scale, levels, points, first, n):
    """Which of ``points[first:first+n]`` is nearest to the eight float32 ``x[at:at+8]``: the first such, from 0 on.

    The distance is the sum of ``w · (scale · level − x)²`` in the order of the coordinates; `levels` has the four
    levels that digits stand for. `n` is a multiple of 16. Where no distance is a number, 0.
    """
    return _function(_typed, _nearest(8, 2))(x, w, at, scale, levels, points, first, n)


@intrinsic
def nearest_of_four(typingctx, x, w, at, scale, levels, points, first, n):
    """`nearest_of_eight` for points of four coordinates, whose digits are of three bits; `levels` has eight."""
    return _function(_typed, _nearest(4, 3))(x, w, at, scale, levels, points, first, n)


@kernel
def _nearest_twin(x, w, at, scale, levels, points, first, n, dimensions, bits):
    best, nearest = f32(np.finfo(np.float32).max), 0
    for k in range(n):
        total = f32(0)
        for i in range(dimensions):
            level = levels[u16(points[first + k] >> u16(bits * i)) & u16((1 << bits) - 1)]
            off = scale * level - x[at + i]
            total += w[at + i] * off * off
        if total < best:
            best, nearest = total, k
    return nearest


@kernel
def nearest_of_eight_twin(x, w, at, scale, levels, points, first, n):
    """Plain loop of `nearest_of_eight`."""
    return _nearest_twin(x, w, at, scale, levels, points, first, n, 8, 2)


@kernel
def nearest_of_four_twin(x, w, at, scale, levels, points, first, n):
    """Plain loop of `nearest_of_four`."""
    return _nearest_twin(x, w, at, scale, levels, points, first, n, 4, 3)
