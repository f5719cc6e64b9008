"""BLAS, the matrix products behind NumPy and SciPy, kept on one thread where more of them only cost."""

from __future__ import annotations

import ctypes
import functools
import importlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _OneThread:
    """While entered, the OpenBLAS in NumPy's and SciPy's wheels uses one thread; other builds are left alone."""

    def __init__(self) -> None:
        self._lock, self._users, self._before = threading.Lock(), 0, list[int]()

    @functools.cached_property
    def _pools(self) -> list[tuple[Callable[[], int], Callable[[int], None]]]:
        pools = []
        for name in ("numpy", "scipy"):
            package = importlib.import_module(name)
            folder = Path(str(package.__file__)).parent.parent / f"{name}.libs"
            for path in sorted(folder.glob("*openblas*")):
                library = ctypes.CDLL(str(path))
                for suffix in ("", "64_"):
                    calls = [
                        getattr(library, f"scipy_openblas_{do}_num_threads{suffix}", None) for do in ("get", "set")
                    ]
                    if all(calls):
                        pools.append((calls[0], calls[1]))
        return pools  # type: ignore[return-value]

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._before = [get() for get, _ in self._pools]
                for _, put in self._pools:
                    put(1)
            self._users += 1

    def __exit__(self, *problem: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                for (_, put), count in zip(self._pools, self._before, strict=True):
                    put(count)


_one_thread = _OneThread()


def on_one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function with BLAS on one thread.

    The matrices of one layer are small: threads cost more than they bring, and a hundred times as much where something
    else keeps the cores busy. The result then is the same on every machine, too. Use other cores for other layers.
    """

    @functools.wraps(function)
    def calm(*args: P.args, **kwargs: P.kwargs) -> T:
        with _one_thread:
            return function(*args, **kwargs)

    return calm
