"""The range of a block, by the bits of its floats.

A float comparison may meet NaN, so it does not vectorise. The bits of a float order like integers once the magnitude
of negative ones is flipped; NaN and infinity come out at the ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from qviz._machine.kernels import float_bits, i32, kernel, order_key, u32
from qviz._machine.simd.vectors import _I32, _all, _function, _vector, _Vectors, intrinsic


def _extreme_key(name: str) -> Callable[[_Vectors], Any]:
    def body(v: _Vectors) -> Any:
        words = _vector(32, _I32)
        bits = v.load(0, words)
        keys = v.b.xor(bits, v.b.and_(v.b.ashr(bits, _all(words, 31)), _all(words, 0x7FFFFFFF)))
        reduce = v.b.module.declare_intrinsic(f"llvm.vector.reduce.{name}.v32i32", (), ir.FunctionType(_I32, [words]))
        return v.b.call(reduce, [keys])

    return body


@intrinsic
def smallest_key(typingctx, row):
    """The least of `order_key` over 32 float32."""
    return _function(types.int32, _extreme_key("smin"))(row)


@intrinsic
def largest_key(typingctx, row):
    """The greatest of `order_key` over 32 float32."""
    return _function(types.int32, _extreme_key("smax"))(row)


@intrinsic
def largest_bits(typingctx, row, at):
    """The bits (an int32) of the largest magnitude in float32 ``row[at:at+32]``; without a sign, bits order alike."""

    def body(v: _Vectors) -> Any:
        words = _vector(32, _I32)
        bits = v.b.and_(v.load(0, words, v.args[1]), _all(words, 0x7FFFFFFF))
        reduce = v.b.module.declare_intrinsic("llvm.vector.reduce.smax.v32i32", (), ir.FunctionType(_I32, [words]))
        return v.b.call(reduce, [bits])

    return _function(lambda a, i: types.int32(a, types.intp), body)(row, at)


@kernel
def largest_bits_twin(row, at):
    """Plain loop of `largest_bits`."""
    top = i32(0)
    for j in range(32):
        top = max(top, i32(u32(float_bits(row[at + j])) & u32(0x7FFFFFFF)))
    return top


@kernel
def smallest_key_twin(row):
    """Plain loop of `smallest_key`."""
    low = i32(0x7FFFFFFF)
    for j in range(32):
        low = min(low, order_key(i32(float_bits(row[j]))))
    return low


@kernel
def largest_key_twin(row):
    """Plain loop of `largest_key`."""
    high = i32(-0x80000000)
    for j in range(32):
        high = max(high, order_key(i32(float_bits(row[j]))))
    return high
