"""`qviz show`: which server it becomes; what that shows is for tests/browser/test_show_in_voila.py."""

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from qviz import cli
from qviz.cli import course

NOTEBOOKS = Path(cli.__file__).resolve().parents[2] / "notebooks"


@pytest.fixture
def show(monkeypatch):
    started = []

    def serve(module, arguments):
        env = dict(os.environ)
        started.append(([module, *arguments], env, Path(env["QVIZ_PROGRESS"]).parent.is_dir()))
        sys.exit(7)

    monkeypatch.setattr(course, "_serve", serve)

    def run(*arguments):
        started.clear()
        result = CliRunner().invoke(cli.main, ["show", *arguments])
        return result, *(started[0] if started else (None, None, None))

    return run


def test_show_serves_one_lesson_with_open_explorers(show):
    result, command, env, scratch = show("05", "--no-browser", "--port=9")
    assert result.exit_code == 7  # Voilà's own
    folder = Path(env["QVIZ_PROGRESS"]).parent
    assert command[:3] == ["voila.app", f"--Voila.connection_dir_root={folder}", str(NOTEBOOKS / "05_k_quants.ipynb")]
    prompt = "--Voila.kernel_websocket_connection_class=qviz.cli.prompt.PromptConnection"
    assert command[3:] == ["--template=qviz", "--strip_sources=True", prompt, "--no-browser", "--port=9"]
    assert not folder.exists(), "its scratch folder outlives the server"
    assert env["QVIZ_UNLOCKED"] == "1"
    assert scratch, "the class's answers need a file of their own"
    templates = Path(env["JUPYTER_PATH"].split(":")[0]) / "voila" / "templates" / "qviz"
    assert {path.name for path in templates.iterdir()} == {"conf.json", "index.html.j2"}


def test_show_with_code_and_locks(show):
    _, command, env, _ = show("--code", "--locked", "notebooks/05_k_quants.ipynb")
    assert "--strip_sources=False" in command
    assert env["QVIZ_UNLOCKED"] == ""


@pytest.mark.parametrize("name", ["99", "0"])
def test_show_refuses_what_is_not_one_lesson(show, name):
    result, command, _, _ = show(name)
    assert (result.exit_code, command) == (2, None)
    assert f"no lesson '{name}'; there are 00_start_here, " in result.output


def test_show_without_voila_says_what_to_install(show, monkeypatch):
    monkeypatch.setattr(course.importlib.util, "find_spec", lambda name: None)
    result, command, _, _ = show("05")
    assert (result.exit_code, command) == (2, None)
    assert "qviz-toolkit[show]" in result.output
