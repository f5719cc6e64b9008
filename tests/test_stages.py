"""`make test` runs every stage whatever fails, says so, and does not mind how it was started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import scheduling
import stages


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("tests/formats/test_golden.py::test_x[Q4_0]", "formats"),
        ("tests/test_doctests.py::test_examples[qviz.formats.base]", "formats"),
        ("tests/test_doctests.py::test_examples[qviz.gguf]", "tests/test_doctests.py"),
        ("tests/browser/test_stills.py::test_x", "tests/browser/test_stills.py"),
        *(
            (f"tests/browser/test_lessons_in_lab.py::test_a_lesson_runs[{lesson}]", "lessons that measure whole models")
            for lesson in ("10_whole_model", "11_capstone")
        ),
        ("tests/browser/test_lessons_in_lab.py::test_y[00]", "tests/browser/test_lessons_in_lab.py::test_y[00]"),
    ],
)
def test_what_one_process_runs(nodeid, scope):
    assert scheduling.Together._split_scope(None, nodeid) == scope


def test_the_stages_leave_nothing_out():
    browser = [arguments for arguments in stages.STAGES.values() if "tests/browser" in arguments]
    rest = [arguments for arguments in stages.STAGES.values() if "--ignore=tests/browser" in arguments]
    assert len(browser) == 1
    assert len(rest) == 1
    assert "-m" not in rest[0]
    assert any("--nbval" in arguments for arguments in stages.STAGES.values())


def test_what_needs_a_browser_is_in_its_room():
    here = Path(__file__).parent
    mark = "mark." + "browser"
    assert not [path for path in here.rglob("*.py") if mark in path.read_text(encoding="utf-8")]


def test_one_that_fails_stops_no_other(monkeypatch, capfd):
    monkeypatch.setattr(stages, "STAGES", {"first": ("--nonsense",), "second": ("--version",), "third": ("--version",)})
    assert stages.main([]) == 4
    lines = capfd.readouterr().out.splitlines()
    table = lines[lines.index(f"{'stage':<10}{'result':<12}{'seconds':>8}") + 1 :]
    assert [line.split()[:2] for line in table[:3]] == [["first", "failed"], ["second", "passed"], ["third", "passed"]]
    assert table[-1] == f"pytest {pytest.__version__}", "what pytest said last stands last"
    assert stages.main(["second"]) == 0


def test_an_unknown_stage_is_named(capsys):
    assert stages.main(["second"]) == 2
    assert "no stage 'second'; there are tests, browser, lessons, quick" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_started_in_the_background_children_hear_signals():
    """As after ``nohup make test &``: what a test starts has the defaults, what runs the tests outlives a hang-up."""
    child = "import signal as s; print(*(s.getsignal(n) is not s.SIG_IGN for n in (s.SIGINT, s.SIGHUP)))"
    code = (
        "import os, runpy, signal as s, subprocess, sys\n"
        "for name in (s.SIGINT, s.SIGHUP): s.signal(name, s.SIG_IGN)\n"
        "runpy.run_path('conftest.py')\n"
        "os.kill(os.getpid(), s.SIGHUP)\n"
        f"subprocess.run([sys.executable, '-c', {child!r}])\n"
    )
    without = {name: value for name, value in os.environ.items() if name != "QVIZ_TESTS_IGNORE_HANGUP"}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=without, capture_output=True, text=True
    )
    assert (run.stdout, run.returncode) == ("True True\n", 0), run.stderr


def test_what_is_called_slow_is_there():
    here = Path(__file__).parent
    for file, names in stages.SLOW.items():
        text = (here / file).read_text(encoding="utf-8")
        assert all(name in text for name in names), f"{file} has no longer all of {names}"
