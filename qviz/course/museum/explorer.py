"""`BugMuseum`: faults that shipped, to be diagnosed from what they did."""

from __future__ import annotations

import math
from typing import Any, Literal

import ipywidgets
import numpy as np

from qviz.course import museum
from qviz.course.museum import Exhibit, Number
from qviz.course.museum.figure import Label, TestRun, code_pair, column_gap, quiz
from qviz.errors import WidgetError
from qviz.figures import Window, error_image, weights_image
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_NONE = -1  # no diagnosis yet
_ZOOMS = (128, 64, 32)
_TESTS: tuple[tuple[Literal["blind", "sharp"], str], ...] = (
    ("blind", "The test that let it through"),
    ("sharp", "A test that would have caught it"),
)


class BugMuseum(Explorer):
    """Symptoms first, then a diagnosis, then the code.

    Each exhibit is a fault that some program had: two builds of one step, run on the same real weights. The pictures
    show what both make of them and where they part. Choose a diagnosis; a wrong one says why it does not fit. The right
    one opens the rest: both versions side by side, the test that passed and the one that would not have, the thread.

    Parameters
    ----------
    exhibit : str, optional
        Where to start, such as ``"stale-inverse"``; the first unless given.

    Raises
    ------
    MuseumError
        No such exhibit.

    Attributes
    ----------
    controls : dict
        ``exhibit``, ``next``, ``reveal``, ``zoom``, and ``diagnosis``: its number, -1 for none; the answers in the
        picture set it.
    figure : View
        ``figure["before"]``, ``figure["after"]`` and ``figure["error"]`` are `MatrixImage`, ``figure["gap"]`` is
        `ColumnGap`, ``figure["quiz"]`` is `Quiz`; once it is solved, ``figure["code"]`` is `CodePair`,
        ``figure["blind"]`` and ``figure["sharp"]`` are `TestRun`.
    tried : dict of str to list of int
        The diagnoses given so far.

    Examples
    --------
    >>> room = BugMuseum("block-index")
    >>> room.solved
    False
    >>> room.controls["diagnosis"].value = room.exhibit.answer
    >>> room.solved, room.figure["blind"].wrong, room.figure["sharp"].wrong
    (True, True, False)
    """

    _layout = "museum"
    _pages = (
        ("What was seen", ("story", "before", "after", "error")),
        ("Column by column", ("gap",)),
        ("What is wrong?", ("quiz", "plaque")),
        ("The code", ("code",)),
        ("The tests", ("blind", "sharp")),
    )

    def __init__(self, exhibit: str | None = None) -> None:
        super().__init__()
        first = museum.get(exhibit) if exhibit is not None else next(iter(museum.EXHIBITS.values()))
        self.tried: dict[str, list[int]] = {}
        self._revealed: set[str] = set()
        self.controls |= {
            "exhibit": ipywidgets.Dropdown(
                options=[(f"{i} · {e.symptom}", name) for i, (name, e) in enumerate(museum.EXHIBITS.items(), 1)],
                value=first.name,
                description="Exhibit",
                tooltip="the fault to look at",
                layout={"width": "min(100%, 520px)"},
            ),
            "next": ipywidgets.Button(description="Next exhibit", icon="arrow-right", tooltip="go to the next fault"),
            "reveal": ipywidgets.Button(
                description="Show the answer",
                icon="eye",
                tooltip="open the rest without a diagnosis",
                layout={"width": "auto"},
            ),
            "zoom": ipywidgets.Dropdown(
                options=[("whole matrix", 0), *((f"{n} × {n} weights", n) for n in _ZOOMS)],
                value=0,
                description="Show",
                tooltip="how much of the matrix the pictures show",
                layout={"width": "auto"},
            ),
            "diagnosis": ipywidgets.IntText(value=_NONE),
        }
        self._on_click("next", self.go_on)
        self._on_click("reveal", self.reveal)
        self._centre = (0, 0)
        self._arrange(("exhibit", "next", "reveal", "zoom"))

    @property
    def exhibit(self) -> Exhibit:
        """The fault on show."""
        return museum.get(self.controls["exhibit"].value)

    @property
    def solved(self) -> bool:
        """Whether it has been diagnosed rightly."""
        return self.exhibit.answer in self.tried.get(self.exhibit.name, ())

    @property
    def opened(self) -> bool:
        """Whether the answer is on show."""
        return self.solved or self.exhibit.name in self._revealed

    def go_on(self) -> None:
        """Go to the next exhibit; after the last, to the first."""
        names = list(museum.EXHIBITS)
        self.controls["exhibit"].value = names[(names.index(self.exhibit.name) + 1) % len(names)]

    def reveal(self) -> None:
        """Show the answer; it does not count as diagnosed."""
        self._revealed.add(self.exhibit.name)
        self.update()

    def _react(self, control: ipywidgets.Widget) -> None:
        diagnosis = self.controls["diagnosis"]
        if control is self.controls["exhibit"]:
            self._centre, self.controls["zoom"].value = (0, 0), 0
            given = self.tried.get(self.exhibit.name, [])
            diagnosis.value = given[-1] if given else _NONE
        elif control is diagnosis and diagnosis.value in range(len(self.exhibit.diagnoses)):
            given = self.tried.setdefault(self.exhibit.name, [])
            if diagnosis.value not in given and not self.opened:
                given.append(diagnosis.value)

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "answer":
            self.controls["diagnosis"].value = int(event["answer"])
        elif event["event"] == "locate":
            self.figure.send({"located": self.locate(int(event["row"]), int(event["column"]))})
        elif event["event"] == "zoom":
            zoom = self.controls["zoom"]
            sizes = [size for _, size in zoom.options]
            at = sizes.index(zoom.value) + (1 if event["into"] else -1)
            if 0 <= at < len(sizes):
                self._centre = (int(event["row"]), int(event["column"]))
                zoom.value = sizes[at]

    @property
    def window(self) -> Window:
        """The part of the matrices on show."""
        rows, columns = self.exhibit.trial.right.shape
        size = self.controls["zoom"].value or max(rows, columns)
        height, width = min(size, rows), min(size, columns)
        top = min(max(self._centre[0] - height // 2, 0), rows - height)
        left = min(max(self._centre[1] - width // 2, 0), columns - width)
        return Window(top, left, height, width)

    def locate(self, row: int, column: int) -> str:
        """Say what both builds have at one place.

        Parameters
        ----------
        row, column : int

        Returns
        -------
        str

        Raises
        ------
        WidgetError
            There is no such place.
        """
        trial = self.exhibit.trial
        if not (0 <= row < trial.right.shape[0] and 0 <= column < trial.right.shape[1]):
            raise WidgetError(f"no weight ({row}, {column}) in matrices of shape {trial.right.shape}")
        right, wrong = float(trial.right[row, column]), float(trial.wrong[row, column])
        return (
            f"row {row}, column {column}: correct build {_text.number(right)}, this build {_text.number(wrong)} · "
            f"{trial.block_name} {column // trial.block}, columns {column // trial.block * trial.block} … "
            f"{min((column // trial.block + 1) * trial.block, trial.right.shape[1]) - 1}"
        )

    def _scene(self) -> Scene:
        exhibit, opened = self.exhibit, self.opened
        self.controls["reveal"].disabled = opened
        trial = exhibit.trial
        rms = float(np.sqrt(np.square(trial.right, dtype=np.float64).mean()))
        window = self.window
        options = {"block": trial.block, "left": window.left, "crisp": True}
        colours = f"Blue −, orange +; darkest from ±{_text.number(3 * rms)}."
        gap = column_gap(trial.right, trial.wrong, trial.block, trial.block_name)
        right, wrong = (weights_image(w, limit=3 * rms, window=window) for w in (trial.right, trial.wrong))
        apart = error_image(trial.right, trial.wrong, limit=2 * rms, window=window)
        given = self.tried.get(exhibit.name, [])
        judged = range(len(exhibit.diagnoses)) if opened else given  # in the end, why the others do not fit, too
        choices = [(d.text, d.feedback, d.right) for d in exhibit.diagnoses]
        panels = {
            "story": Panel(Label((("What was seen", exhibit.story), ("Run here on", f"{trial.material}."))), ""),
            "before": Panel(right, "Correct build", colours, label="weights of the correct build", options=options),
            "after": Panel(wrong, "This build", f"{window.pixel_text}.", label="weights", options=options),
            "error": Panel(
                apart,
                "How far apart",
                "Logarithmic; grey: equal, magenta: NaN.",
                label="differences between the two builds",
                options=options,
            ),
            "gap": Panel(
                gap,
                "Where they part, column by column",
                f"{_lines(trial)}The height is the root mean square of the difference, "
                f"1 being the size of the weights.",
                label=_describe(gap.gap, gap.first),
            ),
            "quiz": Panel(quiz(exhibit.name, choices, judged), "What is wrong?", label="diagnoses to choose from"),
        }
        if opened:
            panels |= self._answer(exhibit)
        return Scene(
            self._layout,
            panels,
            self._readouts(exhibit),
            self._summary(exhibit, given),
            (self._table(exhibit), *((self._tests_table(exhibit),) if opened else ())),
            (Status("info", f"Not as it was found: {exhibit.made_up}"),) if opened and exhibit.made_up else (),
        )

    def _answer(self, exhibit: Exhibit) -> dict[str, Panel]:
        threads = tuple((thread.name, thread.url) for thread in exhibit.threads)
        parts = (("The fault", exhibit.fault), ("Shipped in", f"{_capital(exhibit.shipped_in)}."))
        return {
            "plaque": Panel(Label(parts, threads), label=exhibit.fault),
            "code": Panel(
                code_pair(museum.source(exhibit.wrong), museum.source(exhibit.right)),
                "As it shipped, and as it should be",
                "Our own few lines, which repeat the idea of the fault; this is the code that made the pictures.",
                (("changed", "as it shipped"), ("ok", "as it should be")),
                "both versions of the step, side by side",
            ),
            **{which: self._test(exhibit, which, title) for which, title in _TESTS},
        }

    @staticmethod
    def _test(exhibit: Exhibit, which: Literal["blind", "sharp"], title: str) -> Panel:
        function, note = {
            "blind": (exhibit.blind, exhibit.why_green),
            "sharp": (exhibit.sharp, exhibit.remedy),
        }[which]
        wrong, right = exhibit.passes(which, "wrong"), exhibit.passes(which, "right")
        run = TestRun(museum.source(function), wrong, right, note)
        said = f"this build {_verdict(run.wrong)}, the correct one {_verdict(run.right)}"
        return Panel(run, title, label=said)

    def _readouts(self, exhibit: Exhibit) -> tuple[Readout, ...]:
        trial = exhibit.trial
        counted = [name for name, given in self.tried.items() if museum.get(name).answer in given]
        at_once = sum(len(self.tried[name]) == 1 for name in counted)
        return (
            *(
                Readout(
                    number.label,
                    f"{_write(number, number.right)} → {_write(number, number.wrong)}",
                    f"{_full(number)}: of the correct build, and of this one",
                )
                for number in trial.numbers
            ),
            Readout(
                "Weights that differ",
                _text.percent(trial.differing / trial.right.size),
                f"{_text.count(trial.differing)} of {_text.count(trial.right.size)}",
            ),
            Readout(
                "Diagnosed",
                f"{len(counted)} of {len(museum.EXHIBITS)}",
                f"{at_once} of them at the first try",
            ),
        )

    def _summary(self, exhibit: Exhibit, given: list[int]) -> str:
        number = exhibit.trial.numbers[0]
        text = (
            f"{exhibit.symptom}. {exhibit.story} {number.label}: {_write(number, number.right)} in the correct build, "
            f"{_write(number, number.wrong)} in this one."
        )
        if given:
            last = exhibit.diagnoses[given[-1]]
            text = f"{last.text}: {last.feedback}"
        if self.opened:
            text += f" The fault: {exhibit.fault}"
        return text

    @staticmethod
    def _table(exhibit: Exhibit) -> Table:
        trial = exhibit.trial
        rows = [(_full(n), _write(n, n.right), _write(n, n.wrong)) for n in trial.numbers]
        rows.append(("First column that differs", "", str(trial.first_column)))
        rows.append(("Weights that differ", "", f"{_text.count(trial.differing)} of {_text.count(trial.right.size)}"))
        return Table("Measured", ("", "correct build", "this build"), tuple(rows))

    @staticmethod
    def _tests_table(exhibit: Exhibit) -> Table:
        rows = tuple(
            (title, _verdict(exhibit.passes(test, "right")), _verdict(exhibit.passes(test, "wrong")))
            for test, title in _TESTS
        )
        return Table("Tests", ("", "correct build", "this build"), rows)

    def __repr__(self) -> str:
        return f"BugMuseum({self.exhibit.name})"


def _full(number: Number) -> str:
    return f"{number.label} ({number.note})" if number.note else number.label


def _write(number: Number, value: float) -> str:
    if number.kind == "count":
        return _text.count(round(value))
    if math.isinf(value) or math.isnan(value):
        return "not finite"
    if number.kind == "share":
        share = 100 * value
        if 0 < share < 0.001:
            return "< 0.001 %"
        return f"{_text.number(share, 3 if share >= 0.1 else 2)} %"
    return _text.number(value, 3 if abs(value) >= 0.01 else 2)


def _describe(gap: Any, first: int) -> str:
    if first < 0:
        return "no column differs"
    if np.isnan(gap).all():
        return "every column holds what is not a number"
    share = float((gap > 0).mean())
    return (
        f"the first column that differs is {first}; {_text.percent(share)} of the columns do, by up to "
        f"{_text.number(float(np.nanmax(gap)))} times the size of the weights"
    )


def _lines(trial: museum.Trial) -> str:
    if trial.block >= trial.right.shape[1]:
        return ""
    name = "" if trial.block_name[0].isdigit() else f": one {trial.block_name} each"
    return f"Lines stand {trial.block} columns apart{name}. "


def _capital(text: str) -> str:
    """Give a sentence a capital letter, unless it starts with the name of a repository."""
    return text if "/" in text.split(" ")[0] else text[0].upper() + text[1:]


def _verdict(passes: bool) -> str:
    return "passes" if passes else "fails"
