"""Who works on the pieces of a model: this thread, or a pool of them (the kernels do not hold Python's lock)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from qviz._arrays import whole_number
from qviz._machine.cores import allowed
from qviz.errors import PipelineError
from qviz.whole.workers.pieces import Blocks, Piece, convert

_MOST_THREADS = 4096


class Result(Protocol):
    """The blocks of a piece, once they are there; a `concurrent.futures.Future` is one."""

    def result(self) -> Blocks:
        """Wait for the blocks."""


class Pool(Protocol):
    """Whoever quantizes pieces."""

    @property
    def width(self) -> int:
        """How many pieces it can work on at a time."""

    def begin(self, read: Callable[[], Piece]) -> Result:
        """Start on the piece that `read` returns, which may be called on another thread."""


class _Ready(NamedTuple):
    blocks: Blocks

    def result(self) -> Blocks:
        return self.blocks


def _convert(read: Callable[[], Piece]) -> Blocks:
    return convert(read())


class _ThisThread:
    width = 1

    def begin(self, read: Callable[[], Piece]) -> Result:
        return _Ready(_convert(read))


class _Threads:
    def __init__(self, executor: ThreadPoolExecutor, width: int) -> None:
        self._executor, self.width = executor, width

    def begin(self, read: Callable[[], Piece]) -> Result:
        return self._executor.submit(_convert, read)


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[Pool]:
    """So many threads of this machine, while entered.

    Parameters
    ----------
    count : int or None
        None: one for each core that this process may use.

    Yields
    ------
    Pool

    Raises
    ------
    PipelineError
        No whole number from 1 on.
    """
    count = allowed() if count is None else whole_number(count, "threads", PipelineError, least=1, most=_MOST_THREADS)
    if count == 1:
        yield _ThisThread()
        return
    executor = ThreadPoolExecutor(count, thread_name_prefix="qviz-quantize")
    try:
        yield _Threads(executor, count)
    finally:
        executor.shutdown(cancel_futures=True)
