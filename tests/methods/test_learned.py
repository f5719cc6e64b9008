"""Learned rounding beside all possible roundings, and beside loops in float64 that follow the papers."""

import itertools

import numpy as np
import pytest
from bounds import U, assert_within, form_bound, size_bound, sum_bound

from qviz.calibration import ActivationStats
from qviz.errors import MethodError
from qviz.grids import AffineGrid
from qviz.methods import adaround, autoround, gptq, rtn, straight_through
from qviz.methods.straight_through import adam


def layer(n_out=24, n_in=48, tokens=1500, seed=3):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((n_in, n_in)) / n_in**0.5 + 0.5 * np.eye(n_in)
    x = (rng.standard_normal((2 * tokens, n_in)) @ mix).astype(np.float32)
    return rng.standard_normal((n_out, n_in)).astype(np.float32), x[:tokens], x[tokens:]


def losses(w, weight, H):
    off = (weight - w).astype(np.float64)
    return np.einsum("ij,jk,ik->i", off, H.astype(np.float64), off)


def test_adaround_comes_near_to_the_best_of_all_roundings():
    w, x, _ = layer(n_out=12, n_in=10)
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(3, -1)
    found = adaround(w, stats, grid)
    steps = w / found.scales
    below = np.floor(steps)
    best = np.full(len(w), np.inf)
    for ups in itertools.product((0, 1), repeat=10):
        q = np.clip(below + ups, -found.zero_points, 7 - found.zero_points)
        best = np.minimum(best, losses(w, found.scales * q, stats.hessian))
    mine = losses(w, found.weight, stats.hessian)
    nearest = np.clip(np.rint(steps), -found.zero_points, 7 - found.zero_points)
    plain = losses(w, found.scales * nearest, stats.hessian)
    noise = 40 * U * plain.max()  # each loss is a sum of 100 float32 products of rounded numbers
    assert (mine >= best - noise).all()
    assert (mine <= plain + noise).all()
    assert (plain - mine).sum() > 0.8 * (plain - best).sum() > 0
    q = found.codes.astype(int) - found.zero_points
    assert (np.abs(q - np.clip(steps, -found.zero_points, 7 - found.zero_points)) <= 1).all(), "up or down, no further"


@pytest.mark.parametrize("sym", [False, True])
@pytest.mark.parametrize("size", [16, 20, -1])
@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("method", [adaround, autoround])
def test_better_than_rounding_to_nearest_on_tokens_not_seen(method, bits, size, sym):
    w, x, held_out = layer()
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(bits, size, sym)
    result, plain = method(w, stats, grid, steps=100), rtn(w, stats, grid)
    whole, seen = ActivationStats.from_inputs(held_out).hessian, stats.hessian
    assert losses(w, result.weight, whole).sum() < 0.8 * losses(w, plain.weight, whole).sum()
    bound = form_bound(result.weight - w, seen, len(x)) + form_bound(plain.weight - w, seen, len(x))
    if method is autoround:  # its first try; adaround starts from other ranges
        assert (losses(w, result.weight, seen) <= losses(w, plain.weight, seen) + bound).all()
    stored = result.scales[:, result.g_idx] * (result.codes - result.zero_points[:, result.g_idx])
    np.testing.assert_array_equal(stored.astype(np.float32), result.weight)
    assert grid.qmin <= result.codes.min()
    assert result.codes.max() <= grid.qmax
    assert result.bpw == plain.bpw
    assert not result.notes


def test_autoround_begins_with_rounding_to_nearest():
    w, x, _ = layer()
    for sym in (False, True):
        grid = AffineGrid(3, 20, sym)
        first, plain = autoround(w, ActivationStats.from_inputs(x), grid, steps=1, rate=1e-9), rtn(w, None, grid)
        assert_within(first.scales, plain.scales, size_bound(plain.scales, 3))
        np.testing.assert_array_equal(first.zero_points, plain.zero_points)
        assert np.mean(first.codes != plain.codes) < 0.01  # a tie may fall to the other side


def by_the_paper(w, H, bits, steps):
    """AutoRound of rows that are one group each, in float64: the loss of each row at each step."""
    top = 2**bits - 1
    v, keep, history = np.zeros(w.shape), np.ones((2, len(w), 1)), []
    most, least = np.maximum(w.max(1, keepdims=True), 0), np.minimum(w.min(1, keepdims=True), 0)
    for step in range(steps + 1):
        high, low = most * keep[0], least * keep[1]
        s = (high - low) / top
        z = np.clip(np.rint(-low / s), 0, top)
        free = np.rint(w / s + v) + z
        q = np.clip(free, 0, top)
        off = s * (q - z) - w
        history.append(np.einsum("ij,jk,ik->i", off, H, off))
        g, clipped = off @ H, free != q
        # the rounding's own slope is taken for 1, in w / s + v as in −low / s
        by_s = np.where(clipped, q - z - low / s, q - z - w / s)
        down = g * np.where(clipped, 1.0, 0.0)
        ds = (g * by_s).sum(1, keepdims=True)
        dlow = down.sum(1, keepdims=True) - ds / top
        rate = (1 - step / steps) / steps
        v = np.clip(v - rate * np.sign(np.where(clipped, 0, g)), -0.5, 0.5)
        keep[0] = np.clip(keep[0] - rate * np.sign(most * ds / top), 0.01, 1)
        keep[1] = np.clip(keep[1] - rate * np.sign(least * dlow), 0.01, 1)
    return np.array(history)


def test_autoround_follows_the_paper():
    w, x, _ = layer(n_out=30)
    stats = ActivationStats.from_inputs(x)
    history = by_the_paper(w.astype(np.float64), stats.hessian.astype(np.float64), 3, 40)
    result = autoround(w, stats, AffineGrid(3, -1), steps=40, trace=True)
    whole = losses(w, np.zeros_like(w), stats.hessian).sum()
    # stated: a sign, or a tie, that float32 decides otherwise sends that row another way; most rows go the same
    assert result.trace["loss"][:40] == pytest.approx(history[:40].sum(1) / whole, rel=0.02)
    mine = losses(w, result.weight, stats.hessian)
    bound = 4 * (len(x) + 96) * U * history.min(0) + 1e-12
    assert np.mean(np.abs(mine - history.min(0)) <= bound) > 0.7


def test_few_tokens_are_learned_by_heart():
    w, x, held_out = layer()
    grid, whole = AffineGrid(3, -1), ActivationStats.from_inputs(held_out).hessian
    few = ActivationStats.from_inputs(x[:24])
    for method in (adaround, autoround):
        result = method(w, few, grid)
        assert "24 tokens for 48 input columns" in result.notes[0]
        seen = losses(w, result.weight, few.hessian).sum() / losses(w, rtn(w, None, grid).weight, few.hessian).sum()
        other = losses(w, result.weight, whole).sum() / losses(w, rtn(w, None, grid).weight, whole).sum()
        assert seen < 0.5 * other


def test_nothing_is_drawn_and_traces_hold_what_was_asked_for():
    w, x, _ = layer()
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(3, 16)
    for method, names in ((adaround, {"loss", "undecided"}), (autoround, {"loss"})):
        first, again = (method(w, stats, grid, steps=30, trace=True) for _ in range(2))
        np.testing.assert_array_equal(first.codes, again.codes)
        assert set(first.trace) == names
        assert all(len(part) == 30 for part in first.trace.values())
        assert not method(w, stats, grid, steps=3).trace
    assert adaround(w, stats, grid, trace=True).trace["undecided"][-1] < 0.05
    free = adaround(w, stats, grid, trace=True, penalty=0)
    assert free.trace["undecided"][-1] > 0.2, "without the penalty weights stay between two levels"


def test_one_scale_for_the_tensor_and_columns_nobody_used():
    w, x, _ = layer()
    x[:, 5] = 0
    stats = ActivationStats.from_inputs(x)
    result = adaround(w, stats, AffineGrid(4, 0), steps=50)
    assert result.scales.shape == (1, 1)
    assert np.isfinite(result.weight).all()
    for method in (adaround, autoround):
        assert np.isfinite(method(np.zeros((2, 48)), stats, AffineGrid(2, 16), steps=5).weight).all()
        assert np.isfinite(
            method(w, ActivationStats.from_inputs(0 * x + 1e-20), AffineGrid(2, 16), steps=5).weight
        ).all()


def test_progress_and_what_is_refused():
    w, x, _ = layer(n_out=300)
    stats, grid, heard = ActivationStats.from_inputs(x), AffineGrid(3, 16), []
    autoround(w, stats, grid, steps=2, progress=lambda *said: heard.append(said))
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)
    assert heard[-1] == ("autoround", 4, 4)  # two parts of rows, two steps each

    def enough(what, done, total):
        raise KeyboardInterrupt

    for method in (adaround, autoround):
        with pytest.raises(KeyboardInterrupt):
            method(w, stats, grid, progress=enough)
        for wrong, says in (
            ({"steps": 0}, "steps is 0"),
            ({"rate": -1.0}, "rate is -1.0"),
            ({"progress": 3}, "progress is 3"),
            ({"trace": 2}, "trace"),
        ):
            with pytest.raises(MethodError, match=says):
                method(w, stats, grid, **wrong)
        with pytest.raises(MethodError, match="2 … 8 bits"):
            method(w, stats, AffineGrid(9, 16))
        with pytest.raises(MethodError, match="transposed"):
            method(w.T, stats, grid)
    with pytest.raises(MethodError, match="penalty"):
        adaround(w, stats, grid, penalty=-1)
    with pytest.raises(MethodError, match="rows or groups"):
        autoround(w, stats, AffineGrid(4, 0))
    with pytest.raises(MethodError, match="whole tensor"):
        straight_through(w, ([[1.0]], [[0]]), AffineGrid(4, 0), w)
    with pytest.raises(MethodError, match="gradient has shape"):
        straight_through(w, grid.params(w), grid, w[1:])


@pytest.mark.parametrize("sym", [False, True])
def test_the_estimator_is_the_slope_of_the_line_that_the_stairs_follow(sym):
    """Inside, ŵ = w + (what rounding added) · s, and that part is held; outside, ŵ = s · (end − zero point)."""
    rng = np.random.default_rng(0)
    w, g = rng.standard_normal((2, 6, 40)).astype(np.float32)
    grid = AffineGrid(3, 16, sym)
    scale, zero = grid.params(0.5 * w)  # so that some weights lie outside
    by_weight, by_scale = straight_through(w, (scale, zero), grid, g)
    group = np.arange(40) // 16
    s, z = (part.astype(np.float64)[:, group] for part in (scale, zero))
    q = np.clip(np.rint(w / s) + z, grid.qmin, grid.qmax) - z
    outside = (np.rint(w / s) + z < grid.qmin) | (np.rint(w / s) + z > grid.qmax)
    assert 0 < outside.sum() < w.size

    def answer(w, s):
        return g * np.where(outside, s * q, w + s * (q - w0 / s0))

    w0, s0, h = w.astype(np.float64), s, 2.0**-20
    np.testing.assert_array_equal(by_weight, np.where(outside, 0, g))
    slope = (answer(w0, s + h) - answer(w0, s - h)) / (2 * h)
    for k in range(3):
        part = group == k
        terms = np.abs(g) * (np.abs(q) + np.abs(w0 / s))  # of which the slope is the difference
        # float64 differences over a step of 2^-20 are known to 2^-30 of the answers
        bound = sum_bound(terms[:, part], roundings=3) + 2.0**-30 * np.abs(terms[:, part]).sum(1)
        assert_within(by_scale[:, k], slope[:, part].sum(1), bound)


def test_adam_is_the_papers():
    rng = np.random.default_rng(1)
    values, mean, square = (
        rng.standard_normal(50).astype(np.float32),
        np.zeros(50, np.float32),
        np.zeros(50, np.float32),
    )
    v, m, n = values.astype(np.float64), np.zeros(50), np.zeros(50)
    for step in range(1, 6):
        g = rng.standard_normal(50).astype(np.float32)
        adam(values, g, mean, square, step, np.float32(0.01))
        m, n = 0.9 * m + 0.1 * g, 0.999 * n + 0.001 * g.astype(np.float64) ** 2
        v -= 0.01 * (m / (1 - 0.9**step)) / (np.sqrt(n / (1 - 0.999**step)) + 1e-8)
    # 0.001 is not known better than 1 − 0.999 in float32 leaves it: to 2^-24 / 0.001 of itself, half of that in a root
    assert_within(values, v, 5 * 0.01 * 2 * (U / 0.001 + 20 * U) + 10 * U * np.abs(v))


def test_adaround_beats_gptq_where_both_may_use_the_same_ranges():
    w, x, held_out = layer(n_out=40, n_in=64)
    stats, whole = ActivationStats.from_inputs(x), ActivationStats.from_inputs(held_out).hessian
    grid = AffineGrid(2, 32)
    learned, passed_on = adaround(w, stats, grid), gptq(w, stats, grid, mse=True)
    assert losses(w, learned.weight, whole).sum() < losses(w, passed_on.weight, whole).sum()
