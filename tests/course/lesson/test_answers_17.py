"""The answers called right in lesson 17 are right: computed here, or read from the table that the lesson shows."""

from __future__ import annotations

import pytest

import qviz
from qviz import measure
from qviz.course import lesson
from qviz.measure import items_needed

SMOL = {row.recipe: row for row in measure.models_table("smollm2")}


def right(id: str) -> str:
    return lesson.question(id).right.text


def test_17_1_the_format_of_the_source_is_nearest():
    rounded = [row for name, row in SMOL.items() if name not in ("F32", "F16")]
    assert right("17.1") == "`Q4_1`: its levels are where the weights already are"
    assert min(rounded, key=lambda row: row.quality.kld).recipe == "Q4_1"
    published = measure.about_models_table()["models"]["smollm2"]
    assert SMOL["Q4_1"].tensors == published["tensors"], "the very same tensors"
    assert published["formats"]["Q4_1"] > 0.75


def test_17_2_the_tail_is_long():
    tails = SMOL["Q4_K_M"].tails
    assert right("17.2") == "More than five times as large"
    assert tails.high > 5 * tails.median


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "q3.gguf"
    qviz.quantize_model(qviz.load("tiny").path, path, "Q3_K_S")
    runs = (qviz.Transformer(qviz.load(name), activations="float") for name in ("tiny", path))
    before, after = (measure.answer_cloze(run, measure.cloze_items("words")).right for run in runs)
    return measure.paired_accuracy(before, after)


def test_17_3_answers_flip_in_both_directions(pair):
    assert right("17.3") == "Some answers change, about as many to right as to wrong"
    assert min(pair.lost, pair.won) >= 5
    assert pair.p_value > 0.2


def test_17_4_thousands_of_questions_for_one_point():
    needed = items_needed(0.01, 0.05)
    assert right("17.4") == "About 4,000"
    assert round(needed, -3) == 4000
    unpaired = items_needed(0.01, 0.6 * 0.41 + 0.59 * 0.4)
    assert 8 < unpaired / needed < 10, "nearly ten times as many"
    assert measure.PairedAccuracy(0, 12, 8, 0).p_value == pytest.approx(0.5, abs=0.01)  # stated: every second time
