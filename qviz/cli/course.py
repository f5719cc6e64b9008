"""``qviz lab``, ``qviz show``: the course in JupyterLab, and a lesson on a projector."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from qviz.errors import QvizError

FIRST_LESSON = "00_start_here.ipynb"
COURSE_FOLDER = "qviz-course"
PACKAGE = Path(__file__).resolve().parent.parent


@click.command(short_help="Open the course in JupyterLab.", context_settings={"ignore_unknown_options": True})
@click.argument("jupyter_args", nargs=-1, type=click.UNPROCESSED)
def lab(jupyter_args: tuple[str, ...]) -> None:
    """Open the course in JupyterLab; further arguments go to `jupyter lab`.

    From a checkout, its notebooks are opened where they are. Otherwise they are copied to ./qviz-course first; a file
    that is already there is never overwritten.
    """
    lessons = _lessons()
    command = [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={lessons}",
        f"--LabApp.default_url=/lab/tree/{FIRST_LESSON}",
        # in a container everybody is root, and Jupyter would refuse to start
        *(["--allow-root"] if os.name == "posix" and os.geteuid() == 0 else []),
        *jupyter_args,
    ]
    with (
        tempfile.TemporaryDirectory(prefix="qviz-") as config,
        subprocess.Popen(command, env=_lab_environment(Path(config))) as server,
    ):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is Jupyter's to answer
        sys.exit(server.wait())


@click.command(
    short_help="Show one lesson as a page, for a projector.", context_settings={"ignore_unknown_options": True}
)
@click.argument("lesson")
@click.option("--code", is_flag=True, help="Show the cells' code, too.")
@click.option("--locked", is_flag=True, help="Explorers wait for a prediction, as they do for students.")
@click.argument("voila_args", nargs=-1, type=click.UNPROCESSED)
def show(lesson: str, code: bool, locked: bool, voila_args: tuple[str, ...]) -> None:
    """Show LESSON, such as 05, as a page without editor: prose, pictures and controls that work.

    Voilà serves it; further arguments go there, such as --no-browser or --port=8866. Nothing is fetched from a network.
    """
    if importlib.util.find_spec("voila") is None:
        raise QvizError("Voilà is missing; run: pip install 'qviz-toolkit[show]'")
    found = sorted(_lessons().glob("[0-9]*.ipynb"))
    chosen = [path for path in found if path.name.startswith(Path(lesson).name)]
    if len(chosen) != 1:
        raise QvizError(f"no lesson {lesson!r}; there are {', '.join(path.stem for path in found)}")
    command = [
        *(sys.executable, "-m", "voila", str(chosen[0]), "--template=qviz", f"--strip_sources={not code}"),
        *voila_args,
    ]
    with tempfile.TemporaryDirectory(prefix="qviz-") as scratch:
        templates = PACKAGE / "lesson" / "static"
        environment = {
            **os.environ,
            "JUPYTER_PATH": os.pathsep.join(filter(None, [str(templates), os.environ.get("JUPYTER_PATH", "")])),
            "QVIZ_UNLOCKED": "" if locked else "1",
            "QVIZ_PROGRESS": str(Path(scratch) / "progress.json"),  # what a class answers is not the teacher's progress
        }
        with subprocess.Popen(command, env=environment) as server:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is Voilà's to answer
            sys.exit(server.wait())


def _lab_environment(config: Path) -> dict[str, str]:
    """No question about news over the first lesson: a default, which the user's own settings still override."""
    defaults = config / "labconfig" / "default_setting_overrides.json"
    defaults.parent.mkdir()
    news = {"fetchNews": "false", "checkForUpdates": False}
    defaults.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": news}))
    # a teacher's tools, if they are installed, would only confuse a student: `jupyter lab` still shows them
    (defaults.parent / "page_config.json").write_text(json.dumps({"disabledExtensions": {"@jupyter/nbgrader": True}}))
    paths = [str(config), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    return {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, paths))}


def _lessons() -> Path:
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "notebooks" / FIRST_LESSON).is_file():
        return checkout / "notebooks"
    bundled = PACKAGE / "_bundled" / "notebooks"
    if not (bundled / FIRST_LESSON).is_file():
        raise QvizError(
            f"the course is not part of this installation: {bundled / FIRST_LESSON} is missing; "
            f"install qviz-toolkit again"
        )
    target = Path.cwd() / COURSE_FOLDER
    added, kept = copy_lessons(bundled, target)
    click.echo(f"{target}: {added} files copied, {kept} of yours kept", err=True)
    return target


def copy_lessons(source: Path, target: Path) -> tuple[int, int]:
    """Copy a folder, leaving every file that exists already as it is.

    Parameters
    ----------
    source, target : pathlib.Path

    Returns
    -------
    added, kept : int
        Files copied, and files left alone.

    Raises
    ------
    QvizError
        If something cannot be written.
    """
    added = kept = 0
    try:
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            to = target / file.relative_to(source)
            if any(part.startswith((".", "__")) for part in to.relative_to(target).parts):
                continue  # checkpoints and caches
            if os.path.lexists(to):
                kept += 1
                continue
            to.parent.mkdir(parents=True, exist_ok=True)
            scratch = to.with_name(f".{to.name}.tmp")  # an interrupted copy must not pass for the student's own file
            shutil.copyfile(file, scratch)
            scratch.replace(to)
            added += 1
    except OSError as error:
        raise QvizError(f"{target}: the lessons cannot be copied here: {error.strerror or error}") from None
    return added, kept
