"""What a class believes: counts by hand on a class of four, and files that are none of ours."""

from __future__ import annotations

import json
import math

import nbformat
import pytest
from click.testing import CliRunner

from qviz.cli import main
from qviz.course import classroom, lesson
from qviz.course.lesson import Answer, StudentProgress, bank, progress_file
from qviz.errors import LessonError, ProgressError, QvizError

QUESTION = next(q for q in bank.questions().values() if len(q.options) >= 3)
RIGHT = QUESTION.right.key
WRONG = [option for option in QUESTION.options if not option.right]


def said(key, sure, id=QUESTION.id):
    right = key == RIGHT
    return StudentProgress({id: Answer(key, right, sure, len(QUESTION.options), "2026-01-31T12:00:00Z")})


@pytest.fixture
def four():
    return {
        "ada": said(RIGHT, 0.9),
        "ben": said(WRONG[0].key, 0.9),
        "cyd": said(WRONG[0].key, 0.5),
        "dan": said(WRONG[1].key, 0.5),
    }


@pytest.fixture
def folder(four, tmp_path):
    for name, progress in four.items():
        (tmp_path / "handed").mkdir(exist_ok=True)
        (tmp_path / "handed" / f"{name}.json").write_text(progress.text())
    return tmp_path / "handed"


def test_a_question_is_counted(four):
    (row,) = classroom.Class(four).rows
    assert (row.answers, row.right, row.sure, row.sure_and_wrong) == (4, 0.25, 0.7, 1)
    assert row.chosen == {
        option.key: [o.key for o in (QUESTION.right, WRONG[0], WRONG[0], WRONG[1])].count(option.key)
        for option in QUESTION.options
    }
    # Wilson at one standard error, by hand: (p + 1/2n ± sqrt(p q / n + 1/4n²)) / (1 + 1/n) with p = 1/4, n = 4
    centre, half = (0.25 + 1 / 8) / 1.25, math.sqrt(0.25 * 0.75 / 4 + 1 / 64) / 1.25
    assert (row.low, row.high) == pytest.approx((centre - half, centre + half))


def test_misconceptions_by_students(four):
    first, second = classroom.Class(four).beliefs()
    assert (first.mistake, first.count, first.sure, first.questions) == (WRONG[0].mistake, 2, 0.7, (QUESTION.id,))
    assert (second.mistake, second.count) == (WRONG[1].mistake, 1)


def test_an_option_that_is_gone_is_not_counted(four):
    four["eve"] = said("z", 0.9)
    assert classroom.Class(four).rows[0].answers == 4


def test_who_has_not_opened_what(four):
    lesson = QUESTION.id.partition(".")[0]
    other = next(name for name in bank.lessons() if name != lesson)
    together = classroom.Class(four)
    assert together.opened(lesson) == ("ada", "ben", "cyd", "dan")
    assert together.not_opened(other) == ("ada", "ben", "cyd", "dan")


def test_what_all_know_is_not_discussed():
    everybody = classroom.Class({name: said(RIGHT, 0.9) for name in "abc"})
    assert everybody.to_discuss() == ()


def test_gain_by_hand():
    before = classroom.Class({"a": said(RIGHT, 0.5), "b": said(WRONG[0].key, 0.5), "only": said(RIGHT, 0.5)})
    after = classroom.Class({"a": said(RIGHT, 0.5), "b": said(RIGHT, 0.5)})
    gained = classroom.gain(before, after)
    assert (gained.students, gained.before, gained.after, gained.gain) == (2, 0.5, 1.0, 1.0)
    with pytest.raises(LessonError, match="nobody has a file in both"):
        classroom.gain(before, classroom.Class({}))
    with pytest.raises(LessonError, match="nothing was left to gain"):
        classroom.gain(after, after)


def test_the_command(folder):
    (folder / "notes.json").write_text("{}")
    (folder / "cut.json").write_text(said(RIGHT, 0.9).text()[:40])
    shown = CliRunner().invoke(main, ["class", str(folder)])
    assert shown.exit_code == 0, shown.output
    assert "4 students, 4 answers: 25% right, 70% sure" in shown.output
    assert WRONG[0].mistake[:20] in shown.output
    assert "not read: notes" in shown.output
    assert "not read: cut" in shown.output
    told = json.loads(CliRunner().invoke(main, ["class", str(folder), "--json"]).output)
    assert told["students"] == 4
    assert set(told["refused"]) == {"notes", "cut"}
    assert told["questions"][0]["question"] == QUESTION.id


@pytest.mark.parametrize(("make", "words"), [(False, "is no folder"), (True, "holds no .json file")])
def test_no_class_is_one_sentence(tmp_path, make, words):
    folder = tmp_path / "class"
    if make:
        folder.mkdir()
    shown = CliRunner().invoke(main, ["class", str(folder)])
    assert shown.exit_code == 2
    assert words in shown.output


WRONG_CALLS = [
    (lambda: classroom.gain(3, 3), "gain: before is 3; a Class is wanted"),
    (lambda: classroom.gain(classroom.Class({}), classroom.Class({}), seed="x"), "seed is 'x'; a whole number"),
    (lambda: classroom.Class(3), "Class: students is 3; a mapping"),
    (lambda: classroom.Class({}).to_discuss("all"), "Class.to_discuss: n is 'all'; a whole number"),
    (lambda: classroom.write_kit("kit", []), r"questions is \[\]; a whole number or None"),
    (lambda: classroom.write_kit(__file__), "test_classroom.py: cannot be written"),
    (lambda: classroom.read(3), "folder is 3"),
    (lambda: classroom.read("x" * 300), "too long for a file"),
    (lambda: StudentProgress.from_text(None), "text is None; a text is wanted"),
    (lambda: StudentProgress().merge(None), "other is None; a StudentProgress is wanted"),
    (lambda: progress_file.decode("x"), "raw is 'x'; bytes are wanted"),
    (lambda: lesson.question([]), r"id is \[\]; a text is wanted"),
    (lambda: lesson.predict(3), "id is 3; a text is wanted"),
    (lambda: lesson.predict(QUESTION.id).answer(RIGHT, "sure"), "confidence is 'sure'; a number is wanted"),
    (lambda: lesson.check("01.1", 1, tolerance="x"), "tolerance is 'x'; a number or None"),
]


@pytest.mark.parametrize(("call", "says"), WRONG_CALLS)
def test_wrong_calls_say_what_was_wanted(call, says):
    with pytest.raises(QvizError, match=says):
        call()


@pytest.mark.parametrize("said", ["x" * 300, "x/" * 3000, "~nobody-at-all/x"])
def test_a_place_for_progress_that_cannot_be_is_one_sentence(monkeypatch, said):
    monkeypatch.setenv("QVIZ_PROGRESS", said)
    with pytest.raises(ProgressError, match=r"QVIZ_PROGRESS does not name a file: .*(not the path|too long)"):
        progress_file.store()


def test_the_kit_has_two_forms_without_a_common_question(tmp_path):
    a, b = classroom.write_kit(tmp_path / "kit")
    forms = []
    for path in (a, b):
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        forms.append([c.source.split('"')[1] for c in book.cells if "predict(" in c.source])
    assert len(forms[0]) == len(forms[1]) >= 6
    assert not set(forms[0]) & set(forms[1])
    assert [id.partition(".")[0] for id in forms[0]] == [id.partition(".")[0] for id in forms[1]]
    assert all(bank.question(id).options for form in forms for id in form)
    with pytest.raises(LessonError, match="exists already"):
        classroom.write_kit(tmp_path / "kit")
    with pytest.raises(LessonError, match="a form can have"):
        classroom.write_kit(tmp_path / "other", 1000)
