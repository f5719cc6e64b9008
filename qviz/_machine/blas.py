"""BLAS, the matrix products behind NumPy and SciPy, kept on one thread where more of them only cost."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def _set_threads(library: Any, count: int) -> None:
    """Tell a BLAS how many threads to use, from whatever thread this is.

    threadpoolctl (from 3.7 on) lets only the thread that came first change OpenBLAS, and ignores others in silence.
    """
    others_may = getattr(library, "clear_controlling_thread", lambda force: None)
    others_may(force=True)
    library.set_num_threads(count)
    others_may(force=True)


class _OneThread:
    """While somebody asks for it, every BLAS of this process uses one thread.

    Those are OpenBLAS, MKL and BLIS; Accelerate has no such setting, and is left alone.

    Who asks is a token, so that leaving twice is the same as once; and a token that its thread has left behind, since
    the stop button came at the wrong moment, is dropped when the same thread comes again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[object, int] = {}  # token -> its thread
        self._before: dict[str, int] = {}  # library -> threads that it had, until they are given back to it
        self._loaded: tuple[bool, list[Any]] = False, []

    def libraries(self) -> list[Any]:
        """The loaded BLAS libraries. Looking takes milliseconds, so it is done again only once SciPy is loaded."""
        scipy = "scipy.linalg" in sys.modules
        if not self._loaded[1] or self._loaded[0] != scipy:
            from threadpoolctl import ThreadpoolController

            controllers = ThreadpoolController().lib_controllers
            self._loaded = scipy, [library for library in controllers if library.user_api == "blas"]
        return self._loaded[1]

    def limit(self) -> None:
        """Tell every BLAS to use one thread, and remember how many it used before."""
        for library in self.libraries():
            if library.filepath not in self._before:
                self._before[library.filepath] = library.get_num_threads() or 1
            _set_threads(library, 1)

    def enter(self, token: object) -> None:
        here = threading.get_ident()
        with self._alone():
            for left_behind in [user for user, thread in self._users.items() if thread == here]:
                self._users.pop(left_behind, None)
            self._users[token] = here
            self.limit()

    def leave(self, token: object) -> None:
        with self._alone():
            self._users.pop(token, None)
            if not self._users:
                for library in self.libraries():
                    if library.filepath in self._before:
                        _set_threads(library, self._before[library.filepath])
                self._before.clear()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one thread in at a time. A lock that stays held for a second was lost to an interrupt: it is replaced."""
        if not self._lock.acquire(timeout=1):
            self._lock = threading.Lock()
            self._lock.acquire(timeout=1)
        lock = self._lock
        try:
            yield
        finally:
            with contextlib.suppress(RuntimeError):  # another one by now
                lock.release()


_one_thread = _OneThread()
_inside = contextvars.ContextVar("BLAS is on one thread for this", default=False)


def _start_anew() -> None:
    """In a forked process only the thread that forked goes on, and the lock may be another's."""
    here = threading.get_ident()
    _one_thread._lock = threading.Lock()
    _one_thread._users = {user: thread for user, thread in _one_thread._users.items() if thread == here}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def on_one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function with BLAS on one thread.

    The matrices of one layer are small: threads cost more than they bring, and a hundred times as much where something
    else keeps the cores busy. The result then is the same on every machine, too. Use other cores for other layers.
    """

    @functools.wraps(function)
    def calm(*args: P.args, **kwargs: P.kwargs) -> T:
        if _inside.get():
            return function(*args, **kwargs)
        token = object()
        try:
            _one_thread.enter(token)
            context = contextvars.copy_context()
            context.run(_inside.set, True)
            return context.run(function, *args, **kwargs)
        finally:
            try:
                _one_thread.leave(token)
            finally:
                _one_thread.leave(token)  # an interrupt may have cut the first one short

    return calm


def of_scipy(name: str) -> Any:
    """SciPy's module ``scipy.linalg.<name>``; its BLAS, loaded with it, gets one thread if that is asked for already.

    Parameters
    ----------
    name : {"blas", "lapack"}
    """
    module = importlib.import_module(f"scipy.linalg.{name}")
    if _inside.get():
        with _one_thread._alone():
            _one_thread.limit()
    return module
