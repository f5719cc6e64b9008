"""AWQ and RTN against the papers' formulas written with explicit inputs in float64."""

import numpy as np
import pytest
from bounds import assert_within, dot_bound, errors_bound, form_bound, output_bound, ratio_bound, size_bound

from qviz.calibration import ActivationStats
from qviz.errors import MethodError
from qviz.grids import AffineGrid
from qviz.methods import awq, keep_salient, rtn


def layer(tokens=600, n_out=24, n_in=64):
    rng = np.random.default_rng(3)
    size = np.ones(n_in)
    size[[5, 40]] = 30, 12  # salient channels
    x = (rng.standard_normal((2 * tokens, n_in)) * size).astype(np.float32)
    return rng.standard_normal((n_out, n_in)).astype(np.float32), x[:tokens], x[tokens:]


def error(w, approximation, x):
    return np.square(x.astype(np.float64) @ (w - approximation).T).sum() / np.square(x.astype(np.float64) @ w.T).sum()


def test_rtn_is_the_grid():
    w, x, _ = layer()
    for grid in (AffineGrid(3, 16), AffineGrid(4, -1, True), AffineGrid(2, 0)):
        result = rtn(w, ActivationStats.from_inputs(x), grid)
        assert np.array_equal(result.weight, grid.fake_quantize(w))
        assert result.bpw == grid.bpw(w.shape)
        steps = (result.codes - result.zero_points[:, result.g_idx]).astype(np.float32)
        assert np.array_equal(result.weight, result.scales[:, result.g_idx] * steps)


@pytest.mark.parametrize("sym", [False, True])
@pytest.mark.parametrize("size", [-1, 16])
def test_scale_search(size, sym):
    w, x, held_out = layer()
    grid = AffineGrid(3, size, sym)
    result = awq(w, ActivationStats.from_inputs(x), grid, trace=True)
    act, expected, bounds = np.abs(x).mean(0, dtype=np.float64).astype(np.float32), [], []
    sums = x.T.astype(np.float64) @ x
    for k in range(20):
        s = np.maximum(act ** np.float32(k / 20), np.float32(1e-4))  # in float32: sym puts the largest weight on a tie
        s /= np.sqrt(s.max() * s.min())
        expected.append(error(w, grid.fake_quantize(w * s) / s, x))
        bounds.append(form_bound(w - grid.fake_quantize(w * s) / s, sums, len(x)))
    of_all = form_bound(w, sums, len(x)) / np.einsum("ri,ij,rj->", w, sums, w)  # what the errors are divided by
    bounds = np.array(bounds) / np.einsum("ri,ij,rj->", w, sums, w) + of_all * np.array(expected)
    assert (np.abs(result.trace["loss"] - np.array(expected)) <= bounds).all()
    assert result.trace["best"] == np.argmin(expected) / 20 > 0
    assert error(w, result.weight, held_out) < error(w, rtn(w, None, grid).weight, held_out)


def test_the_scale_is_an_equivalence():
    w, x, _ = layer()
    r = awq(w, ActivationStats.from_inputs(x), AffineGrid(4, 16))
    stored = r.scales[:, r.g_idx] * (r.codes - r.zero_points[:, r.g_idx]).astype(np.float32)
    off = (x / r.equivalence_scale) @ stored.T - x @ r.weight.T
    assert (np.abs(off) <= 2 * dot_bound(x, r.weight, roundings=4)).all()
    ends = r.equivalence_scale.max().astype(np.float64), r.equivalence_scale.min()
    assert_within(np.sqrt(ends[0] * ends[1]), 1, size_bound(1, 4))  # a product, a root and two quotients


@pytest.mark.parametrize("size", [-1, 16, 24])
@pytest.mark.parametrize("sym", [False, True])
def test_clipping(size, sym):
    w, x, held_out = layer()
    grid, stats = AffineGrid(2, size, sym), ActivationStats.from_inputs(x)
    plain, clipped = awq(w, stats, grid), awq(w, stats, grid, clip=True, trace=True)
    assert error(w, clipped.weight, held_out) < error(w, plain.weight, held_out)
    keep, s = clipped.trace["clip_keep"], clipped.equivalence_scale
    part = slice(64 - (64 % size or size) if size > 0 else 0, 64)  # the last group, that knows all the others' ends
    for row in range(24):
        v, losses = (w * s)[row : row + 1, part], []
        off = (clipped.weight - w)[row].astype(np.float64)
        for step in range(10):
            limit = np.abs(v).max() * np.float32(1 - step / 20)
            rounded = AffineGrid(2, -1, sym).fake_quantize(np.clip(v, -limit, limit))
            off[part] = (rounded - v)[0] / s[part]
            losses.append((np.square(x @ off).sum(), output_bound(off[None], x)))
        chosen, least = losses[round((1 - keep[row, -1]) * 20)], min(losses)
        assert_within(chosen[0], least[0], chosen[1] + least[1])
        off = (clipped.weight.astype(np.float64) - w)[row]
        change = size_bound(np.abs(clipped.weight) + np.abs(w), 4)[row]
        assert_within(np.square(x @ off).sum(), least[0], output_bound(off[None], x, change[None]) + least[1])


def test_an_importance_matrix_shrinks_ranges():
    """Each group gets the range, of 80, with the least Σ mean x² · error²."""
    w, x, held_out = layer()
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(3, 16)
    weighted = rtn(w, stats, grid, weighted=True)
    importance = np.square(x, dtype=np.float64).mean(0)
    for row, g in ((0, 0), (7, 2), (23, 3)):
        part, losses = slice(16 * g, 16 * g + 16), []
        v = w[row : row + 1, part]
        ends = min(v.min(), 0), max(v.max(), 0)
        for step in range(80):
            keep = 1 - step / 100
            params = AffineGrid(3, -1).params(np.float32([[keep * ends[0], keep * ends[1]]]))
            after = AffineGrid(3, -1).fake_quantize(v, params=params)[0].astype(np.float64)
            bound = errors_bound(after - v[0], np.abs(after) + np.abs(v[0]), importance[part], roundings=6)
            losses.append(((importance[part] * (after - v[0]) ** 2).sum(), bound))
        found = (importance[part] * (weighted.weight.astype(np.float64) - w)[row, part] ** 2).sum()
        assert_within(found, *min(losses))
    assert weighted.bpw == rtn(w, None, grid).bpw
    assert error(w, weighted.weight, held_out) < error(w, rtn(w, None, grid).weight, held_out)
    # only ratios count
    other = rtn(w, ActivationStats.from_inputs(x * 8), grid, weighted=True)
    assert np.array_equal(other.weight, weighted.weight)


def test_an_alpha_of_ones_own():
    w, x, _ = layer()
    grid, stats = AffineGrid(3, 16), ActivationStats.from_inputs(x)
    searched = awq(w, stats, grid, trace=True)
    for k in (0, 9, 19):
        one = awq(w, stats, grid, alpha=k / 20, trace=True)
        assert one.trace["loss"].tolist() == [searched.trace["loss"][k]]
        assert one.trace["best"] == k / 20
    assert np.array_equal(awq(w, stats, grid, alpha=0).weight, rtn(w, None, grid).weight)
    assert np.array_equal(awq(w, stats, grid, alpha=searched.trace["best"]).weight, searched.weight)


@pytest.mark.parametrize("size", [-1, 16, 24])
def test_the_trace_tells_what_each_clip_would_cost(size):
    w, x, _ = layer()
    grid, stats = AffineGrid(3, size), ActivationStats.from_inputs(x)
    result = awq(w, stats, grid, alpha=0.5, clip=True, trace=True)
    tried, loss, s = result.trace["clip_tried"], result.trace["clip_loss"], result.equivalence_scale
    assert tried.tolist() == pytest.approx([1 - k / 20 for k in range(10)])
    assert loss.shape == (10, *result.trace["clip_keep"].shape)
    whole = np.square(x.astype(np.float64) @ w.T).sum()
    width = 64 if size < 0 else size
    for row, g in ((0, 0), (11, loss.shape[2] - 1)):
        part = slice(g * width, (g + 1) * width)
        v = (w * s)[row : row + 1, part]
        for k, keep in enumerate(tried):
            limit = np.abs(v).max() * keep
            off = (AffineGrid(3, -1).fake_quantize(np.clip(v, -limit, limit)) - v)[0] / s[part]
            wide = x[:, part].astype(np.float64)
            lost = np.square(wide @ off).sum(), output_bound(off[None], wide, size_bound(v[0] / s[part], 4)[None])
            bound = ratio_bound(*lost, whole, output_bound(w, x))
            assert_within(loss[k, row, g], lost[0] / whole, bound)
    if size < 0:  # no other group to make up for
        assert (tried[loss[:, :, 0].argmin(axis=0)] == result.trace["clip_keep"][:, 0]).all()


def test_channels_that_no_token_used():
    w, x, _ = layer()
    x[:, [0, 9]] = 0
    result = awq(w, ActivationStats.from_inputs(x), AffineGrid(4, 16), clip=True)
    for array in (result.weight, result.equivalence_scale, result.scales):
        assert np.isfinite(array).all()
    assert (result.equivalence_scale > 0).all()
    assert np.isfinite(awq(w, ActivationStats.from_inputs(np.zeros((3, 64))), AffineGrid(4, 16)).weight).all()


def test_keeping_salient_columns():
    w, x, held_out = layer()
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(3, 16)
    kept = {by: keep_salient(w, stats, grid, by=by, part=0.03) for by in ("activation", "weight", "random")}
    assert set(kept["activation"].trace["kept"].tolist()) == {5, 40}
    errors = {by: error(w, r.weight, held_out) for by, r in kept.items()}
    assert errors["activation"] < 0.5 * min(errors["weight"], errors["random"])
    assert kept["random"].bpw == pytest.approx(grid.bpw(w.shape) + (16 * 24 + 32) * 2 / w.size)


def test_what_is_refused():
    w, x, _ = layer()
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(4, 16)
    for call in (
        lambda: awq(w, stats, grid, n_grid=0),
        lambda: awq(w, stats, grid, alpha=1.1),
        lambda: awq(w, stats, grid, alpha=True),
        lambda: rtn(w, None, grid, weighted=True),
        lambda: awq(w[:, 1:], stats, grid),
        lambda: awq(w * np.inf, stats, grid),
        lambda: awq(w, None, grid),
        lambda: awq(w, stats, AffineGrid(4, 0), clip=True),
        lambda: rtn([["a"]], None, grid),
        lambda: rtn(np.full((1, 2), np.nan), None, grid),
        lambda: keep_salient(w, stats, grid, by="luck"),
        lambda: keep_salient(w, stats, grid, part=0),
        lambda: keep_salient(w * 1e6, stats, grid),
    ):
        with pytest.raises(MethodError):
            call()
