"""Codes of 4, 5 and 8 bits: from weights, and in and out of the bytes of a block."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from qviz._machine.kernels import f32, i8, i32, kernel, u8, u32
from qviz._machine.simd.vectors import _B16, _B32, _BIT, _FLOAT, _I32, _all, _function, _vector, _Vectors, intrinsic


@intrinsic
def truncated_codes(typingctx, row, low, inverse, half, top, codes):
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
def truncated_codes_twin(row, low, inverse, half, top, codes):
    """Plain loop of `truncated_codes`."""
    for j in range(32):
        step = (row[j] - low) * inverse + half
        step = step if step > f32(0) else f32(0)
        codes[j] = u8(i32(step if step < top else top))


# 0.5 itself would round 0.49999997 up, since the sum is not exact; the float just below it rounds as C's roundf does.
_ALMOST_HALF = np.nextafter(np.float32(0.5), np.float32(0))


@intrinsic
def rounded_codes(typingctx, row, inverse, codes):
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
def rounded_codes_twin(row, inverse, codes):
    """Plain loop of `rounded_codes`."""
    for j in range(32):
        value = row[j] * inverse
        step = value + np.copysign(_ALMOST_HALF, value)
        codes[j] = i8(i32(step if step == step else f32(0)))


# --- 4-bit codes: weights l and l + 16 share a byte --------------------------------------------------------------


@intrinsic
def split_nibbles(typingctx, qs, codes, offset):
    """16 bytes `qs` -> 32 int8 `codes`, `offset` taken off each."""

    def body(v: _Vectors) -> None:
        packed = v.load(0, _B16)
        both = v.join(v.b.and_(packed, _all(_B16, 15)), v.b.lshr(packed, _all(_B16, 4)))
        v.store(v.b.sub(both, v.splat(v.args[2], _B32)), 1)

    return _function(types.void, body)(qs, codes, types.int8)


@kernel
def split_nibbles_twin(qs, codes, offset):
    """Plain loop of `split_nibbles`."""
    for j in range(16):
        codes[j] = i8(qs[j] & u8(15)) - offset
        codes[j + 16] = i8(qs[j] >> u8(4)) - offset


@intrinsic
def join_nibbles(typingctx, codes, qs):
    """The low four bits of 32 uint8 `codes` -> 16 bytes `qs`."""

    def body(v: _Vectors) -> None:
        low, high = v.halves(v.load(0, _B32))
        v.store(v.b.or_(v.b.and_(low, _all(_B16, 15)), v.b.shl(high, _all(_B16, 4))), 1)

    return _function(types.void, body)(codes, qs)


@kernel
def join_nibbles_twin(codes, qs):
    """Plain loop of `join_nibbles`."""
    for j in range(16):
        qs[j] = u8((codes[j] & u8(15)) | u8(codes[j + 16] << u8(4)))


# --- 5-bit codes: the fifth bits stand apart, in a 32-bit word ------------------------------------------------------


@intrinsic
def split_fives(typingctx, word, qs, codes, offset):
    """16 bytes `qs` and the `word` of fifth bits -> 32 int8 `codes`, `offset` taken off each."""

    def body(v: _Vectors) -> None:
        packed = v.load(1, _B16)
        both = v.join(v.b.and_(packed, _all(_B16, 15)), v.b.lshr(packed, _all(_B16, 4)))
        set_bits = v.b.bitcast(v.args[0], _vector(32, _BIT))
        fifth = v.b.select(set_bits, _all(_B32, 16), _all(_B32, 0))
        v.store(v.b.sub(v.b.or_(both, fifth), v.splat(v.args[3], _B32)), 2)

    return _function(types.void, body)(types.uint32, qs, codes, types.int8)


@kernel
def split_fives_twin(word, qs, codes, offset):
    """Plain loop of `split_fives`."""
    for j in range(16):
        codes[j] = i8((qs[j] & u8(15)) | u8(u8(u32(word >> u32(j)) & u32(1)) << u8(4))) - offset
        codes[j + 16] = i8((qs[j] >> u8(4)) | u8(u8(u32(word >> u32(j + 16)) & u32(1)) << u8(4))) - offset


@intrinsic
def fifth_bits(typingctx, codes):
    """The fifth bits of 32 uint8 `codes` (0 … 31): bit l of the result belongs to code l."""

    def body(v: _Vectors) -> Any:
        return v.b.bitcast(v.b.icmp_unsigned(">", v.load(0, _B32), _all(_B32, 15)), _I32)

    return _function(types.uint32, body)(codes)


@kernel
def fifth_bits_twin(codes):
    """Plain loop of `fifth_bits`."""
    word = u32(0)
    for j in range(32):
        word = u32(word | u32(u32(codes[j] >> u8(4)) << u32(j)))
    return word


@intrinsic
def copy32(typingctx, qs, codes):
    """32 bytes from `qs` to `codes`."""

    def body(v: _Vectors) -> None:
        v.store(v.load(0, _B32), 1)

    return _function(types.void, body)(qs, codes)
