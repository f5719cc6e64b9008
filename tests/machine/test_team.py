"""Threads that help: each piece of work is done once, whoever comes early, late, or not at all."""

import os
import sys
import threading
import time

import numpy as np
import pytest

from qviz._machine import team as _team
from qviz._machine.kernels import kernel, native
from qviz._machine.team import JOB, PIECES, attended, finish, in_parallel, new_board, patient, post, take, wait
from qviz.errors import LlamaError


def test_parts_cover_everything_once():
    for n in (0, 1, 2, 63, 64, 1000):
        seen: list[tuple[int, int]] = []
        in_parallel(n, lambda *part, seen=seen: seen.append(part), least=1)
        assert sorted(i for a, b in seen for i in range(a, b)) == list(range(n))


def test_an_error_of_a_helper_reaches_the_caller():
    def fail(a, b):
        if a > 0:
            raise LlamaError("on the other core")

    for _ in range(3):  # and it can be asked again
        if _team._THREADS > 1:
            with pytest.raises(LlamaError, match="other core"):
                in_parallel(100, fail, least=1)
    seen = []
    in_parallel(10, lambda a, b: seen.extend(range(a, b)), least=1)
    assert sorted(seen) == list(range(10))


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
    helped, end = 0, time.monotonic() + 60
    while helped < 1000 and time.monotonic() < end:  # on a busy machine they come late
        marks[:] = 0
        own = _post_jobs(board, marks, JOBS)
        assert own >= 0
        assert (marks == 1).all()
        helped += ALL - own
    stop = True
    for helper in helpers:
        helper.join()
    assert helped >= 1000
    assert board[PIECES] == 1 + (JOBS - 1) % 7


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
    """The second caller finds no helpers, and works alone."""
    marks, others = np.zeros(ALL, np.int64), np.zeros(ALL, np.int64)
    with attended(_help_marking, marks) as board, attended(_help_marking, others) as other:
        assert board is not other
        assert _post_jobs(board, marks, 700) >= 0
        assert _post_jobs(other, others, 700) == 2800
    assert marks.sum() == others.sum() == 2800


def test_helpers_fall_asleep():
    with attended(_help_marking, np.zeros(ALL, np.int64)):
        pass
    helpers = _team._team.helpers
    end = time.monotonic() + 30
    while any(helper.busy for helper in helpers) and time.monotonic() < end:
        time.sleep(0.01)
        for helper in helpers:
            helper.wait(block=False)
    assert not any(helper.busy for helper in helpers)


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
