"""How commands end: interrupted, on a full disk, without anybody who reads."""

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest
from click.testing import CliRunner

from qviz import cli, models


@pytest.fixture
def run():
    return lambda *args: CliRunner().invoke(cli.main, [str(arg) for arg in args])


COMMANDS = [
    ("inspect", "tiny"),
    ("quantize", "tiny", "out.gguf", "Q4_0"),
    ("quantize", "tiny", "out", "--method", "rtn"),
    ("perplexity", "tiny"),
    ("convert", "tiny", "out.gguf"),
]


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), 2, "Error: /x: Read-only file system; choose a folder"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "Error: No space left on device; free some space"),
        (MemoryError(), 2, "Error: this needs more memory than there is"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command))
def test_what_happens_outside_is_one_line(run, monkeypatch, tmp_path, command, problem, code, said):
    def load(name, **options):
        raise problem

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "load", load)
    result = run(*command)
    assert result.exit_code == code
    (line,) = result.output.splitlines()
    assert line.startswith(said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_where_it_is_unless_it_is_ignored(run, monkeypatch, name):
    number = getattr(signal, name)
    cleaned = []

    def load(given, **options):
        try:
            signal.raise_signal(number)
            return heard[0](given)
        finally:
            cleaned.append(number)

    heard = [models.load]
    monkeypatch.setattr(models, "load", load)
    result = run("inspect", "tiny")
    assert (result.exit_code, result.output) == (128 + number, f"ended by {name}\n")
    assert cleaned == [number]
    before = signal.signal(number, signal.SIG_IGN)  # as nohup does
    try:
        assert run("inspect", "tiny").exit_code == 0
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def process(*args, code="from qviz.cli import main; main()", **options):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **options)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = process("inspect", "tiny", stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: standard output: No space left on device")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("quantize", "tiny", "out.gguf", "Q4_0"), 0),  # bars, and a line at the end
        (("inspect", "nothing-here"), 2),
        (("inspect", "tiny", "--no-such-option"), 2),
    ],
)
def test_messages_that_cannot_be_written_change_nothing(arguments, code, tmp_path):
    command = [sys.executable, "-c", "from qviz.cli import main; main()", *arguments]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, check=False, cwd=tmp_path)
    assert done.returncode == code
    assert [path.name for path in tmp_path.iterdir()] == (["out.gguf"] if code == 0 else [])


@pytest.mark.skipif(os.name != "posix", reason="descriptors")
@pytest.mark.parametrize("arguments", [("inspect", "tiny"), ("quantize", "tiny", "out.gguf", "Q4_0", "--dry-run")])
def test_nobody_reads_the_output(arguments, tmp_path):
    done = process(*arguments, preexec_fn=lambda: os.close(1), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of a file stand in for a full disk")
@pytest.mark.parametrize("arguments", [("out.gguf", "Q8_0"), ("out", "--method", "rtn")])
def test_a_full_disk_leaves_nothing(arguments, tmp_path):
    code = f"""
        import sys
        from qviz.cli import main
        from qviz import models
        import resource
        load = models.load
        def then_full(name, **options):
            resource.setrlimit(resource.RLIMIT_FSIZE, ({1 << 16}, {1 << 16}))
            return load(name, **options)
        models.load = then_full
        main()
    """
    done = process("quantize", "tiny", *arguments, code=code, cwd=tmp_path)
    assert done.returncode == 2
    assert "Error: " in done.stderr.splitlines()[-1]
    assert "File too large" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1 << 16  # only of the process


SERVER = """
    import signal, sys, time, types
    from qviz.cli import main
    def serve(arguments):
        if "--answers" in arguments:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit("the server shut its kernels down"))
        print("serving", flush=True)
        while True:
            time.sleep(0.05)
    # stands in for JupyterLab, which takes seconds to load
    sys.modules |= {"jupyterlab": types.ModuleType("jupyterlab"), "jupyterlab.labapp": types.ModuleType("labapp")}
    sys.modules["jupyterlab.labapp"].main = serve
    if "--ignored" in sys.argv:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("arguments", "sent", "said"),
    [
        (["--answers"], ["SIGTERM"], "the server shut its kernels down"),
        (["--answers"], ["SIGHUP"], "the server shut its kernels down"),
        (["--answers"], ["SIGINT"], "the server shut its kernels down"),  # nobody sits at a terminal
        (["--answers", "--ignored"], ["SIGINT", "SIGTERM"], "the server shut its kernels down"),
        ([], ["SIGTERM"], "ended by SIGTERM"),  # the server has not come so far yet
        ([], ["SIGHUP"], "ended by SIGTERM"),
    ],
)
def test_a_server_ends_with_the_command(arguments, sent, said, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(SERVER), "lab", *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as server:
        assert server.stdout.readline() == "serving\n"
        for name in sent:
            server.send_signal(getattr(signal, name))
        _, stderr = server.communicate()
    assert stderr.splitlines() == [said]
