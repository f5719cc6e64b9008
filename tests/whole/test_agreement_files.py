"""Files in formats that few programs read, written here: llama.cpp runs them, and expects of each token what we do."""

from __future__ import annotations

import math

import agreement_files as files
import llamacpp
import numpy as np
import pytest

import qviz
from qviz.transformer import Transformer
from qviz.whole import best_file

with np.load(files.GOLDEN) as _stored:
    GOLDEN = dict(_stored)
    SOURCE = GOLDEN.pop("source")


@pytest.fixture(scope="module")
def windows():
    return files.windows()


def expected(run, windows):
    """−log p of every token that is scored."""
    logits = run.window_logits(windows, files.FIRST, files.CONTEXT - 1)
    return np.concatenate([files.surprise(*pair) for pair in zip(logits, windows, strict=True)])


def rms(x):
    return math.sqrt(np.square(x).mean())


def test_every_file_has_figures():
    assert set(GOLDEN) == set(files.FILES)
    assert bytes(SOURCE) == files.source(), "another model or text; golden/make_agreement_files.py must run again"


@pytest.mark.parametrize("name", files.FILES)
def test_each_token_is_expected_as_llama_cpp_does(tmp_path, windows, name):
    """At most the roundings of activations on either side are independent; see `transformer/test_agreement.py`.

    A root mean square of so many tokens has a standard error, of which four are allowed. Where weights are BF16,
    llama.cpp rounds activations to BF16, too, and we do not: that moves each token by eight times what rounding to
    float16 does to it, which has three bits more.
    """
    path = files.FILES[name](tmp_path)
    model, times = (qviz.load("tiny"), 8.0) if name == "BF16" else (qviz.load(path), math.sqrt(2))
    rounded, exact = (expected(Transformer(model, activations=how), windows) for how in ("int8", "float"))
    found = expected(Transformer(qviz.load(path)), windows) if name == "BF16" else rounded
    assert rms(found - GOLDEN[name]) <= times * rms(rounded - exact) * (1 + 4 / math.sqrt(2 * found.size))


@pytest.mark.skipif(not llamacpp.INSTALLED, reason="pip install llama-cpp-python to compute the golden figures anew")
@pytest.mark.parametrize("name", ["IQ2_XXS", "NVFP4", "in three files"])
def test_the_figures_are_llama_cpps(tmp_path, windows, name):
    from golden.make_agreement_files import figures

    found = figures(files.FILES[name](tmp_path), windows)
    # stated: another build of llama.cpp sums in another order, which moves a token as far as its roundings do
    assert rms(found - GOLDEN[name]) < 0.1


@pytest.mark.skipif(not llamacpp.INSTALLED, reason="pip install llama-cpp-python to run files of a given size in it")
def test_llama_cpp_runs_the_best_file_of_a_size(tmp_path, windows):
    """Formats are chosen by measurement, so that no stored figures can be had."""
    from golden.make_agreement_files import figures

    path = best_file(qviz.load("tiny"), tmp_path / "best.gguf", size=4_000_000, n_tokens=512).path
    want = figures(path, windows)
    model = qviz.load(path)
    found, exact = (expected(Transformer(model, activations=how), windows) for how in ("int8", "float"))
    assert rms(found - want) <= math.sqrt(2) * rms(found - exact)
