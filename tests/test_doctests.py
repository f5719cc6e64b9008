"""Every example in a docstring is run."""

import doctest
import importlib
import pkgutil

import pytest

import qviz

MODULES = [info.name for info in pkgutil.walk_packages(qviz.__path__, "qviz.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may write a file
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("name", ["qviz.formats.base", "qviz.grids.affine", "qviz.metrics", "qviz.gguf"])
def test_there_are_examples(name):
    assert sum(len(found.examples) for found in doctest.DocTestFinder().find(importlib.import_module(name)))
