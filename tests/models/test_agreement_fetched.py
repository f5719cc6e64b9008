"""Fetched models as llama.cpp finds them: tokens of odd texts, surprise and divergence, importance.

Runs where a model is here already (``qviz fetch smollm2``, ``qviz fetch gemma3-270m``), or may be downloaded.
"""

from __future__ import annotations

import json
import math
import os

import agreement_fetched as fetched
import numpy as np
import pytest
from bounds import paired_bound
from test_models import REAL_FETCH

import qviz
from qviz.models.known import KNOWN, cache_dir
from qviz.transformer import Transformer
from qviz.whole import imatrix

with np.load(fetched.GOLDEN) as _stored:
    GOLDEN = dict(_stored)
    COUNTS = json.loads(bytes(GOLDEN["about"]).decode())


@pytest.fixture(scope="module", params=fetched.MODELS)
def name(request):
    path = cache_dir() / KNOWN[request.param].filename
    if os.environ.get(REAL_FETCH):
        qviz.fetch(request.param)
    elif not path.is_file():
        pytest.skip(f"{path} is not here; set {REAL_FETCH}=1 to download it, and compare it with llama.cpp's figures")
    return request.param


def rms(x):
    return math.sqrt(np.square(x).mean())


def test_tokens(name):
    tokenizer = Transformer(qviz.load(name)).tokenizer
    texts = fetched.texts(tokenizer)
    for special, digests in zip((False, True), GOLDEN[f"{name}, tokens"], strict=True):
        other = [text for text, digest in zip(texts, digests, strict=True)
                 if fetched.digest(tokenizer.encode(text, special=special)) != digest]  # fmt: skip
        assert other == []


def test_surprise_and_divergence(name, tmp_path):
    """Token by token, and their means.

    At most the roundings of activations on either side are independent; see `transformer/test_agreement.py`. What they
    do to each token is measured on two of the windows.
    """
    model = qviz.load(name)
    other = qviz.quantize_model(model.path, tmp_path / "m.gguf", fetched.MODELS[name], allow_requantize=True).path

    def scored(windows, activations):
        runs = [Transformer(part, activations=activations) for part in (model, qviz.load(other))]
        found = []
        for window in windows:
            rows = (run.window_logits(window[None], fetched.FIRST, fetched.CONTEXT - 1)[0] for run in runs)
            found.append(fetched.scored(*rows, window))
        return np.concatenate(found, axis=1)

    windows = fetched.windows(Transformer(model))
    ours, want = scored(windows, "int8"), GOLDEN[f"{name}, scored"]
    exact = scored(windows[:2], "float")
    part = ours[:, : exact.shape[1]]
    for what in range(3):  # surprise by either file, and how far they are apart
        assert abs((ours[what] - want[what]).mean()) <= math.sqrt(2) * paired_bound(
            part[what], exact[what], want.shape[1], k=4
        )
    for what in range(2):  # four standard errors of a root mean square of so many, on top
        most = math.sqrt(2) * rms(part[what] - exact[what])
        assert rms(ours[what] - want[what]) <= most * (1 + 4 / math.sqrt(2 * part.shape[1]))


def test_importance(name):
    """What every matrix receives, squared and summed: the same counts; the sums move as far as roundings move them."""
    model = qviz.load(name)
    windows = fetched.windows(Transformer(model))
    found, exact = (
        imatrix.collect(model, windows.reshape(-1).tolist(), n_ctx=fetched.CONTEXT, activations=how)
        for how in ("int8", "float")
    )
    assert {weight: int(entry.counts[0]) for weight, entry in found.entries.items()} == COUNTS[name]

    def columns(measured):
        return np.concatenate(
            [measured.entries[weight].sums.reshape(-1)[:: fetched.COLUMNS] for weight in COUNTS[name]]
        )

    ours, plain, want = columns(found), columns(exact), GOLDEN[f"{name}, sums"]
    seen = want > 0
    assert not ours[~seen].any()  # columns whose gain is 0
    assert rms((ours - want)[seen] / want[seen]) <= math.sqrt(2) * rms((ours - plain)[seen] / want[seen])
