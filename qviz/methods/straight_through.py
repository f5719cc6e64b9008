"""Rounding that lets gradients through: what learns codes and scales by descent stands on it.

The levels of a grid are a staircase. Its slope is 0 wherever it has one, so no descent could ever move a weight to
another level. The **straight-through estimator** takes the slope of the line that the stairs follow instead: 1 between
the outermost levels, 0 outside, where a weight is clipped (Bengio et al. 2013, arXiv:1308.3432). For the scale s of a
group the same assumption gives, with the code q, the zero point z and a weight w (LSQ, Esser et al. 2020,
arXiv:1902.08153)::

    ŵ = s · (q − z)        dŵ/dw = 1         dŵ/ds = (q − z) − w / s     between the outermost levels
                           dŵ/dw = 0         dŵ/ds = q − z               where w is clipped
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array
from qviz._machine.kernels import f32, i32, kernel
from qviz._types import FloatArray
from qviz.errors import MethodError, shortened
from qviz.grids import AffineGrid
from qviz.grids.affine import steps_from_zero

_BETA, _BETA_SQUARES, _LEAST = np.float32(0.9), np.float32(0.999), np.float32(1e-8)


def straight_through(
    weight: npt.ArrayLike, params: tuple[npt.ArrayLike, npt.ArrayLike], grid: AffineGrid, gradient: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Gradients of weights and of their scales, from that of the rounded weights.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
        Before rounding.
    params : (scale, zero_point)
        The grid of each group, both (n_out, n_groups), as `AffineGrid.params` returns them.
    grid : AffineGrid
        Not one with a single scale for the whole tensor.
    gradient : array_like (n_out, n_in)
        How a loss changes with ``grid.fake_quantize(weight, params=params)``.

    Returns
    -------
    by_weight : float32 array (n_out, n_in)
    by_scale : float32 array (n_out, n_groups)

    Raises
    ------
    MethodError
        Arrays that do not fit together.

    Examples
    --------
    Levels −1, 0, 1, 2. The first weight is clipped; the second is rounded from 0.25 down to 0.

    >>> grid = AffineGrid(bits=2, group_size=-1)
    >>> by_weight, by_scale = straight_through([[-3.0, 0.25]], ([[1.0]], [[1]]), grid, [[1.0, 1.0]])
    >>> by_weight.tolist(), by_scale.tolist()
    ([[0.0, 1.0]], [[-1.25]])
    """
    w = real_array(weight, "weight", MethodError, shape=("n_out", "n_in"))
    g = real_array(gradient, "gradient", MethodError, shape=w.shape)
    if not isinstance(grid, AffineGrid):
        raise MethodError(f"grid is {shortened(grid)}; an AffineGrid is wanted")
    if not isinstance(params, tuple | list) or len(params) != 2:
        raise MethodError(f"params are {shortened(params)}; a pair (scale, zero_point) is wanted")
    if grid.group_size == 0:
        raise MethodError("one scale for a whole tensor has no gradient here; use group_size −1 (a row) or more")
    shape = grid.params_shape(w.shape)
    scale = real_array(params[0], "scale", MethodError, shape=shape)
    zero = real_array(params[1], "zero_point", MethodError, (np.int32,), shape=shape)
    by_weight, by_scale = np.empty_like(w), np.empty_like(scale)
    size = min(grid.group_size, w.shape[1]) if grid.group_size > 0 else w.shape[1]
    back(w, scale, zero, size, grid.qmin, grid.qmax, g, by_weight, by_scale)
    return by_weight, by_scale


@kernel
def back(w, scales, zeros, size, qmin, qmax, gradient, by_weight, by_scale):
    """`straight_through` of checked arrays; `by_weight` may be `gradient` itself."""
    for r in range(w.shape[0]):
        for k in range(scales.shape[1]):
            scale, zero = scales[r, k], zeros[r, k]
            lowest, highest = f32(i32(qmin - zero)), f32(i32(qmax - zero))
            total = f32(0)
            for j in range(k * size, min((k + 1) * size, w.shape[1])):
                g, steps = gradient[r, j], f32(w[r, j] / scale)
                q = steps_from_zero(w[r, j], scale, lowest, highest)
                clipped = np.rint(steps) < lowest or np.rint(steps) > highest
                by_weight[r, j] = f32(0) if clipped else g
                total += f32(g * (q if clipped else f32(q - steps)))
            by_scale[r, k] = total


@kernel
def adam(values, gradient, mean, mean_square, step, rate):
    """Move `values` against their gradient by at most about `rate`; all flat, float32 (n,), changed in place.

    Kingma and Ba 2015, arXiv:1412.6980; `step` counts from 1.
    """
    first = f32(1.0 - 0.9**step)
    second = f32(1.0 - 0.999**step)
    for i in range(values.size):
        g = gradient[i]
        mean[i] = f32(_BETA * mean[i] + f32(f32(1) - _BETA) * g)
        mean_square[i] = f32(_BETA_SQUARES * mean_square[i] + f32(f32(1) - _BETA_SQUARES) * f32(g * g))
        size = f32(np.sqrt(f32(mean_square[i] / second)) + _LEAST)
        values[i] -= f32(rate * f32(f32(mean[i] / first) / size))
