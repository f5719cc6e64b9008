"""From codes to weights: streams of float32 that pass the cache, and codes that stand for the levels of a table."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types

from qviz._machine.kernels import f32, i8, kernel
from qviz._machine.simd.vectors import _B16, _FLOAT, _I32, _all, _function, _vector, _Vectors, intrinsic


@intrinsic
def _stream16(typingctx, out, codes, at, scale, low):
    """``out[at:at+16] = codes[at:at+16] * scale - low``, stored past the cache; `out` 64-byte aligned."""

    def body(v: _Vectors) -> None:
        floats, at_value = _vector(16, _FLOAT), v.args[2]
        scales, lows = v.splat(v.args[3], floats), v.splat(v.args[4], floats)
        weights = v.b.fsub(v.b.fmul(v.b.sitofp(v.load(1, _B16, at_value), floats), scales), lows)
        store = v.b.store(weights, v.pointer(0, floats, at_value), align=64)
        store.set_metadata("nontemporal", v.b.module.add_metadata([ir.Constant(_I32, 1)]))

    return _function(types.void, body)(out, codes, types.uint64, types.float32, types.float32)


@intrinsic
def _stream_copy16(typingctx, out, at_out, values, at):
    """``out[at_out:at_out+16] = values[at:at+16]`` for float32, stored past the cache; `out` 64-byte aligned."""

    def body(v: _Vectors) -> None:
        floats = _vector(16, _FLOAT)
        store = v.b.store(v.load(2, floats, v.args[3]), v.pointer(0, floats, v.args[1]), align=64)
        store.set_metadata("nontemporal", v.b.module.add_metadata([ir.Constant(_I32, 1)]))

    return _function(types.void, body)(out, types.uint64, values, types.uint64)


@kernel
def copy_streaming(values, n, out, start):
    """``out[start:start+n] = values[:n]`` past the cache; `start` a multiple of 16, `out` 64-byte aligned."""
    whole = n // 16 * 16
    for j in range(0, whole, 16):
        _stream_copy16(out, np.uint64(start + j), values, np.uint64(j))
    for j in range(whole, n):
        out[start + j] = values[j]


@kernel
def decode_streaming(codes, scales, mins, out):
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
def _look_up16(typingctx, codes, at, table):
    """``codes[at:at+16] = table[codes[at:at+16]]``: element by element in LLVM, one byte shuffle on x86."""

    def body(v: _Vectors) -> None:
        # the mask shows LLVM that no index leaves the table
        index, levels = v.b.and_(v.load(0, _B16, v.args[1]), _all(_B16, 15)), v.load(2, _B16)
        looked_up = ir.Constant(_B16, ir.Undefined)
        for k in range(16):
            lane = ir.Constant(_I32, k)
            level = v.b.extract_element(levels, v.b.zext(v.b.extract_element(index, lane), _I32))
            looked_up = v.b.insert_element(looked_up, level, lane)
        v.store(looked_up, 0, v.args[1])

    return _function(types.void, body)(codes, types.uint64, table)


@kernel
def look_up(codes, table):
    """int8 `codes` 0 … 15, a multiple of 16 of them -> the levels in the int8 `table` (16,), in place."""
    for j in range(codes.size // 16):
        _look_up16(codes, np.uint64(16 * j), table)


@kernel
def look_up_twin(codes, table):
    """Plain loop of `look_up`."""
    for j in range(codes.size):
        codes[j] = table[codes[j] & i8(15)]
