"""Who of a cluster may work, and what becomes of pieces on workers that freeze, die or change: on a stand-in."""

import functools
import logging
import types
from concurrent.futures import CancelledError

import distributed
import numpy as np
import pytest

from qviz import formats
from qviz.errors import PipelineError
from qviz.whole.workers import cluster, far
from qviz.whole.workers.pieces import Piece, convert

MINE = far.identity()
OTHER = (MINE[0], "f" * 64)


class Future:
    """What a task became; `on` is the worker that has it."""

    def __init__(self, key, source, argument, workers):
        self.key, self.source, self.argument, self.workers = key, source, argument, workers
        self.status, self.answer, self.called = "pending", None, []

    def end(self, answer):
        self.answer = answer
        self.status = "error" if isinstance(answer, Exception) else "finished"
        for function in self.called:
            function(self)

    def add_done_callback(self, function):
        self.called.append(function)

    def exception(self, timeout):
        return self.answer if self.status == "error" else None

    def result(self, timeout):
        if self.status == "cancelled":
            raise CancelledError
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Client:
    """A cluster whose workers answer what the test says, each heard of until it is frozen."""

    status = "running"

    def __init__(self, **workers):
        self.workers, self.frozen, self.sent, self.cancelled, self.ticks = workers, set(), [], [], 0
        self.holds = {}
        self.scheduler = types.SimpleNamespace(identity=self.identity, processing=self.processing)

    def sync(self, function, callback_timeout, **options):
        return function(**options)

    def identity(self, n_workers):
        self.ticks += 1
        for address in self.workers.keys() - self.frozen:
            self.holds.setdefault(address, 0)
            self.holds[address] = self.ticks
        return {"workers": {a: {"last_seen": self.holds.get(a, 0), "nthreads": 1} for a in self.workers}}

    def processing(self, workers):
        return {a: [f.key for f in self.sent if f.status == "pending" and f.workers[0] == a] for a in workers}

    def submit(self, function, source, argument=None, *, workers, pure, key, priority=0):
        assert function is eval  # so that a worker without qviz can answer
        future = Future(key, source, argument, workers)
        if source == far.WHO:
            if self.workers[workers[0]] is not None and workers[0] not in self.frozen:
                future.end(self.workers[workers[0]])
        else:
            self.sent.append(future)
        return future

    def cancel(self, futures):
        self.cancelled += futures


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]

    def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(cluster.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(cluster.time, "sleep", sleep)
    return now


def pool(client, clock):
    made = cluster._Cluster(client, distributed)
    made.workers._clock = lambda: clock[0]
    made.workers._last_able = clock[0]

    class Event:  # waiting takes time on the test's own clock
        def clear(self):
            pass

        def set(self):
            pass

        def wait(self, seconds):
            clock[0] += seconds
            assert clock[0] < 2000, "nothing comes to an end"
            if client.steps:
                client.steps.pop(0)()

    made._news = Event()
    client.steps = []
    return made


PIECE = Piece("w", 0, formats.quantize(np.arange(32, dtype=np.float32), "F32"), formats.get("Q8_0"), None)


@functools.cache
def converted():
    return convert(PIECE).tobytes()


def test_work_arrives_as_it_was_sent():
    assert far.work(far.packed(PIECE), MINE) == converted()
    assert far.work(far.packed(PIECE), OTHER) == MINE
    scope = {"piece": far.packed(PIECE), "wanted": MINE}
    assert eval(far.WORK, scope) == converted()
    assert tuple(eval(far.WHO)) == MINE


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (OTHER, "a has other sources of qviz"),
        (("0.0.1", ""), "a has qviz 0.0.1, not"),
        (ModuleNotFoundError("No module named 'qviz'"), "a has no qviz"),
        (ModuleNotFoundError("No module named 'qviz.whole'"), "a has an older qviz"),
        (RuntimeError("boom"), "a cannot say who it is (RuntimeError: boom)"),
    ],
)
def test_nothing_starts_on_workers_with_other_code(clock, answer, said):
    made = pool(Client(a=answer, b=MINE), clock)
    with pytest.raises(PipelineError, match="must run the same qviz as this machine") as refusal:
        made.ready()
    assert said in str(refusal.value)


def test_who_joins_later_with_other_code_gets_nothing(clock, caplog):
    client = Client(a=MINE)
    made = pool(client, clock)
    made.ready()
    client.workers |= {"b": OTHER, "c": MINE}
    clock[0] += 2
    with caplog.at_level(logging.WARNING):
        made.submit(PIECE)
    assert client.sent[0].workers == ["a", "c"]
    assert "worker b has other sources of qviz" in caplog.text


def test_a_piece_on_a_frozen_worker_goes_to_another(clock, caplog):
    client = Client(a=MINE, b=MINE)
    made = pool(client, clock)
    made.ready()
    first, second = made.submit(PIECE), made.submit(PIECE)
    assert [future.workers for future in client.sent] == [["a", "b"], ["a", "b"]]
    client.frozen.add("a")
    client.steps = [
        *[lambda: None] * 12,
        lambda: client.sent[2].end(converted()),
        lambda: client.sent[3].end(converted()),
    ]
    with caplog.at_level(logging.WARNING):
        assert first.result().tobytes() == converted()
        assert second.result().tobytes() == converted()
    assert [future.workers for future in client.sent[2:]] == [["b"], ["b"]]
    assert [record.message for record in caplog.records] == [
        "worker a has not been heard of for 10 seconds; its pieces go to the others"
    ]
    assert set(client.sent) <= set(client.cancelled)
    client.frozen.clear()  # it wakes up, and gets pieces again
    clock[0] += 2
    made.submit(PIECE)
    assert client.sent[-1].workers == ["a", "b"]


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (lambda client: client.frozen.update("ab"), "no worker of the Dask cluster has answered for 60 seconds"),
        (lambda client: client.workers.clear(), "has had no worker for 60 seconds"),
        (lambda client: setattr(client, "status", "closed"), "the Dask scheduler is gone"),
    ],
)
def test_nobody_is_left(clock, happens, said):
    client = Client(a=MINE, b=MINE)
    made = pool(client, clock)
    made.ready()
    task = made.submit(PIECE)
    happens(client)
    with pytest.raises(PipelineError, match=said):
        task.result()
    assert clock[0] < 1000 + 100


def test_a_restricted_piece_whose_workers_died_is_sent_to_those_who_came(clock):
    client = Client(a=MINE)
    made = pool(client, clock)
    made.ready()
    task = made.submit(PIECE)
    client.workers = {"new": MINE}
    client.steps = [lambda: None, lambda: None, lambda: client.sent[1].end(converted())]
    assert task.result().tobytes() == converted()
    assert client.sent[1].workers == ["new"]


def test_a_worker_restarted_with_other_code_at_its_old_address(clock):
    client = Client(a=MINE, b=MINE)
    made = pool(client, clock)
    made.ready()
    task = made.submit(PIECE)
    client.workers["a"] = OTHER
    client.sent[0].end(OTHER)
    client.steps = [lambda: client.sent[1].end(converted())]
    assert task.result().tobytes() == converted()
    assert client.sent[1].workers == ["b"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "'w': a worker has too little memory"),
        (distributed.scheduler.KilledWorker("w", None, 3), "'w': Dask gave up after several workers died"),
        (OSError(28, "No space left on device"), "'w': a worker failed: OSError: .*No space left"),
        (PipelineError("tensor 'w' is damaged"), "tensor 'w' is damaged"),
        (distributed.comm.CommClosedError("closed"), r"the Dask scheduler is gone \(closed\)"),
    ],
)
def test_what_went_wrong_far_away_is_said_here(clock, error, said):
    client = Client(a=MINE)
    made = pool(client, clock)
    made.ready()
    task = made.submit(PIECE)
    client.sent[0].end(error)
    with pytest.raises(PipelineError, match=said):
        task.result()
    made.cancel()
    assert client.sent[0] in client.cancelled


def test_all_that_decides_a_byte_is_compared():
    import test_architecture as architecture

    modules = {architecture.name_of(path): path for path in architecture.MODULES}
    seen, waiting = set(), ["whole.workers.far"]
    while waiting:
        name = waiting.pop()
        if name in modules and name not in seen:
            seen.add(name)
            found = set(architecture.imports(modules[name]))
            waiting += found | {name.rpartition(".")[0] for name in found}
    files = {modules[name].relative_to(architecture.PACKAGE).as_posix() for name in seen - {""}}
    assert "formats/base.py" in files
    assert {file for file in files if not any(f"{file}/".startswith(f"{room}/") for room in far.ROOMS)} == set()
