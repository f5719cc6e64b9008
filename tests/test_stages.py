"""`make test` runs every stage whatever fails, says so, and does not mind how it was started."""

import subprocess
import sys
from pathlib import Path

import pytest
import stages


def test_the_stages_leave_nothing_out():
    browser = [arguments for arguments in stages.STAGES.values() if "browser" in arguments]
    rest = [arguments for arguments in stages.STAGES.values() if "not browser" in arguments]
    assert len(browser) == 1
    assert len(rest) == 1
    assert any("--nbval" in arguments for arguments in stages.STAGES.values())


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


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_started_in_the_background_interrupts_still_arrive():
    code = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); runpy.run_path('conftest.py');"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert run.stdout == "True\n", run.stderr
