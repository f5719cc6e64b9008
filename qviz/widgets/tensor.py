"""`TensorExplorer`: a tensor as a picture, before and after a format."""

from __future__ import annotations

import math
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt

from qviz.errors import QvizError, WidgetError
from qviz.figures import MatrixImage, Window, error_image, weights_image
from qviz.figures.matrix import OCTAVES
from qviz.formats import FORMATS, Format, QTensor, get, quantize
from qviz.metrics import Comparison, compare
from qviz.widgets import _text
from qviz.widgets.base import SourceExplorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_ZOOMS = (256, 128, 64, 32)


class TensorExplorer(SourceExplorer):
    """Quantize a tensor into any format, and see where its weights move.

    Three pictures of the same part of the tensor: the weights before, after, and how far each moved. The
    colours of the errors are logarithmic and stay put, so that formats can be compared: one bit more darkens
    the picture by the same step everywhere.

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
        ``format``, ``zoom`` and, for a model, ``tensor``.
    figure : View
        ``figure["before"]``, ``figure["after"]`` and ``figure["error"]`` are each a `MatrixImage`.

    Examples
    --------
    >>> explorer = TensorExplorer(np.sin(np.arange(512)).reshape(2, 256), format="Q4_0", name="a wave")
    >>> explorer
    TensorExplorer(a wave 2 × 256)
    >>> coarse = explorer.figure["error"].pixels.mean()
    >>> explorer.controls["format"].value = "Q8_0"
    >>> bool(explorer.figure["error"].pixels.mean() < coarse)
    True
    """

    _layout = "tensor"

    def __init__(self, given: Any, tensor: str | None = None, *, format: str = "Q4_0", name: str | None = None) -> None:
        fmt = get(format)
        if not fmt.can_encode:
            raise WidgetError(f"{fmt} can be read but not written here; choose one of {', '.join(_encodable())}")
        super().__init__(given, tensor, name)
        self.controls |= {
            "format": ipywidgets.Dropdown(
                options=self._format_options(),
                value=fmt.name,
                description="Format",
                tooltip="the format that the weights are put into",
                layout={"width": "auto"},
            ),
            "zoom": ipywidgets.Dropdown(
                options=self._zoom_options(),
                value=0,
                description="Show",
                tooltip="how much of the tensor the pictures show",
                layout={"width": "auto"},
            ),
        }
        self._arrange(("tensor", "format", "zoom"))

    def _open(self) -> None:
        self.weights = self._source.weights()
        """float32 array (rows, columns): the weights before."""
        self._picture: MatrixImage | None = None
        self._made: dict[str, QTensor] = {}  # going back to a format should not cost its search again
        self.quantized: QTensor | None = None
        """The weights in the chosen format; None if they do not fit it."""
        self.after = np.empty_like(self.weights)
        """float32 array (rows, columns): the weights after."""
        finite = self.weights if np.isfinite(self.weights).all() else self.weights[np.isfinite(self.weights)]
        self._rms = math.sqrt(compare(finite, finite).signal / finite.size) if finite.size else 0.0
        self._rms = self._rms or 1.0  # all zeros
        self._centre = (self.weights.shape[0] // 2, self.weights.shape[1] // 2)
        if "format" in self.controls:
            for name, options in (("format", self._format_options()), ("zoom", self._zoom_options())):
                control = self.controls[name]
                chosen, values = control.value, [value for _, value in options]
                control.options = options
                control.value = chosen if chosen in values else values[0]

    def _format_options(self) -> list[tuple[str, str]]:
        return [(_fits(fmt, self._source.shape[-1]), name) for name, fmt in _encodable().items()]

    def _zoom_options(self) -> list[tuple[str, int]]:
        smaller = [n for n in _ZOOMS if n < max(self._source.shown_rows, self._source.shape[-1])]
        return [("whole tensor", 0), *((f"{n} × {n} weights", n) for n in smaller)]

    @property
    def window(self) -> Window:
        """The part of the tensor on show."""
        rows, columns = self.weights.shape
        size = self.controls["zoom"].value or max(rows, columns)
        height, width = min(size, rows), min(size, columns)
        top, left = (
            min(max(centre - n // 2, 0), most - n)
            for centre, n, most in zip(self._centre, (height, width), (rows, columns), strict=True)
        )
        return Window(top, left, height, width)

    def zoom_to(self, row: int, column: int, size: int) -> None:
        """Show `size` × `size` weights around one of them.

        Parameters
        ----------
        row, column : int
        size : int
            0 (the whole tensor), or 256, 128, 64 or 32 if the tensor is larger than that.

        Raises
        ------
        WidgetError
            Another size.
        """
        self._centre = (int(row), int(column))
        if size not in (sizes := [value for _, value in self.controls["zoom"].options]):
            raise WidgetError(f"size must be one of {', '.join(map(str, sizes))} for this tensor, got {size!r}")
        if self.controls["zoom"].value != size:
            self.controls["zoom"].value = size  # updates
        else:
            self.update()

    def locate(self, row: int, column: int) -> str:
        """Say what the pixel over a weight shows.

        Parameters
        ----------
        row, column : int
            A weight inside `window`.

        Returns
        -------
        str

        Raises
        ------
        WidgetError
            The weight is not on show.
        """
        window = self.window
        y, x = (row - window.top) // window.step[0], (column - window.left) // window.step[1]
        height, width = window.pixels
        if not (0 <= y < height and 0 <= x < width):
            raise WidgetError(f"weight ({row}, {column}) is not in {window}")
        cell = window.cell(y, x)
        before, after = cell.of(self.weights), cell.of(self.after)
        with np.errstate(invalid="ignore"):
            errors = np.nan_to_num(np.abs(after - before), nan=np.inf)
        row, column = (int(i) for i in np.unravel_index(errors.argmax(), errors.shape))
        was, now = float(before[row, column]), float(after[row, column])
        row, column = row + cell.top, column + cell.left
        text = f"row {row}, column {column}: {_text.number(was)} → {_text.number(now)}, "
        text += f"moved by {_text.number(now - was)}"
        if errors.size > 1:
            text += f" (the largest of {errors.size} weights here)"
        fmt = None if self.quantized is None else self.quantized.format
        if fmt is not None and fmt.block_size > 1:
            block = column // fmt.block_size
            first = block * fmt.block_size
            text += f" · block {block} of the row, columns {first} … {first + fmt.block_size - 1}"
        return text

    def _event(self, event: dict[str, Any]) -> None:
        row, column = int(event["row"]), int(event["column"])
        if event["event"] == "locate":
            self.figure.send({"located": self.locate(row, column)})
        elif event["event"] == "zoom":
            sizes = [value for _, value in self.controls["zoom"].options]
            at = sizes.index(self.controls["zoom"].value) + (1 if event["into"] else -1)
            if 0 <= at < len(sizes):
                self.zoom_to(row, column, sizes[at])

    def _scene(self) -> Scene:
        fmt, window = get(self.controls["format"].value), self.window
        before = self._before(window)
        try:
            self.quantized = self._made.get(fmt.name) or quantize(self.weights, fmt)
        except QvizError as refusal:
            self.quantized = None
            alone = {"before": Panel(before, self._before_title, f"{window.pixel_text}.", label="weights")}
            notes = (Status("error", str(refusal)), *self._source_notes())
            return Scene(self._layout, alone, (), str(refusal), (), notes)
        self._made[fmt.name] = self.quantized
        rounded = self.quantized.dequantize(out=self.after)
        loss = compare(self.weights, rounded)
        after = weights_image(rounded, limit=before.limit, window=window)
        error = error_image(self.weights, rounded, limit=before.limit / 2, window=window)
        block = {"block": fmt.block_size, "left": window.left}
        colours = f"Blue is negative, orange positive; beyond ±{_text.number(before.limit)} (4 × rms) the colour stays."
        logarithmic = "How far each moved, logarithmic: one bit more is the same step darker in every format. "
        return Scene(
            self._layout,
            {
                "before": Panel(before, self._before_title, colours, label="weights before", options=block),
                "after": Panel(
                    after,
                    f"After ({fmt})",
                    f"{window.pixel_text}.",
                    label="weights after",
                    options={**block, "wipe": "before"},
                ),
                "error": Panel(error, "Error", logarithmic + "Grey did not move.", label="errors", options=block),
            },
            self._readouts(fmt, loss),
            f"{self.tensor_name} in {fmt}: {fmt.bpw:g} bits per weight, SQNR {_text.decibels(loss.sqnr_db)}, "
            f"RMSE {_text.number(loss.rmse)}.",
            (_weight_table(before, after), _error_table(error)),
            self._source_notes(),
        )

    def _before(self, window: Window) -> MatrixImage:
        if self._picture is None or self._picture.window != window:
            self._picture = weights_image(self.weights, limit=4 * self._rms, window=window)
        return self._picture

    @property
    def _before_title(self) -> str:
        return f"Before ({self._source.format_name})"

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


def _weight_table(before: MatrixImage, after: MatrixImage, rows: int = 8) -> Table:
    edges = np.linspace(-before.limit, before.limit, rows + 1)
    counts = [_pixels(image, np.arange(255) * rows // 255, rows) for image in (before, after)]
    return Table(
        "Weights in the pictures",
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
    return Table("Errors in the picture", ("more than", "up to", "pixels"), tuple(rows))


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
