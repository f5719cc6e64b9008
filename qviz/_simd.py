"""The few places where numba's loop vectoriser is not enough: explicit, portable LLVM vectors.

No instruction of one CPU is named here: LLVM chooses. Each vector function has beside it a **twin**, the same thing as
a plain loop: students read the twin, tests compare the two. Kernels reach this module through
``qviz._numba.simd``, which imports it (and numba) only when a kernel is compiled.

Arrays given to these functions must be C-contiguous; nothing here checks a bound.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending as _extending
from numba import types
from numba.core.typing import templates as _templates
from numba.extending import intrinsic as _intrinsic
from numba.extending import models

from qviz._numba import f32, float_bits, i8, i32, kernel, order_key, u8, u16, u32

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
