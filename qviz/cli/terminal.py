"""What commands share at the terminal: texts read and printed, bars of progress, a polite end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from qviz.errors import QvizError


def echo(text: str) -> None:
    """Print; a console that cannot show × or Ġ gets an escape, not an exception."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def read_text(path: str) -> str:
    """A text in UTF-8, whole."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise QvizError(f"{path}: the text cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise QvizError(f"{path}: byte {error.start} is no UTF-8; save the text as UTF-8 first") from None


def bars_of(bars: Any) -> Callable[[str, int, int | None], None]:
    """A callback ``(stage, done, total)`` that keeps one bar for each stage."""
    tasks: dict[str, Any] = {}

    def update(stage: str, done: int, total: int | None) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done, total=total)

    return update


def with_bar(work: Callable[[Any], Any]) -> Any:
    """Run a job that reports ``(what, done, total)``; a polite kill cleans up as Ctrl-C does."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True)) as bar, polite_kill():
        task = bar.add_task("", total=None)
        return work(lambda what, done, total: bar.update(task, completed=done, total=total, description=what))


@contextmanager
def polite_kill() -> Iterator[None]:
    """While entered, SIGTERM ends the program as an exception does: what is half written goes away."""
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
