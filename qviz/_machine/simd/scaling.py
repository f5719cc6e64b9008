"""Scales come in: eight float32 sums of words times scales, float16 widened and rounded."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from qviz._machine.kernels import f32, half_bits, half_float, kernel
from qviz._machine.simd.products import _F8, _HALF, _SHORT, _W8, floats, words
from qviz._machine.simd.vectors import _I32, _all, _call, _function, _pick, _vector, _Vectors, intrinsic


def _float(v: _Vectors, halves: Any) -> Any:
    """Eight float32 from the bits of eight float16."""
    if v.has("f16c") or v.context.codegen().magic_tuple()[0].startswith(("aarch64", "arm64")):
        return v.b.fpext(v.b.bitcast(halves, _vector(8, _HALF)), _F8)
    wide = v.b.zext(halves, _W8)  # as qviz._machine.kernels.half_float
    moved = v.b.shl(v.b.and_(wide, _all(_W8, 0x7FFF)), _all(_W8, 13))
    scaled = v.b.bitcast(v.b.fmul(v.b.bitcast(moved, _F8), ir.Constant(_F8, [2.0**112] * 8)), _W8)
    special = v.b.icmp_unsigned(">=", moved, _all(_W8, 0x0F800000))
    value = v.b.select(special, v.b.or_(moved, _all(_W8, 0x7F800000)), scaled)
    sign = v.b.shl(v.b.and_(wide, _all(_W8, 0x8000)), _all(_W8, 16))
    return v.b.bitcast(v.b.or_(value, sign), _F8)


def _halves(v: _Vectors, x: Any) -> Any:
    """The bits of the float16 next to eight float32."""
    shorts = _vector(8, _SHORT)
    if v.has("f16c") or v.context.codegen().magic_tuple()[0].startswith(("aarch64", "arm64")):
        return v.b.bitcast(v.b.fptrunc(x, _vector(8, _HALF)), shorts)
    b, bits = v.b, v.b.bitcast(x, _W8)  # as qviz._machine.kernels.half_bits
    a = b.and_(bits, _all(_W8, 0x7FFFFFFF))
    odd = b.and_(b.lshr(a, _all(_W8, 13)), _all(_W8, 1))
    half = b.lshr(b.add(b.add(a, _all(_W8, 0xC8000FFF - (1 << 32))), odd), _all(_W8, 13))
    small = b.bitcast(b.fadd(b.bitcast(a, _F8), ir.Constant(_F8, [0.5] * 8)), _W8)
    half = b.select(b.icmp_signed("<", a, _all(_W8, 0x38800000)), b.sub(small, _all(_W8, 0x3F000000)), half)
    half = b.select(b.icmp_signed(">=", a, _all(_W8, 0x477FF000)), _all(_W8, 0x7C00), half)
    half = b.select(b.icmp_signed(">", a, _all(_W8, 0x7F800000)), _all(_W8, 0x7E00), half)
    return b.trunc(b.or_(b.and_(b.lshr(bits, _all(_W8, 16)), _all(_W8, 0x8000)), half), shorts)


@intrinsic
def through_halves(typingctx, x, at, out):
    """Eight float32 from `x[at]` on, each rounded to the nearest float16 -> float32 ``out[at:at+8]``."""

    def body(v: _Vectors) -> None:
        v.store(_float(v, _halves(v, v.load(0, _F8, v.args[1]))), 2, v.args[1])

    return _function(lambda *_: types.void(x, types.intp, out), body)(x, at, out)


@kernel
def through_halves_twin(x, at, out):
    """Plain loop of `through_halves`."""
    for j in range(at, at + 8):
        out[j] = half_float(half_bits(x[j]))


@intrinsic
def widen_halves(typingctx, halves, at, out):
    """Eight float16 (as uint16) from `halves[at]` on -> float32 `out[0 … 7]` of a slice."""

    def body(v: _Vectors) -> None:
        v.store(_float(v, v.load(0, _vector(8, ir.IntType(16)), v.args[1])), 2)

    return _function(types.void, body)(halves, types.int64, out)


@kernel
def widen_halves_twin(halves, at, out):
    """Plain loop of `widen_halves`."""
    for j in range(8):
        out[j] = half_float(halves[at + j])


@intrinsic
def no_floats(typingctx):
    """Eight zeros."""
    return _function(lambda: floats(), lambda v: ir.Constant(_F8, [0.0] * 8))()


@intrinsic
def add_scaled(typingctx, total, products, d, x):
    """``total + d * x * products`` in eight float32; `d` is the bits of a float16, `x` a float32.

    The last product and the sum are rounded once where the host can do that.
    """

    def body(v: _Vectors) -> Any:
        before, products, d, x = v.args
        scale = v.b.fmul(_float(v, v.splat(d, _vector(8, _SHORT))), v.splat(x, _F8))
        return _call(v, "llvm.fmuladd.v8f32", _F8, scale, v.b.sitofp(products, _F8), before)

    return _function(lambda t, p, d, x: floats(floats, words, types.uint16, types.float32), body)(total, products, d, x)


@kernel
def add_scaled_twin(total, products, d, x):
    """Plain form of `add_scaled`, of totals."""
    return total + half_float(d) * x * f32(products)


@intrinsic
def add_two_scaled(typingctx, total, products, d, x, others, m, y):
    """``total + d * x * products + m * y * others`` as by `add_scaled`; one conversion serves `d` and `m`."""

    def body(v: _Vectors) -> Any:
        before, products, d, x, others, m, y = v.args
        bits = v.b.or_(v.b.zext(d, _I32), v.b.shl(v.b.zext(m, _I32), ir.Constant(_I32, 16)))
        both = _float(v, v.b.bitcast(v.splat(bits, _vector(4, _I32)), _vector(8, _SHORT)))
        order = ir.Constant(_W8, [0, 8] * 4)
        both = v.b.fmul(both, v.b.shuffle_vector(v.splat(x, _F8), v.splat(y, _F8), order))
        after = before
        for first, integers in ((1, others), (0, products)):
            scale = _pick(v, both, [first + k for k in (0, 0, 2, 2, 4, 4, 6, 6)])
            after = _call(v, "llvm.fmuladd.v8f32", _F8, scale, v.b.sitofp(integers, _F8), after)
        return after

    h, f = types.uint16, types.float32
    return _function(lambda *_: floats(floats, words, h, f, words, h, f), body)(total, products, d, x, others, m, y)


@kernel
def add_two_scaled_twin(total, products, d, x, others, m, y):
    """Plain form of `add_two_scaled`, of totals."""
    return total + half_float(d) * x * f32(products) + half_float(m) * y * f32(others)


@intrinsic
def total(typingctx, values):
    """Sum of eight float32, halves first; or of eight int32."""

    def body(v: _Vectors) -> Any:
        value = v.args[0]
        while value.type.count > 1:
            count = value.type.count // 2
            parts = [_pick(v, value, list(range(k, k + count))) for k in (0, count)]
            value = (v.b.fadd if values == floats else v.b.add)(*parts)
        return v.b.extract_element(value, ir.Constant(_I32, 0))

    return _function(lambda x: (types.float32 if x == floats else types.int32)(x), body)(values)
