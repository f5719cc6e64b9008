"""Inputs of one matrix: those that the callback sees in a whole forward pass."""

from __future__ import annotations

import numpy as np
import pytest

from qviz import load, models
from qviz.errors import LlamaError
from qviz.transformer import Transformer, linear_inputs
from qviz.transformer.evaluate import windows_of


@pytest.mark.parametrize("tensor", ["blk.1.attn_output.weight", "blk.1.ffn_down.weight"])
def test_what_a_whole_pass_shows(tensor):
    seen = {}
    run = Transformer(load("tiny"), activations="float", on_linear_input=lambda name, x: seen.update({name: x.copy()}))
    text = models.heldout_text()
    run.window_logits(windows_of(run, text, 256, None)[:2])
    inputs = linear_inputs(load("tiny"), tensor, text, n_tokens=500)
    assert inputs.dtype == np.float32
    # sums in another order; where that moves an activation over a rounding boundary of F16, by half a step of 11 bits
    assert np.abs(inputs - seen[tensor][:500]).max() <= 2.0**-11 * np.abs(seen[tensor]).max()


def test_more_windows_than_run_together():
    tokens = list(range(100, 356)) * 10
    inputs = linear_inputs(load("tiny"), "blk.0.attn_q.weight", tokens, n_tokens=2560)
    assert inputs.shape == (2560, 256)
    np.testing.assert_array_equal(inputs[1:256], inputs[-255:])  # the first of a window may be its own token


@pytest.mark.parametrize(
    ("tensor", "tokens", "n", "says"),
    [
        ("blk.9.attn_q.weight", range(300), 10, r"no matrix 'blk.9.attn_q.weight'.*blk.0.attn_q.weight"),
        ("blk.0.attn_norm.weight", range(300), 10, "no matrix"),
        ("blk.0.attn_q.weight", range(300), 257, "256 tokens in whole windows, 257"),
        ("blk.0.attn_q.weight", range(300), 0, "n_tokens is 0"),
    ],
)
def test_what_cannot_be_caught(tensor, tokens, n, says):
    with pytest.raises(LlamaError, match=says):
        linear_inputs(load("tiny"), tensor, list(tokens), n_tokens=n)
