"""Recycled buffers: never one that somebody still holds."""

import collections
import ctypes
import gc
import os
import threading
import weakref

import numpy as np
import pytest

from qviz._machine import buffers
from qviz._machine.buffers import ALIGNMENT, Spares, empty, give_back, passing, spares


def test_large_arrays_are_aligned():
    for n in (1 << 18, (1 << 18) + 3, 1 << 20):
        assert empty((n,), np.float32).ctypes.data % 64 == 0


def test_a_dropped_buffer_comes_back():
    a = empty((1 << 19,), np.float32)
    address = a.ctypes.data
    del a
    assert empty((1 << 19,), np.float32).ctypes.data == address


def everything_handed_out_now():
    return [empty((1 << 19,), np.float32) for _ in range(4)]


@pytest.mark.parametrize(
    "hold",
    [
        lambda a: a,
        lambda a: a[5:7],
        lambda a: a[5:][:2][::-1],
        lambda a: a.view(np.uint8)[:1],
        lambda a: memoryview(a),
        lambda a: memoryview(a)[4:5],
        lambda a: a.reshape(2, -1).T,
        lambda a: a.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
        lambda a: np.frombuffer(a, np.uint8, 16, 64),
        lambda a: np.asarray(memoryview(a[3:9])),
        lambda a: np.lib.stride_tricks.as_strided(a, (3,), (4,)),
        lambda a: a.view(Sub)[:4],
        lambda a: [{"deep": (a[1:2],)}],
        lambda a: traceback_that_holds(a),
        lambda a: weakref.ref(a)(),
        lambda a: iter(a),
    ],
)
def test_a_held_buffer_is_nobody_elses(hold):
    a = empty((1 << 19,), np.float32)
    address = a.ctypes.data
    held = hold(a)
    del a
    gc.collect(1)  # what is new: all that the tests before have left would take a second each time
    assert address not in [other.ctypes.data for other in everything_handed_out_now()]
    del held
    gc.collect(1)
    assert address in [other.ctypes.data for other in everything_handed_out_now()]


class Sub(np.ndarray):
    pass


def traceback_that_holds(array):
    try:
        raise ValueError
    except ValueError as error:
        return error


def test_held_on_another_thread_and_by_a_kernel_that_runs():
    a = passing((1 << 18,))
    address, go_on = a.ctypes.data, threading.Event()
    thread = threading.Thread(target=lambda array: go_on.wait(), args=(a[7:],))
    thread.start()
    del a
    assert address not in [b.ctypes.data for b in [passing((1 << 18,)) for _ in range(4)]]
    go_on.set()
    thread.join()


def test_many_threads_never_get_the_same():
    """Each fills what it got with its own number, drops views in any order, and finds nothing else in it."""
    wrong = []

    def work(number):
        held = collections.deque(maxlen=3)
        for _ in range(300):
            array = empty((1 << 18,), np.float32)[:64]
            array[:] = number
            held.append(array)
            wrong.extend(b for b in held if (b != number).any())

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_copies():
    a = empty((1 << 19,), np.float32)
    a[:] = 7
    child = os.fork()
    if child == 0:
        for other in everything_handed_out_now():
            other[:] = 1
        os._exit(0 if (a == 7).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (a == 7).all()


def test_little_is_held_back():
    arrays = [empty((1 << 24,), np.float32) for _ in range(5)]
    del arrays
    assert len(spares.free) == 2
    assert sum(end.buffer.nbytes for end in spares.free) <= 2 * (spares.largest + ALIGNMENT)
    empty((spares.largest // 4 + 1,), np.float32)
    assert sum(end.buffer.nbytes for end in spares.free) <= 2 * (spares.largest + ALIGNMENT)


def test_the_longest_unused_buffer_goes_first():
    few = Spares(2, 1 << 10, 1 << 20)
    a, b, c = (few.empty((1 << n,), np.uint8) for n in (12, 14, 16))
    second = b.ctypes.data
    del a, b, c  # in this order: the first one goes
    assert [end.buffer.nbytes >> 12 for end in few.free] == [4, 16]
    again = few.empty((1 << 14,), np.uint8)
    assert again.ctypes.data == second
    assert [end.buffer.nbytes >> 12 for end in few.free] == [16]


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
    assert not buffers._of_thread.spares.free
    again = [passing((1 << 18,)) for _ in range(4)]
    for other in again:
        other[:] = 0
    assert held.min() == 7
