"""The range of a block, by the bits of its floats.

A float comparison may meet NaN, so it does not vectorise. The bits of a float order like integers once the magnitude
of negative ones is flipped; NaN and infinity come out at the ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from qviz._machine.kernels import f32, float_bits, i32, kernel, order_key, u32
from qviz._machine.simd.vectors import _FLOAT, _I32, _all, _function, _moved, _vector, _Vectors, intrinsic


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


# --- sixteen blocks at once: the least and the greatest of each, a lane a block --------------------------------------

_FOLDS = (  # lanes of two vectors that meet: halves of each block, then quarters, then eighths
    ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]),
    ([0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]),
    ([0, 2, 8, 10, 4, 6, 12, 14], [1, 3, 9, 11, 5, 7, 13, 15]),
)
_TURN = (0, 4, 1, 5, 2, 6, 3, 7)  # in which order eight blocks meet, so that their lanes end in order
_EIGHT = _vector(8, _FLOAT)


def _choice(v: _Vectors, sign: str, x: Any, y: Any) -> Any:
    return v.b.select(v.b.fcmp_ordered(sign, y, x), y, x)


def _folded(v: _Vectors, sign: str, pair: tuple[Any, Any], fold: tuple[list[int], list[int]]) -> Any:
    order = [ir.Constant(_vector(8, _I32), lanes) for lanes in fold]
    return _choice(v, sign, *(v.b.shuffle_vector(*pair, lanes) for lanes in order))


@intrinsic
def sixteen_ranges(typingctx, x, start, last, low, high, to):
    """The least and the greatest of blocks `start` … `start + 16` of 32 float32 -> ``low[to:to+16]``, `high` alike.

    Blocks after number `last` count as that one. Where both a zero and its negative are the least, either is found.
    Returns True if all numbers are finite; may return False for huge ones, too.
    """

    def body(v: _Vectors) -> Any:
        b, index, (_, start, last, _, _, to) = v.b, v.args[1].type, v.args
        strange = [ir.Constant(_EIGHT, [0.0] * 8)] * 4  # several sums, since each waits for itself
        for half in range(2):
            waiting: list[list[list[Any]]] = [[], [], [], []]  # what waits for its like, by how often it met
            for turn in _TURN:
                block = _moved(v, start, 8 * half + turn)
                at = b.mul(b.select(b.icmp_signed("<", block, last), block, last), ir.Constant(index, 32))
                x = [v.load(0, _EIGHT, _moved(v, at, 8 * k)) for k in range(4)]
                for k, pair in enumerate((x[:2], x[2:])):
                    one = 2 * k + turn % 2
                    strange[one] = b.fadd(strange[one], b.fsub(*pair))  # infinity and NaN stay in it
                waiting[0].append([_choice(v, s, _choice(v, s, *x[:2]), _choice(v, s, *x[2:])) for s in "<>"])
                for level, fold in enumerate(_FOLDS):
                    if len(waiting[level]) == 2:
                        first, second = waiting[level]
                        met = [_folded(v, s, (first[k], second[k]), fold) for k, s in enumerate("<>")]
                        waiting[level] = []
                        waiting[level + 1].append(met)
            for k, found in enumerate(waiting[3][0]):
                v.store(found, 3 + k, _moved(v, to, 8 * half))
        strange_sum = b.fadd(b.fadd(*strange[:2]), b.fadd(*strange[2:]))
        odd = b.fcmp_unordered("uno", b.fsub(strange_sum, strange_sum), strange_sum)
        return b.icmp_unsigned("==", b.bitcast(odd, ir.IntType(8)), ir.Constant(ir.IntType(8), 0))

    n = types.intp
    return _function(lambda a, s, e, x, y, t: types.boolean(a, n, n, x, y, n), body)(x, start, last, low, high, to)


@kernel
def sixteen_ranges_twin(x, start, last, low, high, to):
    """Plain loop of `sixteen_ranges`."""
    finite = True
    for b in range(16):
        at = 32 * min(start + b, last)
        low[to + b], high[to + b] = x[at], x[at]
        for j in range(at, at + 32):
            low[to + b] = x[j] if x[j] < low[to + b] else low[to + b]
            high[to + b] = x[j] if x[j] > high[to + b] else high[to + b]
            finite = finite and x[j] - x[j] == f32(0)
    return finite
