"""`PhotoExplorer`: a photograph and a weight matrix lose bits side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt

from qviz import models, transformer
from qviz._arrays import real_array
from qviz._types import FloatArray
from qviz.errors import WidgetError, shortened
from qviz.figures.photo import (
    FAR,
    LevelSet,
    from_afar,
    level_set,
    pixel_image,
    psnr,
    round_to_levels,
    spread_levels,
    squares,
)
from qviz.metrics import sqnr_db
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Table

_KINDS = {"evenly spaced": "uniform", "palette": "palette"}
_SHARED = {"everything": 0, "squares of 32 × 32": 32}
_BRUSHES = {"1 pixel": 1, "3 × 3": 3, "9 × 9": 9}
_TOKENS = 512

Square = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class _RoundedPhoto:
    """One matrix of the two, before and after, and the square of it whose levels are shown."""

    values: FloatArray
    after: FloatArray
    levels: list[FloatArray]  # of each square
    nbytes: int
    square: Square
    shown: FloatArray  # the levels of that square

    @property
    def most(self) -> int:
        """Levels of a square, at most."""
        return max(levels.size for levels in self.levels)


class PhotoExplorer(Explorer):
    """Give a photograph and a weight matrix the same few levels, and see for which of them that is good.

    The photograph is judged as it is, and from afar, where neighbouring pixels are averaged. The weights are judged as
    they are, and by what they are for: their products with inputs that really occur. *Dither* makes errors of
    neighbours cancel. *Shuffle* puts the columns of both into one random order, and the inputs with them. Everything
    may have one set of levels, or each square of 32 × 32 one of its own. A hand may paint on the photograph: one white
    pixel in a dark square spreads the levels of all its pixels.

    Parameters
    ----------
    photo : uint8 array_like (rows, columns), optional
        Greys; the course's photograph unless given.
    weights : array_like (n_out, n_in), optional
        Query weights of the small model's first layer unless given.
    inputs : array_like (n_tokens, n_in), optional
        What the weights are multiplied with; caught from the small model, reading held-out text, unless given.
    bits : int
        1 to 8.
    levels : {"uniform", "palette"}
    dither, shuffle : bool
    shared : {0, 32}
        What has one set of levels: everything, or each square of so many rows and columns.
    name : str
        What to call the weights.

    Raises
    ------
    WidgetError
        Shapes that do not fit, or weights without inputs.

    Attributes
    ----------
    controls : dict
        ``bits``, ``levels``, ``dither``, ``shuffle``, ``shared``, ``grey`` and ``brush`` to paint with, ``back``.
    figure : View
        ``figure["photo"]`` and ``figure["weights"]`` are `PixelImage`, ``figure["greys"]`` and ``figure["levels"]``
        `LevelSet`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> explorer = PhotoExplorer(rng.integers(0, 256, (8, 8)), rng.normal(size=(4, 8)), rng.normal(size=(9, 8)), bits=1)
    >>> explorer.controls["bits"].value = 8
    >>> explorer.measured["photo, PSNR"], explorer
    (inf, PhotoExplorer(8 bits, evenly spaced))
    """

    _layout = "photo"

    def __init__(
        self,
        photo: npt.ArrayLike | None = None,
        weights: npt.ArrayLike | None = None,
        inputs: npt.ArrayLike | None = None,
        *,
        bits: int = 3,
        levels: str = "uniform",
        dither: bool = False,
        shuffle: bool = False,
        shared: int = 0,
        name: str = "",
    ) -> None:
        super().__init__()
        if (weights is None) != (inputs is None):
            raise WidgetError("weights and their inputs go together: give both, or neither")
        if levels not in _KINDS.values():
            raise WidgetError(f"levels must be one of {', '.join(_KINDS.values())}, got {shortened(levels)}")
        if shared not in _SHARED.values():
            raise WidgetError(f"shared must be one of {', '.join(map(str, _SHARED.values()))}, got {shortened(shared)}")
        if weights is None:
            model, name = models.load("tiny"), "blk.0.attn_q.weight"
            weights = model[name].dequantize()
            inputs = transformer.linear_inputs(model, name, models.heldout_text(), _TOKENS)
        self._photo = real_array(models.photo() if photo is None else photo, "photo", WidgetError)
        self._weights, self._inputs = (
            real_array(x, what, WidgetError) for x, what in ((weights, "weights"), (inputs, "inputs"))
        )
        shapes = self._photo.shape, self._weights.shape, self._inputs.shape
        if {len(shape) for shape in shapes} != {2} or shapes[1][1] != shapes[2][1]:
            raise WidgetError(
                f"needed are a photo (rows, columns), weights (n_out, n_in) and inputs (n_tokens, n_in); got {shapes}"
            )
        if min(self._photo.shape) < FAR or not (self._photo.min() >= 0 and self._photo.max() <= 255):
            raise WidgetError(f"a photo is at least {FAR} × {FAR} greys from 0 to 255")
        self._name = name or "weights"
        self._painted = self._photo  # with what a hand has painted
        self._chosen: dict[tuple[Any, ...], tuple[FloatArray, FloatArray]] = {}
        self._weights_done: tuple[Any, _RoundedPhoto, float] | None = None
        self._orders = [np.random.default_rng(1).permutation(shape[1]) for shape in shapes[:2]]
        most = [float(self._photo[square].max()) for square in squares(self._photo.shape, 32)]
        rows, columns = squares(self._photo.shape, 32)[int(np.argmin(most))]  # the darkest: there white is an outlier
        self._spot = (rows.start, columns.start)
        self.controls |= _controls(bits, levels, dither, shuffle) | _brushes(shared)
        self._on_click("back", self._put_back)
        self._arrange(("bits", "levels", "dither", "shuffle"), ("shared",), ("grey", "brush", "back"))

    @property
    def measured(self) -> dict[str, float]:
        """What the readouts show, as numbers: sizes in bytes, ratios in dB, and the relative error of the outputs."""
        return dict(self._measured)

    # -- painting

    def _event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "paint":
            self._paint(np.asarray(event["at"], np.float64), np.asarray(event["greys"], np.float64))

    def _paint(self, at: npt.NDArray[np.float64], greys: npt.NDArray[np.float64]) -> None:
        """Paint pixels, counted row by row through the picture on show, each with its grey."""
        if at.ndim != 1 or at.shape != greys.shape or not at.size or not np.isfinite([at, greys]).all():
            return
        if at.min() < 0 or at.max() >= self._photo.size:
            return
        rows, columns = np.divmod(at.astype(np.intp), self._photo.shape[1])
        self._spot = (int(rows[-1]), int(columns[-1]))
        if self.controls["shuffle"].value:
            columns = self._orders[0][columns]
        self._painted = self._painted.copy()  # what we were given stays as it is
        self._painted[rows, columns] = np.rint(np.clip(greys, 0, 255))
        self._tell_painted()

    def _put_back(self) -> None:
        self._painted = self._photo
        self._tell_painted()

    def _tell_painted(self) -> None:
        self.controls["back"].disabled = np.array_equal(self._painted, self._photo)
        self.update()

    # -- rounding

    def _levels(self, which: str, i: int, values: FloatArray) -> FloatArray:
        """The levels of one square; a palette takes a while, so what did not change keeps its own."""
        bits, kind = int(self.controls["bits"].value), str(self.controls["levels"].value)
        key = which, bits, kind, int(self.controls["shared"].value), i
        kept = self._chosen.get(key)
        if kept is None or not np.array_equal(kept[0], values):
            levels = spread_levels(values, bits, kind) if values.min() < values.max() else values.reshape(-1)[:1].copy()
            # a screen shows whole greys
            kept = self._chosen[key] = values.copy(), levels if which == "weights" else np.unique(np.rint(levels))
        return kept[1]

    def _round(self, which: str, values: FloatArray, order: npt.NDArray[np.intp], bytes_a_level: int) -> _RoundedPhoto:
        size, dither = int(self.controls["shared"].value), bool(self.controls["dither"].value)
        bits, kind = int(self.controls["bits"].value), str(self.controls["levels"].value)
        mixed = np.ascontiguousarray(values[:, order]) if self.controls["shuffle"].value else values
        after, levels, square, shown = np.empty_like(mixed), [], None, None
        spot = [min(place, n - 1) for place, n in zip(self._spot, values.shape, strict=True)]
        for i, place in enumerate(squares(values.shape, size)):
            # without squares the order means nothing to the levels
            levels.append(self._levels(which, i, mixed[place] if size else values))
            after[place] = round_to_levels(mixed[place], levels[-1], dither)
            if all(part.start <= at < part.stop for part, at in zip(place, spot, strict=True)):
                square, shown = place, levels[-1]
        assert square is not None
        assert shown is not None
        table = bytes_a_level * sum(2 if kind == "uniform" else part.size for part in levels)
        return _RoundedPhoto(mixed, after, levels, -(-values.size * bits // 8) + table, square, shown)

    def _round_weights(self) -> tuple[_RoundedPhoto, float]:
        """The weights, and how far their outputs are off; paint does not change them."""
        names = "bits", "levels", "dither", "shuffle", "shared"
        size = self.controls["shared"].value
        square = tuple(place // size for place in self._spot) if size else ()
        key = (*(self.controls[name].value for name in names), square)
        if self._weights_done is None or self._weights_done[0] != key:
            weights = self._round("weights", self._weights, self._orders[1], 2)
            inputs = self._inputs[:, self._orders[1]] if self.controls["shuffle"].value else self._inputs
            outputs = inputs @ weights.values.T
            off = float(np.linalg.norm(inputs @ weights.after.T - outputs) / np.linalg.norm(outputs))
            self._weights_done = key, weights, off
        return self._weights_done[1:]

    def _others(self, photo: _RoundedPhoto) -> dict[str, float]:
        """What paint does to the pixels beside it that share its levels: their error, and what it was before."""
        was = self._photo[:, self._orders[0]] if self.controls["shuffle"].value else self._photo
        was = np.ascontiguousarray(was[photo.square])
        others = photo.values[photo.square] == was
        if others.all() or not others.any():
            return {}
        levels = self._levels("photo before", 0, was)
        before = round_to_levels(was, levels, bool(self.controls["dither"].value))
        off = (photo.after[photo.square] - was)[others], (before - was)[others]
        now, then = (float(np.sqrt(np.mean(np.square(part, dtype=np.float64)))) for part in off)
        return {"unpainted, RMSE": now, "unpainted, RMSE before": then}

    # -- showing

    def _scene(self) -> Scene:
        photo = self._round("photo", self._painted, self._orders[0], 1)
        weights, off = self._round_weights()
        self._measured: dict[str, float] = {
            "photo, bytes": photo.nbytes,
            "photo, PSNR": psnr(photo.values, photo.after),
            "photo, PSNR from afar": psnr(from_afar(photo.values), from_afar(photo.after)),
            "weights, bytes": weights.nbytes,
            "weights, SQNR": sqnr_db(weights.values, weights.after),
            "outputs, relative error": off,
            **self._others(photo),
        }
        reach = 1.15 * float(np.abs(weights.values).max())
        greys = _levels_on_show(photo, -8.5, 263.5, bins=272)
        levels = _levels_on_show(weights, -reach, reach)
        of = "Greys of the square" if self.controls["shared"].value else "The greys"
        return Scene(
            self._layout,
            {
                "photo": self._photo_panel(photo),
                "weights": self._weights_panel(weights),
                "greys": _level_panel(greys, of),
                "levels": _level_panel(levels, "Its weights" if self.controls["shared"].value else "The weights"),
            },
            self._readouts(),
            self._summary(),
            (_level_table("Greys", greys), _level_table("Levels of the weights", levels)),
        )

    def _photo_panel(self, photo: _RoundedPhoto) -> Panel:
        greys = self._at_most(photo, "grey")
        return Panel(
            pixel_image(photo.after, "grey", 0, 255),
            "A photograph",
            self._paint_note(photo) or f"{greys}. From afar, neighbours are averaged, and so are their errors.",
            label=f"a man behind a camera, in {greys}",
            options={
                "before": pixel_image(photo.values, "grey", 0, 255),
                "square": self._marked(photo),
                "paint": {"grey": self.controls["grey"].value, "brush": self.controls["brush"].value},
            },
        )

    def _weights_panel(self, weights: _RoundedPhoto) -> Panel:
        spread, values = 3 * float(weights.values.std()), self._at_most(weights, "value")
        return Panel(
            pixel_image(weights.after, "diverging", -spread, spread),
            f"Weights: {self._name}",
            f"{values}, blue negative, orange positive. Nobody looks at them: they are multiplied with inputs.",
            label=f"blue negative, orange positive, in {values}",
            options={
                "before": pixel_image(weights.values, "diverging", -spread, spread),
                "square": self._marked(weights),
            },
        )

    def _at_most(self, rounded: _RoundedPhoto, what: str) -> str:
        text = _text.plural(rounded.most, what)
        return f"{text} at most in each square" if self.controls["shared"].value else text

    def _marked(self, rounded: _RoundedPhoto) -> list[int] | None:
        """Top, left, rows and columns of the square whose levels are shown."""
        if not self.controls["shared"].value:
            return None
        rows, columns = rounded.square
        return [rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start]

    def _paint_note(self, photo: _RoundedPhoto) -> str:
        said, m = self._painted_words(), self._measured
        if not said:
            return ""
        what = "The marked square" if self.controls["shared"].value else "The photograph"
        ends = _text.number(float(photo.shown[0])), _text.number(float(photo.shown[-1]))
        text = f"{said} {what} has {_text.plural(photo.shown.size, 'grey')} from {ends[0]} to {ends[1]}."
        if "unpainted, RMSE" in m:
            now, before = (_text.number(m[f"unpainted, RMSE{when}"], 2) for when in ("", " before"))
            text += f" Typical error of its other pixels: {now}; without the paint {before}."
        return text

    def _painted_words(self) -> str:
        count = int(np.count_nonzero(self._painted != self._photo))
        return f"{_text.plural(count, 'pixel')} painted by hand." if count else ""

    def _readouts(self) -> tuple[Readout, ...]:
        m = self._measured
        before = f"{_text.count(self._photo.size)} bytes with a byte a pixel"
        as_f16 = f"{_text.count(2 * self._weights.size)} bytes in F16"
        return (
            Readout("Photo", _text.size(int(m["photo, bytes"])), f"codes and table; {before}"),
            Readout("PSNR", _text.decibels(m["photo, PSNR"]), "peak signal to noise, pixel by pixel"),
            Readout(
                "PSNR from afar",
                _text.decibels(m["photo, PSNR from afar"]),
                f"the same, of means of {FAR} × {FAR} pixels",
            ),
            Readout("Weights", _text.size(int(m["weights, bytes"])), f"codes and table; {as_f16}"),
            Readout("SQNR", _text.decibels(m["weights, SQNR"]), "signal to quantization noise, weight by weight"),
            Readout(
                "Outputs off by",
                _share(m["outputs, relative error"]),
                f"products with {_text.count(len(self._inputs))} real inputs: error over output, in size",
            ),
        )

    def _summary(self) -> str:
        m = self._measured
        how = [self._kind_name, "dithered" if self.controls["dither"].value else "each to the nearest level"]
        if self.controls["shuffle"].value:
            how.append("columns shuffled")
        if self.controls["shared"].value:
            how.append("levels of its own for each square")
        return (
            f"{_text.plural(self.controls['bits'].value, 'bit')}, {', '.join(how)}. The photograph: PSNR "
            f"{_text.decibels(m['photo, PSNR'])}, from afar {_text.decibels(m['photo, PSNR from afar'])}. The weights: "
            f"SQNR {_text.decibels(m['weights, SQNR'])}, outputs off by {_share(m['outputs, relative error'])}."
            f"{self._spoken_paint()}"
        )

    def _spoken_paint(self) -> str:
        said, m = self._painted_words(), self._measured
        if not said or "unpainted, RMSE" not in m:
            return f" {said}".rstrip()
        return (
            f" {said} Typical error of the pixels that share its levels: {_text.number(m['unpainted, RMSE'], 2)}; "
            f"without the paint {_text.number(m['unpainted, RMSE before'], 2)}."
        )

    @property
    def _kind_name(self) -> str:
        return next(name for name, kind in _KINDS.items() if kind == self.controls["levels"].value)

    def __repr__(self) -> str:
        return f"PhotoExplorer({_text.plural(self.controls['bits'].value, 'bit')}, {self._kind_name})"


def _controls(bits: int, levels: str, dither: bool, shuffle: bool) -> dict[str, ipywidgets.Widget]:
    return {
        "bits": ipywidgets.IntSlider(
            bits, 1, 8, description="Bits", tooltip="bits of a pixel, and of a weight", layout={"width": "300px"}
        ),
        "levels": ipywidgets.ToggleButtons(
            options=list(_KINDS.items()),
            value=levels,
            description="Levels",
            tooltip="where the levels lie",
            tooltips=["from the smallest value to the largest", "fitted to the values by k-means"],
            style={"button_width": "128px"},
        ),
        "dither": ipywidgets.Checkbox(
            dither,
            description="dither",
            tooltip="hand each error on to the neighbours",
            indent=False,
            layout={"width": "90px"},
        ),
        "shuffle": ipywidgets.Checkbox(
            shuffle,
            description="shuffle columns",
            tooltip="put the columns of both into a random order, and the inputs of the weights with them",
            indent=False,
            layout={"width": "150px"},
        ),
    }


def _brushes(shared: int) -> dict[str, ipywidgets.Widget]:
    return {
        "shared": ipywidgets.ToggleButtons(
            options=list(_SHARED.items()),
            value=shared,
            description="One set of levels for",
            tooltip="what shares its levels",
            tooltips=["all pixels, and all weights", "each square; errors that are passed on stay within it"],
            style={"button_width": "150px"},
        ),
        "grey": ipywidgets.IntSlider(
            255, 0, 255, description="Paint with grey", tooltip="0 is black, 255 white", layout={"width": "300px"}
        ),
        "brush": ipywidgets.ToggleButtons(
            options=list(_BRUSHES.items()),
            value=1,
            description="Brush",
            tooltip="how many pixels are painted at once",
            style={"button_width": "72px"},
        ),
        "back": ipywidgets.Button(
            description="Put the photograph back",
            tooltip="as it was before a hand painted on it",
            disabled=True,
            layout={"width": "auto"},
        ),
    }


def _share(x: float) -> str:
    """A relative error: it may be larger than what it is measured against."""
    return _text.percent(x) if x < 1 else f"{100 * x:.0f} %"


def _levels_on_show(rounded: _RoundedPhoto, low: float, high: float, **how: int) -> LevelSet:
    values, after = (np.ascontiguousarray(part[rounded.square]) for part in (rounded.values, rounded.after))
    return level_set(values, after, rounded.shown, low, high, **how)


def _level_panel(levels: LevelSet, title: str) -> Panel:
    used = int(np.count_nonzero(levels.used))
    return Panel(
        levels,
        title,
        legend=(("soft", "before"), ("level", "levels, by use")),
        label=f"{_text.plural(levels.levels.size, 'level')}, {used} in use",
    )


def _level_table(caption: str, levels: LevelSet) -> Table:
    rows = zip(levels.levels.tolist(), levels.used.tolist(), strict=True)
    return Table(caption, ("code", "stands for", "used"), tuple(
        (str(code), _text.number(level, 4), _text.count(used)) for code, (level, used) in enumerate(rows)
    ))  # fmt: skip
