"""Asks libggml whether it opens GGUF files: ``python libggml_opens.py library file...`` prints a word for each.

A process of its own for every file, since libggml answers some broken files with ``abort()``.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ANSWERS = {0: "opens", 1: "refuses"}


class _Parameters(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


def ask(paths: Sequence[Path]) -> list[str]:
    """``"opens"``, ``"refuses"`` or ``"aborts"`` for each file, as ``gguf_init_from_file`` decides."""
    import ggml

    if not hasattr(os, "fork"):
        pytest.skip("asking libggml about broken files needs fork(): it aborts on some")
    command = [sys.executable, __file__, ggml.library()._name, *map(str, paths)]
    quiet = {**os.environ, "GGML_NO_BACKTRACE": "1"}  # else it starts a debugger on itself
    done = subprocess.run(command, check=True, text=True, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.split()


def _main(library: str, paths: list[str]) -> None:
    lib = ctypes.CDLL(library)
    lib.gguf_init_from_file.restype = ctypes.c_void_p
    lib.gguf_init_from_file.argtypes = [ctypes.c_char_p, _Parameters]
    for path in paths:
        if (child := os.fork()) == 0:
            os._exit(0 if lib.gguf_init_from_file(path.encode(), _Parameters(True, None)) else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(ANSWERS.get(status, "aborts"), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
