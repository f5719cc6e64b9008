"""Looking on: the scale search of one sub-block, with every candidate kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array
from qviz.errors import FormatError, NonFiniteError, ShapeError
from qviz.formats.base import Format
from qviz.formats.kquant.refine import ROUNDS, refine_centred
from qviz.formats.kquant.search import WEIGHTED_SEARCH, Search, search_centred, search_with_min
from qviz.formats.kquant.tiles import SUPER, TILE, load_importance, load_tile, mean_squares, side_by_side
from qviz.formats.kquant.weights import weigh_by_importance


@dataclass(frozen=True)
class SearchTrace:
    """The candidates of one sub-block's scale search, in the order of the search.

    Attributes
    ----------
    x, weights : float32 arrays (n,)
        The sub-block, and how much each error counts.
    scales, mins : float32 arrays (k,)
        Candidates; the first is plain min–max, or for Q3_K and Q6_K its like without a minimum.
    errors : float32 array (k,)
        What the search minimises: the weighted sum of squared errors (of their sizes for Q2_K without an importance
        matrix). NaN for a candidate whose fit cannot be solved. Q3_K and Q6_K maximise the gain of the fit instead,
        which comes to the same: Σ w·x² minus the gain is this error.
    codes : int8 array (k, n)
        Codes under each candidate.
    best : int
        The candidate that won.
    """

    x: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    scales: npt.NDArray[np.float32]
    mins: npt.NDArray[np.float32]
    errors: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int8]
    best: int


def search_trace(
    x: npt.ArrayLike, format: Format | str, sub_block: int = 0, imatrix: npt.ArrayLike | None = None
) -> SearchTrace:
    """Run the scale search on one sub-block and keep every candidate: the encoder's own kernels, recorded.

    What wins here is not yet what a file holds: the scales of a super-block still have to share a float16.

    Parameters
    ----------
    x : array_like (256,)
        A super-block: the importance of a weight depends on the whole of it.
    format : Format or str
        ``"Q2_K"`` … ``"Q6_K"``.
    sub_block : int
        Which sub-block to look at.
    imatrix : array_like (256,), optional
        Importance of the columns.

    Raises
    ------
    FormatError
        If `format` is no K-quant or has no such sub-block.
    ShapeError
        If `x` or `imatrix` is not one super-block.
    NonFiniteError
        NaN or infinity among them.

    Examples
    --------
    >>> t = search_trace(np.arange(256) % 16, "Q4_K")
    >>> t.scales.shape, t.codes.shape, round(float(t.scales[0]), 3)
    ((22,), (22, 32), 1.0)
    """
    from qviz.formats import get

    fmt = get(format)
    its = fmt.search
    if not isinstance(its, Search):
        raise FormatError(f"{fmt} has no scale search to show; choose one of Q2_K, Q3_K, Q4_K, Q5_K, Q6_K")
    width, names = its.width, its.names()
    if not 0 <= sub_block < SUPER // width:
        raise FormatError(f"{fmt} has no sub-block {sub_block}; a super-block has {SUPER // width}, counted from 0")
    block = one_super_block(x, "weights")
    rows, xs, ws = (np.empty(size, np.float32) for size in (TILE * SUPER, width * TILE, width * TILE))
    load_tile(block, 0, 1, rows)
    side_by_side(rows, 0, xs)
    n = TILE * SUPER // width
    refines = its.refines and imatrix is None
    if imatrix is not None:
        columns, means = np.empty(TILE * SUPER, np.float32), np.empty(n, np.float32)
        load_importance(one_super_block(imatrix, "imatrix"), 0, 1, columns)
        side_by_side(columns, 0, ws)
        if its.with_min or its.refines:
            mean_squares(rows, names["_MEAN_FACTOR"], means)
            weigh_by_importance(xs, ws.copy(), means, 0, ws, np.empty(n, np.float32))
    else:
        its.weigh(xs, ws)
    codes, scales, mins = np.empty(xs.size, np.float32), np.empty(TILE, np.float32), np.zeros(TILE, np.float32)
    first, step, steps, absolute = names["_FIRST"], names["_STEP"], its.steps, its.absolute
    if imatrix is not None:
        first, step, steps, absolute = *WEIGHTED_SEARCH, False
    candidates = steps + 2 if its.with_min else 1 + ROUNDS if refines else 19
    trace = np.full((candidates, 3 + width, TILE), np.nan, np.float32)
    if its.with_min:
        search_with_min(xs, ws, names["_TOP"], first, step, steps, absolute, codes, scales, mins, 0, trace)
    elif refines:
        refine_centred(xs, names["_TOP"], codes, scales, 0, trace)
    else:
        search_centred(xs, ws, names["_TOP"], codes, scales, 0, trace)
    lane = np.ascontiguousarray(trace[:, :, sub_block])
    lane = lane[~np.isnan(lane[:, 3])]  # rounds that were not needed
    weights, sub = ws.reshape(width, TILE)[:, sub_block].copy(), xs.reshape(width, TILE)[:, sub_block].copy()
    final = codes.reshape(width, TILE)[:, sub_block]
    won = np.flatnonzero((lane[:, 0] == scales[sub_block]) & (lane[:, 3:] == final).all(axis=1))
    if won.size == 0:  # all zero: there is nothing to search
        lane = np.concatenate([[scales[sub_block], mins[sub_block], 0], final])[None].astype(np.float32)
    errors = lane[:, 2]
    if not its.with_min:  # the gain was recorded: as a difference from Σ w·x² it would lose its digits
        off = np.float64(lane[:, :1]) * lane[:, 3:] - sub
        errors = np.sum(weights * (off * off), axis=1).astype(np.float32)
    return SearchTrace(
        sub,
        weights,
        lane[:, 0],
        lane[:, 1],
        errors,
        lane[:, 3:].astype(np.int8),
        int(won[-1] if refines else won[0]) if won.size else 0,
    )


def one_super_block(values: npt.ArrayLike, what: str) -> npt.NDArray[np.float32]:
    """`values` as float32 (256,), checked."""
    array = real_array(values, what, FormatError)
    if array.shape != (SUPER,):
        raise ShapeError(f"{what} must be one super-block of shape ({SUPER},), got {array.shape}")
    if not np.isfinite(array).all():
        raise NonFiniteError(f"{what} hold NaN or infinity; a search needs numbers")
    return array
