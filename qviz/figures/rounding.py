"""What grids make of arrays, in numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from qviz.errors import WidgetError
from qviz.figures.tables import TextTable, table
from qviz.grids import AffineGrid, Codebook
from qviz.metrics import sqnr_db


def rounding_table(arrays: Mapping[str, npt.ArrayLike], grids: Mapping[str, AffineGrid | Codebook]) -> TextTable:
    """Signal over rounding noise, in decibels, of every array on every grid.

    Parameters
    ----------
    arrays : mapping of str to array_like (rows, columns)
        Weights, inputs or whatever is rounded; a grid's groups run along the columns.
    grids : mapping of str to AffineGrid or Codebook

    Returns
    -------
    TextTable
        A row for each grid, with its bits for each number of the first array, scales included.

    Raises
    ------
    WidgetError
        Nothing to round, or nothing to round onto.

    Examples
    --------
    >>> rounding_table({"x": [[0.0, 1.0, 2.0, 2.9]]}, {"2 bits": AffineGrid(2, -1), "8 bits": AffineGrid(8, -1)})
    dB      bits     x
    2 bits   6.5  33.8
    8 bits    14  66.4
    """
    if not arrays or not grids:
        raise WidgetError(f"arrays and grids are needed, got {len(arrays)} and {len(grids)}")
    given = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    shape = next(iter(given.values())).shape
    rows = [
        (name, round(grid.bpw(shape), 2), *(round(sqnr_db(a, grid.fake_quantize(a)), 1) for a in given.values()))
        for name, grid in grids.items()
    ]
    return table(("dB", "bits", *given), rows)
