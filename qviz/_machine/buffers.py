"""Large arrays: aligned to a cache line, and recycled.

A fresh array costs more than filling it: the kernel hands out zeroed pages one fault at a time (measured for 64 MB: 9.8
against 4.2 ms for one `fill`; a fifth of a perplexity run). C callers reuse a buffer; NumPy callers write
``w = t.dequantize()`` in a loop. So a few large buffers are kept, and one is handed out again once nobody else refers
to it.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNMENT = 64


class Spares:
    """Buffers that were handed out, and may be again.

    Parameters
    ----------
    kept : int
        So many of them at most.
    smallest, largest : int
        Bytes: smaller arrays are cheap, and larger ones are never held back.
    """

    def __init__(self, kept: int, smallest: int, largest: int) -> None:
        self.kept, self.smallest, self.largest = kept, smallest, largest
        self.owners: list[npt.NDArray[np.uint8]] = []
        self._lock = threading.Lock()

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
        owner = self._recycled(nbytes) if nbytes <= self.largest else np.empty(nbytes + ALIGNMENT, np.uint8)
        start = -owner.ctypes.data % ALIGNMENT
        return owner[start : start + nbytes].view(item).reshape(shape)

    def _recycled(self, nbytes: int) -> npt.NDArray[np.uint8]:
        with self._lock:
            for owner in reversed(self.owners):
                # 3 = the list, this name, getrefcount's own argument: no array that was handed out is alive any more.
                if nbytes + ALIGNMENT <= owner.nbytes <= 2 * nbytes + ALIGNMENT and sys.getrefcount(owner) == 3:
                    break
            else:
                owner = np.empty(nbytes + ALIGNMENT, np.uint8)
            others = [other for other in self.owners if other is not owner]
            self.owners = [*others[max(0, len(others) + 1 - self.kept) :], owner]  # the longest unused one goes first
            return owner


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.spares = Spares(16, 1 << 16, 1 << 22)


spares = Spares(2, 1 << 20, 1 << 26)  # two, because ``w = f(w)`` makes the new array while the old one is still alive
empty = spares.empty

_of_thread = _OfThread()


def passing(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """`empty` for what one step hands to the next, such as activations: of many buffers that each thread has."""
    return _of_thread.spares.empty(shape, dtype)


def give_back() -> None:
    """Forget this thread's buffers of `passing`, and return free memory to the system where the C library can (glibc).

    For the end of a long run: what it had passed on would stay with the process, a third of what the run took.
    """
    _of_thread.spares.owners.clear()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
