"""What a rounding method knows about a layer's inputs, as images of one matrix.

The output error of a rounding error d is d·H·dᵀ / 2. Methods differ in how much of H they look at.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from qviz._types import FloatArray
from qviz.errors import WidgetError
from qviz.figures.matrix import MatrixImage, Window, error_image


def seen_by(hessian: npt.ArrayLike, scale: npt.ArrayLike, order: npt.ArrayLike | None = None) -> dict[str, FloatArray]:
    """The matrix in whose metric each method rounds, all with the trace of H.

    Parameters
    ----------
    hessian : array_like (n, n)
    scale : array_like (n,)
        AWQ's s. Its rounding errors are alike in w·s, so an error in w counts as s² of its channel.
    order : int array_like (n,), optional
        Order of the channels.

    Returns
    -------
    dict of str to float32 array (n, n)
        ``"rtn"`` (all channels alike), ``"imatrix"`` (the diagonal), ``"awq"`` (s²), ``"gptq"`` (all of it).

    Raises
    ------
    WidgetError
        Not a square matrix and a vector of its size.

    Examples
    --------
    >>> seen = seen_by([[8.0, 1.0], [1.0, 2.0]], [2.0, 1.0])
    >>> {name: matrix.tolist() for name, matrix in seen.items() if name != "gptq"}
    {'rtn': [[5.0, 0.0], [0.0, 5.0]], 'imatrix': [[8.0, 0.0], [0.0, 2.0]], 'awq': [[8.0, 0.0], [0.0, 2.0]]}
    """
    H, s = np.asarray(hessian, np.float32), np.asarray(scale, np.float32)
    if H.ndim != 2 or s.shape != (len(H),) or H.shape != (s.size, s.size) or not s.size:
        raise WidgetError(f"H (n, n) and s (n,) are needed, got {H.shape} and {s.shape}")
    where = np.arange(s.size) if order is None else np.asarray(order)
    H, s = H[np.ix_(where, where)], s[where].astype(np.float64)
    trace = float(np.trace(H, dtype=np.float64))
    squares = np.square(s)
    diagonals = (np.full(s.size, trace / s.size), np.diagonal(H), squares * (trace / squares.sum()))
    matrices = {
        name: np.diag(d).astype(np.float32) for name, d in zip(("rtn", "imatrix", "awq"), diagonals, strict=True)
    }
    return matrices | {"gptq": H}


def sight_images(seen: Mapping[str, FloatArray], window: Window | None = None) -> dict[str, MatrixImage]:
    """Sizes of the entries on one logarithmic scale, whose brightest colour is four times the usual diagonal entry.

    A few channels are far larger than that, and would leave the rest in the dark.

    Parameters
    ----------
    seen : mapping of str to float32 array (n, n)
        From `seen_by`.
    window : Window, optional
        The part to show; all of it unless given.

    Returns
    -------
    dict of str to MatrixImage
        Grey is "nothing known".

    Examples
    --------
    >>> images = sight_images({"rtn": np.eye(2, dtype=np.float32), "gptq": np.float32([[1, 0.5], [0.5, 1]])})
    >>> images["rtn"].pixels.tolist(), images["gptq"].pixels.tolist()
    ([[203, 0], [0, 203]], [[203, 178], [178, 203]])
    """
    diagonals = np.concatenate([np.abs(np.diagonal(matrix)) for matrix in seen.values()])
    limit = 4 * float(np.median(diagonals[diagonals > 0])) if diagonals.any() else 1.0
    return {
        name: error_image(np.zeros_like(matrix), matrix, limit=limit, window=window) for name, matrix in seen.items()
    }


def coupling(hessian: npt.ArrayLike) -> float:
    """How much of H lies off its diagonal: Σ of squares off it over Σ of all, 0 … 1.

    Examples
    --------
    >>> coupling([[1.0, 0.0], [0.0, 1.0]]), coupling([[1.0, 1.0], [1.0, 1.0]])
    (0.0, 0.5)
    """
    squares = np.square(np.asarray(hessian, np.float64))
    return float(1 - np.trace(squares) / squares.sum()) if squares.any() else 0.0
