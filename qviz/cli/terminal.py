"""What commands share at the terminal: texts read and printed, bars of progress."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from qviz._types import Progress
from qviz.errors import ModelNotFoundError, QvizError


def echo(text: str, *, err: bool = False) -> None:
    """Print; a console that cannot show × or Ġ gets an escape, not an exception."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    _write(text.encode(encoding, "backslashreplace").decode(encoding), err=err, color=False if plain else None)


def echo_piece(text: str) -> None:
    """Print a part of a line at once; a text from a model must not move the cursor of a terminal."""
    from qviz.errors import printable

    shown = printable(text, keep="\n\t") if sys.stdout is not None and sys.stdout.isatty() else text
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    _write(shown.encode(encoding, "backslashreplace").decode(encoding), nl=False)


def echo_path(path: Path) -> None:
    """Print the name of a file: byte for byte for other programs, without escape sequences for people."""
    from qviz.errors import printable

    if sys.stdout is not None and sys.stdout.isatty():
        echo(printable(str(path)))
    else:
        _write(os.fsencode(path))


def echo_json(value: Any) -> None:
    """Print JSON; it has no character outside ASCII, hence no escape sequence either."""
    _write(json.dumps(value, indent=2))


def _write(text: str | bytes, *, err: bool = False, color: bool | None = None, nl: bool = True) -> None:
    try:
        click.echo(text, nl=nl, err=err, color=color)
    except OSError as error:
        error.filename = "standard error" if err else "standard output"
        raise


def read_text(path: str) -> str:
    """A text in UTF-8, whole, from a regular file of sane size."""
    from qviz import _files

    try:
        return _files.read_text(path, error=QvizError)
    except ModelNotFoundError:
        raise QvizError(f"{path}: the text cannot be read: there is no such file; check the path") from None


@contextmanager
def warnings_said() -> Iterator[None]:
    """Print each warning as one sentence on standard error, when all is done."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for text in dict.fromkeys(str(one.message) for one in said):
                echo(f"warning: {text}", err=True)


def bars_of(bars: Any) -> Progress:
    """A `Progress` that keeps one bar for each kind of work."""
    from rich.markup import escape

    from qviz.errors import printable

    tasks: dict[str, Any] = {}

    def update(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(escape(printable(what)), total=total)
        bars.update(tasks[what], completed=done, total=total)

    return update
