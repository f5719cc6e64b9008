"""What to use when nothing speaks against it: GPTQ with the options that were best on tokens it had not seen.

An asymmetric grid, columns of large inputs first, scales searched by GPTQ's own loss, grids no older than their group,
and damping that grows as tokens get fewer. Each was chosen by measurement (``benchmarks/methods_vs_reference.py``).
"""

from __future__ import annotations

import numpy.typing as npt

from qviz._arrays import whole_number
from qviz.calibration import ActivationStats
from qviz.errors import MethodError
from qviz.grids import AffineGrid
from qviz.methods._inputs import checked
from qviz.methods.gptq import gptq
from qviz.methods.result import MethodResult


def damping(n_tokens: int, n_in: int) -> float:
    """A quarter of input columns per token, 0.003 … 1: the Hessian of few tokens is mostly chance.

    Examples
    --------
    >>> damping(n_tokens=3072, n_in=384), damping(n_tokens=128, n_in=384), damping(n_tokens=10**6, n_in=384)
    (0.03125, 0.75, 0.003)
    """
    n_tokens = whole_number(n_tokens, "n_tokens", MethodError, least=1)
    n_in = whole_number(n_in, "n_in", MethodError, least=1)
    return min(max(0.25 * n_in / n_tokens, 0.003), 1.0)


def recommended(
    weight: npt.ArrayLike, stats: ActivationStats, grid: AffineGrid | None = None, *, trace: bool = False
) -> MethodResult:
    """Round a weight matrix with `gptq` and the options that we would choose.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats
        What is known of the layer's inputs.
    grid : AffineGrid, optional
        4 bits, groups of 128, asymmetric unless given.
    trace : bool
        As in `gptq`.

    Returns
    -------
    MethodResult

    Raises
    ------
    MethodError
        As in `gptq`.

    Examples
    --------
    >>> stats = ActivationStats.from_inputs([[1.0, 1.0], [1.0, 0.5]])
    >>> recommended([[1.4, 1.6], [0.0, 3.0]], stats).damp_percent
    0.25
    """
    grid = AffineGrid() if grid is None else grid
    checked(weight, stats, grid)
    batch = min(grid.group_size, 128) if grid.group_size > 0 else 128
    damp = damping(stats.n_tokens, stats.n_in)
    return gptq(weight, stats, grid, act_order=True, weighted=True, damp_percent=damp, column_batch=batch, trace=trace)
