"""Opening files: regular ones only, read by position, and watched for changes.

A FIFO makes `open` wait for ever, ``/dev/zero`` never ends, and a map that reaches past the end of its file kills the
whole process when it is touched there. So nothing here waits, reads without a limit, or touches a map: a file that was
cut while it was open is an error like any other.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import stat
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from qviz._files.problems import explained, failure, os_problem
from qviz.errors import GGUFError, ModelNotFoundError, QvizError

_CHUNK = 1 << 20  # hashed at a time
MAX_TEXT_BYTES = 1 << 28  # of a text that is read whole: the collected works of Shakespeare fifty times over

_KINDS = (
    (stat.S_ISFIFO, "a pipe; save what comes out of it in a file first"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)

_LONGEST, _LONGEST_NAME = 4096, 255  # bytes of a path and of a name in it that systems open


def as_path(path: str | os.PathLike[str]) -> Path:
    """`path` with ``~`` expanded; what cannot be a path at all ends in a `GGUFError`."""
    try:
        expanded = Path(os.fsdecode(path)).expanduser()
        raw, names = os.fsencode(expanded), [os.fsencode(part) for part in expanded.parts]
    except (TypeError, UnicodeError, RuntimeError):  # RuntimeError: ~ without a home folder
        raw, names = b"\0", []
    if b"\0" in raw:
        raise GGUFError("this is not the path of a file", found=path, expected="a string or pathlib.Path")
    # with a longer one `Path.is_dir` and its kin would raise
    if len(raw) >= _LONGEST or any(len(name) > _LONGEST_NAME for name in names):
        raise GGUFError(
            "the path is too long for a file",
            found=path,
            expected=f"names of at most {_LONGEST_NAME} bytes, less than {_LONGEST:,} in all",
        )
    return expanded


class Identity(NamedTuple):
    """What tells that the contents of an open file are still the same."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Read from what `os.fstat` says."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class OpenFile:
    """A regular file, open for reading by position. Made by `open_file`.

    The descriptor is closed by `close`, or with the last reference.

    Attributes
    ----------
    path : pathlib.Path
    size : int
        Bytes, when it was opened.
    identity : Identity
        As it was opened.
    """

    _map: mmap.mmap | None = None  # made when the first array of it is asked for

    def __init__(self, path: Path, descriptor: int, status: os.stat_result, error: type[QvizError]) -> None:
        self.path, self.size, self.identity = path, status.st_size, Identity.of(status)
        self._descriptor, self._error = descriptor, error
        self._closer = weakref.finalize(self, _close, descriptor)
        self._lock = threading.Lock()
        self._head = b""

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return not self._closer.alive

    def fileno(self) -> int:
        """The descriptor, for calls of the system that take one."""
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor; what was mapped stays mapped until the last who looks at it is gone."""
        self._map = None
        self._closer()

    def read(self, offset: int, length: int) -> bytes:
        """Read some bytes.

        Parameters
        ----------
        offset, length : int

        Raises
        ------
        QvizError
            The file does not hold them any more, or cannot be read.
        """
        if length <= 0:
            return b""
        buffer = bytearray(length)
        self.read_into(buffer, offset)
        return bytes(buffer)

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fill a writable buffer with the bytes from `offset` on; see `read`."""
        if self.closed:
            raise failure(self._error, "the file was closed; open it again", self.path)
        with memoryview(buffer) as whole, whole.cast("B") as view:
            done = 0
            with explained(self.path, "cannot be read", self._error):
                while done < len(view):
                    count = self._read_some(view[done:], offset + done)
                    if not count:
                        break
                    done += count
            if done < len(view):
                self._shrank(offset + done)

    def _read_some(self, view: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [view], offset)
        with self._lock:  # Windows and macOS before 11 have none; the position belongs to all threads
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            data = os.read(self._descriptor, len(view))
        view[: len(data)] = data
        return len(data)

    def _shrank(self, now: int) -> NoReturn:
        expected = f"{self.size} bytes; wait until it is written, then open it again"
        problem = "the file shrank while it was open"
        raise failure(self._error, problem, self.path, offset=now, found=f"{now} bytes", expected=expected)

    def check(self, head: int = 0) -> None:
        """Refuse to go on if the file is not what it was when it was opened.

        A file that took its place under its name does no harm: what is open here is the older one, whole.

        Parameters
        ----------
        head : int
            Compare a hash of so many bytes at the beginning with that of the first time this was asked, too: clocks of
            some drives are coarse.

        Raises
        ------
        QvizError
            Another size, another time of its last change, or it cannot be asked.
        """
        if self.closed:
            raise failure(self._error, "the file was closed; open it again", self.path)
        with explained(self.path, "cannot be read", self._error):
            now = Identity.of(os.fstat(self._descriptor))
        if now.size < self.size:
            self._shrank(now.size)
        digest = self._hashed(head) if head else b""
        self._head = self._head or digest
        if now != self.identity or (head and digest != self._head):
            problem = "the file was changed by another program while it was in use; when that is done, run this again"
            raise failure(self._error, problem, self.path)

    def _hashed(self, length: int) -> bytes:
        digest = hashlib.blake2b()
        for start in range(0, length, _CHUNK):
            digest.update(self.read(start, min(_CHUNK, length - start)))
        return digest.digest()

    def read_array(self, dtype: npt.DTypeLike, offset: int, nbytes: int) -> npt.NDArray[Any]:
        """Some bytes as a read-only array (n,) of a dtype, once it is sure that the file is still the same.

        Raises
        ------
        QvizError
            The file was closed, cut or changed, or cannot be read.
        """
        self.check()
        array = np.empty(nbytes // np.dtype(dtype).itemsize, dtype)
        self.read_into(array.view(np.uint8), offset)
        array.flags.writeable = False
        return array

    def mapped_array(self, dtype: npt.DTypeLike, offset: int, nbytes: int) -> npt.NDArray[Any]:
        """Some bytes, at least one, as a read-only array (n,) of a dtype: a view of a map of the whole file.

        Raises
        ------
        QvizError
            The file does not reach so far any more, or cannot be mapped.
        """
        if self._map is None:
            self._map = self.map()
        if (now := self._map.size()) < offset + nbytes:
            self._shrank(now)
        return np.frombuffer(self._map, dtype, nbytes // np.dtype(dtype).itemsize, offset)

    def map(self) -> mmap.mmap:
        """The whole file as a read-only map; the file must not be empty."""
        with explained(self.path, "cannot be opened", self._error):
            try:
                return mmap.mmap(self._descriptor, self.size, access=mmap.ACCESS_READ)
            except ValueError:  # shorter than it was a moment ago
                self._shrank(os.fstat(self._descriptor).st_size)


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def open_file(path: str | os.PathLike[str], *, error: type[QvizError] = GGUFError, wanted: str = "a file") -> OpenFile:
    """Open a regular file without ever waiting for one.

    Parameters
    ----------
    path : path-like
    error : type
        Kind of the error, unless the file does not exist.
    wanted : str
        What a folder is refused with: ``"this is a folder; name <wanted>"``.

    Returns
    -------
    OpenFile

    Raises
    ------
    ModelNotFoundError
        No such file.
    QvizError
        The kind asked for: a folder, a pipe, a device, a socket; or the system refuses.
    """
    where = as_path(path)
    try:
        _regular(where, where.stat(), error, wanted)  # to open a device can already do something
        flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_CLOEXEC"))
        descriptor = os.open(where, flags)
        try:
            status = os.fstat(descriptor)
            _regular(where, status, error, wanted)
        except BaseException:
            os.close(descriptor)
            raise
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(
            f"no file {str(where)!r}; check the path, or run `qviz fetch smollm2` for a model to look at"
        ) from None
    except OSError as problem:
        raise failure(error, f"cannot be opened: {os_problem(problem)}", where) from None
    return OpenFile(where, descriptor, status, error)


def _regular(path: Path, status: os.stat_result, error: type[QvizError], wanted: str) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise failure(error, f"cannot be opened: this is a folder; name {wanted}", path)
    kind = next((f" but {name}" for is_kind, name in _KINDS if is_kind(status.st_mode)), "")
    raise failure(error, f"cannot be opened: this is not a regular file{kind}", path)


def refuse_source(target: Path, sources: Iterable[Path], error: type[QvizError]) -> None:
    """Refuse to write a new file over one that it is made from.

    Raises
    ------
    QvizError
        The kind asked for: the target is one of the sources.
    """
    if any(_same(target, source) for source in sources):
        raise failure(error, "the new file would replace its own source; choose another name for it", target)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them does not exist, or cannot
        return False


def read_bytes(
    path: str | os.PathLike[str], *, limit: int = MAX_TEXT_BYTES, error: type[QvizError] = GGUFError
) -> bytes:
    """A whole regular file that is not larger than `limit` bytes.

    Raises
    ------
    ModelNotFoundError
        No such file.
    QvizError
        The kind asked for: not a regular file, larger than `limit`, or it cannot be read.
    """
    file = open_file(path, error=error)
    try:
        if file.size > limit:
            problem = "the file is too large to be read whole"
            raise failure(error, problem, file.path, found=f"{file.size} bytes", expected=f"at most {limit}")
        # files below /proc say that they are empty, and are not
        return file.read(0, file.size) if file.size else _unknown_size(file, limit, error)
    finally:
        file.close()


def _unknown_size(file: OpenFile, limit: int, error: type[QvizError]) -> bytes:
    parts: list[bytes] = []
    done = 0
    block = bytearray(1 << 16)
    with explained(file.path, "cannot be read", error), memoryview(block) as view:
        while count := file._read_some(view, done):
            parts.append(bytes(view[:count]))
            done += count
            if done > limit:
                raise failure(error, f"the file has no end within {limit} bytes", file.path)
    return b"".join(parts)


def read_text(path: str | os.PathLike[str], *, limit: int = MAX_TEXT_BYTES, error: type[QvizError] = GGUFError) -> str:
    """A whole UTF-8 text; a byte-order mark at its head, as Notepad leaves one, is dropped. See `read_bytes`.

    Raises
    ------
    ModelNotFoundError, QvizError
        As from `read_bytes`; also if a byte is not UTF-8.
    """
    raw = read_bytes(path, limit=limit, error=error)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        what = f"is not UTF-8 text: {problem.reason} at byte {problem.start}; save it as UTF-8"
        raise failure(error, what, path) from None
