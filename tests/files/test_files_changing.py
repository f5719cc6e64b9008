"""A source that changes while it is worked on, and processes that are killed while they write.

``QVIZ_FUZZ=300`` kills so many times.
"""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import hf_folders
import legacy_files
import numpy as np
import pytest

from qviz import _files, checkpoints, gguf
from qviz.calibration import ActivationStats, imatrix
from qviz.errors import GGUFError
from qviz.gguf import legacy
from qviz.gguf.writer import TensorStream
from qviz.whole import by_recipe

KILLS = int(os.environ.get("QVIZ_FUZZ", "3"))


@pytest.fixture
def model(tmp_path):
    """A model of two matrices, whose first pieces are written long before its last one is read."""
    rng = np.random.default_rng(0)
    tensors = {f"blk.{i}.ffn_down.weight": rng.standard_normal((2048, 512)).astype(np.float32) for i in range(2)}
    return gguf.write(tmp_path / "source.gguf", {"general.architecture": "llama"}, tensors)


def overwrite(path):
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(len(data) // 2)
        file.write(bytes(64))
    os.utime(path)


def append(path):
    with path.open("ab") as file:
        file.write(bytes(32))


def rewrite_header(path):
    """As coarse a clock as some drives have: neither size nor time tells."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(path.read_bytes().index(b"llama"))
        file.write(b"gemma")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [overwrite, append, rewrite_header, lambda path: os.truncate(path, 5000)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_source_that_changes_ends_in_one_sentence(model, tmp_path, change, threads):
    done = []

    def progress(*step):
        if not done:
            change(model)
        done.append(step)

    with pytest.raises(GGUFError, match=r"shrank while it was open|changed by another program"):
        by_recipe.quantize_model(model, tmp_path / "out.gguf", "Q8_0", progress=progress, threads=threads)
    assert [path.name for path in tmp_path.iterdir()] == ["source.gguf"]


def test_a_source_that_is_replaced_is_read_to_its_end(model, tmp_path):
    expected = tmp_path / "expected.gguf"
    by_recipe.quantize_model(model, expected, "Q8_0")

    def progress(*step):
        _files.write_bytes(model, b"another file")

    by_recipe.quantize_model(model, tmp_path / "out.gguf", "Q8_0", progress=progress)
    assert (tmp_path / "out.gguf").read_bytes() == expected.read_bytes()


def test_no_map_is_looked_at_while_a_model_is_quantized(model, tmp_path, monkeypatch):
    """Whoever looks at a map behind the end of its file is killed, whatever was asked before."""

    def refuse(self):
        raise AssertionError("mapped")

    monkeypatch.setattr(_files.OpenFile, "map", refuse)
    by_recipe.quantize_model(model, tmp_path / "out.gguf", "Q8_0")


def flip_header(path):
    """As `rewrite_header`, in a file of any kind."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[40] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(scope="module")
def tokenizer():
    return hf_folders.byte_level("smollm")


def legacy_source(folder, tokenizer):
    path = folder / "model.bin"
    tensors = legacy_files.llama_tensors(legacy_files.V1["Q4_0_v1"])
    path.write_bytes(legacy_files.llama_file(tensors, legacy_files.hparams(2), legacy_files.tokens(), "GGML", 0))
    return path, lambda out: legacy.convert(path, out)


def safetensors_source(folder, tokenizer):
    hf_folders.folder(folder / "model", tokenizer)
    return folder / "model" / "model.safetensors", lambda out: checkpoints.convert(folder / "model", out)


@pytest.mark.parametrize("source", [legacy_source, safetensors_source])
@pytest.mark.parametrize("change", [overwrite, append, flip_header, lambda path: os.truncate(path, 5000)])
def test_a_conversion_whose_source_changes_ends_in_one_sentence(source, change, tmp_path, tokenizer, monkeypatch):
    (tmp_path / "in").mkdir()
    path, convert = source(tmp_path / "in", tokenizer)
    plain, calls = TensorStream.append, []

    def append_and_change(stream, blocks):
        if len(calls) == 1:
            change(path)
        calls.append(blocks)
        plain(stream, blocks)

    monkeypatch.setattr(TensorStream, "append", append_and_change)
    with pytest.raises(GGUFError, match=r"shrank while it was open|changed by another program"):
        convert(tmp_path / "out.gguf")
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("source", [legacy_source, safetensors_source])
def test_no_map_is_looked_at_while_a_model_is_converted(source, tmp_path, tokenizer, monkeypatch):
    path, convert = source(tmp_path, tokenizer)

    def refuse(self):
        raise AssertionError("mapped")

    monkeypatch.setattr(_files.OpenFile, "map", refuse)
    assert path.exists()
    convert(tmp_path / "out.gguf")


WRITER = """
    import sys
    from pathlib import Path
    import numpy as np
    from qviz import _files, gguf
    from qviz.calibration import imatrix
    from qviz.calibration import ActivationStats
    folder = Path(sys.argv[1])
    n = 300_000
    print("ready", flush=True)
    for i in range(1_000_000):
        x = np.full(n, i, np.float32)
        gguf.write(folder / "x.gguf", {"general.architecture": "x", "i": i}, {"w": x, "v": x})
        stats = ActivationStats.from_inputs(np.full((2, 300), i, np.float32)).save(folder / "x.npz")
        imatrix.write(folder / "x.dat", imatrix.Imatrix.from_means({"w": np.full(n, i, np.float32)}, tokens=1))
        with _files.replacing_folder(folder / "model") as new:
            for name in "abc":
                (new / name).write_bytes(x.tobytes())
"""


def whole(folder):
    """Everything there can be read, and all parts of each thing are of one writing."""
    if (path := folder / "x.gguf").exists():
        file = gguf.read(path)
        assert {float(v) for name in file for v in file[name].dequantize()} == {float(file.metadata["i"])}
    if (path := folder / "x.npz").exists():
        assert ActivationStats.load(path).n_tokens == 2
    if (path := folder / "x.dat").exists():
        assert len(set(imatrix.read(path)["w"].tolist())) == 1
    parts = _files.read_folder(
        folder / "model", lambda at: [p.read_bytes() for p in at.iterdir()] if at.exists() else []
    )
    assert len(set(parts)) <= 1
    assert len(parts) in (0, 3)


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_a_kill_tears_nothing_and_the_next_writer_sweeps(tmp_path):
    rng = random.Random(0)
    for _ in range(KILLS):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), tmp_path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            time.sleep(rng.random() * 0.3)
            child.send_signal(signal.SIGKILL)
        whole(tmp_path)
    _files.write_bytes(tmp_path / "last", b"")
    assert {path.name for path in tmp_path.iterdir()} <= {"x.gguf", "x.npz", "x.dat", "model", "last"}


FULL = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from qviz import _files, gguf
    from qviz.calibration import imatrix
    from qviz.whole import by_recipe
    from qviz.calibration import ActivationStats
    from qviz.errors import QvizError
    folder = Path(sys.argv[1])
    x = np.ones((300, 256), np.float32)
    stats = ActivationStats.from_inputs(x)
    means = imatrix.Imatrix.from_means({"w": np.ones(70_000)}, tokens=1)
    jobs = {
        "write": lambda: gguf.write(folder / "x.gguf", {}, {"w": x}),
        "quantize": lambda: by_recipe.quantize_model(folder / "source.gguf", folder / "x.gguf", "Q8_0"),
        "statistics": lambda: stats.save(folder / "x.npz"),
        "imatrix": lambda: imatrix.write(folder / "x.imatrix", means),
        "dat": lambda: imatrix.write(folder / "x.dat", means),
    }
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    for name, job in jobs.items():
        try:
            job()
            print(name, "was written")
        except QvizError as error:
            print(name, error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(model, tmp_path):
    for name in ("x.gguf", "x.npz", "x.imatrix", "x.dat"):
        (tmp_path / name).write_text("old")
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 5, done.stderr
    assert all("cannot be written: File too large; this disk, or a limit" in line for line in lines), lines
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"source.gguf", "x.gguf", "x.npz", "x.imatrix", "x.dat"}
    assert all((tmp_path / name).read_text() == "old" for name in ("x.gguf", "x.npz", "x.imatrix", "x.dat"))
