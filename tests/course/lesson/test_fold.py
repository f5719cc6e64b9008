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


def test_a_prediction_shows_what_answers_it_folded_under_the_question(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda output, raw=False: shown.append((output, raw)))
    lesson.predict("06.5", shows=TABLE)._ipython_display_()
    (card, raw), (table, _) = shown
    assert raw
    assert card["text/plain"].startswith("Prediction 06.5: ")
    assert table._repr_html_() == lesson.fold(TABLE, "06.5")._repr_html_()
    assert not hasattr(lesson.predict("06.5"), "_ipython_display_"), "without a table it is shown as any widget"
