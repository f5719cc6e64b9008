"""Whole models over a Dask cluster of real processes: the same bytes, whoever dies."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import distributed
import numpy as np
import pytest
from recipe_models import model, write_model

import qviz
from qviz import gguf
from qviz.errors import PipelineError
from qviz.whole import by_recipe, workers

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "recipes.json").read_text(encoding="utf-8"))["sha256"]


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
    monkeypatch.setattr(by_recipe, "_PIECE", 8192)
    source = write_model(tmp_path / "in.gguf", "eight experts")
    killed = []

    def kill_one(tensor, done, total):
        if not killed and done > total // 3:
            killed.append(next(iter(cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

    address = cluster.scheduler_address
    qviz.quantize_model(source, tmp_path / "out.gguf", "Q4_0", rules="uniform", dask=address, progress=kill_one)
    assert killed
    assert hashlib.sha256((tmp_path / "out.gguf").read_bytes()).hexdigest() == GOLDEN["eight experts, uniform"]["Q4_0"]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="signals")
def test_the_work_of_a_frozen_worker_goes_to_others(tmp_path, monkeypatch, cluster, caplog):
    monkeypatch.setattr(by_recipe, "_PIECE", 8192)
    monkeypatch.setattr(workers.cluster, "_SILENCE", 3.0)
    source = write_model(tmp_path / "in.gguf", "eight experts")
    frozen = []

    def freeze_one(tensor, done, total):
        if not frozen and done > total // 3:
            frozen.append(next(iter(cluster.workers.values())).pid)
            os.kill(frozen[0], signal.SIGSTOP)

    try:
        with caplog.at_level(logging.WARNING, "qviz"):
            qviz.quantize_model(
                source,
                tmp_path / "out.gguf",
                "Q4_0",
                rules="uniform",
                dask=cluster.scheduler_address,
                progress=freeze_one,
            )
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert "has not been heard of for 3 seconds" in caplog.text
    assert hashlib.sha256((tmp_path / "out.gguf").read_bytes()).hexdigest() == GOLDEN["eight experts, uniform"]["Q4_0"]


def test_workers_with_other_sources_or_none_are_refused(tmp_path, source):
    """Two more workers: one has a comment more in a format, the other no qviz at all."""
    package = Path(qviz.__file__).parent
    (tmp_path / "other/qviz").mkdir(parents=True)
    for room in workers.far.ROOMS:
        if (package / room).is_dir():
            shutil.copytree(
                package / room, tmp_path / "other/qviz" / room, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copyfile(package / room, tmp_path / "other/qviz" / room)
    (tmp_path / "other/qviz/__init__.py").write_text(f"__version__ = {qviz.__version__!r}\n")
    with (tmp_path / "other/qviz/formats/q4_0.py").open("a") as file:
        file.write("# another\n")
    (tmp_path / "none").mkdir()
    (tmp_path / "none/qviz.py").write_text("raise ModuleNotFoundError(\"No module named 'qviz'\")\n")
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port=0", "--no-dashboard", "--no-show"]
    file = tmp_path / "scheduler.json"
    with contextlib.ExitStack() as stack:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}

        def start(command, **options):
            process = stack.enter_context(subprocess.Popen(command, **quiet, **options))
            stack.callback(process.kill)

        # the scheduler has no qviz, either, and needs none
        nothing = {**os.environ, "PYTHONPATH": str(tmp_path / "none")}
        start([*scheduler, f"--scheduler-file={file}"], env=nothing)
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", f"--scheduler-file={file}", "--nthreads=1"]
        for name in ("other", "none"):
            environment = {**os.environ, "PYTHONPATH": str(tmp_path / name)}
            start([*worker, "--no-nanny", "--no-dashboard", f"--local-directory={tmp_path / name}"], env=environment)
        while not file.exists():
            time.sleep(0.1)
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(2)
            with pytest.raises(PipelineError, match="must run the same qviz as this machine") as refusal:
                qviz.quantize_model(source, tmp_path / "out.gguf", "Q4_0", dask=client)
    assert "has other sources of qviz" in str(refusal.value)
    assert "has no qviz (No module named 'qviz')" in str(refusal.value)
    assert not (tmp_path / "out.gguf").exists()


def test_errors_come_back_from_a_cluster(tmp_path, cluster):
    metadata, tensors = model(layers=2)
    tensors["blk.1.ffn_up.weight"].blocks["x"][1, 4] = np.nan
    source = gguf.write(tmp_path / "broken.gguf", metadata, tensors)
    with distributed.Client(cluster, set_as_default=False) as client:
        with pytest.raises(PipelineError, match=r"'blk\.1\.ffn_up\.weight' is damaged"):
            qviz.quantize_model(source, tmp_path / "out.gguf", "Q4_0", rules="uniform", dask=client)
        assert client.status == "running"


def test_a_scheduler_that_is_not_there(tmp_path, monkeypatch, source):
    monkeypatch.setattr(workers.cluster, "_CONNECT", 1.0)
    with pytest.raises(PipelineError, match=r"no Dask scheduler at 'tcp://127\.0\.0\.1:9'"):
        qviz.quantize_model(source, tmp_path / "out.gguf", "Q4_0", dask="tcp://127.0.0.1:9")


def test_without_dask_the_error_says_what_to_install(tmp_path, monkeypatch, source):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(PipelineError, match=r"pip install 'qviz-toolkit\[dask\]'"):
        qviz.quantize_model(source, tmp_path / "out.gguf", "Q4_0", dask="tcp://127.0.0.1:9")
