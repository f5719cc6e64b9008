"""Names of files and folders that are not finished, and what becomes of them when nobody will finish them.

A name tells who writes: ``.qviz-<host>-<boot>-<pids>-<pid>-<start>-<random>.tmp``. Whoever writes into the same folder
next removes those whose owner is gone; a file of somebody who still works is left alone, also on a drive that several
machines share. The owner holds a lock, too, which the system lets go of when a process dies: where processes cannot see
one another (two containers), it decides alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(
    r"\.qviz-(?P<host>[0-9a-f]{8})-(?P<boot>[0-9a-f]{8})-(?P<pids>[0-9a-f]{8})"
    r"-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]{8}\.(?P<kind>tmp|old-[0-9a-f]{16})"
)
_UNKNOWN = "0" * 8
_SETTLED = 3600.0  # seconds, after which a lock that nobody holds says enough


class Owner(NamedTuple):
    """A process, told apart from all others.

    Attributes
    ----------
    host, boot, pids : str
        Hashes: of the machine's name, of this start of it, of the namespace in which `pid` counts.
    pid, start : int
        The process, and when it started; 0 if unknown.
    """

    host: str
    boot: str
    pids: str
    pid: int
    start: int

    @classmethod
    def this(cls) -> Owner:
        """The process that asks."""
        return cls(*_machine(), os.getpid(), _state(os.getpid())[1])

    def gone(self, age: float) -> bool:
        """Whether the process has certainly ended, as far as can be told without its lock.

        Parameters
        ----------
        age : float
            Seconds since what it owns was last changed.
        """
        host, boot, pids = _machine()
        if self.boot != boot:
            return self.host == host and _UNKNOWN not in (self.boot, boot)  # the machine was started anew
        if boot == _UNKNOWN and self.host != host:
            return False
        if self.pids != pids:
            return age > _SETTLED
        return not _alive(self.pid, self.start)


@cache
def _machine() -> tuple[str, str, str]:
    return _hash(socket.gethostname()), _hash(_first_line("/proc/sys/kernel/random/boot_id")), _hash(_pid_namespace())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8] if text else _UNKNOWN


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError):
        return ""


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except (OSError, ValueError):
        return ""


def _state(pid: int) -> tuple[str, int]:
    """State letter and start time of a process, if the system tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return "", 0


def _alive(pid: int, start: int) -> bool:
    if sys.platform == "win32":
        return False  # there os.kill ends a process; a file that is open cannot be deleted anyway
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # it is somebody else's
    state, started = _state(pid)
    return state not in ("Z", "X") and (not start or not started or start == started)


def scratch_path(target: Path, kind: str = "tmp") -> Path:
    """A new name beside `target` that says who owns it."""
    host, boot, pids, pid, start = Owner.this()
    return target.with_name(f".qviz-{host}-{boot}-{pids}-{pid}-{start}-{secrets.token_hex(4)}.{kind}")


def old_kind(target: Path) -> str:
    """The kind of a folder that was moved aside to make room for a new `target`."""
    name = os.fsencode(target.name)
    return f"old-{hashlib.sha256(name).hexdigest()[:16]}"


def hold(path: Path) -> int | None:
    """Take the lock of a scratch entry; None where there are no locks. Close what it returns to let go.

    Raises
    ------
    BlockingIOError
        Its owner lives.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # some network drives have none
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a scratch entry of one's own."""
    descriptor = None
    with contextlib.suppress(OSError):
        descriptor = hold(path)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def remove(path: Path) -> None:
    """Delete a file or a whole folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def abandoned(folder: Path) -> Iterator[tuple[Path, str]]:
    """Scratch entries whose owner is gone, and their kinds."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(".qviz-")]  # noqa: PTH208 - names only
    except OSError:
        return
    for name in names:
        if match := _NAME.fullmatch(name):
            path = folder / name
            try:
                age = time.time() - path.lstat().st_mtime
            except OSError:
                continue  # another process was faster
            owner = Owner(match["host"], match["boot"], match["pids"], int(match["pid"]), int(match["start"]))
            if owner.gone(age):
                yield path, match["kind"]


def sweep(folder: Path) -> None:
    """Remove what processes that are gone left unfinished in `folder`. Several may sweep at once.

    A folder that was moved aside is kept while nothing has taken its place: `recover_folder` puts it back.
    """
    kept: set[str] | None = None
    for path, kind in abandoned(folder):
        if kind != "tmp":
            if kept is None:
                with contextlib.suppress(OSError):
                    kept = {old_kind(entry) for entry in folder.iterdir()}
            if kind not in (kept or ()):
                continue
        with contextlib.suppress(OSError):  # locked: its owner lives, or another process is sweeping
            descriptor = hold(path)
            try:
                remove(path)
            finally:
                if descriptor is not None:
                    os.close(descriptor)
