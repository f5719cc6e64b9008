"""Recycled buffers: never one that somebody still holds."""

import gc

import numpy as np

from qviz import _memory
from qviz._memory import empty


def test_large_arrays_are_aligned():
    for n in (1 << 18, (1 << 18) + 3, 1 << 20):
        assert empty((n,), np.float32).ctypes.data % 64 == 0


def test_a_dropped_buffer_comes_back():
    a = empty((1 << 19,), np.float32)
    address = a.ctypes.data
    del a
    assert empty((1 << 19,), np.float32).ctypes.data == address


def test_a_held_buffer_does_not():
    for hold in (
        lambda a: a,
        lambda a: a[5:7],
        lambda a: a.view(np.uint8)[:1],
        memoryview,
        lambda a: a.reshape(2, -1).T,
    ):
        a = empty((1 << 19,), np.float32)
        a[:] = 7
        view = hold(a)
        del a
        others = [empty((1 << 19,), np.float32) for _ in range(4)]
        for other in others:
            other[:] = 0
        values = np.asarray(view)
        assert values.min() == values.max()
        assert values.view(np.float32).max() == 7 if values.dtype == np.float32 else values.max() in (7, 0, 224, 64)


def test_little_is_held_back():
    arrays = [empty((1 << 24,), np.float32) for _ in range(5)]
    del arrays
    gc.collect()
    assert sum(owner.nbytes for owner in _memory._spares) <= 2 * (_memory._LARGEST + _memory.ALIGNMENT)
    huge = empty((_memory._LARGEST // 4 + 1,), np.float32)
    assert all(not np.shares_memory(huge, owner) for owner in _memory._spares)
