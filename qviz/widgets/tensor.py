"""`TensorExplorer`: a tensor as a picture, before and after a format."""

from __future__ import annotations

import math
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt

from qviz._types import FloatArray
from qviz.errors import QvizError, WidgetError
from qviz.figures import MatrixImage, Window, error_image, matrix_lens, matrix_overview, weights_image
from qviz.figures.matrix import OCTAVES
from qviz.formats import FORMATS, Format, QTensor, get, quantize
from qviz.metrics import Comparison, compare
from qviz.widgets import _text
from qviz.widgets.base import SourceExplorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_LENSES = ((128, 80), (64, 40), (32, 20))  # columns and rows of weights
_LENS = 64  # columns, where the tensor has as many
_SHOWS = ("before", "after", "error")
_MOVED = "how far each moved; a bit more is one step darker, grey is no move."


class TensorExplorer(SourceExplorer):
    """Quantize a tensor into any format, and see where its weights move.

    On the left the whole tensor, with a small frame on it; on the right a lens that shows the weights under the frame,
    one cell each. The frame is dragged, or moved by arrow keys. Both pictures show the weights before, after, or how
    far each moved; a line across the lens wipes between that and before. The colours of the errors are logarithmic and
    stay put, so that formats can be compared: one bit more darkens the picture by the same step everywhere.

    Parameters
    ----------
    given : QTensor, array_like, or a model
        The weights; of a model, `tensor` says which.
    tensor : str, optional
        Name of a model's tensor; the first one unless given.
    format : str
        Name of a format that can be written, e.g. ``"Q4_0"``.
    name : str, optional
        What to call weights that come without a name.

    Raises
    ------
    WidgetError
        Not weights, or no such tensor.
    UnknownFormatError
        No such format.

    Attributes
    ----------
    controls : dict
        ``format``, ``show`` (``"before"``, ``"after"`` or ``"error"``), ``lens`` (the columns of weights under it) and,
        for a model, ``tensor``.
    figure : View
        ``figure["overview"]`` is a `MatrixOverview`, ``figure["lens"]`` a `MatrixLens`.

    Examples
    --------
    >>> explorer = TensorExplorer(np.sin(np.arange(512)).reshape(2, 256), format="Q4_0", name="a wave")
    >>> explorer
    TensorExplorer(a wave 2 × 256)
    >>> coarse = explorer.figure["overview"].image.pixels.mean()
    >>> explorer.controls["format"].value = "Q8_0"
    >>> bool(explorer.figure["overview"].image.pixels.mean() < coarse)
    True
    """

    _layout = "tensor"

    def __init__(self, given: Any, tensor: str | None = None, *, format: str = "Q4_0", name: str | None = None) -> None:
        fmt = get(format)
        if not fmt.can_encode:
            raise WidgetError(f"{fmt} can be read but not written here; choose one of {', '.join(_encodable())}")
        super().__init__(given, tensor, name)
        lenses = self._lens_options()
        self.controls |= {
            "format": ipywidgets.Dropdown(
                options=self._format_options(),
                value=fmt.name,
                description="Format",
                tooltip="the format that the weights are put into",
                layout={"width": "auto"},
            ),
            "show": ipywidgets.ToggleButtons(
                options=_SHOWS,
                value="error",
                description="Show",
                tooltip="the weights before or after, or how far each moved",
                style={"button_width": "auto"},
            ),
            "lens": ipywidgets.Dropdown(
                options=lenses,
                value=_LENS if _LENS in dict(lenses).values() else lenses[0][1],
                description="Lens",
                tooltip="how many weights the lens shows",
                layout={"width": "auto"},
            ),
        }
        self._arrange(("tensor", "format", "show", "lens"))

    def _open(self) -> None:
        self.weights = self._source.weights()
        """float32 array (rows, columns): the weights before."""
        self._images: dict[str, MatrixImage] = {}  # of the whole tensor, in the format that is chosen
        self._made: dict[str, QTensor] = {}  # going back to a format should not cost its search again
        self.quantized: QTensor | None = None
        """The weights in the chosen format; None if they do not fit it."""
        self.after = np.empty_like(self.weights)
        """float32 array (rows, columns): the weights after."""
        finite = self.weights if np.isfinite(self.weights).all() else self.weights[np.isfinite(self.weights)]
        self._rms = math.sqrt(compare(finite, finite).signal / finite.size) if finite.size else 0.0
        self._rms = self._rms or 1.0  # all zeros
        farthest = np.nan_to_num(np.abs(self.weights), nan=0, posinf=0).argmax()
        self._centre = (int(farthest) // self.weights.shape[1], int(farthest) % self.weights.shape[1])
        if "format" in self.controls:
            for name, options in (("format", self._format_options()), ("lens", self._lens_options())):
                control = self.controls[name]
                chosen, values = control.value, [value for _, value in options]
                control.options = options
                control.value = chosen if chosen in values else values[0]

    def _format_options(self) -> list[tuple[str, str]]:
        return [(_fits(fmt, self._source.shape[-1]), name) for name, fmt in _encodable().items()]

    def _lens_options(self) -> list[tuple[str, int]]:
        rows, columns = self._source.shown_rows, self._source.shape[-1]
        smaller = [lens for lens in _LENSES if lens[0] < columns or lens[1] < rows]
        return [(f"{n} × {m} weights", n) for n, m in smaller or _LENSES[1:2]]

    @property
    def window(self) -> Window:
        """The part of the tensor under the lens."""
        rows, columns = self.weights.shape
        width = self.controls["lens"].value
        height, width = min(dict(_LENSES)[width], rows), min(width, columns)
        top, left = (
            min(max(centre - n // 2, 0), most - n)
            for centre, n, most in zip(self._centre, (height, width), (rows, columns), strict=True)
        )
        return Window(top, left, height, width)

    def look_at(self, row: int, column: int) -> None:
        """Move the lens, as far as the tensor reaches.

        Parameters
        ----------
        row, column : int
            The weight in the middle of the lens.
        """
        self._centre = (int(row), int(column))
        window = self.window
        self._centre = (window.top + window.rows // 2, window.left + window.columns // 2)
        self.update()

    def locate(self, row: int, column: int, panel: str = "lens") -> str:
        """Say what a picture shows over a weight.

        Parameters
        ----------
        row, column : int
            A weight of the picture.
        panel : str
            ``"lens"``, or ``"overview"``, where a pixel may stand for several weights.

        Returns
        -------
        str

        Raises
        ------
        WidgetError
            The weight is not on show.
        """
        window = Window(0, 0, *self.weights.shape) if panel == "overview" else self.window
        y, x = (row - window.top) // window.step[0], (column - window.left) // window.step[1]
        height, width = window.pixels
        if not (0 <= y < height and 0 <= x < width):
            raise WidgetError(f"weight ({row}, {column}) is not in {window}")
        cell = window.cell(y, x)
        before, after = cell.of(self.weights), cell.of(self.after)
        if self.quantized is None:
            after = before
        row, column = (int(i) for i in np.unravel_index(_moved(before, after).argmax(), before.shape))
        was, now = (float(values[row, column]) for values in (before, after))
        row, column = row + cell.top, column + cell.left
        text = f"row {row}, column {column}: {_text.number(was)}"
        if self.quantized is None:
            return text
        text += f" → {_text.number(now)}, moved by {_text.number(now - was)}"
        if before.size > 1:
            text += f" (the largest of {before.size} weights here)"
        fmt = self.quantized.format
        if fmt.block_size > 1:
            block = column // fmt.block_size
            first = block * fmt.block_size
            text += f" · block {block} of the row, columns {first} … {first + fmt.block_size - 1}"
        return text

    def _event(self, event: dict[str, Any]) -> None:
        row, column = int(event["row"]), int(event["column"])
        if event["event"] == "locate":
            self.figure.send({"located": self.locate(row, column, event.get("panel", "lens"))})
        elif event["event"] == "look":
            self.look_at(row, column)
        elif event["event"] == "zoom":
            sizes = [value for _, value in self.controls["lens"].options]
            at = sizes.index(self.controls["lens"].value) + (1 if event["into"] else -1)
            if 0 <= at < len(sizes):
                self._centre = (row, column)
                self.controls["lens"].value = sizes[at]  # updates

    def _scene(self) -> Scene:
        fmt = get(self.controls["format"].value)
        if "before" not in self._images:
            self._images["before"] = weights_image(self.weights, limit=4 * self._rms)
        try:
            self._round(fmt)
        except QvizError as refusal:
            self.quantized = None
            panels = self._panels("before", fmt)
            notes = (Status("error", str(refusal)), *self._source_notes())
            return Scene(self._layout, panels, (), str(refusal), (), notes)
        loss, part = self._loss, self.window
        errors = _moved(part.of(self.weights), part.of(self.after))
        return Scene(
            self._layout,
            self._panels(self.controls["show"].value, fmt),
            self._readouts(fmt, loss),
            f"{self.tensor_name} in {fmt}: {fmt.bpw:g} bits per weight, SQNR {_text.decibels(loss.sqnr_db)}, "
            f"RMSE {_text.number(loss.rmse)}. The lens shows {_place(part)}; there, no weight moved farther than "
            f"{_text.number(float(errors.max()))}.",
            (
                _weight_table(self._images["before"], self._images["after"]),
                _error_table(self._images["error"]),
                _lens_table(part, part.of(self.weights), part.of(self.after)),
            ),
            self._source_notes(),
        )

    def _round(self, fmt: Format) -> None:
        """Put the weights into a format, unless they are in it."""
        if self.quantized is not None and self.quantized.format == fmt:
            return
        self.quantized = self._made.get(fmt.name) or quantize(self.weights, fmt)
        self._made[fmt.name] = self.quantized
        self.quantized.dequantize(out=self.after)
        self._loss = compare(self.weights, self.after)
        limit = self._images["before"].limit
        self._images["after"] = weights_image(self.after, limit=limit)
        self._images["error"] = error_image(self.weights, self.after, limit=limit / 2)

    def _panels(self, show: str, fmt: Format) -> dict[str, Panel]:
        whole, part = self._images[show], self.window
        limit = self._images["before"].limit
        before = weights_image(self.weights, limit=limit, window=part)
        if show == "error":
            seen = error_image(self.weights, self.after, limit=limit / 2, window=part)
        else:
            seen = before if show == "before" else weights_image(self.after, limit=limit, window=part)
        block = 1 if self.quantized is None else fmt.block_size
        lens = matrix_lens(seen, None if show == "before" else before, block=block)
        name = {"before": f"before ({self._source.format_name})", "after": f"after ({fmt})", "error": f"error ({fmt})"}
        words = f"Blue is negative, orange positive; ±{_text.number(limit)} is 4 × rms, and beyond it the colour stays."
        if show == "error":
            words = f"Left of the line: before; blue negative, orange positive. Right: {_MOVED}"
        return {
            "overview": Panel(
                matrix_overview(whole, part),
                f"All of it: {name[show]}",
                f"{whole.window.pixel_text}.",
                label=f"the whole tensor, {show}; a frame marks {_place(part)}",
            ),
            "lens": Panel(
                lens,
                f"Lens: {_place(part)}",
                words,
                label=f"the weights in the frame, {name[show]}",
                options={"names": ["before", show]},
            ),
        }

    def _readouts(self, fmt: Format, loss: Comparison) -> tuple[Readout, ...]:
        before, after = self._source.nbytes, fmt.row_size(self._source.shape[-1]) * self._source.rows
        return (
            Readout("Bits per weight", f"{fmt.bpw:g}", f"{fmt.type_size} bytes for {fmt.block_size} weights"),
            Readout(f"Before ({self._source.format_name})", _text.size(before), f"{_text.count(before)} bytes"),
            Readout(f"After ({fmt})", _text.size(after), f"{_text.count(after)} bytes"),
            Readout(
                "SQNR",
                _text.decibels(loss.sqnr_db),
                "signal to quantization noise; one bit is worth about 6 dB",
            ),
            Readout("RMSE", _text.number(loss.rmse), "root mean square error of all weights"),
            Readout("Largest error", _text.number(loss.max_abs_error), "how far the worst weight moved"),
        )


def _place(part: Window) -> str:
    """A part of a tensor, in words."""
    rows, columns = part.top + part.rows - 1, part.left + part.columns - 1
    return f"rows {part.top} … {rows}, columns {part.left} … {columns}"


def _moved(before: FloatArray, after: FloatArray) -> FloatArray:
    """How far each weight moved; what is no number moved farther than any."""
    with np.errstate(invalid="ignore", over="ignore"):
        moved: FloatArray = np.nan_to_num(np.abs(after - before), nan=np.inf, posinf=np.inf)
    return moved


def _lens_table(part: Window, before: FloatArray, after: FloatArray, rows: int = 8) -> Table:
    moved = _moved(before, after)
    farthest = np.argsort(-moved, axis=None, kind="stable")[:rows]
    return Table(
        "Weights under the lens that moved farthest",
        ("row", "column", "before", "after"),
        tuple(
            (str(part.top + i), str(part.left + j), _text.number(float(before[i, j])), _text.number(float(after[i, j])))
            for i, j in zip(*(places.tolist() for places in np.unravel_index(farthest, moved.shape)), strict=True)
        ),
    )


def _weight_table(before: MatrixImage, after: MatrixImage, rows: int = 8) -> Table:
    edges = np.linspace(-before.limit, before.limit, rows + 1)
    counts = [_pixels(image, np.arange(255) * rows // 255, rows) for image in (before, after)]
    return Table(
        "Weights in the overview",
        ("from", "to", "pixels before", "pixels after"),
        tuple(
            (_text.number(low), _text.number(high), _text.count(was), _text.count(now))
            for low, high, was, now in zip(edges[:-1], edges[1:], *counts, strict=True)
        ),
    )


def _error_table(error: MatrixImage) -> Table:
    octave = np.append(0, 1 + np.arange(254) * OCTAVES // 254)  # code 0: no error at all
    counts = _pixels(error, octave, OCTAVES + 1)
    edges = [0.0, *(error.limit / 2.0 ** (OCTAVES - k) for k in range(1, OCTAVES + 1))]
    rows = [("0", "0", _text.count(counts[0]))]
    rows += [
        (_text.number(low), _text.number(high), _text.count(n))
        for low, high, n in zip(edges[:-1], edges[1:], counts[1:], strict=True)
    ]
    return Table("Errors in the overview", ("more than", "up to", "pixels"), tuple(rows))


def _pixels(image: MatrixImage, row_of_code: npt.NDArray[np.intp], rows: int) -> list[int]:
    """Pixels of an image in each row of a table; those that are not finite are in none."""
    codes = np.bincount(image.pixels.reshape(-1), minlength=256)[:255]
    return np.bincount(row_of_code, codes, rows).astype(int).tolist()  # type: ignore[no-any-return]


def _encodable() -> dict[str, Format]:
    return {name: fmt for name, fmt in FORMATS.items() if fmt.can_encode}


def _fits(fmt: Format, columns: int) -> str:
    if columns % fmt.block_size:
        return f"{fmt} (no: rows of {columns} are no multiple of {fmt.block_size})"
    return f"{fmt} ({fmt.bpw:g} bpw)"
