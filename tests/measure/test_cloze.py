"""Questions with four choices: where they come from, and that the likeliest one is what a model says it is."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bounds import assert_within, shown_bound

import qviz
from qviz.errors import QvizError
from qviz.measure import ClozeItem, answer_cloze, cloze_items

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def tiny():
    return qviz.Transformer(qviz.load("tiny"), activations="float")


def test_items_are_as_their_script_makes_them(tmp_path):
    made = tmp_path / "cloze.json"
    subprocess.run([sys.executable, DATA / "make_cloze.py", "--output", made], check=True, capture_output=True)
    ours, theirs = (json.loads(path.read_text(encoding="utf-8")) for path in (made, DATA / "cloze.json"))
    assert ours["words"] == theirs["words"]
    assert ours["sums of 2-digit numbers"] == theirs["sums of 2-digit numbers"]
    if ours["about"] == theirs["about"]:  # another time-zone database has other places
        assert ours == theirs


def test_every_item_can_be_answered():
    items = cloze_items()
    assert len(items) >= 600
    assert len({(item.context, item.choices) for item in items}) == len(items)
    for item in items:
        assert len(set(item.choices)) == 4
        assert list(item.choices) == sorted(item.choices), "their order says nothing"
        assert all(choice.startswith(" ") for choice in item.choices)
        assert not item.context.endswith(" ")
    places = np.bincount([item.answer for item in items])
    assert places.min() > len(items) / 8, "no place is right so rarely that guessing another would pay"


def test_words_are_those_of_the_held_out_text():
    text = qviz.models.heldout_text()
    for item in cloze_items("words"):
        assert f"{item.context}{item.choices[item.answer]}." in text


def test_sums_are_right_and_wrong_where_they_should_be():
    for task in ("sums of 1-digit numbers", "sums of 2-digit numbers"):
        for item in cloze_items(task):
            *solved, asked = item.context.removesuffix(" =").split(", ")
            assert all(eval(line.replace("=", "==")) for line in solved)  # our own file
            assert eval(asked) == int(item.choices[item.answer])


@pytest.mark.parametrize(
    "choices", [(" States", " Kingdom", " people", " world"), (" States of America", " States of Peru")]
)
def test_probabilities_are_those_of_the_model(tiny, choices):
    """Against one pass for each choice, written out in float64.

    A logit near 20 is known to 20 · 2⁻²⁴ for each of the hundred or so roundings on its way: to a thousandth, amply.
    """
    context = "The President of the United"
    found = answer_cloze(tiny, [ClozeItem("", context, choices, 0)])
    whole = [tiny.tokenizer.encode(context + choice) for choice in choices]
    shared = next(k for k in range(99) if len({tuple(ids[: k + 1]) for ids in whole}) > 1)
    for k, ids in enumerate(whole):
        logits = tiny.logits(ids[:-1]).astype(np.float64)
        top = logits.max(axis=1, keepdims=True)
        log_p = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
        want = log_p[np.arange(len(ids) - 1), ids[1:]][shared - 1 :].sum()
        assert_within(found.log_p[0, k], want, shown_bound(3))
    assert found.right[0]


def test_items_do_not_depend_on_those_beside_them(tiny):
    items = cloze_items("words")[:12] + cloze_items("places")[:12]
    together = answer_cloze(tiny, items)
    for k in (0, 5, 17, 23):
        alone = answer_cloze(tiny, items[k : k + 1])
        assert alone.chosen[0] == together.chosen[k]
        assert alone.items == (items[k],)


def test_what_a_model_has_learnt_it_knows(tiny):
    words = answer_cloze(tiny, cloze_items("words"))
    sums = answer_cloze(tiny, cloze_items("sums of 2-digit numbers"))
    assert words.accuracy > 0.5
    assert sums.accuracy < 0.4  # never learnt: four choices, of which one is right
    assert repr(words) == f"ClozeAnswers({words.right.sum()} of 240 right)"


def test_progress_is_told(tiny):
    told = []
    answer_cloze(tiny, cloze_items("places")[:40], progress=lambda *p: told.append(p))
    assert {what for what, *_ in told} == {"answering"}
    assert sorted(done for _, done, _ in told) == list(range(1, told[0][2] + 1))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "0 items"),
        ([ClozeItem("", "a", (" b", " c"), 0), ClozeItem("", "a", (" b", " c", " d"), 0)], "equally many"),
        (
            [ClozeItem("", "The President of the United", (" States", " States of"), 0)],
            "one choice begins with another",
        ),
        ([ClozeItem("", "", ("A", "B"), 0)], "a context is needed"),
    ],
)
def test_what_cannot_be_answered_is_refused(tiny, items, message):
    if message == "a context is needed":
        tiny = qviz.Transformer(qviz.load("tiny"), activations="float")
        tiny.tokenizer.add_bos = False
    with pytest.raises(QvizError, match=message):
        answer_cloze(tiny, items)


def test_a_task_that_is_not_there_is_refused():
    with pytest.raises(QvizError, match=r"no task 'chess'; there are 'words', 'places'"):
        cloze_items("chess")
