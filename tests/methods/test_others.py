"""HQQ against its loop over one group in float64, SmoothQuant and rotation against the products they must keep."""

import numpy as np
import pytest
import scipy.linalg
from bounds import U, assert_within, dot_bound, size_bound

from qviz.calibration import ActivationStats
from qviz.errors import CalibrationError, MethodError
from qviz.grids import AffineGrid, choose_range, round_inputs
from qviz.methods import awq, damping, gptq, hadamard, hqq, keep_salient, recommended, rotation, rtn, smoothquant


def layer(n_in=48, tokens=1500, outliers=()):
    rng = np.random.default_rng(5)
    size = np.ones(n_in)
    size[list(outliers)] = 60
    mix = rng.standard_normal((n_in, n_in)) / n_in**0.5 + np.eye(n_in)
    x = (rng.standard_normal((2 * tokens, n_in)) @ mix * size).astype(np.float32)
    w = (rng.standard_normal((24, n_in)) * rng.gamma(0.5, 2, (24, n_in))).astype(np.float32)
    return w, x[:tokens], x[tokens:]


def loss(w, weight, x):
    return np.square(x @ (w - weight).T).sum(dtype=np.float64)


@pytest.mark.parametrize(("bits", "size"), [(4, 16), (2, 20), (3, -1)])
def test_hqq(bits, size):
    w, _, _ = layer()
    grid = AffineGrid(bits, size)
    result = hqq(w, None, grid, trace=True)
    scales, zeros = grid.params(w)
    width = size if size > 0 else 48
    groups = [w[:, k : k + width].astype(np.float64) for k in range(0, 48, width)]
    z, beta, history = zeros.astype(np.float64), 10.0, []
    for _ in range(len(result.trace["mean_error"])):
        errors, new = [], np.empty_like(z)
        for r in range(24):
            for g, group in enumerate(groups):
                q = np.clip(np.rint(group[r] / scales[r, g] + z[r, g]), 0, 2**bits - 1)
                off = group[r] - scales[r, g] * (q - z[r, g])
                e = np.array([np.sign(o) * max(abs(o) - abs(o) ** -0.3 / beta, 0) if o else 0.0 for o in off])
                new[r, g] = np.mean(q - (group[r] - e) / scales[r, g])
                errors.extend(abs(off))
        history.append(np.mean(errors))
        z, beta = new, beta * 1.01
    # each error is a difference of float32 numbers as large as the weight, after a dozen operations on the zero point;
    # their mean is shifted by at most as much
    bound = 16 * U * np.abs(w).mean(dtype=np.float64) * len(history)
    assert_within(result.trace["mean_error"], history, bound)
    mean = np.abs(w.astype(np.float64) - result.weight).mean()
    assert_within(mean, min(history), bound)
    assert mean < np.abs(w - rtn(w, None, grid).weight).mean()
    stored = result.scales[:, result.g_idx] * (result.codes - result.zero_points[:, result.g_idx])
    np.testing.assert_array_equal(stored.astype(np.float32), result.weight)
    assert result.bpw == bits + 32 * scales.size / w.size


def test_smoothquant():
    w, x, held_out = layer(outliers=[7, 30])
    grid, tokens = AffineGrid(8, -1, True), AffineGrid(8, -1, True)
    r = smoothquant(w, ActivationStats.from_inputs(x), grid, alpha=0.6)
    s = np.abs(x).max(0).astype(float) ** 0.6 / np.abs(w).max(0).astype(float) ** 0.4
    assert_within(r.equivalence_scale, s, size_bound(s, 8))  # two powers, which may be a few ulps off, and a quotient
    assert (np.abs((x / s) @ (w * s).T - x @ w.T) <= 2 * dot_bound(x, w, roundings=4)).all()
    whole = held_out @ w.T
    plain = round_inputs(held_out, tokens) @ rtn(w, None, grid).weight.T
    smooth = round_inputs(held_out / r.equivalence_scale, tokens) @ (r.weight * r.equivalence_scale).T
    assert np.square(smooth - whole).sum() < 0.5 * np.square(plain - whole).sum()


def test_static_and_dynamic_ranges():
    _, x, held_out = layer()
    grid = AffineGrid(8, -1)
    low, high = choose_range(x, grid, "percentile", percentile=99)
    static, scale = round_inputs(held_out, grid, (low, high)), (high - low) / 255
    zero = np.rint(-low / scale)
    expected = scale * (np.clip(np.rint(held_out / scale) + zero, 0, 255) - zero)
    bound = size_bound(np.abs(held_out) + scale, 4)
    assert_within(static, expected, scale + bound)  # a step, where a tie falls to the other side
    assert np.mean(np.abs(static - expected) > bound) < 0.001
    each = [grid.fake_quantize(token[None])[0] for token in held_out]
    assert np.array_equal(round_inputs(held_out, grid), each)
    assert round_inputs(held_out.reshape(2, -1, 48), grid).shape == (2, 750, 48)
    for ends in ((1.0, 2.0), (0.0, 0.0), (-np.inf, 1.0), (np.nan, 1.0), 5, ("a", "b")):
        with pytest.raises(CalibrationError):
            round_inputs(x, grid, ends)


@pytest.mark.parametrize("n", [1, 2, 16, 12, 48, 144, 576, 1536])
def test_hadamard(n):
    H = hadamard(n).astype(np.float64)
    assert_within(H @ H.T, np.eye(n), 3 * U)  # n products of entries that were rounded once: n · 2 · U / n
    assert_within(np.abs(H), n**-0.5, size_bound(n**-0.5, 1))
    if n in (2, 16):
        assert_within(H * n**0.5, scipy.linalg.hadamard(n), size_bound(1, 1))


def test_hadamard_in_blocks():
    H = hadamard(40)
    assert not H[:8, 8:].any()
    assert_within(H.astype(np.float64) @ H.T, np.eye(40), 3 * U)


@pytest.mark.parametrize("method", [rtn, gptq, recommended])
def test_rotation(method):
    w, x, held_out = layer(outliers=[7, 30])
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(3, -1)
    r = rotation(w, stats, grid, method=method, seed=3)
    again = method(w @ r.rotation, ActivationStats.from_inputs(x @ r.rotation), grid)
    assert np.mean(again.codes != r.codes) < 0.02
    stored = r.scales[:, r.g_idx] * (r.codes - r.zero_points[:, r.g_idx])
    # three products of 48 terms: of the inputs, of the weights, of both
    size = np.abs(x) @ np.abs(r.rotation) @ np.abs(stored).T
    assert (np.abs((x @ r.rotation) @ stored.T - x @ r.weight.T) <= (3 * 48 + 6) * U * size).all()
    assert loss(w, r.weight, held_out) < 0.9 * loss(w, method(w, stats, grid).weight, held_out)
    assert not np.array_equal(r.rotation, rotation(w, stats, grid, method=method, seed=4).rotation)


def test_rotated_statistics():
    _, x, _ = layer()
    R = np.linalg.qr(np.random.default_rng(0).standard_normal((48, 48)))[0].astype(np.float32)
    turned = ActivationStats.from_inputs(x).rotated(R)
    # on either side a sum over the tokens and two products with R; H by the roots of its diagonal, as in `form_bound`
    size = np.abs(R).T @ np.sqrt(np.diagonal(ActivationStats.from_inputs(x).hessian))
    bound = 2 * (len(x) + 2 * 48) * U * np.outer(size, size)
    assert (np.abs(turned.hessian - ActivationStats.from_inputs(x @ R).hessian) <= bound).all()
    for name in ("mean_abs", "max_abs"):
        with pytest.raises(CalibrationError, match="rotated"):
            getattr(turned, name)
    with pytest.raises(CalibrationError):
        turned.rotated(R[1:])


def test_what_is_refused():
    w, x, _ = layer()
    stats, grid = ActivationStats.from_inputs(x), AffineGrid(4, 16)
    for call in (
        lambda: hqq(w, stats, AffineGrid(4, 16, True)),
        lambda: hqq(w, stats, AffineGrid(4, 0)),
        lambda: hqq(w, stats, grid, iterations=0),
        lambda: hqq(w * np.nan, stats, grid),
        lambda: smoothquant(w, stats, grid, alpha=2),
        lambda: smoothquant(w, stats, grid, alpha="half"),
        lambda: smoothquant(w, None, grid),
        lambda: rotation(w.T, stats, grid),
        lambda: rotation(w, stats, grid, method=3),
        lambda: rotation(w, stats, grid, seed="x"),
        lambda: hadamard(0),
        lambda: damping("many", 3),
        lambda: keep_salient(w, stats, grid, part="a"),
    ):
        with pytest.raises(MethodError):
            call()
    with pytest.raises(CalibrationError, match="rotated"):
        rotation(w, stats, grid, method=awq)
    x[:, 3], w[:, 5] = 0, 0
    for method in (smoothquant, rotation, hqq):
        assert np.isfinite(method(w, ActivationStats.from_inputs(x), grid).weight).all()
    assert np.isfinite(hqq(np.zeros((2, 32)), None, grid).weight).all()
