"""`AWQExplorer`: what AWQ looks at, what it chooses, and what that does to a layer it was not shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np

from qviz._machine.blas import on_one_thread
from qviz._types import DoubleArray, FloatArray
from qviz.figures.awq import alpha_curve, channel_tracks, clip_curve, error_bars
from qviz.figures.channel_group import channel_group
from qviz.grids import AffineGrid
from qviz.methods import MethodResult, awq, channel_scale, keep_salient, rtn
from qviz.widgets import _text
from qviz.widgets.layers import LayerExplorer, order_buttons
from qviz.widgets.scene import Panel, Readout, Scene, Table

ALPHAS = np.arange(20) / 20
_SEEDS = 8  # random choices to average over
_FIRST = 4.0  # scale of the largest channel, to begin with
_KEPT = (("activation", "keep 1 %: largest inputs"), ("weight", "keep 1 %: largest weights"))


class AWQExplorer(LayerExplorer):
    """Scale a layer's input channels by mean|x|^alpha before rounding, and see what becomes of its output.

    First, one group of one row, whose channels are scaled by hand: drag a bar, and see the levels of its weights come
    closer together, and those of its neighbours move apart once the group's range has to grow. Then AWQ's choice of all
    scales by one number, the error over alpha. Behind tabs: every input channel, the clipping of one group, and the
    experiment that AWQ starts from: keep one percent of the columns unrounded, chosen in three ways. Errors are of the
    layer's output, on tokens that no method saw.

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
        ``layer``, ``bits``, ``group_size``, ``tokens``, ``scale``, ``row``, ``alpha``, ``clip`` and ``order``.
    figure : View
        ``figure["hand"]`` is a `ChannelGroup`, ``["channels"]`` a `ChannelTracks`, ``["alpha"]`` an `AlphaCurve`,
        ``["clip"]`` a `ClipCurve`, ``["methods"]`` an `ErrorBars`.
    result : MethodResult
        The rounding on show.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((200, 64)) * np.r_[20, np.ones(63)]
    >>> explorer = AWQExplorer({"mine": (rng.standard_normal((8, 64)), x[:150], x[150:])}, group_size=64)
    >>> curve = explorer.figure["alpha"]
    >>> bool(curve.heldout[curve.best] < 0.9)  # in units of plain rounding
    True
    >>> explorer.controls["scale"].value = 8
    >>> float(explorer.figure["hand"].scale[explorer.figure["hand"].current])
    8.0
    """

    _layout = "awq"
    _pages = (
        ("Scale a channel", ("hand",)),
        ("Choice of α", ("alpha",)),
        ("All channels", ("channels",)),
        ("Clipping", ("clip",)),
        ("Methods", ("methods",)),
    )

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
            "scale": ipywidgets.FloatLogSlider(
                value=_FIRST,
                base=2,
                min=-2,
                max=6,
                step=0.25,
                readout_format=".3g",
                description="Scale by hand",
                tooltip="of the channel on show; dragging its bar does the same",
                layout={"width": "320px"},
            ),
            "alpha": ipywidgets.SelectionSlider(
                options=[(f"{alpha:.2f}", float(alpha)) for alpha in ALPHAS],
                description="Alpha",
                tooltip="s = mean |x| to this power; 0 is plain rounding",
                layout={"width": "360px"},
            ),
            "clip": ipywidgets.Checkbox(
                value=False, description="Clip", indent=False, tooltip="round clipped groups", layout={"width": "auto"}
            ),
            "order": order_buttons("order of the channels"),
            "row": ipywidgets.IntSlider(
                0,
                0,
                len(self._layer.weight) - 1,
                description="Row",
                tooltip="output row on show while you scale a channel, and while a group is clipped",
                layout={"width": "320px"},
            ),
        }
        self._channel = 0
        self._hand: dict[int, float] = {}
        self._compute()
        self._arrange(("layer", "bits", "group_size", "tokens"), ("scale", "row"), ("alpha", "clip", "order"))

    @property
    def grid(self) -> AffineGrid:
        """The grid that weights are rounded onto."""
        return AffineGrid(self.controls["bits"].value, self.controls["group_size"].value)

    # --- what is computed when the layer, the grid or the tokens change

    @on_one_thread
    def _compute(self) -> None:
        """Errors over alpha, and of the methods beside it; sets the slider to the best alpha."""
        w, grid, stats = self._layer.weight, self.grid, self._stats
        self._gram = {"calibration": stats.hessian, "heldout": self._heldout.hessian}
        self._whole = {part: max(_total(w, G), 1e-30) for part, G in self._gram.items()}
        self._act = stats.mean_abs
        self._plain = rtn(w, stats, grid)
        offs = []
        for alpha in ALPHAS:
            s = channel_scale(self._act, float(alpha))
            offs.append(self._errors(grid.fake_quantize(w * s) / s - w))
        self._curve: dict[str, DoubleArray] = {
            part: np.array([off[part] for off in offs]) for part in ("calibration", "heldout")
        }
        self._best = float(ALPHAS[self._curve["calibration"].argmin()])
        self._rounded: dict[float, MethodResult] = {}
        clipped = self._clipped(self._best)
        self._beside: list[tuple[str, float, dict[str, float]]] = [
            ("round to nearest", self._plain.bpw, {part: float(self._curve[part][0]) for part in self._curve})
        ]
        for by, name in _KEPT:
            kept = keep_salient(w, stats, grid, by=by)  # type: ignore[arg-type]
            self._beside.append((name, kept.bpw, self._errors(kept.weight - w)))
        chance = [keep_salient(w, stats, grid, by="random", seed=seed) for seed in range(_SEEDS)]
        each = [self._errors(kept.weight - w) for kept in chance]
        mean = {part: float(np.mean([one[part] for one in each])) for part in self._curve}
        self._beside.append((f"keep 1 %: at random, mean of {_SEEDS}", chance[0].bpw, mean))
        best = int(self._curve["calibration"].argmin())
        self._beside.append(("AWQ", self._plain.bpw, {part: float(self._curve[part][best]) for part in self._curve}))
        self._beside.append(("AWQ with clipping", clipped.bpw, self._errors(clipped.weight - w)))
        self._channel = int(self._act.argmax())
        self._hand = {self._channel: _FIRST}
        with self._silence():
            self.controls["row"].max = len(w) - 1
            self.controls["alpha"].value = self._best
            self.controls["scale"].value = _FIRST

    def _errors(self, off: FloatArray) -> dict[str, float]:
        """Share of the output that is lost, on both sets of tokens, for weights that are `off` by so much."""
        return {part: _total(off, G) / self._whole[part] for part, G in self._gram.items()}

    def _clipped(self, alpha: float) -> MethodResult:
        if alpha not in self._rounded:
            if len(self._rounded) > 24:
                self._rounded.clear()
            stats, grid = self._stats, self.grid
            self._rounded[alpha] = awq(self._layer.weight, stats, grid, alpha=alpha, clip=True, trace=True)
        return self._rounded[alpha]

    # --- controls

    def _react(self, control: ipywidgets.Widget) -> None:
        super()._react(control)
        if control is self.controls["scale"]:
            self._hand[self._channel] = float(control.value)

    def _look_at(self, channel: int) -> None:
        """Put another channel on show, with the scale that it has."""
        self._channel = channel
        with self._silence():
            self.controls["scale"].value = self._hand.get(channel, 1.0)

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "alpha":
            self.controls["alpha"].value = float(ALPHAS[min(len(ALPHAS) - 1, max(0, int(event["alpha"])))])
        elif event["event"] == "channel":
            tracks = self.figure["channels"]
            self._look_at(int(tracks.order[min(len(tracks.order) - 1, max(0, int(event["place"])))]))
            self.update()
        elif event["event"] == "hand" and int(event["channel"]) in range(len(self._act)):
            slider, channel = self.controls["scale"], int(event["channel"])
            power = math.log2(float(event["scale"]))
            self._hand[channel] = slider.base ** min(slider.max, max(slider.min, power))
            self._look_at(channel)
            self.update()

    # --- the picture

    @on_one_thread
    def _scene(self) -> Scene:
        w, grid, act = self._layer.weight, self.grid, self._act
        alpha = float(self.controls["alpha"].value)
        s = channel_scale(act, alpha)
        usual = np.float32(np.median(s))
        clipping = bool(self.controls["clip"].value)
        self.result = self._clipped(alpha) if clipping else awq(w, self._stats, grid, alpha=alpha)
        n_in = w.shape[1]
        size = grid.group_size if 0 < grid.group_size < n_in else n_in
        # only ratios of s matter: let the usual channel have 1. Then Δ′/Δ tells how much a group's steps have grown
        s = s / usual
        growth = self.result.scales / self._plain.scales / usual
        error = _total(self.result.weight - w, self._gram["heldout"]) / self._whole["heldout"]
        ratio = float(act.max() / max(float(np.median(act)), 1e-30))
        group = self._channel // size
        return Scene(
            self._layout,
            {
                "hand": self._hand_panel(),
                "channels": self._channels_panel(s, growth, ratio, size),
                "alpha": self._alpha_panel(alpha),
                # a search that is not asked for need not follow the slider
                "clip": self._clip_panel(alpha if clipping else self._best, group),
                "methods": self._methods_panel(),
            },
            self._readouts(error, growth, s, ratio, group),
            self._summary(error, ratio),
            self._tables(growth, s, size),
            self._layer_notes(),
        )

    def _hand_panel(self) -> Panel:
        scales, row = np.ones(len(self._act), np.float32), int(self.controls["row"].value)
        for channel, scale in self._hand.items():
            scales[channel] = scale
        figure = channel_group(
            self._layer.weight, self._gram["heldout"], self.grid, scales, row=row, channel=self._channel
        )
        at, c = figure.current, self._channel
        scale, alone = float(scales[c]), len({k for k, v in self._hand.items() if v != 1.0} - {c}) == 0
        own = _text.number(float(figure.step[at] / figure.step_before[at]), 2)
        words = (
            f"Channel {c} has inputs of {_text.number(self._times(c), 2)} × the median; its levels are {own} × as far "
            f"apart. Channels that are not scaled have theirs {_text.number(figure.stretch, 3)} × as far apart in row "
            f"{row}, and farther than before in {_text.percent(figure.stretched)} of all rows."
        )
        return Panel(
            figure,
            f"Channel {c} × {_text.number(scale, 3)}{'' if alone else ', and others'}: {_share(figure.left)} of the "
            f"group's error is left",
            words,
            (("weight", "weight"), ("soft", "before"), ("level", "its levels"), ("changed", "on show")),
            words,
        )

    def _times(self, channel: int) -> float:
        """How large a channel's inputs are, in units of the median channel's."""
        return float(self._act[channel] / max(float(np.median(self._act)), 1e-30))

    def _channels_panel(self, s: FloatArray, growth: FloatArray, ratio: float, size: int) -> Panel:
        w, n_in = self._layer.weight, s.size
        # the distance between two levels of a weight in use
        step = np.median(growth, axis=0)[np.arange(n_in) // size] / s
        mean_sq = np.diagonal(self._gram["heldout"]) / 2
        energy = self._whole["heldout"] / 2
        before, after = (
            (np.square(v - w, dtype=np.float64).sum(axis=0) * mean_sq / energy)
            for v in (self._plain.weight, self.result.weight)
        )
        c, by_size = self._channel, self.controls["order"].value == "by size"
        tracks = channel_tracks(self._act, step, before, after, group_size=size, channel=c, by_size=by_size)
        return Panel(
            tracks,
            "Every input channel",
            f"From top to bottom: mean |x| of each channel; the distance between two levels of its weights, "
            f"before scaling = 1; and what rounding it costs, as a share of the output: a line from before to "
            f"after. Click, or use the arrow keys, to choose a channel. "
            f"{self._about(c, s, step, before, after)}",
            (
                ("soft", "mean |x|"),
                ("changed", f"the largest {len(tracks.salient)}"),
                ("level", "plain rounding"),
                ("weight", "with AWQ's scale"),
            ),
            f"{n_in} channels; the largest is {_text.number(ratio, 2)} times the median; channel {c} on show",
        )

    def _alpha_panel(self, alpha: float) -> Panel:
        curve = alpha_curve(ALPHAS, self._curve["calibration"], self._curve["heldout"], alpha=alpha)
        return Panel(
            curve,
            "Error of the output over alpha",
            f"100 % is plain rounding. The search takes the least error on its calibration tokens: alpha "
            f"{self._best:.2f}. Click a point, or use the arrow keys.",
            (("level", "calibration tokens"), ("weight", "held-out tokens"), ("ok", "what the search takes")),
            f"alpha {alpha:.2f} leaves {_share(curve.heldout[curve.current])} on held-out tokens; the search "
            f"takes {self._best:.2f} with {_share(curve.heldout[curve.best])}",
        )

    def _clip_panel(self, alpha: float, group: int) -> Panel:
        trace, row = self._clipped(alpha).trace, int(self.controls["row"].value)
        clip = clip_curve(trace["clip_tried"], trace["clip_loss"], trace["clip_keep"], row=row, group=group)
        return Panel(
            clip,
            f"Clipping at alpha {alpha:.2f}: row {row}, group {group}",
            "The curve: error if this group alone were rounded, with its range cut to a part of its largest "
            "weight. The ring: what was taken, since the row's other groups have a say. Bars: what all groups "
            "of the matrix took.",
            (("level", "this group"), ("ok", "taken for it"), ("soft", "all groups")),
            f"the group on show keeps {_share(clip.tried[clip.chosen])} of its largest weight",
        )

    def _methods_panel(self) -> Panel:
        bars = error_bars(
            [name for name, _, _ in self._beside],
            [off["heldout"] for _, _, off in self._beside],
            [off["calibration"] for _, _, off in self._beside],
            notes=[f"{bpw:.2f} bits" for _, bpw, _ in self._beside],
            marked=(1, 2, 3),
        )
        return Panel(
            bars,
            "The experiment before the method: error of the output on held-out tokens",
            "Round everything, but keep one column in a hundred in float16. Which hundredth? AWQ needs no "
            "second number format: its bars cost no bit more than the first. A tick shows what the calibration "
            "tokens would say.",
            (("level", "same bits"), ("field-2", "more bits"), ("ink", "on the calibration tokens")),
            "; ".join(f"{name} {_share(v)}" for name, v in zip(bars.names, bars.heldout, strict=True)),
        )

    def _readouts(
        self, error: float, growth: FloatArray, s: FloatArray, ratio: float, group: int
    ) -> tuple[Readout, ...]:
        plain = float(self._curve["heldout"][0])
        return (
            Readout("Error of the output", _text.percent(error), "‖X·(W − Ŵ)ᵀ‖² / ‖X·Wᵀ‖², held-out tokens"),
            Readout("Plain rounding", _text.percent(plain), "the same with alpha 0 and no clipping"),
            Readout("What remains of it", _share(error / plain if plain else 1.0), "100 %: nothing gained"),
            Readout("Largest / median", f"{_text.number(ratio, 2)} ×", "mean |x| of the largest input channel"),
            Readout(
                "Δ′/Δ here",
                _text.number(float(np.median(growth[:, group])), 3),
                "how much the step of the group on show has grown, median of the rows",
            ),
            Readout("Bits per weight", f"{self.result.bpw:.2f}", "codes, scales and zero points; s costs nothing"),
            Readout(
                "Folding s", _text.number(self._fold(s), 1), "largest change of an output, relative, when X/s meets W·s"
            ),
        )

    def _about(self, c: int, s: FloatArray, step: FloatArray, before: DoubleArray, after: DoubleArray) -> str:
        """One channel in words."""
        times = _text.number(self._times(c), 2)
        return (
            f"Channel {c}: mean |x| {_text.number(float(self._act[c]))}, {times} × the median; scale s "
            f"{_text.number(float(s[c]), 2)} × that of the median channel; levels "
            f"{_text.number(float(step[c]), 2)} × as far apart; cost "
            f"{_text.percent(float(before[c]))} → {_text.percent(float(after[c]))}."
        )

    def _fold(self, s: FloatArray) -> float:
        """How far (X/s)·(W·s)ᵀ is from X·Wᵀ, before any rounding, relative to the largest output."""
        x, w = self._layer.heldout[:16], self._layer.weight
        exact = x @ w.T
        return float(np.abs((x / s) @ (w * s).T - exact).max() / max(float(np.abs(exact).max()), 1e-30))

    def _summary(self, error: float, ratio: float) -> str:
        plain = float(self._curve["heldout"][0])
        return (
            f"{self.tensor_name}, {self.grid.bits} bits: with alpha {self.controls['alpha'].value:.2f}"
            f"{' and clipping' if self.controls['clip'].value else ''} the output's error is "
            f"{_text.percent(error)}, {_share(error / plain if plain else 1.0)} of what plain rounding leaves. Its "
            f"largest input channel is {_text.number(ratio, 2)} times the median one."
        )

    def _tables(self, growth: FloatArray, s: FloatArray, size: int) -> tuple[Table, ...]:
        n_in, act = s.size, self._act
        groups = tuple(
            (
                f"{g}: channels {g * size} … {min(n_in, (g + 1) * size) - 1}",
                _text.number(float(act[g * size : (g + 1) * size].max())),
                _text.number(float(s[g * size : (g + 1) * size].max())),
                _text.number(float(np.median(growth[:, g]))),
                _text.percent(float((growth[:, g] > 1.01).mean())),
            )
            for g in range(growth.shape[1])
        )
        methods = tuple(
            (name, f"{bpw:.3f}", _text.number(off["heldout"]), _text.number(off["calibration"]))
            for name, bpw, off in self._beside
        )
        alphas = tuple(
            (f"{alpha:.2f}", *(_text.number(float(self._curve[part][k])) for part in ("calibration", "heldout")))
            for k, alpha in enumerate(ALPHAS)
        )
        errors = ("error, calibration", "error, held-out")
        return (
            Table(
                "Does scaling make the steps of a group larger?",
                ("group", "largest mean |x|", "largest s", "Δ′/Δ, median of the rows", "rows where it grew > 1 %"),
                groups,
            ),
            Table("Methods", ("method", "bits per weight", "error, held-out", "error, calibration"), methods),
            Table("Alpha", ("alpha", *errors), alphas),
        )


def _total(off: FloatArray, G: FloatArray) -> float:
    return float(np.einsum("ij,ij->", off @ G, off, dtype=np.float64))


def _share(part: float) -> str:
    """A part of plain rounding's error: above 100 % is worse."""
    return f"{100 * part:.0f} %"
