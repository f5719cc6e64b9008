"""`SpeedExplorer`: how many tokens per second a memory allows, beside what the products reach here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ipywidgets

from qviz.errors import ShapeError, WidgetError, shortened
from qviz.figures.roofline import TokenRates, token_rates
from qviz.measure.machine import FormatSpeed, Machine, Traffic, token_traffic
from qviz.recipes import MODEL_SHAPES
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_MODELS = ("tinyllama-1.1b", "llama-7b", "llama-3-8b", "llama-13b", "llama-2-70b", "smollm2-135m", "smollm2-1.7b")


class SpeedExplorer(Explorer):
    """Formats under the roof of a machine: tokens per second that it allows, and what the products would reach.

    The slope of the roof is memory, its flat parts are arithmetic. A hollow point on the roof is an upper bound. The
    filled one below it is an estimate from products measured on this machine: seconds for each weight times the weights
    of the model; attention and everything else come on top. It does not depend on the bandwidth that is set. Drag the
    slope to change the bandwidth. Click a point, or use the arrow keys, to read one format's figures.

    Parameters
    ----------
    speeds : sequence of FormatSpeed
        From `qviz.measure.machine.measure_formats`.
    machine : Machine
        From `qviz.measure.machine.measure_machine`: where the bandwidth starts.
    model : str
        Where to start.

    Raises
    ------
    WidgetError
        Nothing measured, or no such model.

    Attributes
    ----------
    controls : dict
        ``model``, ``bandwidth`` (GB/s), ``context`` (tokens in the KV cache).
    figure : View
        ``figure["rates"]`` is `TokenRates`.
    """

    _layout = "speed"

    def __init__(self, speeds: Sequence[FormatSpeed], machine: Machine, model: str = "llama-7b") -> None:
        super().__init__()
        self._speeds = {speed.format: speed for speed in speeds if speed.tokens == 1}
        if not self._speeds:
            raise WidgetError("no measured formats to show; make some with qviz.measure.machine.measure_formats()")
        if model not in MODEL_SHAPES:
            raise WidgetError(f"no model {shortened(model)}; there are {', '.join(MODEL_SHAPES)}")
        self._machine = machine
        self._current = "Q4_K" if "Q4_K" in self._speeds else next(iter(self._speeds))
        self.controls |= {
            "model": ipywidgets.Dropdown(
                options=list(dict.fromkeys((*_MODELS, model))),
                value=model,
                description="Model",
                tooltip="whose matrices are read",
            ),
            "bandwidth": ipywidgets.FloatLogSlider(
                value=machine.bandwidth / 1e9,
                min=0,
                max=math.log10(4000),
                step=0.01,
                readout_format=".3g",
                description="Bandwidth, GB/s",
                tooltip="bytes that memory delivers per second; starts at what was measured here",
                layout={"width": "min(100%, 440px)"},
            ),
            "context": ipywidgets.SelectionSlider(
                options=[0, 512, 2048, 8192, 32768],
                value=0,
                description="Tokens before",
                tooltip="whose keys and values are read too",
                layout={"width": "min(100%, 340px)"},
            ),
        }
        self._arrange(("model", "bandwidth", "context"))

    def _event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "point":
            names, point = self.figure["rates"].names, int(event["point"])
            if 0 <= point < len(names):
                self._current = names[point]
                self.update()

    def _scene(self) -> Scene:
        traffic, missing = self._traffic()
        if not traffic:
            return self._failed(f"None of the measured formats fits the rows of {self.controls['model'].value}.")
        bandwidth = float(self.controls["bandwidth"].value) * 1e9
        seconds = [t.weights / self._speeds[t.format].weights for t in traffic]
        rates = token_rates(
            [t.format for t in traffic],
            [t.nbytes for t in traffic],
            bandwidth,
            seconds,
            self._current,
            weights=traffic[0].weights,
            peaks=self._machine.peaks,
        )
        by_name = {t.format: t for t in traffic}
        notes = []
        if missing:
            notes.append(
                Status("info", f"Rows of this model are no whole number of blocks of {', '.join(missing)}: left out.")
            )
        panel = Panel(
            rates,
            f"{self.controls['model'].value} under the roof of this machine",
            caption="Estimate: products measured on this machine, scaled to the model; matrices only. The slope is "
            "the memory's bandwidth: drag it.",
            legend=(("soft", "the roof allows"), ("level", "products here reach"), ("changed", "on show")),
            label=self._summary(rates),
        )
        shown = by_name[rates.names[rates.current]]
        readouts = self._readouts(shown, rates)
        table = self._table(rates, by_name)
        return Scene(self._layout, {"rates": panel}, readouts, self._summary(rates), (table,), tuple(notes))

    def _traffic(self) -> tuple[list[Traffic], list[str]]:
        traffic, missing = [], []
        for name in self._speeds:
            try:
                traffic.append(token_traffic(self.controls["model"].value, name, int(self.controls["context"].value)))
            except ShapeError:
                missing.append(name)
        return traffic, missing

    def _readouts(self, traffic: Traffic, rates: TokenRates) -> tuple[Readout, ...]:
        i = rates.current
        return (
            Readout("Format", traffic.format),
            Readout("Weights read", _text.size(traffic.weight_bytes), "for each token, all of them"),
            Readout("KV cache read", _text.size(traffic.cache_bytes), "keys and values of the tokens before, float16"),
            Readout("Memory allows", f"{_text.number(rates.bounds[i])} tokens/s", "bandwidth over bytes"),
            Readout("Products here", f"{_text.number(rates.reached[i])} tokens/s", "estimate, matrices only"),
        )

    def _summary(self, rates: TokenRates) -> str:
        i = rates.current
        best = rates.names[int(rates.reached.argmax())]
        return (
            f"{self.controls['model'].value} in {rates.names[i]}: memory allows {_text.number(rates.bounds[i])} tokens "
            f"per second, products measured here would reach {_text.number(rates.reached[i])}. Fastest here: {best}."
        )

    def _table(self, rates: TokenRates, traffic: dict[str, Traffic]) -> Table:
        lines = []
        for i, name in enumerate(rates.names):
            sizes = _text.size(traffic[name].weight_bytes), _text.size(traffic[name].cache_bytes)
            lines.append((name, *sizes, _text.number(rates.bounds[i]), _text.number(rates.reached[i])))
        columns = ("format", "weights read", "KV cache read", "tokens/s that memory allows", "products here reach")
        return Table("Tokens per second", columns, tuple(lines))

    def __repr__(self) -> str:
        return f"SpeedExplorer({self.controls['model'].value}, {len(self._speeds)} formats)"
