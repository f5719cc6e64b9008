"""How commands end: whatever goes wrong outside of them is one line and an exit code, never a traceback.

==============  ==================================================================
exit code       meaning
==============  ==================================================================
0               done
2               refused, wrong usage included; the line says what to do
130             interrupted (Ctrl-C)
128 + signal    ended by SIGTERM or SIGHUP; what was half written is gone
==============  ==================================================================

What is said on standard error is for people; where it cannot be written, the command does its work and ends as it would
have. Results go to standard output, and there a failure counts.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from qviz.errors import QvizError


class Refusal(click.ClickException):
    """One line, and exit code 2 as for wrong usage."""

    exit_code = 2


class SignalledError(SystemExit):
    """A signal asked the program to end: raised where it was, so that everything half done is undone."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


class Group(click.Group):
    """Commands that end as this module says."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program."""
        with _forgiving_errors():
            return super().main(*args, **options)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the command line."""
        with _one_line():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _stoppable(), _one_line():
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be written is told here, not after the last line of Python
            return result


class _Forgiving(io.RawIOBase):
    """Standard error that takes whatever is written, though nobody may get to see it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            try:
                return os.write(self._descriptor, view)
            except OSError:
                return view.nbytes


@contextlib.contextmanager
def _forgiving_errors() -> Iterator[None]:
    """While entered, no failure of standard error is one of the program; a stream put there by others stays."""
    before = sys.stderr
    if not isinstance(before, io.TextIOWrapper) or before is not sys.__stderr__:
        yield
        return
    with contextlib.suppress(OSError):
        before.flush()
    forgiving = io.BufferedWriter(_Forgiving(before.fileno()))
    sys.stderr = io.TextIOWrapper(forgiving, before.encoding, before.errors, line_buffering=True, write_through=True)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except QvizError as error:
        _refuse(str(error))
    except click.UsageError as error:  # names of files stand in it as they are
        said = error.format_message()
        if _printable(said) == said:
            raise
        raise click.UsageError(_printable(said), error.ctx) from None
    except OSError as error:
        _give_up_output()
        if error.errno == errno.EPIPE:
            raise  # whoever read has seen enough; click ends in silence
        _refuse(sentence(error))
    except MemoryError:
        _refuse("this needs more memory than there is; close other programs, or try a smaller model")
    except KeyboardInterrupt:
        _say("interrupted")
        raise click.exceptions.Exit(128 + signal.SIGINT) from None
    except SignalledError as stop:
        _say(f"ended by {stop.name}")
        raise


def sentence(error: OSError) -> str:
    """What the system refused, in one line that says what to do.

    Examples
    --------
    >>> sentence(OSError(errno.ENOSPC, "No space left on device", "/mnt/out.gguf"))
    '/mnt/out.gguf: No space left on device; free some space, or choose a folder on another disk'
    """
    from qviz._files import os_problem

    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    return (f"{where}: " if where else "") + os_problem(error)


def _refuse(text: str) -> NoReturn:
    raise Refusal(_printable(text)) from None


def _printable(text: str) -> str:
    from qviz.errors import printable

    # a usage error may have several lines of its own
    return "\n".join(printable(line) for line in text.split("\n"))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _give_up_output() -> None:
    """If standard output is what failed, drop what is still buffered: Python would try again when it ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """While entered, SIGTERM and SIGHUP end the program as an exception does; a signal that is ignored stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
        raise SignalledError(number)

    signals = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {s: signal.getsignal(s) for s in signals}
    for s, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(s, stop)
    try:
        yield
    finally:
        for s, handler in before.items():
            if handler is not None:
                signal.signal(s, handler)
