"""Looking on: the search for one sub-block's scale and entries, with every candidate kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz.errors import FormatError
from qviz.formats.base import Format
from qviz.formats.iq.encode import Encoder
from qviz.formats.iq.lattice import lattice
from qviz.formats.iq.signs import part_signs
from qviz.formats.kquant.record import one_super_block
from qviz.formats.kquant.tiles import SUPER, TILE, load_importance, load_tile, mean_squares, side_by_side
from qviz.formats.kquant.weights import weigh_by_importance


@dataclass(frozen=True)
class LatticeTrace:
    """The candidates of one sub-block's search, in its order; the last row is what the final rounding left.

    Attributes
    ----------
    magnitudes, weights : float32 arrays (n,)
        The sub-block without its signs (one that had to change its sign is negative), and how much each error counts.
    scales, gains : float32 arrays (k,)
        What was fitted to each candidate's levels, and by how much that lowers Σ w·x².
    levels : int8 array (k, n)
        The odd numbers that stand for the weights.
    best : int
        The candidate that won, before the final rounding.
    """

    magnitudes: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    scales: npt.NDArray[np.float32]
    gains: npt.NDArray[np.float32]
    levels: npt.NDArray[np.int8]
    best: int


def lattice_trace(
    x: npt.ArrayLike, format: Format | str, sub_block: int = 0, imatrix: npt.ArrayLike | None = None
) -> LatticeTrace:
    """Run the search on one sub-block of a super-block: the encoder's own kernels, recorded.

    Parameters
    ----------
    x : array_like (256,)
    format : Format or str
        ``"IQ2_XXS"`` … ``"IQ3_S"``.
    sub_block : int
    imatrix : array_like (256,), optional
        Importance of the columns; ones unless given.

    Raises
    ------
    FormatError
        If `format` has no such search, or no such sub-block.
    ShapeError, NonFiniteError
        If `x` or `imatrix` is not one super-block of numbers.

    Examples
    --------
    >>> trace = lattice_trace(np.sin(np.arange(256)), "IQ2_S")
    >>> trace.levels.shape, int(trace.gains[:-1].argmax()) == trace.best
    ((20, 16), True)
    """
    from qviz.formats import get

    fmt = get(format)
    encoder = fmt.lattice
    if not isinstance(encoder, Encoder):
        raise FormatError(f"{fmt} has no search through a codebook to show; choose one of IQ2_XXS … IQ3_S")
    width, group = encoder.width, encoder.group
    if not 0 <= sub_block < SUPER // width:
        raise FormatError(f"{fmt} has no sub-block {sub_block}; a super-block has {SUPER // width}, counted from 0")
    n = TILE * SUPER // width
    rows, columns, means = (np.zeros(size, np.float32) for size in (TILE * SUPER, TILE * SUPER, n))
    xs, ws, importances, magnitudes = (np.zeros(width * TILE, np.float32) for _ in range(4))
    load_tile(one_super_block(x, "weights"), 0, 1, rows)
    load_importance(one_super_block(np.ones(SUPER) if imatrix is None else imatrix, "imatrix"), 0, 1, columns)
    mean_squares(rows, encoder.mean_factor, means)
    side_by_side(rows, 0, xs)
    side_by_side(columns, 0, importances)
    weigh_by_importance(xs, importances, means, 0, ws, np.empty(n, np.float32))
    part_signs(xs, ws, encoder.even, magnitudes, np.empty(2 * width, np.float32))
    reach, empty, scales = (np.zeros(TILE, np.float32) for _ in range(3))
    encoder.begin(magnitudes, ws, np.float32(encoder.top), encoder.least, reach, empty, scales, 0)
    groups, places = width // group, lattice(encoder.name)
    candidates = 2 * encoder.span + 2
    trace = np.zeros((candidates, 2 + groups, TILE), np.float32)
    entries = np.zeros(groups * TILE, np.float32)
    placed = places.first, places.count, places.packed, places.near
    encoder.search(magnitudes, ws, reach, empty, *placed, scales, 0, entries, trace)
    lane = trace[:, :, sub_block]
    bits = 2 if group == 8 else 3
    digits = lane[:, 2:, None].astype(np.int64) >> bits * np.arange(group) & (1 << bits) - 1
    gains = np.nan_to_num(lane[:, 1], nan=-np.inf)
    return LatticeTrace(
        magnitudes.reshape(width, TILE)[:, sub_block].copy(),
        ws.reshape(width, TILE)[:, sub_block].copy(),
        lane[:, 0].copy(),
        gains,
        (2 * digits + 1).reshape(candidates, width).astype(np.int8),
        int(gains[:-1].argmax()),
    )
