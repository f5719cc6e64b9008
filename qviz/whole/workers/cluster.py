"""The workers of a Dask cluster, as a pool for the pieces of a model: the same bytes, whoever dies, freezes or joins.

A worker gets pieces once it has shown that it runs this code (see `qviz.whole.workers.far`), and as long as it is heard
of. Pieces of one that falls silent go to the others, too; whichever answer comes first counts, for all are equal.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import CancelledError
from typing import Any

import numpy as np

from qviz.errors import PipelineError, QvizError, shortened
from qviz.whole.workers import far
from qviz.whole.workers.pieces import Blocks, Piece
from qviz.whole.workers.pools import Pool, Result

# Seconds: to connect to a scheduler; between two looks at its workers; until a worker counts as silent (they are heard
# of twice a second, in large clusters every few seconds); without any worker that can work
_CONNECT, _POLL, _SILENCE, _PATIENCE = 30.0, 1.0, 10.0, 60.0

_log = logging.getLogger(__name__)


class _Workers:
    """Who is there, who may work, and who has fallen silent."""

    def __init__(self, client: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._clock = client, clock
        self.present: dict[str, Any] = {}
        self.good: set[str] = set()
        self.bad: dict[str, str] = {}
        self._asked: dict[str, Any] = {}
        self._heard: dict[str, tuple[Any, float]] = {}  # what the scheduler says it heard last, and since when
        self._told: set[str] = set()
        self._next = 0.0
        self._last_able = clock()

    def look(self) -> bool:
        """See who is there, if the last look was long enough ago."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + _POLL
        if self._client.status != "running":
            raise OSError("the connection is lost")
        identity = self._client.sync(self._client.scheduler.identity, n_workers=-1, callback_timeout=_PATIENCE)
        self.present = dict(identity["workers"])
        for address, worker in self.present.items():
            if address not in self._heard or self._heard[address][0] != worker["last_seen"]:
                self._heard[address] = (worker["last_seen"], now)
                self._told.discard(address)
        for kept in (self._heard, self._asked, self.bad):
            for address in [a for a in kept if a not in self.present]:
                del kept[address]
        self.good &= self.present.keys()
        self._ask()
        if self.able():
            self._last_able = self._clock()
        return True

    def _ask(self) -> None:
        for address in self.present.keys() - self.good - self.bad.keys() - self._asked.keys():
            self._asked[address] = self._client.submit(
                eval, far.WHO, workers=[address], pure=False, priority=10, key=_key()
            )
        for address, future in list(self._asked.items()):
            if future.status == "pending":
                continue
            if future.status not in ("finished", "error"):  # its worker went away
                del self._asked[address]
                continue
            try:
                answer = future.exception(timeout=_POLL) or future.result(timeout=_POLL)
            except TimeoutError:
                continue  # it fell silent right after its answer
            except Exception as error:  # what a stranger's machine raised, whatever it is
                answer = error
            del self._asked[address]
            self.judge(address, answer)

    def judge(self, address: str, answer: object) -> None:
        """Believe what a worker says about itself."""
        if problem := far.difference(answer):
            self.good.discard(address)
            self.bad[address] = problem
            _log.warning("worker %s %s; it gets no work", address, problem)
        else:
            self.good.add(address)

    def silent(self) -> set[str]:
        """Workers that the scheduler has not heard of for a while."""
        now = self._clock()
        return {a for a, (_, since) in self._heard.items() if now - since > _SILENCE}

    def able(self) -> list[str]:
        """Workers that may have pieces."""
        return sorted(self.good - self.silent())

    def unanswered(self) -> list[str]:
        """Workers that are heard of, but have not said yet what they run."""
        return sorted(self._asked.keys() - self.silent())

    def tell(self) -> None:
        """Name those who have fallen silent, once each, and say if nobody is there."""
        if not self.present and "" not in self._told:
            self._told.add("")
            _log.warning("the Dask cluster has no worker; waiting %.0f seconds for one", _PATIENCE)
        for address in sorted(self.silent() - self._told):
            self._told.add(address)
            rest = "its pieces go to the others" if self.able() else "there is no other; waiting for it"
            _log.warning("worker %s has not been heard of for %.0f seconds; %s", address, _SILENCE, rest)

    def check(self) -> None:
        """Give up after a while without anybody who can work."""
        if self._clock() - self._last_able <= _PATIENCE:
            return
        if not self.present:
            raise PipelineError(
                f"the Dask cluster has had no worker for {_PATIENCE:.0f} seconds; start one, then try again"
            )
        if self.bad.keys() >= self.present.keys():
            raise PipelineError(others(self.bad))
        raise PipelineError(
            f"no worker of the Dask cluster has answered for {_PATIENCE:.0f} seconds; they may be frozen, busy or out "
            f"of reach: {_some(sorted(self.present))}"
        )


def others(bad: Mapping[str, str]) -> str:
    """Say which workers run something else."""
    said = _some([f"{address} {problem}" for address, problem in sorted(bad.items())])
    return (
        f"workers must run the same qviz as this machine, since others might make other bytes: {said}; "
        f"install the same qviz-toolkit there, and start them again"
    )


def _some(names: Collection[str]) -> str:
    more = len(names) - 4
    return ", ".join(itertools.islice(names, 4)) + (f" and {more} more" if more > 0 else "")


def _key() -> str:
    return f"qviz-{uuid.uuid4().hex}"


class _Far:
    """A piece, and its copies on the way: futures, and the workers that each may be on."""

    def __init__(self, cluster: _Cluster, piece: Piece) -> None:
        self.cluster, self.piece = cluster, piece
        self.copies: dict[Any, frozenset[str]] = {}
        self.out_of_reach: set[Any] = set()  # finished, but whoever has the result does not hand it over

    def result(self) -> Blocks:
        return self.cluster.wait(self)


class _Cluster:
    """The workers of a Dask cluster; the scheduler gives the pieces of a worker that dies to another."""

    def __init__(self, client: Any, distributed: Any) -> None:
        self._client, self._distributed = client, distributed
        self._pending: set[_Far] = set()
        self.workers = _Workers(client)
        self._news = threading.Event()  # something that was sent has come to an end
        self.width = 1

    def ready(self) -> None:
        """Wait until somebody can work, and see that nobody runs other code."""
        first = time.monotonic()
        with self._scheduler_answers():
            while True:
                self.workers.look()
                unanswered = self.workers.unanswered()
                if self.workers.bad and not unanswered:
                    raise PipelineError(others(self.workers.bad))
                if self.workers.able() and (not unanswered or time.monotonic() - first > _PATIENCE):
                    break
                self.workers.tell()
                self.workers.check()
                time.sleep(_POLL / 10)
        threads = sum(self.workers.present[address]["nthreads"] for address in self.workers.good)
        self.width = 2 * max(threads, 1)  # a second piece for each, so that none waits for the network

    def begin(self, read: Callable[[], Piece]) -> Result:
        """Read a piece here, since workers may not see the file, and send it."""
        return self.submit(read())

    def submit(self, piece: Piece) -> Result:
        """Send a piece to a worker."""
        task = _Far(self, piece)
        with self._scheduler_answers():
            self._send(task)
        self._pending.add(task)
        return task

    def _somebody(self) -> list[str]:
        """Workers that can work, once there are any."""
        self.workers.look()
        while not (able := self.workers.able()):
            self.workers.tell()
            self.workers.check()
            time.sleep(_POLL / 10)
            self.workers.look()
        return able

    def _send(self, task: _Far) -> None:
        able = self._somebody()
        argument = {"piece": far.packed(task.piece), "wanted": far.identity()}
        future = self._client.submit(eval, far.WORK, argument, workers=able, pure=False, key=_key())
        task.copies[future] = frozenset(able)
        future.add_done_callback(lambda _: self._news.set())

    def wait(self, task: _Far) -> Blocks:
        """The blocks of a piece, from whoever has them first."""
        with self._scheduler_answers():
            while True:
                self._news.clear()
                if (raw := self._answer(task)) is not None:
                    break
                if self.workers.look():
                    self.workers.tell()
                    self.workers.check()
                    self._move()
                self._news.wait(_POLL)
        self._pending.discard(task)
        self._client.cancel(list(task.copies))
        task.copies.clear()
        return np.frombuffer(raw, task.piece.format.dtype)

    def _answer(self, task: _Far) -> bytes | None:
        for future in reversed(list(task.copies)):  # the newest first: it is not on a worker that was given up
            if future.status == "pending":
                continue
            try:
                answer = future.result(timeout=_POLL)
            except TimeoutError:
                task.out_of_reach.add(future)
                continue
            except CancelledError:
                if self._client.status != "running" or len(task.copies) == 1:
                    raise
                del task.copies[future]
                continue
            except Exception as error:
                raise self._explained(task, error) from None
            if isinstance(answer, bytes):
                return answer
            # somebody was restarted with other code at the same address: all are asked again
            self.workers.good -= task.copies.pop(future)
            self._send(task)
        return None

    def _explained(self, task: _Far, error: Exception) -> Exception:
        name = task.piece.name
        if isinstance(error, QvizError | self._distributed.comm.CommClosedError):
            return error
        if isinstance(error, self._distributed.scheduler.KilledWorker):
            return PipelineError(
                f"tensor {shortened(name)}: Dask gave up after several workers died on the same piece; "
                "they may lack memory"
            )
        if isinstance(error, MemoryError):
            return PipelineError(
                f"tensor {shortened(name)}: a worker has too little memory for a piece of it; "
                "give it more, or fewer threads"
            )
        return PipelineError(f"tensor {shortened(name)}: a worker failed: {type(error).__name__}: {error}")

    def _move(self) -> None:
        """Send again what is only with workers that are gone or silent."""
        silent = self.workers.silent()
        able = set(self.workers.able())
        if not able:
            return
        stuck: set[str] = set()
        if silent:
            rpc = self._client.scheduler
            processing = self._client.sync(rpc.processing, workers=sorted(silent), callback_timeout=_PATIENCE)
            stuck = {str(key) for keys in processing.values() for key in keys}
        for task in self._pending:
            hopeful = [
                future
                for future, allowed in task.copies.items()
                if future.key not in stuck and future not in task.out_of_reach and not allowed.isdisjoint(able | silent)
            ]
            if not hopeful:
                self._send(task)

    @contextlib.contextmanager
    def _scheduler_answers(self) -> Iterator[None]:
        try:
            yield
        except (OSError, CancelledError) as error:  # a TimeoutError is an OSError
            lost = isinstance(error, CancelledError)  # Dask says so in several lines
            said = "the connection is lost" if lost else str(error) or type(error).__name__
            raise PipelineError(f"the Dask scheduler is gone ({said}); start it, then run this again") from None

    def cancel(self) -> None:
        """Let go of everything that is on its way."""
        with contextlib.suppress(Exception):  # it may be gone already
            self._client.cancel([future for task in self._pending for future in task.copies])


@contextlib.contextmanager
def dask(cluster: Any) -> Iterator[Pool]:
    """The workers of a cluster, while entered; what they have not finished is cancelled at the end.

    Parameters
    ----------
    cluster : str or distributed.Client
        Address of a scheduler, or a client of it.

    Yields
    ------
    Pool

    Raises
    ------
    PipelineError
        Dask is not installed, nobody answers, there are no workers, or they run other code than this process.
    """
    try:
        distributed = importlib.import_module("distributed")
    except ImportError:
        raise PipelineError("Dask is not installed; run: pip install 'qviz-toolkit[dask]'") from None
    mine = not isinstance(cluster, distributed.Client)
    if mine and not isinstance(cluster, str) and not hasattr(cluster, "scheduler_address"):  # a cluster in this process
        raise PipelineError(
            f"dask is {shortened(cluster)}; the address of a Dask scheduler is wanted, such as 'tcp://10.0.0.1:8786'"
        )
    try:
        client = distributed.Client(cluster, set_as_default=False, timeout=_CONNECT) if mine else cluster
    except (OSError, ValueError, TypeError) as error:  # TypeError: neither an address nor a cluster
        raise PipelineError(
            f"no Dask scheduler at {shortened(cluster)}: {error}; expected an address such as 'tcp://10.0.0.1:8786'"
        ) from None
    try:
        if client.asynchronous:
            raise PipelineError("this Dask client is asynchronous; give one made with asynchronous=False")
        pool = _Cluster(client, distributed)
        try:
            pool.ready()
            yield pool
        finally:
            pool.cancel()
    finally:
        if mine:
            client.close()
