"""`BalanceExplorer`: which format to choose under a memory budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ipywidgets

from qviz.errors import WidgetError
from qviz.figures.balance import Balance, balance
from qviz.measure import RecipeRow
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table
from qviz.widgets.view import View

_DAMAGE = {
    "KL divergence": ("kld", "KL divergence from the unquantized model, nats a token"),
    "rise in perplexity": ("delta", "rise in perplexity"),
}

_COLUMNS = (
    "format",
    "MiB to run",
    "bits per weight",
    "perplexity",
    "rise",
    "KL divergence",
    "same first choice",
    "tokens/s here",
    "rise, LLaMA-7B (published)",
)


class BalanceExplorer(Explorer):
    """Size against damage for every format that was measured, with a budget to fit.

    The line joins the formats worth choosing: no other is both smaller and better. The ring marks the least damage
    within the budget. Point, click or use the arrow keys to read one format's figures.

    Parameters
    ----------
    rows : sequence of RecipeRow
        From `qviz.measure.recipe_table`.
    budget : float, optional
        MiB to start with; two fifths of the largest unless given.

    Raises
    ------
    WidgetError
        No rows.

    Attributes
    ----------
    controls : dict
        ``budget`` (MiB) and ``damage``.
    figure : View
        ``figure["balance"]`` is `Balance`.
    """

    _layout = "balance"

    def __init__(self, rows: Sequence[RecipeRow], budget: float | None = None) -> None:
        super(Explorer, self).__init__()  # there is no tensor to open
        self.add_class("qviz-explorer")
        self.figure = View()
        self._problem, self._quiet = None, True
        self._rows = [row for row in rows if row.quality.kld is not None]
        if not self._rows:
            raise WidgetError("no measured rows to show; make some with qviz.measure.recipe_table()")
        sizes = [row.memory / 2**20 for row in self._rows]
        start = 0.4 * max(sizes) if budget is None else budget
        low, high = 0.9 * min(sizes), 1.02 * max(sizes)
        self._current: int | None = None
        self.controls = {
            "budget": ipywidgets.FloatSlider(
                value=min(max(start, low), high),
                min=low,
                max=high,
                step=(high - low) / 200,
                readout_format=".2f",
                description="Memory budget, MiB",
                tooltip="the most memory that weights and KV cache may take",
                layout={"width": "min(100%, 520px)"},
            ),
            "damage": ipywidgets.ToggleButtons(
                options=list(_DAMAGE), description="Damage", tooltip="what is drawn upwards"
            ),
        }
        self._arrange(("budget", "damage"))

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
            [row.memory / 2**20 for row in rows],
            [getattr(row.quality, name) for row in rows],
            [getattr(row.quality, f"{name}_se") for row in rows],
            budget=float(self.controls["budget"].value),
            current=0,
            across="MiB to run",
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
            () if plane.best >= 0 else (Status("info", "Nothing fits this budget: a smaller model is needed."),),
        )

    def _readouts(self, row: RecipeRow) -> tuple[Readout, ...]:
        q = row.quality
        assert q.delta is not None
        assert q.delta_se is not None
        assert q.kld is not None
        assert q.kld_se is not None
        assert q.same_top is not None
        published = "none" if row.published is None else f"+{row.published}"
        ppl = f"perplexity {q.ppl:.3f} ± {q.ppl_se:.3f} on {_text.count(q.n_tokens)} tokens of held-out text; "
        return (
            Readout("Format · bits per weight", f"{row.recipe} · {row.bpw:.2f}", "everything counted"),
            Readout("To run", _text.size(row.memory), "weights, and a KV cache in F16 for the whole context"),
            Readout("Rise", f"{q.delta:+.3f} ± {q.delta_se:.3f}".replace("-", "−"), ppl + "the error is paired"),
            Readout("KL divergence", f"{_text.number(q.kld, 2)} ± {_text.number(q.kld_se, 1)}", "nats a token"),
            Readout("Same first choice", _text.percent(q.same_top)),
            Readout("Rise, LLaMA-7B", published, "published in ggml-org/llama.cpp#1684 and #2094"),
        )

    def _summary(self, plane: Balance) -> str:
        budget = f"{plane.budget:.2f} MiB"
        if plane.best < 0:
            return f"Nothing fits {budget}."
        row = self._rows[plane.best]
        front = ", ".join(plane.names[i] for i in plane.front)
        return f"Within {budget}, {row.recipe} does the least damage. Worth choosing, by size: {front}."

    def _table(self) -> Table:
        rows = []
        for row in self._rows:
            q = row.quality
            rise = f"{q.delta:+.4f} ± {q.delta_se:.4f}".replace("-", "−")
            speed = "–" if math.isnan(row.tokens_per_second) else f"{row.tokens_per_second:.0f}"
            size = (f"{row.memory / 2**20:.2f}", f"{row.bpw:.3f}")
            kld = f"{q.kld:.5f} ± {q.kld_se:.5f}"
            published = "–" if row.published is None else f"+{row.published}"
            rows.append((row.recipe, *size, f"{q.ppl:.3f}", rise, kld, f"{q.same_top:.2%}", speed, published))
        return Table("Every format measured", _COLUMNS, tuple(rows))

    def __repr__(self) -> str:
        return f"BalanceExplorer({len(self._rows)} formats)"
