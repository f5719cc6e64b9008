"""Learned rounding: whether each weight goes up or down is found by descent on the error of the layer's output.

Rounding to nearest is best for each weight alone. For the output ‖X·Eᵀ‖² = n/2 · tr(E·H·Eᵀ), with E the errors of the
weights and H = 2/n · XᵀX, errors of one row may cancel, so the other neighbour is often better. Both methods here make
the choice soft, and follow the gradient 2·E·H:

- **AdaRound** (Nagel et al. 2020, arXiv:2004.10568) keeps the code below each weight and learns how much to add to it,
  a number 0 … 1. A penalty that grows sharper as it goes drives each to one of its ends.
- **AutoRound** (Cheng et al. 2023, arXiv:2309.05516) adds −½ … ½ of a step to each weight before it is rounded, and
  shrinks the two ends of each group's range by factors 0 … 1. Gradients pass the rounding by the straight-through
  estimator, and only their signs count. What had the least error on the way is kept.

Three differences from the papers. Both tune on batches of tokens drawn at random; here all tokens count in each step,
through H, so nothing is drawn. AutoRound tunes all matrices of a transformer layer at once, by the output of that
layer; here each matrix is tuned by its own output, as GPTQ and AWQ do, so that the methods can be compared. And rows
do not depend on each other, so the error is counted for each row in its own unit, and each keeps its own best codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arguments import reporter
from qviz._arrays import finite_number, flag, whole_number
from qviz._machine.blas import on_one_thread
from qviz._machine.kernels import f32, i32, kernel
from qviz._types import DoubleArray, FloatArray, Progress
from qviz.calibration import ActivationStats
from qviz.errors import MethodError
from qviz.grids import AffineGrid
from qviz.grids.affine import steps_from_zero
from qviz.methods._inputs import checked, groups_of
from qviz.methods.gptq import search_params
from qviz.methods.result import MethodResult
from qviz.methods.straight_through import adam

_ROWS = 256  # that are tuned together: enough for a good matrix product, few enough for any memory
_LOW, _HIGH = np.float32(-0.1), np.float32(1.1)  # how far AdaRound's sigmoid is stretched: γ and ζ of the paper
_WARM = 0.2  # of AdaRound's steps are done before the penalty begins
_SHARP = 20.0, 2.0  # the penalty's exponent, from first to last


@on_one_thread
def adaround(
    weight: npt.ArrayLike,
    stats: ActivationStats,
    grid: AffineGrid,
    *,
    steps: int = 500,
    rate: float = 0.1,
    penalty: float = 1.0,
    trace: bool = False,
    progress: Progress | None = None,
) -> MethodResult:
    """Learn for each weight whether it is rounded up or down (AdaRound).

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats
        What is known of the layer's inputs.
    grid : AffineGrid
        It has 2 to 8 bits. Ranges are shrunk to the least Σ error² first, as in the paper, and then stay.
    steps : int
        Steps of the descent.
    rate : float
        How far a step moves what is learned, at most about.
    penalty : float
        What the penalty weighs beside the error. The error of a row is counted in parts of the mean of scale² · Hⱼⱼ.
    trace : bool
        Keep `loss` (relative output error of the soft weights at each step), and `undecided` (the share of weights
        between 0.1 and 0.9).
    progress : callable ``(what, done, total)``, optional
        Called before each step; whatever it raises ends the work.

    Returns
    -------
    MethodResult
        A row whose learned codes are no better than rounding to nearest is rounded to nearest.

    Raises
    ------
    MethodError
        Arrays that do not fit together, weights that are not finite, or options out of range.

    Examples
    --------
    Two inputs that always agree. 0.4 and 0.4 are both nearest to 0; one of them had better become 1.

    >>> stats = ActivationStats.from_inputs([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> grid = AffineGrid(bits=2, group_size=-1)
    >>> sorted(adaround([[0.4, 0.41, 3.0]], stats, grid).codes[0, :2].tolist())
    [0, 1]
    """
    w, H = _ready(weight, stats, grid)
    steps = whole_number(steps, "steps", MethodError, least=1, most=1_000_000)
    rate = finite_number(rate, "rate", MethodError, above=0)
    penalty = finite_number(penalty, "penalty", MethodError, least=0)
    scales, zeros = search_params(w, grid, np.ones(w.shape[1], np.float32), 2)
    width = _width(grid, w.shape[1])

    def tune(rows: slice, report: Callable[[int], None], record: _Record) -> npt.NDArray[np.int32]:
        part, params = w[rows], (scales[rows], zeros[rows]) if grid.group_size else (scales, zeros)
        wide, zero = (np.broadcast_to(_spread(p, width, part.shape), part.shape) for p in params)
        below = np.floor(part / wide)
        lowest, highest = (np.float32(limit) - zero.astype(np.float32) for limit in (grid.qmin, grid.qmax))
        unit = _unit(wide, H)
        start = np.clip((part / wide - below), 0.001, 0.999)
        v = np.ascontiguousarray(-np.log((_HIGH - _LOW) / (start - _LOW) - 1).astype(np.float32))
        error, soft, pull = np.empty_like(v), np.empty_like(v), np.empty_like(v)
        mean, square = np.zeros_like(v), np.zeros_like(v)
        for step in range(steps):
            report(step)
            _soft(part, wide, below, lowest, highest, v, soft, error)
            np.matmul(error, H, out=pull)
            if trace:
                record.add(step, float(np.einsum("ij,ij->", error, pull)), float(np.sum((soft > 0.1) & (soft < 0.9))))
            late = (step / steps - _WARM) / (1 - _WARM)
            sharp = _SHARP[1] + (_SHARP[0] - _SHARP[1]) * (1 + np.cos(np.pi * min(max(late, 0), 1))) / 2
            weight_of = np.float32(penalty if late >= 0 else 0)
            _soft_back(wide, below, lowest, highest, soft, unit, weight_of, np.float32(sharp), pull)
            adam(v.reshape(-1), pull.reshape(-1), mean.reshape(-1), square.reshape(-1), step + 1, np.float32(rate))
        _soft(part, wide, below, lowest, highest, v, soft, error)
        learned, nearest = below + (soft >= 0.5), np.rint(part / wide)
        learned, nearest = (np.clip(q, lowest, highest) for q in (learned, nearest))
        losses = [_squares(wide * q - part, H) for q in (learned, nearest)]
        better = (losses[0] < losses[1])[:, None]
        codes: npt.NDArray[np.int32] = (np.where(better, learned, nearest) + zero).astype(np.int32)
        return codes

    codes, record = _in_parts("adaround", w, H, steps, tune, progress, trace)
    return _result(w, codes, scales, zeros, grid, stats, record)


@on_one_thread
def autoround(
    weight: npt.ArrayLike,
    stats: ActivationStats,
    grid: AffineGrid,
    *,
    steps: int = 200,
    rate: float | None = None,
    ranges: bool = True,
    trace: bool = False,
    progress: Progress | None = None,
) -> MethodResult:
    """Learn what to add to each weight before it is rounded, and how far to shrink each range (AutoRound).

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats
        What is known of the layer's inputs.
    grid : AffineGrid
        It has 2 to 8 bits, in rows or groups.
    steps : int
        Steps of the descent.
    rate : float, optional
        How far the first step moves everything, in steps of the grid and parts of a range; it falls evenly to 0.
        1 / steps unless given.
    ranges : bool
        Learn the ends of each range, too.
    trace : bool
        Keep `loss` (relative output error of the rounded weights at each step).
    progress : callable ``(what, done, total)``, optional
        Called before each step; whatever it raises ends the work.

    Returns
    -------
    MethodResult
        Each row as it was when its error was least. The first try is rounding to nearest, so none is worse than that.

    Raises
    ------
    MethodError
        Arrays that do not fit together, weights that are not finite, or options out of range.

    Examples
    --------
    Two inputs that always agree. 0.4 and 0.41 are both nearest to 0; one of them had better become 1.

    >>> stats = ActivationStats.from_inputs([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> grid = AffineGrid(bits=2, group_size=-1)
    >>> autoround([[0.4, 0.41, 3.0]], stats, grid, ranges=False).codes[0, :2].tolist()
    [0, 1]
    """
    w, H = _ready(weight, stats, grid)
    if grid.group_size == 0:
        raise MethodError("autoround learns the ranges of rows or groups; use group_size −1 or more")
    steps = whole_number(steps, "steps", MethodError, least=1, most=1_000_000)
    speed = 1 / steps if rate is None else finite_number(rate, "rate", MethodError, above=0)
    ranges = flag(ranges, "ranges", MethodError)
    width = _width(grid, w.shape[1])
    shape = grid.params_shape(w.shape)
    scales, zeros = np.empty(shape, np.float32), np.empty(shape, np.int32)

    def tune(rows: slice, report: Callable[[int], None], record: _Record) -> npt.NDArray[np.int32]:
        part = w[rows]
        v, keep = np.zeros_like(part), np.ones((2, len(part), shape[1]), np.float32)
        error, pull, codes = np.empty_like(part), np.empty_like(part), np.empty(part.shape, np.int32)
        scale, zero = np.empty((len(part), shape[1]), np.float32), np.empty((len(part), shape[1]), np.int32)
        best, chosen = np.full(len(part), np.inf), np.empty(part.shape, np.int32)
        for step in range(steps + 1):
            report(min(step, steps - 1))
            _shifted(part, v, keep, width, grid.qmin, grid.qmax, grid.sym, scale, zero, codes, error)
            np.matmul(error, H, out=pull)
            loss = np.einsum("ij,ij->i", pull, error, dtype=np.float64)
            if trace and step < steps:
                record.add(step, float(loss.sum()), 0.0)
            better = loss < best
            best[better], chosen[better] = loss[better], codes[better]
            scales[rows][better], zeros[rows][better] = scale[better], zero[better]
            now = np.float32(speed * (1 - step / steps))
            _signed(part, v, keep, width, grid.qmin, grid.qmax, grid.sym, scale, zero, pull, now, ranges)
        return chosen

    codes, record = _in_parts("autoround", w, H, steps, tune, progress, trace)
    record.pop("undecided", None)
    return _result(w, codes, scales, zeros, grid, stats, record)


class _Record:
    """What each step saw, summed over rows."""

    def __init__(self, steps: int) -> None:
        self.loss, self.undecided = np.zeros(steps), np.zeros(steps)

    def add(self, step: int, loss: float, undecided: float) -> None:
        self.loss[step] += loss
        self.undecided[step] += undecided


def _ready(weight: npt.ArrayLike, stats: ActivationStats, grid: AffineGrid) -> tuple[FloatArray, FloatArray]:
    """The checked weight, and H."""
    w = checked(weight, stats, grid)
    if not 2 <= grid.bits <= 8:
        raise MethodError(f"learned rounding takes 2 … 8 bits here, got {grid.bits}")
    H = stats.hessian
    if not np.isfinite(H).all():
        raise MethodError("the Hessian overflows float32; scale the inputs down, or look for outliers in them")
    return w, H


def _in_parts(
    name: str,
    w: FloatArray,
    H: FloatArray,
    steps: int,
    tune: Callable[[slice, Callable[[int], None], _Record], npt.NDArray[np.int32]],
    progress: Progress | None,
    trace: bool,
) -> tuple[npt.NDArray[np.int32], dict[str, DoubleArray]]:
    """Tune a few rows after the others; their codes, and what was recorded."""
    trace = flag(trace, "trace", MethodError)
    say, record, codes = reporter(progress, MethodError), _Record(steps), np.empty(w.shape, np.int32)
    parts = [slice(first, first + _ROWS) for first in range(0, len(w), _ROWS)]
    for k, rows in enumerate(parts):

        def report(step: int, k: int = k) -> None:
            say(name, k * steps + step, len(parts) * steps)

        codes[rows] = tune(rows, report, record)
    say(name, len(parts) * steps, len(parts) * steps)
    if not trace:
        return codes, {}
    whole = max(float(_squares(w, H).sum()), np.finfo(np.float64).tiny)
    return codes, {"loss": record.loss / whole, "undecided": record.undecided / w.size}


def _result(
    w: FloatArray,
    codes: npt.NDArray[np.int32],
    scales: FloatArray,
    zeros: npt.NDArray[np.int32],
    grid: AffineGrid,
    stats: ActivationStats,
    record: dict[str, Any],
) -> MethodResult:
    group = groups_of(grid, w.shape[1])
    weight = scales[:, group] * (codes - zeros[:, group]).astype(np.float32)
    if not np.isfinite(weight).all():
        raise MethodError("rounded weights overflow float32; scale the weights down first")
    notes: tuple[str, ...] = ()
    if stats.n_tokens < stats.n_in:
        notes = (
            f"{stats.n_tokens} tokens for {stats.n_in} input columns: the rounding fits these tokens and may be worse "
            "than rtn on others; collect more",
        )
    kept = codes.astype(grid.code_dtype)
    return MethodResult(weight, kept, scales, zeros, group, grid.bpw(w.shape), notes=notes, trace=record)


def _width(grid: AffineGrid, n_in: int) -> int:
    return min(grid.group_size, n_in) if grid.group_size > 0 else n_in


def _spread(params: npt.NDArray[Any], width: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """One number for each weight instead of one for each group."""
    return np.repeat(params, width, axis=1)[:, : shape[1]] if params.shape[1] > 1 else params


def _squares(off: FloatArray, H: FloatArray) -> DoubleArray:
    """d·H·dᵀ of each row d."""
    squares: DoubleArray = np.einsum("ij,ij->i", off @ H, off, dtype=np.float64)
    return squares


def _unit(wide: FloatArray, H: FloatArray) -> FloatArray:
    """In what the error of each row is counted: the mean of scale² · Hⱼⱼ, (rows,)."""
    unit = np.mean(np.square(wide, dtype=np.float64) * np.diagonal(H), axis=1)
    least = np.float64(np.finfo(np.float32).tiny)
    units: FloatArray = np.maximum(unit, least).astype(np.float32)
    return units


@kernel
def _soft(w, scale, below, lowest, highest, v, soft, error):
    """AdaRound's soft codes: what each adds to the code below it, and the errors of the weights."""
    for r in range(w.shape[0]):
        for j in range(w.shape[1]):
            sigmoid = f32(f32(1) / f32(f32(1) + np.exp(-v[r, j])))
            h = min(max(f32(f32(sigmoid * f32(_HIGH - _LOW)) + _LOW), f32(0)), f32(1))
            soft[r, j] = h
            q = min(max(f32(below[r, j] + h), lowest[r, j]), highest[r, j])
            error[r, j] = f32(f32(scale[r, j] * q) - w[r, j])


@kernel
def _soft_back(scale, below, lowest, highest, soft, unit, penalty, sharp, pull):
    """Turn E·H, in `pull`, into the gradient of what AdaRound learns, that of the penalty added."""
    for r in range(soft.shape[0]):
        for j in range(soft.shape[1]):
            h = soft[r, j]
            if h <= f32(0) or h >= f32(1):  # the sigmoid's ends are flat
                pull[r, j] = f32(0)
                continue
            q = f32(below[r, j] + h)
            g = f32(0)
            if q >= lowest[r, j] and q <= highest[r, j]:
                g = f32(f32(f32(2) * pull[r, j]) * f32(scale[r, j] / unit[r]))
            away = f32(f32(f32(2) * h) - f32(1))
            size = abs(away)
            if penalty > f32(0) and size > f32(0):
                # of 1 − |away|^sharp, downwards
                slope = f32(f32(f32(2) * sharp) * np.exp(f32(f32(sharp - f32(1)) * np.log(size))))
                g += f32(-f32(penalty * slope)) if away > f32(0) else f32(penalty * slope)
            sigmoid = f32(f32(h - _LOW) / f32(_HIGH - _LOW))
            pull[r, j] = f32(g * f32(f32(sigmoid * f32(f32(1) - sigmoid)) * f32(_HIGH - _LOW)))


@kernel
def _ends(row, first, last, keep_high, keep_low, sym):
    """The ends of a group's range, shrunk."""
    high, low = f32(0), f32(0)
    for j in range(first, last):
        high, low = max(high, row[j]), min(low, row[j])
    if low == high:
        high, low = f32(1), f32(-1)
    if sym:
        high = max(high, f32(-low))
        low = f32(-high)
        return f32(low * keep_high), f32(high * keep_high), low, high
    return f32(low * keep_low), f32(high * keep_high), low, high


@kernel
def _shifted(w, v, keep, width, qmin, qmax, sym, scales, zeros, codes, error):
    """AutoRound's codes for what it has learned so far: weights plus v steps, on ranges of which `keep` is left."""
    for r in range(w.shape[0]):
        for k in range(scales.shape[1]):
            first, last = k * width, min((k + 1) * width, w.shape[1])
            low, high, _, _ = _ends(w[r], first, last, keep[0, r, k], keep[1, r, k], sym)
            scale = max(f32(f32(high - low) / f32(qmax - qmin)), f32(1.1754944e-38))
            zero = i32(0) if sym else i32(min(max(np.rint(f32(-low / scale)), f32(qmin)), f32(qmax)))
            scales[r, k], zeros[r, k] = scale, zero
            lowest, highest = f32(i32(qmin - zero)), f32(i32(qmax - zero))
            for j in range(first, last):
                q = steps_from_zero(f32(w[r, j] + f32(v[r, j] * scale)), scale, lowest, highest)
                codes[r, j] = i32(i32(q) + zero)
                error[r, j] = f32(f32(scale * q) - w[r, j])


@kernel
def _signed(w, v, keep, width, qmin, qmax, sym, scales, zeros, pull, rate, ranges):
    """One step against the signs of the gradients, with E·H in `pull`; the rounding counts as a straight line."""
    for r in range(w.shape[0]):
        for k in range(scales.shape[1]):
            first, last = k * width, min((k + 1) * width, w.shape[1])
            low, _, least, most = _ends(w[r], first, last, keep[0, r, k], keep[1, r, k], sym)
            scale, zero = scales[r, k], zeros[r, k]
            lowest, highest = f32(i32(qmin - zero)), f32(i32(qmax - zero))
            by_scale, by_low = f32(0), f32(0)
            for j in range(first, last):
                g, steps = pull[r, j], f32(w[r, j] / scale)
                wanted = np.rint(f32(steps + v[r, j]))
                if wanted < lowest or wanted > highest:
                    # the level is scale · (end − zero point), and the zero point is −low / scale
                    q = lowest if wanted < lowest else highest
                    by_scale += f32(g * (q if sym else f32(q - f32(low / scale))))
                    by_low += g
                    continue
                by_scale += f32(g * f32(wanted - steps))
                if g > f32(0):
                    v[r, j] = max(f32(v[r, j] - rate), f32(-0.5))
                elif g < f32(0):
                    v[r, j] = min(f32(v[r, j] + rate), f32(0.5))
            if not ranges:
                continue
            up = f32(by_scale / f32(qmax - qmin))
            by_high = f32(most * f32(f32(2) * up)) if sym else f32(most * up)
            by_least = f32(0) if sym else f32(least * f32(by_low - up))
            for end, g in ((0, by_high), (1, by_least)):
                if g > f32(0):
                    keep[end, r, k] = max(f32(keep[end, r, k] - rate), f32(0.01))
                elif g < f32(0):
                    keep[end, r, k] = min(f32(keep[end, r, k] + rate), f32(1))
