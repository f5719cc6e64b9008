"""An output that answers a prediction is closed until somebody opens it."""

from qviz import figures
from qviz.course import lesson

TABLE = figures.table(("bits", "gained, dB"), [(5, 6.3)])


def test_it_is_closed_whoever_has_answered():
    """A stored notebook is compared with what it shows to people who have answered, too."""
    before = lesson.fold(TABLE, "00.1")
    assert before._repr_html_().startswith("<details><summary>What prediction 1 is about, measured: open it when")
    assert TABLE._repr_html_() in before._repr_html_()
    lesson.predict("00.1").answer("b", 80)
    assert lesson.fold(TABLE, "00.1")._repr_html_() == before._repr_html_()


def test_as_text_it_is_what_is_inside():
    """A terminal cannot fold; tests compare what is inside."""
    assert repr(lesson.fold(TABLE, "00.1")) == repr(TABLE)


def test_text_is_escaped():
    assert lesson.fold("<b>", "the <end>")._repr_html_() == (
        "<details><summary>the &lt;end&gt;</summary><pre>&lt;b&gt;</pre></details>"
    )
