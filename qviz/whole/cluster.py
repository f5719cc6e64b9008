"""The workers of a Dask cluster, as a pool for the pieces of a model."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from qviz.errors import PipelineError
from qviz.whole.pieces import Blocks, Piece, convert
from qviz.whole.pools import Pool, Result

# Seconds: to connect to a scheduler; between looks at its workers; without any of them
_CONNECT, _POLL, _PATIENCE = 30.0, 5.0, 60.0


class _Cluster:
    """The workers of a Dask cluster; the scheduler gives the pieces of a worker that dies to another."""

    def __init__(self, client: Any, distributed: Any) -> None:
        self._client, self._distributed = client, distributed
        self._live: set[Any] = set()
        threads = sum(worker["nthreads"] for worker in self.workers().values())
        self.width = 2 * max(threads, 1)  # a second piece for each, so that none waits for the network

    def workers(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return found

    def submit(self, piece: Piece) -> Result:
        future = self._client.submit(_convert_far, piece, pure=False)
        self._live.add(future)
        return _Far(self, future, piece)

    def wait(self, future: Any, piece: Piece) -> Blocks:
        last_seen = time.monotonic()
        while True:
            try:
                raw = future.result(timeout=_POLL)
                break
            except self._distributed.TimeoutError:
                if self._client.status != "running":
                    raise PipelineError("the Dask scheduler is gone; start it, then run this again") from None
                if self.workers():
                    last_seen = time.monotonic()
                elif time.monotonic() - last_seen > _PATIENCE:
                    raise PipelineError(
                        f"the Dask cluster has had no worker for {_PATIENCE:.0f} seconds; start one, then try again"
                    ) from None
            except self._distributed.scheduler.KilledWorker:
                raise PipelineError(
                    f"tensor {piece.name!r}: Dask gave up after several workers died on the same piece; "
                    f"they may lack memory"
                ) from None
            except (self._distributed.client.FutureCancelledError, OSError) as error:
                raise PipelineError(f"the Dask scheduler is gone ({error}); start it, then run this again") from None
        self._live.discard(future)
        future.release()
        return np.frombuffer(raw, piece.format.dtype)

    def cancel(self) -> None:
        with contextlib.suppress(Exception):  # it may be gone already
            self._client.cancel(list(self._live))


class _Far(NamedTuple):
    cluster: _Cluster
    future: Any
    piece: Piece

    def result(self) -> Blocks:
        return self.cluster.wait(self.future, self.piece)


def _convert_far(piece: Piece) -> bytes:
    return convert(piece).tobytes()


def _version() -> str:
    from qviz import __version__

    return __version__


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
        Dask is not installed, nobody answers, there are no workers, or they run another version of qviz.
    """
    try:
        distributed = importlib.import_module("distributed")
    except ImportError:
        raise PipelineError("Dask is not installed; run: pip install 'qviz-toolkit[dask]'") from None
    mine = not isinstance(cluster, distributed.Client)
    try:
        client = distributed.Client(cluster, set_as_default=False, timeout=_CONNECT) if mine else cluster
    except (OSError, ValueError, TypeError) as error:  # TypeError: neither an address nor a cluster
        raise PipelineError(
            f"no Dask scheduler at {cluster!r}: {error}; expected an address such as 'tcp://10.0.0.1:8786'"
        ) from None
    try:
        pool = _ready(client, distributed)
        try:
            yield pool
        finally:
            pool.cancel()
    finally:
        if mine:
            client.close()


def _ready(client: Any, distributed: Any) -> _Cluster:
    """Wait for a worker, and see that all of them run this version of qviz: another might make other bytes."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
        versions = client.run(_version)
    except distributed.TimeoutError:
        raise PipelineError(
            f"the Dask cluster has no workers, even after {_PATIENCE:.0f} seconds; start some"
        ) from None
    except ImportError as error:
        raise PipelineError(f"the workers of the Dask cluster lack qviz: {error}; install qviz-toolkit there") from None
    if others := {worker: version for worker, version in versions.items() if version != _version()}:
        raise PipelineError(f"workers run another version of qviz than {_version()}: {others}; install the same")
    return _Cluster(client, distributed)
