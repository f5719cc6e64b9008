"""`PhotoExplorer`: a photograph and a weight matrix lose bits side by side."""

from __future__ import annotations

from dataclasses import dataclass

import ipywidgets
import numpy as np
import numpy.typing as npt

from qviz import models, transformer
from qviz._arrays import real_array
from qviz._types import FloatArray
from qviz.errors import WidgetError
from qviz.figures.photo import (
    FAR,
    LevelSet,
    from_afar,
    level_set,
    pixel_image,
    psnr,
    round_to_levels,
    spread_levels,
)
from qviz.metrics import sqnr_db
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Table

_KINDS = {"evenly spaced": "uniform", "palette": "palette"}
_TOKENS = 512


@dataclass(frozen=True, eq=False)
class _RoundedPhoto:
    """One matrix of the two, before and after."""

    values: FloatArray
    after: FloatArray
    levels: FloatArray
    nbytes: int


class PhotoExplorer(Explorer):
    """Give a photograph and a weight matrix the same few levels, and see for which of them that is good.

    The photograph is judged as it is, and from afar, where neighbouring pixels are averaged. The weights are judged as
    they are, and by what they are for: their products with inputs that really occur. *Dither* makes errors of
    neighbours cancel. *Shuffle* puts the columns of both into one random order, and the inputs with them.

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
    name : str
        What to call the weights.

    Raises
    ------
    WidgetError
        Shapes that do not fit, or weights without inputs.

    Attributes
    ----------
    controls : dict
        ``bits``, ``levels``, ``dither``, ``shuffle``.
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
        name: str = "",
    ) -> None:
        super().__init__()
        if (weights is None) != (inputs is None):
            raise WidgetError("weights and their inputs go together: give both, or neither")
        if levels not in _KINDS.values():
            raise WidgetError(f"levels must be one of {', '.join(_KINDS.values())}, got {levels!r}")
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
        if self._photo.min() < 0 or self._photo.max() > 255 or min(self._photo.shape) < FAR:
            raise WidgetError(f"a photo is at least {FAR} × {FAR} greys from 0 to 255")
        self._name = name or "weights"
        self._chosen: dict[tuple[str, int, str], FloatArray] = {}
        self._orders = [np.random.default_rng(1).permutation(shape[1]) for shape in shapes[:2]]
        self.controls |= _controls(bits, levels, dither, shuffle)
        self._arrange(("bits", "levels", "dither", "shuffle"))

    @property
    def measured(self) -> dict[str, float]:
        """What the readouts show, as numbers: sizes in bytes, ratios in dB, and the relative error of the outputs."""
        return dict(self._measured)

    def _round(self, which: str, values: FloatArray, order: npt.NDArray[np.intp], bytes_a_level: int) -> _RoundedPhoto:
        bits, kind = int(self.controls["bits"].value), str(self.controls["levels"].value)
        if (which, bits, kind) not in self._chosen:  # a palette takes a while, and does not depend on order
            levels = spread_levels(values, bits, kind)
            # a screen shows whole greys
            self._chosen[which, bits, kind] = np.unique(np.rint(levels)) if which == "photo" else levels
        levels = self._chosen[which, bits, kind]
        if self.controls["shuffle"].value:
            values = np.ascontiguousarray(values[:, order])
        after = round_to_levels(values, levels, bool(self.controls["dither"].value))
        table = bytes_a_level * (2 if kind == "uniform" else levels.size)
        return _RoundedPhoto(values, after, levels, -(-values.size * bits // 8) + table)

    def _scene(self) -> Scene:
        photo = self._round("photo", self._photo, self._orders[0], 1)
        weights = self._round("weights", self._weights, self._orders[1], 2)
        inputs = self._inputs[:, self._orders[1]] if self.controls["shuffle"].value else self._inputs
        outputs = inputs @ weights.values.T
        off = float(np.linalg.norm(inputs @ weights.after.T - outputs) / np.linalg.norm(outputs))
        self._measured: dict[str, float] = {
            "photo, bytes": photo.nbytes,
            "photo, PSNR": psnr(photo.values, photo.after),
            "photo, PSNR from afar": psnr(from_afar(photo.values), from_afar(photo.after)),
            "weights, bytes": weights.nbytes,
            "weights, SQNR": sqnr_db(weights.values, weights.after),
            "outputs, relative error": off,
        }
        spread = 3 * float(weights.values.std())
        reach = 1.15 * float(np.abs(weights.values).max())
        greys = level_set(photo.values, photo.after, photo.levels, -8.5, 263.5, bins=272)
        levels = level_set(weights.values, weights.after, weights.levels, -reach, reach)
        summary = self._summary()
        return Scene(
            self._layout,
            {
                "photo": Panel(
                    pixel_image(photo.after, "grey", 0, 255),
                    "A photograph",
                    f"{photo.levels.size} greys. From afar, neighbours are averaged, and so are their errors.",
                    label=f"a man behind a camera, in {photo.levels.size} greys",
                    options={"before": pixel_image(photo.values, "grey", 0, 255)},
                ),
                "weights": Panel(
                    pixel_image(weights.after, "diverging", -spread, spread),
                    f"Weights: {self._name}",
                    f"{weights.levels.size} values, blue negative, orange positive. Nobody looks at them: they are "
                    f"multiplied with inputs.",
                    label=f"blue negative, orange positive, in {weights.levels.size} values",
                    options={"before": pixel_image(weights.values, "diverging", -spread, spread)},
                ),
                "greys": _level_panel(greys, "Greys of the photograph"),
                "levels": _level_panel(levels, "The weights"),
            },
            self._readouts(),
            summary,
            (_level_table("Greys", greys), _level_table("Levels of the weights", levels)),
        )

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
        return (
            f"{_text.plural(self.controls['bits'].value, 'bit')}, {', '.join(how)}. The photograph: PSNR "
            f"{_text.decibels(m['photo, PSNR'])}, from afar {_text.decibels(m['photo, PSNR from afar'])}. The weights: "
            f"SQNR {_text.decibels(m['weights, SQNR'])}, outputs off by {_share(m['outputs, relative error'])}."
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


def _share(x: float) -> str:
    """A relative error: it may be larger than what it is measured against."""
    return _text.percent(x) if x < 1 else f"{100 * x:.0f} %"


def _level_panel(levels: LevelSet, title: str) -> Panel:
    used = int(np.count_nonzero(levels.used))
    return Panel(
        levels,
        title,
        legend=(("soft", "before"), ("level", "levels, and how often each is used")),
        label=f"{_text.plural(levels.levels.size, 'level')}, {used} in use",
    )


def _level_table(caption: str, levels: LevelSet) -> Table:
    rows = zip(levels.levels.tolist(), levels.used.tolist(), strict=True)
    return Table(caption, ("code", "stands for", "used"), tuple(
        (str(code), _text.number(level, 4), _text.count(used)) for code, (level, used) in enumerate(rows)
    ))  # fmt: skip
