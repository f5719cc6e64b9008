"""HQQ: no data at all; move each group's zero point until few weights are far off.

Half-quadratic quantization minimizes Σ|w − ŵ|^p with p = 0.7, which forgives a few outliers for the sake of the many.
With a helper e for the outliers it alternates two easy steps::

    e    = shrink(w − ŵ)                          |w − ŵ| − |w − ŵ|^(p−1) / β, not below 0, with its sign
    zero = mean of (code − (w − e) / scale)       over the group

and β grows by 1 % a turn. The scale is the range's. The zero point is a float.

Badri and Shaji 2023, mobiusml.github.io/hqq_blog; as in ``optimize.py`` of mobiusml/hqq: at most 20 turns, β = 10 at
first, an end when the mean |w − ŵ| no longer falls; but the best turn is kept, not the one after it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qviz._arrays import flag, whole_number
from qviz.calibration import ActivationStats
from qviz.errors import MethodError
from qviz.grids import AffineGrid
from qviz.methods._inputs import checked, groups_of
from qviz.methods.result import MethodResult


def hqq(
    weight: npt.ArrayLike, stats: ActivationStats | None, grid: AffineGrid, *, iterations: int = 20, trace: bool = False
) -> MethodResult:
    """Round onto an asymmetric grid whose zero points are moved to the least Σ|error|^0.7.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats or None
        Not used; here so that all methods are called alike.
    grid : AffineGrid
        Asymmetric, of rows or groups.
    iterations : int
        At most.
    trace : bool
        Keep `mean_error`: the mean |error| at each turn, the best of which is the result.

    Returns
    -------
    MethodResult
        `zero_points` are float32: ``weight = scales · (codes − zero_points)``; `bpw` counts 16 bits for each.

    Raises
    ------
    MethodError
        A symmetric grid, or arrays that do not fit together.

    Examples
    --------
    >>> hqq([[-1.0, 0.2, 0.5, 2.0]], None, AffineGrid(bits=2, group_size=-1)).zero_points.dtype
    dtype('float32')
    """
    w = checked(weight, stats, grid, needs_stats=False)
    trace = flag(trace, "trace", MethodError)
    if grid.sym or grid.group_size == 0:
        raise MethodError("hqq moves the zero points of rows or groups: it needs sym=False, and group_size −1 or more")
    iterations = whole_number(iterations, "iterations", MethodError, least=1)
    index = groups_of(grid, w.shape[1])
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    sizes = np.diff(starts, append=w.shape[1]).astype(np.float32)
    scales, whole_zeros = grid.params(w)
    zeros, scale = whole_zeros.astype(np.float32), scales[:, index]
    best, beta = np.inf, np.float32(10)
    errors: list[float] = []
    kept = (np.zeros_like(w), zeros)
    for _ in range(iterations):
        codes = np.clip(np.rint(w / scale + zeros[:, index]), grid.qmin, grid.qmax)
        off = w - scale * (codes - zeros[:, index])
        errors.append(float(np.abs(off).mean(dtype=np.float64)))
        if errors[-1] >= best:
            break
        best, kept = errors[-1], (codes, zeros)
        size = np.abs(off)
        with np.errstate(divide="ignore"):
            e = np.sign(off) * np.maximum(size - size ** np.float32(-0.3) / beta, 0)
        zeros = (np.add.reduceat(codes - (w - e) / scale, starts, axis=1) / sizes).astype(np.float32)
        beta *= np.float32(1.01)
    codes, zeros = kept
    n_groups = scales.size / w.size
    return MethodResult(
        scale * (codes - zeros[:, index]),
        codes.astype(grid.code_dtype),
        scales,
        zeros,
        index,
        grid.bits + 32 * n_groups,
        trace={"mean_error": errors} if trace else {},
    )
