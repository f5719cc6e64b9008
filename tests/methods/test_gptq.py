"""GPTQ against explicit OBQ in float64, an example worked by hand, and everything that goes wrong with a Hessian."""

import bounds
import eliminations
import numpy as np
import pytest

from qviz.calibration import ActivationStats
from qviz.errors import MethodError, QvizError
from qviz.grids import AffineGrid
from qviz.methods import damping, gptq, recommended, rtn


def layer(n_out=16, n_in=48, tokens=400, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((n_in, n_in)) * rng.permutation(np.geomspace(3, 0.1, n_in))
    x = (rng.standard_normal((2 * tokens, n_in)) @ mix).astype(np.float32)
    w = rng.standard_normal((n_out, n_in)).astype(np.float32)
    return w, x[:tokens], x[tokens:]


def loss(w, result, x):
    return np.square((x @ (w - result.weight).T).astype(np.float64)).sum()


def naive(w, H, grid, act_order=False, static=False, batch=128, damp=0.01):
    """OBQ in a fixed order: quantize a column, correct all others, eliminate it from H⁻¹. In float64."""
    n = w.shape[1]
    order = np.argsort(-np.diagonal(H), kind="stable") if act_order else np.arange(n)
    size = grid.group_size if grid.group_size > 0 else n
    row = AffineGrid(grid.bits, -1, grid.sym)

    def params(part):
        return [p.astype(np.float64)[:, 0] for p in row.params(part.astype(np.float32))]

    before = [params(w[:, k : k + size]) for k in range(0, n, size)]
    W, H = w[:, order].astype(np.float64), H[np.ix_(order, order)].astype(np.float64)
    inverse = np.linalg.inv(H + damp * np.diagonal(H).mean() * np.eye(n))
    codes = np.empty(W.shape)
    for i in range(n):
        if i % batch == 0:
            start = W.copy()  # the reference looks at this when it chooses a grid inside the batch
        if static or size == n:
            scale, zero = before[order[i] // size]
        elif i % size == 0:
            scale, zero = params(start[:, i : i + size])
        codes[:, i] = np.clip(np.rint((W[:, i] / scale).astype(np.float32)) + zero, grid.qmin, grid.qmax)
        e = (W[:, i] - scale * (codes[:, i] - zero)) / inverse[i, i]
        W -= np.outer(e, inverse[i])
        inverse -= np.outer(inverse[:, i], inverse[i]) / inverse[i, i]
    out = np.empty(W.shape)
    out[:, order] = codes
    return out


@pytest.mark.parametrize("batch", [8, 32, 128])
@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("sym", [False, True])
@pytest.mark.parametrize(("bits", "size"), [(2, -1), (3, 16), (4, 12), (8, 48), (5, 64)])
def test_against_explicit_elimination(bits, size, sym, static, act_order, batch):
    w, x, _ = layer()
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(bits, size, sym)
    result = gptq(w, stats, grid, act_order=act_order, static_groups=static, column_batch=batch)
    expected = naive(w, stats.hessian, AffineGrid(bits, min(size, 48), sym), act_order, static, batch)
    assert np.mean(result.codes != expected) <= 0.01  # float32 may fall on the other side of a tie
    scale, zero = result.scales[:, result.g_idx], result.zero_points[:, result.g_idx]
    np.testing.assert_array_equal(result.weight, scale * (result.codes - zero).astype(np.float32))
    assert not act_order or static or size in (-1, 48, 64) or np.any(np.diff(result.g_idx) < 0)


def test_two_columns_by_hand():
    # H = [[2, 1], [1, 2]]: H⁻¹ = [[2, −1], [−1, 2]] / 3, so U = [[√(2/3), −1/√6], [0, 1/√2]].
    # Row 1.4, 0.3 on the levels 0 … 3 (the last row fixes nothing; the range of row 0 is 0 … 3 through its third
    # weight, whose input is independent): w₀ = 1.4 -> 1, error .4, w₁ += .4 / 2 = .5, which ties to 0 in even
    # rounding; so 1.42 is taken: w₁ = .3 + .21 = .51 -> 1, where rounding to nearest gives 0.
    x = np.linalg.cholesky(np.array([[2.0, 1, 0], [1, 2, 0], [0, 0, 2]]) * 3 / 2).T
    result = gptq([[1.42, 0.3, 3.0]], ActivationStats.from_inputs(x), AffineGrid(2, -1), damp_percent=0, trace=True)
    assert result.codes.tolist() == [[1, 1, 3]]
    # a handful of float32 operations on numbers up to 3
    assert result.trace["adjusted"][0] == pytest.approx([1.42, 0.51, 3], abs=bounds.size_bound(3, 6))
    row = [(2 / 3) ** 0.5, -((1 / 6) ** 0.5), 0]
    assert result.trace["factor"][0] == pytest.approx(row, abs=bounds.size_bound(1, 8))
    assert result.trace["factor"][1, 1] == pytest.approx(0.5**0.5, abs=bounds.size_bound(1, 8))
    assert result.trace["errors"][0, 0] == pytest.approx(0.42 / row[0], abs=bounds.size_bound(1.42 / row[0], 10))


def test_the_factor_and_the_loss():
    w, x, _ = layer()
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(3, -1)
    t = gptq(w, stats, grid, act_order=True, trace=True)
    H, U = t.trace["hessian"].astype(np.float64), t.trace["factor"]
    bounds.assert_within(U, eliminations.factor(H), bounds.response_bound(eliminations.factor, H))
    assert np.array_equal(np.sort(t.trace["order"]), np.arange(48))
    before, after = (part[:, t.trace["order"]].astype(np.float64) for part in (w, t.weight))
    expected = np.einsum("ri,ij,rj->", before - after, H, before - after) / 2
    bound = bounds.response_bound(lambda h: eliminations.losses(h, before, after).sum() / 2, H)
    bounds.assert_within(t.trace["column_loss"].sum(), expected, bound)
    assert gptq(w, stats, grid).trace == {}


@pytest.mark.parametrize("act_order", [False, True])
def test_the_batch_does_not_matter_for_rows(act_order):
    w, x, _ = layer(n_in=200)
    stats = ActivationStats.from_inputs(x)
    codes = [gptq(w, stats, AffineGrid(4, -1), act_order=act_order, column_batch=b).codes for b in (1, 32, 128, 500)]
    for other in codes[1:]:
        assert np.mean(codes[0] != other) < 0.005


@pytest.mark.parametrize(
    "options", [{}, {"act_order": True}, {"act_order": True, "static_groups": True}, {"mse": True}]
)
@pytest.mark.parametrize("size", [0, -1, 16])
def test_beats_rounding_on_other_tokens(options, size):
    w, x, held_out = layer(tokens=2000)
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(3, size)
    ours, nearest = gptq(w, stats, grid, **options), rtn(w, stats, grid)
    assert loss(w, ours, held_out) < 0.8 * loss(w, nearest, held_out)
    assert np.square(w - ours.weight).sum() > np.square(w - nearest.weight).sum() or "mse" in options
    assert abs(ours.bpw - nearest.bpw) <= 32 / 16


def test_mse_scales():
    w, x, _ = layer()
    w[:, 5] = 8  # an outlier that a full range would serve at the others' cost
    grid = AffineGrid(2, -1)
    plain, searched = (gptq(w, ActivationStats.from_inputs(x), grid, mse=m) for m in (False, True))

    def off(row, keep):
        ends = keep * np.float32([[min(row.min(), 0), max(row.max(), 0)]])
        params = grid.params(ends)
        return (np.abs(grid.fake_quantize(row[None], params=params) - row) ** 2.4).sum(), params[0][0, 0]

    for r in range(3):
        best = min(off(w[r], np.float32(1 - i / 100)) for i in range(80))
        bounds.assert_within(
            searched.scales[r, 0], best[1], bounds.size_bound(best[1], 5)
        )  # ends, their range, a quotient
    assert (searched.scales < plain.scales).any()


@pytest.mark.parametrize("size", [0, -1, 16])
def test_scales_searched_by_the_loss(size):
    w, x, _ = layer()
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(2, size)
    result = gptq(w, stats, grid, static_groups=True, act_order=True, weighted=True)
    H = stats.hessian.astype(np.float64)
    order = np.argsort(-np.diagonal(H), kind="stable")
    permuted = H[np.ix_(order, order)] + 0.01 * np.diagonal(H).mean() * np.eye(48)
    importance = np.empty(48)
    importance[order] = np.diagonal(np.linalg.cholesky(np.linalg.inv(permuted)).T) ** -2
    rows = w.reshape(1, -1) if size == 0 else w
    importance = np.tile(importance, rows.shape[1] // 48)
    for r, g in ((0, 0), (len(rows) - 1, result.scales.shape[1] - 1)):
        part = slice(None) if size <= 0 else slice(g * size, (g + 1) * size)
        v, tried = rows[r, part], []
        for i in range(80):
            ends = np.float32(1 - i / 100) * np.float32([[min(v.min(), 0), max(v.max(), 0)]])
            params = AffineGrid(2, -1).params(ends)
            off = AffineGrid(2, -1).fake_quantize(v[None], params=params) - v
            tried.append(((off.astype(np.float64) ** 2 * importance[part]).sum(), params[0][0, 0]))
        scale = min(tried)[1]
        bounds.assert_within(result.scales[r, g], scale, bounds.size_bound(scale, 5))  # ends, their range, a quotient


def test_recommended():
    w, x, held_out = layer(tokens=2000)
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(3, 16)
    ours = recommended(w, stats, grid)
    assert loss(w, ours, held_out) < 0.97 * loss(w, gptq(w, stats, grid, act_order=True, mse=True), held_out)
    assert ours.notes == ()
    assert recommended(w, stats).bpw == AffineGrid(4, 128).bpw(w.shape)
    assert ours.damp_percent == damping(2000, 48) == pytest.approx(0.25 * 48 / 2000)
    with pytest.raises(MethodError):
        damping(0, 4)


def test_too_few_tokens():
    w, x, _ = layer(tokens=16)
    held_out, stats, grid = layer(tokens=2000)[2], ActivationStats.from_inputs(x), AffineGrid(4, 16)
    hasty, careful, nearest = gptq(w, stats, grid), recommended(w, stats, grid), rtn(w, stats, grid)
    assert loss(w, hasty, x) < 0.3 * loss(w, nearest, x)  # it looks good on the tokens it has seen
    assert loss(w, hasty, held_out) > 1.3 * loss(w, nearest, held_out)
    assert loss(w, careful, held_out) < 0.9 * loss(w, nearest, held_out)
    assert "16 tokens for 48 input columns" in hasty.notes[0]
    x[:, 3] = 0
    damaged = gptq(w, ActivationStats.from_inputs(x[:1]), grid, damp_percent=0)
    assert [note.split()[0] for note in damaged.notes] == ["1", "damp_percent", "1"]


def test_dead_columns_become_zero():
    w, x, _ = layer()
    x[:, [3, 40]] = 0
    result = gptq(w, ActivationStats.from_inputs(x), AffineGrid(4, 16), act_order=True)
    assert np.flatnonzero(result.dead).tolist() == [3, 40]
    assert not result.weight[:, [3, 40]].any()
    assert np.isfinite(result.weight).all()
    nothing = gptq(w, ActivationStats.from_inputs(np.zeros((5, 48))), AffineGrid(4, 16))
    assert nothing.dead.all()
    assert not nothing.weight.any()


def test_a_singular_hessian_is_damped_until_it_works():
    w, x, _ = layer(tokens=5)  # fewer tokens than columns
    result = gptq(w, ActivationStats.from_inputs(x), AffineGrid(4, -1), damp_percent=0)
    assert result.damp_percent > 0
    assert np.isfinite(result.weight).all()
    assert gptq(w, ActivationStats.from_inputs(layer()[1]), AffineGrid(4, -1)).damp_percent == 0.01
    same = np.ones((20, 1)) * np.linspace(1, 2, 48)
    assert np.isfinite(gptq(w, ActivationStats.from_inputs(same), AffineGrid(2, 16)).weight).all()


def test_what_is_refused():
    w, x, _ = layer()
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(4, 16)
    bad = w.copy()
    bad[2, 3] = np.nan
    damaged = ActivationStats.from_inputs(x)
    damaged._products = -damaged._products
    cases = [
        ((bad, stats, grid), {}, r"weight \[2, 3\] is nan"),
        ((w.T, stats, grid), {}, "input columns"),
        ((w[0], stats, grid), {}, "matrix"),
        ((np.ones((48, 7)), stats, grid), {}, "transposed"),
        ((w, None, grid), {}, "ActivationStats"),
        ((w, ActivationStats(48), grid), {}, "no tokens"),
        ((w, stats, "Q4_K"), {}, "AffineGrid"),
        ((w, stats, AffineGrid(16, 16)), {}, "2 … 8 bits"),
        ((w, stats, grid), {"damp_percent": -1}, "damp_percent"),
        ((w, stats, grid), {"damp_percent": np.nan}, "damp_percent"),
        ((w, stats, grid), {"damp_percent": "auto"}, "damp_percent"),
        ((w, stats, grid), {"damp_percent": None}, "damp_percent"),
        ((w, stats, grid), {"damp_percent": True}, "damp_percent"),
        ((w, stats, grid), {"damp_percent": [0.1]}, "damp_percent"),
        ((w, stats, grid), {"column_batch": 0}, "column_batch"),
        ((w, ActivationStats.from_inputs(np.full((1, 48), 1.5e19)), grid), {}, "overflow"),
        ((w, damaged, grid), {}, "positive definite"),
    ]
    for args, options, text in cases:
        with pytest.raises(MethodError, match=text):
            gptq(*args, **options)
    assert issubclass(MethodError, QvizError)


def test_a_positive_group_is_not_clipped():
    stats = ActivationStats.from_inputs(np.eye(4))
    result = gptq([[0.83, 0.46, 0.44, 0.20]], stats, AffineGrid(4, -1, True))
    assert np.abs(result.weight - [[0.83, 0.46, 0.44, 0.20]]).max() < 0.06  # IST-DASLab's range makes .39 of .83
