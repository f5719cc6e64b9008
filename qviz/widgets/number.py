"""`NumberExplorer`: one number becomes a small code, and what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np

from qviz.errors import WidgetError, shortened
from qviz.figures.histogram import histogram
from qviz.figures.numberline import NumberLine, group_axis, number_line
from qviz.grids import AffineGrid
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Table

CONSTANTS: Mapping[str, float] = {
    "π": math.pi,
    "e": math.e,
    "√2": math.sqrt(2),
    "golden ratio": (1 + math.sqrt(5)) / 2,
    "ln 2": math.log(2),
}
"""Numbers that everybody knows, and no computer holds."""

RANGES: Mapping[str, tuple[float, float]] = {
    "0 … 4": (0.0, 4.0),
    "−4 … 4": (-4.0, 4.0),
    "−10 … 10": (-10.0, 10.0),
    "−100 … 100": (-100.0, 100.0),
}
"""What a grid may have to cover."""

_BITS = range(2, 9)
_OWN, _BY_HAND = "x", "by hand"  # the number and the range that a hand has made


class NumberExplorer(Explorer):
    """One number on an integer grid: its code, what the code stands for, and what was lost.

    A code means nothing by itself. The grid that it belongs to covers a range, with evenly spaced levels: the more of
    them or the narrower the range, the smaller the step between two, and no number in the range moves by more than half
    a step. A number of one's own, and a range, are made by a hand in the picture: it takes the number on show, or an
    end of the range.

    Parameters
    ----------
    values : mapping of str to float
        Numbers to choose from; each lies in every range.
    bits : int
        2 to 8.
    range : str
        One of `RANGES`.
    sym : bool
        Symmetric: codes on both sides of 0, no zero point.

    Raises
    ------
    WidgetError
        No numbers, or one outside a range; no such range or number of bits.

    Attributes
    ----------
    controls : dict
        ``number``, ``bits``, ``range``, ``sym``.
    figure : View
        ``figure["line"]`` is a `NumberLine` of all the numbers.

    Examples
    --------
    >>> explorer = NumberExplorer(bits=2)
    >>> explorer.code, round(explorer.decoded, 3), explorer
    (2, 2.667, NumberExplorer(π, 2 bits))
    >>> explorer.controls["bits"].value = 8
    >>> explorer.code, round(explorer.decoded, 3)
    (200, 3.137)
    """

    _layout = "number"

    def __init__(
        self, values: Mapping[str, float] = CONSTANTS, bits: int = 3, range: str = "0 … 4", sym: bool = False
    ) -> None:
        super().__init__()
        narrow = max(low for low, _ in RANGES.values()), min(high for _, high in RANGES.values())
        bad = [name for name, value in values.items() if not narrow[0] <= value <= narrow[1]]
        if not values or bad:
            raise WidgetError(f"numbers must lie in {narrow[0]:g} … {narrow[1]:g}; not so: {', '.join(bad) or 'none'}")
        if range not in RANGES or bits not in _BITS:
            raise WidgetError(
                f"bits must be 2 to 8 and range one of {', '.join(RANGES)}; got {shortened(bits)}, {shortened(range)}"
            )
        self._values = {name: float(value) for name, value in values.items()}
        self.controls |= {
            "number": ipywidgets.Dropdown(
                options=list(self._values),
                description="Number",
                tooltip="the number to store",
                layout={"width": "200px"},
            ),
            "bits": ipywidgets.IntSlider(
                bits, 2, 8, description="Bits", tooltip="bits of a code", layout={"width": "300px"}
            ),
            "range": ipywidgets.Dropdown(
                options=list(RANGES),
                value=range,
                description="Range",
                tooltip="what the grid must cover",
                layout={"width": "190px"},
            ),
            "sym": ipywidgets.Checkbox(
                sym,
                description="symmetric",
                tooltip="no zero point: codes on both sides of 0, whether they are needed or not",
                indent=False,
                layout={"width": "110px"},
            ),
        }
        self._ends, self._axis = RANGES[range], RANGES[range]
        self._arrange(("number", "bits", "range", "sym"))

    def _react(self, control: ipywidgets.Widget) -> None:
        chosen = str(self.controls["range"].value)
        if control is not self.controls["range"] or chosen == _BY_HAND:
            return
        self._ends = self._axis = low, high = RANGES[chosen]
        if not low <= self._values.get(_OWN, 0.0) <= high:  # no grid of this range could hold it
            del self._values[_OWN]
            if self.controls["number"].value == _OWN:
                self.controls["number"].value = next(iter(self._values))
            self.controls["number"].options = list(self._values)

    def _event(self, event: dict[str, Any]) -> None:
        value = float(event["value"])
        if not math.isfinite(value):
            return
        with self._silence():
            if event["event"] == "number":
                self._values[_OWN] = min(max(value, self._ends[0]), self._ends[1])
                self._offer("number", list(self._values), _OWN)
            elif event["event"] == "end":
                self._move_end(str(event["end"]), value)
        self.update()

    def _move_end(self, end: str, value: float) -> None:
        """Let the range end elsewhere: on the axis that is there, and around all numbers."""
        first, last = group_axis(np.array(self._axis, np.float32), bool(self.controls["sym"].value))
        low, high = self._ends
        if end == "low":
            low = max(first, min(value, 0.0, *self._values.values()))
        else:
            high = min(last, max(value, 0.0, *self._values.values()))
        self._ends = low, high
        self._offer("range", [*RANGES, _BY_HAND], _BY_HAND)

    def _offer(self, name: str, options: list[str], chosen: str) -> None:
        control = self.controls[name]
        if list(control.options) != options:
            control.options = options
        control.value = chosen

    def _grid(self, bits: int) -> tuple[AffineGrid, float, int]:
        """A grid, its scale and its zero point."""
        grid = AffineGrid(bits, -1, bool(self.controls["sym"].value))
        scale, zero_point = grid.params(np.array(self._ends, np.float32))
        return grid, float(scale.item()), int(zero_point.item())

    def _stored(self, bits: int) -> tuple[int, float, float, int]:
        """The number's code, what it stands for, and the grid's scale and zero point."""
        grid, scale, zero_point = self._grid(bits)
        params = np.full(1, scale, np.float32), np.full(1, zero_point, np.int32)
        made = grid.quantize(np.array([self._value], np.float32), params)
        return int(made.codes.item()), float(made.dequantize().item()), scale, zero_point

    @property
    def _value(self) -> float:
        return self._values[str(self.controls["number"].value)]

    @property
    def _range(self) -> str:
        chosen = str(self.controls["range"].value)
        return " … ".join(_text.number(end) for end in self._ends) if chosen == _BY_HAND else chosen

    @property
    def code(self) -> int:
        """The code of the number on show."""
        return self._stored(int(self.controls["bits"].value))[0]

    @property
    def decoded(self) -> float:
        """What the code stands for."""
        return self._stored(int(self.controls["bits"].value))[1]

    def _scene(self) -> Scene:
        bits, name = int(self.controls["bits"].value), str(self.controls["number"].value)
        code, decoded, scale, zero_point = self._stored(bits)
        line = self._line(bits)
        error = decoded - self._value
        summary = (
            f"{name} in {bits} bits over {self._range}: code {_text.number(code)}, which stands for "
            f"{_text.number(decoded, 5)}; off by {_text.number(abs(error))}, at most {_text.number(scale / 2)}."
        )
        readouts = (
            Readout(name, _text.number(self._value, 6) + ("" if name == _OWN else " …"), "the number to store"),
            Readout("Step (scale)", _text.number(scale, 4), "between two levels"),
            Readout("Zero point", _text.number(zero_point), "the code that stands for 0"),
            Readout("Code", _text.number(code), f"round({name} / step) + zero point"),
            Readout("Stored as", _bits(code, bits), f"{bits} bits; a negative code in two's complement"),
            Readout("Stands for", _text.number(decoded, 5), "step · (code − zero point)"),
            Readout("Off by", _text.number(abs(error)), f"never more than half a step, {_text.number(scale / 2)}"),
        )
        return Scene(
            self._layout,
            {
                "line": Panel(
                    line,
                    f"{len(line.levels)} levels, and where {len(self._values)} numbers fall",
                    "Dots are the numbers, each falling onto the nearest level. Under a level stands its code; the bar "
                    "shows how many numbers share it. Take the large dot, or an end of the range, and move it.",
                    (("weight", "numbers"), ("level", "levels and their codes")),
                    summary,
                    {
                        "names": list(self._values),
                        "current": list(self._values).index(name),
                        "take": "number",
                        "ends": self._ends,
                        "within": (min(0.0, *self._values.values()), max(0.0, *self._values.values())),
                    },
                )
            },
            readouts,
            summary,
            (self._table(name),),
        )

    def _line(self, bits: int) -> NumberLine:
        grid, scale, zero_point = self._grid(bits)
        values = np.array(list(self._values.values()), np.float32)
        low, high = group_axis(np.array(self._axis, np.float32), grid.sym)
        return number_line(values, grid, (scale, zero_point), histogram(values, low, high))

    def _table(self, name: str) -> Table:
        rows = []
        for bits in _BITS:
            code, decoded, scale, _ = self._stored(bits)
            error = _text.number(abs(decoded - self._value))
            rows.append(
                (str(bits), _text.number(scale, 4), _text.number(code), _bits(code, bits), f"{decoded:.5f}", error)
            )
        return Table(
            f"{name} in 2 to 8 bits", ("bits", "step", "code", "stored as", "stands for", "off by"), tuple(rows)
        )

    def __repr__(self) -> str:
        return f"NumberExplorer({self.controls['number'].value}, {self.controls['bits'].value} bits)"


def _bits(code: int, bits: int) -> str:
    return f"{code & ((1 << bits) - 1):0{bits}b}"
