"""What numba lacks for threads that meet inside compiled code: words that change as a whole, and calls by address.

Kernels reach this module through ``qviz._machine.kernels.native``, which imports it (and numba) only when a kernel is
compiled. Nothing here checks an index or an address.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils as _cgutils
from numba.np import arrayobj as _arrayobj

from qviz._machine.simd.vectors import _function, _Vectors, intrinsic

cgutils: Any = _cgutils
arrayobj: Any = _arrayobj

_WORD = ir.IntType(64)


@intrinsic
def load_word(typingctx, words, at):
    """``words[at]`` of an int64 array; what its writer wrote before it is then seen, too (acquire)."""

    def body(v: _Vectors) -> Any:
        return v.b.load_atomic(v.pointer(0, _WORD, v.args[1]), "acquire", 8)

    return _function(lambda *_: types.int64(words, types.int64), body)(words, at)


@intrinsic
def store_word(typingctx, words, at, value):
    """``words[at] = value``; whoever loads it sees all that was written before (release)."""

    def body(v: _Vectors) -> None:
        v.b.store_atomic(v.args[2], v.pointer(0, _WORD, v.args[1]), "release", 8)

    return _function(lambda *_: types.void(words, types.int64, types.int64), body)(words, at, value)


@intrinsic
def add_word(typingctx, words, at, value):
    """``words[at] += value`` as one step; the value before it."""

    def body(v: _Vectors) -> Any:
        return v.b.atomic_rmw("add", v.pointer(0, _WORD, v.args[1]), v.args[2], "acq_rel")

    return _function(lambda *_: types.int64(words, types.int64, types.int64), body)(words, at, value)


@intrinsic
def replace_word(typingctx, words, at, old, new):
    """``words[at] = new`` if it is `old`, as one step; whether it was."""

    def body(v: _Vectors) -> Any:
        pointer, (_, _, old, new) = v.pointer(0, _WORD, v.args[1]), v.args
        return v.b.extract_value(v.b.cmpxchg(pointer, old, new, "acq_rel", "acquire"), 1)

    result = types.boolean(words, types.int64, types.int64, types.int64)
    return _function(lambda *_: result, body)(words, at, old, new)


@intrinsic
def pause(typingctx):
    """Tell the core that this thread waits in a loop."""

    def body(v: _Vectors) -> None:
        triple = v.context.codegen().magic_tuple()[0]
        nothing = ir.FunctionType(ir.VoidType(), [])
        if triple.startswith("x86_64"):
            v.b.call(v.b.module.declare_intrinsic("llvm.x86.sse2.pause", (), nothing), [])
        elif triple.startswith(("aarch64", "arm64")):
            v.b.asm(nothing, "yield", "", [], side_effect=True)

    return _function(lambda: types.void(), body)()


@intrinsic
def multiply(typingctx, address, blocks, rows, columns, itemsize, given, out):
    """Call the kernel at `address` as ``kernel(blocks, *given, out)``.

    Parameters
    ----------
    address : int64
        From `Kernel.address`, for arrays of blocks (C order), then those of the types of `given` and `out`.
    blocks : int64
        Address of the first block.
    rows, columns, itemsize : int64
        Blocks in each direction, and bytes of one.
    given : tuple of arrays
    out : array
    """
    array = types.Array(types.uint8, 2, "C")  # arrays of any element are passed alike
    passed = (array, *given.types, out)
    assert all(a.layout == "C" for a in passed), passed

    def body(v: _Vectors) -> None:
        context, b = v.context, v.b
        address, data, rows, columns, itemsize, given_value, out_value = v.args
        made = context.make_array(array)(context, b)
        arrayobj.populate_array(
            made,
            data=b.inttoptr(data, made.data.type),
            shape=cgutils.pack_array(b, [rows, columns]),
            strides=cgutils.pack_array(b, [b.mul(columns, itemsize), itemsize]),
            itemsize=itemsize,
            meminfo=None,
        )
        parts = [b.extract_value(given_value, k) for k in range(len(given))]
        values = [made._getvalue(), *parts, out_value]
        function = context.call_conv.get_function_type(types.none, passed)
        context.call_conv.call_function(b, b.inttoptr(address, function.as_pointer()), types.none, passed, values)

    n = types.int64
    return _function(lambda *_: types.void(n, n, n, n, n, given, out), body)(given, out)
