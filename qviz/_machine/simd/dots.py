"""Dot products of 32 packed weights with int8 codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from qviz._machine.kernels import i8, i32, kernel, u8
from qviz._machine.simd.products import _LONG, _S16, _W8, _fours, _nibbles, _products, _signed_products, words
from qviz._machine.simd.vectors import (
    _B16,
    _B32,
    _BIT,
    _BYTE,
    _I32,
    _all,
    _function,
    _moved,
    _vector,
    _Vectors,
    intrinsic,
)

_AHEAD, _LINE = 8192, 64  # bytes that are asked for before they are needed; bytes that memory gives at a time


@intrinsic
def dot_bytes(typingctx, qs, codes, at):
    """Words: 32 int8 `qs` times ``codes[at:at+32]``."""

    def body(v: _Vectors) -> Any:
        return _signed_products(v, v.load(0, _B32), v.load(1, _B32, v.args[2]))

    return _function(lambda q, c, i: words(q, c, types.intp), body)(qs, codes, at)


@kernel
def dot_bytes_twin(qs, codes, at):
    """Plain loop of `dot_bytes`, summed."""
    total = i32(0)
    for j in range(32):
        total += i32(qs[j]) * i32(codes[at + j])
    return total


@intrinsic
def dot_nibbles(typingctx, qs, codes, at):
    """Words: 32 codes 0 … 15 of 16 bytes, as `split_nibbles` gives them, times ``codes[at:at+32]``."""

    def body(v: _Vectors) -> Any:
        return _products(v, v.join(*_nibbles(v, v.load(0, _B16))), v.load(1, _B32, v.args[2]))

    return _function(lambda q, c, i: words(q, c, types.intp), body)(qs, codes, at)


@kernel
def dot_nibbles_twin(qs, codes, at):
    """Plain loop of `dot_nibbles`, summed."""
    total = i32(0)
    for j in range(16):
        total += i32(qs[j] & u8(15)) * i32(codes[at + j]) + i32(qs[j] >> u8(4)) * i32(codes[at + j + 16])
    return total


@intrinsic
def dot_fives(typingctx, qh, qs, codes, at):
    """Words: 32 codes 0 … 31, as `split_fives` gives them, times ``codes[at:at+32]``; `qh` is 4 bytes."""

    def body(v: _Vectors) -> Any:
        set_bits = v.b.bitcast(v.load(0, _I32), _vector(32, _BIT))
        fifth = v.b.select(set_bits, _all(_B32, 16), _all(_B32, 0))
        unsigned = v.b.or_(v.join(*_nibbles(v, v.load(1, _B16))), fifth)
        return _products(v, unsigned, v.load(2, _B32, v.args[3]))

    return _function(lambda h, q, c, i: words(h, q, c, types.intp), body)(qh, qs, codes, at)


@kernel
def dot_fives_twin(qh, qs, codes, at):
    """Plain loop of `dot_fives`, summed."""
    total = i32(0)
    for j in range(32):
        fifth = u8(u8(u8(qh[j // 8] >> u8(j % 8)) & u8(1)) << u8(4))
        low = u8(qs[j % 16] >> u8(4 * (j // 16))) & u8(15)
        total += i32(u8(low | fifth)) * i32(codes[at + j])
    return total


@intrinsic
def fetch_ahead(typingctx, blocks, first):
    """Ask memory for the four blocks that lie `_AHEAD` bytes behind block `first`; nothing waits for them.

    Rows that are read four at a time look to the processor like many short streams, of which it foresees too little: a
    matrix that is larger than its caches came two to four times as slowly. Behind the end of an array nothing happens.
    """

    def body(v: _Vectors) -> Any:
        size = v.signature.args[0].dtype.size
        start = v.b.add(v.b.mul(v.args[1], ir.Constant(_LONG, size)), ir.Constant(_LONG, _AHEAD))
        address = v.b.gep(v.pointer(0, _BYTE), [start])
        kind = ir.FunctionType(ir.VoidType(), [address.type, _I32, _I32, _I32])
        prefetch = v.b.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        to_read, near, data = (ir.Constant(_I32, x) for x in (0, 3, 1))
        with cgutils.for_range(v.b, ir.Constant(_LONG, -(-4 * size // _LINE))) as loop:
            where = v.b.gep(address, [v.b.mul(loop.index, ir.Constant(_LONG, _LINE))])
            v.b.call(prefetch, [where, to_read, near, data])

    return _function(types.void, body)(blocks, types.intp)


@kernel
def fetch_ahead_twin(blocks, first):
    """Plain form of `fetch_ahead`: nothing."""


@intrinsic
def two_sums(typingctx, sums, at):
    """Words: ``sums[at]``, ``sums[at+1]`` and zeros."""

    def body(v: _Vectors) -> Any:
        two = v.load(0, _vector(2, _I32), v.args[1])
        zeros = ir.Constant(two.type, [0, 0])
        return v.b.shuffle_vector(two, zeros, ir.Constant(_W8, [0, 1, 2, 3, 2, 3, 2, 3]))

    return _function(lambda s, i: words(s, types.intp), body)(sums, at)


@intrinsic
def sixteen(typingctx, codes, at):
    """Sum of int8 ``codes[at:at+16]``, an int32."""

    def body(v: _Vectors) -> Any:
        value = _fours(v, v.b.sext(v.load(0, _B16, v.args[1]), _S16), _all(_S16, 1))
        reduce = v.b.module.declare_intrinsic("llvm.vector.reduce.add.v8i32", (), ir.FunctionType(_I32, [_W8]))
        return v.b.call(reduce, [value])

    return _function(lambda c, i: types.int32(c, types.intp), body)(codes, at)


@kernel
def sixteen_twin(codes, at):
    """Plain loop of `sixteen`."""
    total = i32(0)
    for j in range(16):
        total += i32(codes[at + j])
    return total


@kernel
def two_sums_twin(sums, at):
    """Plain form of `two_sums`, summed."""
    return sums[at] + sums[at + 1]


@intrinsic
def less(typingctx, x, y, shift):
    """Words: ``x - (y << shift)``, the offset that all codes share taken off."""

    def body(v: _Vectors) -> Any:
        return v.b.sub(v.args[0], v.b.shl(v.args[1], v.splat(v.args[2], _W8)))

    return _function(lambda a, b, n: words(words, words, types.int32), body)(x, y, shift)


# A code of a few bits may also lie in planes, 32 of them at a time: two bits of each in 8 bytes, byte l % 8 from bit
# 2 · (l // 8) on; then a third bit in 4 bytes; or four bits in 16 bytes, as `split_nibbles` has them.


def _two_bits(v: _Vectors, at: Any) -> Any:
    four = _vector(4, _LONG)
    packed = v.b.bitcast(v.load(0, _vector(8, _BYTE), at), _LONG)
    moved = v.b.lshr(v.splat(packed, four), ir.Constant(four, [0, 2, 4, 6]))
    return v.b.and_(v.b.bitcast(moved, _B32), _all(_B32, 3))


def _three_bits(v: _Vectors, at: Any) -> Any:
    third = v.b.bitcast(v.b.bitcast(v.load(0, _vector(4, _BYTE), _moved(v, at, 8)), _I32), _vector(32, _BIT))
    return v.b.or_(_two_bits(v, at), v.b.select(third, _all(_B32, 4), _all(_B32, 0)))


def _four_bits(v: _Vectors, at: Any) -> Any:
    return v.join(*_nibbles(v, v.load(0, _B16, at)))


def _dot_planes(codes_of: Callable[[_Vectors, Any], Any]) -> Any:
    """The intrinsic ``(qs, at_q, codes, at)``: words of 32 codes from byte `at_q` on, times ``codes[at:at+32]``."""

    @intrinsic
    def dot_planes(typingctx, qs, at_q, codes, at):
        def body(v: _Vectors) -> Any:
            return _products(v, codes_of(v, v.args[1]), v.load(2, _B32, v.args[3]))

        return _function(lambda *_: words(qs, types.intp, codes, types.intp), body)(qs, at_q, codes, at)

    return dot_planes


dot_two_bits, dot_three_bits, dot_four_bits = map(_dot_planes, (_two_bits, _three_bits, _four_bits))


@intrinsic
def dot_eight_bits(typingctx, qs, at_q, codes, at):
    """Words: 32 bytes from `at_q` on, taken as int8, times ``codes[at:at+32]``."""

    def body(v: _Vectors) -> Any:
        return _signed_products(v, v.load(0, _B32, v.args[1]), v.load(2, _B32, v.args[3]))

    return _function(lambda *_: words(qs, types.intp, codes, types.intp), body)(qs, at_q, codes, at)


@kernel
def code_in_planes(qs, at, l, bits):
    """Code `l` of the 32 from byte `at` on: what the four above multiply, one by one; 8 bits as int8."""
    if bits == 8:
        return i32(i8(qs[at + l]))
    if bits == 4:
        return i32(u8(qs[at + l % 16] >> u8(4 * (l // 16))) & u8(15))
    code = i32(u8(qs[at + l % 8] >> u8(2 * (l // 8))) & u8(3))
    if bits == 3:
        code |= i32(u8(qs[at + 8 + l // 8] >> u8(l % 8)) & u8(1)) << i32(2)
    return code


@intrinsic
def less_times(typingctx, x, y, factor):
    """Words: ``x - y * factor``; `factor` an int32."""

    def body(v: _Vectors) -> Any:
        return v.b.sub(v.args[0], v.b.mul(v.args[1], v.splat(v.args[2], _W8)))

    return _function(lambda a, b, f: words(words, words, types.int32), body)(x, y, factor)


@kernel
def less_twin(x, y, shift):
    """Plain form of `less`, of totals."""
    return x - (y << shift)
