"""Round to nearest: what every other method has to beat."""

from __future__ import annotations

import numpy.typing as npt

from qviz.calibration import ActivationStats
from qviz.grids import AffineGrid
from qviz.methods._inputs import checked, groups_of
from qviz.methods.result import MethodResult


def rtn(weight: npt.ArrayLike, stats: ActivationStats | None, grid: AffineGrid) -> MethodResult:
    """Round every weight to the nearest level of its group.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats or None
        Not used; here so that all methods are called alike.
    grid : AffineGrid

    Returns
    -------
    MethodResult

    Raises
    ------
    MethodError
        A weight that is not finite, or arrays that do not fit together.

    Examples
    --------
    >>> rtn([[-1.0, 0.2, 0.5, 2.0]], None, AffineGrid(bits=2, group_size=-1)).weight.tolist()
    [[-1.0, 0.0, 0.0, 2.0]]
    """
    w = checked(weight, stats, grid, needs_stats=False)
    t = grid.quantize(w)
    return MethodResult(t.dequantize(), t.codes, t.scale, t.zero_point, groups_of(grid, w.shape[1]), t.bpw)
