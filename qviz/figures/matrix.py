"""A matrix as an image of at most 256 × 256 pixels.

A pixel that covers several weights shows the one of largest magnitude, so an outlier is never averaged away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._arguments import check_methods, check_record
from qviz._arrays import finite_number
from qviz._machine.kernels import bits_float, f32, float_bits, kernel, u32
from qviz._types import FloatArray
from qviz.errors import WidgetError
from qviz.figures import _theme

SIZE = 256
"""Most pixels of an image's side: more do not fit on a screen beside one another, and would only arrive
later."""

OCTAVES = 10
"""Factors of two from the smallest to the largest error that an error image tells apart."""


@dataclass(frozen=True)
class Window:
    """The part of a matrix that an image shows.

    Parameters
    ----------
    top, left : int
        First row and column.
    rows, columns : int
        How many of each.

    Examples
    --------
    >>> Window(0, 0, 1536, 576).pixels  # 6 × 3 weights each
    (256, 192)
    >>> Window(0, 0, 1536, 576).cell(255, 0)  # what the last pixel of the first column covers
    Window(top=1530, left=0, rows=6, columns=3)
    """

    top: int
    left: int
    rows: int
    columns: int

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1:
            raise WidgetError(f"a window has a row and a column at least, got {self.rows} × {self.columns}")

    @property
    def step(self) -> tuple[int, int]:
        """Rows and columns of weights under a pixel; the same for all, or stripes would appear that are not there."""
        return -(-self.rows // SIZE), -(-self.columns // SIZE)

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of the image."""
        down, across = self.step
        return -(-self.rows // down), -(-self.columns // across)

    def cell(self, y: int, x: int) -> Window:
        """The weights under one pixel; fewer at the lower and right edge if they do not divide evenly."""
        high, wide = self.pixels
        if not 0 <= y < high or not 0 <= x < wide:
            raise WidgetError(f"no pixel ({y}, {x}): the image has {high} × {wide}")
        down, across = self.step
        rows, columns = min(down, self.rows - y * down), min(across, self.columns - x * across)
        return Window(self.top + y * down, self.left + x * across, rows, columns)

    def of(self, matrix: npt.NDArray[np.float32]) -> FloatArray:
        """The view of `matrix` that lies in the window."""
        _window(matrix, self)
        return matrix[self.top : self.top + self.rows, self.left : self.left + self.columns]

    @property
    def pixel_text(self) -> str:
        """What one pixel stands for, in words.

        Examples
        --------
        >>> Window(0, 0, 1024, 576).pixel_text
        '1 pixel: the largest of 4 × 3 weights'
        """
        down, across = self.step
        if down == across == 1:
            return "1 pixel = 1 weight"
        return f"1 pixel: the largest of {down} × {across} weights"


check_methods(Window, WidgetError)


@dataclass(frozen=True, eq=False)
class MatrixImage:
    """A matrix as codes of a colour table.

    Attributes
    ----------
    pixels : uint8 array (height, width)
        Codes; see `_theme.diverging` and `_theme.sequential`.
    colours : str
        ``"diverging"`` (codes 0 … 254 are −limit … limit, 127 is 0) or ``"sequential"`` (codes 1 … 254 are
        errors limit / 2¹⁰ … limit on a logarithmic scale, 0 is no error at all). 255 is NaN or infinity in
        both.
    limit : float
        The value of the outermost colour; what lies beyond is shown in it.
    window : Window
        What the image covers.
    """

    pixels: npt.NDArray[np.uint8]
    colours: str
    limit: float
    window: Window

    def __post_init__(self) -> None:
        _limit(self.limit)
        if self.pixels.shape != self.window.pixels:
            raise WidgetError(f"{self.window} has {self.window.pixels} pixels, got an array {self.pixels.shape}")


check_record(MatrixImage, WidgetError)


def weights_image(weights: FloatArray, *, limit: float, window: Window | None = None) -> MatrixImage:
    """Weights in blue (negative) and orange (positive).

    Parameters
    ----------
    weights : float32 array (rows, columns)
    limit : float
        Magnitude of the deepest colour, > 0.
    window : Window, optional
        The part to show; all of it unless given.

    Returns
    -------
    MatrixImage

    Examples
    --------
    >>> weights_image(np.float32([[-2, -1, 0, 1, 9]]), limit=2).pixels.tolist()
    [[0, 63, 127, 191, 254]]
    """
    window, limit = _window(weights, window), _limit(limit)
    values = np.empty(window.pixels, np.float32)
    _extremes(window.of(weights), *window.step, values)
    with np.errstate(invalid="ignore"):
        codes = np.rint(_theme.ZERO * np.clip(values / np.float64(limit), -1, 1)) + _theme.ZERO
    return _image(values, codes, "diverging", limit, window)


def error_image(before: FloatArray, after: FloatArray, *, limit: float, window: Window | None = None) -> MatrixImage:
    """How far each weight moved, on a logarithmic scale: one bit more is the same step of colour everywhere.

    Parameters
    ----------
    before, after : float32 arrays (rows, columns)
    limit : float
        The error of the brightest colour, > 0; the darkest stands for ``limit / 2**OCTAVES`` and less.
    window : Window, optional
        The part to show; all of it unless given.

    Returns
    -------
    MatrixImage

    Examples
    --------
    >>> zeros = np.zeros((1, 4), np.float32)
    >>> error_image(zeros, np.float32([[0, 1, -0.5, 0.001]]), limit=1).pixels.tolist()
    [[0, 254, 229, 2]]
    """
    if before.shape != after.shape:
        raise WidgetError(f"before {before.shape} and after {after.shape} must have one shape")
    window, limit = _window(before, window), _limit(limit)
    values = np.empty(window.pixels, np.float32)
    _largest_errors(window.of(before), window.of(after), *window.step, values)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.rint(1 + 253 * np.clip(1 + np.log2(values / np.float64(limit)) / OCTAVES, 0, 1))
    return _image(values, np.where(values == 0, _theme.EXACT, codes), "sequential", limit, window)


def _window(matrix: FloatArray, window: Window | None) -> Window:
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise WidgetError(f"an image needs a matrix (rows, columns), got an array of shape {matrix.shape}")
    rows, columns = matrix.shape
    if window is None:
        return Window(0, 0, rows, columns)
    if min(window.top, window.left) < 0 or window.top + window.rows > rows or window.left + window.columns > columns:
        raise WidgetError(f"{window} does not lie inside a matrix of shape {matrix.shape}")
    return window


def _limit(limit: float) -> float:
    return finite_number(limit, "limit", WidgetError, above=0)


def _image(
    values: FloatArray, codes: npt.NDArray[np.floating], colours: str, limit: float, window: Window
) -> MatrixImage:
    pixels = np.where(np.isfinite(values), codes, _theme.NOT_FINITE).astype(np.uint8)
    return MatrixImage(pixels, colours, float(limit), window)


# A float's bits, turned left by one, order by magnitude (the sign comes last), with infinity and then NaN on
# top. So "largest magnitude, and NaN wins" is one unsigned maximum, which vectorises along a row.


@kernel
def _extremes(x, down, across, out):
    best = np.empty(x.shape[1], np.uint32)
    for i in range(out.shape[0]):
        best[:] = 0
        for r in range(i * down, min((i + 1) * down, x.shape[0])):
            for c in range(x.shape[1]):
                bits = float_bits(x[r, c])
                best[c] = max(best[c], u32(u32(bits << u32(1)) | u32(bits >> u32(31))))
        _along(best, across, out[i])


@kernel
def _largest_errors(before, after, down, across, out):
    best = np.empty(before.shape[1], np.uint32)
    for i in range(out.shape[0]):
        best[:] = 0
        for r in range(i * down, min((i + 1) * down, before.shape[0])):
            for c in range(before.shape[1]):
                best[c] = max(best[c], u32(float_bits(f32(after[r, c] - before[r, c])) << u32(1)))
        _along(best, across, out[i])


@kernel
def _along(best, across, out):
    for j in range(out.size):
        top = u32(0)
        for c in range(j * across, min((j + 1) * across, best.size)):
            top = max(top, best[c])
        out[j] = bits_float(u32(u32(top >> u32(1)) | u32(top << u32(31))))
