"""Threads that help: each piece of work is done once, whoever comes early, late, or not at all."""

import functools
import os
import sys
import threading
import time

import numpy as np
import pytest
from interrupts import interrupts

from qviz._machine import team as _team
from qviz._machine.kernels import kernel, native
from qviz._machine.team import (
    JOB,
    PIECES,
    attended,
    do_all,
    finish,
    in_parallel,
    new_board,
    on_each_thread,
    patient,
    post,
    take,
    wait,
)
from qviz.errors import LlamaError


def test_parts_cover_everything_once():
    for n in (0, 1, 2, 63, 64, 1000):
        seen: list[tuple[int, int]] = []
        in_parallel(n, lambda *part, seen=seen: seen.append(part), least=1)
        assert sorted(i for a, b in seen for i in range(a, b)) == list(range(n))


def test_each_task_is_done_once_by_whoever_is_free(three):
    meeting, done = Meeting(), []

    def alone(k):
        done.append((k, threading.get_ident()))

    # three of them meet, so three threads must have come; the others go to whoever is free
    tasks = [functools.partial(meeting, k, k + 1) for k in range(3)]
    do_all([*tasks, *(functools.partial(alone, k) for k in range(20))])
    assert sorted(k for k, _ in done) == list(range(20))
    assert len(set(meeting.out)) == 3


def test_after_an_error_no_task_is_begun():
    begun = []

    def task(k):
        begun.append(k)
        if k == 3:
            raise IndexError("the task's own")

    with pytest.raises(IndexError, match="own"):
        do_all(functools.partial(task, k) for k in range(1000))
    assert len(begun) < 1000
    assert len(set(begun)) == len(begun)
    do_all([])


@pytest.fixture
def three(monkeypatch):
    """Two helpers, however many cores there are."""
    monkeypatch.setattr(_team, "allowed", lambda: 3)
    _team._start_anew()


class Meeting:
    """Work in three parts, each on a thread of its own: none goes on before all have begun."""

    def __init__(self, then=lambda part: None):
        self.barrier, self.then, self.running, self.out = threading.Barrier(3), then, set(), np.zeros(3, np.int64)

    def __call__(self, a, b):
        self.barrier.wait(WHILE)
        self.running.add(a)
        try:
            time.sleep(0.001)
            self.then(a)
            self.out[a] = threading.get_ident()
        finally:
            self.running.discard(a)


WHILE = 900  # seconds until a test that hangs says so; nothing depends on it


def meet():
    """All cores come, each with a part of its own."""
    work = Meeting()
    in_parallel(3, work, least=1)
    assert len(set(work.out.tolist())) == 3
    assert not work.running


def test_an_error_of_a_helper_reaches_the_caller_and_nobody_else(three):
    def fail(part):
        if part > 0:
            raise LlamaError(f"part {part}")

    for _ in range(3):
        work = Meeting(fail)
        with pytest.raises(LlamaError, match="part 1") as caught:
            in_parallel(3, work, least=1)
        assert not work.running
        assert caught.value.__notes__ == ["and on another core: LlamaError: part 2"]
        meet()  # asked again, they have forgotten


def test_the_callers_own_error_comes_first(three):
    def fail(part):
        raise LlamaError(f"part {part}")

    work = Meeting(fail)
    with pytest.raises(LlamaError, match="part 0") as caught:
        in_parallel(3, work, least=1)
    assert len(caught.value.__notes__) == 2
    assert not work.running


def test_parts_do_not_depend_on_who_is_free(three):
    """The other caller has all helpers; this one does the same three parts by itself."""
    begun, go_on = threading.Semaphore(0), threading.Event()

    def hold(a, b):
        begun.release()
        go_on.wait()

    other = threading.Thread(target=in_parallel, args=(3, hold, 1))
    other.start()
    for _ in range(3):
        begun.acquire()
    parts = []
    in_parallel(100, lambda a, b: parts.append((a, b, threading.get_ident())), least=1)
    assert parts == [(a, b, threading.get_ident()) for a, b in ((0, 33), (33, 66), (66, 100))]
    go_on.set()
    other.join()


def test_a_part_is_not_parted_again(three):
    inner = [[], [], []]

    def work(a, b):
        in_parallel(100, lambda *part: inner[a].append(part), least=1)

    in_parallel(3, work, least=1)
    assert inner == [[(0, 100)]] * 3


def test_no_thread_can_be_started(three, monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_team._thread, "start_new_thread", refuse)
    parts = []
    in_parallel(3, lambda a, b: parts.append(a), least=1)
    assert parts == [0, 1, 2]
    monkeypatch.undo()


def test_work_on_each_thread(three):
    threads = []
    on_each_thread(lambda: threads.append(threading.get_ident()))
    assert threads == [threading.get_ident()]  # nobody else has begun yet
    meet()
    while any(helper.current for helper in _team._team.helpers):
        time.sleep(0.001)
    threads.clear()
    on_each_thread(lambda: threads.append(threading.get_ident()))
    assert len(set(threads)) == len(threads) == 3


class Watched:
    """Parts whose progress can be seen; the caller's own goes on when the others have begun."""

    def __init__(self):
        self.running, self.begun = set(), threading.Semaphore(0)

    def __call__(self, a, b):
        self.running.add(a)
        try:
            if a == 0:
                for _ in range(2):
                    assert self.begun.acquire(timeout=WHILE)
            else:
                self.begun.release()
                time.sleep(0.001)
        finally:
            self.running.discard(a)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("by_tasks", [False, True])
def test_stopped_anywhere_nobody_still_writes_and_all_come_again(three, deep, by_tasks):
    meet()
    watched, n = [], 0

    def call():
        work = Watched()
        watched.append(work)
        if by_tasks:
            # the first three go to one thread each, since the caller's waits for the others
            do_all(functools.partial(work, a, a + 1) for a in (0, 1, 1, 2, 2))
        else:
            in_parallel(3, work, least=1)

    for n in interrupts(call, _team.__file__, deep=deep):
        assert not watched[-1].running, n
        meet()
    assert n > (200 if deep else 30)


def test_stopped_while_the_helpers_are_called_for_the_first_time(three):
    n = 0

    def call():
        _team._start_anew()
        in_parallel(3, Watched(), least=1)

    for n in interrupts(call, _team.__file__, deep=False):  # noqa: B007
        meet()
    assert n > 30


@pytest.mark.parametrize("deep", [False, True])
def test_stopped_at_a_board_the_next_job_is_whole(three, deep):
    marks, n = np.zeros(28, np.int64), 0

    def call():
        with attended(_help_marking, marks) as board:
            assert _post_jobs(board, marks, 7) >= 0

    call()
    for n in interrupts(call, _team.__file__, deep=deep):
        marks[:] = 0
        call()
        assert (marks == 1).all(), n
        marks[:] = 0
        meet()
    assert n > (60 if deep else 10)


@kernel
def _mark(board, marks):
    done = 0
    while True:
        piece = take(board)
        if piece < 0:
            return done
        native.add_word(marks, board[JOB] + piece, 1)
        finish(board)
        done += 1


@kernel
def _help_marking(board, marks):
    idle = 0
    while patient(board, idle):
        idle = 0 if _mark(board, marks) else idle + 1


@kernel
def _post_jobs(board, marks, jobs):
    """Jobs of 1, 2, ... 7 pieces, one after the other: how many pieces the caller did itself, or −1 after a hole."""
    at, own = 0, 0
    for job in range(jobs):
        pieces = 1 + job % 7
        board[JOB] = at
        post(board, pieces)
        own += _mark(board, marks)
        wait(board)
        for j in range(at, at + pieces):
            if marks[j] != 1:
                return -1
        at += pieces
    return own


JOBS = 7000
ALL = JOBS // 7 * 28


@kernel
def _post_and_rest(board, marks, jobs):
    """The same jobs, of which the caller does nothing."""
    at = 0
    for job in range(jobs):
        pieces = 1 + job % 7
        board[JOB] = at
        post(board, pieces)
        wait(board)
        for j in range(at, at + pieces):
            if marks[j] != 1:
                return -1
        at += pieces
    return at


def test_each_piece_is_done_once_before_the_next_job():
    """More helpers than cores, so that some are always interrupted between looking at the board and taking a piece."""
    board, marks = new_board(), np.zeros(ALL, np.int64)
    _help_marking(board, marks)  # compiled, and tired of an empty board
    stop = False

    def help_on():
        while not stop:
            _help_marking(board, marks)

    helpers = [threading.Thread(target=help_on) for _ in range(4)]
    for helper in helpers:
        helper.start()
    for _ in range(3):
        marks[:] = 0
        assert _post_jobs(board, marks, JOBS) >= 0
        assert (marks == 1).all()
    marks[:] = 0
    assert _post_and_rest(board, marks, 70) == 280 == marks.sum()
    stop = True
    for helper in helpers:
        helper.join()
    assert board[PIECES] == 7


def test_nobody_needs_to_help():
    board, marks = new_board(), np.zeros(ALL, np.int64)
    assert _post_jobs(board, marks, JOBS) == ALL
    assert (marks == 1).all()


def test_helpers_leave_the_board_for_other_work():
    """Those who wait at a board are asked away at once, and may attend another one next."""
    for _ in range(20):
        marks = np.zeros(ALL, np.int64)
        with attended(_help_marking, marks) as board:
            assert _post_jobs(board, marks, 70) >= 0
        seen = []
        in_parallel(100, lambda a, b, seen=seen: seen.extend(range(a, b)), least=1)
        assert sorted(seen) == list(range(100))


def test_two_boards_at_once():
    """Whoever helps at one of them, all is done."""
    marks, others = np.zeros(ALL, np.int64), np.zeros(ALL, np.int64)
    with attended(_help_marking, marks) as board, attended(_help_marking, others) as other:
        assert board is not other
        assert _post_jobs(board, marks, 700) >= 0
        assert _post_jobs(other, others, 700) >= 0
    assert marks.sum() == others.sum() == 2800


def test_helpers_fall_asleep():
    with attended(_help_marking, np.zeros(ALL, np.int64)):
        pass
    while any(helper.current for helper in _team._team.helpers):
        time.sleep(0.001)


def test_a_board_is_used_again_while_somebody_attends_it(monkeypatch):
    monkeypatch.setattr(_team, "allowed", lambda: 2)
    _team._start_anew()
    marks, entered, leave = np.zeros(ALL, np.int64), threading.Event(), threading.Event()

    def attend(board, marks):
        entered.set()
        leave.wait()

    with attended(attend, marks) as first:
        entered.wait()
    with attended(attend, marks) as second:
        assert second is first
    with attended(attend, np.zeros(1, np.int64)) as other:
        assert other is not first
    leave.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.skipif(sys.platform == "darwin", reason="forking a process with threads is not safe on macOS")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_makes_its_own():
    marks = np.zeros(ALL, np.int64)
    with attended(_help_marking, marks) as board:
        _post_jobs(board, marks, 70)
    child = os.fork()
    if child == 0:
        marks = np.zeros(ALL, np.int64)
        with attended(_help_marking, marks) as board:
            own = _post_jobs(board, marks, 700)
        os._exit(0 if own >= 0 and marks.sum() == 2800 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
