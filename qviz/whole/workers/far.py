"""What a worker on another machine runs, and how it is told apart from one that runs other code.

Bytes depend on the sources of the rooms in `ROOMS` and on nothing else. NumPy and Numba may differ between machines:
what decides a byte is float32 and integer arithmetic in a fixed order, without fused or reordered operations, and that
gives the same result in every version of both.

Only built-in functions, texts and bytes travel to a worker. So one that lacks qviz, or has an older one, can say so:
were functions of qviz sent, it could not even read the question. A scheduler needs no qviz at all.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
from pathlib import Path

from qviz._version import __version__
from qviz.whole.workers.pieces import Piece, convert

ROOMS = (
    *("_arrays.py", "_machine", "_types.py", "_version.py", "errors.py", "formats"),
    *("whole/workers", "whole/__init__.py"),
)
"""Files and folders of the package that decide what `convert` makes of a piece."""

_MODULE = f"__import__('importlib').import_module({__name__!r})"
WHO = f"{_MODULE}.identity()"
"""Python that answers `identity`, as a text."""
WORK = f"{_MODULE}.work(piece, wanted)"
"""Python that does `work`, as a text."""


@functools.cache
def identity() -> tuple[str, str]:
    """Version of qviz, and a SHA-256 of what decides bytes: read once, so that it is of the code that is loaded."""
    package = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for room in ROOMS:
        path = package / room
        for file in sorted(path.rglob("*") if path.is_dir() else [path]):
            if file.suffix in (".py", ".npy") and file.is_file():
                content = file.read_bytes()
                if file.suffix == ".py":  # a checkout on Windows ends its lines otherwise
                    content = content.replace(b"\r\n", b"\n")
                name = file.relative_to(package).as_posix()
                digest.update(f"{name}\0{len(content)}\0".encode())
                digest.update(content)
    return __version__, digest.hexdigest()


def work(piece: bytes, wanted: tuple[str, str]) -> bytes | tuple[str, str]:
    """Quantize a pickled `Piece`: its blocks, or who this is if that is not who was wanted."""
    if identity() != tuple(wanted):
        return identity()
    return convert(pickle.loads(piece)).tobytes()


def packed(piece: Piece) -> bytes:
    """A piece as `work` takes it."""
    return pickle.dumps(piece, pickle.HIGHEST_PROTOCOL)


def difference(answer: object) -> str:
    """In what a worker differs from this process, in words; empty if in nothing.

    Parameters
    ----------
    answer : tuple or BaseException
        What `WHO` gave, or raised.

    Examples
    --------
    >>> difference(identity())
    ''
    >>> difference(("0.0.1", ""))
    'has qviz 0.0.1, not 0.1.0'
    >>> difference(ModuleNotFoundError("No module named 'qviz'", name="qviz"))
    "has no qviz (No module named 'qviz')"
    """
    mine = identity()
    if isinstance(answer, ImportError | AttributeError):
        old = "'qviz'" not in str(answer) and "qviz" in str(answer)
        return f"has an older qviz ({answer})" if old else f"has no qviz ({answer})"
    if isinstance(answer, BaseException):
        return f"cannot say who it is ({type(answer).__name__}: {answer})"
    if answer == mine or (isinstance(answer, list | tuple) and tuple(answer) == mine):
        return ""
    if not (isinstance(answer, list | tuple) and len(answer) == 2):
        return f"does not say who it is, but {answer!r}"
    if answer[0] != mine[0]:
        return f"has qviz {answer[0]}, not {mine[0]}"
    return f"has other sources of qviz {mine[0]} than this machine ({answer[1][:12]}, not {mine[1][:12]})"
