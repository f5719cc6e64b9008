"""Shared fixtures."""

import atexit
import gc
import inspect
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from scheduling import Together
from stages import SLOW
from xdist.remote import Producer

# nobody's own progress is read or written by a test
progress = tempfile.mkdtemp(prefix="qviz-progress-")
os.environ["QVIZ_PROGRESS"] = str(Path(progress) / "progress.json")
atexit.register(shutil.rmtree, progress, ignore_errors=True)

# pytest's plugin for notebooks loads ipykernel, and in a notebook kernels are compiled in a second process
os.environ.setdefault("QVIZ_COMPILE", "here")

# A shell starts what runs in the background with interrupts ignored, `nohup` ignores a hang-up, and children inherit
# that: a test that sends one to a process of its own would wait in vain. Where a handler is written in Python, a child
# has the default again. Workers are children, too: they are told, so that a hang-up still ends none of them.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    ignored = str(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
    if os.environ.setdefault("QVIZ_TESTS_IGNORE_HANGUP", ignored) == "True":
        signal.signal(signal.SIGHUP, lambda *_: None)

# How a test compares floats
_FLOATS = re.compile(r"approx|allclose|isclose|_bound\(|within\(|[<>]=? *[0-9.]*e-\d|kld|\.ppl")
HERE = Path(__file__).parent


@cache
def _comparing(path: Path) -> re.Pattern[str]:
    """What in a test of this file shows that floats are compared: itself, or a helper of the file."""
    parts = re.split(r"^(?=def |@|class )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    helpers = [
        part.split("(")[0].removeprefix("def ") for part in parts if part.startswith("def ") and _FLOATS.search(part)
    ]
    names = [re.escape(name) for name in helpers if not name.startswith("test_")]
    return re.compile("|".join([_FLOATS.pattern, *(rf"\b{name}\(" for name in names)]))


@cache
def _compares_floats(function: Callable[..., object], path: Path) -> bool:
    return _comparing(path).search(inspect.getsource(function)) is not None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together | None:
    return Together(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is slow, and what compares floats, if that is asked for: it is read from the source of every test."""
    asked = "floats" in config.option.markexpr
    for item in items:
        if HERE not in item.path.parents or not isinstance(item, pytest.Function):
            continue
        names = SLOW.get(item.path.relative_to(HERE).as_posix())
        if names is not None and (not names or any(name in item.name for name in names)):
            item.add_marker("slow")
        verdict = item.path.name == "test_exercises.py" and "told_their_mistakes" in item.name
        if asked and (verdict or _compares_floats(item.function, item.path)):
            item.add_marker("floats")


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay to the end: the garbage collector need not look at them again and again.

    What is compiled stays, too, and grows; to look for cycles after every 700 objects took a twentieth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20)
