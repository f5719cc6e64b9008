"""A whole matrix with a frame on it, and the weights under the frame cell by cell."""

from __future__ import annotations

from dataclasses import dataclass

from qviz.errors import WidgetError
from qviz.figures.matrix import MatrixImage, Window


@dataclass(frozen=True, eq=False)
class MatrixOverview:
    """A whole matrix as an image, and a frame that marks a part of it.

    Attributes
    ----------
    image : MatrixImage
        All of the matrix.
    frame : Window
        The part that is marked.
    """

    image: MatrixImage
    frame: Window


@dataclass(frozen=True, eq=False)
class MatrixLens:
    """A part of a matrix, one cell a weight.

    Attributes
    ----------
    image : MatrixImage
        The weights or their errors, one pixel each.
    before : MatrixImage or None
        What a line across the picture wipes over it: the same weights before; None where there is nothing to wipe.
    block : int
        Weights of a row that share a block of the format.
    """

    image: MatrixImage
    before: MatrixImage | None
    block: int


def matrix_overview(image: MatrixImage, frame: Window) -> MatrixOverview:
    """Mark a part of a matrix.

    Parameters
    ----------
    image : MatrixImage
        The whole matrix.
    frame : Window
        A part of it.

    Returns
    -------
    MatrixOverview

    Raises
    ------
    WidgetError
        The frame does not lie inside.

    Examples
    --------
    >>> import numpy as np
    >>> from qviz.figures.matrix import weights_image
    >>> matrix_overview(weights_image(np.float32([[1, 2], [3, 4]]), limit=4), Window(1, 0, 1, 2)).frame.top
    1
    """
    whole = image.window
    down, across = frame.top - whole.top, frame.left - whole.left
    if min(down, across) < 0 or down + frame.rows > whole.rows or across + frame.columns > whole.columns:
        raise WidgetError(f"{frame} does not lie inside {whole}")
    return MatrixOverview(image, frame)


def matrix_lens(image: MatrixImage, before: MatrixImage | None = None, *, block: int = 1) -> MatrixLens:
    """Weights of a small part, one cell each.

    Parameters
    ----------
    image : MatrixImage
        The part, with one pixel a weight.
    before : MatrixImage, optional
        The same part before.
    block : int
        Weights of a row that share a block.

    Returns
    -------
    MatrixLens

    Raises
    ------
    WidgetError
        A pixel would stand for several weights, or the two images are not of the same part.
    """
    if image.window.step != (1, 1):
        raise WidgetError(f"a lens shows single weights; {image.window} has {image.window.pixel_text}")
    if before is not None and before.window != image.window:
        raise WidgetError(f"both images of a lens must show one part, got {before.window} and {image.window}")
    return MatrixLens(image, before, block)
