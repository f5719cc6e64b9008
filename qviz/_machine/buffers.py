"""Large arrays: aligned to a cache line, and recycled.

A fresh array costs more than filling it: the kernel hands out zeroed pages one fault at a time (measured for 64 MB: 9.8
against 4.2 ms for one `fill`; a fifth of a perplexity run). C callers reuse a buffer; NumPy callers write
``w = t.dequantize()`` in a loop. So a few large buffers are kept once nobody needs them any more.

Nobody asks whether an array is still in use. What is handed out rests on a `_Lease`, which NumPy keeps alive as long as
the array or anything made from it (a view, a memoryview, a pointer of ctypes) is; the lease's end is what brings the
buffer back.
"""

from __future__ import annotations

import collections
import ctypes
import math
import sys
import threading
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNMENT = 64

Buffer = npt.NDArray[np.uint8]


class _Lease:
    """What an array that was handed out stands on; when it goes, its buffer is free again."""

    __slots__ = ("__array_interface__", "__weakref__", "_end")

    def __init__(self, buffer: Buffer, nbytes: int, free: collections.deque[_End]) -> None:
        # What is called at the end is the deque's own `append`, which C code runs in one step: it needs no lock, and
        # no stop button is pressed while it runs, as could happen in a __del__ (which would swallow it).
        self._end = _End(self, free.append)
        self._end.buffer = buffer
        address = buffer.ctypes.data
        self.__array_interface__ = {
            "version": 3,
            "data": (address + -address % ALIGNMENT, False),
            "shape": (nbytes,),
            "typestr": "|u1",
        }


class _End(weakref.ref[_Lease]):
    """The end of a lease, and the buffer that is free then."""

    __slots__ = ("buffer",)

    buffer: Buffer


class Spares:
    """Buffers that were handed out, and may be again.

    Parameters
    ----------
    kept : int
        So many free ones at most.
    smallest, largest : int
        Bytes: smaller arrays are cheap, and larger ones are never held back.

    Attributes
    ----------
    free : deque of objects with a ``buffer``
        Those that nobody uses, the one that has been free longest first.
    """

    def __init__(self, kept: int, smallest: int, largest: int) -> None:
        self.smallest, self.largest = smallest, largest
        self.free: collections.deque[_End] = collections.deque(maxlen=kept)

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An uninitialised C-contiguous array; a large one's data starts on a 64-byte boundary.

        Parameters
        ----------
        shape : tuple of int
        dtype : data-type

        Returns
        -------
        numpy.ndarray
        """
        item = np.dtype(dtype)
        nbytes = math.prod(shape) * item.itemsize
        if nbytes < self.smallest:
            return np.empty(shape, item)
        if nbytes > self.largest:
            owner = np.empty(nbytes + ALIGNMENT, np.uint8)
            start = -owner.ctypes.data % ALIGNMENT
            return owner[start : start + nbytes].view(item).reshape(shape)
        array: Buffer = np.asarray(_Lease(self._free_or_new(nbytes), nbytes, self.free))
        return array.view(item).reshape(shape)

    def _free_or_new(self, nbytes: int) -> Buffer:
        """A free buffer of about that size, or a new one. Who has taken one out of `free` is alone with it."""
        others: list[_End] = []
        try:
            while True:
                end = self.free.pop()
                if nbytes + ALIGNMENT <= end.buffer.nbytes <= 2 * nbytes + ALIGNMENT:
                    return end.buffer
                others.append(end)
        except IndexError:
            return np.empty(nbytes + ALIGNMENT, np.uint8)
        finally:
            self.free.extend(reversed(others))


class _SparesOfThread(threading.local):
    def __init__(self) -> None:
        self.spares = Spares(3, 1 << 16, 1 << 22)  # with 20, a perplexity run is no faster, and takes 30 MB more


spares = Spares(2, 1 << 20, 1 << 26)  # two, because ``w = f(w)`` makes the new array while the old one is still alive
empty = spares.empty

_of_thread = _SparesOfThread()


def passing(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """`empty` for what one step hands to the next, such as activations: of many buffers that each thread has."""
    return _of_thread.spares.empty(shape, dtype)


def give_back() -> None:
    """Forget this thread's buffers of `passing`, and return free memory to the system where the C library can (glibc).

    For the end of a long run: what it had passed on would stay with the process, a third of what the run took.
    """
    _of_thread.spares.free.clear()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
