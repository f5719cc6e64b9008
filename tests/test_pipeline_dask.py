"""Whole models over a Dask cluster of real processes: the same bytes, whoever dies."""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import distributed
import numpy as np
import pytest
from recipe_models import model, write_model

import qviz
from qviz import gguf, pipeline, whole
from qviz.errors import PipelineError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "recipes.json").read_text(encoding="utf-8"))["sha256"]


@pytest.fixture
def source(tmp_path):
    return gguf.write(tmp_path / "small.gguf", *model(layers=2))


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=None
    ) as local:
        yield local


def test_a_cluster_makes_the_same_bytes_though_a_worker_is_killed(tmp_path, monkeypatch, cluster):
    monkeypatch.setattr(pipeline, "_PIECE", 1024)
    source = write_model(tmp_path / "in.gguf", "eight experts")
    killed = []

    def kill_one(progress):
        if not killed and progress.done > progress.total // 3:
            killed.append(next(iter(cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

    address = cluster.scheduler_address
    qviz.quantize_model(source, tmp_path / "out.gguf", "Q4_0", rules="uniform", dask=address, progress=kill_one)
    assert killed
    assert hashlib.sha256((tmp_path / "out.gguf").read_bytes()).hexdigest() == GOLDEN["eight experts, uniform"]["Q4_0"]


def test_errors_come_back_from_a_cluster(tmp_path, cluster):
    metadata, tensors = model(layers=2)
    tensors["blk.1.ffn_up.weight"].blocks["x"][1, 4] = np.nan
    source = gguf.write(tmp_path / "broken.gguf", metadata, tensors)
    with distributed.Client(cluster, set_as_default=False) as client:
        with pytest.raises(PipelineError, match=r"'blk\.1\.ffn_up\.weight' is damaged"):
            qviz.quantize_model(source, tmp_path / "out.gguf", "Q4_0", rules="uniform", dask=client)
        assert client.status == "running"


def test_a_scheduler_that_is_not_there(tmp_path, monkeypatch, source):
    monkeypatch.setattr(whole.cluster, "_CONNECT", 1.0)
    with pytest.raises(PipelineError, match=r"no Dask scheduler at 'tcp://127\.0\.0\.1:9'"):
        qviz.quantize_model(source, tmp_path / "out.gguf", "Q4_0", dask="tcp://127.0.0.1:9")


def test_without_dask_the_error_says_what_to_install(tmp_path, monkeypatch, source):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(PipelineError, match=r"pip install 'qviz-toolkit\[dask\]'"):
        qviz.quantize_model(source, tmp_path / "out.gguf", "Q4_0", dask="tcp://127.0.0.1:9")
