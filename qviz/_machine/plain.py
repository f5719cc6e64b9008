"""What stands in for explicit vectors and shared words where nothing is compiled (``NUMBA_DISABLE_JIT=1``).

Kernels then are the Python that they are written in, and a debugger steps through them. Each vector function is its
plain-loop twin; `lanes` are arrays of sixteen float32; what would be a vector of sums is their total. Bytes come out
the same. `qviz._machine.kernels` puts this module behind the names ``simd`` and ``native``.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from qviz._machine import simd as _simd
from qviz._machine.kernels import Kernel, f32, i32
from qviz._machine.simd import dots, side_by_side

LANES = side_by_side.LANES
code_in_planes = dots.code_in_planes

_MAGIC = f32(12582912)


@functools.cache
def __getattr__(name: str) -> Any:
    """The twin of a function of `simd`; positions count from the start of an array, whatever its shape."""
    twin = getattr(_simd, f"{name}_twin", None)
    if twin is None:
        raise AttributeError(f"{name} has no plain form")

    @functools.wraps(twin)
    def flat(*args: Any) -> Any:
        return twin(*(a.reshape(-1) if isinstance(a, np.ndarray) else a for a in args))

    return flat


# --- lanes -----------------------------------------------------------------------------------------------------------


def load(array: Any, at: int) -> Any:
    """Lanes from ``array[at:at+16]``."""
    return array.reshape(-1)[at : at + LANES].copy()


def store(array: Any, at: int, value: Any) -> None:
    """``array[at:at+16] = value``."""
    array.reshape(-1)[at : at + LANES] = value


def spread(number: Any) -> Any:
    """Lanes that all hold `number`."""
    return np.full(LANES, number, np.float32)


select = np.where


def some(where: Any) -> bool:
    """True if any lane of the mask is set."""
    return bool(where.any())


magnitude, root = np.abs, np.sqrt


def nearest(x: Any) -> Any:
    """Round to the nearest whole number as ggml does; see `simd.nearest`."""
    bits = (x + _MAGIC).view(np.int32)
    return ((bits & i32(0x7FFFFF)) | i32(0x4B000000)).view(np.float32) - _MAGIC


def low_byte(x: Any) -> Any:
    """Whole numbers modulo 256."""
    return (x.astype(np.int32) & i32(255)).astype(np.float32)


def digits(x: Any, shift: Any, mask: Any) -> Any:
    """Bits of whole numbers; see `simd.digits`."""
    return ((x.astype(np.int32) >> shift) & mask).astype(np.float32)


def store_bytes(array: Any, at: int, value: Any) -> None:
    """``array[at:at+16] = value`` for bytes."""
    array.reshape(-1)[at : at + LANES] = value.astype(np.int32).astype(array.dtype)


def store_nibbles(array: Any, at: int, first: Any, second: Any) -> None:
    """``array[at:at+16] = first + 16 * second`` for bytes; fractions drop."""
    array.reshape(-1)[at : at + LANES] = (first.astype(np.int32) | second.astype(np.int32) << 4).astype(array.dtype)


def transpose(source: Any, at: int, stride: int, out: Any, to: int) -> None:
    """``out[to+16*c+r] = source[at+stride*r+c]`` for a 16 × 16 square."""
    flat = source.reshape(-1)
    square = np.stack([flat[at + stride * r :][:LANES] for r in range(LANES)])
    out.reshape(-1)[to : to + LANES * LANES] = square.T.reshape(-1)


# --- bytes -----------------------------------------------------------------------------------------------------------


def copy32(qs: Any, codes: Any) -> None:
    """32 bytes from `qs` to `codes`."""
    codes[:32] = qs[:32].astype(codes.dtype)


def copy_streaming(values: Any, n: int, out: Any, start: int) -> None:
    """``out[start:start+n] = values[:n]``."""
    out.reshape(-1)[start : start + n] = values[:n]


def decode_streaming(codes: Any, scales: Any, mins: Any, out: Any) -> None:
    """``codes * scale - min`` for each row."""
    products = codes.astype(np.float32) * scales.astype(np.float32)[:, None]
    out.reshape(codes.shape)[...] = products - mins.astype(np.float32)[:, None]


# --- products --------------------------------------------------------------------------------------------------------


def largest_code() -> int:
    """Tiles are of no use here."""
    return -1


def _steps(name: str) -> Callable[..., Any]:
    def steps(*given: Any) -> Any:
        out = np.empty(16, np.int16)
        getattr(_simd, f"{name}_twin")(*given, out)
        return out

    return steps


six_bit_steps, six_bit_mins = _steps("six_bit_steps"), _steps("six_bit_mins")
byte_steps, nibble_steps = _steps("byte_steps"), _steps("nibble_steps")
centred_six_bit_steps = _steps("centred_six_bit_steps")


def _dot_planes(bits: int) -> Callable[..., Any]:
    def dot(qs: Any, at_q: int, codes: Any, at: int) -> Any:
        total = i32(0)
        for l in range(32):
            total += code_in_planes(qs, at_q, l, bits) * i32(codes[at + l])
        return total

    return dot


dot_two_bits, dot_three_bits, dot_four_bits, dot_eight_bits = map(_dot_planes, (2, 3, 4, 8))


def less_times(x: Any, y: Any, factor: Any) -> Any:
    """``x - y * factor``, of totals."""
    return x - y * factor


def no_floats() -> Any:
    """Zero."""
    return f32(0)


def total(value: Any) -> Any:
    """What is a total already."""
    return value


# --- shared words, and calls by address ------------------------------------------------------------------------------

_KERNELS: list[tuple[Kernel, np.dtype[Any]]] = []


def address_of(kernel: Kernel, dtype: np.dtype[Any]) -> int:
    """A number by which `multiply` finds a kernel, whose blocks are of `dtype`."""
    _KERNELS.append((kernel, dtype))
    return len(_KERNELS) - 1


def load_word(words: Any, at: int) -> Any:
    """``words[at]``."""
    return words[at]


def store_word(words: Any, at: int, value: Any) -> None:
    """``words[at] = value``."""
    words[at] = value


def add_word(words: Any, at: int, value: Any) -> Any:
    """``words[at] += value``; the value before it."""
    before = words[at]
    words[at] = before + value
    return before


def replace_word(words: Any, at: int, old: Any, new: Any) -> bool:
    """``words[at] = new`` if it is `old`; whether it was."""
    same = bool(words[at] == old)
    if same:
        words[at] = new
    return same


def pause() -> None:
    """Do nothing: this thread is the only one."""


def multiply(address: Any, blocks: Any, rows: Any, columns: Any, itemsize: Any, given: Any, out: Any) -> None:
    """Call the kernel of an `address_of` with blocks at an address in memory; see `native.multiply`."""
    kernel, dtype = _KERNELS[int(address)]
    there = (ctypes.c_uint8 * int(rows * columns * itemsize)).from_address(int(blocks))
    kernel(np.ctypeslib.as_array(there).view(dtype).reshape(rows, columns), *given, out)
