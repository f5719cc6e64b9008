"""Folders of packed weights: the older one whole or the new one whole, whatever ends the writer."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from qviz import _files
from qviz.checkpoints import packed
from qviz.checkpoints.packed import writer
from qviz.errors import CheckpointError

CODES = np.random.default_rng(0).integers(0, 16, (32, 64))
OLD = packed.pack(CODES, np.ones((32, 2)), np.full((32, 2), 7), format="gptq")
NEW = packed.pack(CODES[::-1], np.full((32, 2), 2), np.full((32, 2), 3), format="gptq_v2")


def written(folder: Path) -> Path:
    packed.write_packed(folder, {"a": OLD}, group_size=32)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def end_at(folder: Path, step: int) -> None:
    """Write over a folder, and be killed at the `step`-th thing that the system is asked for."""
    count = 0

    def counted(real):
        def call(*args, **kwargs):
            nonlocal count
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return real(*args, **kwargs)

        return call

    for owner, name in (
        (Path, "mkdir"),
        (Path, "write_text"),
        (Path, "rename"),
        (writer._TensorFile, "write"),
        (_files.atomic, "_exchange"),
        (_files.atomic, "_flush_folder"),
        (_files.atomic, "remove"),
        (os, "link"),
    ):
        setattr(owner, name, counted(getattr(owner, name)))
    packed.write_packed(folder, {"a": NEW}, group_size=32)
    os._exit(7)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_killed_anywhere(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    before, after = OLD.dequantize(), NEW.dequantize()
    seen = set()
    for step in range(100):
        folder = written(tmp_path / "model")
        child = context.Process(target=end_at, args=(folder, step))
        child.start()
        child.join()
        found = packed.read_packed(folder)["a"]
        now = found.dequantize()
        assert np.array_equal(now, before) or np.array_equal(now, after)
        assert found.format == ("gptq" if np.array_equal(now, before) else "gptq_v2")
        assert (folder / "tokenizer.json").read_text() == "{}"
        seen.add(found.format)
        if child.exitcode == 7:
            break
        assert child.exitcode == -signal.SIGKILL
    else:
        pytest.fail("it never came to its end")
    assert seen == {"gptq", "gptq_v2"}
    assert step > 10
    packed.write_packed(tmp_path / "model", {"a": NEW}, group_size=32)  # sweeps what the killed ones left
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits the size of files in a forked process")
@pytest.mark.parametrize("limit", [10, 1000])
def test_a_full_disk(tmp_path: Path, limit: int) -> None:
    import resource

    folder, soft = written(tmp_path / "model"), resource.getrlimit(resource.RLIMIT_FSIZE)

    def child(target: Path, queue: multiprocessing.queues.Queue[str]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, soft[1]))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        said = "written"
        try:
            packed.write_packed(target, {"a": NEW}, group_size=32)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
        queue.put(said)

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(folder, queue))
    process.start()
    process.join()
    said = queue.get(timeout=60)
    assert said.startswith(f"CheckpointError: {folder}: cannot be written: ")
    assert "choose another folder" in said
    assert np.array_equal(packed.read_packed(folder)["a"].dequantize(), OLD.dequantize())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_two_packers_of_one_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    entries = {"a": (32, 64)}

    def pack_late() -> None:
        with packing(target, entries) as late:
            with packing(target, entries) as early:
                early.put("a", NEW)
            late.put("a", NEW)

    with pytest.raises(CheckpointError, match="another program has filled this folder meanwhile"):
        pack_late()
    assert np.array_equal(packed.read_packed(target)["a"].dequantize(), NEW.dequantize())
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    with pytest.raises(CheckpointError, match="this folder is not empty"), packing(target, entries):
        pytest.fail("it began")


def packing(target, entries):
    return packed.packing(target, entries, group_size=32, format="gptq_v2")


def test_other_weights_are_not_written_over(tmp_path: Path) -> None:
    for name in ("model.safetensors.index.json", "other.safetensors", "quant_config.json"):
        folder = written(tmp_path / name)
        (folder / name).write_text("{}")
        with pytest.raises(CheckpointError, match=f"weights of another kind.*found '{name}'"):
            packed.write_packed(folder, {"a": NEW}, group_size=32)
        (folder / name).unlink()
        assert packed.read_packed(folder)["a"].format == "gptq"


def test_settings_say_what_the_weights_are(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="'a' has 2 groups of 64 columns; say so as group_size"):
        packed.write_packed(tmp_path / "x", {"a": NEW})
    mixed = packed.pack(CODES, np.ones((32, 2)), np.zeros((32, 2), int), g_idx=np.arange(64) % 2)
    packed.write_packed(tmp_path / "x", {"a": mixed}, group_size=32)
    assert '"desc_act": true' in (tmp_path / "x" / "quantize_config.json").read_text()


def test_files_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="not a folder"):
        packed.write_packed(tmp_path / "file", {"a": NEW}, group_size=32)
    with pytest.raises(CheckpointError, match="cannot be written"):
        packed.write_packed(tmp_path / "file" / "deeper", {"a": NEW}, group_size=32)
