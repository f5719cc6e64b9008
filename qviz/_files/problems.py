"""What the operating system reports about a file, as one sentence of ours with a next step."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any, TypeVar

from qviz.errors import GGUFError, QvizError

Failure = TypeVar("Failure", bound=QvizError)

_NEXT_STEPS = {
    errno.ENOSPC: "free some space, or choose a folder on another disk",
    errno.EDQUOT: "free some of your quota, or choose a folder on another disk",
    errno.EFBIG: "this disk, or a limit of this process (ulimit -f), allows no larger file; choose another folder",
    errno.EACCES: "choose another folder, or change its permissions",
    errno.EPERM: "choose another folder, or change its permissions",
    errno.EROFS: "choose a folder on a disk that can be written",
    errno.EIO: "the disk or the network drive fails; check it, or choose another",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "this is a folder; name a file",
    errno.ENOTDIR: "a part of this path is a file, not a folder; check the path",
    errno.ENOENT: "check the path; a folder of it must be created first",
    errno.ELOOP: "links lead in a circle; name the file itself",
    errno.EMFILE: "too many files are open; close some, or raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; close some programs",
    errno.ENOMEM: "close some programs, and try again",
    errno.EBUSY: "another program uses it; close that, and try again",
    errno.ESTALE: "the network drive lost it; open it again",
}


def os_problem(error: OSError) -> str:
    """What happened, in the system's words, and what to do about it.

    Examples
    --------
    >>> os_problem(OSError(errno.ENOSPC, "No space left on device"))
    'No space left on device; free some space, or choose a folder on another disk'
    """
    said = error.strerror or str(error) or type(error).__name__
    step = _NEXT_STEPS.get(error.errno or 0)
    return f"{said}; {step}" if step else said


def failure(error: type[Failure], problem: str, path: str | os.PathLike[str], **details: Any) -> Failure:
    """An error of the caller's kind that names the file.

    Parameters
    ----------
    error : type
    problem : str
    path : path-like
    **details
        As for `qviz.errors.GGUFError`: offset, found, expected.
    """
    if issubclass(error, GGUFError):
        return error(problem, path=path, **details)
    return error(str(GGUFError(problem, path=path, **details)))


@contextlib.contextmanager
def explained(
    path: str | os.PathLike[str], doing: str = "cannot be written", error: type[QvizError] = GGUFError
) -> Iterator[None]:
    """Turn what the system reports inside the block into one sentence.

    Parameters
    ----------
    path : path-like
        The file that the user knows of.
    doing : str
        ``"cannot be written"``, ``"cannot be read"``.
    error : type
        Kind of the error.

    Raises
    ------
    QvizError
        The kind asked for. Errors that are qviz's already pass unchanged.
    """
    try:
        yield
    except OSError as problem:
        if isinstance(problem, QvizError):  # ModelNotFoundError is both
            raise
        raise failure(error, f"{doing}: {os_problem(problem)}", path) from None
