"""GPTQ column by column: what each step sees, does and leaves to the columns after it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qviz._arguments import check_methods
from qviz._arrays import Shape, check_shape, finite_array, whole_array, whole_number
from qviz._types import DoubleArray, FloatArray, IntArray
from qviz.errors import WidgetError, shortened
from qviz.figures import _charts
from qviz.figures.matrix import MatrixImage, weights_image
from qviz.grids import AffineGrid
from qviz.methods.result import MethodResult

if TYPE_CHECKING:
    import plotly.graph_objects as go


WIDTH = 40
"""Columns that `step_row` shows at once."""


@dataclass(frozen=True, eq=False)
class GptqRun:
    """A whole run of GPTQ, and rounding to nearest beside it; columns stand in the order in which they were processed.

    Attributes
    ----------
    weight, adjusted, rounded, nearest : float32 arrays (n_out, n)
        Each weight as it was given, as it was when its turn came, rounded, and rounded to nearest without any update.
    errors : float32 array (n_out, n)
        (adjusted − rounded) / Uᵢᵢ.
    hessian, factor : float32 arrays (n, n)
        H with its damping, and U, upper triangular, with H⁻¹ = UᵀU.
    order : int32 array (n,)
        Input column of each.
    scales, zero_points : arrays (n_out, n)
        What the group of each weight has.
    chosen : int32 array (n,)
        The step before which the grid of each column was chosen; 0 where all were chosen at the start.
    grid : AffineGrid
    batch : int
        Columns of a batch: what lies behind it waits until it ends.
    loss, nearest_loss : float64 arrays (n,)
        ½ Σ d·H·d over all rows after each step, d being how far the weights are from those given. Of GPTQ with what
        the columns to come make up for; of rounding to nearest with the columns to come untouched.
    """

    weight: FloatArray
    adjusted: FloatArray
    rounded: FloatArray
    nearest: FloatArray
    errors: FloatArray
    hessian: FloatArray
    factor: FloatArray
    order: IntArray
    scales: FloatArray
    zero_points: IntArray
    chosen: IntArray
    grid: AffineGrid
    batch: int
    loss: DoubleArray
    nearest_loss: DoubleArray

    def __post_init__(self) -> None:
        n = self.order.size
        shapes: dict[str, Shape] = dict.fromkeys(("order", "chosen", "loss", "nearest_loss"), (n,))
        shapes |= dict.fromkeys(("hessian", "factor"), (n, n))
        names = "weight", "adjusted", "rounded", "nearest", "errors", "scales", "zero_points"
        shapes |= dict.fromkeys(names, (len(self.weight), n) if self.weight.ndim else ("n_out", n))
        for name, shape in shapes.items():
            check_shape(getattr(self, name), name, WidgetError, shape)
            if not np.isfinite(getattr(self, name)).all():
                raise WidgetError(f"{name} holds NaN or infinity; a run that can be shown has finite numbers")
        if not (np.diagonal(self.factor) > 0).all():
            raise WidgetError("factor is the Cholesky factor of a matrix: its diagonal is above 0")
        whole_number(self.batch, "batch", WidgetError, least=1)

    @property
    def n(self) -> int:
        """Columns."""
        return len(self.order)

    @functools.cached_property
    def pulls(self) -> FloatArray:
        """U with each row divided by its diagonal, and zeros there: float32 (n, n)."""
        shared: FloatArray = np.triu(self.factor / np.diagonal(self.factor)[:, None], 1)
        return shared

    @functools.cached_property
    def pull_limit(self) -> float:
        """Magnitude that nine of ten rows of `pulls` stay below."""
        return float(np.quantile(np.abs(self.pulls).max(axis=1), 0.9)) or 1.0

    @functools.cached_property
    def images(self) -> tuple[MatrixImage, MatrixImage]:
        """H and U as pictures, the same for all steps; few entries off the diagonal reach the deepest colour."""
        above = np.triu_indices(self.n, 1)
        shared = self.pulls + np.eye(self.n, dtype=np.float32)
        return (
            weights_image(self.hessian, limit=_spread(self.hessian[above])),
            weights_image(shared, limit=_spread(self.pulls[above])),
        )

    def waits(self, column: int) -> int:
        """The first column that does not know the error of this one yet: it waits for the end of the batch."""
        last = self.batch_of(column)[1]
        return self.n if column + 1 == last else last

    def batch_of(self, column: int) -> tuple[int, int]:
        """First column of the batch, and the first one behind it."""
        _check(self, 0, column)
        first = column // self.batch * self.batch
        return first, min(first + self.batch, self.n)

    def before(self, column: int, rows: slice | int = slice(None)) -> FloatArray:
        """The matrix in memory when the turn of a column has come.

        Returns
        -------
        float32 array (n_out, n), or (n,) for one row
        """
        first, last = self.batch_of(column)
        return self._after(first, column, last, rows)

    def now(self, column: int, rows: slice | int = slice(None)) -> FloatArray:
        """The matrix in memory once a column was rounded and its error passed on.

        Columns behind the current batch are as the batches before left them; they get the errors of this one in one
        matrix product, when it ends.

        Returns
        -------
        float32 array (n_out, n), or (n,) for one row
        """
        first, last = self.batch_of(column)
        done = column + 1
        return self._after(done if done == last else first, done, last, rows)

    def _after(self, behind: int, done: int, last: int, rows: slice | int) -> FloatArray:
        """`done` columns are rounded; those up to `last` know all of their errors, those behind it of `behind`."""
        _check(self, rows if isinstance(rows, int) else 0, 0)
        errors, matrix = self.errors[rows], self.weight[rows].copy()
        matrix[..., :done] = self.rounded[rows, :done]
        matrix[..., done:last] -= errors[..., :done] @ self.factor[:done, done:last]
        matrix[..., last:] -= errors[..., :behind] @ self.factor[:behind, last:]
        return matrix

    def known(self, column: int) -> npt.NDArray[np.bool_]:
        """Which columns have a grid when the turn of a column has come."""
        known: npt.NDArray[np.bool_] = self.chosen <= column
        return known


check_methods(GptqRun, WidgetError)


def gptq_run(
    weight: npt.ArrayLike,
    result: MethodResult,
    nearest: MethodResult,
    grid: AffineGrid,
    *,
    column_batch: int = 128,
    static_groups: bool = False,
) -> GptqRun:
    """Put a traced run in order.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
        What was rounded.
    result : MethodResult
        From ``gptq(..., trace=True)``.
    nearest : MethodResult
        From ``rtn`` on the same grid.
    grid : AffineGrid
    column_batch, static_groups
        As given to ``gptq``.

    Returns
    -------
    GptqRun

    Raises
    ------
    WidgetError
        A result without a trace, or of another matrix.

    Examples
    --------
    >>> from qviz import ActivationStats, methods
    >>> w, x, grid = [[1.42, 0.3, 3.0]], np.float32([[1, 1, 0], [1, 0, 0], [0, 0, 1]]), AffineGrid(2, -1)
    >>> stats = ActivationStats.from_inputs(x)
    >>> run = gptq_run(w, methods.gptq(w, stats, grid, trace=True), methods.rtn(w, stats, grid), grid)
    >>> bool(run.now(0)[0, 1] > 0.3)  # the second weight grows, since the first one became smaller
    True
    """
    t = result.trace
    if missing := {"order", "adjusted", "errors", "hessian", "factor", "column_loss"} - set(t):
        raise WidgetError(f"this result has no trace of {min(missing)}; ask for one with gptq(..., trace=True)")
    column_batch = whole_number(column_batch, "column_batch", WidgetError, least=1)
    w = finite_array(weight, "weight", WidgetError)
    if w.shape != result.weight.shape or w.shape != nearest.weight.shape:
        raise WidgetError(f"weight {w.shape}, GPTQ's {result.weight.shape} and nearest {nearest.weight.shape} differ")
    near = nearest.weight
    n_in = w.shape[-1]
    if result.dead is not None:
        check_shape(result.dead, "dead", WidgetError, (n_in,))
    if result.dead is not None and result.dead.any():
        w, near = (np.where(result.dead, np.float32(0), part) for part in (w, near))
    order = whole_array(t["order"], "order", WidgetError, shape=(n_in,), least=0, most=n_in - 1)
    alike = 1 if result.scales.shape[:1] == (1,) else len(w)  # one row stands for all
    scales = finite_array(result.scales, "scales", WidgetError, shape=(alike, "n_groups"))
    low, high = -(1 << 31), (1 << 31) - 1
    zeros = whole_array(result.zero_points, "zero_points", WidgetError, shape=scales.shape, least=low, most=high)
    whole_array(result.g_idx, "g_idx", WidgetError, shape=(n_in,), least=0, most=scales.shape[1] - 1)
    w, near = np.ascontiguousarray(w[:, order]), np.ascontiguousarray(near[:, order])
    group = result.g_idx[order]
    every_row, every_zero = (np.broadcast_to(p, (len(w), p.shape[1])) for p in (scales, zeros))
    chosen = np.zeros(order.size, np.int32)
    if not static_groups and grid.group_size > 0:
        batch = min(column_batch, n_in)
        chosen[:] = group * min(grid.group_size, n_in) // batch * batch
    return GptqRun(
        w,
        t["adjusted"],
        np.ascontiguousarray(result.weight[:, order]),
        near,
        t["errors"],
        t["hessian"],
        np.ascontiguousarray(t["factor"]),
        order.astype(np.int32),
        every_row[:, group],
        every_zero[:, group].astype(np.int32),
        chosen,
        grid,
        column_batch,
        np.cumsum(t["column_loss"]),
        _running(near - w, t["hessian"]),
    )


def _running(off: FloatArray, hessian: FloatArray) -> DoubleArray:
    """½ Σ d·H·d over rows, of the first 1, 2, … n columns of d (n_out, n)."""
    both = (off.astype(np.float64).T @ off) * hessian
    each = 2 * np.tril(both, -1).sum(axis=1) + np.diagonal(both)
    running: DoubleArray = np.cumsum(each) / 2
    return running


# ----------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True, eq=False)
class StepRow:
    """Some columns of one row at one step.

    Attributes
    ----------
    first, column, row : int
        First column on show, the current one, and the row.
    inputs : int32 array (k,)
        Input column of each.
    original, before, now : float32 arrays (k,)
        As given; in memory when the current column's turn had come; and after it was rounded and its error passed on.
    steps, bottoms : float32 arrays (k,)
        Distance of two levels, and the lowest level; NaN while no grid was chosen.
    levels : int
        How many levels there are.
    waits : int
        The first column that waits for the end of the batch; the number of columns where none does.
    groups : int32 array
        Columns on show where a grid begins that differs from the one on its left.
    low, high : float
        Ends of the axis: the same for all steps.
    shares : float32 array (k,)
        How much of the error that the current column passes on goes to each: all columns of the row share 1, without
        regard to signs. 0 up to the current column, and where a column waits for the end of the batch.
    """

    first: int
    column: int
    row: int
    inputs: IntArray
    original: FloatArray
    before: FloatArray
    now: FloatArray
    steps: FloatArray
    bottoms: FloatArray
    levels: int
    waits: int
    groups: IntArray
    low: float
    high: float
    shares: FloatArray


def step_row(run: GptqRun, row: int, column: int, width: int = WIDTH) -> StepRow:
    """The columns around the current one, of one row.

    The axis stands still while the cursor walks over its first half; then it moves on by that half.

    Parameters
    ----------
    run : GptqRun
    row, column : int
        The column in processing order.
    width : int
        Columns to show.

    Returns
    -------
    StepRow

    Raises
    ------
    WidgetError
        No such row or column.

    Examples
    --------
    >>> from qviz import ActivationStats, methods
    >>> w, grid = np.float32([[1.42, 0.3, 3.0]]), AffineGrid(2, -1)
    >>> stats = ActivationStats.from_inputs([[1, 1, 0], [1, 0, 0], [0, 0, 1]])
    >>> run = gptq_run(w, methods.gptq(w, stats, grid, trace=True), methods.rtn(w, stats, grid), grid)
    >>> shown = step_row(run, 0, 0)
    >>> shown.original.round(2).tolist(), float(shown.now[0]), shown.levels
    ([1.4199999570846558, 0.30000001192092896, 3.0], 1.0, 4)
    """
    _check(run, row, column)
    width = min(whole_number(width, "width", WidgetError, least=1), run.n)
    half = max(1, width // 2)
    first = min(column // half * half, run.n - width)
    part = slice(first, first + width)
    known = run.known(column)[part]
    scale, zero = run.scales[row, part], run.zero_points[row, part]
    nan = np.float32(np.nan)
    bottoms = (scale * (run.grid.qmin - zero).astype(np.float32)).astype(np.float32)
    starts = np.flatnonzero((np.diff(scale) != 0) | (np.diff(zero) != 0)) + 1
    everything = np.concatenate([run.weight[row], run.adjusted[row], run.rounded[row]])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.06 * (high - low) or 1.0
    return StepRow(
        first,
        column,
        row,
        run.order[part].copy(),
        run.weight[row, part].copy(),
        run.before(column, row)[part].copy(),
        run.now(column, row)[part].copy(),
        np.where(known, scale, nan),
        np.where(known, bottoms, nan),
        run.grid.qmax - run.grid.qmin + 1,
        run.waits(column),
        (starts + first).astype(np.int32),
        low - margin,
        high + margin,
        _shares(run, column)[part],
    )


def _shares(run: GptqRun, column: int) -> FloatArray:
    """How much of its error a column passes on to each that hears of it at once."""
    pull = np.abs(run.pulls[column])
    total = float(pull.sum(dtype=np.float64))
    pull = np.where(np.arange(run.n) < run.waits(column), pull, np.float32(0))
    shares: FloatArray = (pull / np.float32(total or 1.0)).astype(np.float32)
    return shares


def telling_column(run: GptqRun, row: int) -> int:
    """A column to begin with: it lies about half a step off its level, and its error goes to few others.

    Its weight is moved by 0.35 … 0.48 steps when its turn comes, with half a picture behind it; of all such columns it
    is the one whose strongest `step_row` share is largest. A weight that lies halfway between two levels is left out:
    another processor may round it the other way.

    Parameters
    ----------
    run : GptqRun
    row : int

    Returns
    -------
    int
        In processing order.
    """
    _check(run, row, 0)
    off = np.abs(run.adjusted[row] - run.rounded[row]) / run.scales[row]
    room = np.arange(run.n) < max(1, run.n - WIDTH // 2)
    wanted = np.flatnonzero((off > 0.35) & (off < 0.48) & room)
    if not wanted.size:
        return int(np.where(room, -np.abs(off - np.float32(0.42)), -np.inf).argmax())
    return int(wanted[np.argmax([_shares(run, int(column)).max() for column in wanted])])


@dataclass(frozen=True, eq=False)
class PullRow:
    """How far each column to come moves for every unit by which the current one missed.

    Attributes
    ----------
    column : int
    pull : float32 array (n,)
        Uᵢⱼ / Uᵢᵢ, off the Cholesky factor; 0 up to the current column.
    explicit : float32 array (n,)
        [H⁻¹]ᵢⱼ / [H⁻¹]ᵢᵢ after the columns before were eliminated one by one; empty if that was not computed.
    difference : float
        Largest distance of the two, in units of the largest pull; NaN without `explicit`.
    limit : float
        End of the axis: the same for all steps.
    waits : int
        The first column that waits for the end of the batch; the number of columns where none does.
    """

    column: int
    pull: FloatArray
    explicit: FloatArray
    difference: float
    limit: float
    waits: int


def pull_row(run: GptqRun, column: int, explicit: DoubleArray | None = None) -> PullRow:
    """The row of U that belongs to a column, beside what the explicit formula gives.

    Parameters
    ----------
    run : GptqRun
    column : int
    explicit : float64 array (n, n), optional
        From `qviz.methods.obs_factor`.

    Returns
    -------
    PullRow

    Raises
    ------
    WidgetError
        No such column, or an explicit factor of another size.
    """
    _check(run, 0, column)
    pull = run.pulls[column].copy()
    slow, difference = np.empty(0, np.float32), float("nan")
    if explicit is not None:
        if explicit.shape != run.factor.shape:
            raise WidgetError(f"the explicit factor has shape {explicit.shape}, U has {run.factor.shape}")
        if not np.isfinite(explicit).all() or not explicit[column, column]:
            raise WidgetError(f"the explicit factor has NaN, infinity or a 0 at [{column}, {column}]: it is no factor")
        exact = np.zeros(run.n)
        exact[column + 1 :] = explicit[column, column + 1 :] / explicit[column, column]
        slow = exact.astype(np.float32)
        largest = np.abs(exact).max()
        difference = float(np.abs(pull - exact).max() / largest) if largest > 0 else 0.0
    return PullRow(column, pull, slow, difference, run.pull_limit, run.waits(column))


@dataclass(frozen=True, eq=False)
class LossRace:
    """The output error so far, of GPTQ and of rounding to nearest.

    Attributes
    ----------
    column : int
    ours, nearest : float32 arrays (n,)
        After each column; 1 is what rounding to nearest ends with.
    """

    column: int
    ours: FloatArray
    nearest: FloatArray

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: both losses, column by column."""
        figure = _charts.chart(_charts.axis("column"), _charts.axis("output error so far, 1 is where nearest ends"))
        _charts.curve(figure, np.arange(len(self.nearest)), self.nearest, "rounding to nearest", "level")
        _charts.curve(figure, np.arange(len(self.ours)), self.ours, "GPTQ", "weight")
        _charts.mark(figure, self.column, "now", "soft")
        return figure


def loss_race(run: GptqRun, column: int) -> LossRace:
    """Both running losses, in units of where rounding to nearest ends.

    Parameters
    ----------
    run : GptqRun
    column : int

    Returns
    -------
    LossRace
    """
    _check(run, 0, column)
    unit = run.nearest_loss[-1] or 1.0
    return LossRace(column, (run.loss / unit).astype(np.float32), (run.nearest_loss / unit).astype(np.float32))


@dataclass(frozen=True, eq=False)
class CursorImage:
    """A matrix with the current column marked, and perhaps a row.

    Attributes
    ----------
    image : MatrixImage
        Columns in processing order.
    column, row : int
        −1 where there is nothing to mark.
    waits : int
        The first column that waits for the end of the batch; the number of columns where none does.
    across : str
        What a click chooses: ``"weight"`` (column and row), ``"column"`` or ``"row-column"`` (the row is the column).
    """

    image: MatrixImage
    column: int
    row: int
    waits: int
    across: str


def moved_image(run: GptqRun, column: int, row: int) -> CursorImage:
    """How far every weight is from where it began: rounding errors left of the cursor, what makes up for them right.

    The deepest colour is one step of the grid, the median one.

    Parameters
    ----------
    run : GptqRun
    column, row : int

    Returns
    -------
    CursorImage
    """
    _check(run, row, column)
    limit = float(np.median(run.scales))
    image = weights_image(run.now(column) - run.weight, limit=limit)
    return CursorImage(image, column, row, run.waits(column), "weight")


def hessian_image(run: GptqRun, column: int) -> CursorImage:
    """H: which inputs are large (the diagonal), and which rise and fall together.

    Parameters
    ----------
    run : GptqRun
    column : int

    Returns
    -------
    CursorImage
    """
    _check(run, 0, column)
    return CursorImage(run.images[0], column, -1, run.n, "column")


def factor_image(run: GptqRun, column: int) -> CursorImage:
    """U, each row divided by its diagonal: row i says where the error of column i goes.

    Parameters
    ----------
    run : GptqRun
    column : int

    Returns
    -------
    CursorImage
    """
    _check(run, 0, column)
    return CursorImage(run.images[1], -1, column, run.n, "row-column")


def _spread(values: FloatArray) -> float:
    """A limit that all but a few magnitudes stay below."""
    return (float(np.quantile(np.abs(values), 0.995)) if values.size else 0.0) or 1.0


def _check(run: GptqRun, row: int, column: int) -> None:
    if not 0 <= row < len(run.weight) or not 0 <= column < run.n:
        at = f"{shortened(row)}, {shortened(column)}"
        raise WidgetError(f"no weight [{at}]: the matrix has {len(run.weight)} rows and {run.n} columns")
