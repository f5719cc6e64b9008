"""What stands around the code: commands, Binder, the continuous check."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins():
    lines = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert "-e ." in lines
    found = [Requirement(line) for line in lines if line and line[0] not in "#-"]
    return {canonicalize_name(r.name): str(r.specifier) for r in found}


def test_binder_pins_what_the_project_asks_for():
    pinned = pins()
    for dependency in map(Requirement, PROJECT["dependencies"]):
        version = pinned[canonicalize_name(dependency.name)].removeprefix("==")
        assert dependency.specifier.contains(version), (
            f"binder pins {dependency.name} {version}, {dependency} is asked for"
        )


def test_binder_runs_a_python_that_the_project_supports():
    version = (ROOT / "binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version)


@pytest.mark.parametrize("script", ["binder/postBuild", "binder/start", ".ci/run"])
def test_scripts_are_executable_and_parse(script):
    assert os.access(ROOT / script, os.X_OK)
    assert (ROOT / script).read_bytes().startswith(b"#!")
    subprocess.run(["bash", "-n", ROOT / script], check=True)


def test_binder_start_runs_what_it_is_given(tmp_path):
    command = [ROOT / "binder" / "start", "sh", "-c", "echo ${NUMBA_CPU_NAME:-none}; exit 7"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    expected = "x86-64-v3" if os.uname().machine == "x86_64" else "none"
    assert (result.stdout.strip(), result.returncode) == (expected, 7)


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with the Makefile, and commands that only say that they were called."""
    if not shutil.which("make"):
        pytest.skip("there is no make here")
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "qviz").mkdir()
    (tmp_path / "qviz" / "__init__.py").write_text("")
    fake = tmp_path / "python"
    fake.write_text(
        "#!/bin/sh\n"
        'echo "ran: $*" >&2\n'
        'case "$*" in\n'
        '  "-m venv .venv") mkdir -p .venv/bin; for name in python qviz ruff mypy; do cp "$0" .venv/bin/$name; done;;\n'
        '  "-m pip --version") [ -d .venv ];;\n'
        "esac\n"
    )
    fake.chmod(0o755)

    def make(*arguments, python=fake):
        environment = {**os.environ, "PYTHON": str(python), "MAKEFLAGS": "", "NPM": ""}
        return subprocess.run(
            ["make", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )

    make.folder = tmp_path
    return make


@pytest.mark.parametrize(
    ("target", "installs", "runs"),
    [
        ("lab", "--editable .\n", "ran: lab"),
        ("test", "--editable .[dev]", "ran: tests/stages.py\n"),
        ("check", "--editable .[dev]", "ran: tests/stages.py quick"),
        ("test-machines", "--editable .[dev]", "ran: tests/machines.py"),
        ("lint", "--editable .[dev]", "ran: format --check"),
        ("notebooks", "--editable .[dev]", "ran: notebooks/build.py"),
        ("exercises", "--editable .[grade]", "ran: notebooks/exercises/release.py"),
    ],
)
def test_each_command_alone_makes_what_it_needs_once(elsewhere, target, installs, runs):
    first = elsewhere(target)
    assert first.returncode == 0, first.stderr
    assert "-m venv .venv" in first.stderr
    assert installs in first.stderr
    assert runs in first.stderr
    again = elsewhere(target)
    assert runs in again.stderr
    assert "venv" not in again.stderr.replace(str(elsewhere.folder), "")
    assert "install" not in again.stderr
    os.utime(elsewhere.folder / "pyproject.toml", (2**32, 2**32))  # a new dependency, say
    assert installs in elsewhere(target).stderr


def test_the_tests_bring_the_lab(elsewhere):
    elsewhere("test")
    assert "install" not in elsewhere("lab").stderr


def test_an_interrupted_installation_is_taken_up_again(elsewhere):
    fake = elsewhere.folder / "python"
    works = fake.read_text()
    fake.write_text(works.replace("esac", '  *"pip install"*) exit 130;;\nesac'))
    assert elsewhere("lab").returncode != 0
    (elsewhere.folder / ".venv" / "bin" / "python").write_text(works)
    result = elsewhere("lab")
    assert result.returncode == 0
    assert "install" in result.stderr


def test_an_old_python_is_refused_in_words(elsewhere):
    old = elsewhere.folder / "python2"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo Python 3.8.1; exit; }\nexit 1\n')
    old.chmod(0o755)
    result = elsewhere("lab", python=old)
    assert result.returncode != 0
    assert "qviz needs Python 3.11 or newer; " in result.stdout
    assert "Python 3.8.1" in result.stdout


def test_a_python_without_venv_says_what_to_install(elsewhere):
    fake = elsewhere.folder / "python"
    fake.write_text('#!/bin/sh\n[ "$2" = venv ] && exit 1\nexit 0\n')
    result = elsewhere("lab")
    assert result.returncode != 0
    assert "sudo apt install python3-venv" in result.stdout


def test_the_changelog_knows_this_version_or_is_ahead_of_it():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[(Unreleased|{re.escape(PROJECT['version'])})\]", changelog, re.MULTILINE)


def test_licences_travel_with_what_they_cover():
    for pattern in PROJECT["license-files"]:
        assert list(ROOT.glob(pattern)), f"{pattern} matches nothing"
    for path in (ROOT / "data").glob("*.gguf"):
        assert path.name in (ROOT / "data" / "PROVENANCE.md").read_text(encoding="utf-8")


CULLING = """
from jupyter_server.serverapp import ServerApp
app = ServerApp()
app.load_config_file()
print(app.config.MappingKernelManager.get("cull_idle_timeout", 0))
"""


def test_binder_shuts_idle_kernels_down_and_make_lab_does_not(tmp_path):
    env = {key: value for key, value in os.environ.items() if not key.startswith("JUPYTER")}
    env["JUPYTER_CONFIG_DIR"] = str(tmp_path)
    command = [sys.executable, "-c", CULLING]
    for start, seconds in (([str(ROOT / "binder" / "start")], 1200), ([], 0)):
        done = subprocess.run([*start, *command], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        assert int(done.stdout) == seconds
