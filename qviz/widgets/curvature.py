"""`CurvatureExplorer`: one matrix, four methods, and how much of it each looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt

from qviz._machine.blas import on_one_thread
from qviz.figures import Window
from qviz.figures.awq import error_bars
from qviz.figures.curvature import coupling, seen_by, sight_images
from qviz.grids import AffineGrid
from qviz.methods import MethodResult, awq, channel_scale, gptq, rtn
from qviz.widgets import _text
from qviz.widgets.layers import LayerExplorer, order_buttons
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_SIGHT = {
    "rtn": ("RTN: none of it", "Every error counts alike, whatever its input."),
    "imatrix": ("imatrix: the diagonal", "Mean x² weighs errors as a range is chosen."),
    "awq": ("AWQ: s² in its place", "Scales s make errors count s²; alpha fits s² to H."),
    "gptq": ("GPTQ: all of it", "Off the diagonal: which weights make up for an error."),
}


class CurvatureExplorer(LayerExplorer):
    """The Hessian of a layer's output error, what each method sees of it, and what each makes of that.

    Parameters
    ----------
    layers : mapping of str to (weight, calibration inputs, held-out inputs), optional
        Layers of SmolLM2 with captured inputs, and of the small model, unless given.
    layer : str, optional
        The one to start with.
    bits : int
    group_size : int
        64, 128 or −1.

    Raises
    ------
    WidgetError
        No such layer, or arrays that do not fit together.

    Attributes
    ----------
    controls : dict
        ``layer``, ``bits``, ``group_size``, ``tokens``, ``order`` and ``zoom``.
    figure : View
        ``figure["rtn"]``, ``["imatrix"]``, ``["awq"]`` and ``["gptq"]`` are `MatrixImage`, ``["methods"]`` is an
        `ErrorBars`.
    results : dict of str to MethodResult
        All at the same true bits per weight.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((300, 64)) @ rng.standard_normal((64, 64))
    >>> explorer = CurvatureExplorer({"mine": (rng.standard_normal((8, 64)), x[:200], x[200:])}, group_size=64)
    >>> len({result.bpw for result in explorer.results.values()})
    1
    """

    _layout = "curvature"
    _pages = (("Where errors hurt", ("rtn", "imatrix", "awq", "gptq")), ("Error of the methods", ("methods",)))

    def __init__(
        self,
        layers: Mapping[str, Any] | None = None,
        layer: str | None = None,
        *,
        bits: int = 3,
        group_size: int = 128,
    ) -> None:
        super().__init__(layers, layer, bits, group_size)
        self.controls |= {
            "order": order_buttons("order of rows and columns"),
            "zoom": ipywidgets.Dropdown(
                options=[("all", 0), ("128", 128), ("64", 64), ("16", 16)],
                value=64,
                description="Show",
                tooltip="how many channels to show",
                layout={"width": "130px"},
            ),
        }
        self._corner = (0, 0)
        self._compute()
        self._arrange(("layer", "bits", "group_size", "tokens"), ("order", "zoom"))

    @on_one_thread
    def _compute(self) -> None:
        w, stats = self._layer.weight, self._stats
        grid = AffineGrid(self.controls["bits"].value, self.controls["group_size"].value)
        scaled = awq(w, stats, grid, trace=True)
        self._alpha = float(scaled.trace["best"])
        self.results: dict[str, MethodResult] = {
            "round to nearest": rtn(w, stats, grid),
            "with an importance matrix": rtn(w, stats, grid, weighted=True),
            "AWQ": scaled,
            "AWQ with clipping": awq(w, stats, grid, alpha=self._alpha, clip=True),
            "GPTQ": gptq(w, stats, grid),
        }
        self._errors = {}
        for part, of in (("calibration", self._stats), ("heldout", self._heldout)):
            G = of.hessian
            whole = max(float(np.einsum("ij,ij->", w @ G, w, dtype=np.float64)), 1e-30)
            offs = [result.weight - w for result in self.results.values()]
            self._errors[part] = [float(np.einsum("ij,ij->", off @ G, off, dtype=np.float64)) / whole for off in offs]
        H, act = stats.hessian, stats.mean_abs
        self._coupling = coupling(H)
        self._order = {
            "by size": np.argsort(-np.diagonal(H), kind="stable"),
            "as they stand": np.arange(len(act)),
        }
        scale = channel_scale(act, self._alpha)
        self._seen = {name: seen_by(H, scale, order) for name, order in self._order.items()}

    def _react(self, control: ipywidgets.Widget) -> None:
        super()._react(control)
        if control is self.controls["layer"] or control is self.controls["order"]:
            self._corner = (0, 0)

    @property
    def window(self) -> Window:
        """The channels on show."""
        n = self._stats.n_in
        size = min(self.controls["zoom"].value or n, n)
        top, left = (min(max(0, at), n - size) for at in self._corner)
        return Window(top, left, size, size)

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] != "zoom":
            return
        sizes = [value for _, value in self.controls["zoom"].options]
        at = sizes.index(self.controls["zoom"].value) + (1 if event["into"] else -1)
        if not 0 <= at < len(sizes):
            return
        size = sizes[at] or self._stats.n_in
        self._corner = (int(event["row"]) - size // 2, int(event["column"]) - size // 2)
        self.controls["zoom"].value = sizes[at]  # updates

    def _scene(self) -> Scene:
        order, window = str(self.controls["order"].value), self.window
        images = sight_images(self._seen[order], window)
        panels = {
            name: Panel(
                images[name],
                _SIGHT[name][0],
                _SIGHT[name][1],
                label=f"{window.rows} × {window.columns} channels",
            )
            for name in _SIGHT
        }
        names = list(self.results)
        bpw = next(iter(self.results.values())).bpw
        bars = error_bars(names, self._errors["heldout"], self._errors["calibration"])
        few = self._stats.n_tokens < self._stats.n_in
        panels["methods"] = Panel(
            bars,
            f"Error of the output at the same {bpw:.2f} bits per weight",
            f"Bars: on held-out tokens. Ticks: on the {_text.count(self._stats.n_tokens)} tokens that the methods saw. "
            f"A bar far beyond its tick has learned the calibration tokens by heart.",
            (("level", "held-out tokens"), ("ink", "calibration tokens")),
            "; ".join(f"{name} {100 * v:.0f} %" for name, v in zip(names, bars.heldout, strict=True)),
        )
        status = self._layer_notes()
        if few:
            text = (
                f"{self._stats.n_tokens} tokens for {self._stats.n_in} channels: H has no full rank, and GPTQ trusts "
                f"what chance put off its diagonal. Damping helps; more tokens help more."
            )
            status = (Status("info", text), *status)
        return Scene(self._layout, panels, self._readouts(bpw), self._summary(bars.heldout), self._tables(), status)

    def _readouts(self, bpw: float) -> tuple[Readout, ...]:
        plain = self._errors["heldout"][0]
        least = min(self._errors["heldout"])
        best = list(self.results)[self._errors["heldout"].index(least)]
        return (
            Readout("Plain rounding", _text.percent(plain), "error of the output on held-out tokens"),
            Readout("Least error", _text.percent(least), best),
            Readout("Off the diagonal", _text.percent(self._coupling), "share of Σ H² that only GPTQ sees"),
            Readout("Alpha", f"{self._alpha:.2f}", "what AWQ chose: 0 sees nothing, 1 is mean |x|"),
            Readout("Tokens · channels", f"{_text.count(self._stats.n_tokens)} · {self._stats.n_in}"),
            Readout("Bits per weight", f"{bpw:.2f}", "the same for all: codes, scales, zero points"),
        )

    def _summary(self, heldout: npt.NDArray[np.float64]) -> str:
        each = ", ".join(f"{name} {100 * v:.0f} %" for name, v in zip(self.results, heldout, strict=True))
        return (
            f"{self.tensor_name}, {self.controls['bits'].value} bits; error of the output on held-out tokens: {each}."
        )

    def _tables(self) -> tuple[Table, ...]:
        sees = ("nothing", "diagonal of H: mean x²", "mean |x|; judges alpha by all of H", "the same", "all of H")
        moves = ("nothing", "each group's range", "one alpha", "alpha, each group's range", "every weight")
        rows = tuple(
            (name, see, move, f"{result.bpw:.3f}", _text.number(out), _text.number(seen))
            for (name, result), see, move, out, seen in zip(
                self.results.items(), sees, moves, self._errors["heldout"], self._errors["calibration"], strict=True
            )
        )
        columns = ("method", "sees", "may move", "bits per weight", "error, held-out", "error, calibration")
        return (Table("What each sees, what it may move, what comes of it", columns, rows),)
