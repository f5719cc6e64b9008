"""The other cores: threads that wait for work, asleep between large pieces and awake between small ones.

Waking a thread takes 10 to 150 µs (a lock, the GIL, on a virtual machine a sleeping core), as long as a whole small
product. `in_parallel` therefore suits a prompt or a perplexity run. For the hundreds of small products of one token,
helpers stay inside a compiled loop for a while (`attended`) and take pieces from a board in memory, without Python.

The stop button raises KeyboardInterrupt in the caller between any two steps. Nothing here can be left half done by it:

- a call keeps its state in pieces of its own. Nothing is locked, and no flag is shared with the next call;
- a piece belongs to whoever claims it first, the helper it was given to or the caller. So nobody waits for a helper
  that has not begun, and asking twice whose it is gives the same answer;
- only helpers say that they are busy or done, and no interrupt reaches them;
- memory that a helper may still write to is held by its piece, and so is not handed out again (`buffers`).
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import contextvars
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._machine.cores import allowed
from qviz._machine.kernels import kernel, native, nothing_is_compiled

_MOST = 4  # more threads than this have little to do

Board = npt.NDArray[np.int64]

# Words of a board, a cache line apart where two threads write. A ticket is the number of the job (upper half) and how
# many of its pieces nobody has taken (lower half): one word, so that no late helper takes a piece of another job.
_TICKET, _DONE, _LEAVE, _USED, PIECES, JOB = 0, 8, 16, 17, 24, 25
_PATIENCE = 20_000  # looks at an empty board before a helper goes to sleep: about a millisecond


def new_board() -> Board:
    """A board without a job; words from `JOB` on are for whoever describes one."""
    return np.zeros(32, np.int64)


@kernel
def post(board, pieces):
    """Offer a job of so many pieces, which the words from `JOB` on describe."""
    board[PIECES] = pieces
    native.store_word(board, _DONE, 0)
    job = (native.load_word(board, _TICKET) >> 32) + 1
    native.store_word(board, _TICKET, (job << 32) | pieces)


@kernel
def take(board):
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
def finish(board):
    """A piece is done."""
    native.add_word(board, _DONE, 1)


@kernel
def wait(board):
    """Until every piece is done: those that helpers took, since the caller has done all others."""
    while native.load_word(board, _DONE) < board[PIECES]:
        native.pause()


@kernel
def patient(board, idle):
    """Whether a helper that found nothing `idle` times in a row should look again; pauses for it."""
    native.pause()
    return idle < _PATIENCE and native.load_word(board, _LEAVE) == 0


class _Piece:
    """Some work for a helper.

    Parameters
    ----------
    work : callable
    board : int64 array, optional
        That `work` attends: then it may be asked to leave.
    """

    __slots__ = ("_claim", "_ended", "board", "error", "over", "work")

    def __init__(self, work: Callable[[], object], board: Board | None = None) -> None:
        self.work: Callable[[], object] | None = work
        self.board, self.over = board, False
        self.error: BaseException | None = None
        self._claim: dict[str, object] = {}
        self._ended = _thread.allocate_lock()
        self._ended.acquire()

    def claimed_by(self, who: object) -> bool:
        """Whether the piece is `who`'s: yes for the first who asks, however often, and no for all others."""
        return self._claim.setdefault("who", who) is who

    def run(self, helper: _Helper) -> None:
        """On the helper's thread: do it, unless the caller has it back."""
        if not self.claimed_by(helper):
            return
        helper.current = self
        assert self.work is not None
        try:
            self.work()
        except BaseException as error:  # handed to whoever waits
            self.error = error
        self.work = None
        helper.current = None
        self.over = True  # before the lock opens: who has got through it, or was interrupted there, finds this
        self._ended.release()

    def wait(self) -> BaseException | None:
        """Until it is over, whatever happens meanwhile; the last interrupt, if there was one."""
        stopped = None
        while not self.over:
            try:
                self._ended.acquire()
            except BaseException as interrupt:  # the helper may still be writing: not yet
                stopped = interrupt
        return stopped


class _Helper:
    """A thread that does pieces, one after the other. It only ever sleeps in its queue."""

    def __init__(self) -> None:
        self._pieces: SimpleQueue[_Piece] = SimpleQueue()
        self._thread: dict[str, int] = {}
        self._called = False
        self.current: _Piece | None = None

    @property
    def runs(self) -> bool:
        """Whether its thread has begun."""
        return bool(self._thread)

    def give(self, piece: _Piece) -> None:
        """Put a piece behind those that it has."""
        if not self._called:
            with contextlib.suppress(RuntimeError):  # no thread can be started: the caller does it all
                _thread.start_new_thread(self._run, ())
                self._called = True
        self._pieces.put(piece)

    def _run(self) -> None:
        if self._thread.setdefault("id", threading.get_ident()) != threading.get_ident():
            return  # started twice, since an interrupt came before that was noted
        _inside.set(True)
        while True:
            self._pieces.get().run(self)

    def can_begin(self) -> bool:
        """Whether it would begin at once; one that waits at a board that nobody uses now is asked away."""
        current = self.current
        if current is None:
            return True
        if current.board is None or current.board[_USED]:
            return False
        current.board[_LEAVE] = 1  # for good: who comes back to this caller gets a new board
        return True


class _Attendance:
    """A board, and the pieces whose work is to attend it."""

    def __init__(self, key: tuple[int, ...]) -> None:
        self.key, self.board = key, new_board()
        self.pieces: dict[_Helper, _Piece] = {}

    def goes_on(self) -> bool:
        """Whether somebody attends or is about to: then its arguments are alive, and their ids mean what they did."""
        return not self.board[_LEAVE] and any(not piece.over for piece in self.pieces.values())


class _Team:
    """The helpers of this process, shared by all who call."""

    def __init__(self) -> None:
        self.helpers: list[_Helper] = []

    def some(self, n: int) -> list[_Helper]:
        """`n` helpers, busy or not."""
        while len(self.helpers) < n:
            self.helpers.append(_Helper())
        return self.helpers[:n]


class _AttendanceOfThread(threading.local):
    attendance: _Attendance | None = None


_team, _mine = _Team(), _AttendanceOfThread()
# Whether this is a part of a larger job already: then other cores have work. A context is left by C code, never half.
_inside = contextvars.ContextVar("qviz is at work on several cores", default=False)


def _start_anew() -> None:
    """Threads do not survive a fork."""
    global _team, _mine
    _team, _mine = _Team(), _AttendanceOfThread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


@atexit.register
def _say_good_night() -> None:
    """At exit, let nobody be inside compiled code that is about to be unloaded."""
    end = time.monotonic() + 1
    for helper in _team.helpers:
        while (piece := helper.current) is not None and time.monotonic() < end:
            if piece.board is not None:
                piece.board[_LEAVE] = 1
            time.sleep(0.001)


def cores() -> int:
    """How many parts `in_parallel` makes of enough work."""
    return 1 if nothing_is_compiled() else min(allowed(), _MOST)  # Python runs on one core at a time


def _settle(pieces: Sequence[_Piece], caller: object) -> None:
    """Take back what nobody has begun, and wait for the rest."""
    stopped = None
    for piece in pieces:
        if not piece.over and not piece.claimed_by(caller):
            stopped = piece.wait() or stopped
    if stopped is not None:
        raise stopped


def _errors(pieces: Sequence[_Piece]) -> list[BaseException]:
    return [piece.error for piece in pieces if piece.error is not None]


def _raise_first(errors: Sequence[BaseException]) -> None:
    """Raise the first of them, if any, the others told in its notes."""
    for other in errors[1:]:
        errors[0].add_note(f"and on another core: {type(other).__name__}: {other}")
    if errors:
        raise errors[0]


def _share(pieces: Sequence[_Piece], helpers: Sequence[_Helper], own: Callable[[object], object]) -> None:
    """Give pieces away and run ``own(caller)`` here; when this returns or raises, nobody is at work on any piece."""
    caller = object()
    try:
        try:
            for helper, piece in zip(helpers, pieces, strict=False):
                helper.give(piece)
            contextvars.copy_context().run(_be_inside, own, caller)
        finally:
            _settle(pieces, caller)
    except BaseException as error:
        _settle(pieces, caller)  # an interrupt may have cut the first one short
        _raise_first([error, *_errors(pieces)])
    for piece in pieces:
        if piece.error is not None:
            _raise_first(_errors(pieces))


def _be_inside(own: Callable[[object], object], caller: object) -> None:
    _inside.set(True)
    own(caller)


def in_parallel(n: int, work: Callable[[int, int], object], least: int = 64) -> None:
    """Call ``work(start, stop)`` on parts of ``range(n)``, one a core; kernels let go of the GIL.

    The parts are the same whoever is free, and so are sums inside them. When this returns or raises, nobody is at work
    on any of them. Inside a part, `in_parallel` makes one part of its work.

    Parameters
    ----------
    n : int
    work : callable
    least : int
        Parts are no smaller than this.

    Raises
    ------
    BaseException
        The first error of a part, by the order of the parts; others are told in its notes.
    """
    parts = max(1, min(cores(), n // least))
    if parts == 1 or _inside.get():
        work(0, n)
        return
    if (attendance := _mine.attendance) is not None and not attendance.board[_USED]:
        attendance.board[_LEAVE] = 1  # who is on the way there may turn round
    pieces = [_Piece(functools.partial(work, n * k // parts, n * (k + 1) // parts)) for k in range(1, parts)]

    def own(caller: object) -> None:
        work(0, n // parts)
        for piece in pieces:
            if piece.claimed_by(caller):  # the helper has not begun
                assert piece.work is not None
                piece.work()

    _share(pieces, [h for h in _team.some(parts - 1) if h.current is None or h.can_begin()], own)


def do_all(tasks: Iterable[Callable[[], object]]) -> None:
    """Do tasks of unlike size, each core taking the next one when it is free. None of them may depend on another.

    Parameters
    ----------
    tasks : iterable of callable
        The largest first: what is left for the end is then small.

    Raises
    ------
    BaseException
        As from `in_parallel`; tasks that nobody has begun are not begun any more.
    """
    left = deque(tasks)

    def take_some(_first: int, _last: int) -> None:
        try:
            while left:
                try:
                    task = left.popleft()
                except IndexError:  # another core was quicker
                    return
                task()
        except BaseException:
            left.clear()
            raise

    in_parallel(len(left), take_some, least=1)


def on_each_thread(work: Callable[[], object]) -> None:
    """Call ``work()`` here and on the thread of each helper that is not busy.

    Parameters
    ----------
    work : callable
    """
    helpers = [] if _inside.get() else [helper for helper in _team.helpers if helper.runs and helper.can_begin()]
    pieces = [_Piece(work) for _ in helpers]

    def own(caller: object) -> None:
        work()
        stops = [piece.wait() for piece in pieces]  # nobody can do it in the helper's place
        _raise_first([stop for stop in stops if stop is not None])

    _share(pieces, helpers, own)


@contextlib.contextmanager
def attended(attend: Callable[..., object], *arguments: Any) -> Iterator[Board]:
    """A board whose jobs the other cores help with, while they have nothing else to do.

    Parameters
    ----------
    attend : callable ``(board, *arguments)``
        A compiled loop that takes pieces while `patient`; it may still run for a moment after the ``with``.
    *arguments
        Kept from one use to the next as long as they are the same objects.
    """
    if cores() == 1 or _inside.get():
        yield new_board()
        return
    board = _attended_board(attend, arguments)
    board[_USED] = 1  # if this stays, helpers leave nevertheless: they lose patience
    try:
        yield board
    finally:
        board[_USED] = 0


def _attended_board(attend: Callable[..., object], arguments: tuple[Any, ...]) -> Board:
    key = tuple(map(id, arguments))
    attendance = _mine.attendance
    if attendance is None or attendance.key != key or not attendance.goes_on():
        attendance = _mine.attendance = _Attendance(key)
    pieces = attendance.pieces
    for helper in _team.some(cores() - 1):
        if (helper not in pieces or pieces[helper].over) and helper.can_begin():
            piece = _Piece(functools.partial(attend, attendance.board, *arguments), attendance.board)
            helper.give(piece)
            pieces[helper] = piece
    return attendance.board
