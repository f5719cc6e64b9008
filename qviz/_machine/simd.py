"""The few places where numba's loop vectoriser is not enough: explicit, portable LLVM vectors.

LLVM chooses the instructions (dot products name two of x86). Each vector function has beside it a **twin**,
the same thing as a plain loop: students read the twin, tests compare the two. Kernels reach this module through
``qviz._machine.kernels.simd``, which imports it (and numba) only when a kernel is compiled.

Arrays given to these functions must be C-contiguous; nothing here checks a bound.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import extending as _extending
from numba import types
from numba.core.registry import cpu_target
from numba.core.typing import templates as _templates
from numba.extending import intrinsic as _intrinsic
from numba.extending import models

from qviz._machine.kernels import f32, float_bits, half_bits, half_float, i8, i32, kernel, order_key, u8, u16, u32

_I32 = ir.IntType(32)

# numba's types leave out that the typing context is not the caller's to pass
intrinsic: Callable[[Any], Any] = _intrinsic
extending: Any = _extending
templates: Any = _templates


class _Vectors:
    """What an intrinsic's body needs: pointers into numba arrays, vectors of them, constants."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.context, self.b, self.signature, self.args = context, builder, signature, args

    def pointer(self, argument: int, vector: Any, at: Any = None) -> Any:
        array = self.context.make_array(self.signature.args[argument])(self.context, self.b, self.args[argument])
        data = array.data if at is None else self.b.gep(array.data, [at])
        return self.b.bitcast(data, vector.as_pointer())

    def load(self, argument: int, vector: Any, at: Any = None) -> Any:
        return self.b.load(self.pointer(argument, vector, at), align=1)

    def store(self, value: Any, argument: int, at: Any = None) -> None:
        self.b.store(value, self.pointer(argument, value.type, at), align=1)

    def splat(self, value: Any, vector: Any) -> Any:
        first = self.b.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
        zeros = ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
        return self.b.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)

    def join(self, low: Any, high: Any) -> Any:
        n = low.type.count + high.type.count
        return self.b.shuffle_vector(low, high, ir.Constant(ir.VectorType(_I32, n), list(range(n))))

    def halves(self, value: Any) -> tuple[Any, Any]:
        n = value.type.count // 2
        undefined = ir.Constant(value.type, ir.Undefined)
        low, high = (ir.Constant(ir.VectorType(_I32, n), list(range(k, k + n))) for k in (0, n))
        return self.b.shuffle_vector(value, undefined, low), self.b.shuffle_vector(value, undefined, high)


def _vector(n: int, element: Any) -> Any:
    return ir.VectorType(element, n)


def _all(vector: Any, value: int) -> Any:
    return ir.Constant(vector, [value] * vector.count)


_BYTE, _BIT, _FLOAT = ir.IntType(8), ir.IntType(1), ir.FloatType()
_B16, _B32 = _vector(16, _BYTE), _vector(32, _BYTE)


def _function(result: Any, body: Callable[[_Vectors], Any]) -> Callable[..., Any]:
    """Shape an intrinsic's two halves: its signature from the argument types, its code from `body`."""

    def typed(*argument_types: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = body(_Vectors(context, builder, signature, args))
            return context.get_dummy_value() if value is None else value

        return result(*argument_types), codegen

    return typed


# --- the range of a block -------------------------------------------------------------------------------------------
#
# A float comparison may meet NaN, so it does not vectorise. The bits of a float order like integers once the
# magnitude of negative ones is flipped; NaN and infinity come out at the ends.


def _extreme_key(name: str) -> Callable[[_Vectors], Any]:
    def body(v: _Vectors) -> Any:
        words = _vector(32, _I32)
        bits = v.load(0, words)
        keys = v.b.xor(bits, v.b.and_(v.b.ashr(bits, _all(words, 31)), _all(words, 0x7FFFFFFF)))
        reduce = v.b.module.declare_intrinsic(f"llvm.vector.reduce.{name}.v32i32", (), ir.FunctionType(_I32, [words]))
        return v.b.call(reduce, [keys])

    return body


@intrinsic
def smallest_key(typingctx, row):  # type: ignore[no-untyped-def]
    """The least of `order_key` over 32 float32."""
    return _function(types.int32, _extreme_key("smin"))(row)


@intrinsic
def largest_key(typingctx, row):  # type: ignore[no-untyped-def]
    """The greatest of `order_key` over 32 float32."""
    return _function(types.int32, _extreme_key("smax"))(row)


@intrinsic
def largest_bits(typingctx, row, at):  # type: ignore[no-untyped-def]
    """The bits (an int32) of the largest magnitude in float32 ``row[at:at+32]``; without a sign, bits order alike."""

    def body(v: _Vectors) -> Any:
        words = _vector(32, _I32)
        bits = v.b.and_(v.load(0, words, v.args[1]), _all(words, 0x7FFFFFFF))
        reduce = v.b.module.declare_intrinsic("llvm.vector.reduce.smax.v32i32", (), ir.FunctionType(_I32, [words]))
        return v.b.call(reduce, [bits])

    return _function(lambda a, i: types.int32(a, types.intp), body)(row, at)


@kernel
def largest_bits_twin(row, at):  # type: ignore[no-untyped-def]
    """Plain loop of `largest_bits`."""
    top = i32(0)
    for j in range(32):
        top = max(top, i32(u32(float_bits(row[at + j])) & u32(0x7FFFFFFF)))
    return top


@kernel
def smallest_key_twin(row):  # type: ignore[no-untyped-def]
    """Plain loop of `smallest_key`."""
    low = i32(0x7FFFFFFF)
    for j in range(32):
        low = min(low, order_key(i32(float_bits(row[j]))))
    return low


@kernel
def largest_key_twin(row):  # type: ignore[no-untyped-def]
    """Plain loop of `largest_key`."""
    high = i32(-0x80000000)
    for j in range(32):
        high = max(high, order_key(i32(float_bits(row[j]))))
    return high


# --- from weights to codes -------------------------------------------------------------------------------------------


@intrinsic
def truncated_codes(typingctx, row, low, inverse, half, top, codes):  # type: ignore[no-untyped-def]
    """32 float32 -> uint8 `codes`: ``(x - low) * inverse + half``, cut to 0 … top, the fraction dropped; NaN -> 0."""

    def body(v: _Vectors) -> None:
        floats = _vector(32, _FLOAT)
        low_value, inverse_value, half_value, top_value = (v.splat(value, floats) for value in v.args[1:5])
        shifted = v.b.fmul(v.b.fsub(v.load(0, floats), low_value), inverse_value)
        steps = v.b.fadd(shifted, half_value)
        zero = ir.Constant(floats, [0.0] * 32)
        positive = v.b.select(v.b.fcmp_ordered(">", steps, zero), steps, zero)
        clipped = v.b.select(v.b.fcmp_ordered("<", positive, top_value), positive, top_value)
        v.store(v.b.trunc(v.b.fptosi(clipped, _vector(32, _I32)), _B32), 5)

    f = types.float32
    return _function(types.void, body)(row, f, f, f, f, codes)


@kernel
def truncated_codes_twin(row, low, inverse, half, top, codes):  # type: ignore[no-untyped-def]
    """Plain loop of `truncated_codes`."""
    for j in range(32):
        step = (row[j] - low) * inverse + half
        step = step if step > f32(0) else f32(0)
        codes[j] = u8(i32(step if step < top else top))


# 0.5 itself would round 0.49999997 up, since the sum is not exact; the float just below it rounds as C's roundf does.
_ALMOST_HALF = np.nextafter(np.float32(0.5), np.float32(0))


@intrinsic
def rounded_codes(typingctx, row, inverse, codes):  # type: ignore[no-untyped-def]
    """32 float32 -> int8 `codes`: ``x * inverse``, at most 127 in size, rounded half away from zero; NaN -> 0."""

    def body(v: _Vectors) -> None:
        floats, words = _vector(32, _FLOAT), _vector(32, _I32)
        value = v.b.fmul(v.load(0, floats), v.splat(v.args[1], floats))
        sign = v.b.and_(v.b.bitcast(value, words), _all(words, -0x80000000))
        half = v.b.or_(sign, _all(words, int(_ALMOST_HALF.view(np.int32))))
        steps = v.b.fadd(value, v.b.bitcast(half, floats))
        number = v.b.fcmp_ordered("ord", steps, steps)
        defined = v.b.select(number, steps, ir.Constant(floats, [0.0] * 32))
        v.store(v.b.trunc(v.b.fptosi(defined, words), _B32), 2)

    return _function(types.void, body)(row, types.float32, codes)


@kernel
def rounded_codes_twin(row, inverse, codes):  # type: ignore[no-untyped-def]
    """Plain loop of `rounded_codes`."""
    for j in range(32):
        value = row[j] * inverse
        step = value + np.copysign(_ALMOST_HALF, value)
        codes[j] = i8(i32(step if step == step else f32(0)))


# --- 4-bit codes: weights l and l + 16 share a byte --------------------------------------------------------------


@intrinsic
def split_nibbles(typingctx, qs, codes, offset):  # type: ignore[no-untyped-def]
    """16 bytes `qs` -> 32 int8 `codes`, `offset` taken off each."""

    def body(v: _Vectors) -> None:
        packed = v.load(0, _B16)
        both = v.join(v.b.and_(packed, _all(_B16, 15)), v.b.lshr(packed, _all(_B16, 4)))
        v.store(v.b.sub(both, v.splat(v.args[2], _B32)), 1)

    return _function(types.void, body)(qs, codes, types.int8)


@kernel
def split_nibbles_twin(qs, codes, offset):  # type: ignore[no-untyped-def]
    """Plain loop of `split_nibbles`."""
    for j in range(16):
        codes[j] = i8(qs[j] & u8(15)) - offset
        codes[j + 16] = i8(qs[j] >> u8(4)) - offset


@intrinsic
def join_nibbles(typingctx, codes, qs):  # type: ignore[no-untyped-def]
    """The low four bits of 32 uint8 `codes` -> 16 bytes `qs`."""

    def body(v: _Vectors) -> None:
        low, high = v.halves(v.load(0, _B32))
        v.store(v.b.or_(v.b.and_(low, _all(_B16, 15)), v.b.shl(high, _all(_B16, 4))), 1)

    return _function(types.void, body)(codes, qs)


@kernel
def join_nibbles_twin(codes, qs):  # type: ignore[no-untyped-def]
    """Plain loop of `join_nibbles`."""
    for j in range(16):
        qs[j] = u8((codes[j] & u8(15)) | u8(codes[j + 16] << u8(4)))


# --- 5-bit codes: the fifth bits stand apart, in a 32-bit word ------------------------------------------------------


@intrinsic
def split_fives(typingctx, word, qs, codes, offset):  # type: ignore[no-untyped-def]
    """16 bytes `qs` and the `word` of fifth bits -> 32 int8 `codes`, `offset` taken off each."""

    def body(v: _Vectors) -> None:
        packed = v.load(1, _B16)
        both = v.join(v.b.and_(packed, _all(_B16, 15)), v.b.lshr(packed, _all(_B16, 4)))
        set_bits = v.b.bitcast(v.args[0], _vector(32, _BIT))
        fifth = v.b.select(set_bits, _all(_B32, 16), _all(_B32, 0))
        v.store(v.b.sub(v.b.or_(both, fifth), v.splat(v.args[3], _B32)), 2)

    return _function(types.void, body)(types.uint32, qs, codes, types.int8)


@kernel
def split_fives_twin(word, qs, codes, offset):  # type: ignore[no-untyped-def]
    """Plain loop of `split_fives`."""
    for j in range(16):
        codes[j] = i8((qs[j] & u8(15)) | u8(u8(u32(word >> u32(j)) & u32(1)) << u8(4))) - offset
        codes[j + 16] = i8((qs[j] >> u8(4)) | u8(u8(u32(word >> u32(j + 16)) & u32(1)) << u8(4))) - offset


@intrinsic
def fifth_bits(typingctx, codes):  # type: ignore[no-untyped-def]
    """The fifth bits of 32 uint8 `codes` (0 … 31): bit l of the result belongs to code l."""

    def body(v: _Vectors) -> Any:
        return v.b.bitcast(v.b.icmp_unsigned(">", v.load(0, _B32), _all(_B32, 15)), _I32)

    return _function(types.uint32, body)(codes)


@kernel
def fifth_bits_twin(codes):  # type: ignore[no-untyped-def]
    """Plain loop of `fifth_bits`."""
    word = u32(0)
    for j in range(32):
        word = u32(word | u32(u32(codes[j] >> u8(4)) << u32(j)))
    return word


@intrinsic
def copy32(typingctx, qs, codes):  # type: ignore[no-untyped-def]
    """32 bytes from `qs` to `codes`."""

    def body(v: _Vectors) -> None:
        v.store(v.load(0, _B32), 1)

    return _function(types.void, body)(qs, codes)


# --- decoding -------------------------------------------------------------------------------------------------------


@intrinsic
def _stream16(typingctx, out, codes, at, scale, low):  # type: ignore[no-untyped-def]
    """``out[at:at+16] = codes[at:at+16] * scale - low``, stored past the cache; `out` 64-byte aligned."""

    def body(v: _Vectors) -> None:
        floats, at_value = _vector(16, _FLOAT), v.args[2]
        scales, lows = v.splat(v.args[3], floats), v.splat(v.args[4], floats)
        weights = v.b.fsub(v.b.fmul(v.b.sitofp(v.load(1, _B16, at_value), floats), scales), lows)
        store = v.b.store(weights, v.pointer(0, floats, at_value), align=64)
        store.set_metadata("nontemporal", v.b.module.add_metadata([ir.Constant(_I32, 1)]))

    return _function(types.void, body)(out, codes, types.uint64, types.float32, types.float32)


@intrinsic
def _stream_copy16(typingctx, out, at_out, values, at):  # type: ignore[no-untyped-def]
    """``out[at_out:at_out+16] = values[at:at+16]`` for float32, stored past the cache; `out` 64-byte aligned."""

    def body(v: _Vectors) -> None:
        floats = _vector(16, _FLOAT)
        store = v.b.store(v.load(2, floats, v.args[3]), v.pointer(0, floats, v.args[1]), align=64)
        store.set_metadata("nontemporal", v.b.module.add_metadata([ir.Constant(_I32, 1)]))

    return _function(types.void, body)(out, types.uint64, values, types.uint64)


@kernel
def copy_streaming(values, n, out, start):  # type: ignore[no-untyped-def]
    """``out[start:start+n] = values[:n]`` past the cache; `start` a multiple of 16, `out` 64-byte aligned."""
    whole = n // 16 * 16
    for j in range(0, whole, 16):
        _stream_copy16(out, np.uint64(start + j), values, np.uint64(j))
    for j in range(whole, n):
        out[start + j] = values[j]


@kernel
def decode_streaming(codes, scales, mins, out):  # type: ignore[no-untyped-def]
    """`qviz.formats.base.decode` for outputs larger than the cache: 64-byte aligned, width a multiple of 16.

    A plain store first reads the line that it is about to overwrite; a non-temporal one does not, which made
    decoding 64 MB twice as fast.
    """
    n, width = codes.shape
    for b in range(n):
        scale, low = f32(scales[b]), f32(mins[b])
        for j in range(width // 16):
            _stream16(out, codes, np.uint64(b * width + j * 16), scale, low)


# --- codes that stand for the levels of a table ---------------------------------------------------------------------


@intrinsic
def _look_up16(typingctx, codes, at, table):  # type: ignore[no-untyped-def]
    """``codes[at:at+16] = table[codes[at:at+16]]``: element by element in LLVM, one byte shuffle on x86."""

    def body(v: _Vectors) -> None:
        # the mask shows LLVM that no index leaves the table
        index, levels = v.b.and_(v.load(0, _B16, v.args[1]), _all(_B16, 15)), v.load(2, _B16)
        found = ir.Constant(_B16, ir.Undefined)
        for k in range(16):
            lane = ir.Constant(_I32, k)
            level = v.b.extract_element(levels, v.b.zext(v.b.extract_element(index, lane), _I32))
            found = v.b.insert_element(found, level, lane)
        v.store(found, 0, v.args[1])

    return _function(types.void, body)(codes, types.uint64, table)


@kernel
def look_up(codes, table):  # type: ignore[no-untyped-def]
    """int8 `codes` 0 … 15, a multiple of 16 of them -> the levels in the int8 `table` (16,), in place."""
    for j in range(codes.size // 16):
        _look_up16(codes, np.uint64(16 * j), table)


@kernel
def look_up_twin(codes, table):  # type: ignore[no-untyped-def]
    """Plain loop of `look_up`."""
    for j in range(codes.size):
        codes[j] = table[codes[j] & i8(15)]


# --- codes of one or two bits, and ternary digits --------------------------------------------------------------------


@intrinsic
def take_bits(typingctx, qs, at, shift, mask, offset, codes, to):  # type: ignore[no-untyped-def]
    """``codes[to:to+32] = (qs[at:at+32] >> shift & mask) - offset`` on bytes."""

    def body(v: _Vectors) -> None:
        moved = v.b.lshr(v.load(0, _B32, v.args[1]), v.splat(v.args[2], _B32))
        v.store(v.b.sub(v.b.and_(moved, v.splat(v.args[3], _B32)), v.splat(v.args[4], _B32)), 5, v.args[6])

    return _function(types.void, body)(qs, types.uint64, types.uint8, types.uint8, types.int8, codes, types.uint64)


@kernel
def take_bits_twin(qs, at, shift, mask, offset, codes, to):  # type: ignore[no-untyped-def]
    """Plain loop of `take_bits`."""
    for j in range(32):
        codes[to + j] = i8(u8(qs[at + j] >> shift) & mask) - offset


@intrinsic
def add_bits(typingctx, qs, at, shift, mask, up, offset, codes, to):  # type: ignore[no-untyped-def]
    """``codes[to:to+32] += ((qs[at:at+32] >> shift & mask) << up) - offset`` on bytes: what `take_bits` left out."""

    def body(v: _Vectors) -> None:
        low, mask_value, up_value, offset_value = (v.splat(value, _B32) for value in v.args[2:6])
        bits = v.b.shl(v.b.and_(v.b.lshr(v.load(0, _B32, v.args[1]), low), mask_value), up_value)
        v.store(v.b.sub(v.b.add(v.load(6, _B32, v.args[7]), bits), offset_value), 6, v.args[7])

    n, u, i = types.uint64, types.uint8, types.int8
    return _function(types.void, body)(qs, n, u, u, u, i, codes, n)


@kernel
def add_bits_twin(qs, at, shift, mask, up, offset, codes, to):  # type: ignore[no-untyped-def]
    """Plain loop of `add_bits`."""
    for j in range(32):
        codes[to + j] += i8(u8(u8(qs[at + j] >> shift) & mask) << up) - offset


@intrinsic
def put_bits(typingctx, codes, at, shift, mask, up, qs, to):  # type: ignore[no-untyped-def]
    """``qs[to:to+32] |= (codes[at:at+32] >> shift & mask) << up`` on bytes: the way back."""

    def body(v: _Vectors) -> None:
        low, mask_value, up_value = (v.splat(value, _B32) for value in v.args[2:5])
        bits = v.b.shl(v.b.and_(v.b.lshr(v.load(0, _B32, v.args[1]), low), mask_value), up_value)
        v.store(v.b.or_(v.load(5, _B32, v.args[6]), bits), 5, v.args[6])

    n, u = types.uint64, types.uint8
    return _function(types.void, body)(codes, n, u, u, u, qs, n)


@kernel
def put_bits_twin(codes, at, shift, mask, up, qs, to):  # type: ignore[no-untyped-def]
    """Plain loop of `put_bits`."""
    for j in range(32):
        qs[to + j] |= u8(u8(u8(codes[at + j] >> shift) & mask) << up)


@intrinsic
def six_bit_pairs(typingctx, packed, d, dmin, scales, mins, at):  # type: ignore[no-untyped-def]
    """12 bytes of eight 6-bit scales and minimums -> ``scales[at:at+8]``, times `d`, and ``mins``, times `dmin`."""

    def body(v: _Vectors) -> None:
        four, eight = _vector(4, _BYTE), _vector(8, _FLOAT)
        first, second, third = (v.load(0, four, ir.Constant(ir.IntType(64), k)) for k in (0, 4, 8))

        def upper(half: Any) -> Any:
            return v.b.and_(v.b.lshr(half, _all(four, 2)), _all(four, 48))

        for low, high, field, argument in (
            (first, v.b.and_(third, _all(four, 15)), 1, 3),
            (second, v.b.lshr(third, _all(four, 4)), 2, 4),
        ):
            steps = v.join(v.b.and_(low, _all(four, 63)), v.b.or_(high, upper(low)))
            v.store(v.b.fmul(v.splat(v.args[field], eight), v.b.uitofp(steps, eight)), argument, v.args[5])

    f = types.float32
    return _function(types.void, body)(packed, f, f, scales, mins, types.uint64)


@kernel
def six_bit_pairs_twin(packed, d, dmin, scales, mins, at):  # type: ignore[no-untyped-def]
    """Plain loop of `six_bit_pairs`."""
    for j in range(4):
        scales[at + j] = d * f32(packed[j] & u8(63))
        mins[at + j] = dmin * f32(packed[j + 4] & u8(63))
        scales[at + j + 4] = d * f32(u8((packed[j + 8] & u8(15)) | u8(u8(packed[j] >> u8(6)) << u8(4))))
        mins[at + j + 4] = dmin * f32(u8((packed[j + 8] >> u8(4)) | u8(u8(packed[j + 4] >> u8(6)) << u8(4))))


def _digits(v: _Vectors, moved: Any) -> Any:
    words = _vector(16, ir.IntType(16))
    digit = v.b.lshr(v.b.mul(v.b.zext(moved, words), _all(words, 3)), _all(words, 8))
    return v.b.sub(v.b.trunc(digit, _B16), _all(_B16, 1))


@intrinsic
def take_trits(typingctx, qs, at, power, codes, to):  # type: ignore[no-untyped-def]
    """Ternary digits −1, 0, 1 of 16 bytes, at `codes[to]`: the integer part of ``3 · (qs · power mod 256) / 256``."""

    def body(v: _Vectors) -> None:
        v.store(_digits(v, v.b.mul(v.load(0, _B16, v.args[1]), v.splat(v.args[2], _B16))), 3, v.args[4])

    return _function(types.void, body)(qs, types.uint64, types.uint8, codes, types.uint64)


@kernel
def take_trits_twin(qs, at, power, codes, to):  # type: ignore[no-untyped-def]
    """Plain loop of `take_trits`."""
    for j in range(16):
        codes[to + j] = i8(u16(u16(u8(qs[at + j] * power)) * u16(3)) >> u16(8)) - i8(1)


@intrinsic
def take_last_trits(typingctx, qh, codes, to):  # type: ignore[no-untyped-def]
    """First, then second, third and fourth digits of four bytes: sixteen at `codes[to]`, as `take_trits`."""

    def body(v: _Vectors) -> None:
        four = v.load(0, _vector(4, _BYTE))
        again = ir.Constant(_vector(16, _I32), [0, 1, 2, 3] * 4)
        repeated = v.b.shuffle_vector(four, ir.Constant(four.type, ir.Undefined), again)
        powers = ir.Constant(_B16, [3**k for k in range(4) for _ in range(4)])
        v.store(_digits(v, v.b.mul(repeated, powers)), 1, v.args[2])

    return _function(types.void, body)(qh, codes, types.uint64)


@kernel
def take_last_trits_twin(qh, codes, to):  # type: ignore[no-untyped-def]
    """Plain loop of `take_last_trits`."""
    power = u8(1)
    for k in range(4):
        for j in range(4):
            codes[to + 4 * k + j] = i8(u16(u16(u8(qh[j] * power)) * u16(3)) >> u16(8)) - i8(1)
        power = u8(power * u8(3))


@intrinsic
def spread_signs(typingctx, word, codes, to):  # type: ignore[no-untyped-def]
    """Bit l of the 32-bit `word` -> `codes[to + l]`: 1 if it is set, else −1."""

    def body(v: _Vectors) -> None:
        set_bits = v.b.bitcast(v.args[0], _vector(32, _BIT))
        v.store(v.b.select(set_bits, _all(_B32, 1), _all(_B32, -1)), 1, v.args[2])

    return _function(types.void, body)(types.uint32, codes, types.uint64)


@kernel
def spread_signs_twin(word, codes, to):  # type: ignore[no-untyped-def]
    """Plain loop of `spread_signs`."""
    for j in range(32):
        codes[to + j] = i8(i8(u32(word >> u32(j)) & u32(1)) * i8(2)) - i8(1)


# --- lanes: sixteen float32 at once, with operators ------------------------------------------------------------------
#
# A search that a block runs weight after weight cannot be vectorised inside the block without changing the order of
# its sums. Sixteen blocks side by side can: `lanes` is a value of sixteen float32, one from each block, and a kernel
# that computes with them reads like the scalar program that it is. Its running sums stay in registers, which the loop
# vectoriser does not manage across an inner loop.
#
#     total = total + weight * x            + - * / with lanes or one float32, each lane rounded as a scalar is
#     low = simd.select(x < low, x, low)    < > == != give a mask; with NaN only != is true
#     if simd.some(mask): ...
#
# To ask for two things at once, let one decide what the other compares: LLVM packs masks into bytes to combine them,
# and unpacks them again for each select.
#
# Arrays are given flat or not, but C-contiguous, and positions count float32 from their start.

LANES = 16

_LANES, _MASK = _vector(LANES, _FLOAT), _vector(LANES, _BIT)


class _Value(types.Type):
    """A numba type that stands for one LLVM vector."""


lanes, lane_mask = _Value("lanes"), _Value("lane_mask")


class _ValueModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _LANES if kind == lanes else _MASK)  # type: ignore[no-untyped-call]


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
def load(typingctx, array, at):  # type: ignore[no-untyped-def]
    """Lanes from ``array[at:at+16]``."""
    return _function(lambda a, i: lanes(a, types.intp), lambda v: v.load(0, _LANES, v.args[1]))(array, at)


@intrinsic
def store(typingctx, array, at, value):  # type: ignore[no-untyped-def]
    """``array[at:at+16] = value``."""
    return _function(lambda a, i, x: types.void(a, types.intp, lanes), lambda v: v.store(v.args[2], 0, v.args[1]))(
        array, at, value
    )


@intrinsic
def spread(typingctx, number):  # type: ignore[no-untyped-def]
    """Lanes that all hold `number`."""
    return _function(lambda x: lanes(types.float32), lambda v: v.splat(v.args[0], _LANES))(number)


@intrinsic
def select(typingctx, where, yes, no):  # type: ignore[no-untyped-def]
    """`yes` in the lanes where the mask is set, `no` in the others."""
    return _function(lanes, lambda v: v.b.select(*v.args))(where, yes, no)


@intrinsic
def some(typingctx, where):  # type: ignore[no-untyped-def]
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
def magnitude(typingctx, x):  # type: ignore[no-untyped-def]
    """|x|."""
    return _function(lanes, _llvm_call("fabs"))(x)


@intrinsic
def root(typingctx, x):  # type: ignore[no-untyped-def]
    """The square root, rounded once."""
    return _function(lanes, _llvm_call("sqrt"))(x)


@intrinsic
def nearest(typingctx, x):  # type: ignore[no-untyped-def]
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
def low_byte(typingctx, x):  # type: ignore[no-untyped-def]
    """Whole numbers modulo 256, as C's conversion to ``uint8_t``."""

    def body(v: _Vectors) -> Any:
        words = _vector(LANES, _I32)
        return v.b.sitofp(v.b.and_(v.b.fptosi(v.args[0], words), _all(words, 255)), _LANES)

    return _function(lanes, body)(x)


@intrinsic
def store_bytes(typingctx, array, at, value):  # type: ignore[no-untyped-def]
    """``array[at:at+16] = value`` for a uint8 or int8 array and whole numbers that fit."""

    def body(v: _Vectors) -> None:
        v.store(v.b.trunc(v.b.fptosi(v.args[2], _vector(LANES, _I32)), _B16), 0, v.args[1])

    return _function(lambda a, i, x: types.void(a, types.intp, lanes), body)(array, at, value)


@intrinsic
def transpose(typingctx, source, at, stride, out, to):  # type: ignore[no-untyped-def]
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


# --- dot products of packed weights with int8 codes ------------------------------------------------------------------
#
# Integers first: products of two bytes, two of them summed in 16 bits; two of those, times the step of their sub-block,
# in 32. `words` is a value of eight such int32: their total is the dot product, and only the twins form it. Then scales
# come in, which are floats. An x86 instruction is named in `_pairs` and `_fours` alone, for hosts that have it, since
# LLVM does not find it from the portable lines beside.


class _Packed(types.Type):
    """A numba type that stands for one LLVM vector of its own, or a few."""

    def __init__(self, name: str, vector: Any) -> None:
        super().__init__(name)
        self.vector = vector


class _PackedModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, kind.vector)  # type: ignore[no-untyped-call]


extending.register_model(_Packed)(_PackedModel)

_SHORT, _HALF, _LONG = ir.IntType(16), ir.HalfType(), ir.IntType(64)
_S16, _W8, _F8 = _vector(16, _SHORT), _vector(8, _I32), _vector(8, _FLOAT)

words, steps, floats = _Packed("words", _W8), _Packed("steps", _S16), _Packed("floats", _F8)


def _has(codegen: Any, feature: str) -> bool:
    triple, _, features = codegen.magic_tuple()
    return bool(triple.startswith("x86_64") and f"+{feature}" in features.split(","))


def _host_has(v: _Vectors, feature: str) -> bool:
    """Whether numba compiles for an x86 with this feature; numba's cache keeps hosts apart."""
    return _has(v.context.codegen(), feature)


def largest_code() -> int:
    """Up to which code tiles are fast here: 63 if products are summed in 16 bits (AVX2), 255 if in 32 (VNNI), or −1."""
    codegen = cpu_target.target_context.codegen()
    return 255 if _has(codegen, "avx512vnni") else 63 if _has(codegen, "avx2") else -1


def _pick(v: _Vectors, value: Any, lanes: list[int]) -> Any:
    order = ir.Constant(ir.VectorType(_I32, len(lanes)), lanes)
    return v.b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), order)


def _call(v: _Vectors, name: str, result: Any, *args: Any) -> Any:
    return v.b.call(v.b.module.declare_intrinsic(name, (), ir.FunctionType(result, [a.type for a in args])), args)


def _paired(v: _Vectors, wide: Any, x: tuple[Any, bool], y: tuple[Any, bool]) -> Any:
    """Neighbours' products summed: ``x[2j] * y[2j] + x[2j+1] * y[2j+1]``; each comes with whether it has a sign."""

    def part(value: Any, signed: bool, first: int) -> Any:
        return (v.b.sext if signed else v.b.zext)(_pick(v, value, list(range(first, value.type.count, 2))), wide)

    return v.b.add(*(v.b.mul(part(*x, first), part(*y, first)) for first in (0, 1)))


def _pairs(v: _Vectors, unsigned: Any, signed: Any) -> Any:
    """32 unsigned bytes, at most 63, times 32 signed ones, two and two: no sum leaves 16 bits."""
    if _host_has(v, "avx2"):
        return _call(v, "llvm.x86.avx2.pmadd.ub.sw", _S16, unsigned, signed)
    return _paired(v, _S16, (unsigned, False), (signed, True))


def _fours(v: _Vectors, shorts: Any, factors: Any) -> Any:
    """16 products of int16, two and two."""
    if _host_has(v, "avx2"):
        return _call(v, "llvm.x86.avx2.pmadd.wd", _W8, shorts, factors)
    return _paired(v, _W8, (shorts, True), (factors, True))


def _fours_of_bytes(v: _Vectors, total: Any, unsigned: Any, signed: Any) -> Any:
    """Eight int32, each with four more products of bytes."""
    words = llvmlite.binding.llvm_version_info[0] < 22  # before, the bytes were passed as words
    bytes_ = [v.b.bitcast(value, _W8 if words else _B32) for value in (unsigned, signed)]
    return _call(v, "llvm.x86.avx512.vpdpbusd.256", _W8, total, *bytes_)


def _moved(v: _Vectors, at: Any, by: int) -> Any:
    return v.b.add(at, ir.Constant(at.type, by))


def _bits(v: _Vectors, value: Any, shift: int, mask: int) -> Any:
    """Bytes shifted to the right, or to the left by a negative `shift`, and masked."""
    moved = v.b.lshr(value, _all(value.type, shift)) if shift >= 0 else v.b.shl(value, _all(value.type, -shift))
    return v.b.and_(moved, _all(value.type, mask))


def _nibbles(v: _Vectors, packed: Any) -> tuple[Any, Any]:
    return _bits(v, packed, 0, 15), _bits(v, packed, 4, 15)


def _products(v: _Vectors, unsigned: Any, signed: Any) -> Any:
    """Words of 32 unsigned bytes, at most 63, times 32 signed ones."""
    return _fours(v, _pairs(v, unsigned, signed), _all(_S16, 1))


def _signed_products(v: _Vectors, *rows: Any) -> Any:
    """Words of 32 signed bytes times 32 signed ones."""
    low, high = zip(*(v.halves(v.b.sext(row, _vector(32, _SHORT))) for row in rows), strict=True)
    return v.b.add(_fours(v, *low), _fours(v, *high))


@intrinsic
def dot_bytes(typingctx, qs, codes, at):  # type: ignore[no-untyped-def]
    """Words: 32 int8 `qs` times ``codes[at:at+32]``."""

    def body(v: _Vectors) -> Any:
        return _signed_products(v, v.load(0, _B32), v.load(1, _B32, v.args[2]))

    return _function(lambda q, c, i: words(q, c, types.intp), body)(qs, codes, at)


@kernel
def dot_bytes_twin(qs, codes, at):  # type: ignore[no-untyped-def]
    """Plain loop of `dot_bytes`, summed."""
    total = i32(0)
    for j in range(32):
        total += i32(qs[j]) * i32(codes[at + j])
    return total


@intrinsic
def dot_nibbles(typingctx, qs, codes, at):  # type: ignore[no-untyped-def]
    """Words: 32 codes 0 … 15 of 16 bytes, as `split_nibbles` gives them, times ``codes[at:at+32]``."""

    def body(v: _Vectors) -> Any:
        return _products(v, v.join(*_nibbles(v, v.load(0, _B16))), v.load(1, _B32, v.args[2]))

    return _function(lambda q, c, i: words(q, c, types.intp), body)(qs, codes, at)


@kernel
def dot_nibbles_twin(qs, codes, at):  # type: ignore[no-untyped-def]
    """Plain loop of `dot_nibbles`, summed."""
    total = i32(0)
    for j in range(16):
        total += i32(qs[j] & u8(15)) * i32(codes[at + j]) + i32(qs[j] >> u8(4)) * i32(codes[at + j + 16])
    return total


@intrinsic
def dot_fives(typingctx, qh, qs, codes, at):  # type: ignore[no-untyped-def]
    """Words: 32 codes 0 … 31, as `split_fives` gives them, times ``codes[at:at+32]``; `qh` is 4 bytes."""

    def body(v: _Vectors) -> Any:
        set_bits = v.b.bitcast(v.load(0, _I32), _vector(32, _BIT))
        fifth = v.b.select(set_bits, _all(_B32, 16), _all(_B32, 0))
        unsigned = v.b.or_(v.join(*_nibbles(v, v.load(1, _B16))), fifth)
        return _products(v, unsigned, v.load(2, _B32, v.args[3]))

    return _function(lambda h, q, c, i: words(h, q, c, types.intp), body)(qh, qs, codes, at)


@kernel
def dot_fives_twin(qh, qs, codes, at):  # type: ignore[no-untyped-def]
    """Plain loop of `dot_fives`, summed."""
    total = i32(0)
    for j in range(32):
        fifth = u8(u8(u8(qh[j // 8] >> u8(j % 8)) & u8(1)) << u8(4))
        low = u8(qs[j % 16] >> u8(4 * (j // 16))) & u8(15)
        total += i32(u8(low | fifth)) * i32(codes[at + j])
    return total


@intrinsic
def two_sums(typingctx, sums, at):  # type: ignore[no-untyped-def]
    """Words: ``sums[at]``, ``sums[at+1]`` and zeros."""

    def body(v: _Vectors) -> Any:
        two = v.load(0, _vector(2, _I32), v.args[1])
        zeros = ir.Constant(two.type, [0, 0])
        return v.b.shuffle_vector(two, zeros, ir.Constant(_W8, [0, 1, 2, 3, 2, 3, 2, 3]))

    return _function(lambda s, i: words(s, types.intp), body)(sums, at)


@intrinsic
def sixteen(typingctx, codes, at):  # type: ignore[no-untyped-def]
    """Sum of int8 ``codes[at:at+16]``, an int32."""

    def body(v: _Vectors) -> Any:
        value = _fours(v, v.b.sext(v.load(0, _B16, v.args[1]), _S16), _all(_S16, 1))
        reduce = v.b.module.declare_intrinsic("llvm.vector.reduce.add.v8i32", (), ir.FunctionType(_I32, [_W8]))
        return v.b.call(reduce, [value])

    return _function(lambda c, i: types.int32(c, types.intp), body)(codes, at)


@kernel
def sixteen_twin(codes, at):  # type: ignore[no-untyped-def]
    """Plain loop of `sixteen`."""
    total = i32(0)
    for j in range(16):
        total += i32(codes[at + j])
    return total


@kernel
def two_sums_twin(sums, at):  # type: ignore[no-untyped-def]
    """Plain form of `two_sums`, summed."""
    return sums[at] + sums[at + 1]


@intrinsic
def less(typingctx, x, y, shift):  # type: ignore[no-untyped-def]
    """Words: ``x - (y << shift)``, the offset that all codes share taken off."""

    def body(v: _Vectors) -> Any:
        return v.b.sub(v.args[0], v.b.shl(v.args[1], v.splat(v.args[2], _W8)))

    return _function(lambda a, b, n: words(words, words, types.int32), body)(x, y, shift)


# `steps` are sixteen factors, one for each sub-block of 16 weights, as int16: those of even sub-blocks in the lower
# half of the vector, those of odd ones in the upper half, since the halves of 32 weights meet them there.
_EVEN_ODD = [*range(0, 16, 2), *range(1, 16, 2)]


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
    def dot_planes(typingctx, qs, at_q, codes, at):  # type: ignore[no-untyped-def]
        def body(v: _Vectors) -> Any:
            return _products(v, codes_of(v, v.args[1]), v.load(2, _B32, v.args[3]))

        return _function(lambda *_: words(qs, types.intp, codes, types.intp), body)(qs, at_q, codes, at)

    return dot_planes


dot_two_bits, dot_three_bits, dot_four_bits = map(_dot_planes, (_two_bits, _three_bits, _four_bits))


@intrinsic
def dot_eight_bits(typingctx, qs, at_q, codes, at):  # type: ignore[no-untyped-def]
    """Words: 32 bytes from `at_q` on, taken as int8, times ``codes[at:at+32]``."""

    def body(v: _Vectors) -> Any:
        return _signed_products(v, v.load(0, _B32, v.args[1]), v.load(2, _B32, v.args[3]))

    return _function(lambda *_: words(qs, types.intp, codes, types.intp), body)(qs, at_q, codes, at)


@kernel
def code_in_planes(qs, at, l, bits):  # type: ignore[no-untyped-def]
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
def less_times(typingctx, x, y, factor):  # type: ignore[no-untyped-def]
    """Words: ``x - y * factor``; `factor` an int32."""

    def body(v: _Vectors) -> Any:
        return v.b.sub(v.args[0], v.b.mul(v.args[1], v.splat(v.args[2], _W8)))

    return _function(lambda a, b, f: words(words, words, types.int32), body)(x, y, factor)


def _bytes(v: _Vectors, value: Any, shift: int, mask: int) -> Any:
    """Eight bytes in an int64: the whole shifted to the right, each byte masked."""
    moved = v.b.lshr(value, ir.Constant(_LONG, shift))
    return v.b.and_(moved, ir.Constant(_LONG, mask * 0x0101010101010101))


def _sixteen(v: _Vectors, low: Any, high: Any) -> Any:
    """Sixteen bytes from two int64."""
    both = ir.Constant(_vector(2, _LONG), ir.Undefined)
    for k, half in enumerate((low, high)):
        both = v.b.insert_element(both, half, ir.Constant(_I32, k))
    return v.b.bitcast(both, _B16)


def _four_bytes_twice(v: _Vectors, at: int, shift: int) -> Any:
    """Four bytes in an int64, and above them the same ones shifted to the right by `shift`; its top bits are noise."""
    four = v.b.zext(v.load(0, _I32, ir.Constant(_LONG, at)), _LONG)
    return v.b.or_(four, v.b.shl(four, ir.Constant(_LONG, 32 - shift)))


@kernel
def less_twin(x, y, shift):  # type: ignore[no-untyped-def]
    """Plain form of `less`, of totals."""
    return x - (y << shift)


def _six_bits(v: _Vectors, first_of_mins: int) -> Any:
    first, last = v.load(0, _LONG), _four_bytes_twice(v, 8, 4)
    high = v.b.or_(_bytes(v, last, 0, 15), _bytes(v, first, 2, 48))
    order = [k + first_of_mins for k in (0, 1, 2, 3, 8, 9, 10, 11)]
    return v.b.zext(_pick(v, _sixteen(v, _bytes(v, first, 0, 63), high), order * 2), _S16)


@intrinsic
def six_bit_steps(typingctx, packed):  # type: ignore[no-untyped-def]
    """Steps of the eight scales, each for two halves of 32 weights, from the 12 bytes that `six_bit_pairs` reads."""
    return _function(lambda p: steps(p), lambda v: _six_bits(v, 0))(packed)


@kernel
def six_bit_steps_twin(packed, out):  # type: ignore[no-untyped-def]
    """Plain loop of `six_bit_steps`, into `out`."""
    for j in range(16):
        k = j % 4
        upper = u8((packed[k + 8] & u8(15)) | u8(u8(packed[k] >> u8(6)) << u8(4)))
        out[j] = packed[k] & u8(63) if j % 8 < 4 else upper


@intrinsic
def six_bit_mins(typingctx, packed):  # type: ignore[no-untyped-def]
    """Steps of the eight minimums, as `six_bit_steps`."""
    return _function(lambda p: steps(p), lambda v: _six_bits(v, 4))(packed)


@kernel
def six_bit_mins_twin(packed, out):  # type: ignore[no-untyped-def]
    """Plain loop of `six_bit_mins`, into `out`."""
    for j in range(16):
        k = j % 4
        upper = u8((packed[k + 8] >> u8(4)) | u8(u8(packed[k + 4] >> u8(6)) << u8(4)))
        out[j] = packed[k + 4] & u8(63) if j % 8 < 4 else upper


@intrinsic
def byte_steps(typingctx, scales):  # type: ignore[no-untyped-def]
    """Steps from sixteen int8 `scales`: one a sub-block."""

    def body(v: _Vectors) -> Any:
        return v.b.sext(_pick(v, v.load(0, _B16), _EVEN_ODD), _S16)

    return _function(lambda s: steps(s), body)(scales)


@kernel
def byte_steps_twin(scales, out):  # type: ignore[no-untyped-def]
    """Plain loop of `byte_steps`, into `out`."""
    for j in range(8):
        out[j], out[j + 8] = scales[2 * j], scales[2 * j + 1]


@intrinsic
def nibble_steps(typingctx, scales, shift):  # type: ignore[no-untyped-def]
    """Steps from four bits, `shift` up, of sixteen bytes: one a sub-block."""

    def body(v: _Vectors) -> Any:
        four = v.b.and_(v.b.lshr(v.load(0, _B16), v.splat(v.args[1], _B16)), _all(_B16, 15))
        return v.b.zext(_pick(v, four, _EVEN_ODD), _S16)

    return _function(lambda s, n: steps(s, types.uint8), body)(scales, shift)


@kernel
def nibble_steps_twin(scales, shift, out):  # type: ignore[no-untyped-def]
    """Plain loop of `nibble_steps`, into `out`."""
    for j in range(8):
        out[j] = u8(scales[2 * j] >> shift) & u8(15)
        out[j + 8] = u8(scales[2 * j + 1] >> shift) & u8(15)


@intrinsic
def centred_six_bit_steps(typingctx, packed):  # type: ignore[no-untyped-def]
    """Steps −32 … 31 from the 12 bytes of Q3_K: one a sub-block."""

    def body(v: _Vectors) -> Any:
        first, last = v.load(0, _LONG), _four_bytes_twice(v, 8, 2)
        low = v.b.or_(_bytes(v, first, 0, 15), v.b.shl(_bytes(v, last, 0, 3), ir.Constant(_LONG, 4)))
        high = v.b.or_(_bytes(v, first, 4, 15), _bytes(v, last, 0, 48))
        six = v.b.zext(_pick(v, _sixteen(v, low, high), _EVEN_ODD), _S16)
        return v.b.sub(six, _all(_S16, 32))

    return _function(lambda p: steps(p), body)(packed)


@kernel
def centred_six_bit_steps_twin(packed, out):  # type: ignore[no-untyped-def]
    """Plain loop of `centred_six_bit_steps`, into `out`."""
    for j in range(16):
        low = u8(packed[j % 8] >> u8(4 * (j // 8))) & u8(15)
        high = u8(packed[8 + j % 4] >> u8(2 * (j // 4))) & u8(3)
        out[j // 2 + 8 * (j % 2)] = i32(u8(low | u8(high << u8(4)))) - i32(32)


@intrinsic
def load_steps(typingctx, array):  # type: ignore[no-untyped-def]
    """Steps from sixteen int16."""
    return _function(lambda a: steps(a), lambda v: v.load(0, _S16))(array)


@intrinsic
def store_steps(typingctx, value, array):  # type: ignore[no-untyped-def]
    """Steps into sixteen int16."""
    return _function(lambda x, a: types.void(steps, a), lambda v: v.store(v.args[0], 1))(value, array)


def _super_dot(v: _Vectors, quarters: list[Any], codes: int, at: Any) -> Any:
    """Words: eight times 32 unsigned bytes, times as many codes from `at`, times their steps."""
    total = ir.Constant(_W8, [0] * 8)
    for k, unsigned in enumerate(quarters):
        pairs = _pairs(v, unsigned, v.load(codes, _B32, _moved(v, at, 32 * k)))
        total = v.b.add(total, _fours(v, pairs, _pick(v, v.args[0], [k] * 8 + [k + 8] * 8)))
    return total


def _twos(v: _Vectors, argument: int) -> list[Any]:
    halves = (v.load(argument, _B32, ir.Constant(_LONG, 32 * k)) for k in range(2))
    return [_bits(v, packed, shift, 3) for packed in halves for shift in (0, 2, 4, 6)]


def _nibbles_of_quarters(v: _Vectors, argument: int) -> list[Any]:
    quarters = (v.load(argument, _B32, ir.Constant(_LONG, 32 * k)) for k in range(4))
    return [part for packed in quarters for part in _nibbles(v, packed)]


@intrinsic
def dot_nibbles_k(typingctx, factors, qs, codes, at):  # type: ignore[no-untyped-def]
    """Words: 256 codes 0 … 15 of Q4_K, times their `factors`, times ``codes[at:at+256]``."""

    def body(v: _Vectors) -> Any:
        quarters = _nibbles_of_quarters(v, 1)
        return _super_dot(v, quarters, 2, v.args[3])

    return _function(lambda s, q0, c, i: words(steps, q0, c, types.intp), body)(factors, qs, codes, at)


@kernel
def dot_nibbles_k_twin(factors, qs, codes, at):  # type: ignore[no-untyped-def]
    """Plain loop of `dot_nibbles_k`, summed."""
    total = i32(0)
    for j in range(256):
        code = u8(qs[j // 64 * 32 + j % 32] >> u8(4 * (j // 32 % 2))) & u8(15)
        step = i32(factors[j // 32 + 8 * (j // 16 % 2)])
        total += i32(code) * step * i32(codes[at + j])
    return total


@intrinsic
def dot_fives_k(typingctx, factors, qh, qs, codes, at):  # type: ignore[no-untyped-def]
    """Words: 256 codes 0 … 31 of Q5_K, times their `factors`, times ``codes[at:at+256]``."""

    def body(v: _Vectors) -> Any:
        fifths, quarters = v.load(1, _B32), _nibbles_of_quarters(v, 2)
        quarters = [v.b.or_(low, _bits(v, fifths, k - 4, 16)) for k, low in enumerate(quarters)]
        return _super_dot(v, quarters, 3, v.args[4])

    return _function(lambda s, q0, q1, c, i: words(steps, q0, q1, c, types.intp), body)(factors, qh, qs, codes, at)


@kernel
def dot_fives_k_twin(factors, qh, qs, codes, at):  # type: ignore[no-untyped-def]
    """Plain loop of `dot_fives_k`, summed."""
    total = i32(0)
    for j in range(256):
        low = u8(qs[j // 64 * 32 + j % 32] >> u8(4 * (j // 32 % 2))) & u8(15)
        fifth = u8(u8(u8(qh[j % 32] >> u8(j // 32)) & u8(1)) << u8(4))
        step = i32(factors[j // 32 + 8 * (j // 16 % 2)])
        total += i32(u8(low | fifth)) * step * i32(codes[at + j])
    return total


@intrinsic
def dot_twos(typingctx, factors, qs, codes, at):  # type: ignore[no-untyped-def]
    """Words: 256 codes 0 … 3 of Q2_K, times their `factors`, times ``codes[at:at+256]``."""

    def body(v: _Vectors) -> Any:
        return _super_dot(v, _twos(v, 1), 2, v.args[3])

    return _function(lambda s, q0, c, i: words(steps, q0, c, types.intp), body)(factors, qs, codes, at)


@kernel
def dot_twos_twin(factors, qs, codes, at):  # type: ignore[no-untyped-def]
    """Plain loop of `dot_twos`, summed."""
    total = i32(0)
    for j in range(256):
        code = u8(qs[j // 128 * 32 + j % 32] >> u8(2 * (j // 32 % 4))) & u8(3)
        step = i32(factors[j // 32 + 8 * (j // 16 % 2)])
        total += i32(code) * step * i32(codes[at + j])
    return total


@intrinsic
def dot_threes(typingctx, factors, hmask, qs, codes, at):  # type: ignore[no-untyped-def]
    """Words: 256 codes 0 … 7 of Q3_K, times their `factors`, times ``codes[at:at+256]``."""

    def body(v: _Vectors) -> Any:
        thirds = v.load(1, _B32)
        quarters = [v.b.or_(low, _bits(v, thirds, k - 2, 4)) for k, low in enumerate(_twos(v, 2))]
        return _super_dot(v, quarters, 3, v.args[4])

    return _function(lambda s, h0, q1, c, i: words(steps, h0, q1, c, types.intp), body)(factors, hmask, qs, codes, at)


@kernel
def dot_threes_twin(factors, hmask, qs, codes, at):  # type: ignore[no-untyped-def]
    """Plain loop of `dot_threes`, summed."""
    total = i32(0)
    for j in range(256):
        low = u8(qs[j // 128 * 32 + j % 32] >> u8(2 * (j // 32 % 4))) & u8(3)
        third = u8(u8(u8(hmask[j % 32] >> u8(j // 32)) & u8(1)) << u8(2))
        step = i32(factors[j // 32 + 8 * (j // 16 % 2)])
        total += i32(u8(low | third)) * step * i32(codes[at + j])
    return total


@intrinsic
def dot_sixes(typingctx, factors, ql, qh, codes, at):  # type: ignore[no-untyped-def]
    """Words: 256 codes 0 … 63 of Q6_K, times their `factors`, times ``codes[at:at+256]``."""

    def body(v: _Vectors) -> Any:
        quarters = []
        for half in range(2):
            low = [v.load(1, _B32, ir.Constant(_LONG, 64 * half + k)) for k in (0, 32)]
            high = v.load(2, _B32, ir.Constant(_LONG, 32 * half))
            fours = [_bits(v, part, shift, 15) for shift in (0, 4) for part in low]
            upper = [_bits(v, high, shift, 48) for shift in (-4, -2, 0, 2)]
            quarters += [v.b.or_(*pair) for pair in zip(fours, upper, strict=True)]
        return _super_dot(v, quarters, 3, v.args[4])

    return _function(lambda s, q0, q1, c, i: words(steps, q0, q1, c, types.intp), body)(factors, ql, qh, codes, at)


@kernel
def dot_sixes_twin(factors, ql, qh, codes, at):  # type: ignore[no-untyped-def]
    """Plain loop of `dot_sixes`, summed."""
    total = i32(0)
    for j in range(256):
        low = u8(ql[j // 128 * 64 + j % 64] >> u8(4 * (j // 64 % 2))) & u8(15)
        high = u8(qh[j // 128 * 32 + j % 32] >> u8(2 * (j // 32 % 4))) & u8(3)
        step = i32(factors[j // 32 + 8 * (j // 16 % 2)])
        total += i32(u8(low | u8(high << u8(4)))) * step * i32(codes[at + j])
    return total


@intrinsic
def dot_steps(typingctx, factors, sums, at):  # type: ignore[no-untyped-def]
    """Words: `factors` times ``sums[at:at+16]``: what an offset of all codes adds up to."""

    def body(v: _Vectors) -> Any:
        short = v.b.trunc(v.load(1, _vector(16, _I32), v.args[2]), _S16)
        return _fours(v, v.args[0], _pick(v, short, _EVEN_ODD))

    return _function(lambda f, s, i: words(steps, s, types.intp), body)(factors, sums, at)


@kernel
def dot_steps_twin(factors, sums, at):  # type: ignore[no-untyped-def]
    """Plain loop of `dot_steps`, summed."""
    total = i32(0)
    for j in range(16):
        total += i32(factors[j // 2 + 8 * (j % 2)]) * sums[at + j]
    return total


def _float(v: _Vectors, halves: Any) -> Any:
    """Eight float32 from the bits of eight float16."""
    if _host_has(v, "f16c") or v.context.codegen().magic_tuple()[0].startswith(("aarch64", "arm64")):
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
    if _host_has(v, "f16c") or v.context.codegen().magic_tuple()[0].startswith(("aarch64", "arm64")):
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
def through_halves(typingctx, x, at, out):  # type: ignore[no-untyped-def]
    """Eight float32 from `x[at]` on, each rounded to the nearest float16 -> float32 ``out[at:at+8]``."""

    def body(v: _Vectors) -> None:
        v.store(_float(v, _halves(v, v.load(0, _F8, v.args[1]))), 2, v.args[1])

    return _function(lambda *_: types.void(x, types.intp, out), body)(x, at, out)


@kernel
def through_halves_twin(x, at, out):  # type: ignore[no-untyped-def]
    """Plain loop of `through_halves`."""
    for j in range(at, at + 8):
        out[j] = half_float(half_bits(x[j]))


@intrinsic
def widen_halves(typingctx, halves, at, out):  # type: ignore[no-untyped-def]
    """Eight float16 (as uint16) from `halves[at]` on -> float32 `out[0 … 7]` of a slice."""

    def body(v: _Vectors) -> None:
        v.store(_float(v, v.load(0, _vector(8, ir.IntType(16)), v.args[1])), 2)

    return _function(types.void, body)(halves, types.int64, out)


@kernel
def widen_halves_twin(halves, at, out):  # type: ignore[no-untyped-def]
    """Plain loop of `widen_halves`."""
    for j in range(8):
        out[j] = half_float(halves[at + j])


@intrinsic
def no_floats(typingctx):  # type: ignore[no-untyped-def]
    """Eight zeros."""
    return _function(lambda: floats(), lambda v: ir.Constant(_F8, [0.0] * 8))()


@intrinsic
def add_scaled(typingctx, total, products, d, x):  # type: ignore[no-untyped-def]
    """``total + d * x * products`` in eight float32; `d` is the bits of a float16, `x` a float32.

    The last product and the sum are rounded once where the host can do that.
    """

    def body(v: _Vectors) -> Any:
        before, products, d, x = v.args
        scale = v.b.fmul(_float(v, v.splat(d, _vector(8, _SHORT))), v.splat(x, _F8))
        return _call(v, "llvm.fmuladd.v8f32", _F8, scale, v.b.sitofp(products, _F8), before)

    return _function(lambda t, p, d, x: floats(floats, words, types.uint16, types.float32), body)(total, products, d, x)


@kernel
def add_scaled_twin(total, products, d, x):  # type: ignore[no-untyped-def]
    """Plain form of `add_scaled`, of totals."""
    return total + half_float(d) * x * f32(products)


@intrinsic
def add_two_scaled(typingctx, total, products, d, x, others, m, y):  # type: ignore[no-untyped-def]
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
def add_two_scaled_twin(total, products, d, x, others, m, y):  # type: ignore[no-untyped-def]
    """Plain form of `add_two_scaled`, of totals."""
    return total + half_float(d) * x * f32(products) + half_float(m) * y * f32(others)


@intrinsic
def total(typingctx, values):  # type: ignore[no-untyped-def]
    """Sum of eight float32, halves first; or of eight int32."""

    def body(v: _Vectors) -> Any:
        value = v.args[0]
        while value.type.count > 1:
            count = value.type.count // 2
            parts = [_pick(v, value, list(range(k, k + count))) for k in (0, count)]
            value = (v.b.fadd if values == floats else v.b.add)(*parts)
        return v.b.extract_element(value, ir.Constant(_I32, 0))

    return _function(lambda x: (types.float32 if x == floats else types.int32)(x), body)(values)


# --- tiles: sixteen rows of weights times four tokens ----------------------------------------------------------------
#
# For many tokens, weights are laid out so that a lane is a row: of each of sixteen rows four codes stand together, then
# the next four. A lane sums its own row, and nothing is ever added across lanes. Codes are unsigned, at most 63 where
# products are summed in 16 bits.


tile = _Packed("tile", ir.ArrayType(_F8, 8))  # sums of sixteen rows for four tokens: two vectors of rows a token


@intrinsic
def no_tile(typingctx):  # type: ignore[no-untyped-def]
    """A tile of zeros."""
    return _function(lambda: tile(), lambda v: ir.Constant(tile.vector, [ir.Constant(_F8, [0.0] * 8)] * 8))()


def _tile_adder(width: int, at_once: int) -> Any:
    """The `add_tile` for sub-blocks of `width` weights, when 16 bits hold the sum of `at_once` pairs of products."""

    @intrinsic
    def add_tile(typingctx, total, weights, at, scales, mins, at_s, codes, at_c, steps, at_x, sums, at_m):  # type: ignore[no-untyped-def]
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
            b, ones, four = v.b, _all(_S16, 1), _vector(4, _BYTE)
            at, at_s, at_c, at_x, at_m = (v.args[k] for k in (2, 5, 7, 9, 11))
            wide: list[Any] = [_all(_W8, 0)] * 8
            for begin in range(0, width // 4, at_once):
                short: list[Any] = [_all(_S16, 0)] * 8
                for step in range(begin, min(begin + at_once, width // 4)):
                    rows = [v.load(1, _B32, _moved(v, at, 64 * step + 32 * half)) for half in range(2)]
                    for t in range(4):
                        word = b.bitcast(v.load(6, four, _moved(v, at_c, 16 * step + 4 * t)), _I32)
                        x = b.bitcast(v.splat(word, _W8), _B32)
                        for half in range(2):
                            k = 2 * t + half
                            if _host_has(v, "avx512vnni"):
                                wide[k] = _fours_of_bytes(v, wide[k], rows[half], x)
                            else:
                                short[k] = b.add(short[k], _pairs(v, rows[half], x))
                if not _host_has(v, "avx512vnni"):
                    wide = [b.add(wide[k], _fours(v, short[k], ones)) for k in range(8)]
            factors = [v.load(3, _F8, _moved(v, at_s, 8 * half)) for half in range(2)]
            lows = [b.fneg(v.load(4, _F8, _moved(v, at_s, 8 * half))) for half in range(2)]
            after = v.args[0]
            for t in range(4):
                step = v.splat(b.load(v.pointer(8, _FLOAT, _moved(v, at_x, t))), _F8)
                both = v.splat(b.load(v.pointer(10, _FLOAT, _moved(v, at_m, t))), _F8)
                for half in range(2):
                    k = 2 * t + half
                    scaled = b.fmul(factors[half], b.sitofp(wide[k], _F8))
                    value = _call(v, "llvm.fmuladd.v8f32", _F8, scaled, step, b.extract_value(after, k))
                    value = _call(v, "llvm.fmuladd.v8f32", _F8, lows[half], both, value)
                    after = b.insert_value(after, value, k)
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
def round_sixteen(typingctx, x, at, inverse, codes):  # type: ignore[no-untyped-def]
    """``codes[at:at+16]`` = the whole numbers (int8) next to ``x[at:at+16] * inverse``, at most 127; NaN -> 0."""

    def body(v: _Vectors) -> None:
        v.store(_rounded(v, v.load(0, _vector(16, _FLOAT), v.args[1]), v.args[2]), 3, v.args[1])

    return _function(lambda a, i, f, c: types.void(a, types.intp, types.float32, c), body)(x, at, inverse, codes)


@kernel
def round_sixteen_twin(x, at, inverse, codes):  # type: ignore[no-untyped-def]
    """Plain loop of `round_sixteen`."""
    for j in range(at, at + 16):
        value = x[j] * inverse
        codes[j] = i8(i32(np.rint(value))) if value == value else i8(0)


@intrinsic
def pack_sixteen(typingctx, x, at, stride, tops, at_t, codes, to, sums, to_s):  # type: ignore[no-untyped-def]
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
def pack_sixteen_twin(x, tops, codes, sums):  # type: ignore[no-untyped-def]
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
def add_tile_twin(total, weights, scales, mins, codes, steps, sums):  # type: ignore[no-untyped-def]
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
def store_tile(typingctx, value, out, at, stride):  # type: ignore[no-untyped-def]
    """A tile -> ``out[at + stride * t : ][:16]`` of each token t."""

    def body(v: _Vectors) -> None:
        for t in range(4):
            for half in range(2):
                row = v.b.add(v.args[2], v.b.mul(v.args[3], ir.Constant(_LONG, t)))
                v.store(v.b.extract_value(v.args[0], 2 * t + half), 1, _moved(v, row, 8 * half))

    return _function(lambda *_: types.void(tile, out, types.intp, types.intp), body)(value, out, at, stride)
