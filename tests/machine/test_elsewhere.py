"""Kernels are compiled in another process, and nobody can tell but by the memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from qviz import formats
from qviz._machine import elsewhere
from qviz._machine.kernels import Kernel, half_bits, kernel
from qviz.transformer import linear

RUN = """
import json, sys
import numpy as np
from qviz._machine import elsewhere
from qviz._machine.kernels import bits_float
before = sys.executable, elsewhere.description, elsewhere._PATIENCE
found = [float(bits_float(np.uint32(0x3F800000)))]
for trouble, kind in zip(sys.argv[1:], "iqQHBhb"):  # each argument's type is another overload
    elsewhere._other._end()
    sys.executable, elsewhere.description, elsewhere._PATIENCE = before
    exec(trouble)
    found.append(float(bits_float(np.array([64], kind)[0])) / 2.0**-143)
stats = bits_float.compiled.stats
print(json.dumps([found, sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""

TROUBLES = [
    "sys.executable = '/bin/false'",
    "sys.executable = '/nowhere'",
    "sys.executable = '/bin/cat'",  # answers, with nonsense
    "elsewhere.description = lambda kernel: None",
    "elsewhere.description = lambda kernel: ('qviz', 'no_such_kernel')",
    "elsewhere.description = lambda kernel: lambda: 0",  # cannot travel
    "elsewhere._PATIENCE = 0.01",
]


def test_a_kernel_is_compiled_elsewhere_and_whatever_goes_wrong_here(tmp_path):
    """In a fresh process with an empty cache: what kernels give, how often the cache had them, and how often not."""
    env = os.environ | {"QVIZ_COMPILE": "elsewhere", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", RUN, *TROUBLES], env=env, capture_output=True, text=True, check=True)
    assert not done.stderr
    assert json.loads(done.stdout) == [[1.0] * (1 + len(TROUBLES)), 1, len(TROUBLES)]


def test_only_notebooks_and_who_asks_for_it(monkeypatch):
    monkeypatch.delenv("QVIZ_COMPILE", raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert not elsewhere.wanted()
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert elsewhere.wanted()
    monkeypatch.setenv("QVIZ_COMPILE", "here")
    assert not elsewhere.wanted()
    monkeypatch.setenv("QVIZ_COMPILE", "Elsewhere")
    monkeypatch.delitem(sys.modules, "ipykernel")
    assert elsewhere.wanted()


def made_for(fmt):
    if not fmt.can_decode or fmt.name in ("Q8_1", "Q8_K"):
        return
    yield fmt.decoder
    yield linear.float_product(fmt)
    if not fmt.is_float:
        yield linear.integer_product(fmt)


def alike(a, b):
    """The same function, specialised with the same names."""
    if a is b:
        return True
    (template, names), (other, others) = a.made_from, b.made_from
    return alike(template, other) and set(names) == set(others) and a.__name__ == b.__name__


@pytest.mark.parametrize("fmt", formats.FORMATS.values(), ids=str)
def test_every_kernel_of_a_format_can_be_found_again(fmt):
    for one in made_for(fmt):
        if isinstance(one, Kernel):
            described = elsewhere.description(one)
            assert described is not None, one.__name__
            assert alike(elsewhere.find(described), one)


def test_what_has_no_name_cannot_be_found():
    assert elsewhere.description(half_bits) == ("qviz._machine.kernels", "half_bits")
    assert elsewhere.description(kernel(lambda: 0)) is None
