"""What AWQ sees and does: sizes of input channels, the search for alpha, the clipping of a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qviz._arrays import finite_array, finite_number, real_array, whole_number
from qviz._types import FloatArray, IntArray
from qviz.errors import WidgetError, shortened
from qviz.figures import _charts
from qviz.figures.tables import TextTable, table
from qviz.methods.result import MethodResult

if TYPE_CHECKING:
    import plotly.graph_objects as go

_DOUBLE = (np.float64,)


@dataclass(frozen=True, eq=False)
class ChannelTracks:
    """Three curves over the input channels, one below the other.

    Attributes
    ----------
    order : int32 array (n,)
        The channel at each place, from left to right.
    size : float32 array (n,)
        Mean |x|, in that order, like all that follows.
    step : float32 array (n,)
        Distance between two levels of a weight in use, in units of what plain rounding has: below 1 is finer.
    before, after : float32 arrays (n,)
        What the rounding of each channel alone adds to the error of the output, as shares of the output.
    salient : int32 array (k,)
        Places of the largest channels.
    edges : int32 array
        Places where a group begins; empty unless channels stand as they do in the matrix.
    current : int
        The place on show.
    sorted : bool
        From the largest to the smallest.
    """

    order: IntArray
    size: FloatArray
    step: FloatArray
    before: FloatArray
    after: FloatArray
    salient: IntArray
    edges: IntArray
    current: int
    sorted: bool = True


@dataclass(frozen=True, eq=False)
class AlphaCurve:
    """Output error over alpha, in units of what alpha = 0 (plain rounding) has.

    Attributes
    ----------
    alphas, calibration, heldout : float64 arrays (k,)
        On the tokens that the search sees, and on others.
    best : int
        Least error on the calibration tokens: what the search takes.
    current : int
        The one on show.
    """

    alphas: npt.NDArray[np.float64]
    calibration: npt.NDArray[np.float64]
    heldout: npt.NDArray[np.float64]
    best: int
    current: int

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: the error on tokens that the search sees, and on others."""
        figure = _charts.chart(_charts.axis("alpha"), _charts.axis("output error, 1 is plain rounding"))
        _charts.curve(figure, self.alphas, self.calibration, "calibration tokens", "level")
        _charts.curve(figure, self.alphas, self.heldout, "held-out tokens", "weight")
        _charts.mark(figure, float(self.alphas[self.best]), "taken", "soft")
        return figure


@dataclass(frozen=True, eq=False)
class ClipCurve:
    """Clipping the range of one group of one row, and what all the others chose.

    Attributes
    ----------
    tried : float32 array (k,)
        Parts of the largest weight that were kept.
    loss : float32 array (k,)
        Output error if this group alone were rounded, in units of the first, unclipped one; 1 where there is none.
    best : int
        The least of them.
    chosen : int
        What the search took, which also looks at what the row's other groups leave.
    counts : int32 array (k,)
        How many groups of the matrix took each.
    """

    tried: FloatArray
    loss: FloatArray
    best: int
    chosen: int
    counts: IntArray

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: the error of one group, and how many groups took each part."""
        figure = _charts.chart(
            _charts.axis("part of the largest weight that is kept"),
            _charts.axis("output error, 1 is unclipped"),
            yaxis2={"overlaying": "y", "side": "right", "title": "groups", "showgrid": False},
        )
        names = [f"{part:.2f}" for part in self.tried]
        _charts.bars(figure, names, self.counts, "groups that took it", "line", yaxis="y2")
        figure.add_scatter(x=names, y=_charts.plain(self.loss), mode="lines+markers", name="this group")
        return figure


@dataclass(frozen=True, eq=False)
class ErrorBars:
    """Output errors of several methods as bars, in units of the first.

    Attributes
    ----------
    names, notes : tuple of str
        What each bar is called, and what to write beside it.
    heldout, calibration : float64 arrays (n,)
        On tokens that no method saw, and on those that all saw.
    best : int
        Least error on the held-out tokens.
    marked : tuple of int
        Bars that are not to be compared as equals: they spend more bits.
    """

    names: tuple[str, ...]
    notes: tuple[str, ...]
    heldout: npt.NDArray[np.float64]
    calibration: npt.NDArray[np.float64]
    best: int
    marked: tuple[int, ...] = ()

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: a pair of bars a method."""
        figure = _charts.chart(_charts.axis(""), _charts.axis("output error, 1 is the first"), barmode="group")
        _charts.bars(figure, self.names, self.heldout, "held-out tokens", "weight", customdata=list(self.notes))
        _charts.bars(figure, self.names, self.calibration, "calibration tokens", "level")
        return figure


def channel_tracks(
    act_scale: npt.ArrayLike,
    step: npt.ArrayLike,
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    *,
    group_size: int = 0,
    part: float = 0.01,
    channel: int = 0,
    by_size: bool = True,
) -> ChannelTracks:
    """Channels from the largest to the smallest, or as they stand in the matrix.

    Parameters
    ----------
    act_scale : array_like (n,)
        Mean |x| of each channel.
    step, before, after : array_like (n,)
        See `ChannelTracks`; in the order of the matrix.
    group_size : int
        For the edges of groups.
    part : float
        How many of the channels count as salient, 0 … 1; at least one.
    channel : int
        The channel on show.
    by_size : bool

    Returns
    -------
    ChannelTracks

    Raises
    ------
    WidgetError
        Arrays of different lengths, or no such channel.

    Examples
    --------
    >>> tracks = channel_tracks([1.0, 9.0, 4.0], [1, 0.5, 0.7], [1, 8, 2], [1, 2, 1], channel=1)
    >>> tracks.order.tolist(), tracks.size.tolist(), tracks.salient.tolist(), tracks.current
    ([1, 2, 0], [9.0, 4.0, 1.0], [0], 0)
    """
    arrays = [real_array(a, "a track", WidgetError) for a in (act_scale, step, before, after)]
    part = finite_number(part, "part", WidgetError, least=0, most=1)
    n = arrays[0].size
    if n == 0 or any(a.shape != (n,) for a in arrays):
        raise WidgetError(f"one value for each channel is needed, got shapes {', '.join(str(a.shape) for a in arrays)}")
    if channel not in range(n):
        raise WidgetError(f"no channel {channel}; there are {n}, from 0")
    by_rank = np.argsort(-arrays[0], kind="stable").astype(np.int32)
    order = by_rank if by_size else np.arange(n, dtype=np.int32)
    place = np.empty(n, np.int32)
    place[order] = np.arange(n)
    size, ratio, old, new = (a[order] for a in arrays)
    salient = np.sort(place[by_rank[: max(1, round(part * n))]])
    edges = (
        np.arange(group_size, n, group_size, dtype=np.int32) if group_size > 0 and not by_size else np.empty(0, "i4")
    )
    return ChannelTracks(order, size, ratio, old, new, salient, edges, int(place[channel]), by_size)


def alpha_curve(
    alphas: npt.ArrayLike, calibration: npt.ArrayLike, heldout: npt.ArrayLike, *, alpha: float
) -> AlphaCurve:
    """Errors over alpha; the first alpha must be 0, which is plain rounding.

    Parameters
    ----------
    alphas, calibration, heldout : array_like (k,)
        Output errors in any unit, e.g. shares of the output.
    alpha : float
        The one on show: the nearest of `alphas` is.

    Returns
    -------
    AlphaCurve

    Raises
    ------
    WidgetError
        Arrays of different lengths, or a first alpha that is not 0.

    Examples
    --------
    >>> curve = alpha_curve([0, 0.5], [0.04, 0.01], [0.04, 0.02], alpha=0.4)
    >>> curve.calibration.tolist(), curve.heldout.tolist(), curve.best, curve.current
    ([1.0, 0.25], [1.0, 0.5], 1, 1)
    """
    xs, seen, unseen = (finite_array(a, "an error", WidgetError, _DOUBLE) for a in (alphas, calibration, heldout))
    alpha = finite_number(alpha, "alpha", WidgetError)
    if xs.ndim != 1 or not xs.size or not xs.shape == seen.shape == unseen.shape or xs[0] != 0:
        raise WidgetError(f"alphas from 0 on, and two errors for each, are needed; got {shortened(xs)}")
    # where plain rounding makes no error there is nothing to compare with
    seen, unseen = (a / a[0] if a[0] > 0 else np.ones_like(a) for a in (seen, unseen))
    return AlphaCurve(xs, seen, unseen, int(seen.argmin()), int(np.abs(xs - alpha).argmin()))


def clip_curve(
    tried: npt.ArrayLike, loss: npt.ArrayLike, keep: npt.ArrayLike, *, row: int = 0, group: int = 0
) -> ClipCurve:
    """The clip search as `qviz.awq` traced it: ``clip_tried``, ``clip_loss`` and ``clip_keep``.

    Parameters
    ----------
    tried : array_like (k,)
    loss : array_like (k, n_out, n_groups)
    keep : array_like (n_out, n_groups)
    row, group : int
        Which group to show.

    Returns
    -------
    ClipCurve

    Raises
    ------
    WidgetError
        No such group, or arrays that do not fit together.

    Examples
    --------
    >>> curve = clip_curve([1.0, 0.5], [[[4.0]], [[1.0]]], [[0.5]])
    >>> curve.loss.tolist(), curve.best, curve.chosen, curve.counts.tolist()
    ([1.0, 0.25], 1, 1, [0, 1])
    """
    parts, kept = (finite_array(a, "a part", WidgetError) for a in (tried, keep))
    losses = finite_array(loss, "loss", WidgetError, _DOUBLE)
    if parts.ndim != 1 or losses.shape != (parts.size, *kept.shape) or kept.ndim != 2:
        raise WidgetError(f"a loss for each part, row and group is needed, got {losses.shape} and {kept.shape}")
    if row not in range(kept.shape[0]) or group not in range(kept.shape[1]):
        raise WidgetError(f"no group {group} in row {row}; there are {kept.shape[0]} rows of {kept.shape[1]} groups")
    nearest = np.abs(kept.reshape(-1, 1) - parts).argmin(axis=1)
    one = losses[:, row, group]
    relative = one / one[0] if one[0] > 0 else np.ones_like(one)
    chosen = int(nearest.reshape(kept.shape)[row, group])
    counts = np.bincount(nearest, minlength=parts.size).astype(np.int32)
    return ClipCurve(parts, relative.astype(np.float32), int(relative.argmin()), chosen, counts)


def error_bars(
    names: Sequence[str],
    heldout: npt.ArrayLike,
    calibration: npt.ArrayLike,
    *,
    notes: Sequence[str] | None = None,
    marked: Sequence[int] = (),
) -> ErrorBars:
    """Output errors of methods, the first being the unit.

    Parameters
    ----------
    names : sequence of str
    heldout, calibration : array_like (n,)
        Output errors, e.g. from `qviz.metrics.output_error`.
    notes : sequence of str, optional
    marked : sequence of int
        Bars that spend more bits than the others.

    Returns
    -------
    ErrorBars

    Raises
    ------
    WidgetError
        No bars, or arrays of different lengths.

    Examples
    --------
    >>> bars = error_bars(["rtn", "awq"], [0.04, 0.01], [0.08, 0.01])
    >>> bars.heldout.tolist(), bars.calibration.tolist(), bars.best
    ([1.0, 0.25], [1.0, 0.125], 1)
    """
    unseen, seen = (finite_array(a, "an error", WidgetError, _DOUBLE) for a in (heldout, calibration))
    texts = tuple(notes) if notes is not None else ("",) * len(names)
    if not names or {unseen.shape, seen.shape, (len(texts),)} != {(len(names),)}:
        raise WidgetError(f"{len(names)} names, {unseen.size} and {seen.size} errors, {len(texts)} notes do not match")
    unit = tuple(float(a[0]) if a[0] > 0 else 1.0 for a in (unseen, seen))
    return ErrorBars(
        tuple(names), texts, unseen / unit[0], seen / unit[1], int(unseen.argmin()), tuple(int(i) for i in marked)
    )


def result_table(
    weight: npt.ArrayLike, heldout: npt.ArrayLike, results: Mapping[str, MethodResult], digits: int = 0
) -> TextTable:
    """What methods make of one layer: bits per weight, and the error of the output.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
        As it was before rounding.
    heldout : array_like (n_tokens, n_in)
        Inputs that no method saw.
    results : mapping of str to MethodResult
        The first one is what the others are compared with.
    digits : int
        Decimals of the percentages.

    Returns
    -------
    TextTable
        The error is ‖X·(W − Ŵ)ᵀ‖² / ‖X·Wᵀ‖².

    Raises
    ------
    WidgetError
        No results, or arrays that do not fit together.

    Examples
    --------
    >>> from qviz.grids import AffineGrid
    >>> from qviz.methods import rtn
    >>> w, x = [[-1.0, 0.2, 0.5, 2.0]], np.eye(4)
    >>> result_table(w, x, {f"{bits} bits": rtn(w, None, AffineGrid(bits, -1)) for bits in (2, 4)})
    method  bits per weight  of the output lost  of 2 bits
    2 bits              6.5  5%                  100%
    4 bits                9  0%                  3%
    """
    w, x = (finite_array(a, what, WidgetError, _DOUBLE) for a, what in ((weight, "weight"), (heldout, "heldout")))
    digits = whole_number(digits, "digits", WidgetError, least=0, most=15)
    if not results or w.ndim != 2 or x.ndim != 2 or x.shape[1] != w.shape[1]:
        raise WidgetError(
            f"a weight (n_out, n_in), inputs (tokens, n_in) and results are needed; got {w.shape}, {x.shape}"
        )
    if wrong := [name for name, result in results.items() if result.weight.shape != w.shape]:
        raise WidgetError(f"{wrong[0]} is of another layer: {results[wrong[0]].weight.shape}, expected {w.shape}")
    whole = float(np.square(x @ w.T).sum()) or 1.0
    lost = {name: float(np.square(x @ (result.weight - w).T).sum()) / whole for name, result in results.items()}
    first = next(iter(results))
    rows = []
    for name, part in lost.items():
        share = part / lost[first] if lost[first] else 1.0
        rows.append((name, round(results[name].bpw, 2), f"{part:.{digits}%}", f"{share:.{digits}%}"))
    return table(("method", "bits per weight", "of the output lost", f"of {first}"), rows)
