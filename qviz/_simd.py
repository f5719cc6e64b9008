"""The few places where numba's loop vectoriser is not enough: explicit, portable LLVM vectors.

No instruction of one CPU is named here: LLVM chooses. Each vector function has beside it a **twin**, the same thing as
a plain loop: students read the twin, tests compare the two. Kernels reach this module through
``qviz._numba.simd``, which imports it (and numba) only when a kernel is compiled.

Arrays given to these functions must be C-contiguous; nothing here checks a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic

from qviz._numba import f32, float_bits, i8, i32, kernel, order_key, u8, u32

_I32 = ir.IntType(32)

# numba's types leave out that the typing context is not the caller's to pass
intrinsic: Callable[[Any], Any] = _intrinsic


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
