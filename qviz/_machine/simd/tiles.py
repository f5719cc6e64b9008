"""Tiles: sixteen rows of weights times four tokens.

For many tokens, weights are laid out so that a lane is a row: of each of sixteen rows four codes stand together, then
the next four. A lane sums its own row, and nothing is ever added across lanes. Codes are unsigned, at most 63 where
products are summed in 16 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from qviz._machine.kernels import f32, i8, i32, kernel
from qviz._machine.simd.products import (
    _LONG,
    _S16,
    _W8,
    _fours,
    _fours_of_bytes,
    _Packed,
    _pairs,
)
from qviz._machine.simd.vectors import (
    _B32,
    _BYTE,
    _FLOAT,
    _I32,
    _all,
    _call,
    _function,
    _moved,
    _vector,
    _Vectors,
    intrinsic,
)

_F16, _W16 = _vector(16, _FLOAT), _vector(16, _I32)
tile = _Packed("tile", ir.ArrayType(_F16, 4))  # sums of sixteen rows for each of four tokens


@intrinsic
def no_tile(typingctx):
    """A tile of zeros."""
    return _function(lambda: tile(), lambda v: ir.Constant(tile.vector, [ir.Constant(_F16, [0.0] * 16)] * 4))()


def _in_words(v: _Vectors, rows: Any, token: Any, steps: int, _at_once: int) -> list[Any]:
    """Sixteen sums of products for each of four tokens, where four products of bytes are added to a word at once."""
    wide: list[Any] = [_all(_W16, 0)] * 4
    for step in range(steps):
        weights = rows(step)
        wide = [_fours_of_bytes(v, wide[t], weights, v.splat(token(step, t), _W16)) for t in range(4)]
    return wide


def _in_halves(v: _Vectors, rows: Any, token: Any, steps: int, at_once: int) -> list[Any]:
    """The same by sums of pairs in 16 bits, `at_once` of them."""
    b, ones = v.b, _all(_S16, 1)
    wide: list[Any] = [_all(_W8, 0)] * 8
    for begin in range(0, steps, at_once):
        short: list[Any] = [_all(_S16, 0)] * 8
        for step in range(begin, min(begin + at_once, steps)):
            weights = v.halves(rows(step))
            for t in range(4):
                x = b.bitcast(v.splat(token(step, t), _W8), _B32)
                for half in range(2):
                    short[2 * t + half] = b.add(short[2 * t + half], _pairs(v, weights[half], x))
        wide = [b.add(wide[k], _fours(v, short[k], ones)) for k in range(8)]
    return [v.join(*wide[2 * t : 2 * t + 2]) for t in range(4)]


def _tile_adder(width: int, at_once: int) -> Any:
    """The `add_tile` for sub-blocks of `width` weights, when 16 bits hold the sum of `at_once` pairs of products."""

    @intrinsic
    def add_tile(typingctx, total, weights, at, scales, mins, at_s, codes, at_c, steps, at_x, sums, at_m):
        """``total + scales * steps * products - mins * sums``, one sub-block of sixteen rows with four tokens.

        Parameters
        ----------
        total : tile
        weights, scales, mins : uint8, float32, float32 arrays (n,)
            From `at` on: width / 4 times sixteen rows of four codes; from `at_s` on: sixteen scales and minimums.
        codes, steps, sums : int8, float32, float32 arrays (n,)
            From `at_c` on: width / 4 times four tokens of four codes; from `at_x` and `at_m` on: four scales, and four
            sums of codes times their scale.
        """

        def body(v: _Vectors) -> Any:
            b, four = v.b, _vector(4, _BYTE)
            at, at_s, at_c, at_x, at_m = (v.args[k] for k in (2, 5, 7, 9, 11))

            def rows(step: int) -> Any:
                return v.load(1, _vector(64, _BYTE), _moved(v, at, 64 * step))

            def token(step: int, t: int) -> Any:
                return b.bitcast(v.load(6, four, _moved(v, at_c, 16 * step + 4 * t)), _I32)

            made = _in_words if v.has("avx512vnni") else _in_halves
            wide = made(v, rows, token, width // 4, at_once)
            factors, lows = v.load(3, _F16, at_s), b.fneg(v.load(4, _F16, at_s))
            after = v.args[0]
            for t in range(4):
                step = v.splat(b.load(v.pointer(8, _FLOAT, _moved(v, at_x, t))), _F16)
                both = v.splat(b.load(v.pointer(10, _FLOAT, _moved(v, at_m, t))), _F16)
                scaled = b.fmul(factors, b.sitofp(wide[t], _F16))
                value = _call(v, "llvm.fmuladd.v16f32", _F16, scaled, step, b.extract_value(after, t))
                value = _call(v, "llvm.fmuladd.v16f32", _F16, lows, both, value)
                after = b.insert_value(after, value, t)
            return after

        n = types.intp
        shape = (tile, weights, n, scales, mins, n, codes, n, steps, n, sums, n)
        return _function(lambda *_: tile(*shape), body)(*shape)

    return add_tile


def _rounded(v: _Vectors, x: Any, inverse: Any) -> Any:
    """``x * inverse`` to the nearest whole number, ties to even, as bytes: the low ones of a sum with 1.5 · 2^23."""
    floats = x.type
    moved = v.b.fadd(v.b.fmul(x, v.splat(inverse, floats)), ir.Constant(floats, [12582912.0] * floats.count))
    return v.b.trunc(v.b.bitcast(moved, _vector(floats.count, _I32)), _vector(floats.count, _BYTE))


@intrinsic
def round_sixteen(typingctx, x, at, inverse, codes):
    """``codes[at:at+16]`` = the whole numbers (int8) next to ``x[at:at+16] * inverse``, at most 127; NaN -> 0."""

    def body(v: _Vectors) -> None:
        v.store(_rounded(v, v.load(0, _vector(16, _FLOAT), v.args[1]), v.args[2]), 3, v.args[1])

    return _function(lambda a, i, f, c: types.void(a, types.intp, types.float32, c), body)(x, at, inverse, codes)


@kernel
def round_sixteen_twin(x, at, inverse, codes):
    """Plain loop of `round_sixteen`."""
    for j in range(at, at + 16):
        value = x[j] * inverse
        codes[j] = i8(i32(np.rint(value))) if value == value else i8(0)


@intrinsic
def pack_sixteen(typingctx, x, at, stride, tops, at_t, codes, to, sums, to_s):
    """Sixteen activations of each of four tokens -> codes as tiles take them, and the sum of each token's codes.

    Parameters
    ----------
    x : float32 array
        Those of token t from ``at + stride * t`` on.
    tops : float32 array
        From `at_t` on: for each token what becomes 127.
    codes : int8 array
        From `to` on: four times four tokens of four codes.
    sums : float32 array
        From `to_s` on.
    """

    def body(v: _Vectors) -> None:
        b, floats, four, ones = v.b, _vector(16, _FLOAT), _vector(4, _FLOAT), _all(_S16, 1)
        _, at, stride, _, at_t, _, to, _, to_s = v.args
        largest = v.load(3, four, at_t)
        zero = ir.Constant(four, [0.0] * 4)
        inverses = b.fdiv(ir.Constant(four, [127.0] * 4), largest)
        inverses = b.select(b.fcmp_ordered(">", largest, zero), inverses, zero)
        rows = []
        for t in range(4):
            row = v.load(0, floats, b.add(at, b.mul(stride, ir.Constant(stride.type, t))))
            bytes_ = _rounded(v, row, b.extract_element(inverses, ir.Constant(_I32, t)))
            rows.append(b.bitcast(bytes_, _vector(4, _I32)))
        both = [v.join(rows[t], rows[t + 1]) for t in (0, 2)]
        order = [4 * t + k for k in range(4) for t in range(4)]
        turned = b.shuffle_vector(*both, ir.Constant(_vector(16, _I32), order))
        tokens = b.bitcast(turned, _vector(64, _BYTE))
        v.store(tokens, 5, to)
        wide = None
        for half in v.halves(tokens):
            pairs = _pairs(v, _all(_B32, 1), half)
            words = _fours(v, pairs, ones)
            wide = words if wide is None else b.add(wide, words)
        v.store(b.sitofp(b.add(*v.halves(wide)), four), 7, to_s)

    n = types.intp
    return _function(lambda *_: types.void(x, n, n, tops, n, codes, n, sums, n), body)(x, tops, codes)


@kernel
def pack_sixteen_twin(x, tops, codes, sums):
    """Plain form of `pack_sixteen`: x (4, 16), tops (4,), codes (4, 4, 4), sums (4,)."""
    for t in range(4):
        total = i32(0)
        for j in range(16):
            code = i32(0)
            if tops[t] > f32(0):
                code = i32(np.rint(x[t, j] * (f32(127) / tops[t])))
            codes[j // 4, t, j % 4] = code
            total += code
        sums[t] = f32(total)


TILE_ADDERS = {(width, at_once): _tile_adder(width, at_once) for width in (16, 32) for at_once in (2, 4, 8)}
"""`add_tile` for (weights in a sub-block, pairs of products whose sum fits 16 bits)."""


@kernel
def add_tile_twin(total, weights, scales, mins, codes, steps, sums):
    """Plain form of `add_tile`: total (4, 16), weights (k, 16, 4), scales, mins (16,), codes (k, 4, 4), others (4,)."""
    for t in range(4):
        for r in range(16):
            products = i32(0)
            for k in range(weights.shape[0]):
                for j in range(4):
                    products += i32(weights[k, r, j]) * i32(codes[k, t, j])
            total[t, r] += scales[r] * f32(products) * steps[t]
            total[t, r] -= mins[r] * sums[t]


@intrinsic
def store_tile(typingctx, value, out, at, stride):
    """A tile -> ``out[at + stride * t : ][:16]`` of each token t."""

    def body(v: _Vectors) -> None:
        for t in range(4):
            row = v.b.add(v.args[2], v.b.mul(v.args[3], ir.Constant(_LONG, t)))
            v.store(v.b.extract_value(v.args[0], t), 1, row)

    return _function(lambda *_: types.void(tile, out, types.intp, types.intp), body)(value, out, at, stride)
