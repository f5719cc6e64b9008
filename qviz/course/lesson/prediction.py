"""`predict` and `lock`: decide first, then move the controls.

Predicting before looking makes people see more of what there is to see, and a demonstration that is only watched
teaches little (Crouch, Fagen, Callan and Mazur, *Classroom demonstrations*, American Journal of Physics 72, 2004). So
an explorer's controls stay locked until there is a prediction, and a statement of how sure it is. The picture itself is
there from the start.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from qviz._arguments import check_methods, checked
from qviz.course.lesson import progress_file as _store
from qviz.course.lesson.bank import Question, question
from qviz.course.lesson.fold import Folded, fold
from qviz.errors import LessonError, ProgressError, QvizError, shortened
from qviz.figures import _theme
from qviz.widgets import modules
from qviz.widgets.base import Explorer

_STATIC = Path(__file__).parent / "static"

LEVELS = (50, 60, 70, 80, 90, 100)
"""How sure one can say to be, in percent; below them comes guessing, where there are more than two options."""


class Card(anywidget.AnyWidget):
    """Words and form controls, drawn by `static/lesson.js`; what a person does comes back as a message."""

    _esm = modules.joined(_STATIC / "lesson.js")
    _css = _theme.css() + (_STATIC / "lesson.css").read_text(encoding="utf-8")
    kind = traitlets.Unicode().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)

    def __repr__(self) -> str:
        return f"Card({self.kind})"


def unlocked() -> bool:
    """Whether this is a teacher's screen: ``QVIZ_UNLOCKED=1`` leaves every explorer open."""
    return os.environ.get("QVIZ_UNLOCKED", "").strip().lower() not in ("", "0", "no", "false")


def levels(options: int) -> tuple[int, ...]:
    """What a student can say about being sure, in percent.

    Examples
    --------
    >>> levels(2)
    (50, 60, 70, 80, 90, 100)
    >>> levels(3)[:2]
    (33, 50)
    """
    return LEVELS if options <= 2 else (round(100 / options), *LEVELS)


class Prediction(ipywidgets.VBox):  # type: ignore[misc]
    """A question that opens an explorer; see `predict`.

    Attributes
    ----------
    question : Question
    explorer : Explorer or None
    state : str
        ``"open"``, ``"answered"``, or ``"shown"`` if the answer was asked for without a prediction.
    card : Card
        What is drawn.

    Examples
    --------
    >>> prediction = Prediction(question("05.3"))
    >>> prediction.state
    'open'
    """

    def __init__(self, asked: Question, explorer: Explorer | None = None) -> None:
        self.question, self.explorer = asked, explorer
        self.state, self.chosen, self.confidence = "open", "", 0.0
        self._note = ""
        self.card = Card(kind="prediction")
        self.card.on_msg(self._message)
        self._load()
        apart = explorer is not None and explorer.was_displayed
        super().__init__([self.card] if explorer is None or apart else [self.card, explorer])
        self.add_class("qviz-prediction")
        self._where = "above" if apart else "below"
        if explorer is not None and self.state == "open":
            lock(explorer, asked.id)
        self._show()

    def answer(self, option: str, confidence: float) -> Prediction:
        """Do what choosing an option and a confidence does; the first answer counts.

        Parameters
        ----------
        option : str
            Its key, such as ``"a"``, or its text.
        confidence : float
            In percent: 50 is a toss-up, 100 certain; with more than two options, less is possible.

        Returns
        -------
        Prediction
            Itself.

        Raises
        ------
        LessonError
            No such option, or not a probability.
        """
        chosen = self.question.option(option)
        least = min(levels(len(self.question.options)))
        if not least <= confidence <= 100:
            raise LessonError(f"how sure is {shortened(confidence)} %? Say {least} (guessing) to 100 (certain)")
        self.state, self.chosen, self.confidence = "answered", chosen.key, confidence / 100
        keep = _store.store()
        n = len(self.question.options)
        given = _store.Answer(chosen.key, chosen.right, self.confidence, n, _store.now())
        self._note = keep.record(self.question.id, given)
        self._open()
        return self

    def show_me(self) -> Prediction:
        """Open the explorer and show the answer without a prediction; this counts as not answered."""
        if self.state == "open":
            self.state = "shown"
            self._open()
        return self

    def _load(self) -> None:
        try:
            before = _store.store().load().answers.get(self.question.id)
        except ProgressError as error:
            self._note = str(error)
            return
        keys = [option.key for option in self.question.options]
        if before is not None and before.option in keys:  # else the question has changed since
            self.state, self.chosen, self.confidence = "answered", before.option, before.confidence

    def _open(self) -> None:
        if self.explorer is not None:
            self.explorer.unlock(self.question.id)
        self._show()

    def _message(self, _card: Card, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict) or self.state != "open":
            return
        try:
            if content.get("event") == "answer":
                self.answer(str(content["option"]), float(content["confidence"]))
            elif content.get("event") == "show":
                self.show_me()
        except (QvizError, KeyError, TypeError, ValueError) as error:
            self._note = str(error)
            self._show()

    def _show(self) -> None:
        asked = self.question
        data: dict[str, Any] = {
            "id": asked.id,
            "text": asked.text,
            "options": [{"key": option.key, "text": option.text} for option in asked.options],
            "levels": list(levels(len(asked.options))),
            "state": self.state,
            "note": self._note,
            "opens": self._opens(),
        }
        if self.state != "open":
            chosen = asked.option(self.chosen) if self.chosen else asked.right
            data |= {
                "right": asked.right.key,
                "chosen": self.chosen,
                "sure": round(100 * self.confidence),
                "mistake": chosen.mistake,
                "feedback": chosen.feedback,
                "because": "" if chosen.right else asked.right.feedback,
                "look": asked.look,
                "source": asked.source,
            }
        self.card.data = data

    def _opens(self) -> str:
        """What the answer does, in words."""
        if self.explorer is None:
            return ""
        if self.state == "open" and self.question.id not in self.explorer.locks:
            return f"The controls {self._where} are open on this machine (QVIZ_UNLOCKED); a prediction still counts."
        can = (
            "shows the rest, and its controls unlock,"
            if self.question.veils
            else "can be read already; its controls unlock"
        )
        return (
            f"The picture {self._where} {can} with your prediction."
            if self.state == "open"
            else f"The controls {self._where} are unlocked."
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/plain" in bundle:
            bundle["text/plain"] = repr(self)  # whole: where nothing runs, this is the question
        return bundle

    def __repr__(self) -> str:
        choices = " / ".join(option.text for option in self.question.options)
        return f"Prediction {self.question.id}: {self.question.text} ({choices})"


class _Answered(Prediction):
    """A prediction with what answers it underneath, folded."""

    def __init__(self, asked: Question, explorer: Explorer | None, folded: Folded) -> None:
        self.folded = folded
        super().__init__(asked, explorer)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        for output in (super()._repr_mimebundle_(), self.folded):
            display(output, raw=isinstance(output, dict))


check_methods(Prediction, LessonError)


@checked(LessonError)
def predict(id: str, unlocks: Explorer | None = None, shows: Any = None) -> Prediction:
    """Ask for a prediction; it unlocks an explorer.

    Shows the question with its options and asks how sure the student is. Then the explorer's controls unlock, and the
    answer appears: what was right, which misconception a wrong option comes from, and what to look at. “Show me” opens
    it without a prediction, for teachers; so does the environment variable ``QVIZ_UNLOCKED=1``.

    Parameters
    ----------
    id : str
        The question, such as ``"05.3"``.
    unlocks : Explorer, optional
        What to hold locked until then. It is shown under the question unless it has been displayed before.
    shows : object, optional
        A table, or a text, that answers the question: shown under it as by `fold`, closed until somebody opens it.

    Returns
    -------
    Prediction
        Displaying it asks.

    Raises
    ------
    LessonError
        No such question, one without options, or something that cannot be locked.

    Examples
    --------
    >>> asked = predict("05.3").answer("b", 80)
    >>> asked.state, asked.question.right.text
    ('answered', 'About 20 % less')
    """
    asked = _predictable(id)
    if unlocks is not None and not isinstance(unlocks, Explorer):
        raise LessonError(f"{type(unlocks).__name__} cannot be locked; give an explorer of qviz.widgets as `unlocks`")
    return Prediction(asked, unlocks) if shows is None else _Answered(asked, unlocks, fold(shows, id))


@checked(LessonError)
def lock(explorer: Explorer, *ids: str) -> Explorer:
    """Hold an explorer's controls until questions further down the page are answered.

    For an explorer that is shown before its question; `predict` locks by itself otherwise. Questions that have been
    answered before hold nothing.

    Parameters
    ----------
    explorer : Explorer
    *ids : str
        Questions; each holds the controls that it names, or all.

    Returns
    -------
    Explorer
        The same, to be displayed.

    Raises
    ------
    LessonError
        No such question, or one without options.
    """
    for id in ids:
        asked = _predictable(id)
        if unlocked():
            continue
        try:
            answered = id in _store.store().load().answers
        except ProgressError:
            answered = False  # the question itself will tell
        if not answered:
            explorer.lock(id, _reason(explorer, asked), asked.controls, asked.veils)
    return explorer


def _reason(explorer: Explorer, asked: Question) -> str:
    held = [explorer.controls[name].description for name in asked.controls if name in explorer.controls]
    what = " and ".join(f"“{name[0].upper()}{name[1:]}”" for name in held) if held else "All controls"
    verb = "is" if len(held) == 1 else "are"
    number = asked.id.partition(".")[2]
    rest = "What would answer it is hidden until then." if asked.veils else "The picture can be read already."
    return f"{what} {verb} locked until you have made prediction {number}. {rest}"


def _predictable(id: str) -> Question:
    asked = question(id)
    asked.right  # noqa: B018  raises if there is nothing to choose from
    return asked
