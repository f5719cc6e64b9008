"""The other cores: threads that wait for work, asleep between large pieces and awake between small ones.

Waking a thread takes 10 to 150 µs (a lock, the GIL, on a virtual machine a sleeping core), as long as a whole small
product. `in_parallel` therefore suits a prompt or a perplexity run. For the hundreds of small products of one token,
helpers stay inside a compiled loop for a while (`attended`) and take pieces from a board in memory, without Python.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._machine.kernels import kernel, native

_THREADS = max(1, min(os.cpu_count() or 1, 4))

Board = npt.NDArray[np.int64]

# Words of a board, a cache line apart where two threads write. A ticket is the number of the job (upper half) and how
# many of its pieces nobody has taken (lower half): one word, so that no late helper takes a piece of another job.
_TICKET, _DONE, _LEAVE, PIECES, JOB = 0, 8, 16, 24, 25
_PATIENCE = 20_000  # looks at an empty board before a helper goes to sleep: about a millisecond


def new_board() -> Board:
    """A board without a job; words from `JOB` on are for whoever describes one."""
    return np.zeros(32, np.int64)


@kernel
def post(board, pieces):  # type: ignore[no-untyped-def]
    """Offer a job of so many pieces, which the words from `JOB` on describe."""
    board[PIECES] = pieces
    native.store_word(board, _DONE, 0)
    job = (native.load_word(board, _TICKET) >> 32) + 1
    native.store_word(board, _TICKET, (job << 32) | pieces)


@kernel
def take(board):  # type: ignore[no-untyped-def]
    """The number of a piece that is now the caller's, or −1 if there is none."""
    while True:
        ticket = native.load_word(board, _TICKET)
        left = ticket & 0xFFFFFFFF
        if left == 0:
            return -1
        piece = board[PIECES] - left
        if native.replace_word(board, _TICKET, ticket, ticket - 1):
            return piece


@kernel
def finish(board):  # type: ignore[no-untyped-def]
    """A piece is done."""
    native.add_word(board, _DONE, 1)


@kernel
def wait(board):  # type: ignore[no-untyped-def]
    """Until every piece is done: those that helpers took, since the caller has done all others."""
    while native.load_word(board, _DONE) < board[PIECES]:
        native.pause()


@kernel
def patient(board, idle):  # type: ignore[no-untyped-def]
    """Whether a helper that found nothing `idle` times in a row should look again; pauses for it."""
    native.pause()
    return idle < _PATIENCE and native.load_word(board, _LEAVE) == 0


class _Helper:
    """A thread that waits for one piece of work at a time: two locks, a third of what a future costs to hand over."""

    def __init__(self) -> None:
        self._start, self._done = threading.Lock(), threading.Lock()
        self._start.acquire()
        self._done.acquire()
        self._work: Callable[[], object] = int
        self._error: BaseException | None = None
        self.busy = False
        threading.Thread(target=self._run, name="qviz-llama", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._start.acquire()
            try:
                self._work()
            except BaseException as error:  # handed to whoever waits
                self._error = error
            self._work = int
            self._done.release()

    def give(self, work: Callable[[], object]) -> None:
        self._work, self.busy = work, True
        self._start.release()

    def wait(self, block: bool = True) -> None:
        """Until it has done what it was given; with ``block=False``, only look."""
        if self.busy and self._done.acquire(blocking=block):
            self.busy = False
            error, self._error = self._error, None
            if error is not None:
                raise error


class _Team:
    """The helpers of this process; one caller has them at a time, others work alone."""

    def __init__(self) -> None:
        self.free = threading.Lock()
        self._start()

    def _start(self) -> None:
        self.pid, self.board = os.getpid(), new_board()
        self.helpers: list[_Helper] = []
        self.attending: tuple[int, ...] = ()

    def _members(self, n: int) -> list[_Helper]:
        if self.pid != os.getpid():  # threads do not survive a fork
            self._start()
        while len(self.helpers) < n:
            self.helpers.append(_Helper())
        return self.helpers[:n]

    def asleep(self, n: int) -> list[_Helper]:
        """`n` helpers who have nothing to do."""
        members = self._members(n)
        if any(helper.busy for helper in self.helpers):
            self.board[_LEAVE] = 1
            for helper in self.helpers:
                helper.wait()
            self.board[_LEAVE] = 0
        return members

    def awake(self, n: int, attend: Callable[..., object], arguments: tuple[Any, ...]) -> Board:
        """See to it that `n` helpers run ``attend(board, *arguments)``."""
        members = self._members(n)
        key = tuple(map(id, arguments))  # a helper that still attends keeps its arguments alive, and so their ids
        if key != self.attending:
            self.asleep(n)
        self.attending = key
        for helper in members:
            helper.wait(block=False)
            if not helper.busy:
                helper.give(functools.partial(attend, self.board, *arguments))
        return self.board


_team = _Team()


def cores() -> int:
    """How many parts `in_parallel` makes of enough work."""
    return _THREADS


def in_parallel(n: int, work: Callable[[int, int], object], least: int = 64) -> None:
    """Call ``work(start, stop)`` on parts of ``range(n)``, one a core; kernels let go of the GIL.

    Parameters
    ----------
    n : int
    work : callable
    least : int
        Parts are no smaller than this.
    """
    parts = max(1, min(_THREADS, n // least))
    if parts == 1 or not _team.free.acquire(blocking=False):
        work(0, n)
        return
    waiting = []
    try:
        for k, helper in enumerate(_team.asleep(parts - 1), 1):
            helper.give(functools.partial(work, n * k // parts, n * (k + 1) // parts))
            waiting.append(helper)
        work(0, n // parts)
    finally:  # whatever happens here, nobody may still be writing when this returns
        try:
            for helper in waiting:
                helper.wait()
        finally:
            _team.free.release()


@contextlib.contextmanager
def attended(attend: Callable[..., object], *arguments: Any) -> Iterator[Board]:
    """A board whose jobs the other cores help with, while they have no other caller.

    Parameters
    ----------
    attend : callable ``(board, *arguments)``
        A compiled loop that takes pieces while `patient`; it may still run for a moment after the ``with``.
    *arguments
        Kept from one use to the next as long as they are the same objects.
    """
    if _THREADS == 1 or not _team.free.acquire(blocking=False):
        yield new_board()
        return
    try:
        yield _team.awake(_THREADS - 1, attend, arguments)
    finally:
        _team.free.release()
