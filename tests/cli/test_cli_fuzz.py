"""Command lines with wrong values in every place: each is refused in words. `QVIZ_FUZZ=5000` tries so many."""

import contextlib
import os
import random
import signal
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from qviz import cli

COUNT = int(os.environ.get("QVIZ_FUZZ", "60"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Files and names as they are found in the world, none of which is a model."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "empty").touch()
    (folder / "empty.gguf").touch()
    (folder / "binary").write_bytes(random.Random(0).randbytes(5000))
    (folder / "short.gguf").write_bytes(b"GGUF\3\0\0\0")
    (folder / "latin1.txt").write_bytes("Grüße aus Köln. ".encode("latin-1") * 50)
    (folder / "null.txt").write_bytes(b"\0" * 5000)
    (folder / "folder").mkdir()
    (folder / "folder.gguf").mkdir()
    (folder / "hf").mkdir()
    (folder / "hf/config.json").write_text("[1, 2")
    (folder / "a\nb\x1b[31m.gguf").write_bytes(b"not GGUF")
    (folder / "text").write_text("Call me Ishmael. " * 10)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "dangling.gguf").symlink_to(folder / "nowhere")
    with contextlib.suppress(OSError):
        (folder / os.fsdecode(b"\xff\xfe.gguf")).write_bytes(b"x")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")
        os.mkfifo(folder / "pipe.gguf")
    unreadable = folder / "unreadable.gguf"
    unreadable.write_bytes(b"GGUF")
    unreadable.chmod(0)
    with socket.socket(socket.AF_UNIX) as listening, contextlib.suppress(OSError):  # too long a path
        listening.bind(str(folder / "socket"))
    return folder


WORDS = [
    *("", " ", "-", "--", ".", "..", "tyny", "nan", "inf", "-1", "0", "3", "4", "1e400", "9" * 400, "x" * 5000, "٣"),
    *("\x1b[31mred", "a\nb", "😀", "\udcff", "tcp://127.0.0.1:9"),
    *("Q4_K", "Q4_K_M", "tiny", "smollm2-slices", "uniform", "rtn", "gptq", "awq"),
]
DEVICES = ["/dev/zero", "/dev/full", "/dev/null", "/dev/stdin", "/proc/self/mem", "/"]
SERVERS = ("lab", "show")


def command_line(rng, odd, out):
    """A command with something odd in most places, and nothing that takes long."""
    name = rng.choice([name for name in cli.main.commands if name not in SERVERS])
    params = cli.main.commands[name].params
    places = [param for param in params if param.param_type_name == "argument"]
    options = [param for param in params if param.param_type_name == "option"]
    found = [*map(str, odd.iterdir()), str(odd / "hf/config.json/x"), str(odd / "no/where.gguf")]
    anything = [*found, *WORDS, *(name for name in DEVICES if Path(name).exists())]
    values = [rng.choice(anything) for _ in places]
    if rng.random() < 0.5:
        values[0] = "tiny"
    # where a file may be written
    for i in (i for i, place in enumerate(places) if place.name in ("target", "prefix")):
        values[i] = rng.choice([str(out / "new.gguf"), rng.choice([*found, *WORDS])])
    if places[-1].required is False and rng.random() < 0.4:
        values.pop()
    chosen = rng.sample(options, rng.randrange(min(4, len(options) + 1)))
    line = [o.opts[0] if o.is_flag else f"{o.opts[0]}={rng.choice(anything)}" for o in chosen]
    always = {
        "quantize": ["--dry-run"] * (rng.random() < 0.9),
        "perplexity": ["--max-tokens=1"],
        "compare": ["--max-tokens=1"],
        "generate": ["--max-tokens=1"],
        "imatrix": ["--chunks=1"],
        "edit": [f"--out={out / 'new.gguf'}"],  # not the model itself
        "fetch": ["--verify"],
    }
    return [name, *values, *line, *always.get(name, [])]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="a hang could not be told")
def test_no_command_line_crashes_or_hangs(odd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class HangError(BaseException):
        pass

    def hang(*_):
        raise HangError

    before = signal.signal(signal.SIGALRM, hang)
    known = {path: path.lstat().st_size for path in odd.rglob("*")}
    rng = random.Random(7)
    try:
        for case in range(COUNT):
            line = command_line(rng, odd, tmp_path)
            signal.alarm(600)  # for what takes milliseconds
            result = CliRunner().invoke(cli.main, line)
            signal.alarm(0)
            assert result.exception is None or isinstance(result.exception, SystemExit), (case, line, result.exc_info)
            assert result.exit_code in (0, 2), (case, line, result.output)
            assert "\x1b" not in result.output, (case, line)
            assert all(c.isprintable() or c == "\n" for c in result.stderr), (case, line, result.stderr)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert {path: path.lstat().st_size for path in known if os.path.lexists(path)} == known
