"""BLAS on one thread: for as long as somebody needs that, and never longer."""

import os
import threading

import numpy as np
import pytest
import scipy.linalg
from interrupts import interrupts
from threadpoolctl import threadpool_info

from qviz._machine import blas
from qviz._machine.blas import of_scipy, on_one_thread


def counts():
    """As threadpoolctl finds them, looking anew."""
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture
def two():
    """Every BLAS on two threads, before and after."""
    scipy.linalg.blas  # noqa: B018  loaded, so that its own BLAS is there
    libraries = blas._one_thread.libraries()
    before = [library.get_num_threads() for library in libraries]
    for library in libraries:
        blas._set_threads(library, 2)
    if not libraries:
        pytest.skip("no BLAS here lets itself be told: nothing to test")
    yield [2] * len(libraries)
    for library, count in zip(libraries, before, strict=True):
        blas._set_threads(library, count)


def ones(many):
    return [1] * len(many)


def test_one_thread_inside_and_as_many_as_before_outside(two):
    @on_one_thread
    def inside(deeper):
        assert counts() == ones(two)
        if deeper:
            with pytest.raises(KeyError):
                inside(False)
            assert counts() == ones(two)
            of_scipy("lapack")
            assert counts() == ones(two)
        raise KeyError

    with pytest.raises(KeyError):
        inside(True)
    assert counts() == two


def test_until_the_last_one_leaves(two):
    begun, go_on = threading.Event(), threading.Event()

    @on_one_thread
    def hold():
        begun.set()
        go_on.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    on_one_thread(lambda: None)()
    assert counts() == ones(two)
    go_on.set()
    thread.join()
    assert counts() == two


def test_a_product_is_right_wherever_its_blas_comes_from(two):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(on_one_thread(lambda: of_scipy("blas").sgemm(1, x, x.T))(), x @ x.T)


def test_stopped_anywhere_blas_has_its_threads_again(two):
    """At the latest when the next call ends; that call works as ever. Lines, or bytecodes for who has the time."""
    deep = "QVIZ_FUZZ" in os.environ
    work = on_one_thread(counts)
    for at in interrupts(work, blas.__file__, deep=deep, hold=True):
        assert work() == ones(two), at
        assert counts() == two, at
    assert at > (200 if deep else 20)
