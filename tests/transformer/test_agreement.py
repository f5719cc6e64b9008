"""Small random models of every family, feature by feature: the logits that llama.cpp computes from the same files."""

from __future__ import annotations

import json
import math

import agreement_models as models
import llamacpp
import numpy as np
import pytest
from bounds import U

import qviz
from qviz.architectures import ARCHITECTURES
from qviz.transformer import Transformer
from qviz.transformer.experts import ExpertLinears
from qviz.transformer.linear import Linear

with np.load(models.GOLDEN) as _stored:
    ABOUT = json.loads(bytes(_stored["about"]).decode())
    GOLDEN = {
        (case, fmt): (digest, logits)
        for fmt in models.FORMATS
        for case, digest, logits in zip(ABOUT["cases"][fmt], ABOUT["weights"][fmt], _stored[fmt], strict=True)
    }
# a case that begins with "folder" is one of Hugging Face's, converted first
CASES = [(case, fmt) for fmt in models.FORMATS for case in models.cases_of(fmt)]


def computed(run, case):
    """Our logits, with keys and values in float32 as theirs."""
    ids = models.tokens(case)
    return run.logits(ids, run.new_cache(len(ids), "F32"))[models.shown(run.config.n_vocab)].astype(np.float64)


def sums_bound(run, want):
    """How far the order of sums moves logits, to first order.

    A product of a matrix is a sum of n_in terms, whose roundings fall to either side: T of them add up to at most
    4 · √T · U but for one in thousands (N. Higham and T. Mary, 2019), of a stream as large as the logits that are read
    from it, on both sides.
    """
    terms = run.output.n_in
    for layer in run.layers:
        for part in layer.values():
            if isinstance(part, ExpertLinears):  # of which each token meets a few
                terms += part[0].n_in * run.config.n_expert_used
            elif isinstance(part, Linear):
                terms += part.n_in
    return 2 * 4 * math.sqrt(terms) * U * np.abs(want).max()


def distance(a, b, run):
    """Root mean square of the difference; of a mixture of experts, that of the token in the middle.

    Where two experts score almost alike, a rounding sends a token to the other one.
    """
    of_tokens = np.square(a - b).mean(1)
    return np.sqrt(np.median(of_tokens) if run.config.n_expert else of_tokens.mean())


def test_every_case_has_figures():
    assert set(CASES) == set(GOLDEN)
    assert {family for family, _ in models.CASES.values() if family} == set(ARCHITECTURES)


@pytest.mark.parametrize(("case", "fmt"), CASES, ids=[f"{case}, {fmt}" for case, fmt in CASES])
def test_logits(tmp_path, case, fmt):
    """The two differ by the order of sums, and by what that moves when activations are rounded.

    Both round activations to float16 where they meet F16 and to int8 where they meet Q8_0. At most their roundings are
    independent: then the two lie √2 times as far apart as rounding moves the logits at all, which is measured here,
    against activations in float. llama.cpp looks GELU up in a table of float16: both its sides are rounded by 2⁻¹¹.
    """
    path = models.write(case, fmt, tmp_path / "model.gguf")
    digest, want = GOLDEN[case, fmt]
    assert models.digest(path) == digest, "other weights; tests/golden/make_agreement.py must run again"
    model = qviz.load(path)
    run = Transformer(model)
    found = computed(run, case)
    most = sums_bound(run, want)
    most += math.sqrt(2) * distance(found, computed(Transformer(model, activations="float"), case), run)
    if run.architecture.activation == "gelu":
        most += 2 * 2.0**-11 * run.config.n_layers * np.abs(want).max()
    assert distance(found, want, run) <= most


@pytest.mark.skipif(not llamacpp.INSTALLED, reason="pip install llama-cpp-python to compute the golden figures anew")
@pytest.mark.parametrize("fmt", models.FORMATS)
def test_the_figures_are_llama_cpps(tmp_path, fmt):
    from golden.make_agreement import figures

    for case in models.cases_of(fmt):
        # another build of llama.cpp sums in another order
        found, want = figures(case, fmt, tmp_path / "model.gguf"), GOLDEN[case, fmt][1]
        assert np.sqrt(np.square(found - want).mean()) <= 0.02 * want.std(), case
