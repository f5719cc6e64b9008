"""The command line, through click's runner and as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from qviz import __version__, cli, gguf, models
from qviz.cli import course
from qviz.errors import FetchError, ModelNotFoundError
from qviz.formats import quantize


@pytest.fixture
def run():
    return lambda *args, **options: CliRunner().invoke(cli.main, [str(arg) for arg in args], **options)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tensors = {
        "token_embd.weight": quantize(np.ones((4, 64)), "Q8_0"),
        "blk.0.attn_q.weight": quantize(np.ones((2, 32)), "Q4_0"),
        "norm.weight": np.ones(3, np.float32),
    }
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 30,
        "llama.eps": 1e-5,
        "tokenizer.ggml.tokens": [f"<{i}>" for i in range(1000)],
        "tokenizer.chat_template": "{% for m in messages %}" + "x" * 5000,
    }
    return gguf.write(tmp_path / "model.gguf", metadata, tensors)


def refused(result: Result) -> str:
    """The one line that a refusal prints."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    return line


def test_help_and_version(run):
    assert run("--version").output == f"qviz, version {__version__}\n"
    listing = run("--help").output
    for command in ("inspect", "lab", "fetch"):
        assert command in listing
        assert run(command, "--help").exit_code == 0


def test_inspect_prints_metadata_tensors_and_totals(run, model):
    result = run("inspect", model)
    assert result.exit_code == 0
    file = gguf.read(model)
    start = file.data_offset
    assert result.output.splitlines() == [
        str(model),
        f"GGUF version 3, little-endian, {file.nbytes:,} bytes; tensors from byte {start:,}, aligned to 32",
        "",
        "metadata                 type      value",
        "general.architecture     str       llama",
        "llama.block_count        u32       30",
        "llama.eps                f32       1e-05",
        "tokenizer.ggml.tokens    arr[str]  ['<0>', '<1>', '<2>', '<3>', '<4>', '<5>', '<6>', '<7>', ...] 1,000 items",
        "tokenizer.chat_template  str       {% for m in messages %}" + "x" * 139 + "...",
        "",
        "tensor               format   shape  bytes  at byte",
        f"token_embd.weight    Q8_0    4 × 64    272   {start:6,}",
        f"blk.0.attn_q.weight  Q4_0    2 × 32     36   {start + 288:6,}",
        f"norm.weight          F32          3     12   {start + 352:6,}",
        "Shapes are NumPy's, the row length last. The file stores the reverse: token_embd.weight is [64, 4] there.",
        "",
        "format           tensors  weights   bytes  bits/weight",
        "Q8_0                   1      256     272          8.5",
        "Q4_0                   1       64      36          4.5",
        "F32                    1        3      12           32",
        f"all tensors            3      323     320  {8 * 320 / 323:11.4g}",
        f"header, padding                    {file.nbytes - 320:6,}  {8 * (file.nbytes - 320) / 323:11.4g}",
    ]


def test_inspect_leaves_out_what_is_not_wanted(run, model):
    output = run("inspect", model, "--no-tensors").output
    assert "llama.block_count" in output
    assert "blk.0" not in output
    output = run("inspect", model, "--no-metadata").output
    assert "llama.block_count" not in output
    assert "blk.0" in output
    output = run("inspect", model, "--full").output
    assert "'<999>']" in output
    assert "x" * 5000 in output


def test_inspect_json(run, model):
    result = run("inspect", model, "--json")
    shown = json.loads(result.output)
    file = gguf.read(model)
    assert shown["paths"] == [str(model)]
    assert (shown["version"], shown["byte_order"]) == (3, "little")
    assert shown["file_bytes"] == model.stat().st_size
    assert shown["metadata"]["llama.eps"] == {"type": "f32", "value": 1e-5}
    assert shown["metadata"]["tokenizer.ggml.tokens"] == {
        "type": "arr[str]",
        "value": [f"<{i}>" for i in range(8)],
        "length": 1000,
    }
    assert shown["tensors"][1] == {
        "name": "blk.0.attn_q.weight",
        "format": "Q4_0",
        "shape": [2, 32],
        "dims_in_file": [32, 2],
        "file": "model.gguf",
        "offset": file.data_offset + 288,
        "bytes": 36,
    }
    assert shown["formats"]["Q8_0"] == {"tensors": 1, "weights": 256, "bytes": 272, "bpw": 8.5}
    assert (shown["weights"], shown["tensor_bytes"], shown["bpw"]) == (323, 320, 8 * 320 / 323)
    assert (
        json.loads(run("inspect", model, "--json", "--full").output)["metadata"]["tokenizer.ggml.tokens"]["value"][-1]
        == "<999>"
    )
    assert "tensors" not in json.loads(run("inspect", model, "--json", "--no-tensors").output)


def test_json_stays_json_with_odd_numbers_and_bytes(run, tmp_path):
    odd = {"nan": float("nan"), "inf": [float("inf"), -1.5], "bytes": "\udcff\x1b[31m", "big": 2**64 - 1}
    path = gguf.write(tmp_path / "odd.gguf", odd, {})
    output = run("inspect", path, "--json").output
    assert output.isascii()
    assert "\x1b" not in output
    values = {key: entry["value"] for key, entry in json.loads(output)["metadata"].items()}
    assert values == {"nan": "nan", "inf": ["inf", -1.5], "bytes": "\udcff\x1b[31m", "big": 2**64 - 1}
    assert json.loads(output)["bpw"] is None


def test_a_hostile_file_cannot_write_to_the_terminal(run, tmp_path):
    evil = "\x1b[2J\x07\r\n\x9b31m\u202e[bold red]"
    path = gguf.write(tmp_path / "evil.gguf", {f"k{evil}": evil, "many": [evil]}, {evil: np.zeros(3, np.float32)})
    output = run("inspect", path).output
    assert all(line.isprintable() for line in output.split("\n"))
    assert r"\x1b[2J\x07\r\n\x9b31m\u202e[bold red]" in output
    damaged = path.read_bytes()[:-25]
    path.write_bytes(damaged)
    assert refused(run("inspect", path)).isprintable()


def test_inspect_shows_every_part_of_a_split_model(run, tmp_path):
    for i, name in enumerate("ab"):
        split = {"split.no": gguf.U16(i), "split.count": gguf.U16(2), "split.tensors.count": gguf.I32(2)}
        gguf.write(tmp_path / f"m-0000{i + 1}-of-00002.gguf", split, {name: np.zeros(8, np.float32)})
    output = run("inspect", tmp_path / "m-00002-of-00002.gguf").output
    assert output.splitlines()[:2] == [str(tmp_path / f"m-0000{i}-of-00002.gguf") for i in (1, 2)]
    assert "all tensors" not in output  # one format: its row is the sum


def test_inspect_without_tensors(run, tmp_path):
    path = gguf.write(tmp_path / "vocabulary.gguf", {"k": 1}, {})
    result = run("inspect", path)
    assert result.exit_code == 0
    assert "header, padding" in result.output


def test_inspect_a_model_by_name(run, model, monkeypatch):
    assert "SmolLM2" in run("inspect", "smollm2-slices").output
    assert "no model" in refused(run("inspect", "smollm3"))
    monkeypatch.chdir(model.parent)
    assert run("inspect", "model.gguf").exit_code == 0


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"<html>", "it looks like a web page"),
        (b"GGUF\3\0\0\0", "the file ends inside the number of tensors at byte 8: found '0 bytes', expected 8 bytes"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(run, tmp_path, content, problem):
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    assert problem in refused(run("inspect", path))
    assert "no file" in refused(run("inspect", tmp_path / "absent.gguf"))
    assert "this is a folder" in refused(run("inspect", tmp_path / "."))


def test_usage_errors_are_clicks_own(run):
    assert run("inspect").exit_code == 2
    assert run("inspekt").exit_code == 2


# -- as a process


def start(*args: str, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "qviz", *args], **options)


def test_a_closed_pipe_is_not_an_error(model):
    many = {f"blk.{i}.w": np.zeros(1, np.float32) for i in range(5000)}
    path = gguf.write(model.with_name("many.gguf"), {}, many)
    process = start("inspect", str(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


def test_a_terminal_without_unicode_gets_escapes(model):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    process = start("inspect", str(model), stdout=subprocess.PIPE, env=environment)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert rb"4 \xd7 64" in output


@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "MODEL"]])
def test_what_the_commands_do_not_load(model, arguments):
    """Numba, plotly and the widgets take seconds; looking into a file must not wait for them."""
    code = (
        "import sys; from qviz.cli import main\n"
        f"main({[str(model) if a == 'MODEL' else a for a in arguments]!r}, standalone_mode=False)\n"
        "print([m for m in ('numba', 'plotly', 'ipywidgets', 'rich', 'scipy') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


# -- fetch


def test_fetch_prints_the_path_and_shows_progress(run, monkeypatch, tmp_path):
    seen = []

    def fetch(name, *, progress):
        seen.append(name)
        progress("downloading", 10, 100)
        progress("downloading", 100, 100)
        progress("unpacking", 5, None)
        return tmp_path / "it.gguf"

    monkeypatch.setattr(models, "fetch", fetch)
    result = run("fetch", "smollm2")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'it.gguf'}\n")
    assert "downloading" in result.stderr
    assert seen == ["smollm2"]


@pytest.mark.parametrize("error", [FetchError("the network is down"), ModelNotFoundError("no model 'x'")])
def test_fetch_refuses_in_one_line(run, monkeypatch, error):
    def fetch(name, *, progress):
        raise error

    monkeypatch.setattr(models, "fetch", fetch)
    result = run("fetch", "x")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"Error: {error}"


def test_fetch_verify_downloads_nothing(run, monkeypatch):
    monkeypatch.setattr(models, "fetch", None)
    result = run("fetch", "tiny", "--verify")
    assert (result.exit_code, result.stdout) == (0, f"{models.load('tiny').path}\n")
    assert "no model or file 'tyny'" in run("fetch", "tyny", "--verify").stderr


# -- lab and show


def test_the_scratch_folder_of_a_lesson_that_was_killed_goes_away(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = """
        import os, signal
        from qviz.cli.course import _scratch_folder
        with _scratch_folder() as folder:
            (folder / "progress.json").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, "TMPDIR": str(tmp_path)})
    assert len(list(tmp_path.iterdir())) == 1
    with course._scratch_folder() as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def lab(monkeypatch, run):
    """Runs `qviz lab` with a stand-in for JupyterLab; also what the stand-in was given."""
    served = []

    def main(arguments):
        folder = Path(os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0])
        served.append((arguments, json.loads((folder / "labconfig/default_setting_overrides.json").read_text())))
        raise SystemExit(7)

    monkeypatch.setattr("jupyterlab.labapp.main", main)
    monkeypatch.setattr(sys, "argv", ["qviz"])
    before = os.environ.get("JUPYTER_CONFIG_PATH")

    def start_lab(*args):
        served.clear()
        result = run("lab", *args)
        assert os.environ.get("JUPYTER_CONFIG_PATH") == before
        return result, *(served[0] if served else (None, None))

    return start_lab


@pytest.fixture
def installed(monkeypatch, tmp_path) -> Path:
    """An installation without a checkout around it; the folder with its lessons."""
    package = tmp_path / "site-packages" / "qviz"
    lessons = package / "_bundled" / "notebooks"
    for name in ("00_start_here.ipynb", "exercises/01.ipynb", ".ipynb_checkpoints/00.ipynb"):
        (lessons / name).parent.mkdir(parents=True, exist_ok=True)
        (lessons / name).write_text(f"lesson {name}")
    monkeypatch.setattr(course, "PACKAGE", package)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return lessons


def test_lab_opens_the_first_lesson_of_a_checkout(lab, monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_start_here.ipynb").touch()
    monkeypatch.setattr(course, "PACKAGE", tmp_path / "qviz")
    result, command, settings = lab("--no-browser", "--port=9999", "--", "--ServerApp.x=1")
    assert result.exit_code == 7  # Jupyter's own
    assert command[:2] == [
        f"--ServerApp.root_dir={tmp_path / 'notebooks'}",
        "--LabApp.default_url=/lab/tree/00_start_here.ipynb",
    ]
    assert command[-3:] == ["--no-browser", "--port=9999", "--ServerApp.x=1"]
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    assert settings["@jupyterlab/notebook-extension:tracker"]["codeCellConfig"]["lineWrap"], "lines are cut"


def test_lab_copies_the_lessons_and_keeps_what_is_there(lab, installed, tmp_path):
    result, command, _ = lab()
    course = tmp_path / "work" / "qviz-course"
    assert f"--ServerApp.root_dir={course}" in command
    assert sorted(p.relative_to(course).as_posix() for p in course.rglob("*") if p.is_file()) == [
        "00_start_here.ipynb",
        "exercises/01.ipynb",
    ]
    assert "2 files copied, 0 of yours kept" in result.stderr
    (course / "00_start_here.ipynb").write_text("my own work")
    (course / "exercises" / "01.ipynb").unlink()
    result, _, _ = lab()
    assert "1 files copied, 1 of yours kept" in result.stderr
    assert (course / "00_start_here.ipynb").read_text() == "my own work"


def test_lab_says_why_it_cannot_copy(lab, installed, tmp_path):
    (tmp_path / "work" / "qviz-course").write_text("a file in the way")
    result, command, _ = lab()
    assert "the lessons cannot be copied here" in refused(result)
    assert command is None


def test_lab_without_lessons_says_so(lab, installed):
    (installed / "00_start_here.ipynb").unlink()
    result, command, _ = lab()
    assert "the course is not part of this installation" in refused(result)
    assert command is None
