"""The answers called right in lesson 14 are right: computed here, on the weights and the table of the lesson."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import qviz
from qviz.course import lesson
from qviz.metrics import output_error, sqnr_db

MODEL = qviz.load("tiny")
NAME = "blk.3.ffn_up.weight"
W = MODEL[NAME].dequantize()


def right(id: str) -> str:
    return lesson.question(id).right.text


def inputs(name: str, text: str, n: int = 512) -> Any:
    return qviz.transformer.linear_inputs(MODEL, name, text, n_tokens=n)


@pytest.fixture(scope="module")
def seen() -> qviz.ActivationStats:
    return qviz.ActivationStats.from_inputs(inputs(NAME, qviz.models.calibration_text(), 2048))


@pytest.fixture(scope="module")
def x() -> Any:
    return inputs(NAME, qviz.models.heldout_text())


def test_14_1_points_beat_a_grid_by_about_one_decibel():
    other = MODEL["blk.5.ffn_up.weight"].dequantize()
    other *= W.std() / other.std()
    single, four = (sqnr_db(other, qviz.grids.kmeans_vectors(W, n, 2).fake_quantize(other)) for n in (1, 4))
    assert right("14.1") == "About one decibel: the points need not form a grid"
    assert 0.5 < four - single < 1.5


def test_14_2_the_sign_that_changes_is_one_that_matters_least(seen):
    back = qviz.quantize(W, "IQ2_XXS", imatrix=seen.mean_sq).dequantize()
    wrong = (np.signbit(W) != np.signbit(back)).reshape(-1, 8)
    odd = np.signbit(W).reshape(-1, 8).sum(axis=1) % 2 == 1
    assert right("14.2") == "One weight changes its sign: the one that matters least"
    np.testing.assert_array_equal(wrong.sum(axis=1), odd, "one in each group with an odd number, none in the others")
    rank = np.abs(W).reshape(-1, 8).argsort(axis=1).argsort(axis=1)[wrong]
    assert np.mean(rank == 0) > 0.9, "nearly always the smallest of eight"


def test_14_3_an_importance_matrix_takes_a_part_of_the_error():
    gains = []
    for part in ("attn_q", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        name = f"blk.3.{part}.weight"
        w, a = MODEL[name].dequantize(), inputs(name, qviz.models.heldout_text())
        important = np.square(inputs(name, qviz.models.calibration_text())).mean(axis=0)
        ones, lost = (output_error(a, w, qviz.quantize(w, "IQ2_XXS", imatrix=i)) for i in (important**0, important))
        gains.append(1 - lost / ones)
    assert right("14.3") == "A few parts in a hundred, about a sixth at most"
    assert sum(gain > 0 for gain in gains) == 5
    assert gains[-1] < 0, "ffn_down loses more with it, says the lesson"
    assert 0.1 < max(gains) < 0.2


def test_14_3_with_more_tokens_most_of_the_harm_is_gone():
    name, harm = "blk.3.ffn_down.weight", []
    w, a = MODEL[name].dequantize(), inputs(name, qviz.models.heldout_text(), 1024)
    for n in (1024, 4096):
        important = np.square(inputs(name, qviz.models.calibration_text(), n)).mean(axis=0)
        ones, lost = (output_error(a, w, qviz.quantize(w, "IQ2_XXS", imatrix=i)) for i in (important**0, important))
        harm.append(lost / ones - 1)
    assert 0 < harm[1] < 0.5 * harm[0]


def test_14_4_gptq_makes_up_for_most_of_half_a_bit(seen, x):
    plain = output_error(x, W, qviz.quantize(W, "IQ2_XXS", imatrix=seen.mean_sq))
    small = output_error(x, W, qviz.methods.gptq_format(W, seen, "IQ2_XXS"))
    large = output_error(x, W, qviz.quantize(W, "Q2_K", imatrix=seen.mean_sq))
    assert right("14.4") == "`Q2_K`, by a little: GPTQ makes up for most of the half bit"
    assert 0 < small - large < 0.4 * (plain - large)
    many = qviz.ActivationStats.from_inputs(inputs(NAME, qviz.models.calibration_text(), 8192))
    ahead = output_error(x, W, qviz.methods.gptq_format(W, many, "IQ2_XXS", sweeps=3))
    assert ahead < large, "with 8192 tokens and sweeps, says the lesson"
    assert qviz.formats.get("Q2_K").bpw - qviz.formats.get("IQ2_XXS").bpw > 0.5


def test_14_5_a_ternary_format_is_for_ternary_weights(seen, x):
    small, ternary = (
        output_error(x, W, qviz.quantize(W, name, imatrix=imatrix))
        for name, imatrix in (("IQ2_XXS", seen.mean_sq), ("TQ2_0", None))
    )
    assert qviz.formats.get("TQ2_0").type_size == qviz.formats.get("IQ2_XXS").type_size == 66
    assert right("14.5") == "`IQ2_XXS`, about a sixth of what `TQ2_0` loses"
    assert 1 / 7 < small / ternary < 1 / 4


def test_14_6_a_fifth_is_left():
    theirs, ours = (row for row in qviz.measure.best_files() if row.recipe == "Q2_K")
    assert ours.nbytes <= theirs.nbytes
    assert right("14.6") == "About a fifth"
    assert 1 / 6 < ours.kld / theirs.kld < 1 / 4
