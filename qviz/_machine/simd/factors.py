"""Sixteen factors, one for each sub-block of 16 weights, as int16.

Those of even sub-blocks stand in the lower half of the vector, those of odd ones in the upper half, since the halves
of 32 weights meet them there.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from qviz._machine.kernels import i32, kernel, u8
from qviz._machine.simd.products import _LONG, _S16, steps
from qviz._machine.simd.vectors import _B16, _I32, _all, _function, _pick, _vector, _Vectors, intrinsic

# `steps` are sixteen factors, one for each sub-block of 16 weights, as int16: those of even sub-blocks in the lower
# half of the vector, those of odd ones in the upper half, since the halves of 32 weights meet them there.
_EVEN_ODD = [*range(0, 16, 2), *range(1, 16, 2)]


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


def _six_bits(v: _Vectors, first_of_mins: int) -> Any:
    first, last = v.load(0, _LONG), _four_bytes_twice(v, 8, 4)
    high = v.b.or_(_bytes(v, last, 0, 15), _bytes(v, first, 2, 48))
    order = [k + first_of_mins for k in (0, 1, 2, 3, 8, 9, 10, 11)]
    return v.b.zext(_pick(v, _sixteen(v, _bytes(v, first, 0, 63), high), order * 2), _S16)


@intrinsic
def six_bit_steps(typingctx, packed):
    """Steps of the eight scales, each for two halves of 32 weights, from the 12 bytes that `six_bit_pairs` reads."""
    return _function(lambda p: steps(p), lambda v: _six_bits(v, 0))(packed)


@kernel
def six_bit_steps_twin(packed, out):
    """Plain loop of `six_bit_steps`, into `out`."""
    for j in range(16):
        k = j % 4
        upper = u8((packed[k + 8] & u8(15)) | u8(u8(packed[k] >> u8(6)) << u8(4)))
        out[j] = packed[k] & u8(63) if j % 8 < 4 else upper


@intrinsic
def six_bit_mins(typingctx, packed):
    """Steps of the eight minimums, as `six_bit_steps`."""
    return _function(lambda p: steps(p), lambda v: _six_bits(v, 4))(packed)


@kernel
def six_bit_mins_twin(packed, out):
    """Plain loop of `six_bit_mins`, into `out`."""
    for j in range(16):
        k = j % 4
        upper = u8((packed[k + 8] >> u8(4)) | u8(u8(packed[k + 4] >> u8(6)) << u8(4)))
        out[j] = packed[k + 4] & u8(63) if j % 8 < 4 else upper


@intrinsic
def byte_steps(typingctx, scales):
    """Steps from sixteen int8 `scales`: one a sub-block."""

    def body(v: _Vectors) -> Any:
        return v.b.sext(_pick(v, v.load(0, _B16), _EVEN_ODD), _S16)

    return _function(lambda s: steps(s), body)(scales)


@kernel
def byte_steps_twin(scales, out):
    """Plain loop of `byte_steps`, into `out`."""
    for j in range(8):
        out[j], out[j + 8] = scales[2 * j], scales[2 * j + 1]


@intrinsic
def nibble_steps(typingctx, scales, shift):
    """Steps from four bits, `shift` up, of sixteen bytes: one a sub-block."""

    def body(v: _Vectors) -> Any:
        four = v.b.and_(v.b.lshr(v.load(0, _B16), v.splat(v.args[1], _B16)), _all(_B16, 15))
        return v.b.zext(_pick(v, four, _EVEN_ODD), _S16)

    return _function(lambda s, n: steps(s, types.uint8), body)(scales, shift)


@kernel
def nibble_steps_twin(scales, shift, out):
    """Plain loop of `nibble_steps`, into `out`."""
    for j in range(8):
        out[j] = u8(scales[2 * j] >> shift) & u8(15)
        out[j + 8] = u8(scales[2 * j + 1] >> shift) & u8(15)


@intrinsic
def centred_six_bit_steps(typingctx, packed):
    """Steps −32 … 31 from the 12 bytes of Q3_K: one a sub-block."""

    def body(v: _Vectors) -> Any:
        first, last = v.load(0, _LONG), _four_bytes_twice(v, 8, 2)
        low = v.b.or_(_bytes(v, first, 0, 15), v.b.shl(_bytes(v, last, 0, 3), ir.Constant(_LONG, 4)))
        high = v.b.or_(_bytes(v, first, 4, 15), _bytes(v, last, 0, 48))
        six = v.b.zext(_pick(v, _sixteen(v, low, high), _EVEN_ODD), _S16)
        return v.b.sub(six, _all(_S16, 32))

    return _function(lambda p: steps(p), body)(packed)


@kernel
def centred_six_bit_steps_twin(packed, out):
    """Plain loop of `centred_six_bit_steps`, into `out`."""
    for j in range(16):
        low = u8(packed[j % 8] >> u8(4 * (j // 8))) & u8(15)
        high = u8(packed[8 + j % 4] >> u8(2 * (j // 4))) & u8(3)
        out[j // 2 + 8 * (j % 2)] = i32(u8(low | u8(high << u8(4)))) - i32(32)


@intrinsic
def load_steps(typingctx, array):
    """Steps from sixteen int16."""
    return _function(lambda a: steps(a), lambda v: v.load(0, _S16))(array)


@intrinsic
def store_steps(typingctx, value, array):
    """Steps into sixteen int16."""
    return _function(lambda x, a: types.void(steps, a), lambda v: v.store(v.args[0], 1))(value, array)
