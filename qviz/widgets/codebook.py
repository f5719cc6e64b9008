"""`CodebookExplorer`: Lloyd's iterations on real weights, beside tables that nobody fitted."""

from __future__ import annotations

import math
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt

from qviz import metrics
from qviz._types import FloatArray
from qviz.errors import WidgetError, shortened
from qviz.figures.codebook import entropy, huffman_bits, lloyd_curve, lloyd_picture
from qviz.figures.histogram import histogram
from qviz.grids import FP4, MXFP4, NF4, AffineGrid, Codebook, choose_range, kmeans, round_inputs
from qviz.grids.codebook import KMeansStep, kmeans_groups
from qviz.widgets import _text
from qviz.widgets.base import SourceExplorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table
from qviz.widgets.sources import first_matrix

MOST_WEIGHTS = 1 << 18
"""Weights that are fitted; of a larger tensor the explorer takes the first rows, and says so."""
ITERATIONS = 60
"""Most iterations that can be stepped through."""

_SHARED = {"the tensor": 0, "each row": -1, "128 weights": 128, "64 weights": 64, "32 weights": 32}
_TABLES = {"NF4": NF4, "FP4": FP4, "MXFP4": MXFP4}
_EVEN, _LEAST, _FITTED = "evenly spaced", "evenly spaced, clipped", "k-means"


class CodebookExplorer(SourceExplorer):
    """Levels that move to where weights are: step or play Lloyd's iterations, and compare at equal bits.

    To the left the weights, the levels of the iteration on show, their way down from the start, and what other
    codebooks offer on the same axis. To the right how good each iteration is. The table behind has the true bits of
    each codebook, its own table counted. The levels' starts can be taken and moved: from other starts they may end
    elsewhere, better or worse.

    Parameters
    ----------
    given : array_like (n_out, n_in), QTensor, or a model
        The weights; of a model, `tensor` says which.
    tensor : str, optional
        Name of a model's tensor.
    bits : int
        2 to 6; 2**bits levels.
    shared : int
        What shares a codebook: 0 the tensor, −1 each row, else 128, 64 or 32 weights of a row.
    name : str, optional
        What to call weights that come without a name.

    Raises
    ------
    WidgetError
        Not weights, or no such tensor or setting.

    Attributes
    ----------
    controls : dict
        ``bits``, ``shared``, ``row``, ``group``, ``play``, ``iteration``, ``back`` (to the start from quantiles) and,
        for a model, ``tensor``.
    figure : View
        ``figure["levels"]`` is a `LloydPicture`, ``figure["curve"]`` a `LloydCurve`.
    steps : list of KMeansStep
        What is stepped through.

    Examples
    --------
    >>> explorer = CodebookExplorer(np.sin(np.arange(512)).reshape(4, 128), bits=3, name="a wave")
    >>> explorer
    CodebookExplorer(a wave 4 × 128)
    >>> explorer.controls["iteration"].value = 0
    >>> curve = explorer.figure["curve"]
    >>> bool(curve.decibels[-1] > curve.decibels[curve.current])
    True
    """

    _layout = "codebook"

    def __init__(
        self, given: Any, tensor: str | None = None, *, bits: int = 4, shared: int = 0, name: str | None = None
    ) -> None:
        if bits not in range(2, 7) or shared not in _SHARED.values():
            raise WidgetError(
                f"bits must be 2 to 6 and shared one of {', '.join(map(str, _SHARED.values()))}; "
                f"got {shortened(bits)} and {shortened(shared)}"
            )
        super().__init__(given, tensor or first_matrix(given), name)
        narrow = {"width": "min(100%, 300px)"}
        iteration = ipywidgets.IntSlider(
            0, 0, 0, description="Iteration", tooltip="of Lloyd's", layout={"width": "min(100%, 420px)"}
        )
        play = ipywidgets.Play(interval=350, show_repeat=False, tooltip="play the iterations")
        self.controls |= {
            "bits": ipywidgets.IntSlider(bits, 2, 6, description="Bits", tooltip="bits of a code", layout=narrow),
            "shared": ipywidgets.Dropdown(
                options=_SHARED, value=shared, description="One codebook for", layout={"width": "max-content"}
            ),
            "row": ipywidgets.IntSlider(0, 0, 0, description="Row", tooltip="whose codebook to show", layout=narrow),
            "group": ipywidgets.IntSlider(0, 0, 0, description="Group", tooltip="of the row", layout=narrow),
            "play": play,
            "iteration": iteration,
            "back": ipywidgets.Button(
                description="Start from quantiles",
                tooltip="where levels began before a hand moved them",
                disabled=True,
                layout={"width": "auto"},
            ),
        }
        self._on_click("back", self._start_back)
        self._link = ipywidgets.link((play, "value"), (iteration, "value"))
        if self._problem is None:
            self._places()
        self._arrange(("tensor", "bits", "shared"), ("row", "group"), ("play", "iteration"), ("back",))

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return int(self.controls["bits"].value)

    @property
    def group_size(self) -> int:
        """What shares a codebook, as `AffineGrid` has it."""
        return int(self.controls["shared"].value)

    def _open(self) -> None:
        weights = self._source.weights()
        self._rows_cut = max(1, MOST_WEIGHTS // weights.shape[1])
        weights = np.ascontiguousarray(weights[: self._rows_cut])
        if not np.isfinite(weights).all() or weights.min() == weights.max():
            raise WidgetError(f"{self.tensor_name} needs finite weights, and two different ones at least")
        self.weights = weights
        """float32 array (rows, columns): what is fitted and measured."""
        self._kept: dict[Any, Any] = {}
        if "row" in self.controls:
            self._places()

    def _places(self) -> None:
        rows, columns = self.weights.shape
        size = columns if self.group_size <= 0 else self.group_size
        for name, n in (("row", rows), ("group", -(-columns // size))):
            control = self.controls[name]
            control.max = n - 1
            control.disabled = n == 1 or self.group_size == 0 or (name == "group" and self.group_size < 0)
        self._fit()

    def _react(self, control: ipywidgets.Widget) -> None:
        if control is self.controls["shared"]:
            self._places()
        elif control in (self.controls["bits"], self.controls["row"], self.controls["group"]):
            self._fit()

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "iteration":
            slider = self.controls["iteration"]
            slider.value = min(slider.max, max(0, int(event["iteration"])))
        elif event["event"] == "start" and self.steps:
            self._move_start(int(event["level"]), float(event["value"]))

    def _move_start(self, level: int, value: float) -> None:
        """Let one level begin elsewhere, between its neighbours."""
        start = self.steps[0].levels.copy()
        if not (math.isfinite(value) and 0 <= level < start.size):
            return
        first, last = self._axis()
        low, high = np.array([first, *start, last], np.float32)[[level, level + 2]]
        start[level] = min(max(value, float(np.nextafter(low, high))), float(np.nextafter(high, low)))
        with self._silence():
            slider = self.controls["iteration"]
            at, ended = slider.value, slider.value == slider.max
            self._trace(start)
            slider.value = slider.max if ended else min(at, slider.max)
        self._by_hand = True
        self.controls["back"].disabled = False
        self.update()

    def _start_back(self) -> None:
        with self._silence():
            self._fit()
        self.update()

    def _axis(self) -> tuple[float, float]:
        """Ends of the axis that all levels and weights stand on."""
        low, high = float(self._part[0]), float(self._part[-1])
        margin = 0.03 * (high - low)
        return low - margin, high + margin

    def _fit(self) -> None:
        """Trace the codebook on show, from quantiles."""
        row, group, size = self.controls["row"].value, self.controls["group"].value, self.group_size
        part = self.weights if size == 0 else self.weights[row]
        if size > 0:
            part = part[group * size : (group + 1) * size]
        self._part = np.sort(part.reshape(-1))
        self._trace()
        self._unmoved = self.steps[-1:]  # where the levels end if no hand moves their starts
        self._by_hand = False
        self.controls["back"].disabled = True
        self._others = self._tables_of(self._part.reshape(1, -1)) if self.steps else {}

    def _trace(self, start: FloatArray | None = None) -> None:
        self.steps: list[KMeansStep] = []
        if self._part[0] < self._part[-1]:
            kmeans(self._part, self.bits, iterations=ITERATIONS, start=start, trace=self.steps)
        for name in ("play", "iteration"):
            control = self.controls[name]
            control.max = max(0, len(self.steps) - 1)
            control.value = control.max
            control.disabled = control.max == 0

    def _tables_of(self, part: FloatArray) -> dict[str, tuple[FloatArray, float]]:
        """Levels and SQNR on one group (1, n) of what else there is at these bits."""
        grid = AffineGrid(self.bits, -1)
        tables = {_EVEN: (grid.levels(*grid.params(part)).reshape(-1), metrics.sqnr_db(part, grid.fake_quantize(part)))}
        low, high = choose_range(part, grid, "mse", steps=99)
        clipped = grid.params(np.array([[low, high]], np.float32))
        tables[_LEAST] = grid.levels(*clipped).reshape(-1), metrics.sqnr_db(part, round_inputs(part, grid, (low, high)))
        if self.bits == 4:
            for name, table in _TABLES.items():
                book = Codebook(table.levels, -1, table.scale)
                codes, scales = book.quantize(part)
                tables[name] = book.levels * scales[0, 0], metrics.sqnr_db(part, book.dequantize(codes, scales))
        return tables

    def _scene(self) -> Scene:
        if not self.steps:
            text = "All weights that share this codebook are alike: one level holds them, and nothing moves."
            return Scene(self._layout, {}, status=(Status("info", text),), summary=f"{self.tensor_name}: {text}")
        part, steps, k = self._part, self.steps, int(self.controls["iteration"].value)
        density = histogram(part, *self._axis())
        picture = lloyd_picture(part, steps, k, density, {name: levels for name, (levels, _) in self._others.items()})
        mean_square = float(np.mean(np.square(part, dtype=np.float64)))
        curve = lloyd_curve(steps, mean_square, k, {name: sqnr for name, (_, sqnr) in self._others.items()})
        n, last = picture.paths.shape[1], len(steps) - 1
        summary = (
            f"{self.tensor_name}, {self.bits} bits, one codebook for {self._sharers()}: {n} levels after {k} of {last} "
            f"iterations give {_text.decibels(float(curve.decibels[k]))}; "
            + ", ".join(f"{name} {_text.decibels(sqnr)}" for name, (_, sqnr) in self._others.items())
            + "."
        )
        return Scene(
            self._layout,
            {
                "levels": Panel(
                    picture,
                    self._title(k),
                    "Heights are logarithmic. Bars: how many weights take each level. Rings: starts, to be moved.",
                    (("soft", "weights"), ("level", "levels, and their way here"), ("ink", "other codebooks")),
                    f"{n} levels from {_text.number(float(picture.paths[k, 0]))} to "
                    f"{_text.number(float(picture.paths[k, -1]))}",
                ),
                "curve": Panel(
                    curve,
                    "SQNR of each iteration",
                    "Dashed: the others. Click, or use the arrow keys.",
                    (("level", "k-means"), ("weight", "on show")),
                    f"iteration {k}: {_text.decibels(float(curve.decibels[k]))}",
                ),
            },
            self._readouts(picture.used, float(curve.decibels[k])),
            summary,
            (self._comparison(), self._levels_table(picture.paths[k], picture.used)),
            (*self._cut(), *self._source_notes(), *self._started_note(mean_square)),
        )

    def _started_note(self, mean_square: float) -> tuple[Status, ...]:
        if not self._by_hand:
            return ()
        with np.errstate(divide="ignore"):
            ends = [10 * np.log10(mean_square / np.float64(last.error)) for last in (self.steps[-1], *self._unmoved)]
        here, there = (_text.decibels(float(end)) for end in ends)
        return (
            Status(
                "info",
                f"A hand moved the start. From there the levels end at {here}, from quantiles at {there}. "
                "“All fitted” and the table of the whole tensor start from quantiles.",
            ),
        )

    def _title(self, k: int) -> str:
        where = {0: "All weights", -1: f"Row {self.controls['row'].value}"}.get(
            self.group_size, f"Row {self.controls['row'].value}, group {self.controls['group'].value}"
        )
        return f"{where}, iteration {k} of {len(self.steps) - 1}"

    def _sharers(self) -> str:
        return next(title for title, size in _SHARED.items() if size == self.group_size)

    def _cut(self) -> tuple[Status, ...]:
        rows = self._source.rows
        if rows <= self._rows_cut:
            return ()
        return (Status("info", f"Fitted and measured: the first {self._rows_cut} of {rows} rows."),)

    def _readouts(self, used: npt.NDArray[np.int32], sqnr: float) -> tuple[Readout, ...]:
        fitted = self._rows_of_comparison()[_FITTED]
        return (
            Readout("Bits per weight", f"{fitted[0]:.3f}", "codes, and each level of each codebook as float16"),
            Readout("of which tables", f"{fitted[0] - self.bits:.3f}", "16 bits a level, shared by the weights"),
            Readout("SQNR, here", _text.decibels(sqnr), "of those that share the codebook on show"),
            Readout("SQNR, all fitted", _text.decibels(fitted[1]), "of the whole tensor, after the last iteration"),
            Readout("Entropy of the codes", f"{entropy(used):.2f} bits", "what no code for single symbols goes below"),
            Readout("Huffman", f"{huffman_bits(used):.2f} bits", "a code of its own length for each level"),
        )

    def _rows_of_comparison(self) -> dict[str, tuple[float, float, float, float]]:
        """Name -> true bits per weight, SQNR, entropy and Huffman bits of the codes, on the whole tensor."""
        key = self.bits, self.group_size
        if key in self._kept:
            return dict(self._kept[key])
        w, size, bits = self.weights, self.group_size, self.bits
        made: dict[str, tuple[float, Any, Any]] = {}
        flat = w.reshape(1, -1) if size == 0 else w
        own = -1 if size == 0 else size
        if size == 0:
            levels = kmeans(w, bits, iterations=ITERATIONS).levels
            book = Codebook(levels, -1, "none")
            codes, scales = book.quantize(flat)
            made[_FITTED] = book.bpw(flat.shape), codes, book.dequantize(codes, scales)
        else:
            books = kmeans_groups(w, bits, size, iterations=ITERATIONS)
            made[_FITTED] = books.bpw, books.codes, books.dequantize()
        tensor = AffineGrid(bits, size).quantize(w)
        made[_EVEN] = tensor.bpw, tensor.codes, tensor.dequantize()
        if size == 0:
            grid = AffineGrid(bits, -1)
            params = grid.params(np.array([choose_range(w, grid, "mse", steps=99)], np.float32))
            clipped = grid.quantize(flat, params)
            made[_LEAST] = grid.bpw(flat.shape), clipped.codes, clipped.dequantize()
        if bits == 4:
            for name, table in _TABLES.items():
                book = Codebook(table.levels, own, table.scale)
                codes, scales = book.quantize(flat)
                made[name] = book.bpw(flat.shape), codes, book.dequantize(codes, scales)
        rows = {}
        for name, (bpw, codes, back) in made.items():
            counts = np.bincount(codes.reshape(-1).astype(np.int64) - int(codes.min()))
            rows[name] = bpw, metrics.sqnr_db(flat, back.reshape(flat.shape)), entropy(counts), huffman_bits(counts)
        self._kept[key] = rows
        return dict(rows)

    def _comparison(self) -> Table:
        rows = tuple(
            (name, f"{bpw:.3f}", _text.decibels(sqnr), f"{least:.2f}", f"{huffman:.2f}")
            for name, (bpw, sqnr, least, huffman) in self._rows_of_comparison().items()
        )
        return Table(
            f"The whole tensor, {self.bits} bits, one codebook or scale for {self._sharers()}",
            ("levels", "bits per weight", "SQNR", "entropy of the codes", "Huffman, bits a code"),
            rows,
        )

    def _levels_table(self, levels: FloatArray, used: npt.NDArray[np.int32]) -> Table:
        share = used / used.sum()
        rows = ((str(i), _text.number(float(levels[i])), _text.percent(float(share[i]))) for i in range(levels.size))
        return Table("Levels on show", ("code", "level", "of the weights"), tuple(rows))
