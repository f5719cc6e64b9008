"""What the questions of lesson 10 call right is right: computed here with qviz."""

from __future__ import annotations

import numpy as np

import qviz
from qviz.course import lesson


def right(id: str) -> str:
    return lesson.question(id).right.text


def test_10_1_one_over_forty_is_forty():
    scores = np.log(np.full(100, 1 / 40))
    assert right("10.1").startswith(f"{np.exp(-scores.mean()):.0f}:")


def test_10_2_a_paired_error_is_small(tmp_path):
    model, text = qviz.load("tiny"), qviz.models.heldout_text()
    made = qviz.quantize_model(model.path, tmp_path / "q4.gguf", "Q4_0").path
    found = qviz.perplexity(qviz.load(made), text, baseline=qviz.Transformer(model), max_tokens=1000)
    assert right("10.2") == "Yes, if the two models are compared token by token"
    assert found.delta_se < found.ppl_se / 4


def test_10_4_the_embedding_keeps_six_bits():
    model = qviz.load("tiny")
    plan = qviz.recipes.plan(model, model.metadata, "Q2_K")
    bits = 8 * sum(choice.nbytes for choice in plan) / sum(choice.n_weights for choice in plan)
    assert right("10.4") == "Over three"
    assert 3 < bits < 4
    assert {c.name: c.format.name for c in plan}["token_embd.weight"] == "Q6_K"
