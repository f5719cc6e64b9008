"""`BalanceExplorer`: which format to choose under a memory budget."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets
import numpy as np

from qviz.errors import WidgetError
from qviz.figures.balance import SERIES_ROLES, Balance, balance
from qviz.measure import BestRow, MethodRow, RecipeRow, method_table, tensor_bytes
from qviz.measure.best import RECIPE
from qviz.widgets import _text
from qviz.widgets.background import BackgroundExplorer, StoppedError
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_DAMAGE = {
    "KL divergence": ("kld", "KL divergence from the unquantized model, nats a token"),
    "rise in perplexity": ("delta", "rise in perplexity"),
}
_AT_ONCE = 4  # rows that share one run of the baseline
_SERIES = (("recipes", "Recipes"), ("imatrix", "With importance matrix"), ("best", "Best files"))


@dataclass(frozen=True)
class _Point:
    """One row: which series it belongs to, its name, how far to the right it stands, and its bits per weight."""

    series: int
    name: str
    size: float
    bpw: float
    row: RecipeRow | MethodRow | BestRow

    def damage(self, name: str) -> tuple[float, float]:
        """Damage and its standard error; 0 where that was not kept."""
        if not isinstance(self.row, BestRow):
            return getattr(self.row.quality, name), getattr(self.row.quality, f"{name}_se")
        return (self.row.kld, self.row.kld_se) if name == "kld" else (self.row.ppl - self.row.base_ppl, 0.0)


class BalanceExplorer(BackgroundExplorer):
    """Size against damage for every format that was measured, with a budget to fit.

    The line joins the formats worth choosing: no other is both smaller and better. The ring marks the least damage
    within the budget, and a pale one what was chosen before. Drag the wall of the budget, or move it with Shift and the
    arrow keys. Click a point, or use the arrow keys alone, to read one format's figures.

    Parameters
    ----------
    rows : sequence of RecipeRow or MethodRow
        From `qviz.measure.recipe_table`, whose sizes are MiB to run, or `qviz.measure.method_table`, whose sizes are
        bits per rounded weight.
    budget : float, optional
        To start with; two fifths of the largest unless given.
    files : sequence of BestRow, optional
        From `qviz.measure.best_files`, for `rows` of the same model: files with an importance matrix, and the best
        files of their sizes, as two more series that can be switched on.
    more : sequence of (method, bits, group_size), optional
        Settings of `qviz.measure.method_table` that a button measures in the background, a few rows at a time; what is
        measured stays on disk. Of the small model, on 10,000 tokens.

    Raises
    ------
    WidgetError
        No rows.

    Attributes
    ----------
    controls : dict
        ``budget`` (MiB, or bits) and ``damage``; with `files` also ``recipes``, ``imatrix`` and ``best``, which show a
        series each; with `more` also ``measure`` and ``stop``.
    figure : View
        ``figure["balance"]`` is `Balance`.
    """

    _layout = "balance"

    def __init__(
        self,
        rows: Sequence[RecipeRow] | Sequence[MethodRow],
        budget: float | None = None,
        *,
        files: Sequence[BestRow] = (),
        more: Sequence[tuple[str, int, int]] = (),
    ) -> None:
        super().__init__()
        measured = [row for row in rows if row.quality.kld is not None]
        if not measured:
            raise WidgetError("no measured rows to show; make some with qviz.measure.recipe_table()")
        by_bits = isinstance(measured[0], MethodRow)
        if by_bits and files:
            raise WidgetError("best files are compared by their size: give rows from qviz.measure.recipe_table()")
        self._unit = "bits per weight" if by_bits else "MiB"
        self._points = [*_measured(measured), *_files(files, measured[0])]
        sizes = [point.size for point in self._points]
        start = 0.4 * max(sizes) if budget is None else budget
        low, high = 0.9 * min(sizes), 1.02 * max(sizes)
        self._current: _Point | None = None
        self._chosen: _Point | None = None
        self._before: _Point | None = None
        self.controls |= {
            "budget": ipywidgets.FloatSlider(
                value=min(max(start, low), high),
                min=low,
                max=high,
                step=(high - low) / 200,
                readout_format=".2f",
                description=f"Budget, {self._unit}",
                tooltip="the most that may be spent: memory of weights and KV cache, or bits",
                layout={"width": "min(100%, 520px)"},
            ),
            "damage": ipywidgets.ToggleButtons(
                options=list(_DAMAGE), description="Damage", tooltip="what is drawn upwards"
            ),
        }
        self.controls |= _switches() if files else {}
        self._more = tuple(more)
        if more:
            self.controls["measure"] = ipywidgets.Button(
                description=f"Measure all {len(more)}",
                icon="play",
                tooltip="every method, width and group size, on this machine: some minutes, once",
            )
            self.controls["stop"] = ipywidgets.Button(
                description="Stop", icon="stop", disabled=True, tooltip="stop measuring; what is measured stays"
            )
            self._on_click("measure", self.measure)
            self._on_click("stop", self.stop)
        self._arrange(("budget", "damage"), tuple(name for name, _ in _SERIES), ("measure", "stop"))

    @property
    def rows(self) -> list[RecipeRow | MethodRow | BestRow]:
        """The rows on show, in the order of the figure's points."""
        return [point.row for point in self._shown()]

    def _shown(self) -> list[_Point]:
        """The points of the series that are switched on."""
        on = [name not in self.controls or bool(self.controls[name].value) for name, _ in _SERIES]
        return [point for point in self._points if on[point.series]]

    def measure(self) -> None:
        """Measure the rows of `more` in the background; they replace those on show as they come."""
        self._begin(self._measure)

    def _measure(self, halt: threading.Event) -> None:
        rows: list[MethodRow] = []
        told_at = 0.0

        def told(what: str, done: int, total: int | None) -> None:
            nonlocal told_at
            if halt.is_set():
                done_by_then = f"{len(rows)} of {len(self._more)} measured"
                raise StoppedError(f"Stopped: {done_by_then}. They are kept; measuring goes on there.")
            if time.monotonic() - told_at > 0.5:
                told_at = time.monotonic()
                self._note = f"{len(rows)} of {len(self._more)} measured; {what}, {done} of {total}"
                self.update()

        for first in range(0, len(self._more), _AT_ONCE):
            told("next", 0, 1)
            rows += method_table(self._more[first : first + _AT_ONCE], speed=True, progress=told)
            self._show_rows(rows)
        self._note = ""

    def _show_rows(self, rows: list[MethodRow]) -> None:
        """Put other rows on show; the budget stays, its slider reaches over them."""
        self._points, self._current = _measured(rows), None
        sizes, slider = [point.size for point in self._points], self.controls["budget"]
        with self._silence():
            slider.min, slider.max = min(slider.min, 0.9 * min(sizes)), max(slider.max, 1.02 * max(sizes))
        self.update()

    def _react(self, control: ipywidgets.Widget) -> None:
        self._current = None  # a new question: show its answer
        if control is not self.controls["budget"]:
            self._chosen = self._before = None

    def _event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "point":
            self._current = self._shown()[int(event["point"])]
            self.update()

    def _scene(self) -> Scene:
        points = self._shown()
        if not points:
            return self._failed("Nothing is switched on. Choose at least one kind of file.")
        plane, slider = self._plane(points), self.controls["budget"]
        return Scene(
            self._layout,
            {
                "balance": Panel(
                    plane,
                    "Size against damage",
                    legend=self._legend(plane),
                    label=self._summary(plane),
                    options={"wall": {"range": (slider.min, slider.max), "step": slider.step}},
                )
            },
            self._readouts(points[plane.current]),
            self._summary(plane),
            (self._table(),),
            tuple(Status("info", note) for note in self._notes(plane)),
        )

    def _plane(self, points: list[_Point]) -> Balance:
        """The figure of these points, and what was chosen before."""
        name, upwards = _DAMAGE[str(self.controls["damage"].value)]
        damage = np.array([point.damage(name) for point in points])
        budget = float(self.controls["budget"].value)
        fits = [i for i, point in enumerate(points) if point.size <= budget]
        best = points[min(fits, key=lambda i: damage[i, 0])] if fits else None
        if best is not self._chosen:
            self._before, self._chosen = self._chosen, best
        shown = self._current or best
        return balance(
            [point.name for point in points],
            [point.size for point in points],
            damage[:, 0],
            damage[:, 1],
            budget=budget,
            current=points.index(shown) if shown in points else 0,
            across="MiB to run" if self._unit == "MiB" else self._unit,
            upwards=upwards,
            series=[point.series for point in points],
            titles=[title for _, title in _SERIES] if "best" in self.controls else ["measured"],
            ghost=points.index(self._before) if self._before in points else -1,
        )

    def _legend(self, plane: Balance) -> tuple[tuple[str, str], ...]:
        """Keys of what is there."""
        present = sorted(set(plane.series.tolist()))
        if present == [0]:
            keys = [("level", "fits"), ("soft", "too large"), ("ok", "worth choosing")]
        else:
            keys = [(SERIES_ROLES[k], plane.titles[k].lower()) for k in present] + [("soft", "too large")]
        return (*keys, ("weight", "on show"))

    def _notes(self, plane: Balance) -> list[str]:
        tight = [] if plane.best >= 0 else ["Nothing fits this budget: a smaller model is needed."]
        return [*tight, self._note] if self._note else tight

    def _readouts(self, point: _Point) -> tuple[Readout, ...]:
        row = point.row
        if isinstance(row, BestRow):
            return self._kept_readouts(point, row)
        q = row.quality
        assert q.delta is not None
        assert q.delta_se is not None
        assert q.kld is not None
        assert q.kld_se is not None
        assert q.same_top is not None
        ppl = f"perplexity {q.ppl:.3f} ± {q.ppl_se:.3f} on {_text.count(q.n_tokens)} tokens of held-out text; "
        common = (
            Readout("Rise", _signed(q.delta, 3) + f" ± {q.delta_se:.3f}", ppl + "the error is paired"),
            Readout("KL divergence", f"{_text.number(q.kld, 2)} ± {_text.number(q.kld_se, 1)}", "nats a token"),
            Readout("Same first choice", _text.percent(q.same_top)),
        )
        if isinstance(row, MethodRow):
            bits = Readout("Bits per weight", f"{row.bpw:.2f}", "codes, scales and zero points of the rounded matrices")
            return (Readout("Method", row.recipe), bits, *common, Readout("Made in", f"{row.seconds:.1f} s"))
        published = "none" if row.published is None else f"+{row.published}"
        return (
            Readout("Format · bpw", f"{row.recipe} · {row.bpw:.2f}", "bits per weight, everything counted"),
            Readout("To run", _text.size(row.memory), "weights, and a KV cache in F16 for the whole context"),
            *common,
            Readout("Rise, LLaMA-7B", published, "published in ggml-org/llama.cpp#1684 and #2094"),
        )

    def _kept_readouts(self, point: _Point, row: BestRow) -> tuple[Readout, ...]:
        """The figures of a file that was measured once."""
        size = _text.size(round(point.size * 2**20))
        return (
            Readout("Format · bpw", f"{point.name} · {point.bpw:.2f}", f"{row.what}; bits per weight, all counted"),
            Readout("To run", size, "weights, and a KV cache in F16 for the whole context"),
            Readout("Rise", _signed(row.ppl - row.base_ppl, 3), f"perplexity {row.ppl:.3f}; its error was not kept"),
            Readout("KL divergence", f"{_text.number(row.kld, 2)} ± {_text.number(row.kld_se, 1)}", "nats a token"),
            Readout("Same first choice", "–", "was not kept"),
            Readout("Written in", f"{row.seconds:.0f} s", "on two busy cores"),
        )

    def _summary(self, plane: Balance) -> str:
        budget = f"{plane.budget:.2f} {self._unit}"
        if plane.best < 0:
            return f"Nothing fits {budget}."
        front = ", ".join(plane.names[i] for i in plane.front)
        before = f" Before, it was {plane.names[plane.ghost]}." if plane.ghost >= 0 else ""
        best = plane.names[plane.best]
        return f"Within {budget}, {best} does the least damage.{before} Worth choosing, by size: {front}."

    def _table(self) -> Table:
        measured = ("perplexity", "rise", "KL divergence", "same first choice")
        columns: tuple[str, ...]
        if self._unit == "MiB":
            last = ("tokens/s here", "rise, LLaMA-7B (published)")
            columns = ("format", "bits per weight", "MiB to run", *measured, *last)
        else:
            columns = ("method", "bits per weight", *measured, "seconds to make", "tokens/s here")
        return Table("Everything measured", columns, tuple(_line(point) for point in self._shown()))

    def __repr__(self) -> str:
        return f"BalanceExplorer({len(self._points)} {'methods' if self._unit != 'MiB' else 'formats'})"


def _switches() -> dict[str, ipywidgets.Widget]:
    """Make the controls that show a series each."""
    return {
        name: ipywidgets.Checkbox(
            value=name == "recipes",
            description=title,
            indent=False,
            tooltip="show these files",
            layout={"width": "auto"},
        )
        for name, title in _SERIES
    }


def _measured(rows: Sequence[RecipeRow | MethodRow]) -> list[_Point]:
    sizes = (row.bpw if isinstance(row, MethodRow) else row.memory / 2**20 for row in rows)
    return [_Point(0, row.recipe, size, row.bpw, row) for row, size in zip(rows, sizes, strict=True)]


def _files(rows: Sequence[BestRow], of: RecipeRow | MethodRow) -> list[_Point]:
    """Points of files that were measured once, with the KV cache of the other rows."""
    if not rows:
        return []
    assert isinstance(of, RecipeRow)
    cache = of.memory - of.nbytes
    points = []
    for row in rows:
        theirs = row.what == RECIPE
        name = row.recipe if theirs else f"best ≤ {row.recipe}"
        nbytes, bpw = tensor_bytes(row)
        points.append(_Point(1 if theirs else 2, name, (nbytes + cache) / 2**20, bpw, row))
    return points


def _line(point: _Point) -> tuple[str, ...]:
    """One row of the table."""
    row = point.row
    if isinstance(row, BestRow):
        rise = _signed(row.ppl - row.base_ppl, 4)
        quality = (f"{row.ppl:.3f}", rise, f"{row.kld:.5f} ± {row.kld_se:.5f}", "–")
        name = f"{point.name}, importance matrix" if row.what == RECIPE else point.name
        return (name, f"{point.bpw:.3f}", f"{point.size:.2f}", *quality, "–", "–")
    q = row.quality
    rise = f"{_signed(q.delta or 0.0, 4)} ± {q.delta_se:.4f}"
    speed = "–" if math.isnan(row.tokens_per_second) else f"{row.tokens_per_second:.0f}"
    quality = (f"{q.ppl:.3f}", rise, f"{q.kld:.5f} ± {q.kld_se:.5f}", f"{q.same_top:.2%}")
    if isinstance(row, MethodRow):
        return (row.recipe, f"{row.bpw:.3f}", *quality, f"{row.seconds:.1f}", speed)
    published = "–" if row.published is None else f"+{row.published}"
    return (row.recipe, f"{row.bpw:.3f}", f"{point.size:.2f}", *quality, speed, published)


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
