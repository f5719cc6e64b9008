"""`score` and `progress`: how sure and how right over the course, and the file that remembers it."""

from __future__ import annotations

from typing import Any

from qviz.course.lesson import bank
from qviz.course.lesson import progress_file as _store
from qviz.course.lesson.prediction import Card
from qviz.errors import ProgressError
from qviz.figures.calibration import Calibration, calibration
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

ENOUGH = 10
"""Answers below which a score says little; the text then says so."""


def _predictions() -> list[bank.Question]:
    return [asked for asked in bank.questions().values() if asked.options]


class Score(Explorer):
    """How sure, how right: the calibration score of all predictions so far.

    A student who is right in 7 of 10 answers that they were 70 % sure of is *calibrated*: the points lie on the
    diagonal.
    Answers given in the same kernel appear at once, those of other notebooks when the cell runs.

    Attributes
    ----------
    figure : View
        ``figure["calibration"]`` is a `Calibration`.

    Examples
    --------
    >>> Score()
    Score()
    """

    _layout = "score"

    def __init__(self) -> None:
        super().__init__()
        self._arrange()
        _store.store().listen(self.update)

    def _scene(self) -> Scene:
        keep = _store.store()
        try:
            answers = keep.load().answers
        except ProgressError as error:
            keep.problem = str(error)
            answers = {}
        score = calibration([a.confidence for a in answers.values()], [a.right for a in answers.values()])
        n = len(answers)
        status = [Status("error", keep.problem)] if keep.problem else []
        if not n:
            status.append(Status("info", "No predictions yet. Make some, and come back: each one is a point here."))
            return Scene(self._layout, {}, status=tuple(status), summary="No predictions yet.")
        if n < ENOUGH:
            status.append(
                Status("info", f"{n} of at least {ENOUGH} answers: so few say little about how calibrated you are.")
            )
        return Scene(
            self._layout,
            {
                "calibration": Panel(
                    score,
                    "How sure, how right",
                    "Dashed: as right as you are sure. Below it you were too sure, above it too modest. A larger point "
                    "is more predictions; the line through it is the standard error of its share.",
                    label=_summary(score),
                )
            },
            (
                Readout("Predictions", f"{n} of {len(_predictions())}"),
                Readout("Right", f"{100 * score.right:.0f} %"),
                Readout("Sure, on average", f"{100 * score.sure:.0f} %"),
                Readout("Brier score", f"{score.brier:.2f}", "0 is best; saying 50 % every time gives 0.25"),
            ),
            _summary(score),
            (
                Table(
                    "By confidence",
                    ("how sure", "predictions", "right", "standard error"),
                    tuple(
                        (
                            f"{100 * sure:.0f} %",
                            str(count),
                            f"{100 * share:.0f} %",
                            f"{100 * low:.0f} … {100 * high:.0f} %",
                        )
                        for sure, count, share, low, high in zip(
                            score.confidence, score.counts, score.share, score.low, score.high, strict=True
                        )
                    ),
                ),
            ),
            tuple(status),
        )

    def __repr__(self) -> str:
        return "Score()"  # what it shows belongs to a person, not to the notebook


def _summary(score: Calibration) -> str:
    n = int(score.counts.sum())
    off = round(100 * (score.sure - score.right))
    verdict = (
        "as right as you were sure" if abs(off) <= 5 else f"{abs(off)} points too {'sure' if off > 0 else 'modest'}"
    )
    return (
        f"{n} prediction{'s' * (n != 1)}: {100 * score.right:.0f} % right, {100 * score.sure:.0f} % sure on average, "
        f"{verdict}. Brier score {score.brier:.2f}; 0 is best."
    )


class ProgressPanel(Card):
    """What has been answered, with a link to download it and a field to bring it back.

    Examples
    --------
    >>> ProgressPanel()
    ProgressPanel()
    """

    def __init__(self) -> None:
        super().__init__(kind="progress")
        self._said = ""
        self.on_msg(self._message)
        self._store = _store.store()
        self._store.listen(self.update)
        self.update()

    def update(self) -> None:
        """Show what is kept now."""
        said = self._said
        try:
            answers = self._store.load().answers
            text = self._store.load().text()
        except ProgressError as error:
            answers, text, said = {}, _store.StudentProgress().text(), str(error)
        rows = []
        for lesson in bank.lessons():
            ids = [asked.id for asked in _predictions() if asked.id.startswith(f"{lesson}.")]
            given = [answers[id] for id in ids if id in answers]
            if ids:
                rows.append([lesson, f"{len(given)} of {len(ids)}", str(sum(a.right for a in given)) if given else "–"])
        self.data = {
            "rows": rows,
            "file": text,
            "said": said or self._store.problem,
            "kept": f"Kept in {self._store.path}, on the machine that runs this notebook. Where that machine forgets "
            f"everything, as on Binder, download the file before you leave.",
        }

    def bring_back(self, text: str) -> None:
        """Do what choosing a file does: take over its answers; earlier ones count.

        Parameters
        ----------
        text : str
            Its content. What is wrong with it is said in the panel.
        """
        try:
            n = self._store.bring_back(text)
            self._said = f"Brought back: {n} prediction{'s' * (n != 1)} now."
        except ProgressError as error:
            self._said = str(error)
        self.update()

    def start_over(self) -> None:
        """Forget all answers; the old file is kept under another name."""
        try:
            kept = self._store.start_over()
            self._said = (
                f"Started over. The old file is kept as {kept.name}." if kept else "There was nothing to forget."
            )
        except OSError as error:
            self._said = f"The file cannot be moved aside: {error.strerror or error}."
        self.update()

    def _message(self, _card: Card, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict):
            return
        if content.get("event") == "upload":
            self.bring_back(str(content.get("text", "")))
        elif content.get("event") == "over":
            self.start_over()

    def __repr__(self) -> str:
        return "ProgressPanel()"


def score() -> Score:
    """How sure, how right, over the whole course.

    Returns
    -------
    Score
        Displaying it shows the score.
    """
    return Score()


def progress() -> ProgressPanel:
    """What has been answered, to download and to bring back.

    Returns
    -------
    ProgressPanel
        Displaying it shows the lessons and two buttons.
    """
    return ProgressPanel()
