"""Lanes: sixteen float32 at once, with operators, one from each of sixteen blocks side by side.

A search that a block runs weight after weight cannot be vectorised inside the block without changing the order of
its sums. Sixteen blocks side by side can: `lanes` is a value of sixteen float32, one from each block, and a kernel
that computes with them reads like the scalar program that it is. Its running sums stay in registers, which the loop
vectoriser does not manage across an inner loop::

    total = total + weight * x            + - * / with lanes or one float32, each lane rounded as a scalar is
    low = simd.select(x < low, x, low)    < > == != give a mask; with NaN only != is true
    if simd.some(mask): ...

To ask for two things at once, let one decide what the other compares: LLVM packs masks into bytes to combine them,
and unpacks them again for each select.

Arrays are given flat or not, but C-contiguous, and positions count float32 from their start.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import models

from qviz._machine.simd.vectors import (
    _B16,
    _BIT,
    _FLOAT,
    _I32,
    _all,
    _function,
    _vector,
    _Vectors,
    extending,
    intrinsic,
    templates,
)

LANES = 16

_LANES, _MASK = _vector(LANES, _FLOAT), _vector(LANES, _BIT)


class _Value(types.Type):
    """A numba type that stands for one LLVM vector."""


lanes, lane_mask = _Value("lanes"), _Value("lane_mask")


class _ValueModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _LANES if kind == lanes else _MASK)


extending.register_model(_Value)(_ValueModel)


def _operator(function: Any, result: Any, emit: Callable[[Any, Any, Any], Any]) -> None:
    """Teach numba `function` on two lanes, or on lanes and one float32."""
    pairs = [(lanes, lanes), (lanes, types.float32), (types.float32, lanes)]

    @templates.infer_global(function)
    class Typing(templates.ConcreteTemplate):  # type: ignore[misc]
        cases = [templates.signature(result, *pair) for pair in pairs]  # noqa: RUF012  numba reads it from the class

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        v = _Vectors(context, builder, sig, args)
        both = [a if kind == lanes else v.splat(a, _LANES) for a, kind in zip(args, sig.args, strict=True)]
        return emit(builder, *both)

    for pair in pairs:
        extending.lower_builtin(function, *pair)(lower)


def _arithmetic(name: str) -> Callable[[Any, Any, Any], Any]:
    return lambda b, x, y: getattr(b, name)(x, y)


def _comparison(name: str) -> Callable[[Any, Any, Any], Any]:
    return lambda b, x, y: b.fcmp_ordered(name, x, y)


for _python, _llvm in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _operator(_python, lanes, _arithmetic(_llvm))
for _python, _llvm in ((operator.lt, "<"), (operator.gt, ">"), (operator.eq, "==")):
    _operator(_python, lane_mask, _comparison(_llvm))
_operator(operator.ne, lane_mask, lambda b, x, y: b.fcmp_unordered("!=", x, y))


@intrinsic
def load(typingctx, array, at):
    """Lanes from ``array[at:at+16]``."""
    return _function(lambda a, i: lanes(a, types.intp), lambda v: v.load(0, _LANES, v.args[1]))(array, at)


@intrinsic
def store(typingctx, array, at, value):
    """``array[at:at+16] = value``."""
    return _function(lambda a, i, x: types.void(a, types.intp, lanes), lambda v: v.store(v.args[2], 0, v.args[1]))(
        array, at, value
    )


@intrinsic
def spread(typingctx, number):
    """Lanes that all hold `number`."""
    return _function(lambda x: lanes(types.float32), lambda v: v.splat(v.args[0], _LANES))(number)


@intrinsic
def select(typingctx, where, yes, no):
    """`yes` in the lanes where the mask is set, `no` in the others."""
    return _function(lanes, lambda v: v.b.select(*v.args))(where, yes, no)


@intrinsic
def some(typingctx, where):
    """True if any lane of the mask is set."""

    def body(v: _Vectors) -> Any:
        word = ir.IntType(LANES)
        return v.b.icmp_unsigned("!=", v.b.bitcast(v.args[0], word), ir.Constant(word, 0))

    return _function(types.boolean, body)(where)


def _llvm_call(name: str) -> Callable[[_Vectors], Any]:
    def body(v: _Vectors) -> Any:
        function = v.b.module.declare_intrinsic(f"llvm.{name}.v{LANES}f32", (), ir.FunctionType(_LANES, [_LANES]))
        return v.b.call(function, [v.args[0]])

    return body


@intrinsic
def magnitude(typingctx, x):
    """|x|."""
    return _function(lanes, _llvm_call("fabs"))(x)


@intrinsic
def root(typingctx, x):
    """The square root, rounded once."""
    return _function(lanes, _llvm_call("sqrt"))(x)


@intrinsic
def nearest(typingctx, x):
    """Round to the nearest whole number, ties to even, as ggml's ``nearest_int`` does.

    Adding 1.5 · 2^23 leaves the whole number in the low 23 bits of the sum. Beyond ±(2^22 - 1) those bits wrap
    around, infinity gives -2^22, NaN gives 0: whatever the C code makes of such a number, so does this.
    """

    def body(v: _Vectors) -> Any:
        words = _vector(LANES, _I32)
        magic = ir.Constant(_LANES, [12582912.0] * LANES)
        bits = v.b.bitcast(v.b.fadd(v.args[0], magic), words)
        whole = v.b.or_(v.b.and_(bits, _all(words, 0x7FFFFF)), _all(words, 0x4B000000))
        return v.b.fsub(v.b.bitcast(whole, _LANES), magic)

    return _function(lanes, body)(x)


@intrinsic
def low_byte(typingctx, x):
    """Whole numbers modulo 256, as C's conversion to ``uint8_t``."""

    def body(v: _Vectors) -> Any:
        words = _vector(LANES, _I32)
        return v.b.sitofp(v.b.and_(v.b.fptosi(v.args[0], words), _all(words, 255)), _LANES)

    return _function(lanes, body)(x)


@intrinsic
def store_bytes(typingctx, array, at, value):
    """``array[at:at+16] = value`` for a uint8 or int8 array and whole numbers that fit."""

    def body(v: _Vectors) -> None:
        v.store(v.b.trunc(v.b.fptosi(v.args[2], _vector(LANES, _I32)), _B16), 0, v.args[1])

    return _function(lambda a, i, x: types.void(a, types.intp, lanes), body)(array, at, value)


@intrinsic
def store_nibbles(typingctx, array, at, first, second):
    """``array[at:at+16] = first + 16 * second`` for a uint8 array and numbers from 0 up to 16; their fractions drop."""

    def body(v: _Vectors) -> None:
        words = _vector(LANES, _I32)
        low, high = (v.b.fptosi(value, words) for value in v.args[2:])
        v.store(v.b.trunc(v.b.or_(low, v.b.shl(high, _all(words, 4))), _B16), 0, v.args[1])

    return _function(lambda a, i, x, y: types.void(a, types.intp, x, y), body)(array, at, first, second)


@intrinsic
def transpose(typingctx, source, at, stride, out, to):
    """``out[to+16*c+r] = source[at+stride*r+c]`` for a 16 × 16 square of float32."""

    def body(v: _Vectors) -> None:
        _, start, stride_value, _, to_value = v.args
        step = [v.b.mul(stride_value, ir.Constant(stride_value.type, k)) for k in range(LANES)]
        rows = [v.load(0, _LANES, v.b.add(start, k)) for k in step]
        words = _vector(LANES, _I32)
        low = ir.Constant(words, [k // 2 + LANES * (k % 2) for k in range(LANES)])
        high = ir.Constant(words, [LANES // 2 + k // 2 + LANES * (k % 2) for k in range(LANES)])
        # four times: interleave row k with row k + 8; each pass moves one bit of the row number into the column number
        for _ in range(4):
            pairs = [(rows[k], rows[k + LANES // 2]) for k in range(LANES // 2)]
            rows = [v.b.shuffle_vector(*pair, order) for pair in pairs for order in (low, high)]
        for k, row in enumerate(rows):
            v.store(row, 3, v.b.add(to_value, ir.Constant(to_value.type, LANES * k)))

    n = types.intp
    return _function(lambda a, i, s, o, t: types.void(a, n, n, o, n), body)(source, at, stride, out, to)
