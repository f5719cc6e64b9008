"""Round to nearest: what every other method has to beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qviz._arrays import flag
from qviz.calibration import ActivationStats
from qviz.errors import MethodError
from qviz.grids import AffineGrid
from qviz.methods._inputs import checked, groups_of
from qviz.methods.gptq import search_params
from qviz.methods.result import MethodResult


def rtn(
    weight: npt.ArrayLike, stats: ActivationStats | None, grid: AffineGrid, *, weighted: bool = False
) -> MethodResult:
    """Round every weight to the nearest level of its group.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats or None
        Not used unless `weighted`; here so that all methods are called alike.
    grid : AffineGrid
    weighted : bool
        Shrink each group's range to the least Σ mean x² · error²: an importance matrix at work, as in llama.cpp,
        on an integer grid.

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
    weighted = flag(weighted, "weighted", MethodError)
    w = checked(weight, stats, grid, needs_stats=weighted)
    if weighted and stats is not None:
        importance = stats.mean_sq
        if not np.isfinite(importance).all():
            raise MethodError("the squares of the inputs overflow float32; scale the inputs down")
        # only ratios count, and a channel that no token used has no say
        importance /= max(float(importance.max()), float(np.finfo(np.float32).tiny))
        t = grid.quantize(w, search_params(w, grid, importance, 2))
    else:
        t = grid.quantize(w)
    return MethodResult(t.dequantize(), t.codes, t.scale, t.zero_point, groups_of(grid, w.shape[1]), t.bpw)
