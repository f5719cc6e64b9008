"""``qviz split``, ``qviz merge``, ``qviz edit``, and ``qviz inspect`` of an address."""

import json
import socket

import numpy as np
import pytest
from click.testing import CliRunner

from qviz import cli, gguf


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(cli.main, [str(arg) for arg in args])


@pytest.fixture
def path(tmp_path):
    tensors = {name: np.zeros(n, np.float32) for name, n in {"a": 256, "b": 1024, "c": 256}.items()}
    metadata = {"general.architecture": "llama", "general.name": "x", "a.u8": gguf.U8(3)}
    return gguf.write(tmp_path / "m.gguf", metadata, tensors)


def test_split_and_merge(run, path, tmp_path):
    dry = run("split", "m.gguf", "part", "--max-size", "2K", "--dry-run")
    assert [line.split()[0] for line in dry.stdout.splitlines()] == [f"part-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert "part-00002-of-00003.gguf: b alone takes 4,096 bytes" in dry.stderr
    assert list(tmp_path.iterdir()) == [path]
    result = run("split", "m.gguf", "part", "--max-size", "2K")
    assert (result.exit_code, result.stdout.split()) == (0, [f"part-0000{i}-of-00003.gguf" for i in (1, 2, 3)])
    merged = run("merge", "part-00001-of-00003.gguf", "again.gguf")
    assert (merged.exit_code, merged.stdout) == (0, "again.gguf\n")
    assert (tmp_path / "again.gguf").read_bytes() == path.read_bytes()
    again = run("merge", "part-00001-of-00003.gguf", "again.gguf")
    assert (again.exit_code, "exists already" in again.output) == (2, True)
    assert run("merge", "part-00001-of-00003.gguf", "kept.gguf", "--keep-split-keys").exit_code == 0
    assert gguf.read("kept.gguf").metadata["split.count"] == 0
    assert run("split", "m.gguf", "one", "--no-tensor-first-split").stdout.split()[-1] == "one-00002-of-00002.gguf"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-size", "2X"), "'2X' is no size; write bytes, or 500K, 120M, 2G"),
        (("--max-size", "0"), "is no size"),
        (("--max-size", "1K", "--max-tensors", "2"), "two ways to cut; give one of them"),
        (("--max-tensors", "0"), "0 is not in the range"),
        (("--max-size", "100"), "the first tensor, 'a', takes more than a part may have"),
    ],
)
def test_split_refuses(run, path, options, said):
    result = run("split", "m.gguf", "part", *options)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_edit(run, path, tmp_path):
    (tmp_path / "chat.jinja").write_text("{{ bos_token }}")
    result = run(
        *("edit", "m.gguf", "--set", "general.name=a=b", "--set", "a.u8=4", "--set", "new=true", "--remove"),
        *("general.architecture", "--chat-template", "chat.jinja"),
    )
    assert (result.exit_code, result.stdout) == (0, "m.gguf\n")
    assert result.stderr.splitlines() == [
        "general.architecture (str): llama removed",
        "general.name (str): x → a=b",
        "a.u8 (u8): 3 → 4",
        "new (bool): True",
        "tokenizer.chat_template (str): {{ bos_token }}",
    ]
    metadata = gguf.read(path).metadata
    assert dict(metadata) == {
        "general.name": "a=b", "a.u8": 4, "new": True, "tokenizer.chat_template": "{{ bos_token }}"
    }  # fmt: skip
    shown = run("edit", "m.gguf", "--set", "n=7", "--type", "i64", "--out", "copy.gguf", "--json")
    assert json.loads(shown.stdout) == [{"key": "n", "type": "i64", "before": None, "after": 7}]
    assert gguf.read("copy.gguf").metadata.types["n"] == "i64"
    assert "nothing is different" in run("edit", "m.gguf", "--set", "new=true").stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing to change; give --set KEY=VALUE, --remove KEY or --chat-template FILE"),
        (("--set", "a"), "--set a: write KEY=VALUE"),
        (("--set", "=a"), "write KEY=VALUE"),
        (("--set", "a=1", "--set", "a=2"), "--set a is given twice"),
        (("--set", "a.u8=many"), "--set a.u8: this is not a u8: found 'many'"),
        (("--set", "a=1", "--type", "u9"), "no such type: found 'u9'"),
        (("--remove", "a", "--type", "u8"), "--type is for --set"),
        (("--remove", "a.u9"), "no metadata key 'a.u9' to remove; close: 'a.u8'"),
        (("--chat-template", "none"), "none: the text cannot be read"),
    ],
)
def test_edit_refuses(run, path, options, said):
    before = path.read_bytes()
    result = run("edit", "m.gguf", *options)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert path.read_bytes() == before


def test_inspect_asks_the_server(run, monkeypatch):
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        result = run("inspect", f"http://127.0.0.1:{nobody.getsockname()[1]}/m.gguf")
    assert result.exit_code == 2
    assert "cannot be reached" in result.output
    assert len(result.output.splitlines()) == 1
