"""One weight on the stairs of its grid: what a loss says of it, and how it moves when gradients are let through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._arrays import finite_array, finite_number, whole_number
from qviz._types import DoubleArray
from qviz.errors import WidgetError, shortened

_MOST_STEPS = 100_000
_FARTHEST, _FASTEST = 1e9, 1e3
_POINTS = 481  # of an axis: odd, so that its middle is one of them


@dataclass(frozen=True, eq=False)
class Staircase:
    """A loss that depends on one rounded weight, and the path that descent takes.

    Attributes
    ----------
    weights : float64 array (n,)
        Places along the axis: what the weight could be before it is rounded.
    loss : float64 array (n,)
        The loss at each, where the weight is rounded: level pieces and jumps.
    straight : float64 array (n,)
        The loss if it were not rounded.
    levels : float64 array (k,)
        What the weight can become, lowest first; and the loss there:
    level_loss : float64 array (k,)
    path : float64 array (steps + 1,)
        The weight before each step and after the last, not rounded.
    path_level : int32 array (steps + 1,)
        The level on which each of these falls.
    path_loss : float64 array (steps + 1,)
    slopes : float64 array (steps + 1,)
        What the weight is told at each: the slope of the loss with the stairs taken for a straight line, or 0.
    current : int
        The step on show.
    best : float
        Where the loss would be least without rounding.
    """

    weights: DoubleArray
    loss: DoubleArray
    straight: DoubleArray
    levels: DoubleArray
    level_loss: DoubleArray
    path: DoubleArray
    path_level: npt.NDArray[np.int32]
    path_loss: DoubleArray
    slopes: DoubleArray
    current: int
    best: float


def staircase(
    levels: npt.ArrayLike,
    bowl: tuple[float, float, float],
    start: float,
    *,
    rate: float,
    steps: int,
    current: int,
    through: bool = True,
    falling: bool = False,
) -> Staircase:
    """Let one weight descend.

    Parameters
    ----------
    levels : array_like (k,)
        Evenly spaced, ascending; at least two.
    bowl : (best, curvature, least)
        The loss of a weight x without rounding: least + curvature · (x − best)².
    start : float
    rate : float
        The weight moves by rate · (level − best) in a step.
    steps : int
    current : int
        The step on show, 0 … steps.
    through : bool
        Let the gradient through the rounding as if that were a straight line; else it is 0, as stairs have it.
    falling : bool
        The rate falls evenly to 0.

    Returns
    -------
    Staircase

    Raises
    ------
    WidgetError
        No two levels, or a step that is not there.

    Examples
    --------
    Levels 0 and 1, the best place 0.6. From 0.2 the weight climbs by 0.3 until it rounds to 1, and is pushed back.

    >>> s = staircase([0, 1], (0.6, 1.0, 0.0), 0.2, rate=0.5, steps=3, current=3)
    >>> s.path.round(2).tolist(), s.path_level.tolist(), s.path_loss.round(2).tolist()
    ([0.2, 0.5, 0.8, 0.6], [0, 0, 1, 1], [0.36, 0.36, 0.16, 0.16])
    >>> staircase([0, 1], (0.6, 1.0, 0.0), 0.2, rate=0.5, steps=3, current=3, through=False).path.tolist()
    [0.2, 0.2, 0.2, 0.2]
    """
    grid = finite_array(levels, "levels", WidgetError, (np.float64,))
    if grid.ndim != 1 or grid.size < 2 or not (np.diff(grid) > 0).all():
        raise WidgetError(f"stairs need two levels or more, ascending; got {shortened(levels)}")
    steps = whole_number(steps, "steps", WidgetError, least=0, most=_MOST_STEPS)
    if not 0 <= current <= steps:
        raise WidgetError(f"step {current} is not there; 0 … {steps} are")
    best = finite_number(bowl[0], "the bowl's best", WidgetError, least=-_FARTHEST, most=_FARTHEST)
    curvature = finite_number(bowl[1], "the bowl's curvature", WidgetError, above=0)
    least = finite_number(bowl[2], "the bowl's least", WidgetError)
    start = finite_number(start, "start", WidgetError, least=-_FARTHEST, most=_FARTHEST)
    rate = finite_number(rate, "rate", WidgetError, least=0, most=_FASTEST)
    step = grid[1] - grid[0]

    def level_of(x: npt.ArrayLike) -> npt.NDArray[np.int64]:
        nearest: npt.NDArray[np.int64] = np.rint((np.asarray(x) - grid[0]) / step).astype(np.int64)
        return np.clip(nearest, 0, grid.size - 1)

    def loss_of(x: DoubleArray) -> DoubleArray:
        return np.asarray(least + curvature * (x - best) ** 2)

    path, told = [float(start)], []
    for k in range(steps + 1):
        x = path[-1]
        clipped = not grid[0] - step / 2 <= x <= grid[-1] + step / 2
        slope = 0.0 if clipped or not through else 2 * curvature * (float(grid[level_of(x)]) - best)
        told.append(slope)
        pace = rate * (1 - k / steps if falling else 1)
        path.append(x - pace * slope / (2 * curvature))
    walked = np.array(path[:-1])
    at = level_of(walked)
    weights = np.linspace(grid[0] - 0.75 * step, grid[-1] + 0.75 * step, _POINTS)
    return Staircase(
        weights,
        loss_of(grid[level_of(weights)]),
        loss_of(weights),
        grid,
        loss_of(grid),
        walked,
        at.astype(np.int32),
        loss_of(grid[at]),
        np.array(told),
        current,
        float(best),
    )
