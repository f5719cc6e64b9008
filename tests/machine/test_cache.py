"""Numba's cache: an entry is used if it is whole and made from these sources; anything else is a miss, never an end."""

import importlib
import os
import pkgutil
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import qviz
from qviz._machine import cache
from qviz._machine.kernels import Kernel, kernel, specialise

SOURCE = """
import numpy as np
from qviz._machine.kernels import kernel
from {helpers} import helper, TABLE
STEP = {step}

@kernel
def inner(x):
    return helper(x) + TABLE[1]

@kernel
def outer(x):
    return inner(x) + STEP

@kernel
def other(x):
    return x * 2
"""
HELPERS = """
import numpy as np
from qviz._machine.kernels import kernel
TABLE = np.array([0, {entry}])

@kernel
def helper(x):
    return x * {factor}
"""


class Sources:
    """Two files of kernels that can be edited; imported anew each time, as another process would."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0
        self.now = {"factor": 10, "entry": 1, "step": 100}

    def outer(self, **edits):
        self.now |= edits
        (self.folder / "of_a_test_helpers.py").write_text(HELPERS.format(**self.now))
        (self.folder / "of_a_test.py").write_text(SOURCE.format(helpers="of_a_test_helpers", **self.now))
        for name in ("of_a_test", "of_a_test_helpers"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)
        return importlib.import_module("of_a_test").outer

    def call(self, x=1, **edits):
        """What `outer` gives, and whether it came from the cache."""
        outer = self.outer(**edits)
        found = outer(x)
        return found, sum(outer.compiled.stats.cache_hits.values()) == 1

    def entries(self, name="outer"):
        return sorted((self.folder / "cache").rglob(f"of_a_test.{name}-*.nbc"))


@pytest.fixture
def sources(tmp_path, monkeypatch):
    import numba

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Sources(tmp_path)
    for name in ("of_a_test", "of_a_test_helpers"):
        sys.modules.pop(name, None)


def test_compiled_once(sources):
    assert sources.call() == (111, False)
    assert sources.call() == (111, True)
    assert len(sources.entries()) == 1


@pytest.mark.parametrize(
    ("edit", "result"), [({"factor": 20}, 121), ({"entry": 2}, 112), ({"step": 200}, 211)], ids=lambda e: str(e)
)
def test_what_a_kernel_calls_or_reads_counts_in_whatever_file(sources, edit, result):
    assert sources.call() == (111, False)
    assert sources.call(**edit) == (result, False)
    assert sources.call() == (result, True)
    assert len(sources.entries()) == 1  # what is out of date was replaced


def flipped(content):
    at = random.Random(len(content)).randrange(8 * len(content))
    return content[: at // 8] + bytes([content[at // 8] ^ 1 << at % 8]) + content[at // 8 + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "a byte": lambda content: content[:1],
    "cut in the hash": lambda content: content[:20],
    "cut in two": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one byte more": lambda content: content + b"\0",
    "noise": lambda content: random.Random(0).randbytes(len(content)),
    "zeros": lambda content: bytes(len(content)),
    "a bit": flipped,
    "a bit at the end": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "a bit of machine code": lambda content: content.replace(b"\xc3", b"\xc2", 1),
}


def test_damage_is_a_miss_and_is_mended(sources):
    assert sources.call() == (111, False)
    (entry,) = sources.entries()
    whole = entry.read_bytes()
    for name, damage in DAMAGES.items():
        entry.write_bytes(damage(whole))
        assert entry.read_bytes() != whole, name
        assert sources.call() == (111, False), name
        assert sources.call() == (111, True), name


def test_the_entry_of_another_kernel_is_a_miss(sources):
    assert sources.call() == (111, False)
    assert importlib.import_module("of_a_test").other(4) == 8
    (entry,), (other,) = sources.entries(), sources.entries("other")
    shutil.copyfile(other, entry)
    assert sources.call() == (111, False)


def test_what_cannot_be_read_back_is_a_miss(sources, monkeypatch):
    """As if numba had changed what it keeps, without another version number."""
    assert sources.call() == (111, False)
    monkeypatch.setattr(cache.pickle, "loads", lambda content: [][0])
    assert sources.call() == (111, False)


def test_a_folder_that_goes_while_it_is_used(sources):
    sources.call()
    outer = sources.outer()
    assert outer(1) == 111
    shutil.rmtree(sources.folder / "cache")
    assert outer(1.5) == 116.0
    assert sources.call() == (111, False)


def test_a_full_disk_keeps_nothing_and_stops_nobody(sources, monkeypatch):
    def full(self, content):
        Path.open(self, "wb").close()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache.Path, "write_bytes", full)
        assert sources.call() == (111, False)
        assert sources.call() == (111, False)
    assert not list((sources.folder / "cache").rglob("*.tmp"))
    assert sources.call() == (111, False)
    assert sources.call() == (111, True)


def test_a_compilation_that_was_stopped_keeps_nothing_and_stops_nobody(sources, monkeypatch):
    """An interrupt inside of LLVM's callback is lost there; then there is nothing to keep, and numba says so."""

    def stopped(data):
        raise RuntimeError("no compiled object yet for <Library>")

    with monkeypatch.context() as patch:
        patch.setattr("numba.core.serialize.dumps", stopped)
        assert sources.call() == (111, False)
    assert sources.call() == (111, False)
    assert sources.call() == (111, True)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root may write anywhere")
def test_a_folder_that_nobody_may_write_to(sources):
    sources.call()
    folder = sources.entries()[0].parent
    folder.chmod(0o500)
    try:
        assert sources.call()[0] == 111
    finally:
        folder.chmod(0o700)


def test_an_entry_that_cannot_be_opened_is_a_miss(sources):
    sources.call()
    (entry,) = sources.entries()
    entry.unlink()
    entry.mkdir()
    assert sources.call() == (111, False)


def test_every_kernel_can_be_told_from_others():
    for module in pkgutil.walk_packages(qviz.__path__, "qviz."):
        if "_bundled" not in module.name and "__main__" not in module.name:
            importlib.import_module(module.name)
    kernels = {
        id(value): value
        for name, module in list(sys.modules.items())
        if name.startswith("qviz.")
        for value in list(vars(module).values())
        if isinstance(value, Kernel)
    }
    assert len(kernels) > 200
    for found in kernels.values():
        assert cache.made_of(found)


def test_a_specialisation_counts_what_is_put_in(sources):
    table = np.arange(3)

    @kernel
    def template(x):
        return x + _PUT_IN  # noqa: F821

    digests = {cache.made_of(specialise(template, "same name", _PUT_IN=v)) for v in (1, 2, 1.0, table, table + 1)}
    assert len(digests) == 5


def test_an_unforeseen_global_means_no_cache():
    @kernel
    def odd(x):
        return x + _ODD  # noqa: F821

    with pytest.raises(cache.UnknownPartError, match="object"):
        cache.made_of(specialise(odd, "odd", _ODD=object()))
