"""Every example in a docstring is run."""

import doctest
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest

import qviz

MODULES = [info.name for info in pkgutil.walk_packages(qviz.__path__, "qviz.")]


def source(name):
    return Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8")


def test_every_module_can_be_imported():
    for name in MODULES:
        importlib.import_module(name)


# an example begins with >>>: where there is none, there is nothing to look for in every docstring
@pytest.mark.parametrize("name", [name for name in MODULES if ">>>" in source(name)])
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may write a file
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("name", ["qviz.formats.base", "qviz.grids.affine", "qviz.metrics", "qviz.gguf"])
def test_there_are_examples(name):
    assert sum(len(found.examples) for found in doctest.DocTestFinder().find(importlib.import_module(name)))
