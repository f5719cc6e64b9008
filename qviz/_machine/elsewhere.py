"""Compile kernels in another process, so that what the compiler needs never becomes part of this one.

LLVM keeps every function that it compiled for as long as the process lives: a notebook that compiles the 300 kernels of
a whole model grows by half a gigabyte, the same notebook that finds them in Numba's cache by none of it. So a notebook
lets a second, short-lived process compile what the cache lacks, and reads the result from the cache.

Only notebooks do so (``ipykernel`` is loaded): everywhere else the second process would cost more than it saves.
``QVIZ_COMPILE=here`` or ``QVIZ_COMPILE=elsewhere`` decides by hand. Whatever goes wrong here, the kernel is compiled
in place, as it would be anyway.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import struct
import subprocess
import sys
import threading
from typing import IO, Any

_IDLE_SECONDS = 15.0  # then the other process ends
_KERNELS = 40  # so many compilations, then a fresh one takes over: its memory counts, too
_PATIENCE = 300.0  # seconds for one kernel and all that it calls; a busy machine needs some ten


def wanted() -> bool:
    """Whether kernels of this process shall be compiled elsewhere."""
    said = os.environ.get("QVIZ_COMPILE", "").strip().lower()
    return said == "elsewhere" or (said != "here" and "ipykernel" in sys.modules)


class CacheElsewhere:
    """A cache of Numba's that has what it lacks compiled in the other process, before anyone compiles it here.

    Parameters
    ----------
    inner : numba.core.caching.Cache
    kernel : Kernel
        Whose overloads it keeps.
    """

    def __init__(self, inner: Any, kernel: Any) -> None:
        self._inner, self._kernel = inner, kernel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What the cache holds for a signature, if need be after the other process has put it there."""
        overload = self._inner.load_overload(sig, target_context)
        if overload is None and wanted() and _other.compile(self._kernel, sig):
            overload = self._inner.load_overload(sig, target_context)
        return overload


def description(kernel: Any) -> Any:
    """How another process finds the same kernel: by its module and name, or as a specialisation of one.

    Parameters
    ----------
    kernel : Kernel

    Returns
    -------
    tuple or None
        None if it cannot be found again.
    """
    module, name = kernel.__module__, kernel.__name__
    if getattr(sys.modules.get(module), name, None) is kernel:
        return module, name
    if kernel.made_from is None:
        return None
    template, names = kernel.made_from
    described = description(template)
    others = {n: _Described(description(v)) if _is_kernel(v) else v for n, v in names.items()}
    if described is None or any(isinstance(v, _Described) and v.by is None for v in others.values()):
        return None
    return described, name, others


def find(described: Any) -> Any:
    """The kernel of a `description`."""
    from importlib import import_module

    from qviz._machine.kernels import specialise

    if len(described) == 2:
        return getattr(import_module(described[0]), described[1])
    template, name, names = described
    return specialise(
        find(template), name, **{n: find(v.by) if isinstance(v, _Described) else v for n, v in names.items()}
    )


class _Described:
    """Stands for a kernel among the names of a specialisation."""

    def __init__(self, by: Any) -> None:
        self.by = by


def _is_kernel(value: Any) -> bool:
    return hasattr(value, "py_func") and hasattr(value, "made_from")


class _Other:
    """The other process, started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._owner = 0

    def compile(self, kernel: Any, signature: Any) -> bool:
        """Let the other process put an overload into the cache; whether it did."""
        try:
            request = pickle.dumps((description(kernel), signature))
        except Exception:  # what cannot travel is compiled here
            return False
        with self._lock:
            for _ in range(2):  # it may just have ended, having been idle for long
                answer = self._ask(request)
                if answer is not None:
                    return answer
        return False

    def _ask(self, request: bytes) -> bool | None:
        """Ask one question; None if the other process is gone."""
        done = False
        watch = threading.Timer(_PATIENCE, self._end)
        watch.daemon = True
        try:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            watch.start()
            _send(process.stdin, request)
            answer = _receive(process.stdout)
            done = answer is not None
            return None if answer is None else answer == b"1"
        except (OSError, ValueError):
            return None
        finally:
            watch.cancel()
            if not done:  # an interrupt, too: the next answer would be to this question
                self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # after a fork the pipes are somebody else's
            self._process, self._owner = None, os.getpid()
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "import sys; sys.path[:] = sys.argv[1:]; from qviz._machine import elsewhere; elsewhere.serve()",
                    *sys.path,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # the stop button is for this process only
                env=os.environ | {"QVIZ_COMPILE": "here"},
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


def serve() -> None:
    """Compile what is asked for on stdin until nobody asks any more. Runs in the other process."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a compiler may print must not get between the answers
    for _ in range(_KERNELS):
        idle = threading.Timer(_IDLE_SECONDS, os._exit, (0,))
        idle.daemon = True
        idle.start()
        request = _receive(requests)
        idle.cancel()
        if request is None:
            break
        answer = b"0"
        try:
            described, signature = pickle.loads(request)
            if described is not None:
                find(described).compiled.compile(signature)
                answer = b"1"
        except Exception:  # the process that asked compiles it, and shows the error
            pass
        _send(answers, answer)


def _send(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(struct.pack("<Q", len(content)) + content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack("<Q", head)
    content = pipe.read(length)
    return content if len(content) == length else None


_other = _Other()
atexit.register(_other._end)
