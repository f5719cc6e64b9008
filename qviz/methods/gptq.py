"""GPTQ: round column by column, and let the columns still to come make up for each error.

With the Hessian H = 2/n · XᵀX of the output error and U the upper Cholesky factor of H⁻¹ = UᵀU, column i is rounded to
q, its error e = (w − q) / Uᵢᵢ, and every later column j moves by −e · Uᵢⱼ. Row i of U is what explicit elimination of
the columns before i from H⁻¹ would give (OBQ), so nothing needs to be inverted again. The loss of a row is Σ e² / 2.

Frantar et al. 2022, arXiv:2210.17323; options as in IST-DASLab/gptq (``gptq.py``, ``quant.py``). Two differences: a
symmetric range always starts at −max|x|, and U comes from one factorization. With J the reversal of the columns,
J·H·J = L·Lᵀ gives H = R·Rᵀ with R = J·L·J upper triangular, hence U = R⁻¹.

As there, the grid of a group is chosen from the weights as they stood when the current batch of columns began, not
after the updates inside it; so with groups smaller than `column_batch` the batch matters a little, and with
group_size −1 not at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import flag, whole_number
from qviz._machine.blas import of_scipy, on_one_thread
from qviz._machine.kernels import f32, i32, kernel
from qviz._types import FloatArray, IntArray
from qviz.calibration import ActivationStats
from qviz.errors import MethodError, shortened
from qviz.grids import AffineGrid
from qviz.grids.affine import group_params, steps_from_zero
from qviz.methods._inputs import checked, groups_of
from qviz.methods.result import MethodResult

_DAMP_STEPS = 10  # each ten times the one before


@on_one_thread
def gptq(
    weight: npt.ArrayLike,
    stats: ActivationStats,
    grid: AffineGrid,
    *,
    act_order: bool = False,
    static_groups: bool = False,
    damp_percent: float = 0.01,
    mse: bool = False,
    weighted: bool = False,
    column_batch: int = 128,
    trace: bool = False,
) -> MethodResult:
    """Round a weight matrix so that its outputs change least.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats
        What is known of the layer's inputs. With fewer tokens than columns H is singular: damping helps, but the result
        fits the calibration tokens and may be worse than `rtn` on others.
    grid : AffineGrid
        It has 2 to 8 bits, any group size, and is symmetric or not.
    act_order : bool
        Columns with the largest diagonal of H first; groups then are of columns in that order (`g_idx`).
    static_groups : bool
        Choose all grids before the first update, groups being consecutive columns even with `act_order`.
    damp_percent : float
        Added to the diagonal of H, in parts of its mean. If the factorization fails, ten times as much, and so on.
    mse : bool
        Shrink each range by 0 … 79 % to the least Σ|error|^2.4.
    weighted : bool
        Shrink to the least Σ(error / Uᵢᵢ)² instead: every column counts as much as it does in the loss.
    column_batch : int
        Columns whose updates of the columns after them are gathered into one matrix product.
    trace : bool
        Keep `hessian` (as factorized: permuted, damped), `order`, `factor` (U), `adjusted` (each weight when its turn
        came), `errors` (e), in processing order, and `column_loss` (Σ over rows of e²/2).

    Returns
    -------
    MethodResult
        A column that no token used becomes zero (`dead`); `damp_percent` is what was needed; `notes` say so, and
        whether there were fewer tokens than columns.

    Raises
    ------
    MethodError
        Arrays that do not fit together, weights that are not finite, options out of range, or an H that no damping
        makes positive definite.

    Examples
    --------
    Two inputs that mostly agree: the second weight makes up for the first one's error.

    >>> from qviz.calibration import ActivationStats
    >>> stats = ActivationStats.from_inputs([[1.0, 1.0], [1.0, 0.5]])
    >>> grid = AffineGrid(bits=2, group_size=-1)
    >>> gptq([[1.4, 1.6], [0.0, 3.0]], stats, grid).codes.shape
    (2, 2)
    """
    w = checked(weight, stats, grid)
    if not 2 <= grid.bits <= 8:
        raise MethodError(f"GPTQ rounds to 2 … 8 bits here, got {grid.bits}")
    batch = whole_number(column_batch, "column_batch", MethodError, least=1)
    flags = {"act_order": act_order, "static_groups": static_groups, "mse": mse, "weighted": weighted, "trace": trace}
    act_order, static_groups, mse, weighted, trace = (flag(given, what, MethodError) for what, given in flags.items())
    asked = checked_damping(damp_percent)
    n_out, n_in = w.shape
    w, H, dead = without_dead(w, stats)
    consecutive = groups_of(grid, n_in)
    groups = int(consecutive[-1]) + 1
    order = np.argsort(-np.diagonal(H), kind="stable") if act_order else np.arange(n_in)
    if act_order:
        H = np.ascontiguousarray(H[np.ix_(order, order)])
    U, damp = factor(H, asked)
    record: dict[str, Any] = {"hessian": H} if trace else {}
    del H  # as large as U
    importance = np.empty(n_in, np.float32)
    importance[order] = np.diagonal(U) ** np.float32(-2)
    find = functools.partial(search_params, power=2 if weighted else 2.4) if mse or weighted else search_params
    everywhere = importance if weighted else np.ones_like(importance)
    fixed: tuple[FloatArray, IntArray] | None = None
    if static_groups or grid.group_size <= 0 or groups == 1:
        fixed = find(w, grid, everywhere)
    group = consecutive[order] if fixed is not None else consecutive

    W, everywhere = np.ascontiguousarray(w[:, order]), everywhere[order]
    scales, zeros = (np.empty((n_out, groups), np.float32), np.empty((n_out, groups), np.int32))
    if fixed is not None:
        scales[:], zeros[:] = fixed
    kept = {"errors": np.empty_like(W), "adjusted": np.empty_like(W)} if trace else {}
    choose = functools.partial(find, grid=AffineGrid(grid.bits, -1, grid.sym)) if fixed is None else None
    codes, rounded = _in_batches(W, U, group, (scales, zeros), grid, batch, choose, everywhere, kept)
    if trace:
        loss = np.square(kept["errors"], dtype=np.float64).sum(axis=0) / 2
        record |= {"order": order, "factor": U, "column_loss": loss, **kept}
    g_idx = np.empty(n_in, np.int32)
    g_idx[order] = group
    if act_order:
        back = np.argsort(order)
        codes, rounded = np.ascontiguousarray(codes[:, back]), np.ascontiguousarray(rounded[:, back])
    if grid.group_size == 0:
        scales, zeros = scales[:1], zeros[:1]
    stored_order = 32 / n_out if not np.array_equal(g_idx, consecutive) else 0.0
    bpw = grid.bpw((n_out, n_in)) + stored_order
    result = MethodResult(rounded, codes, scales, zeros, g_idx, bpw, damp_percent=damp, dead=dead, trace=record)
    return replace(result, notes=_notes(stats, asked, damp, dead))


def _in_batches(
    W: FloatArray,
    U: FloatArray,
    group: IntArray,
    params: tuple[FloatArray, IntArray],
    grid: AffineGrid,
    batch: int,
    choose: Callable[..., tuple[FloatArray, IntArray]] | None,
    importance: FloatArray,
    kept: dict[str, FloatArray],
) -> tuple[npt.NDArray[Any], FloatArray]:
    """Round `W` a batch of columns at a time, each moving those after it; codes, and what they stand for.

    `choose` finds the grid of a group, for `params`, when its first column's turn comes; None: all are there.
    """
    scales, zeros = params
    codes, rounded = np.empty(W.shape, grid.code_dtype), np.empty_like(W)
    n_in, size = W.shape[1], grid.group_size
    for first in range(0, n_in, batch):
        last = min(first + batch, n_in)
        if choose is not None:
            for start in range(-(-first // size) * size, last, size):
                g, part = start // size, slice(start, start + size)
                scales[:, g : g + 1], zeros[:, g : g + 1] = choose(W[:, part], importance=importance[part])
        now = np.ascontiguousarray(W[:, first:last])
        square = np.ascontiguousarray(U[first:last, first:last])
        errors = np.empty_like(now)
        cells = (codes[:, first:last], rounded[:, first:last])
        _columns(now, square, group[first:last], scales, zeros, grid.qmin, grid.qmax, errors, *cells)
        if last < n_in:
            W[:, last:] -= errors @ np.ascontiguousarray(U[first:last, last:])
        if kept:
            kept["errors"][:, first:last], kept["adjusted"][:, first:last] = errors, now
    if not np.isfinite(W).all():
        raise MethodError("the updates overflow: H is too ill-conditioned; use a larger damp_percent")
    return codes, rounded


def _notes(stats: ActivationStats, asked: float, damp: float, dead: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    notes = []
    if stats.n_tokens < stats.n_in:
        notes.append(
            f"{stats.n_tokens} tokens for {stats.n_in} input columns: the rounding fits these tokens and may be worse "
            "than rtn on others; collect more, or damp more (recommended() does)"
        )
    if damp > asked:
        notes.append(f"damp_percent was raised from {asked:g} to {damp:g}: the Hessian was not positive definite")
    if dead.any():
        notes.append(f"{int(dead.sum())} input columns that no token used became zero")
    return tuple(notes)


def checked_damping(value: Any) -> float:
    """`value` as a float 0 … 10, or a `MethodError`."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if real and 0 <= value <= 10:
        return float(value)
    raise MethodError(f"damp_percent must be a number 0 … 10 (0.01 is one percent), got {shortened(value)}")


def without_dead(w: FloatArray, stats: ActivationStats) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """The weight with zeros in columns that no token used, a Hessian with ones there, and which those are."""
    H, dead = hessian_of(stats)
    return np.where(dead, np.float32(0), w) if dead.any() else w, H, dead


def hessian_of(stats: ActivationStats) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """The Hessian, with ones for columns that no token used, and which those are."""
    H = stats.hessian
    if not np.isfinite(H).all():
        raise MethodError("the Hessian overflows float32; scale the inputs down, or look for outliers in them")
    dead = np.diagonal(H) == 0
    H[dead, dead] = 1
    return H, dead


def factor(H: FloatArray, damp: float) -> tuple[FloatArray, float]:
    """U, upper triangular with H⁻¹ = UᵀU, and the damping it took; adds that to the diagonal of `H`.

    U is a view with negative strides; what goes into a matrix product needs to be made contiguous first.
    """
    lapack = of_scipy("lapack")

    diagonal = np.diagonal(H).copy()
    mean = np.float64(diagonal.mean(dtype=np.float64))
    for _ in range(_DAMP_STEPS):
        np.fill_diagonal(H, (diagonal + damp * mean).astype(np.float32))
        lower, failed = lapack.spotrf(H[::-1, ::-1], lower=1, clean=1)
        if not failed and np.diagonal(lower).min() > 0:
            inverse, failed = lapack.strtri(lower, lower=1, overwrite_c=1)
            if not failed and np.isfinite(inverse).all():
                return inverse[::-1, ::-1], damp
        damp = max(damp * 10, 1e-4)
        if damp > 10:
            break
    raise MethodError(
        "the Hessian is not positive definite even when heavily damped; the statistics are damaged, collect them again"
    )


def search_params(
    w: FloatArray, grid: AffineGrid, importance: FloatArray, power: float = 0
) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """The grid of each group; with a `power` its range is shrunken to the least Σ importance·|error|^power."""
    w = np.ascontiguousarray(w)
    scale, zero = grid.params(w)
    if power:
        rows = w.reshape(1, -1) if grid.group_size == 0 else w
        size = min(grid.group_size, rows.shape[1]) if grid.group_size > 0 else rows.shape[1]
        _search(rows, size, grid.qmin, grid.qmax, grid.sym, importance, np.float32(power), scale, zero)
    return scale, zero


@kernel
def _search(rows, size, qmin, qmax, sym, importance, power, scales, zeros):
    """The best of 80 shrunken ranges for each group, by Σ importance·|error|^power."""
    for r in range(rows.shape[0]):
        for g in range(scales.shape[1]):
            group = rows[r, g * size : (g + 1) * size]
            first = g * size % importance.size
            high, low = f32(0), f32(0)
            for j in range(group.size):
                high, low = max(high, group[j]), min(low, group[j])
            if sym:
                high = max(high, -low)
                low = -high
            if low == high:
                continue
            ends, best = np.empty(2, np.float32), f32(np.inf)
            for step in range(80):
                keep = f32(1.0 - step / 100.0)
                ends[0], ends[1] = f32(keep * low), f32(keep * high)
                scale, zero, _ = group_params(ends, qmin, qmax, sym)
                lowest, highest = f32(i32(qmin - zero)), f32(i32(qmax - zero))
                loss = f32(0)
                for j in range(group.size):
                    off = abs(f32(scale * steps_from_zero(group[j], scale, lowest, highest)) - group[j])
                    loss += f32(f32(off**power) * importance[(first + j) % importance.size])
                    if loss >= best:
                        break
                if loss < best:
                    best = loss
                    scales[r, g], zeros[r, g] = scale, zero


@kernel
def _columns(w, U, group, scales, zeros, qmin, qmax, errors, codes, rounded):
    """Round the columns of one batch; `w` (n_out, columns) ends as each weight was when its turn came."""
    n = w.shape[1]
    for r in range(w.shape[0]):
        row = w[r]
        for i in range(n):
            g = group[i]
            scale, zero = scales[r, g], zeros[r, g]
            steps = steps_from_zero(row[i], scale, f32(i32(qmin - zero)), f32(i32(qmax - zero)))
            codes[r, i] = i32(i32(steps) + zero)
            q = f32(scale * steps)
            rounded[r, i] = q
            e = f32(f32(row[i] - q) / U[i, i])
            errors[r, i] = e
            ahead, pull = row[i + 1 :], U[i, i + 1 :]
            for j in range(ahead.size):
                ahead[j] -= f32(e * pull[j])
