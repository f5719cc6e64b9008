"""`RangeExplorer`: where a grid should end, and what one outlier does to its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt

from qviz import metrics
from qviz._types import FloatArray
from qviz.errors import WidgetError, shortened
from qviz.figures.ranges import GroupStrip, RangeCurve, RangeHistogram, group_strip, range_curve, range_histogram
from qviz.grids import AffineGrid
from qviz.grids.ranges import RangeErrors, RangeMethod, choose_range, range_errors, round_inputs
from qviz.widgets import _text
from qviz.widgets.base import SourceExplorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table
from qviz.widgets.sources import first_matrix

Ends = tuple[float, float]

_SHARED = {"the tensor": 0, "each row": -1, "128 weights": 128, "64 weights": 64, "32 weights": 32}
_CHOOSERS: dict[str, RangeMethod] = {
    "min–max": "minmax",
    "percentile": "percentile",
    "least squared error": "mse",
    "KL divergence": "kl",
}
_FOR_GROUPS = ("min–max", "least squared error")
_BY_HAND = "by hand"
_STRIP_LEGEND = (
    ("weight", "weights"),
    ("changed", "picked out"),
    ("level-fill", "error"),
    ("level", "typical error of a group"),
)
WIDTHS = tuple(1 - i / 100 for i in range(99))
_FEWER = WIDTHS[::2]  # where thousands of groups try each


class RangeExplorer(SourceExplorer):
    """A tensor's values, the range that a grid spans, and the two errors that pull at its ends.

    Above, the range over the values, and for every width the error of what is clipped and of what is rounded.
    Below, one row: what its groups' steps are, and what happens to them when one weight is multiplied.

    Parameters
    ----------
    given : array_like (n_out, n_in), QTensor, or a model
        The weights; of a model, `tensor` says which.
    tensor : str, optional
        Name of a model's tensor.
    bits : int
        2 to 8.
    shared : int
        What shares a range: 0 the tensor, −1 each row, else 128, 64 or 32 weights of a row.
    chooser : str
        ``"min–max"``, ``"percentile"`` (99.9 on both sides), ``"least squared error"``, ``"KL divergence"``, or
        ``"by hand"``. Groups are too small for the second and the fourth.
    name : str, optional
        What to call weights that come without a name.

    Raises
    ------
    WidgetError
        Not weights, or no such tensor or setting.

    Attributes
    ----------
    controls : dict
        ``bits``, ``sym``, ``shared``, ``chooser``, ``width`` (%), ``row``, ``column``, ``times`` and, for a model,
        ``tensor``.
    figure : View
        ``figure["range"]`` is a `RangeHistogram`, ``figure["curve"]`` a `RangeCurve`, ``figure["strip"]`` a
        `GroupStrip`.

    Examples
    --------
    >>> explorer = RangeExplorer(np.sin(np.arange(256)).reshape(2, 128), shared=32, name="a wave")
    >>> explorer
    RangeExplorer(a wave 2 × 128)
    >>> explorer.controls["times"].value = 50
    >>> noise = explorer.figure["strip"].noise
    >>> int((noise > 5 * np.median(noise)).sum())  # of four groups, one pays
    1
    """

    _layout = "ranges"
    _pages = (("The range", ("range", "curve")), ("Groups of a row", ("strip",)))
    _kind = "weights"
    _one = "weight"

    def __init__(
        self,
        given: Any,
        tensor: str | None = None,
        *,
        bits: int = 4,
        shared: int | str = 0,
        chooser: str = "min–max",
        name: str | None = None,
    ) -> None:
        if shared not in self._sharing.values() or chooser not in (*_CHOOSERS, _BY_HAND):
            raise WidgetError(
                f"shared must be one of {', '.join(map(str, self._sharing.values()))} and chooser one of "
                f"{', '.join((*_CHOOSERS, _BY_HAND))}; got {shortened(shared)} and {shortened(chooser)}"
            )
        if bits not in range(2, 9):
            raise WidgetError(f"bits must be 2 to 8, got {shortened(bits)}")
        super().__init__(given, tensor or first_matrix(given), name)
        slider = {"width": "min(100%, 240px)"}  # three fit side by side above the picture on a narrow screen
        self.controls |= {
            "bits": ipywidgets.IntSlider(bits, 2, 8, description="Bits", tooltip="bits of a code", layout=slider),
            "sym": ipywidgets.Checkbox(
                False, description="Symmetric", indent=False, tooltip="no zero point", layout={"width": "110px"}
            ),
            "shared": ipywidgets.Dropdown(
                options=self._sharing, value=shared, description="One range for", tooltip="who shares a range",
                layout={"width": "max-content"},
            ),
            "chooser": ipywidgets.Dropdown(
                options=(*_CHOOSERS, _BY_HAND), value=chooser, description="Chosen by", tooltip="what chooses the range"
            ),
            "width": ipywidgets.FloatSlider(
                100, min=2, max=100, step=1, readout_format=".0f", description="Width, %",
                tooltip="of the range from smallest to largest", layout=slider,
            ),
            "row": ipywidgets.IntSlider(
                0, 0, 0, description=self._row_word, tooltip="what to show below", layout=slider
            ),
            "column": ipywidgets.IntSlider(
                0, 0, 0, description="Column", tooltip=f"the {self._one} to multiply", layout=slider
            ),
            "times": ipywidgets.FloatLogSlider(
                1, min=0, max=2, step=0.05, readout_format=".1f", description=f"Multiply that {self._one} by",
                tooltip="makes an outlier of it", layout=slider,
            ),
        }  # fmt: skip
        if self._problem is None:
            self._ranges_of_controls()
        self._offer()
        self._arrange(("tensor", "bits", "sym"), ("shared", "chooser", "width"), ("row", "column", "times"))

    _sharing: Mapping[str, int | str] = _SHARED
    _row_word = "Row"

    @property
    def grid(self) -> AffineGrid:
        """The grid on show; one range for everything is group size 0."""
        shared = self.controls["shared"].value
        return AffineGrid(self.controls["bits"].value, 0 if shared == "static" else shared, self.controls["sym"].value)

    @property
    def _whole(self) -> bool:
        return self.grid.group_size == 0

    # -- taking up

    def _open(self) -> None:
        values = self._source.weights()
        if not np.isfinite(values).all():
            raise WidgetError(f"{self.tensor_name} holds NaN or infinity: no range can hold them")
        if not values.any():
            raise WidgetError(f"{self.tensor_name} holds nothing but zeros: there is no range to choose")
        self.original = values
        """float32 array (rows, columns): the values as they are."""
        self.reference = self._reference()
        """The values that one range for everything is chosen on."""
        self._kept: dict[Any, Any] = {}
        if "row" in self.controls:
            self._ranges_of_controls()

    def _reference(self) -> FloatArray:
        return self.original

    def _ranges_of_controls(self) -> None:
        size = np.abs(self.original)
        row = self._first_row(size.max(axis=1))
        self.controls["row"].max, self.controls["row"].value = size.shape[0] - 1, row
        # a value of usual size in the middle of the second group of 64, away from the real outlier
        part = size[row, 64:96] if size.shape[1] >= 96 else size[row]
        column = int(np.abs(part - np.median(size[row])).argmin()) + (64 if size.shape[1] >= 96 else 0)
        self.controls["column"].max, self.controls["column"].value = size.shape[1] - 1, column
        self.controls["row"].disabled = size.shape[0] == 1
        self.controls["times"].value = 1

    def _first_row(self, largest: FloatArray) -> int:
        return int(largest.argmax())  # where the outlier is

    def _offer(self) -> None:
        """Only the choosers that have enough values to look at."""
        control = self.controls["chooser"]
        options = (*(_CHOOSERS if self._whole else _FOR_GROUPS), _BY_HAND)
        if control.options != options:
            before = control.value
            control.options = options
            control.value = before if before in options else "min–max"

    def _react(self, control: ipywidgets.Widget) -> None:
        if control is self.controls["width"]:
            self.controls["chooser"].value = _BY_HAND
        elif control is self.controls["shared"]:
            self._offer()

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "width":
            self.controls["width"].value = min(100, max(2, round(100 * float(event["width"]))))
        elif event["event"] == "column":
            column = self.controls["column"]
            column.value = min(column.max, max(0, int(event["column"])))

    # -- choosing

    def _values(self) -> FloatArray:
        times = float(self.controls["times"].value)
        if times == 1:
            return self.original
        changed = self.original.copy()
        changed[self.controls["row"].value, self.controls["column"].value] *= np.float32(times)
        return changed

    def _changed_key(self) -> Any:
        names = ("row", "column", "times")
        return None if self.controls["times"].value == 1 else tuple(self.controls[name].value for name in names)

    def _once(self, what: str, make: Any, *key: Any) -> Any:
        """Keep what takes long, for the setting at hand and the last few."""
        full = (what, self.grid, self.controls["shared"].value, *key)
        if full not in self._kept:
            while len(self._kept) > 24:
                del self._kept[next(iter(self._kept))]
            self._kept[full] = make()
        return self._kept[full]

    def _basis(self, values: FloatArray) -> FloatArray:
        """What one range for everything is chosen on."""
        return values

    def _chosen(self, values: FloatArray, key: Any) -> dict[str, Ends]:
        """The range of each chooser, where one range is for everything."""
        basis = self._basis(values)
        if basis is not values:
            key = None
        return {
            title: self._once(method, lambda m=method: self._choose(basis, m, key), key)
            for title, method in _CHOOSERS.items()
        }

    def _choose(self, basis: FloatArray, method: RangeMethod, key: Any) -> Ends:
        if method != "mse" or basis is self.reference is not self.original:
            return choose_range(basis, self.grid, method, steps=len(WIDTHS))
        # the curve tried the same widths already
        errors, (low, high) = self._errors(basis, key), choose_range(basis, self.grid)
        share = float(errors.shares[errors.total.argmin()])
        return low * share, high * share

    def _errors(self, values: FloatArray, key: Any) -> RangeErrors:
        errors: RangeErrors = self._once("errors", lambda: self._errors_anew(values, key), key)
        return errors

    def _errors_anew(self, values: FloatArray, key: Any) -> RangeErrors:
        grid = self.grid
        if self._whole:
            return range_errors(values, grid, WIDTHS, choose_range(self._basis(values), grid))
        if key is None:
            return range_errors(values, grid, _FEWER)
        # one group has changed: take its errors out, and put the new ones in
        size = values.shape[1] if grid.group_size < 0 else grid.group_size
        row, first = self.controls["row"].value, self.controls["column"].value // size * size
        alone = AffineGrid(grid.bits, -1, grid.sym)
        before, after = (
            range_errors(x[row : row + 1, first : first + size], alone, _FEWER) for x in (self.original, values)
        )
        every = self._errors(self.original, None)
        clipping = np.maximum(every.clipping - before.clipping + after.clipping, 0)
        return RangeErrors(every.shares, clipping, every.rounding - before.rounding + after.rounding, every.best)

    def _round(self, values: FloatArray, ends: Ends | None, share: float) -> tuple[FloatArray, FloatArray, Any]:
        """Values as they come back; the step and zero point of each group."""
        grid = self.grid
        if ends is not None:
            scale, zero = AffineGrid(grid.bits, -1, grid.sym).params(np.array([ends], np.float32))
            return round_inputs(values, grid, ends), scale, zero
        scale, zero = grid.params(values)
        scale = scale * np.float32(share)
        return grid.fake_quantize(values, params=(scale, zero)), scale, zero

    def _settle(self, values: FloatArray, key: Any) -> tuple[Ends | None, float]:
        """The range for everything, or none; and the share of min–max that it, or each group's range, has."""
        chooser = self.controls["chooser"].value
        if not self._whole:
            errors = self._errors(values, key)
            share = {_BY_HAND: self.controls["width"].value / 100, "min–max": 1.0}.get(
                chooser, float(errors.shares[errors.total.argmin()])
            )
            return None, share
        chosen = self._chosen(values, key)
        full = chosen["min–max"]
        if chooser == _BY_HAND:
            share = self.controls["width"].value / 100
            return (full[0] * share, full[1] * share), share
        ends = chosen[chooser]
        return ends, (ends[1] - ends[0]) / (full[1] - full[0])

    # -- showing

    def _scene(self) -> Scene:
        values, key = self._values(), self._changed_key()
        grid, row, column = self.grid, self.controls["row"].value, self.controls["column"].value
        ends, share = self._settle(values, key)
        with self._silence():
            self.controls["width"].value = min(100, max(2, round(100 * share)))
        rounded, scale, zero = self._round(values, ends, share)
        errors = self._errors(values, key)
        signal = float(np.square(values, dtype=np.float64).sum())
        loss = float(np.square(rounded - values, dtype=np.float64).sum())
        here = range_errors(values, grid, [share] if ends is None else [1.0], ends)
        lost = float(here.clipping[0]) / max(float(here.total[0]), 1e-300)
        size = values.shape[1] if grid.group_size <= 0 else min(grid.group_size, values.shape[1])
        shown = self._histogram(values, ends, share, scale, zero, size)
        outside = (shown.below + shown.above) / shown.values.total
        curve = range_curve(
            errors.shares, errors.clipping, errors.rounding, signal, share, self._marks(values, key, errors),
            self._before(),
        )  # fmt: skip
        steps = scale[row] if ends is None else np.full(1, scale[0, 0], np.float32)
        original = float(self.original[row, column])
        strip = group_strip(values[row], rounded[row], grid.group_size, steps, column, original, self._calm())
        sqnr = np.inf if loss == 0 else 10 * np.log10(signal / loss)
        return Scene(
            self._layout,
            {
                "range": self._range_panel(shown, outside, size, share, self._stack(here, errors, signal)),
                "curve": self._curve_panel(curve, share),
                "strip": self._strip_panel(strip),
            },
            self._readouts(sqnr, outside, lost, strip, values, share, ends, errors, loss),
            self._summary(share, sqnr, lost, strip),
            (self._sharing_table(values, key), *self._choosers_table(values, key), _error_table(shown)),
            (*self._notes(strip), *self._source_notes()),
        )

    def _histogram(
        self, values: FloatArray, ends: Ends | None, share: float, scale: FloatArray, zero: Any, size: int
    ) -> RangeHistogram:
        """The values that share the range on show: all of them, or the group of the column that is picked out."""
        grid = self.grid
        row, place = (0, 0) if ends is not None else (self.controls["row"].value, self.controls["column"].value // size)
        by = float(scale[row, place]), int(zero[row, place])
        levels = grid.levels(*by).reshape(-1)
        if ends is not None:
            return range_histogram(values, ends, levels, self._behind(), (grid, *by))
        group = values[row, place * size : (place + 1) * size]
        low, high = min(float(group.min()), 0) * share, max(float(group.max()), 0) * share
        if grid.sym:
            low, high = min(low, -high), max(high, -low)
        return range_histogram(group, (low, high), levels, values, (grid, *by))

    def _stack(self, here: RangeErrors, errors: RangeErrors, signal: float) -> dict[str, float]:
        """Both errors of the range on show and the least of any width, as shares of the values' own sum of squares."""
        shares = {"clipping": here.clipping[0], "rounding": here.rounding[0], "least": errors.total.min()}
        return {name: float(error) / signal for name, error in shares.items()}

    def _range_panel(
        self, shown: RangeHistogram, outside: float, size: int, share: float, stack: dict[str, float]
    ) -> Panel:
        return Panel(
            shown,
            self._range_title(self.controls["row"].value, self.controls["column"].value // size, size),
            f"{len(shown.levels)} levels. Take an end of the range and move it. The hill is logarithmic; "
            "below it stands the squared error, value by value.",
            self._range_legend(),
            f"range {_text.number(shown.low)} to {_text.number(shown.high)}, {_text.percent(outside)} outside; "
            f"{_where(shown)}",
            {"share": share, "stack": stack},
        )

    def _curve_panel(self, curve: RangeCurve, share: float) -> Panel:
        return Panel(
            curve,
            "What a narrower range costs, and brings",
            "Squared error as a share of the signal, logarithmic. Click, drag, or use arrow keys, to choose a width.",
            self._curve_legend(),
            f"least error at {100 * curve.shares[curve.best]:.0f} % of the full width; on show {100 * share:.0f} %",
        )

    def _strip_panel(self, strip: GroupStrip) -> Panel:
        column = strip.column
        return Panel(
            strip,
            f"{self._row_word} {self.controls['row'].value}: one step for {self._sharers()}",
            f"Above the {self._kind}, below the error of each and what is typical of its group. "
            f"Click, or use the arrow keys here, to pick the {self._one} that is multiplied.",
            _STRIP_LEGEND if self._kind == "weights" else (("weight", "inputs"), *_STRIP_LEGEND[1:]),
            f"{len(strip.starts)} groups; column {column} is {_text.number(float(strip.values[column]))}",
        )

    def _behind(self) -> FloatArray | None:
        return None

    def _before(self) -> tuple[npt.NDArray[np.float64], float] | None:
        return None

    def _calm(self) -> float:
        """Typical error of the row's others before one was multiplied, with the same settings."""
        row, column = self.controls["row"].value, self.controls["column"].value
        ends, share = self._settle(self.original, None)
        part = self.original[row : row + 1]
        rounded = self._round(part, ends, share)[0]
        if part.size == 1:
            return 0.0
        return metrics.rmse(np.delete(part[0], column), np.delete(rounded[0], column))

    def _marks(self, values: FloatArray, key: Any, errors: RangeErrors) -> dict[str, tuple[float, float]]:
        if not self._whole:
            return {"min–max": (1.0, float(errors.total[errors.shares.argmax()]))}
        chosen = self._chosen(values, key)
        full = chosen["min–max"]
        marks = {}
        for title, ends in chosen.items():
            share = (ends[1] - ends[0]) / (full[1] - full[0])
            total = self._once(f"at {title}", lambda e=ends: range_errors(values, self.grid, [1.0], e).total[0], key)
            marks[title] = share, float(total)
        return marks

    def _sharers(self) -> str:
        return next(title for title, value in self._sharing.items() if value == self.controls["shared"].value)

    def _range_title(self, row: int, place: int, size: int) -> str:
        if self._whole:
            return f"All {self._kind} and their range"
        if self.grid.group_size < 0:
            return f"{self._row_word} {row} and its range"
        return f"{self._row_word} {row}, group {place} ({size} {self._kind}), and its range"

    def _range_legend(self) -> tuple[tuple[str, str], ...]:
        first = ("weight", self._kind if self._whole else "those that share the range")
        behind = (("soft", "all of them"),) if not self._whole else ()
        return (first, *behind, ("level", "range and levels"), ("changed", "clipped"))

    def _curve_legend(self) -> tuple[tuple[str, str], ...]:
        return (("changed", "clipping"), ("level", "rounding"), ("ink", "together"), ("ok", "least"))

    def _readouts(
        self, sqnr: float, outside: float, lost: float, strip: GroupStrip, values: FloatArray, share: float,
        ends: Ends | None, errors: RangeErrors, loss: float,
    ) -> tuple[Readout, ...]:  # fmt: skip
        word, alone = self._row_word.lower(), metrics.sqnr_db(strip.values, strip.rounded)
        return (
            Readout(
                f"Bits per {self._one}", f"{self._bits(self.grid, values.shape):.3f}", "codes, scales and zero points"
            ),
            Readout("SQNR, all", _text.decibels(sqnr), "of the whole tensor; larger is better"),
            Readout(f"SQNR, this {word}", _text.decibels(alone), "of what the picture below shows"),
            Readout("Range, of full", f"{100 * share:.0f} %", "width against smallest to largest"),
            Readout("Outside", _text.percent(outside), "of those that share the range on show"),
            Readout("Error from clipping", _text.percent(lost), "of the squared error; the rest is rounding"),
            Readout(
                f"Others in the {word}",
                "unchanged" if strip.values[strip.column] == np.float32(strip.original) else self._others(strip),
                "typical error of the row's other values, against before the one was multiplied",
            ),
        )

    def _others(self, strip: GroupStrip) -> str:
        lengths = np.diff([*strip.starts, strip.values.size])
        rms = float(np.sqrt(np.average(np.square(strip.noise, dtype=np.float64), weights=lengths)))
        return f"error × {_text.number(rms / strip.quiet, 2)}" if strip.quiet > 0 else "error from 0"

    def _bits(self, grid: AffineGrid, shape: tuple[int, ...]) -> float:
        return grid.bpw(shape)

    def _summary(self, share: float, sqnr: float, lost: float, strip: GroupStrip) -> str:
        grid = self.grid
        worst = int(strip.noise.argmax())
        return (
            f"{self.tensor_name} in {grid.bits} bits, one range for {self._sharers()}: {100 * share:.0f} % of the "
            f"full width gives {_text.decibels(sqnr)}; {_text.percent(lost)} of the squared error comes from clipping. "
            f"In {self._row_word.lower()} {self.controls['row'].value} the typical error of a group is at most "
            f"{_text.number(float(strip.noise[worst]))}, in group {worst} of {len(strip.starts)}."
        )

    def _notes(self, strip: GroupStrip) -> tuple[Status, ...]:
        times = float(self.controls["times"].value)
        if times == 1:
            return ()
        text = (
            f"Not the file's: column {strip.column} of {self._row_word.lower()} {self.controls['row'].value} was "
            f"{_text.number(strip.original)} and has been multiplied by {_text.number(times)}."
        )
        return (Status("info", text),)

    def _sharing_table(self, values: FloatArray, key: Any) -> Table:
        grid, rows = self.grid, []
        for title, shared in self._sharing.items():
            wanted = AffineGrid(grid.bits, 0 if shared == "static" else int(shared), grid.sym)
            sqnr = self._once(f"sqnr {shared}", lambda g=wanted, s=shared: self._plain(values, g, s), key)
            rows.append((title, f"{self._bits(wanted, values.shape):.3f}", _text.decibels(sqnr)))
        return Table("Who shares a range, all with min–max", ("one range for", "bits each", "SQNR"), tuple(rows))

    def _plain(self, values: FloatArray, grid: AffineGrid, shared: int | str) -> float:
        return metrics.sqnr_db(values, grid.fake_quantize(values))

    def _choosers_table(self, values: FloatArray, key: Any) -> tuple[Table, ...]:
        if not self._whole:
            return ()
        signal = float(np.square(values, dtype=np.float64).sum())
        marks, rows = self._marks(values, key, self._errors(values, key)), []
        for title, (low, high) in self._chosen(values, key).items():
            outside = float(np.mean((values < np.float32(low)) | (values > np.float32(high))))
            error = marks[title][1]
            sqnr = 10 * np.log10(signal / error) if error else np.inf
            rows.append((title, _text.number(low), _text.number(high), _text.percent(outside), _text.decibels(sqnr)))
        return (Table("Choosers", ("chosen by", "low", "high", "outside", "SQNR"), tuple(rows)),)


def _where(shown: RangeHistogram) -> str:
    """Where the squared error lies, in words."""
    total = float(shown.clipping.sum() + shown.rounding.sum())
    if not total:
        return "no error"
    middle = int(np.searchsorted(np.linspace(shown.values.low, shown.values.high, shown.clipping.size + 1)[1:], 0))
    below, above = float(shown.clipping[:middle].sum()) / total, float(shown.clipping[middle:].sum()) / total
    return (
        f"of the squared error {_text.percent(below)} is clipped below, {_text.percent(above)} above, "
        f"and {_text.percent(1 - below - above)} is rounding between"
    )


def _error_table(shown: RangeHistogram, rows: int = 12) -> Table:
    total = float(shown.clipping.sum() + shown.rounding.sum()) or 1.0
    starts = np.arange(rows) * shown.clipping.size // rows
    edges = np.linspace(shown.values.low, shown.values.high, shown.clipping.size + 1)[[*starts, -1]]
    parts = (np.add.reduceat(errors, starts) / total for errors in (shown.rounding, shown.clipping))
    return Table(
        "Where the squared error of those that share the range lies",
        ("from", "to", "rounding", "clipping"),
        tuple(
            (_text.number(low), _text.number(high), _text.percent(rounding), _text.percent(clipping))
            for low, high, rounding, clipping in zip(edges[:-1], edges[1:], *parts, strict=True)
        ),
    )
