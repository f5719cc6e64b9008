"""`FloatExplorer`: the bits of a small float, what they stand for, and where its numbers lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np

from qviz.errors import WidgetError, shortened
from qviz.figures.floatbits import float_bits
from qviz.grids import E2M1, E2M3, E3M2, E4M3, E5M2, SmallFloat
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Table

FLOATS: Mapping[str, SmallFloat] = {small.name: small for small in (E4M3, E5M2, E3M2, E2M3, E2M1)}
"""What can be looked at."""


class FloatExplorer(Explorer):
    """A float of four to eight bits: flip its bits, walk its codes, or let it round a number.

    Parameters
    ----------
    name : str
        One of `FLOATS`.
    number : float
        What to round at first.

    Raises
    ------
    WidgetError
        No such float, or a number that is not finite.

    Attributes
    ----------
    controls : dict
        ``float``, ``number`` and ``code``.
    figure : View
        ``figure["bits"]`` is a `FloatBits`.

    Examples
    --------
    >>> explorer = FloatExplorer("E4M3", 0.3)
    >>> explorer.controls["code"].value, explorer.figure["bits"].value
    (42, 0.3125)
    >>> explorer.controls["float"].value = "E2M1"
    >>> explorer.figure["bits"].value
    0.5
    """

    _layout = "floats"

    def __init__(self, name: str = "E4M3", number: float = 0.3) -> None:
        super().__init__()
        if name not in FLOATS:
            raise WidgetError(f"no float {shortened(name)}; there are {', '.join(FLOATS)}")
        if isinstance(number, bool) or not isinstance(number, int | float | np.floating) or not math.isfinite(number):
            raise WidgetError(f"number must be finite, got {shortened(number)}")
        self.controls |= {
            "float": ipywidgets.Dropdown(
                options=list(FLOATS),
                value=name,
                description="Float",
                tooltip="E exponent bits, M mantissa bits",
                layout={"width": "140px"},
            ),
            "number": ipywidgets.FloatText(
                value=number, description="Round", tooltip="a number to round to the nearest", layout={"width": "160px"}
            ),
            "code": ipywidgets.IntSlider(
                0, 0, 255, description="Code", tooltip="all bits as one whole number", layout={"width": "340px"}
            ),
        }
        self._encode()
        self._arrange(("float", "number"), ("code",))

    @property
    def _small(self) -> SmallFloat:
        return FLOATS[str(self.controls["float"].value)]

    def _encode(self) -> None:
        """Let the code be that of the number."""
        value = self.controls["number"].value
        slider = self.controls["code"]
        slider.max = (1 << self._small.n_bits) - 1
        if math.isfinite(value):
            slider.value = int(self._small.encode([value], saturate=True)[0])

    def _react(self, control: ipywidgets.Widget) -> None:
        if control is not self.controls["code"]:
            self._encode()

    def _event(self, event: dict[str, Any]) -> None:
        slider = self.controls["code"]
        if event["event"] == "code":
            slider.value = min(slider.max, max(0, int(event["code"])))
        elif event["event"] == "bit" and 0 <= int(event["place"]) < self._small.n_bits:
            slider.value ^= 1 << (self._small.n_bits - 1 - int(event["place"]))

    def _scene(self) -> Scene:
        small, code = self._small, int(self.controls["code"].value)
        bits = float_bits(small, code)
        size, kind = abs(bits.value), self._kind(bits.exponent, bits.value)
        above = small.levels[small.levels > size]
        step = float(above[0]) - size if above.size and math.isfinite(size) else math.nan
        summary = f"{small.name}, code {code}: {self._formula(bits.sign, bits.exponent, bits.mantissa, bits.value)}."
        return Scene(
            self._layout,
            {
                "bits": Panel(
                    bits,
                    "The bits, and every number above zero",
                    "Click a bit to flip it. Strokes: all numbers above zero, and those of an integer grid with "
                    "as many bits and the same largest number.",
                    (("changed", "sign"), ("level", "exponent"), ("weight", "mantissa")),
                    summary,
                )
            },
            (
                Readout("Stands for", _text.number(bits.value, 6), summary),
                Readout("Kind", kind, "normal: 1.mantissa · 2^(e − bias); subnormal: 0.mantissa · 2^(1 − bias)"),
                Readout("To the next number", _text.number(step, 4)),
                Readout("In relation to it", _text.percent(step / size) if step > 0 and size else "–"),
                Readout("Largest", _text.number(small.largest, 5)),
                Readout("Smallest above 0", _text.number(small.smallest, 3)),
            ),
            summary,
            (self._table(),),
        )

    def _kind(self, exponent: str, value: float) -> str:
        if not math.isfinite(value):
            return "not a number" if math.isnan(value) else "infinity"
        return "normal" if "1" in exponent else "subnormal" if value else "zero"

    def _formula(self, sign: str, exponent: str, mantissa: str, value: float) -> str:
        if not math.isfinite(value):
            return "a code kept for NaN" if math.isnan(value) else "a code kept for infinity"
        e, m = int(exponent, 2), int(mantissa, 2)
        whole, of = (1 if e else 0), 1 << len(mantissa)
        return (
            f"{'−' if sign == '1' else ''}({whole} + {m}/{of}) · 2^({max(e, 1)} − {self._small.bias}) = "
            f"{_text.number(value, 6)}"
        )

    def _table(self) -> Table:
        number, rows = float(self.controls["number"].value), []
        for small in FLOATS.values():
            if not math.isfinite(number):
                break
            code = int(small.encode([number], saturate=True)[0])
            value = float(small.decode([code])[0])
            rows.append((small.name, str(code), " ".join(small.bits(code)), _text.number(value, 6)))
        return Table(f"{_text.number(number, 6)} in every float", ("float", "code", "bits", "stands for"), tuple(rows))

    def __repr__(self) -> str:
        return f"FloatExplorer({self._small.name}, code {self.controls['code'].value})"
