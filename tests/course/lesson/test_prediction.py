"""A prediction holds an explorer's controls until it is made; the picture is there all the time."""

from __future__ import annotations

import json

import ipywidgets
import numpy as np
import pytest

from qviz import quantize
from qviz.course import lesson
from qviz.errors import LessonError, WidgetError
from qviz.widgets import BitsExplorer, BlockExplorer, TensorExplorer

W = np.random.default_rng(3).standard_normal((8, 256)).astype(np.float32)


@pytest.fixture
def bits():
    return BitsExplorer(W, granularity="group")


def note(explorer):
    """What stands above the controls."""
    first = explorer.children[0]
    shown = isinstance(first, ipywidgets.HTML) and first.layout.display != "none"
    return first.value if shown else ""


def test_controls_are_locked_until_there_is_a_prediction(bits):
    before, frame = {n: c.disabled for n, c in bits.controls.items()}, bits.figure.frame
    asked = lesson.predict("02.2", unlocks=bits)
    assert all(control.disabled for control in bits.controls.values())
    assert "locked until you have made prediction 2" in note(bits)
    assert bits.figure.frame == frame, "the picture must not change"
    assert asked.children == (asked.card, bits)
    asked.answer("b", 70)
    assert {n: c.disabled for n, c in bits.controls.items()} == before
    assert note(bits) == ""
    assert "qviz-locked" not in bits._dom_classes


def test_only_named_controls_are_held_and_two_locks_add_up(bits):
    assert lesson.lock(bits, "00.1", "00.2") is bits
    assert bits.locked == {"bits", "granularity", "group_size"}
    assert not bits.controls["sym"].disabled
    assert "“Bits” is locked until you have made prediction 1." in note(bits)
    assert "“One scale per” and “Group size” are locked until you have made prediction 2." in note(bits)
    lesson.predict("00.1", unlocks=bits).answer("a", 50)
    assert bits.locked == {"granularity", "group_size"}
    assert not bits.controls["bits"].disabled
    lesson.predict("00.2", unlocks=bits).show_me()
    assert not bits.locked


def test_what_the_explorer_disables_itself_stays_disabled(bits):
    asked = lesson.predict("00.1", unlocks=bits)
    lesson.lock(bits, "00.2")
    bits.controls["granularity"].value = "tensor"  # from Python; group_size means nothing now
    assert bits.controls["group_size"].disabled
    bits.controls["granularity"].value = "group"
    assert bits.controls["group_size"].disabled, "the lock still holds it"
    bits.controls["granularity"].value = "tensor"
    asked.answer("b", 50)
    bits.unlock("00.2")
    assert bits.controls["group_size"].disabled, "nobody needs it"
    bits.controls["granularity"].value = "group"
    assert not bits.controls["group_size"].disabled


def test_clicks_in_the_picture_are_held_too():
    lens = BlockExplorer(quantize(W, "Q4_0"))
    asked = lesson.predict("04.2", unlocks=lens)
    raw = bytes(lens.figure["lens"].raw)
    flip = {"event": "flip", "byte": 2, "bit": 0}
    lens._message(lens.figure, flip, [])
    assert bytes(lens.figure["lens"].raw) == raw
    lens.flip(2, 0)  # Python is not locked
    lens.reset()
    asked.answer("c", 100)
    lens._message(lens.figure, flip, [])
    assert bytes(lens.figure["lens"].raw) != raw


def test_pointing_is_not_held():
    tensor = TensorExplorer(quantize(W, "Q4_0"))
    said = []
    tensor.figure.send = lambda content, buffers=None: said.append(content)
    lesson.predict("00.3", unlocks=tensor)
    tensor._message(tensor.figure, {"event": "locate", "panel": "overview", "row": 0, "column": 0}, [])
    assert said, "reading the picture is what the lock leaves"


def test_feedback_names_the_misconception():
    asked = lesson.predict("00.1")
    assert asked.card.data["state"] == "open"
    assert not {"right", "feedback", "mistake"} & set(asked.card.data), "no peeking in the browser's tools"
    asked.answer("By about 20 dB", 90)
    shown = asked.card.data
    assert (shown["chosen"], shown["right"], shown["sure"]) == ("c", "b", 90)
    assert shown["mistake"] == "taking half the error for a tenth of it"
    assert "tenth" in shown["feedback"]
    assert shown["because"] == asked.question.right.feedback
    assert "Slide" in shown["look"]


def test_showing_counts_as_not_answered(progress_path, bits):
    asked = lesson.predict("00.1", unlocks=bits).show_me()
    assert (asked.state, bits.locked) == ("shown", frozenset())
    assert asked.card.data["mistake"] == ""
    assert not progress_path.exists()
    assert lesson.predict("00.1").state == "open"


def test_an_answer_is_kept_and_the_first_one_counts(progress_path, bits):
    lesson.predict("00.1").answer("a", 60)
    kept = json.loads(progress_path.read_text())["answers"]["00.1"]
    assert (kept["option"], kept["right"], kept["confidence"], kept["options"]) == ("a", False, 0.6, 3)
    lesson.predict("00.1").answer("b", 100)
    assert json.loads(progress_path.read_text())["answers"]["00.1"] == kept
    again = lesson.predict("00.1", unlocks=lesson.lock(bits, "00.1"))
    assert (again.state, again.chosen, bits.locked) == ("answered", "a", frozenset())


def test_a_teachers_screen_is_open(monkeypatch, bits, progress_path):
    monkeypatch.setenv("QVIZ_UNLOCKED", "1")
    asked = lesson.predict("00.1", unlocks=lesson.lock(bits, "00.1"))
    assert (asked.state, bits.locked, note(bits)) == ("open", frozenset(), "")
    assert "QVIZ_UNLOCKED" in asked.card.data["opens"]
    asked.answer("b", 50)
    assert progress_path.exists()


def test_the_picture_is_not_shown_twice(bits):
    bits._repr_mimebundle_()  # what displaying it in its own cell does
    asked = lesson.predict("00.1", unlocks=bits)
    assert asked.children == (asked.card,)
    assert "above" in asked.card.data["opens"]


def test_messages_of_the_browser(bits):
    asked = lesson.predict("00.1", unlocks=bits)
    for nonsense in (None, {}, {"event": "answer"}, {"event": "answer", "option": "b", "confidence": "very"}):
        asked._message(asked.card, nonsense, [])
        assert (asked.state, bits.locked) == ("open", {"bits"})
    asked._message(asked.card, {"event": "answer", "option": "z", "confidence": 50}, [])
    assert "has no option 'z'" in asked.card.data["note"]
    asked._message(asked.card, {"event": "answer", "option": "b", "confidence": 50}, [])
    assert (asked.state, bits.locked) == ("answered", frozenset())
    asked._message(asked.card, {"event": "answer", "option": "a", "confidence": 100}, [])
    assert asked.chosen == "b"


def test_text_does_not_depend_on_who_runs_it():
    first = repr(lesson.predict("00.1"))
    lesson.predict("00.1").answer("a", 80)
    assert repr(lesson.predict("00.1")) == first
    assert first.startswith("Prediction 00.1: You go from 4 bits to 5")
    assert lesson.predict("00.1")._repr_mimebundle_()["text/plain"] == first, "ipywidgets would cut it short"
    assert "By about 6 dB" in first


@pytest.mark.parametrize("confidence", [0, 32, 101, float("nan")])
def test_a_confidence_is_a_probability(confidence):
    with pytest.raises(LessonError, match="how sure"):
        lesson.predict("00.1").answer("b", confidence)


def test_wrong_use_is_refused_in_words(bits):
    with pytest.raises(LessonError, match=r"no question '00.9'; lesson 00 has 00.1, 00.2, 00.3"):
        lesson.predict("00.9")
    with pytest.raises(LessonError, match="there are lessons 00, "):
        lesson.predict("x")
    with pytest.raises(LessonError, match=r"unlocks is IntSlider.*; an Explorer or None is wanted"):
        lesson.predict("00.1", unlocks=ipywidgets.IntSlider())
    with pytest.raises(LessonError, match="no options to choose from"):
        lesson.predict("05.bits")
    with pytest.raises(WidgetError, match="no control 'x' to lock; there are "):
        bits.lock("k", "why", ["x"])


def test_damaged_progress_does_not_stop_a_lesson(progress_path, bits):
    progress_path.parent.mkdir()
    progress_path.write_text("{")
    asked = lesson.predict("00.1", unlocks=bits)
    assert "damaged" in asked.card.data["note"]
    assert asked.state == "open"
    asked.answer("b", 50)
    assert json.loads(progress_path.read_text())["answers"]["00.1"]["option"] == "b"
