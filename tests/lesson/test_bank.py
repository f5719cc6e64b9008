"""The questions are complete: every wrong option names its misconception, every control that is locked exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qviz import lesson
from qviz.errors import LessonError
from qviz.lesson import bank

QUESTIONS = list(lesson.questions().values())
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
GOOD = """
[[question]]
id = "00.1"
text = "Which?"
[[question.option]]
text = "this"
feedback = "yes"
[[question.option]]
text = "that"
mistake = "mixing up"
feedback = "no"
"""


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.id)
def test_a_question_is_complete(asked):
    assert re.fullmatch(r"\d\d\.(\d+|[a-z_]+)", asked.id)
    assert asked.text.endswith("?")
    assert bool(asked.options) != (asked.answer is not None), "options, or a number"
    if asked.options:
        assert re.fullmatch(r"\d\d\.\d+", asked.id), "a prediction has its number in the lesson for a name"
        assert 2 <= len(asked.options) <= 4
        assert len({option.text for option in asked.options}) == len(asked.options)
    for part in (*(option for option in asked.options if not option.right), *asked.wrong):
        assert 8 < len(part.mistake) < 70
        assert not part.mistake.endswith(".")
        assert len(part.feedback) > 40, "what the mistake overlooks"
        assert part.feedback.endswith((".", "?"))
    assert all(abs(wrong.value - asked.answer) > asked.tolerance for wrong in asked.wrong)
    assert asked.source == "" or re.fullmatch(
        r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull|discussions)/\d+", asked.source
    )


def test_the_right_option_is_not_always_in_the_same_place():
    keys = [asked.right.key for asked in QUESTIONS if asked.options]
    assert max(keys.count(key) for key in keys) <= 0.6 * len(keys)


def test_every_prediction_is_made_in_its_lesson():
    for asked in QUESTIONS:
        if asked.options:
            (path,) = NOTEBOOKS.glob(f"{asked.id[:2]}_*.ipynb")
            assert f'lesson.predict(\\"{asked.id}\\"' in path.read_text(encoding="utf-8")


def test_a_file_is_read(tmp_path):
    path = tmp_path / "00.toml"
    path.write_text(GOOD)
    (asked,) = bank.read(path)
    assert (asked.id, asked.right.text, asked.option("b").mistake) == ("00.1", "this", "mixing up")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"00.1"', '"01.1"', "belongs into another file: this one is lesson 00's"),
        ('mistake = "mixing up"\n', "", "exactly one option has no `mistake`"),
        ('text = "Which?"\n', "", "KeyError: 'text'"),
        ('feedback = "no"', "", "KeyError: 'feedback'"),
        ("[[question]]", "[[question]", "00.toml: TOMLDecodeError"),
        ('id = "00.1"', 'id = "00.1"\nanwser = 4', "anwser"),
    ],
)
def test_a_faulty_file_is_refused_by_name(tmp_path, old, new, message):
    path = tmp_path / "00.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(LessonError, match=message) as error:
        bank.read(path)
    assert "00" in str(error.value)
