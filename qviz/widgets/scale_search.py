"""`ScaleSearchExplorer`: how a K-quant finds its scale, one candidate at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array
from qviz._types import FloatArray
from qviz.errors import ShapeError, WidgetError, shortened
from qviz.figures import histogram
from qviz.figures.scale_search import ScaleSearch, scale_search, search_curve, search_line
from qviz.formats import Format, get, quantize
from qviz.formats.kquant.record import search_trace
from qviz.formats.kquant.tiles import SUPER
from qviz.formats.kquant.weights import weigh_by_magnitude
from qviz.widgets import _text
from qviz.widgets.base import SourceExplorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

SEARCHED = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


def trace_search(weights: npt.ArrayLike, format: str = "Q4_K") -> ScaleSearch:
    """Run the encoder's own search on one sub-block, and keep every candidate.

    Parameters
    ----------
    weights : array_like (n,)
        One sub-block: 32 weights for Q4_K and Q5_K, 16 for Q2_K, Q3_K and Q6_K.
    format : str

    Returns
    -------
    ScaleSearch

    Raises
    ------
    WidgetError
        Another format, or not one sub-block of finite weights.

    Examples
    --------
    >>> search = trace_search(np.sin(np.arange(32)), "Q4_K")
    >>> len(search.scales), bool(search.errors[search.winner] <= search.errors[0])
    (22, True)
    """
    fmt = _searched(format)
    x = real_array(weights, "weights", WidgetError)
    if x.shape != (fmt.sub_block_size,) or not np.isfinite(x).all():
        raise WidgetError(
            f"the search of {fmt} works on {fmt.sub_block_size} finite weights, got an array of shape {x.shape}"
            + (" with NaN or infinity" if x.shape == (fmt.sub_block_size,) else "")
        )
    trace = search_trace(np.tile(x, SUPER // x.size), fmt)
    recorded = np.column_stack([trace.scales, trace.mins, trace.errors, trace.codes]).astype(np.float32)
    won = recorded[trace.best]
    return scale_search(x, trace.weights, recorded, (won[0], won[3:]), trace.errors)


def _searched(name: str) -> Format:
    if str(name) not in SEARCHED:
        raise WidgetError(
            f"the formats that search for their scales this way are {', '.join(SEARCHED)}; got {shortened(name)}"
        )
    return get(name)


def _error(x: FloatArray, w: FloatArray, codes: Any, scale: float, low: float, absolute: bool) -> float:
    off = np.float64(scale) * np.asarray(codes, np.float64) - np.float64(low) - x
    return float((w * (np.abs(off) if absolute else off * off)).sum())


class ScaleSearchExplorer(SourceExplorer):
    """Step through the search of a K-quant for the scale of one sub-block.

    Above, the weights fall onto the levels of one candidate; below, the error of every candidate, with plain min–max
    as the first. The candidates are what the encoder itself tried, and the winner is what it returned.

    Parameters
    ----------
    given : array_like (n_out, n_in), QTensor, or a model
        The weights, in rows of whole super-blocks (256); of a model, `tensor` says which.
    tensor : str, optional
        Name of a model's tensor; unless given, the first one that has such rows.
    format : str
        ``"Q2_K"`` … ``"Q6_K"``.
    row, sub_block : int
        Which sub-block: its row, and its place in the row.
    name : str, optional
        What to call weights that come without a name.

    Raises
    ------
    WidgetError
        Not weights, or no such tensor, format or sub-block.

    Attributes
    ----------
    controls : dict
        ``format``, ``row``, ``sub_block``, ``candidate`` and, for a model, ``tensor``.
    figure : View
        ``figure["line"]`` is a `NumberLine`, ``figure["curve"]`` a `SearchCurve`.
    search : ScaleSearch
        All candidates.

    Examples
    --------
    >>> explorer = ScaleSearchExplorer(np.sin(np.arange(512)).reshape(2, 256), name="a wave")
    >>> explorer
    ScaleSearchExplorer(a wave 2 × 256)
    >>> explorer.controls["candidate"].value = explorer.search.winner
    >>> explorer.figure["curve"].current == explorer.search.winner
    True
    """

    _layout = "search"

    def __init__(
        self,
        given: Any,
        tensor: str | None = None,
        *,
        format: str = "Q4_K",
        row: int = 0,
        sub_block: int = 0,
        name: str | None = None,
    ) -> None:
        _searched(format)
        if tensor is None and isinstance(given, Mapping):
            tensor = next((key for key, value in given.items() if _whole(value)), None)
        super().__init__(given, tensor, name)
        self.controls |= {
            "format": ipywidgets.Dropdown(
                options=SEARCHED,
                value=str(format),
                description="Format",
                tooltip="whose search to follow",
                layout={"width": "150px"},
            ),
            "row": ipywidgets.IntSlider(
                0, 0, 0, description="Row", tooltip="row of the tensor", layout={"width": "300px"}
            ),
            "sub_block": ipywidgets.IntSlider(
                0, 0, 0, description="Sub-block", tooltip="sub-block of the row", layout={"width": "300px"}
            ),
            "candidate": ipywidgets.IntSlider(
                0, 0, 0, description="Candidate", tooltip="which try of the search to show", layout={"width": "460px"}
            ),
        }
        if self._problem is None:
            self._set_ranges(row, sub_block)
        self._arrange(("tensor", "format"), ("row", "sub_block"), ("candidate",))

    @property
    def format(self) -> Format:
        """The format whose search is on show."""
        return get(self.controls["format"].value)

    def _open(self) -> None:
        columns = self._source.shape[-1]
        if columns % SUPER:
            raise ShapeError(
                f"{self.tensor_name} has rows of {columns}, which is not a multiple of {SUPER}: it has no "
                f"super-blocks. Choose a tensor whose rows are, or see which format takes the place of a K-quant "
                f"with qviz.recipes.plan"
            )
        weights = self._source.weights()
        if not np.isfinite(weights).all():
            raise WidgetError(f"{self.tensor_name} holds NaN or infinity, which no K-quant can store")
        self.weights = weights
        """float32 array (rows, columns): what is being quantized."""
        if "row" in self.controls:
            self._set_ranges(0, 0)

    def _set_ranges(self, row: int, sub_block: int) -> None:
        rows, columns = self.weights.shape
        per_row = columns // self.format.sub_block_size
        if row not in range(rows) or sub_block not in range(per_row):
            raise WidgetError(
                f"no sub-block {sub_block} in row {row}: {self.tensor_name} has rows 0 … {rows - 1} of {per_row} "
                f"sub-blocks each in {self.format}"
            )
        for name, value, n in (("row", row, rows), ("sub_block", sub_block, per_row)):
            self.controls[name].max = n - 1
            self.controls[name].value = value
            self.controls[name].disabled = n == 1
        self._trace()

    def _react(self, control: ipywidgets.Widget) -> None:
        if control is self.controls["format"]:
            sub, before = self.controls["sub_block"], self.search.weights.size
            # the same weights stay in view
            self._set_ranges(self.controls["row"].value, sub.value * before // self.format.sub_block_size)
        elif control in (self.controls["row"], self.controls["sub_block"]):
            self._trace()

    def _trace(self) -> None:
        n = self.format.sub_block_size
        row, start = self.controls["row"].value, self.controls["sub_block"].value * n
        self.search = trace_search(self.weights[row, start : start + n], self.format.name)
        # a candidate without a fit may have any scale, infinity too
        fitted = np.flatnonzero(np.isfinite(self.search.errors))
        ends = np.concatenate([self.search.weights, *(search_levels(self.search, self.format, k) for k in fitted)])
        low, high = float(ends.min()), float(ends.max())
        margin = 0.04 * (high - low) or 1.0
        # one axis for all candidates: what moves from one to the next is the grid
        self._behind = histogram(self.weights, low - margin, high + margin)
        slider = self.controls["candidate"]
        slider.max = len(self.search.scales) - 1
        slider.value = 0
        slider.disabled = slider.max == 0

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "candidate":
            slider = self.controls["candidate"]
            slider.value = min(slider.max, max(0, int(event["candidate"])))

    def _scene(self) -> Scene:
        fmt, search, k = self.format, self.search, self.controls["candidate"].value
        assert fmt.codes is not None
        if not search.scales[search.winner]:
            text = "All weights of this sub-block are alike: its scale is 0, and there is nothing to search for."
            return Scene(self._layout, {}, status=(Status("info", text),), summary=f"{self.tensor_name}: {text}")
        line = search_line(search, k, fmt.codes, self._behind)
        curve = search_curve(search, k, _baseline(fmt))
        unused = int((line.used == 0).sum())
        return Scene(
            self._layout,
            {
                "line": Panel(
                    line,
                    f"Candidate {k} of {len(search.scales) - 1}: {_name(fmt, k)}",
                    f"The {search.weights.size} weights of the sub-block are rounded to {len(line.levels)} levels; "
                    f"{unused} levels have none. {_weighing(fmt)}",
                    (
                        ("weight", "weights"),
                        ("level", "levels and their weights"),
                        ("soft", "whole tensor"),
                        ("ok", "best so far"),
                    ),
                    f"{len(line.levels)} levels from {_text.number(float(line.levels[0]))} to "
                    f"{_text.number(float(line.levels[-1]))}; {unused} unused",
                    {"ghost": self._ghost(k)},
                ),
                "curve": Panel(
                    curve,
                    "Error of every candidate",
                    "The line follows the best so far. Click a point, or use the arrow keys here, to see its levels.",
                    (("level", "candidates"), ("weight", "on show"), ("ok", "best so far, and the winner")),
                    f"candidate {k}: {self._share(k)}; the winner, candidate {search.winner}: "
                    f"{self._share(search.winner)}",
                    {"tour": self._tour()},
                ),
            },
            self._readouts(k),
            f"{self.tensor_name}, row {self.controls['row'].value}, sub-block {self.controls['sub_block'].value} in "
            f"{fmt}: candidate {k} ({_name(fmt, k)}) has an error of {self._share(k)}. The winner is candidate "
            f"{search.winner} with {self._share(search.winner)}; 100 % is {_baseline(fmt)}.",
            (self._table(),),
            (*self._exact_note(), *self._source_notes()),
        )

    def _ghost(self, k: int) -> list[float]:
        """Levels of the best candidate so far, where that is another one than is on show."""
        best, codes = int(self.search.best[k]), self.format.codes
        if best == k or codes is None:
            return []
        every = np.arange(codes[0], codes[-1] + 1, dtype=np.float32)
        levels = self.search.scales[best] * every - self.search.mins[best]
        return [float(level) for level in levels]

    def _tour(self) -> dict[str, Any] | None:
        last = len(self.search.scales) - 1
        values = [*range(last + 1), self.search.winner]
        return {"control": "candidate", "values": values, "label": "the search", "every": 500} if last else None

    def _readouts(self, k: int) -> tuple[Readout, ...]:
        fmt, search = self.format, self.search
        low = Readout("Min", _text.number(float(search.mins[k])), "what is subtracted from scale · code")
        best = int(search.best[k])
        return (
            Readout("Scale", _text.number(float(search.scales[k])), "the step between two levels"),
            *((low,) if fmt.codes and fmt.codes[0] == 0 else ()),
            Readout("Error", self._share(k), f"100 % is {_baseline(fmt)}; {_text.number(float(search.errors[k]))}"),
            Readout("Best so far", self._share(best), f"candidate {best}, {_name(fmt, best)}"),
            Readout(
                f"Winner: {search.winner}",
                self._share(search.winner),
                f"{_name(fmt, search.winner)}: the scale and the codes that the encoder returned",
            ),
            Readout(
                "In the file",
                _percent(self.in_file, float(search.errors[0])),
                f"error after the scales of the super-block have been rounded to a few bits each; {fmt} keeps them so",
            ),
        )

    @property
    def in_file(self) -> float:
        """Weighted error of the sub-block as it is stored, with its scale and minimum rounded too."""
        fmt, n = self.format, self.format.sub_block_size
        sub = self.controls["sub_block"].value
        start = sub * n // SUPER * SUPER
        stored = quantize(self.weights[self.controls["row"].value, start : start + SUPER], fmt).unpack()
        at = sub % (SUPER // n)
        codes = stored.codes.reshape(-1, n)[at]
        scale, low = (float(part.reshape(-1)[at]) for part in (stored.scales, stored.mins))
        return _error(self.search.weights, self.search.importance, codes, scale, low, fmt.search.absolute)

    def _share(self, k: int) -> str:
        return _percent(float(self.search.errors[k]), float(self.search.errors[0]))

    def _exact_note(self) -> tuple[Status, ...]:
        if self.search.errors[0] > 0:
            return ()
        text = f"Here {_baseline(self.format)} makes no error at all: these weights lie on its levels already."
        return (Status("info", text),)

    def _table(self) -> Table:
        fmt, search = self.format, self.search
        return Table(
            "Candidates",
            ("candidate", "what it is", "scale", "min", "error", "best so far"),
            tuple(
                (
                    f"{k}, the winner" if k == search.winner else str(k),
                    _name(fmt, k),
                    _text.number(float(search.scales[k]), 4),
                    _text.number(float(search.mins[k]), 4),
                    self._share(k),
                    str(search.best[k]),
                )
                for k in range(len(search.errors))
            ),
        )


def search_levels(search: ScaleSearch, fmt: Format, k: int | np.intp) -> FloatArray:
    """The lowest and the highest level of one candidate."""
    assert fmt.codes is not None
    levels: FloatArray = search.scales[k] * np.asarray(fmt.codes, np.float32) - search.mins[k]
    return levels


def _whole(tensor: Any) -> bool:
    shape: tuple[int, ...] = getattr(tensor, "shape", ())
    return len(shape) > 0 and shape[-1] > 0 and shape[-1] % SUPER == 0


def _baseline(fmt: Format) -> str:
    assert fmt.codes is not None
    return "min–max" if fmt.codes[0] == 0 else f"largest on {_text.number(fmt.codes[0])}"


def _name(fmt: Format, k: int) -> str:
    """What a candidate does, in a few words."""
    its = fmt.search
    if k == 0:
        return f"plain {_baseline(fmt)}" if its.with_min else f"{_baseline(fmt)}, fitted"
    if its.refines:
        return f"after round {k}"
    if its.with_min:
        steps = its.top + its.first + its.step * (k - 1)
        return f"range of {steps:.3g} steps instead of {its.top:g}, fitted"
    steps = its.top + 0.1 * (k - 10 if k < 10 else k - 9)
    return f"the largest at {steps:.3g} steps instead of {its.top:g}, fitted"


def _weighing(fmt: Format) -> str:
    its = fmt.search
    if not its.with_min:
        return "Errors are squared and count by the square of the weight."
    how = "count by their size, times" if its.absolute else "are squared and count by"
    return f"Errors {how} the size of the weight" + (
        "." if its.weigh is weigh_by_magnitude else ", plus the typical size in the sub-block."
    )


def _percent(error: float, baseline: float) -> str:
    """An error as a share of the baseline's; as it is where the baseline has none."""
    if np.isnan(error):
        return "no fit"
    return f"{100 * error / baseline:.1f} %" if baseline > 0 else _text.number(error)
