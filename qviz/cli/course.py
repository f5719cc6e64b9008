"""``qviz lab``, ``qviz show``: the course in JupyterLab, and a lesson on a projector."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from qviz.errors import QvizError, shortened

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
    arguments = [
        f"--ServerApp.root_dir={_lessons()}",
        f"--LabApp.default_url=/lab/tree/{FIRST_LESSON}",
        # in a container everybody is root, and Jupyter would refuse to start
        *(["--allow-root"] if os.name == "posix" and os.geteuid() == 0 else []),
        *jupyter_args,
    ]
    # No question about news over the first lesson, and no teacher's tools, which would only confuse a student:
    # defaults, which the user's own settings override, and `jupyter lab` does not see.
    # Nor does a kernel's message wait on its way to the page: see prompt.py.
    with _environment(JUPYTER_CONFIG_PATH=_before("JUPYTER_CONFIG_PATH", Path(__file__).parent / "static")):
        _serve("jupyterlab.labapp", arguments)


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
    lessons = sorted(_lessons().glob("[0-9]*.ipynb"))
    chosen = [path for path in lessons if path.name.startswith(Path(lesson).name)]
    if len(chosen) != 1:
        raise QvizError(f"no lesson {shortened(lesson)}; there are {', '.join(path.stem for path in lessons)}")
    arguments = [
        *(str(chosen[0]), "--template=qviz", f"--strip_sources={not code}"),
        "--Voila.kernel_websocket_connection_class=qviz.cli.prompt.PromptConnection",
        *voila_args,
    ]
    with (
        _scratch_folder() as scratch,
        _environment(
            JUPYTER_PATH=_before("JUPYTER_PATH", PACKAGE / "course" / "lesson" / "static"),
            QVIZ_UNLOCKED="" if locked else "1",
            QVIZ_PROGRESS=str(scratch / "progress.json"),  # what a class answers is not the teacher's progress
        ),
    ):
        _serve("voila.app", [f"--Voila.connection_dir_root={scratch}", *arguments])


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """A folder that goes away with this process; what killed ones have left is removed first."""
    from qviz._files import scratch

    parent = Path(tempfile.gettempdir())
    scratch.sweep(parent)
    folder = scratch.scratch_path(parent / "show")
    folder.mkdir(mode=0o700)
    try:
        with scratch.held(folder):
            yield folder
    finally:
        scratch.remove(folder)


def _serve(module: str, arguments: list[str]) -> None:
    """Be the server, rather than start one: whatever ends this process, politely or not, ends the server.

    The server answers SIGTERM by shutting its kernels down. SIGHUP gets the same answer, and so does SIGINT where
    nobody sits at a terminal to be asked; kernels see by themselves that a killed server is gone.
    """
    application = importlib.import_module(module)

    def stop(number: int, frame: Any) -> None:
        answer = signal.getsignal(signal.SIGTERM)
        assert callable(answer)  # the server's own; until there is one, that of every command
        answer(signal.SIGTERM, frame)

    for name in ("SIGHUP", *([] if sys.stdin is not None and sys.stdin.isatty() else ["SIGINT"])):
        if (number := getattr(signal, name, None)) is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    sys.argv[1:] = arguments  # some extensions look there
    application.main(arguments)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _before(variable: str, folder: Path) -> str:
    """A search path that looks into `folder` first."""
    return os.pathsep.join(filter(None, [str(folder), os.environ.get(variable)]))


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
