"""The questions are complete: every wrong option names its misconception, every control that is locked exists."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from qviz.course import lesson
from qviz.course.lesson import bank
from qviz.errors import LessonError

QUESTIONS = list(lesson.questions().values())
NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
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
    last = [asked.right is asked.options[-1] for asked in QUESTIONS if asked.options]
    assert max(keys.count(key) for key in keys) <= 0.5 * len(keys)
    assert sum(last) <= 0.5 * len(last)


def test_an_id_that_moved_is_free_no_question_has_it_now():
    """Else an old answer would count for two questions."""
    before = [id for asked in QUESTIONS for id in asked.was]
    assert len(before) == len(set(before)) == len(bank.moved())
    assert not set(before) & set(bank.questions())


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


def test_what_is_no_file_is_refused_at_once(tmp_path):
    """A pipe makes who reads it wait, and /dev/zero never ends."""
    pipe = tmp_path / "00.toml"
    os.mkfifo(pipe)
    for path, says in ((pipe, "not a regular file"), (tmp_path, "folder"), (tmp_path / "01.toml", "no such file")):
        with pytest.raises(LessonError, match=says):
            bank.read(path)
    if Path("/dev/zero").exists():
        with pytest.raises(LessonError, match="not a regular file"):
            bank.read(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"00.1"', '"01.1"', "belongs into another file: this one is lesson 00's"),
        ('mistake = "mixing up"\n', "", "exactly one option has no `mistake`"),
        ('text = "Which?"\n', "", "00.toml, question 00.1: text must be a text, found nothing"),
        ('feedback = "no"', "", "00.toml, question 00.1, option 2: feedback must be a text, found nothing"),
        ("[[question]]", "[[question]", "00.toml is not TOML"),
        ('id = "00.1"', 'id = "00.1"\nanwser = 4', "question 00.1: no key 'anwser' is known here; known are answer"),
        ('id = "00.1"', 'id = "00.1"\nanswer = "4"', "question 00.1: answer must be a number, found str '4'"),
        ('id = "00.1"', 'id = "00.1"\nanswer = true', "answer must be a number, found bool True"),
        ('id = "00.1"', 'id = "00.1"\nanswer = nan', "answer must be a finite number"),
        ('id = "00.1"', 'id = "00.1"\ncontrols = "bits"', "controls must be a list of texts, found str 'bits'"),
        ('id = "00.1"', 'id = "00.1"\ncontrols = ["bits", 3]', "controls must be a list of texts, found 3 in it"),
        ('id = "00.1"', "id = 1", "question 1: id must be a text, found int 1"),
    ],
)
def test_a_faulty_file_is_refused_by_name(tmp_path, old, new, message):
    path = tmp_path / "00.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(LessonError, match=message) as error:
        bank.read(path)
    assert "00" in str(error.value)


@pytest.mark.parametrize("text", ["question = 3", "question = [3]", "question = [[]]", "other = 1", ""])
def test_a_file_without_tables_of_questions(tmp_path, text):
    path = tmp_path / "00.toml"
    path.write_text(text)
    with pytest.raises(LessonError, match=r"00\.toml: question must be a list of tables"):
        bank.read(path)
