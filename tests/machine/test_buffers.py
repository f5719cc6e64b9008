"""Recycled buffers: never one that somebody still holds."""

import gc
import threading

import numpy as np

from qviz._machine import buffers as _memory
from qviz._machine.buffers import ALIGNMENT, Spares, empty, give_back, passing, spares


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
    assert sum(owner.nbytes for owner in spares.owners) <= 2 * (spares.largest + ALIGNMENT)
    huge = empty((spares.largest // 4 + 1,), np.float32)
    assert all(not np.shares_memory(huge, owner) for owner in spares.owners)


def test_the_longest_unused_buffer_goes_first():
    few = Spares(2, 1 << 10, 1 << 20)
    a, b = few.empty((1 << 12,), np.uint8), few.empty((1 << 14,), np.uint8)
    first = a.ctypes.data
    del a, b
    assert few.empty((1 << 12,), np.uint8).ctypes.data == first
    few.empty((1 << 16,), np.uint8)  # a third: the second one goes
    assert [owner.nbytes > 1 << 14 for owner in few.owners] == [False, True]
    assert few.empty((1 << 12,), np.uint8).ctypes.data == first


def test_threads_do_not_share_what_they_pass_on():
    """Each has buffers of its own, so that none waits for the others."""
    found = []

    def take():
        array = passing((1 << 18,))
        found.append((array, array.ctypes.data))

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    take()
    assert len({address for _, address in found}) == 4
    address = found.pop()[1]
    assert passing((1 << 18,)).ctypes.data == address


def test_what_was_passed_on_is_given_back():
    held, dropped = passing((1 << 18,)), passing((1 << 18,))
    held[:] = 7
    del dropped
    give_back()
    assert not _memory._of_thread.spares.owners
    again = [passing((1 << 18,)) for _ in range(4)]
    for other in again:
        other[:] = 0
    assert held.min() == 7
