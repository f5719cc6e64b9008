"""Bytes that go from one file into another as they are: the system copies them, without a detour through this process.

Some drives then share the bytes instead of writing them again. Where the system cannot, they are read and written a few
megabytes at a time.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from qviz._files.opening import OpenFile
from qviz._files.problems import explained
from qviz.errors import GGUFError, QvizError

_AT_ONCE = 1 << 26  # handed to the system: so often a change of the source is noticed, and Ctrl-C
_PIECE = 1 << 22  # read and written by ourselves
_CANNOT = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}


def copy_bytes(
    source: OpenFile,
    start: int,
    length: int,
    target: BinaryIO,
    path: Path,
    *,
    error: type[QvizError] = GGUFError,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Append some bytes of one file to another.

    Parameters
    ----------
    source : OpenFile
    start, length : int
        Which of its bytes.
    target : binary file
        From `replacing` or `replacing_files`; it stands behind the copied bytes afterwards.
    path : pathlib.Path
        What the target will be, for errors.
    error : type
        Kind of the error.
    progress : callable, optional
        Told how many bytes more were copied.

    Raises
    ------
    QvizError
        The source was cut or changed meanwhile, or the target cannot be written.
    """
    at, done, by_system = target.tell(), 0, hasattr(os, "copy_file_range")
    target.flush()
    while done < length:
        source.check()
        count = 0
        if by_system:
            count = _handed_over(source, start + done, min(_AT_ONCE, length - done), target, at + done, path, error)
            by_system = count > 0
        if not count:
            piece = source.read(start + done, min(_PIECE, length - done))
            target.seek(at + done)
            target.write(piece)
            target.flush()
            count = len(piece)
        done += count
        if progress is not None:
            progress(count)
    target.seek(at + length)


def _handed_over(
    source: OpenFile, start: int, length: int, target: BinaryIO, at: int, path: Path, error: type[QvizError]
) -> int:
    """How many bytes the system copied; 0 where it cannot, or the source has no more."""
    with explained(path, error=error):
        try:
            return os.copy_file_range(source.fileno(), target.fileno(), length, start, at)  # type: ignore[attr-defined,unused-ignore]
        except OSError as problem:
            if problem.errno not in _CANNOT:
                raise
    return 0
