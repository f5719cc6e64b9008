"""Dot products of 256 packed weights of a super-block, each sub-block times its step."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from qviz._machine.kernels import i32, kernel, u8
from qviz._machine.simd.factors import _EVEN_ODD
from qviz._machine.simd.products import _LONG, _S16, _W8, _bits, _fours, _nibbles, _pairs, steps, words
from qviz._machine.simd.vectors import _B32, _I32, _function, _moved, _pick, _vector, _Vectors, intrinsic


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


@kernel
def _step_twin(factors, j):
    """The step of weight j of 256: that of its sub-block of 16, in the order of `steps`."""
    return i32(factors[j // 32 + 8 * (j // 16 % 2)])


@kernel
def _two_twin(qs, j):
    """Two bits of weight j of 256, as `_twos` picks them out of 64 bytes."""
    return u8(qs[j // 128 * 32 + j % 32] >> u8(2 * (j // 32 % 4))) & u8(3)


@kernel
def _nibble_twin(qs, j):
    """Four bits of weight j of 256, as `_nibbles_of_quarters` picks them out of 128 bytes."""
    return u8(qs[j // 64 * 32 + j % 32] >> u8(4 * (j // 32 % 2))) & u8(15)


@intrinsic
def dot_nibbles_k(typingctx, factors, qs, codes, at):
    """Words: 256 codes 0 … 15 of Q4_K, times their `factors`, times ``codes[at:at+256]``."""

    def body(v: _Vectors) -> Any:
        quarters = _nibbles_of_quarters(v, 1)
        return _super_dot(v, quarters, 2, v.args[3])

    return _function(lambda s, q0, c, i: words(steps, q0, c, types.intp), body)(factors, qs, codes, at)


@kernel
def dot_nibbles_k_twin(factors, qs, codes, at):
    """Plain loop of `dot_nibbles_k`, summed."""
    total = i32(0)
    for j in range(256):
        total += i32(_nibble_twin(qs, j)) * _step_twin(factors, j) * i32(codes[at + j])
    return total


@intrinsic
def dot_fives_k(typingctx, factors, qh, qs, codes, at):
    """Words: 256 codes 0 … 31 of Q5_K, times their `factors`, times ``codes[at:at+256]``."""

    def body(v: _Vectors) -> Any:
        fifths, quarters = v.load(1, _B32), _nibbles_of_quarters(v, 2)
        quarters = [v.b.or_(low, _bits(v, fifths, k - 4, 16)) for k, low in enumerate(quarters)]
        return _super_dot(v, quarters, 3, v.args[4])

    return _function(lambda s, q0, q1, c, i: words(steps, q0, q1, c, types.intp), body)(factors, qh, qs, codes, at)


@kernel
def dot_fives_k_twin(factors, qh, qs, codes, at):
    """Plain loop of `dot_fives_k`, summed."""
    total = i32(0)
    for j in range(256):
        fifth = u8(u8(u8(qh[j % 32] >> u8(j // 32)) & u8(1)) << u8(4))
        total += i32(u8(_nibble_twin(qs, j) | fifth)) * _step_twin(factors, j) * i32(codes[at + j])
    return total


@intrinsic
def dot_twos(typingctx, factors, qs, codes, at):
    """Words: 256 codes 0 … 3 of Q2_K, times their `factors`, times ``codes[at:at+256]``."""

    def body(v: _Vectors) -> Any:
        return _super_dot(v, _twos(v, 1), 2, v.args[3])

    return _function(lambda s, q0, c, i: words(steps, q0, c, types.intp), body)(factors, qs, codes, at)


@kernel
def dot_twos_twin(factors, qs, codes, at):
    """Plain loop of `dot_twos`, summed."""
    total = i32(0)
    for j in range(256):
        total += i32(_two_twin(qs, j)) * _step_twin(factors, j) * i32(codes[at + j])
    return total


@intrinsic
def dot_threes(typingctx, factors, hmask, qs, codes, at):
    """Words: 256 codes 0 … 7 of Q3_K, times their `factors`, times ``codes[at:at+256]``."""

    def body(v: _Vectors) -> Any:
        thirds = v.load(1, _B32)
        quarters = [v.b.or_(low, _bits(v, thirds, k - 2, 4)) for k, low in enumerate(_twos(v, 2))]
        return _super_dot(v, quarters, 3, v.args[4])

    return _function(lambda s, h0, q1, c, i: words(steps, h0, q1, c, types.intp), body)(factors, hmask, qs, codes, at)


@kernel
def dot_threes_twin(factors, hmask, qs, codes, at):
    """Plain loop of `dot_threes`, summed."""
    total = i32(0)
    for j in range(256):
        third = u8(u8(u8(hmask[j % 32] >> u8(j // 32)) & u8(1)) << u8(2))
        total += i32(u8(_two_twin(qs, j) | third)) * _step_twin(factors, j) * i32(codes[at + j])
    return total


@intrinsic
def dot_sixes(typingctx, factors, ql, qh, codes, at):
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
def dot_sixes_twin(factors, ql, qh, codes, at):
    """Plain loop of `dot_sixes`, summed."""
    total = i32(0)
    for j in range(256):
        low = u8(ql[j // 128 * 64 + j % 64] >> u8(4 * (j // 64 % 2))) & u8(15)
        code = u8(low | u8(_two_twin(qh, j) << u8(4)))
        total += i32(code) * _step_twin(factors, j) * i32(codes[at + j])
    return total


@intrinsic
def dot_steps(typingctx, factors, sums, at):
    """Words: `factors` times ``sums[at:at+16]``: what an offset of all codes adds up to."""

    def body(v: _Vectors) -> Any:
        short = v.b.trunc(v.load(1, _vector(16, _I32), v.args[2]), _S16)
        return _fours(v, v.args[0], _pick(v, short, _EVEN_ODD))

    return _function(lambda f, s, i: words(steps, s, types.intp), body)(factors, sums, at)


@kernel
def dot_steps_twin(factors, sums, at):
    """Plain loop of `dot_steps`, summed."""
    total = i32(0)
    for j in range(16):
        total += i32(factors[j // 2 + 8 * (j % 2)]) * sums[at + j]
    return total
