"""A graded cell says one thing, also in IPython."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from qviz import lesson
from qviz.errors import WrongAnswerError


def test_what_was_earned(capsys):
    with lesson.graded(points=1):
        pass
    with lesson.graded(points=6):
        assert lesson.check("any", [1.0], [1.0]).require()
    assert capsys.readouterr().out == "✓ passed, 1 point\n✓ passed, 6 points\n"


@pytest.mark.parametrize(
    ("said", "shown"),
    [("mask the upper two bits off", "mask the upper two bits off"), ("", "a check failed; look at the last line")],
)
def test_what_is_wrong(said, shown, capsys):
    with pytest.raises(AssertionError, match=shown) as raised, lesson.graded(points=6):
        raise AssertionError(said)
    assert isinstance(raised.value, WrongAnswerError)
    assert raised.value._render_traceback_() == [f"✗ {raised.value}"]
    assert capsys.readouterr().out == ""


def test_a_check_of_ours_keeps_its_words():
    with pytest.raises(WrongAnswerError, match="There is no answer yet"), lesson.graded(points=6):
        lesson.check("any", None, 3).require()


def test_errors_of_the_answer_itself_are_shown_as_they_are():
    with pytest.raises(ZeroDivisionError), lesson.graded(points=6):
        print(1 // 0)


def test_a_notebook_shows_one_line(capsys):
    cell = "from qviz import lesson\nwith lesson.graded(points=2):\n    assert 1 == 2, 'count both ends'"
    InteractiveShell().run_cell(cell)
    shown = capsys.readouterr()
    assert (shown.out + shown.err).strip() == "✗ count both ends"
