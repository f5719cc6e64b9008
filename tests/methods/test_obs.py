"""The explicit formula against inverses of smaller matrices, the condition for a minimum, and GPTQ itself."""

from __future__ import annotations

import bounds
import eliminations
import numpy as np
import pytest

from qviz.calibration import ActivationStats
from qviz.errors import MethodError
from qviz.grids import AffineGrid
from qviz.methods import gptq, obs_factor, obs_row


def hessian(n=24, tokens=200, seed=3):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((tokens, n)) @ (rng.standard_normal((n, n)) * np.geomspace(3, 0.2, n))
    return 2 / tokens * x.T @ x


def double(result, matrix):
    """The bound of what is computed in float64 by two ways of solving the same equations."""
    return 2 * bounds.response_bound(result, matrix, u=bounds.DOUBLE)


def test_eliminating_leaves_the_inverse_of_what_remains():
    H = hessian()
    rows = obs_factor(H)
    bound = double(eliminations.factor, H)
    for i in range(len(H)):
        rest = np.linalg.inv(H[i:, i:])
        bounds.assert_within(rows[i, i:], rest[0] / np.sqrt(rest[0, 0]), bound[i, i:])
    assert not np.tril(rows, -1).any()
    bounds.assert_within(rows, eliminations.factor(H), bound)


def test_free_weights_are_where_the_error_is_least():
    """Once some weights are rounded, the gradient H·d is zero for those that are free."""
    H = hessian()
    w = np.random.default_rng(0).standard_normal(24)
    row = obs_row(w, H, np.full(24, 0.3), np.zeros(24), AffineGrid(4, sym=True))
    for i in (1, 10, 23):
        free = np.linalg.solve(H[i:, i:], -H[i:, :i] @ (row.rounded - w)[:i])  # the least-squares answer
        bound = double(lambda h: eliminations.adjusted(h, w[None], row.rounded[None])[0], H)
        bounds.assert_within(row.adjusted[i], w[i] + free[0], bound[i])
    off = row.rounded - w
    bound = double(lambda h: eliminations.losses(h, w[None], row.rounded[None]).sum(), H)
    bounds.assert_within(np.square(row.errors).sum(), off @ H @ off, bound)


@pytest.mark.parametrize("options", [{}, {"act_order": True}, {"act_order": True, "static_groups": True}])
@pytest.mark.parametrize("batch", [1, 8, 128])
def test_gptq_does_the_same_to_every_row(options, batch):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((300, 32)) @ (rng.standard_normal((32, 32)) * np.geomspace(3, 0.2, 32))
    w, grid = rng.standard_normal((6, 32)).astype(np.float32), AffineGrid(3, 8)
    result = gptq(w, ActivationStats.from_inputs(x), grid, column_batch=batch, trace=True, **options)
    t, group = result.trace, result.g_idx[result.trace["order"]]
    H, rounded = t["hessian"], result.weight[:, t["order"]]
    bounds.assert_within(t["factor"], obs_factor(H), bounds.response_bound(eliminations.factor, H))
    adjusted = bounds.response_bound(lambda h: eliminations.adjusted(h, w[:, t["order"]], rounded), H)
    errors = bounds.response_bound(lambda h: eliminations.errors(h, w[:, t["order"]], rounded), H)
    for r in range(6):
        row = obs_row(w[r, t["order"]], t["hessian"], result.scales[r, group], result.zero_points[r, group], grid)
        assert row.codes.tolist() == result.codes[r, t["order"]].tolist()
        bounds.assert_within(t["adjusted"][r], row.adjusted, adjusted[r])
        bounds.assert_within(t["errors"][r], row.errors, errors[r])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: obs_factor(np.ones((2, 2))), "singular"),
        (lambda: obs_factor(np.diag([1.0, -1.0])), r"\[1, 1\] is -1 after 1"),
        (lambda: obs_factor(np.ones((2, 3))), r"square matrix, got shape \(2, 3\)"),
        (lambda: obs_factor(np.full((2, 2), np.nan)), "NaN"),
        (lambda: obs_row([1, 2, 3], np.eye(2), [1, 1], [0, 0], AffineGrid()), "2 columns"),
        (lambda: obs_row([1, 2], np.diag([-1.0, 1]), [1, 1], [0, 0], AffineGrid()), "damp"),
    ],
)
def test_what_has_no_inverse(call, says):
    with pytest.raises(MethodError, match=says):
        call()
