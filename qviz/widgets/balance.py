"""`BalanceExplorer`: which format to choose under a memory budget."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from typing import Any

import ipywidgets

from qviz.errors import WidgetError
from qviz.figures.balance import Balance, balance
from qviz.measure import MethodRow, RecipeRow, method_table
from qviz.widgets import _text
from qviz.widgets.background import BackgroundExplorer, StoppedError
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_DAMAGE = {
    "KL divergence": ("kld", "KL divergence from the unquantized model, nats a token"),
    "rise in perplexity": ("delta", "rise in perplexity"),
}


_AT_ONCE = 4  # rows that share one run of the baseline


class BalanceExplorer(BackgroundExplorer):
    """Size against damage for every format that was measured, with a budget to fit.

    The line joins the formats worth choosing: no other is both smaller and better. The ring marks the least damage
    within the budget. Point, click or use the arrow keys to read one format's figures.

    Parameters
    ----------
    rows : sequence of RecipeRow or MethodRow
        From `qviz.measure.recipe_table`, whose sizes are MiB to run, or `qviz.measure.method_table`, whose sizes are
        bits per rounded weight.
    budget : float, optional
        To start with; two fifths of the largest unless given.
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
        ``budget`` (MiB, or bits) and ``damage``; with `more` also ``measure`` and ``stop``.
    figure : View
        ``figure["balance"]`` is `Balance`.
    """

    _layout = "balance"

    def __init__(
        self,
        rows: Sequence[RecipeRow] | Sequence[MethodRow],
        budget: float | None = None,
        *,
        more: Sequence[tuple[str, int, int]] = (),
    ) -> None:
        super().__init__()
        self._rows = [row for row in rows if row.quality.kld is not None]
        if not self._rows:
            raise WidgetError("no measured rows to show; make some with qviz.measure.recipe_table()")
        by_bits = isinstance(self._rows[0], MethodRow)
        self._unit = "bits per weight" if by_bits else "MiB"
        self._sizes = sizes = self._sizes_of(self._rows)
        start = 0.4 * max(sizes) if budget is None else budget
        low, high = 0.9 * min(sizes), 1.02 * max(sizes)
        self._current: int | None = None
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
        self._arrange(("budget", "damage"), ("measure", "stop"))

    @staticmethod
    def _sizes_of(rows: Sequence[RecipeRow | MethodRow]) -> list[float]:
        return [row.bpw if isinstance(row, MethodRow) else row.memory / 2**20 for row in rows]

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
        self._rows, self._sizes, self._current = list(rows), self._sizes_of(rows), None
        slider = self.controls["budget"]
        with self._silence():
            slider.min, slider.max = min(slider.min, 0.9 * min(self._sizes)), max(slider.max, 1.02 * max(self._sizes))
        self.update()

    def _react(self, control: ipywidgets.Widget) -> None:
        self._current = None  # a new question: show its answer

    def _event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "point":
            self._current = int(event["point"])
            self.update()

    def _scene(self) -> Scene:
        name, upwards = _DAMAGE[str(self.controls["damage"].value)]
        rows = self._rows
        plane = balance(
            [row.recipe for row in rows],
            self._sizes,
            [getattr(row.quality, name) for row in rows],
            [getattr(row.quality, f"{name}_se") for row in rows],
            budget=float(self.controls["budget"].value),
            current=0,
            across="MiB to run" if self._unit == "MiB" else self._unit,
            upwards=upwards,
        )
        shown = self._current if self._current is not None else plane.best if plane.best >= 0 else 0
        plane = balance(
            plane.names,
            plane.sizes,
            plane.damage,
            plane.errors,
            budget=plane.budget,
            current=shown,
            across=plane.across,
            upwards=upwards,
        )
        return Scene(
            self._layout,
            {
                "balance": Panel(
                    plane,
                    "Size against damage",
                    legend=(("level", "fits"), ("soft", "too large"), ("ok", "worth choosing"), ("weight", "on show")),
                    label=self._summary(plane),
                )
            },
            self._readouts(rows[plane.current]),
            self._summary(plane),
            (self._table(),),
            tuple(Status("info", note) for note in self._notes(plane)),
        )

    def _notes(self, plane: Balance) -> list[str]:
        tight = [] if plane.best >= 0 else ["Nothing fits this budget: a smaller model is needed."]
        return [*tight, self._note] if self._note else tight

    def _readouts(self, row: RecipeRow | MethodRow) -> tuple[Readout, ...]:
        q = row.quality
        assert q.delta is not None
        assert q.delta_se is not None
        assert q.kld is not None
        assert q.kld_se is not None
        assert q.same_top is not None
        ppl = f"perplexity {q.ppl:.3f} ± {q.ppl_se:.3f} on {_text.count(q.n_tokens)} tokens of held-out text; "
        common = (
            Readout("Rise", f"{q.delta:+.3f} ± {q.delta_se:.3f}".replace("-", "−"), ppl + "the error is paired"),
            Readout("KL divergence", f"{_text.number(q.kld, 2)} ± {_text.number(q.kld_se, 1)}", "nats a token"),
            Readout("Same first choice", _text.percent(q.same_top)),
        )
        if isinstance(row, MethodRow):
            bits = Readout("Bits per weight", f"{row.bpw:.2f}", "codes, scales and zero points of the rounded matrices")
            return (Readout("Method", row.recipe), bits, *common, Readout("Made in", f"{row.seconds:.1f} s"))
        published = "none" if row.published is None else f"+{row.published}"
        return (
            Readout("Format · bits per weight", f"{row.recipe} · {row.bpw:.2f}", "everything counted"),
            Readout("To run", _text.size(row.memory), "weights, and a KV cache in F16 for the whole context"),
            *common,
            Readout("Rise, LLaMA-7B", published, "published in ggml-org/llama.cpp#1684 and #2094"),
        )

    def _summary(self, plane: Balance) -> str:
        budget = f"{plane.budget:.2f} {self._unit}"
        if plane.best < 0:
            return f"Nothing fits {budget}."
        row = self._rows[plane.best]
        front = ", ".join(plane.names[i] for i in plane.front)
        return f"Within {budget}, {row.recipe} does the least damage. Worth choosing, by size: {front}."

    def _table(self) -> Table:
        lines: list[tuple[str, ...]] = []
        for row in self._rows:
            q = row.quality
            rise = f"{q.delta:+.4f} ± {q.delta_se:.4f}".replace("-", "−")
            speed = "–" if math.isnan(row.tokens_per_second) else f"{row.tokens_per_second:.0f}"
            quality = (f"{q.ppl:.3f}", rise, f"{q.kld:.5f} ± {q.kld_se:.5f}", f"{q.same_top:.2%}")
            if isinstance(row, MethodRow):
                lines.append((row.recipe, f"{row.bpw:.3f}", *quality, f"{row.seconds:.1f}", speed))
                continue
            published = "–" if row.published is None else f"+{row.published}"
            size = (f"{row.bpw:.3f}", f"{row.memory / 2**20:.2f}")
            lines.append((row.recipe, *size, *quality, speed, published))
        measured = ("perplexity", "rise", "KL divergence", "same first choice")
        columns: tuple[str, ...]
        if self._unit == "MiB":
            columns = (
                "format",
                "bits per weight",
                "MiB to run",
                *measured,
                "tokens/s here",
                "rise, LLaMA-7B (published)",
            )
        else:
            columns = ("method", "bits per weight", *measured, "seconds to make", "tokens/s here")
        return Table("Everything measured", columns, tuple(lines))

    def __repr__(self) -> str:
        return f"BalanceExplorer({len(self._rows)} {'methods' if self._unit != 'MiB' else 'formats'})"
