"""`OutlierExplorer`: outliers of a layer's inputs, moved into its weights or mixed among all channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np

from qviz._machine.blas import on_one_thread
from qviz._types import FloatArray
from qviz.figures.awq import error_bars
from qviz.figures.outliers import channel_ranges
from qviz.grids import AffineGrid, choose_range, round_inputs
from qviz.methods import random_hadamard, smooth_scale
from qviz.widgets import _text
from qviz.widgets.layers import LayerExplorer
from qviz.widgets.scene import Panel, Readout, Scene, Table

OFF = -1.0  # of the strength
_USUAL = 0.5  # what the bar of SmoothQuant shows while it is off
_MOST_TOKENS = 448  # of the calibration, to measure on

Sides = tuple[FloatArray, FloatArray, FloatArray]  # weights, held-out inputs, calibration inputs


class OutlierExplorer(LayerExplorer):
    """Round weights and inputs of a layer, as they are, after SmoothQuant, after a rotation, or after both.

    Above, the largest magnitude of every channel: of the inputs, and of the weights that meet it. SmoothQuant divides
    inputs and multiplies weights; a rotation mixes all channels. Neither changes the product before rounding. Below,
    how much of the layer's output each of them loses.

    Parameters
    ----------
    layers : mapping of str to (weight, calibration inputs, held-out inputs), optional
        Layers of SmolLM2 with captured inputs, and of the small model, unless given.
    layer : str, optional
        The one to start with.
    bits, input_bits : int
        Bits of the weights and of the inputs: 2, 3, 4 or 8.
    group_size : int
        Weights of a row that share a range: 64, 128 or −1.

    Raises
    ------
    WidgetError
        No such layer, or arrays that do not fit together.

    Attributes
    ----------
    controls : dict
        ``layer``, ``bits``, ``group_size``, ``tokens``, ``input_bits``, ``ranges``, ``strength`` and ``rotate``.
    figure : View
        ``figure["channels"]`` is a `ChannelRanges`, ``["errors"]`` an `ErrorBars`.
    errors : dict of str to float
        Share of the output that is lost on held-out tokens.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((200, 64)) * np.r_[40, np.ones(63)]
    >>> explorer = OutlierExplorer({"mine": (rng.standard_normal((8, 64)), x[:150], x[150:])})
    >>> explorer.errors["SmoothQuant"] < explorer.errors["as they are"]
    True
    """

    _layout = "outliers"
    _inputs = ("layer", "tokens")

    def __init__(
        self,
        layers: Mapping[str, Any] | None = None,
        layer: str | None = None,
        *,
        bits: int = 8,
        input_bits: int = 8,
        group_size: int = -1,
    ) -> None:
        super().__init__(layers, layer, bits, group_size)
        self.controls |= {
            "input_bits": ipywidgets.Dropdown(
                options=[2, 3, 4, 8],
                value=8,
                description="Input bits",
                tooltip="bits of a rounded input",
                layout={"width": "130px"},
            ),
            "ranges": ipywidgets.ToggleButtons(
                options=["static", "each token"],
                description="Input range",
                tooltip="one range for all inputs, from the calibration tokens; or one for each token, at run time",
            ),
            "strength": ipywidgets.SelectionSlider(
                options=[("off", OFF), *((f"{k / 20:.2f}", k / 20) for k in range(21))],
                description="SmoothQuant",
                tooltip="migration strength: how much of the inputs' ranges goes into the weights",
                layout={"width": "340px"},
            ),
            "rotate": ipywidgets.Checkbox(
                value=False,
                description="Rotate",
                indent=False,
                tooltip="multiply both sides by a Hadamard matrix with random signs",
                layout={"width": "auto"},
            ),
        }
        self.controls["bits"].description = "Weight bits"
        self.controls["bits"].layout.width = "140px"
        self._choose("input_bits", input_bits)
        self._known: dict[tuple[Any, ...], tuple[float, float]] = {}
        self._compute()
        self._arrange(("layer", "strength", "rotate"), ("bits", "group_size", "input_bits"), ("ranges", "tokens"))

    @on_one_thread
    def _compute(self) -> None:
        """What does not depend on strength and bits."""
        self._known.clear()
        layer = self._layer
        tokens = layer.calibration[: self.controls["tokens"].value]
        self._plain: Sides = layer.weight, layer.heldout, tokens
        self._outputs = {
            "heldout": layer.heldout @ layer.weight.T,
            "calibration": tokens[:_MOST_TOKENS] @ layer.weight.T,
        }
        self._turn = random_hadamard(layer.weight.shape[1])

    def _sides(self, strength: float, rotate: bool) -> Sides:
        """Weights and inputs of the same product, before rounding."""
        w, x, tokens = self._plain
        if strength != OFF:
            s = smooth_scale(self._stats.max_abs, np.abs(w).max(axis=0), strength)
            w, x, tokens = w * s, x / s, tokens / s
        if rotate:
            w, x, tokens = w @ self._turn, x @ self._turn, tokens @ self._turn
        return w, x, tokens

    def _measured(self, strength: float, rotate: bool) -> tuple[float, float]:
        """Share of the output that rounding loses, on held-out tokens and on those of the calibration."""
        names = ("bits", "group_size", "input_bits", "ranges")
        key = strength, rotate, *(self.controls[name].value for name in names)
        if key not in self._known:
            w, x, tokens = self._sides(strength, rotate)
            grid = AffineGrid(self.controls["input_bits"].value, -1)
            ends = choose_range(tokens, grid) if self.controls["ranges"].value == "static" else None
            if ends == (0.0, 0.0):
                ends = None  # nothing but zeros: a range of each token's own keeps them
            rounded = AffineGrid(self.controls["bits"].value, self.controls["group_size"].value).fake_quantize(w)
            self._known[key] = (
                self._lost("heldout", x, rounded, grid, ends),
                self._lost("calibration", tokens[:_MOST_TOKENS], rounded, grid, ends),
            )
        return self._known[key]

    def _lost(self, part: str, x: FloatArray, rounded: FloatArray, grid: AffineGrid, ends: Any) -> float:
        y = self._outputs[part]
        off = round_inputs(np.ascontiguousarray(x), grid, ends) @ rounded.T - y
        return float(np.square(off, dtype=np.float64).sum() / max(np.square(y, dtype=np.float64).sum(), 1e-30))

    @on_one_thread
    def _scene(self) -> Scene:
        strength, rotate = float(self.controls["strength"].value), bool(self.controls["rotate"].value)
        shown = _USUAL if strength == OFF else strength
        tried = {
            "as they are": (OFF, False),
            "SmoothQuant": (shown, False),
            "rotation": (OFF, True),
            "both": (shown, True),
        }
        measured = {name: self._measured(*how) for name, how in tried.items()}
        self.errors = {name: lost for name, (lost, _) in measured.items()}
        current = next(name for name, how in tried.items() if how == (strength, rotate))
        w, x, _ = self._sides(strength, rotate)
        largest = [np.abs(side).max(axis=0) for side in (self._plain[1], x, self._plain[0], w)]
        lost, plain = self.errors[current], self.errors["as they are"]
        return Scene(
            self._layout,
            {"channels": self._channels(largest, rotate), "errors": self._bars(measured, current, shown)},
            (
                Readout("Error of the output", _percent(lost), "‖X̂·Ŵᵀ − X·Wᵀ‖² / ‖X·Wᵀ‖², held-out tokens"),
                Readout("As they are", _percent(plain), "the same with nothing moved and nothing mixed"),
                Readout("What remains of it", f"{100 * lost / plain:.0f} %" if plain else "–"),
                Readout("Inputs: largest / median", f"{_ratio(largest[1])} ×", "of the channels, as they are rounded"),
                Readout("Weights: largest / median", f"{_ratio(largest[3])} ×", "of the channels, as they are rounded"),
            ),
            self._summary(current, lost, plain),
            self._tables(measured),
            self._layer_notes(),
        )

    def _channels(self, largest: list[FloatArray], rotate: bool) -> Panel:
        new = " Rotated channels are new: each is a sum of all the old ones." if rotate else ""
        was, became, w_was, w_became = map(_ratio, largest)
        return Panel(
            channel_ranges((largest[0], largest[1]), (largest[2], largest[3]), mixed=rotate),
            "The range of every channel, before rounding",
            f"Held-out tokens. Dashed: the largest of all.{new}",
            (("soft", "as they are"), ("weight", "as they are rounded")),
            f"the largest input channel was {was} times the median one and is {became} times, the largest channel of "
            f"the weights {w_was} and {w_became}",
        )

    def _bars(self, measured: Mapping[str, tuple[float, float]], current: str, shown: float) -> Panel:
        names = [f"{name} {shown:.2f}" if name == "SmoothQuant" else name for name in measured]
        bars = error_bars(
            names,
            [lost for lost, _ in measured.values()],
            [seen for _, seen in measured.values()],
            notes=[f"loses {_percent(lost)}" for lost, _ in measured.values()],
            marked=(list(measured).index(current),),
        )
        return Panel(
            bars,
            "Error of the output, both sides rounded",
            "",
            (("field-2", "chosen"), ("level", "the others"), ("ink", "on the calibration tokens")),
            "; ".join(f"{name} {100 * v:.0f} %" for name, v in zip(names, bars.heldout, strict=True)),
        )

    def _summary(self, current: str, lost: float, plain: float) -> str:
        return (
            f"{self.tensor_name}, weights in {self.controls['bits'].value} bits and inputs in "
            f"{self.controls['input_bits'].value}, {current}: {_percent(lost)} of the output is lost; "
            f"as they are it would be {_percent(plain)}."
        )

    def _tables(self, measured: Mapping[str, tuple[float, float]]) -> tuple[Table, ...]:
        rows = tuple((name, _percent(lost), _percent(seen)) for name, (lost, seen) in measured.items())
        return (Table("Share of the output that is lost", ("treatment", "held-out", "calibration"), rows),)


def _ratio(largest: FloatArray) -> str:
    return _text.number(float(largest.max() / max(float(np.median(largest)), 1e-30)), 2)


def _percent(share: float) -> str:
    return f"{_text.number(100 * share, 2)} %"
