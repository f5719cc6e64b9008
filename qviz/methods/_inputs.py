"""The checks that rounding methods share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array
from qviz._types import FloatArray
from qviz.calibration import ActivationStats
from qviz.errors import MethodError
from qviz.grids import AffineGrid


def checked(weight: npt.ArrayLike, stats: Any, grid: Any, *, needs_stats: bool = True) -> FloatArray:
    """`weight` as a finite float32 matrix that fits the statistics and the grid, or a `MethodError`."""
    if not isinstance(grid, AffineGrid):
        raise MethodError(f"grid must be an AffineGrid, got {type(grid).__name__}; a GGML format goes to gptq_format")
    return checked_weight(weight, stats, needs_stats=needs_stats)


def checked_weight(weight: npt.ArrayLike, stats: Any, *, needs_stats: bool = True) -> FloatArray:
    """`checked` for methods that take another kind of grid."""
    w = real_array(weight, "weight", MethodError)
    if w.ndim != 2 or not w.size:
        raise MethodError(f"weight must be a matrix (n_out, n_in), got shape {w.shape}")
    if not np.isfinite(w).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(w))[0])
        raise MethodError(f"weight {list(at)} is {w[at]}; replace it first, e.g. with numpy.nan_to_num")
    if stats is None and not needs_stats:
        return w
    if not isinstance(stats, ActivationStats):
        raise MethodError(f"stats must be ActivationStats of the layer's inputs, got {type(stats).__name__}")
    if stats.n_in != w.shape[1]:
        hint = "; the weight seems to be transposed" if stats.n_in == w.shape[0] else ""
        raise MethodError(f"weight has {w.shape[1]} input columns, the statistics {stats.n_in}{hint}")
    if not stats.n_tokens:
        raise MethodError("the statistics hold no tokens; run calibration text through the model first")
    return w


def groups_of(grid: AffineGrid, n_in: int) -> npt.NDArray[np.int32]:
    """The group of each column when groups are consecutive columns."""
    size = grid.group_size if grid.group_size > 0 else n_in
    return np.arange(n_in, dtype=np.int32) // np.int32(min(size, n_in))
