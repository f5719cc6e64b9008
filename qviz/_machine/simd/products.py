"""What dot products of packed weights with int8 codes are made of.

Integers first: products of two bytes, two of them summed in 16 bits; two of those, times the step of their sub-block,
in 32. `words` is a value of eight such int32: their total is the dot product, and only the twins form it. Then scales
come in, which are floats. An x86 instruction is named in `_pairs` and `_fours` alone, for hosts that have it, since
LLVM does not find it from the portable lines beside.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import models

from qviz._machine.simd.vectors import _BYTE, _FLOAT, _I32, _all, _call, _pick, _vector, _Vectors, extending


class _Packed(types.Type):
    """A numba type that stands for one LLVM vector of its own, or a few."""

    def __init__(self, name: str, vector: Any) -> None:
        super().__init__(name)
        self.vector = vector


class _PackedModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, kind.vector)


extending.register_model(_Packed)(_PackedModel)

_SHORT, _HALF, _LONG = ir.IntType(16), ir.HalfType(), ir.IntType(64)
_S16, _W8, _F8 = _vector(16, _SHORT), _vector(8, _I32), _vector(8, _FLOAT)

words, steps, floats = _Packed("words", _W8), _Packed("steps", _S16), _Packed("floats", _F8)


def _paired(v: _Vectors, wide: Any, x: tuple[Any, bool], y: tuple[Any, bool]) -> Any:
    """Neighbours' products summed: ``x[2j] * y[2j] + x[2j+1] * y[2j+1]``; each comes with whether it has a sign."""

    def part(value: Any, signed: bool, first: int) -> Any:
        return (v.b.sext if signed else v.b.zext)(_pick(v, value, list(range(first, value.type.count, 2))), wide)

    return v.b.add(*(v.b.mul(part(*x, first), part(*y, first)) for first in (0, 1)))


def _pairs(v: _Vectors, unsigned: Any, signed: Any) -> Any:
    """32 unsigned bytes, at most 63, times 32 signed ones, two and two: no sum leaves 16 bits."""
    if v.has("avx2"):
        return _call(v, "llvm.x86.avx2.pmadd.ub.sw", _S16, unsigned, signed)
    return _paired(v, _S16, (unsigned, False), (signed, True))


def _fours(v: _Vectors, shorts: Any, factors: Any) -> Any:
    """16 products of int16, two and two."""
    if v.has("avx2"):
        return _call(v, "llvm.x86.avx2.pmadd.wd", _W8, shorts, factors)
    return _paired(v, _W8, (shorts, True), (factors, True))


def _fours_of_bytes(v: _Vectors, total: Any, unsigned: Any, signed: Any) -> Any:
    """Eight or sixteen int32, each with four more products of bytes."""
    n = total.type.count
    words = llvmlite.binding.llvm_version_info[0] < 22  # before, the bytes were passed as words
    given = total.type if words else _vector(4 * n, _BYTE)
    bytes_ = [v.b.bitcast(value, given) for value in (unsigned, signed)]
    return _call(v, f"llvm.x86.avx512.vpdpbusd.{32 * n}", total.type, total, *bytes_)


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
