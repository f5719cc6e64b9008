"""`PairExplorer`: two weights as a point in a plane, rounded one by one or together."""

from __future__ import annotations

from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import numpy.typing as npt

from qviz import formats
from qviz._arrays import real_array
from qviz._types import FloatArray
from qviz.errors import WidgetError, shortened
from qviz.figures.pair_plane import PairPlane, pair_plane
from qviz.formats.iq import codebooks
from qviz.grids import kmeans, kmeans_vectors
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

MOST_WEIGHTS = 1 << 13
"""Weights on show: the first rows of a larger matrix."""

_FORMATS = {2: ("IQ2_XXS", 8), 3: ("IQ3_XXS", 4)}  # and how many weights share an entry of 8 bits
_STORED = 8  # a magnitude of 1 is stored as 8
_LEVELS = {"evenly spaced": "even", "fitted": "fitted"}
_POINTS = {"fitted to pairs": "fitted", "as the format stores": "format"}


class _Scaled(NamedTuple):
    """Pairs in units of their blocks' scales, and what the format stores for them."""

    pairs: FloatArray
    stored: FloatArray


class PairExplorer(Explorer):
    """Neighbouring weights as dots in a plane: to the left levels for each weight, to the right points for each pair.

    Weights are divided by the scales that a format of llama.cpp gives their blocks: IQ2_XXS for two bits, IQ3_XXS for
    three. Levels for single weights make a grid of points. A table of as many points may put them anywhere; their cells
    are shown. The format itself rounds eight weights (or four) at once, which no plane can show: of its table one sees
    two places of each entry.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
        `n_in` is a multiple of 256.
    bits : int
        2 or 3.

    Raises
    ------
    WidgetError
        Other weights or bits.

    Attributes
    ----------
    controls : dict
        ``bits``, ``levels`` (``"even"`` or ``"fitted"``), ``points`` (``"fitted"`` or ``"format"``), ``pair``.
    figure : View
        ``figure["grid"]`` and ``figure["points"]`` are `PairPlane` figures of the same pairs.

    Examples
    --------
    >>> explorer = PairExplorer(np.random.default_rng(0).standard_normal((4, 256)))
    >>> explorer.figure["points"].mean_square < explorer.figure["grid"].mean_square
    True
    """

    _layout = "pairs"

    def __init__(self, weight: npt.ArrayLike, bits: int = 2) -> None:
        super().__init__()
        w = real_array(weight, "weight", WidgetError, shape=("n_out", "n_in"))
        if w.shape[1] % 256 or not np.isfinite(w).all() or not w.any():
            raise WidgetError(f"rows of finite weights are needed, 256 or a multiple; got {w.shape}")
        if bits not in _FORMATS:
            raise WidgetError(f"bits must be 2 or 3, got {shortened(bits)}")
        self.weights = w[: max(1, MOST_WEIGHTS // w.shape[1])]
        """float32 array: the rows on show."""
        self._kept: dict[Any, Any] = {}
        self.controls |= {
            "bits": ipywidgets.ToggleButtons(
                options=list(_FORMATS), value=bits, description="Bits", tooltip="for each weight"
            ),
            "levels": ipywidgets.Dropdown(
                options=_LEVELS, description="Left: levels", tooltip="of one weight",
                layout={"width": "min(100%, 290px)"},
            ),
            "points": ipywidgets.Dropdown(
                options=_POINTS, description="Right: points", tooltip="of two weights",
                layout={"width": "min(100%, 290px)"},
            ),
            "pair": ipywidgets.IntSlider(
                0, 0, self.weights.size // 2 - 1, description="Pair", tooltip="of the rows on show",
                layout={"width": "min(100%, 300px)"},
            ),
        }  # fmt: skip
        self._arrange(("bits", "pair"), ("levels", "points"))

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "pair":
            slider = self.controls["pair"]
            slider.value = min(slider.max, max(0, int(event["pair"])))

    @property
    def _bits(self) -> int:
        return int(self.controls["bits"].value)

    def _once(self, what: str, make: Any) -> Any:
        key = what, self._bits
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _scale(self) -> _Scaled:
        name, _ = _FORMATS[self._bits]
        alike = np.ones(self.weights.shape[1], np.float32)
        codes, scales, _ = formats.quantize(self.weights, name, imatrix=alike).unpack()
        unit = np.repeat(np.where(scales > 0, scales * _STORED, 1), codes.shape[1] // scales.shape[1], axis=1)
        pairs: FloatArray = (self.weights / unit).astype(np.float32).reshape(-1, 2)
        return _Scaled(pairs, (codes.reshape(-1, 2) / _STORED).astype(np.float32))

    def _fit_levels(self, pairs: FloatArray, how: str) -> FloatArray:
        """Levels for single weights, with the least squared error of their kind."""
        if how == "fitted":
            return kmeans(pairs, self._bits).levels
        n = 1 << self._bits
        steps = np.linspace(0.05, 1, 96) * (2 * float(np.abs(pairs).max()) / (n - 1))
        tried = [(np.arange(n) - (n - 1) / 2) * step for step in steps]
        errors = [float(np.square(pairs - _to_even(pairs, levels)).mean()) for levels in tried]
        best: FloatArray = tried[int(np.argmin(errors))].astype(np.float32)
        return best

    def _grid(self, pairs: FloatArray) -> FloatArray:
        """Every level for the first weight of a pair with every level for the second."""
        how = str(self.controls["levels"].value)
        levels = self._once(how, lambda: self._fit_levels(pairs, how))
        return np.stack(np.meshgrid(levels, levels, indexing="ij"), axis=-1).reshape(-1, 2)

    def _stored(self, scaled: _Scaled) -> tuple[FloatArray, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Pairs that entries hold, with all signs; what each pair became; and how often entries hold each."""
        name, _ = _FORMATS[self._bits]
        table = getattr(codebooks, f"{name}_GRID").reshape(-1, 2).astype(np.float32) / _STORED
        signed = np.concatenate([table * np.array([a, b], np.float32) for a in (-1, 1) for b in (-1, 1)])
        points, counts = np.unique(signed, axis=0, return_counts=True)
        place = {(float(a), float(b)): i for i, (a, b) in enumerate(points)}
        taken = np.array([place[float(a), float(b)] for a, b in scaled.stored], np.int32)
        return points, taken, counts.astype(np.int32)

    def _planes(self) -> tuple[PairPlane, PairPlane]:
        scaled = self._once("scaled", self._scale)
        pairs, current = scaled.pairs, int(self.controls["pair"].value)
        points, taken, counts = self._once("stored", lambda: self._stored(scaled))
        reach = 1.04 * float(max(np.abs(pairs).max(), np.abs(points).max()))
        left = pair_plane(pairs, self._grid(pairs), current, reach=reach)
        if self.controls["points"].value == "format":
            return left, pair_plane(pairs, points, current, reach=reach, taken=taken, counts=counts)
        book = self._once("points", lambda: kmeans_vectors(pairs, 2, self._bits).points)
        return left, pair_plane(pairs, book, current, reach=reach)

    def _scene(self) -> Scene:
        left, right = self._planes()
        bits, k = self._bits, left.current
        own = self.controls["points"].value == "format"
        name, together = _FORMATS[bits]
        here, there = _text.number(left.mean_square), _text.number(right.mean_square)
        rate = _text.number(8 / together + 7 / 8 if own else bits, 4)
        summary = (
            f"{len(left.pairs)} pairs of weights. Levels for single ones, {bits} bits each: mean squared error {here}. "
            f"{f'{name} itself' if own else f'{len(right.points)} points for pairs'}, {rate} bits: {there}. "
            f"Pair {k}: {_text.number(float(left.errors[k]))} and {_text.number(float(right.errors[k]))}."
        )
        return Scene(
            self._layout,
            self._panels(left, right, own),
            (
                Readout("Bits, left", f"{bits}", "of the code of a weight; scales are the same on both sides"),
                Readout("Bits, right", rate, "of the codes, shared out over the weights"),
                Readout("Error, left", here, "the mean squared error of all pairs on show"),
                Readout("Error, right", there, "the mean squared error of the same pairs"),
                Readout("Right / left", _text.percent(right.mean_square / left.mean_square), "of the errors"),
                Readout("This pair, left", _text.number(float(left.errors[k])), "mean of its two squared errors"),
                Readout("This pair, right", _text.number(float(right.errors[k])), "mean of its two squared errors"),
            ),
            summary,
            (self._table(left, right),),
            (Status("info", f"{name} spends an eighth of a bit less on a weight: its errors are not at equal bits."),)
            if own
            else (),
        )

    def _panels(self, left: PairPlane, right: PairPlane, own: bool) -> dict[str, Panel]:
        name, together = _FORMATS[self._bits]
        n = 1 << self._bits
        single = f"Real pairs, in units of their block's scale in {name}. Point at one; a click keeps it."
        stand_in = (
            f"A stand-in: {n * n} points fitted to these pairs. The format does so for {together} weights, in "
            f"{together} dimensions, which nobody can draw."
        )
        real = (
            f"Pairs in real entries; a larger dot: in more of them. {together} weights share an entry, so a pair may "
            "miss its nearest point."
        )
        legend = (("soft", "pairs"), ("level", "what they become")), (("weight", "the pair on show"),)
        title = f"{name}: two weights of {together}" if own else f"{n * n} points for pairs"

        def says(plane: PairPlane) -> str:
            return f"mean squared error {_text.number(plane.mean_square)}"

        return {
            "grid": Panel(left, f"{n} × {n} levels", single, legend[0], says(left)),
            "points": Panel(right, title, real if own else stand_in, legend[1], says(right)),
        }

    def _table(self, left: PairPlane, right: PairPlane) -> Table:
        near = range(left.current, min(left.current + 8, len(left.pairs)))

        def place(xy: FloatArray) -> str:
            return f"{_text.number(float(xy[0]))}, {_text.number(float(xy[1]))}"

        rows = tuple(
            (
                str(i),
                place(left.pairs[i]),
                *(
                    text
                    for plane in (left, right)
                    for text in (place(plane.points[plane.taken[i]]), _text.number(float(plane.errors[i])))
                ),
            )
            for i in near
        )
        return Table(
            "The pair on show and those after it", ("pair", "weights", "left", "error", "right", "error"), rows
        )

    def __repr__(self) -> str:
        return f"PairExplorer({self._bits} bits, {len(self.weights)} × {self.weights.shape[1]})"


def _to_even(values: FloatArray, levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The nearest of evenly spaced levels."""
    step = levels[1] - levels[0]
    codes = np.clip(np.rint((values - levels[0]) / step), 0, levels.size - 1)
    nearest: npt.NDArray[np.float64] = levels[0] + step * codes
    return nearest
