"""A budget, the choices that it leaves, and the one that was made: hidden until it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._types import DoubleArray
from qviz.errors import WidgetError
from qviz.metrics import pareto


@dataclass(frozen=True, eq=False)
class Chooser:
    """Choices in a plane: memory across, damage upwards on a logarithmic scale.

    Attributes
    ----------
    names : tuple of str
    sizes, damage : float64 arrays (n,)
        Across and upwards; damage is NaN as long as it is hidden.
    kept : uint8 array (n,)
        1 where all limits are kept.
    front : int32 array (k,)
        Points that no other beats in both, from left to right; empty as long as damage is hidden.
    budget : float
        Where the wall stands.
    size : float
        Size of the choice that is being made.
    predicted : (float, float)
        Where its damage is expected.
    tries : tuple of str
    tried : float64 array (m, 2)
        Size and damage of the choices that were carried out, the latest last.
    best : int
        The point of least damage that keeps all limits; -1 if none does, or as long as it is hidden.
    low, high : float
        Ends of the damage axis.
    across, upwards : str
        What the axes mean.
    limit : float
        What the mission allows: the wall may be moved away from there, to see what another budget would change.
    """

    names: tuple[str, ...]
    sizes: DoubleArray
    damage: DoubleArray
    kept: npt.NDArray[np.uint8]
    front: npt.NDArray[np.int32]
    budget: float
    size: float
    predicted: tuple[float, float]
    tries: tuple[str, ...]
    tried: DoubleArray
    best: int
    low: float
    high: float
    across: str
    upwards: str
    limit: float


def chooser(
    names: Sequence[str],
    sizes: npt.ArrayLike,
    damage: npt.ArrayLike | None,
    kept: Sequence[bool],
    *,
    budget: float,
    size: float,
    predicted: tuple[float, float],
    tries: Sequence[tuple[str, float, float]] = (),
    low: float = 1e-4,
    high: float = 1.0,
    across: str = "MiB to run",
    upwards: str = "damage",
    limit: float | None = None,
) -> Chooser:
    """Lay choices out in a plane.

    Parameters
    ----------
    names : sequence of str
    sizes : array_like (n,)
    damage : array_like (n,), optional
        Hidden unless given.
    kept : sequence of bool (n,)
        Whether each keeps all limits.
    budget, size : float
        The wall, and the size of the choice that is being made.
    predicted : (float, float)
        Least and most damage that is expected of it.
    tries : sequence of (name, size, damage)
        What was carried out.
    low, high : float
        Ends of the damage axis, > 0.
    across, upwards : str
        What the axes mean.
    limit : float, optional
        What the mission allows; the budget unless given.

    Returns
    -------
    Chooser

    Raises
    ------
    WidgetError
        Lengths that differ, sizes that are not positive, or axes without extent.

    Examples
    --------
    >>> hidden = chooser(["a", "b"], [4, 5], None, [True, True], budget=6, size=4, predicted=(0.1, 0.4))
    >>> hidden.front.tolist(), hidden.best
    ([], -1)
    >>> open = chooser(["a", "b"], [4, 5], [0.2, 0.1], [True, False], budget=4.5, size=4, predicted=(0.1, 0.4))
    >>> [open.names[i] for i in open.front], open.names[open.best]
    (['a', 'b'], 'a')
    """
    x = np.asarray(sizes, np.float64).reshape(-1)
    y = np.full(x.size, np.nan) if damage is None else np.asarray(damage, np.float64).reshape(-1)
    good = np.asarray(kept, np.uint8).reshape(-1)
    if not len(names) or not len(names) == x.size == y.size == good.size:
        raise WidgetError(
            f"{len(names)} names, {x.size} sizes, {y.size} damages, {good.size} verdicts: one each is needed"
        )
    allowed = budget if limit is None else limit
    positive = np.concatenate([x, [budget, allowed, size, *predicted, low, high]])
    if not (np.isfinite(positive).all() and (positive > 0).all()) or low >= high or predicted[0] > predicted[1]:
        raise WidgetError("sizes, budget, prediction and the ends of the axis must be positive numbers, in order")
    open_to = np.where((good == 1) & np.isfinite(y), y, np.inf)
    best = int(open_to.argmin()) if np.isfinite(open_to).any() else -1
    return Chooser(
        tuple(names),
        x,
        y,
        good,
        np.array(pareto(list(zip(x, y, strict=True))), np.int32),
        float(budget),
        float(size),
        (float(predicted[0]), float(predicted[1])),
        tuple(name for name, _, _ in tries),
        np.array([[s, d] for _, s, d in tries], np.float64).reshape(-1, 2),
        best,
        float(low),
        float(high),
        across,
        upwards,
        float(allowed),
    )
