"""`BitsExplorer`: how many bits a weight needs."""

from __future__ import annotations

import math
from typing import Any

import ipywidgets
import numpy as np

from qviz.errors import WidgetError, shortened
from qviz.figures import ErrorHistogram, Histogram, NumberLine, error_histogram, group_axis, histogram, number_line
from qviz.figures.numberline import sampled
from qviz.grids import AffineGrid
from qviz.metrics import Comparison, compare
from qviz.widgets import _text
from qviz.widgets.base import SourceExplorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_GROUP_SIZES = (16, 32, 64, 128, 256)


class BitsExplorer(SourceExplorer):
    """Round the weights of a tensor onto an integer grid, and see what is lost.

    Above, some weights of one group drop onto the nearest level of its grid, with all weights of the tensor
    behind; below, the errors of all weights stand in front of the weights themselves. Every move rounds the
    whole tensor. A weight can be taken and moved, as by a hand: then the grid of its group is made anew.

    Parameters
    ----------
    given : array_like (n_out, n_in), QTensor, or a model
        The weights; of a model, `tensor` says which.
    tensor : str, optional
        Name of a model's tensor; the first one unless given.
    bits : int
        2 to 8.
    granularity : str
        What shares a scale: ``"tensor"``, ``"channel"`` (a row) or ``"group"`` (of a row).
    group_size : int
        Weights in a group: 16, 32, 64, 128 or 256.
    sym : bool
        No zero point; the same range on both sides of zero.
    name : str, optional
        What to call weights that come without a name.

    Raises
    ------
    WidgetError
        Not weights, or no such tensor.

    Attributes
    ----------
    controls : dict
        ``bits``, ``granularity``, ``group_size``, ``sym``, ``group`` (the one drawn), ``back`` (which undoes what
        a hand has moved) and, for a model, ``tensor``.
    figure : View
        ``figure["line"]`` is a `NumberLine`, ``figure["errors"]`` an `ErrorHistogram`.

    Examples
    --------
    >>> explorer = BitsExplorer(np.sin(np.arange(512)).reshape(2, 256), bits=2, name="a wave")
    >>> explorer
    BitsExplorer(a wave 2 × 256)
    >>> explorer.controls["bits"].value = 3
    >>> len(explorer.figure["line"].levels), explorer.grid.bits
    (8, 3)
    """

    _layout = "bits"
    _pages = (("One group", ("line",)), ("The errors of all weights", ("errors",)))

    def __init__(
        self,
        given: Any,
        tensor: str | None = None,
        *,
        bits: int = 4,
        granularity: str = "group",
        group_size: int = 128,
        sym: bool = False,
        name: str | None = None,
    ) -> None:
        if granularity not in ("tensor", "channel", "group"):
            raise WidgetError(f"granularity must be 'tensor', 'channel' or 'group', got {shortened(granularity)}")
        if bits not in range(2, 9):
            raise WidgetError(f"bits must be 2 to 8 here, got {shortened(bits)}; AffineGrid takes 1 to 16")
        if group_size not in _GROUP_SIZES:
            raise WidgetError(f"group_size must be one of {_GROUP_SIZES}, got {shortened(group_size)}")
        super().__init__(given, tensor, name)
        self.controls |= {
            "bits": ipywidgets.IntSlider(
                bits, 2, 8, description="Bits", tooltip="bits of a code", layout={"width": "300px"}
            ),
            "granularity": ipywidgets.ToggleButtons(
                options=[("tensor", "tensor"), ("row", "channel"), ("group", "group")],
                value=granularity,
                description="One scale per",
                tooltip="which weights share a scale",
                tooltips=["all weights", "each row", "each few weights of a row"],
                style={"button_width": "72px"},
            ),
            "group_size": ipywidgets.Dropdown(
                options=_GROUP_SIZES,
                value=group_size,
                description="Group size",
                tooltip="weights in a group",
                layout={"width": "100px"},
            ),
            "sym": ipywidgets.Checkbox(
                sym,
                description="symmetric",
                tooltip="no zero point: the grid reaches as far below zero as above",
                indent=False,
                layout={"width": "110px"},
            ),
            "group": ipywidgets.IntSlider(
                0, 0, 0, description="Group drawn", tooltip="the group in the picture", layout={"width": "340px"}
            ),
            "back": ipywidgets.Button(
                description="Put weights back",
                tooltip="where they were before a hand moved them",
                disabled=True,
                layout={"width": "auto"},
            ),
        }
        self._on_click("back", self._put_back)
        self._place = 0  # first weight of the group drawn, so that it stays in view when groups change their size
        if self._problem is None:
            self._set_groups()
        self._arrange(("tensor", "bits"), ("granularity", "group_size", "sym"), ("group", "back"))

    @property
    def grid(self) -> AffineGrid:
        """The grid that the controls describe."""
        granularity = self.controls["granularity"].value
        size = {"tensor": 0, "channel": -1}.get(granularity, self.controls["group_size"].value)
        return AffineGrid(self.controls["bits"].value, size, self.controls["sym"].value)

    def _open(self) -> None:
        self.weights = self._source.weights()
        """float32 array (rows, columns): what is being rounded, with what a hand has moved."""
        self._moved: dict[int, np.float32] = {}  # place of a weight in the tensor -> what it was
        self.rounded = np.empty_like(self.weights)
        """float32 array (rows, columns): the same weights after rounding."""
        flat = self.weights.reshape(-1)
        spread = float(np.std(flat, dtype=np.float64)) if np.isfinite(flat).all() else 0.0
        self._limit = 3 * spread or float(np.abs(flat).max()) or 1.0
        self._finite = bool(spread)
        self._count()
        self._place = 0
        if "back" in self.controls:
            self.controls["back"].disabled = True

    def _count(self) -> None:
        """Count all weights, for what stands behind both pictures."""
        self._behind_line: Histogram | None = None
        limit = self._limit
        self._behind = histogram(self.weights.reshape(-1), -limit, limit) if self._finite else None

    def _event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "weight":
            start, stop = self._span(self.controls["group"].value)
            self._put(start + int(sampled(stop - start)[int(event["dot"])]), float(event["value"]))

    def _put(self, place: int, value: float) -> None:
        """Move one weight, within the axis of its group."""
        if not math.isfinite(value):
            return
        if not self._moved:
            self.weights = self.weights.copy()  # what we were given stays as it is
        flat = self.weights.reshape(-1)
        low, high = self._axis(*self._span(self.controls["group"].value))
        was = self._moved.pop(place, flat[place].copy())
        flat[place] = min(max(value, low), high)
        if flat[place] != was:
            self._moved[place] = was  # the last of them
        self.controls["back"].disabled = not self._moved
        self._count()
        self.update()

    def _put_back(self) -> None:
        for place, value in self._moved.items():
            self.weights.reshape(-1)[place] = value
        self._moved = {}
        self.controls["back"].disabled = True
        self._count()
        self.update()

    def _axis(self, start: int, stop: int) -> tuple[float, float]:
        """The axis of a group, which stays where it is while a hand moves weights."""
        group = self.weights.reshape(-1)[start:stop].copy()
        for place, value in self._moved.items():
            if start <= place < stop:
                group[place - start] = value
        return group_axis(group, self.grid.sym)

    def _react(self, control: ipywidgets.Widget) -> None:
        if control is self.controls["group"]:
            self._place = self._span(control.value)[0]
        elif control is not self.controls["bits"]:
            self._set_groups()

    def _lengths(self) -> tuple[int, int]:
        """Weights in a group, and in the stretch that groups subdivide: a row, or the whole tensor."""
        size, columns = self.grid.group_size, self.weights.shape[1]
        stretch = self.weights.size if size == 0 else columns
        return (min(size, columns) if size > 0 else stretch), stretch

    def _span(self, group: int) -> tuple[int, int]:
        """First weight of a group and the one after its last, counted through the tensor."""
        length, stretch = self._lengths()
        which, part = divmod(group, -(-stretch // length))
        start = which * stretch + part * length
        return start, min(start + length, (which + 1) * stretch)

    def _set_groups(self) -> None:
        granularity, slider = self.controls["granularity"].value, self.controls["group"]
        length, stretch = self._lengths()
        per_stretch = -(-stretch // length)
        which, offset = divmod(self._place, stretch)
        self.controls["group_size"].disabled = granularity != "group"
        slider.max = self.weights.size // stretch * per_stretch - 1
        slider.value = which * per_stretch + offset // length
        slider.disabled = slider.max == 0

    def _scene(self) -> Scene:
        grid, weights = self.grid, self.weights
        rounded = grid.fake_quantize(weights, out=self.rounded)
        loss = compare(weights, rounded)
        start, stop = self._span(self.controls["group"].value)
        group = weights.reshape(-1)[start:stop]
        scale, zero_point = (float(p.item()) for p in AffineGrid(grid.bits, -1, grid.sym).params(group))
        line = number_line(group, grid, (scale, int(zero_point)), self._density(*self._axis(start, stop)))
        behind = self._behind or histogram(weights, -self._limit, self._limit)
        errors = ErrorHistogram(error_histogram(weights, rounded, self._limit), behind, loss.rmse)
        at_zero = 1 - np.count_nonzero(rounded != 0) / rounded.size
        return Scene(
            self._layout,
            {"line": self._line_panel(line, start), "errors": _error_panel(errors)},
            self._readouts(grid, loss, scale, int(zero_point), at_zero),
            self._summary(grid, loss, at_zero),
            (_level_table(line), _error_table(errors)),
            (*self._source_notes(), *self._moved_note()),
        )

    def _moved_note(self) -> tuple[Status, ...]:
        if not self._moved:
            return ()
        (place, value), *others = reversed(self._moved.items())
        row, column = divmod(place, self.weights.shape[1])
        now = self.weights.reshape(-1)[place]
        more = f", and {_text.plural(len(others), 'other weight')}" if others else ""
        return (
            Status(
                "info",
                f"Moved by hand: row {row}, column {column}, from {_text.number(float(value))} to "
                f"{_text.number(float(now))}{more}. All numbers here are of the weights as they stand now.",
            ),
        )

    def _density(self, low: float, high: float) -> Histogram:
        """All weights between two ends; as long as the axis stays, they need not be counted again."""
        last = self._behind_line
        if last is None or (last.low, last.high) != (low, high):
            self._behind_line = last = histogram(self.weights, low, high)
        return last

    def _line_panel(self, line: NumberLine, start: int) -> Panel:
        row, column = divmod(start, self.weights.shape[1])
        where = "The whole tensor" if line.group_size == self.weights.size else (
            f"Row {row}, columns {column} … {column + line.group_size - 1}"
        )  # fmt: skip
        inside = 1 - line.density.outside / line.density.total
        used, n = np.count_nonzero(line.used), len(line.levels)
        return Panel(
            line,
            where,
            f"{len(line.weights)} of the group's {_text.count(line.group_size)} weights, each rounded to its nearest "
            f"level; take one and move it. The bars count all of them: {used} of {n} levels are in use. "
            f"The axis holds {_text.percent(inside)} of the tensor.",
            (
                ("weight", "weights"),
                ("level", "levels and their weights"),
                ("soft", "whole tensor"),
            ),
            f"{n} levels from {_text.number(float(line.levels[0]))} to "
            f"{_text.number(float(line.levels[-1]))}; {used} in use",
            {
                "take": "weights",
                "moved": [i for i, j in enumerate(sampled(line.group_size).tolist()) if start + j in self._moved],
                "tour": {"control": "bits", "values": [8, 7, 6, 5, 4, 3, 2, 3, 4], "label": "8 → 2 → 4 bits"},
            },
        )

    def _readouts(
        self, grid: AffineGrid, loss: Comparison, scale: float, zero_point: int, at_zero: float
    ) -> tuple[Readout, ...]:
        shape, before = self._source.shape, self._source.nbytes
        after = grid.nbytes(shape)
        sharing = int(np.prod(grid.params_shape(shape)))
        parts = "codes and a 16-bit scale" + ("" if grid.sym else f" and a {grid.bits}-bit zero point")
        return (
            Readout(
                "Bits per weight",
                f"{grid.bpw(shape):.2f}",
                f"{parts} for each of {_text.count(sharing)} groups, everything counted",
            ),
            Readout(f"Before ({self._source.format_name})", _text.size(before), f"{_text.count(before)} bytes"),
            Readout("After", _text.size(after), f"{_text.count(after)} bytes"),
            Readout(
                "SQNR",
                _text.decibels(loss.sqnr_db),
                "signal to quantization noise; one bit is worth about 6 dB",
            ),
            Readout("RMSE", _text.number(loss.rmse), "root mean square error of all weights"),
            Readout("Scale", _text.number(scale), "the step between two levels of the group drawn"),
            Readout("Zero point", _text.number(zero_point), "the code that stands for 0 in the group drawn"),
            Readout("Became 0", _text.percent(at_zero), "share of all weights that round to exactly 0"),
        )

    def _summary(self, grid: AffineGrid, loss: Comparison, at_zero: float) -> str:
        per = {"tensor": "the tensor", "channel": "each row"}.get(grid.granularity, f"each {grid.group_size} weights")
        return (
            f"{self.tensor_name}, {grid.bits} bits, {'symmetric' if grid.sym else 'asymmetric'}, "
            f"one scale for {per}: {grid.bpw(self._source.shape):.2f} bits per weight, "
            f"SQNR {_text.decibels(loss.sqnr_db)}, "
            f"RMSE {_text.number(loss.rmse)}, {_text.percent(at_zero)} of the weights became 0."
        )


def _error_panel(errors: ErrorHistogram) -> Panel:
    beyond = errors.errors.outside / errors.errors.total
    caption = (
        "The axis spans three standard deviations of the weights on either side and stays where it is: "
        "errors shrink as bits are added. Each curve is drawn to its own height."
    )
    if beyond:
        caption += f" {_text.percent(beyond)} of the errors lie beyond it."
    return Panel(
        errors,
        "What rounding costs: the errors of all weights",
        caption,
        (("level", "errors"), ("soft", "the weights themselves"), ("ink", "± RMSE")),
        f"errors of all weights, root mean square {_text.number(errors.rmse)}",
    )


def _level_table(line: NumberLine) -> Table:
    rows = zip(line.codes.tolist(), line.levels.tolist(), line.used.tolist(), strict=True)
    return Table(
        "Levels of the group drawn",
        ("code", "weight it stands for", "weights of the group"),
        tuple((_text.number(code), _text.number(level, 4), str(used)) for code, level, used in rows),
    )


def _error_table(errors: ErrorHistogram, rows: int = 12) -> Table:
    counts = errors.errors.counts
    starts = np.arange(rows) * counts.size // rows
    edges = np.linspace(errors.errors.low, errors.errors.high, counts.size + 1)[[*starts, -1]]
    return Table(
        "Errors of all weights",
        ("from", "to", "weights"),
        tuple(
            (_text.number(low), _text.number(high), _text.count(int(n)))
            for low, high, n in zip(edges[:-1], edges[1:], np.add.reduceat(counts, starts), strict=True)
        ),
    )
