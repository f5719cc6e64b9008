"""New files and folders that take the place of older ones in one step.

They are written beside their destination under a scratch name, flushed to the disk, and renamed. Whoever looks, and
whenever the power fails, finds the older one whole or the new one whole.

A folder cannot be renamed over another that holds something. Linux can swap two names in one step; where that is not to
be had, the older one is moved aside first, and `recover_folder` puts it back should the process die in between.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from qviz._files.problems import explained, failure
from qviz._files.scratch import abandoned, held, hold, old_kind, remove, scratch_path, sweep
from qviz.errors import GGUFError, QvizError

Contents = TypeVar("Contents")

_ATTEMPTS = 5
_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2


class _Explained(io.FileIO):
    """A file whose failures to be written name the file that the user knows."""

    def __init__(self, scratch: Path, path: Path, error: type[QvizError]) -> None:
        self._path, self._error = path, error
        super().__init__(scratch, "x+")

    def write(self, data: Any) -> int:
        with explained(self._path, error=self._error):
            return super().write(data)


def refuse_no_place(path: Path, error: type[QvizError] = GGUFError) -> Path:
    """Where a new file `path` would be, links followed; refused where there is a folder, or no folder to be in."""
    with explained(path, error=error):
        target = Path(os.path.realpath(path))
        mode = _mode(target)
        if mode is not None and not stat.S_ISREG(mode):
            raise failure(error, "cannot be written: this is not a regular file; name a file", path)
        if not target.parent.is_dir():
            raise failure(error, "cannot be written: its folder does not exist; create it first", path)
    return target


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike[str], error: type[QvizError] = GGUFError, *, durable: bool = True
) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well, and vanishes when it does not.

    A link keeps pointing where it did. What processes that died have left in the folder is removed first.

    Parameters
    ----------
    path : path-like
    error : type
        Kind of the error.
    durable : bool
        Flush to the disk, so that the file outlives a power cut.

    Yields
    ------
    binary file, open for reading and writing

    Raises
    ------
    QvizError
        The kind asked for: the file cannot be written. `path` is as it was.
    """
    shown = Path(path)
    with explained(shown, error=error):
        target = refuse_no_place(shown, error)
        mode = _mode(target)
        sweep(target.parent)
        scratch = scratch_path(target)
        raw = _Explained(scratch, shown, error)
    try:
        with held(scratch):
            file = io.BufferedRandom(raw)
            try:
                yield cast(BinaryIO, file)
                file.flush()
                with explained(shown, error=error):
                    if durable:
                        os.fsync(raw.fileno())
                    raw.close()
            finally:
                with contextlib.suppress(OSError):
                    raw.close()  # not the buffer: after a failure it would try to write again
            with explained(shown, error=error):
                if mode is not None:
                    scratch.chmod(stat.S_IMODE(mode))
                scratch.replace(target)
    except BaseException:
        remove(scratch)
        raise
    if durable:
        with explained(shown, error=error):
            _flush_folder(target.parent)


def write_bytes(
    path: str | os.PathLike[str], data: bytes, error: type[QvizError] = GGUFError, *, durable: bool = True
) -> None:
    """Write a whole small file; see `replacing`."""
    with replacing(path, error, durable=durable) as file:
        file.write(data)


@contextlib.contextmanager
def replacing_folder(
    path: str | os.PathLike[str],
    error: type[QvizError] = GGUFError,
    *,
    carry: Callable[[str], bool] | None = None,
) -> Iterator[Path]:
    """A new folder that takes the place of `path` when the block ends well, and vanishes when it does not.

    Parameters
    ----------
    path : path-like
        There may be an older folder of that name.
    error : type
        Kind of the error.
    carry : callable, optional
        Asked about the name of each entry of the older folder that the new one does not have: True moves it over, so
        that nothing of the user's is lost. Without it the older folder vanishes with all it holds.

    Yields
    ------
    pathlib.Path
        An empty folder beside `path`, to be filled.

    Raises
    ------
    QvizError
        The kind asked for: the folder cannot be written. `path` is as it was.
    """
    shown = Path(path)
    with explained(shown, error=error):
        target = Path(os.path.realpath(shown))
        if not target.parent.is_dir():
            raise failure(error, "cannot be written: the folder around it does not exist; create it first", shown)
        recover_folder(target)
        sweep(target.parent)
        mode = _mode(target)
        if mode is not None and not stat.S_ISDIR(mode):
            raise failure(error, "cannot be written: this is not a folder; choose another name", shown)
        scratch = scratch_path(target)
        scratch.mkdir()
    try:
        with held(scratch):
            yield scratch
            with explained(shown, error=error):
                if mode is not None:
                    if carry is not None:
                        _carry_over(target, scratch, carry)
                    scratch.chmod(stat.S_IMODE(mode))
                _flush_tree(scratch)
                _swap(scratch, target)
                _flush_folder(target.parent)
    except BaseException:
        remove(scratch)
        raise
    remove(scratch)  # what stood there before, if the two names were swapped


class Together:
    """Files that are written into a scratch folder and get their names at once. Made by `replacing_files`."""

    def __init__(self, folder: Path, scratch: Path, error: type[QvizError]) -> None:
        self._folder, self._scratch, self._error = folder, scratch, error

    @contextlib.contextmanager
    def new(self, name: str) -> Iterator[BinaryIO]:
        """A file that will be `name` in the folder, open for writing.

        Raises
        ------
        QvizError
            Something of that name is there already, and no file.
        """
        shown = self._folder / name
        with explained(shown, error=self._error):
            mode = _mode(shown)
            if mode is not None and not stat.S_ISREG(mode):
                raise failure(self._error, "cannot be written: this is not a regular file; name a file", shown)
            raw = _Explained(self._scratch / name, shown, self._error)
        with contextlib.closing(raw):
            file = io.BufferedRandom(raw)
            yield cast(BinaryIO, file)
            file.flush()


@contextlib.contextmanager
def replacing_files(
    folder: str | os.PathLike[str], error: type[QvizError] = GGUFError, *, durable: bool = True
) -> Iterator[Together]:
    """Several new files of one folder: all of them appear when the block ends well, and none when it does not.

    They are renamed one after the other, the last name first: of numbered files the first comes last, and whoever finds
    that one finds the others.

    Parameters
    ----------
    folder : path-like
    error : type
        Kind of the error.
    durable : bool
        Flush to the disk, so that the files outlive a power cut.

    Yields
    ------
    Together

    Raises
    ------
    QvizError
        The kind asked for: the files cannot be written.
    """
    where = Path(folder)
    with explained(where, error=error):
        if not where.is_dir():
            raise failure(error, "cannot be written: this folder does not exist; create it first", where)
        sweep(where)
        scratch = scratch_path(where / "files")
        scratch.mkdir()
    try:
        with held(scratch):
            yield Together(where, scratch, error)
            with explained(where, error=error):
                if durable:
                    _flush_tree(scratch)
                for path in sorted(scratch.iterdir(), reverse=True):
                    path.replace(where / path.name)
                if durable:
                    _flush_folder(where)
    finally:
        remove(scratch)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _carry_over(old: Path, new: Path, wanted: Callable[[str], bool]) -> None:
    for entry in sorted(old.iterdir()):
        if wanted(entry.name) and not os.path.lexists(new / entry.name):
            if entry.is_dir() and not entry.is_symlink():
                shutil.copytree(entry, new / entry.name, symlinks=True)
            else:
                try:
                    os.link(entry, new / entry.name, follow_symlinks=False)
                except OSError:  # some drives have no links
                    shutil.copy2(entry, new / entry.name, follow_symlinks=False)


def _swap(new: Path, target: Path) -> None:
    """Put `new` at `target`; what stood there is at `new` afterwards, or gone."""
    for attempt in range(_ATTEMPTS):
        try:
            new.rename(target)  # also over an empty folder
            return
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM):
                raise
            if not target.is_dir() or (problem.errno in (errno.EACCES, errno.EPERM) and sys.platform != "win32"):
                raise
        if _exchange(new, target):
            return
        aside = scratch_path(target, old_kind(target))
        try:
            target.rename(aside)
            try:
                new.rename(target)
            except OSError:
                if attempt == _ATTEMPTS - 1 or not target.is_dir():
                    aside.rename(target)
                    raise
        except FileNotFoundError:
            continue  # another process is doing the same
        remove(aside)
        if not new.exists():
            return


def _exchange(a: Path, b: Path) -> bool:
    """Swap two names in one step; False where the system or the drive cannot."""
    call = _exchanger()
    if call is None:
        return False
    if call(os.fsencode(a), os.fsencode(b)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOENT, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), str(b))


@cache
def _exchanger() -> Callable[[bytes, bytes], int] | None:
    system: str = sys.platform
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if system == "linux":
            linux = library.renameat2
            linux.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
            return lambda a, b: int(linux(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE))
        if system == "darwin":
            apple = library.renamex_np
            apple.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint)
            return lambda a, b: int(apple(a, b, _RENAME_SWAP))
    except (OSError, AttributeError, TypeError):
        pass
    return None


def recover_folder(path: Path) -> None:
    """Put back a folder that was moved aside for a new one that never came, because the process died in between."""
    if os.path.lexists(path):
        return
    for aside, kind in abandoned(path.parent):
        if kind == old_kind(path):
            with contextlib.suppress(OSError):
                descriptor = hold(aside)
                try:
                    aside.rename(path)
                    return
                finally:
                    if descriptor is not None:
                        os.close(descriptor)


def read_folder(path: Path, read: Callable[[Path], Contents], error: type[QvizError] = GGUFError) -> Contents:
    """Read several files of a folder that another process may replace meanwhile: all of the older one, or of the new.

    Parameters
    ----------
    path : pathlib.Path
    read : callable
        Opens what it needs; called again if the folder was replaced while it did.
    error : type
        Kind of the error.

    Returns
    -------
    object
        What `read` returned.

    Raises
    ------
    QvizError
        The kind asked for: the folder is replaced again and again. Whatever `read` raises, too.
    """
    for _ in range(_ATTEMPTS):
        recover_folder(path)
        before = _which(path)
        try:
            contents = read(path)
        except QvizError:
            if _which(path) == before:
                raise
            continue
        if _which(path) == before:
            return contents
    raise failure(error, "the folder is being replaced again and again; wait until that is done", path)


def _which(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _flush_tree(folder: Path) -> None:
    for where, _, names in os.walk(folder):
        for name in names:
            if not Path(where, name).is_symlink():
                _flush(Path(where, name), os.O_RDONLY)
        _flush_folder(Path(where))


def _flush_folder(folder: Path) -> None:
    if os.name == "posix":  # the new name must survive a power cut too
        _flush(folder, os.O_RDONLY)


def _flush(path: Path, flags: int) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
