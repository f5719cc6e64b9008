"""The one place with numba flags, and the scalar helpers that every kernel shares.

Byte-exactness rests on these flags: no ``fastmath`` (it would reorder sums), no FMA contraction (numba emits
none on its own), ``error_model="numpy"`` (1/0 is inf, as in C). There are no explicit signatures, since they
refuse read-only arrays such as a memory-mapped file.

Habits that kernels here follow, all measured:

- every literal and integer that meets a float32 is wrapped (``f32(8)``): numba turns float32 × int into float64;
- an array goes into a slice of another by a loop: for ``a[:n] = b`` Numba compiles the text of an error about shapes,
  2 s in every process that compiles such a kernel (a number may go into a slice);
- inner loops run to a length taken from an array's shape, not to a literal: LLVM unrolls a literal trip count of
  16 or 32 before its loop vectoriser sees it, which made unpacking 2.2 times slower.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._machine import cache, elsewhere

f32 = np.float32
i8, u8 = np.int8, np.uint8
i16, u16, i32, u32 = np.int16, np.uint16, np.int32, np.uint32


def _imported() -> Any:
    """Numba, which does not start with fewer threads of its own than one; none of them is used here."""
    with contextlib.suppress(KeyError, ValueError):
        if "numba" not in sys.modules and int(os.environ["NUMBA_NUM_THREADS"]) < 1:
            del os.environ["NUMBA_NUM_THREADS"]
    import numba

    return numba


@functools.cache
def _numba() -> Any:
    """Numba, imported without SciPy's linear algebra.

    Numba's typing imports ``scipy.linalg`` only to note that a BLAS is there: 0.3 s, half of the time to a first
    result. The note matters to ``np.convolve`` inside kernels alone; a matrix product asks again when it needs one.
    """
    numba = _imported()
    blas = "scipy.linalg.cython_blas"
    if blas not in sys.modules:
        sys.modules[blas] = None  # type: ignore[assignment]  # the documented way to make an import fail
        try:
            importlib.import_module("numba.np.arraymath")
        finally:
            sys.modules.pop(blas, None)
    for name in (simd.__name__, native.__name__):  # what registers while a kernel is being typed would come too late
        importlib.import_module(name)
    return numba


@functools.cache
def nothing_is_compiled() -> bool:
    """Whether kernels shall stay Python: ``NUMBA_DISABLE_JIT=1``, or numba's own file of settings."""
    numba = _imported()
    config: Any = numba.config
    return bool(config.DISABLE_JIT)


def _undisturbed(compile_: Callable[..., Any]) -> Callable[..., Any]:
    """`compile_`, during which Python does not look for cyclic garbage: that took up to a tenth of the time.

    Numba makes hundreds of thousands of objects for one kernel, and keeps most of them to its end. It compiles one
    kernel at a time, and inside it those that it calls.
    """

    @functools.wraps(compile_)
    def undisturbed(*args: Any) -> Any:
        if not gc.isenabled():  # somebody else's choice, or one kernel inside another
            return compile_(*args)
        try:
            gc.disable()
            return compile_(*args)
        finally:
            gc.enable()

    return undisturbed


class _Plain:
    """A kernel that stays Python.

    A block is a record whose fields are attributes; floats and integers overflow, divide by zero and meet NaN in
    silence, as they do where they are compiled.
    """

    def __init__(self, function: FunctionType) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        given = [a.view(np.recarray) if isinstance(a, np.ndarray) and a.dtype.names else a for a in args]
        with np.errstate(all="ignore"):
            return self._function(*given)


class Kernel:
    """A function that numba compiles on its first call, from its on-disk cache if it can.

    Compiling late keeps numba itself (0.4 s) out of ``import qviz`` and out of ``qviz inspect``. Kernels may call
    one another: numba asks a global it meets for ``_numba_type_`` and finds the function behind it.
    """

    def __init__(self, function: FunctionType, loose: bool = False) -> None:
        functools.update_wrapper(self, function)
        self.py_func, self.loose = function, loose
        self.digest: bytes | None = None  # of what it is made of, once somebody asked
        self.made_from: tuple[Kernel, dict[str, object]] | None = None  # by `specialise`

    @functools.cached_property
    def compiled(self) -> Any:
        """The numba dispatcher, or what calls the Python function where nothing is compiled."""
        if nothing_is_compiled():
            return _Plain(self.py_func)
        return self._dispatcher(lambda kept: elsewhere.CacheElsewhere(kept, self))

    @functools.cached_property
    def within(self) -> Any:
        """The numba dispatcher for other kernels, which Python must not call: it has no wrapper for that.

        Most kernels are called by kernels alone; to compile their wrappers took a tenth of all time.
        """
        return self._dispatcher(lambda kept: kept, no_cpython_wrapper=True)

    def _dispatcher(self, cache_: Callable[[Any], Any], **more: bool) -> Any:
        numba = _numba()
        # nobody calls a kernel as a C callback; to compile what that needs took a twentieth of the time
        flags: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, **more}
        if self.loose:
            flags["fastmath"] = {"reassoc", "contract", "nsz"}
        dispatcher = numba.njit(self.py_func, **flags)
        dispatcher._compiler.compile = _undisturbed(dispatcher._compiler.compile)
        with contextlib.suppress(RuntimeError):  # neither the source's folder nor the user's cache can be written
            dispatcher._cache = cache_(cache.cache_of(self, "-within" if more else ""))
        return dispatcher

    @property
    def _numba_type_(self) -> Any:
        return self.within._numba_type_

    def __call__(self, *args: Any) -> Any:
        """Run the compiled function."""
        return self.compiled(*args)

    def entry(self, *args: Any) -> Any:
        """What numba calls for arguments of exactly these types, without its look at each of them.

        That look takes about 30 µs for an array of blocks (a NumPy record): as long as a small product. Nothing checks
        the types any more: call it only with arrays of the same dtype, dimensions and flags.
        """
        return self.compiled if nothing_is_compiled() else self._overload(args).entry_point

    def address(self, *args: Any) -> int:
        """Where the compiled function for arguments of these types begins, for `qviz._machine.native.multiply`."""
        if nothing_is_compiled():
            return int(importlib.import_module(_PLAIN).address_of(self, args[0].dtype))
        result = self._overload(args)
        return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))

    def _overload(self, args: tuple[Any, ...]) -> Any:
        signature = tuple(map(_numba().typeof, args))
        self.compiled.compile(signature)
        return self.compiled.overloads[signature]


def kernel(function: Any) -> Kernel:
    """Mark a function for numba; see the module's text for the rules inside."""
    return Kernel(function)


def loose_kernel(function: Any) -> Kernel:
    """`kernel`, but sums may be taken in any order: for results that decide no byte, such as a model's activations.

    Without this LLVM keeps a float sum strictly left to right, on one lane: a norm or a softmax took 6 times as long.
    Infinity and NaN still mean what they mean.
    """
    return Kernel(function, loose=True)


def specialise(template: Kernel, name: str, **names: object) -> Kernel:
    """A kernel whose body is `template`'s, with other functions behind some of its global names.

    Numba cannot cache a kernel that takes a function as an argument. A template reads the function as a global
    instead; each specialisation is compiled, inlined and cached under its own name.

    Parameters
    ----------
    template : Kernel
    name : str
        Identifier of the result; part of its cache key.
    **names : object
        Globals to replace.
    """
    source = template.py_func
    function = FunctionType(source.__code__, {**source.__globals__, **names}, name)
    function.__module__, function.__qualname__, function.__doc__ = source.__module__, name, source.__doc__
    made = Kernel(function, template.loose)
    made.made_from = template, names
    return made


def reading(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view of an array that cannot be written, for kernels that only read it.

    Numba compiles a kernel once for arrays that may be written, and once more for those that may not, such as the
    blocks of a memory-mapped file. Given views like this one, it compiles it once.
    """
    view = array.view()
    view.flags.writeable = False
    return view


_PLAIN = "qviz._machine.plain"


class _OnFirstUse(ModuleType):
    """Stands for a module of vectors until one of them is asked for: then it, or their plain forms, is imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(_PLAIN if nothing_is_compiled() else self.__name__), name)


simd: Any = _OnFirstUse("qviz._machine.simd")
"""Explicit vectors for kernels; imports numba, so late."""

native: Any = _OnFirstUse("qviz._machine.native")
"""Shared words and calls by address for kernels; imports numba, too."""


@kernel
def float_bits(x):
    """The 32 bits of a float32."""
    return f32(x).view(np.uint32)


@kernel
def bits_float(bits):
    """The float32 with these 32 bits."""
    return u32(bits).view(np.float32)


@kernel
def order_key(bits):
    """Bits of a float32, as an int32 -> an int32 that compares as the float does. Its own inverse."""
    return i32(bits ^ i32(i32(bits >> i32(31)) & i32(0x7FFFFFFF)))


@kernel
def half_bits(x):
    """float32 -> the 16 bits of the nearest float16 (ties to even; overflow to infinity; NaN to 0x7e00).

    The arithmetic of IEEE 754; NaN as ``GGML_FP32_TO_FP16`` in ggml-impl.h makes it.
    """
    bits = float_bits(x)
    sign = u32(u32(bits >> u32(16)) & u32(0x8000))
    a = u32(bits & u32(0x7FFFFFFF))
    # normal: move the exponent bias from 127 to 15, and round on bit 13
    half = u32(u32(a + u32(0xC8000FFF) + u32(u32(a >> u32(13)) & u32(1))) >> u32(13))
    # subnormal: adding 0.5 makes the float unit round at 2^-24, the step of float16's subnormals
    small = u32(float_bits(bits_float(a) + f32(0.5)) - u32(0x3F000000))
    half = small if a < u32(0x38800000) else half
    half = u32(0x7C00) if a >= u32(0x477FF000) else half
    half = u32(0x7E00) if a > u32(0x7F800000) else half
    return u16(sign | half)


@kernel
def half_float(bits):
    """The 16 bits of a float16 -> float32, exactly; a signalling NaN becomes quiet, as on the FPU."""
    h = u32(bits)
    em = u32(u32(h & u32(0x7FFF)) << u32(13))
    # shifted into place, the number is too small by 2^112, subnormals included: one exact product mends both
    value = float_bits(bits_float(em) * f32(5.192296858534828e33))
    value = u32(em | u32(0x7F800000)) if em >= u32(0x0F800000) else value
    value = u32(value | u32(0x00400000)) if em > u32(0x0F800000) else value
    return bits_float(u32(value | u32(u32(h & u32(0x8000)) << u32(16))))
