"""Codes of one or two bits, six-bit scales, ternary digits and signs, in and out of the bytes of a block."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from qviz._machine.kernels import f32, i8, kernel, u8, u16, u32
from qviz._machine.simd.vectors import (
    _B16,
    _B32,
    _BIT,
    _BYTE,
    _FLOAT,
    _I32,
    _all,
    _function,
    _vector,
    _Vectors,
    intrinsic,
)


@intrinsic
def take_bits(typingctx, qs, at, shift, mask, offset, codes, to):
    """``codes[to:to+32] = (qs[at:at+32] >> shift & mask) - offset`` on bytes."""

    def body(v: _Vectors) -> None:
        moved = v.b.lshr(v.load(0, _B32, v.args[1]), v.splat(v.args[2], _B32))
        v.store(v.b.sub(v.b.and_(moved, v.splat(v.args[3], _B32)), v.splat(v.args[4], _B32)), 5, v.args[6])

    return _function(types.void, body)(qs, types.uint64, types.uint8, types.uint8, types.int8, codes, types.uint64)


@kernel
def take_bits_twin(qs, at, shift, mask, offset, codes, to):
    """Plain loop of `take_bits`."""
    for j in range(32):
        codes[to + j] = i8(u8(qs[at + j] >> shift) & mask) - offset


@intrinsic
def add_bits(typingctx, qs, at, shift, mask, up, offset, codes, to):
    """``codes[to:to+32] += ((qs[at:at+32] >> shift & mask) << up) - offset`` on bytes: what `take_bits` left out."""

    def body(v: _Vectors) -> None:
        low, mask_value, up_value, offset_value = (v.splat(value, _B32) for value in v.args[2:6])
        bits = v.b.shl(v.b.and_(v.b.lshr(v.load(0, _B32, v.args[1]), low), mask_value), up_value)
        v.store(v.b.sub(v.b.add(v.load(6, _B32, v.args[7]), bits), offset_value), 6, v.args[7])

    n, u, i = types.uint64, types.uint8, types.int8
    return _function(types.void, body)(qs, n, u, u, u, i, codes, n)


@kernel
def add_bits_twin(qs, at, shift, mask, up, offset, codes, to):
    """Plain loop of `add_bits`."""
    for j in range(32):
        codes[to + j] += i8(u8(u8(qs[at + j] >> shift) & mask) << up) - offset


@intrinsic
def put_bits(typingctx, codes, at, shift, mask, up, qs, to):
    """``qs[to:to+32] |= (codes[at:at+32] >> shift & mask) << up`` on bytes: the way back."""

    def body(v: _Vectors) -> None:
        low, mask_value, up_value = (v.splat(value, _B32) for value in v.args[2:5])
        bits = v.b.shl(v.b.and_(v.b.lshr(v.load(0, _B32, v.args[1]), low), mask_value), up_value)
        v.store(v.b.or_(v.load(5, _B32, v.args[6]), bits), 5, v.args[6])

    n, u = types.uint64, types.uint8
    return _function(types.void, body)(codes, n, u, u, u, qs, n)


@kernel
def put_bits_twin(codes, at, shift, mask, up, qs, to):
    """Plain loop of `put_bits`."""
    for j in range(32):
        qs[to + j] |= u8(u8(u8(codes[at + j] >> shift) & mask) << up)


@intrinsic
def six_bit_pairs(typingctx, packed, d, dmin, scales, mins, at):
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
def six_bit_pairs_twin(packed, d, dmin, scales, mins, at):
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
def take_trits(typingctx, qs, at, power, codes, to):
    """Ternary digits −1, 0, 1 of 16 bytes, at `codes[to]`: the integer part of ``3 · (qs · power mod 256) / 256``."""

    def body(v: _Vectors) -> None:
        v.store(_digits(v, v.b.mul(v.load(0, _B16, v.args[1]), v.splat(v.args[2], _B16))), 3, v.args[4])

    return _function(types.void, body)(qs, types.uint64, types.uint8, codes, types.uint64)


@kernel
def take_trits_twin(qs, at, power, codes, to):
    """Plain loop of `take_trits`."""
    for j in range(16):
        codes[to + j] = i8(u16(u16(u8(qs[at + j] * power)) * u16(3)) >> u16(8)) - i8(1)


@intrinsic
def take_last_trits(typingctx, qh, codes, to):
    """First, then second, third and fourth digits of four bytes: sixteen at `codes[to]`, as `take_trits`."""

    def body(v: _Vectors) -> None:
        four = v.load(0, _vector(4, _BYTE))
        again = ir.Constant(_vector(16, _I32), [0, 1, 2, 3] * 4)
        repeated = v.b.shuffle_vector(four, ir.Constant(four.type, ir.Undefined), again)
        powers = ir.Constant(_B16, [3**k for k in range(4) for _ in range(4)])
        v.store(_digits(v, v.b.mul(repeated, powers)), 1, v.args[2])

    return _function(types.void, body)(qh, codes, types.uint64)


@kernel
def take_last_trits_twin(qh, codes, to):
    """Plain loop of `take_last_trits`."""
    power = u8(1)
    for k in range(4):
        for j in range(4):
            codes[to + 4 * k + j] = i8(u16(u16(u8(qh[j] * power)) * u16(3)) >> u16(8)) - i8(1)
        power = u8(power * u8(3))


@intrinsic
def spread_signs(typingctx, word, codes, to):
    """Bit l of the 32-bit `word` -> `codes[to + l]`: 1 if it is set, else −1."""

    def body(v: _Vectors) -> None:
        set_bits = v.b.bitcast(v.args[0], _vector(32, _BIT))
        v.store(v.b.select(set_bits, _all(_B32, 1), _all(_B32, -1)), 1, v.args[2])

    return _function(types.void, body)(types.uint32, codes, types.uint64)


@kernel
def spread_signs_twin(word, codes, to):
    """Plain loop of `spread_signs`."""
    for j in range(32):
        codes[to + j] = i8(i8(u32(word >> u32(j)) & u32(1)) * i8(2)) - i8(1)
