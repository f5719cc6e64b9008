"""Activation statistics against NumPy in float64, and ranges against exhaustive search."""

import bounds
import numpy as np
import pytest
from bounds import dot_bound

from qviz.calibration import ActivationStats, Collector
from qviz.errors import CalibrationError
from qviz.grids import AffineGrid, choose_range, range_errors, round_inputs

X = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32) * np.float32([1, 2, 3, 0, 50, 0.1])


def test_against_float64():
    stats = ActivationStats.from_inputs(X)
    x = X.astype(np.float64)
    assert (np.abs(stats.hessian - 2 / 500 * x.T @ x) <= 2 / 500 * dot_bound(x.T, x.T, roundings=2)).all()
    mean_abs, mean_sq = np.abs(x).mean(0), (x**2).mean(0)
    bounds.assert_within(stats.mean_abs, mean_abs, bounds.size_bound(mean_abs, 1))  # summed as float64
    bounds.assert_within(stats.mean_sq, mean_sq, bounds.size_bound(mean_sq, 500 + 2))
    assert stats.hessian.dtype == stats.mean_abs.dtype == np.float32
    assert stats.n_tokens == 500


def test_in_pieces_merged_saved(tmp_path):
    whole = ActivationStats.from_inputs(X)
    parts = ActivationStats.from_inputs(X[:100]).update(X[100:300].reshape(2, 100, 6))
    both = parts.merge(ActivationStats.from_inputs(X[300:]))
    assert parts.n_tokens == 300
    assert (np.abs(both.hessian - whole.hessian) <= 2 * 2 / 500 * dot_bound(X.T, X.T, roundings=4)).all()
    back = ActivationStats.load(both.save(tmp_path / "s.npz"))
    assert np.array_equal(back.hessian, both.hessian)
    assert np.array_equal(back.mean_abs, both.mean_abs)
    assert back.n_tokens == 500


def test_without_products(tmp_path):
    """The same means, no Hessian, and memory for the channels alone; merged, only what both have is left."""
    x = np.random.default_rng(5).standard_normal((300, 48)).astype(np.float32)
    whole, light = ActivationStats.from_inputs(x), ActivationStats(48, products=False).update(x[:100])
    light = light.merge(ActivationStats.from_inputs(x[100:]))
    light = ActivationStats.load(light.save(tmp_path / "light.npz"))
    assert np.array_equal(light.max_abs, whole.max_abs)
    wide = x.astype(np.float64)
    mean_abs, mean_sq = np.abs(wide).mean(0), (wide**2).mean(0)
    bounds.assert_within(light.mean_abs, mean_abs, bounds.size_bound(mean_abs, 1))  # summed as float64
    bounds.assert_within(light.mean_sq, mean_sq, bounds.size_bound(mean_sq, 200 + 2))  # 200 of them as float32
    for work in (lambda: light.hessian, lambda: light.rotated(np.eye(48, dtype=np.float32))):
        with pytest.raises(CalibrationError, match="collect them with products=True"):
            work()
    assert (tmp_path / "light.npz").stat().st_size < 8 * 48 * 48
    collect = Collector(products=False)
    collect("a", x)
    assert collect.stats["a"].mean_abs.tolist() == whole.mean_abs.tolist()


def test_many_tokens_lose_nothing():
    stats = ActivationStats(1)
    for _ in range(300):
        stats.update(np.full((4096, 1), 4096.5, np.float32))
    assert stats.mean_abs[0] == 4096.5
    # each chunk is a float32 product; chunks are summed as float64
    bounds.assert_within(stats.mean_sq[0], 4096.5**2, bounds.size_bound(4096.5**2, 4096 + 2))
    assert abs(stats.mean_sq[0] - 4096.5**2) < 4096.5  # stated: a float32 sum of all would be off by thousands


def test_collector():
    a, b = Collector(), Collector()
    a("q", X[:10])
    a("q", X[10:20])
    b("q", X[20:30])
    b("k", X)
    a.merge(b.stats)
    assert {name: s.n_tokens for name, s in a.stats.items()} == {"q": 30, "k": 500}


@pytest.mark.parametrize(
    "x", [np.zeros(3), np.zeros((0, 3)), [[np.nan, 1]], [[np.inf, 1]], [["a"]], np.zeros((1, 2), complex)]
)
def test_wrong_inputs(x):
    with pytest.raises(CalibrationError):
        ActivationStats.from_inputs(x)


def test_a_refused_batch_changes_nothing(tmp_path):
    stats = ActivationStats.from_inputs(X)
    before = stats.hessian
    for bad in (np.full((2, 6), np.nan), np.zeros((2, 5)), np.full((2, 6), 3e19)):
        with pytest.raises(CalibrationError):
            stats.update(bad)
    assert np.array_equal(stats.hessian, before)
    with pytest.raises(CalibrationError, match="update"):
        _ = ActivationStats(3).hessian
    with pytest.raises(CalibrationError):
        stats.merge(ActivationStats(5))
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04nonsense")
    for name in ("x.npz", "missing.npz"):
        with pytest.raises(CalibrationError):
            ActivationStats.load(tmp_path / name)


def error(x, ends, grid):
    low, high = ends
    scale = (high - low) / (2**grid.bits - 1)
    zero = 2 ** (grid.bits - 1) if grid.sym else np.rint(-low / scale)
    q = np.clip(np.rint(x / scale) + zero, 0, 2**grid.bits - 1)
    return np.mean((x - scale * (q - zero)) ** 2)


@pytest.mark.parametrize("sym", [False, True])
def test_ranges(sym):
    x = np.random.default_rng(1).standard_normal(4000).astype(np.float32)
    x[0] = 30
    grid = AffineGrid(3, -1, sym)
    ranges = {m: choose_range(x, grid, m) for m in ("minmax", "percentile", "mse", "kl")}
    assert ranges["minmax"] == ((-30, 30) if sym else (x.min(), 30))
    full = ranges["minmax"]
    best = min((tuple(e * (1 - i / 100) for e in full) for i in range(80)), key=lambda e: error(x, e, grid))
    assert ranges["mse"] == pytest.approx(best)
    for m in ("percentile", "mse", "kl"):
        assert ranges[m][1] < 0.8 * 30
        assert error(x, ranges[m], grid) < error(x, full, grid)
        assert ranges[m][0] <= 0 <= ranges[m][1]
    assert not sym or ranges["kl"][0] == -ranges["kl"][1]


@pytest.mark.parametrize("sym", [False, True])
@pytest.mark.parametrize("size", [0, -1, 20])
def test_errors_inside_and_outside_a_shrunken_range(sym, size):
    """Value by value in float64, from the formulas of the grid alone."""
    x = np.random.default_rng(4).standard_t(3, (4, 50)).astype(np.float32)
    groups = {0: [x.ravel()], -1: list(x), 20: [row[i : i + 20] for row in x for i in (0, 20, 40)]}[size]
    shares = [1.0, 0.7, 0.31]
    errors = range_errors(x, AffineGrid(3, size, sym), shares)
    split, alone, most = np.zeros((2, 3)), np.zeros((len(groups), 3)), np.zeros(3)
    for g, group in enumerate(groups):
        low, high = min(group.min(), 0), max(group.max(), 0)
        if sym:
            low, high = -max(high, -low), max(high, -low)
        zero = 4 if sym else np.rint(-low / ((high - low) / 7))
        for k, share in enumerate(shares):
            scale = share * (high - low) / 7
            wanted = np.rint(group / scale) + zero
            off = (group - scale * (np.clip(wanted, 0, 7) - zero)) ** 2
            outside = (wanted < 0) | (wanted > 7)
            split[:, k] += off[outside].sum(), off[~outside].sum()
            alone[g, k] = off.sum()
            size = np.abs(group) + np.abs(scale) * 8
            most[k] += bounds.errors_bound(np.sqrt(off), size, roundings=4)
    bounds.assert_within(errors.clipping, split[0], most)
    bounds.assert_within(errors.rounding, split[1], most)
    assert errors.best.ravel().tolist() == np.take(np.float32(shares), alone.argmin(1)).tolist()


def test_errors_at_the_full_range_are_those_of_the_grid():
    x = np.random.default_rng(5).standard_normal((8, 96)).astype(np.float32)
    for grid in (AffineGrid(4, 32), AffineGrid(2, -1, True), AffineGrid(8, 0)):
        whole = np.square(x.astype(np.float64) - grid.fake_quantize(x)).sum()
        bounds.assert_within(range_errors(x, grid, [1]).total[0], whole, 2 * x.size * bounds.DOUBLE * whole)


def test_errors_with_a_range_chosen_elsewhere():
    x = np.random.default_rng(6).standard_normal((3, 70)).astype(np.float32)
    grid, ends = AffineGrid(3), (-1.5, 0.5)
    for share in (1.0, 0.5):
        rounded = round_inputs(x, grid, (share * ends[0], share * ends[1]))
        errors = range_errors(x, grid, [share], ends)
        off = x.astype(np.float64) - rounded
        bound = bounds.errors_bound(off, np.abs(x) + np.abs(rounded), roundings=4, axis=None)
        bounds.assert_within(errors.total[0], np.square(off).sum(), bound)
    with pytest.raises(CalibrationError, match="enclose zero"):
        range_errors(x, grid, [1], (1.0, 2.0))


def test_wrong_shares():
    for x, shares in (([[1.0]], []), ([[1.0]], [0]), ([[1.0]], [np.nan]), ([], [1]), ([[np.inf]], [1]), (1.0, [1])):
        with pytest.raises(CalibrationError):
            range_errors(x, AffineGrid(), shares)
    with pytest.raises(CalibrationError, match="AffineGrid"):
        range_errors([[1.0]], "grid", [1])


def test_wrong_ranges():
    grid = AffineGrid()
    assert choose_range([0.0, 0.0], grid, "kl") == (0, 0)
    for args in (([], grid), ([np.nan], grid), ([1.0], grid, "best"), ([1.0], "grid")):
        with pytest.raises(CalibrationError):
            choose_range(*args)
    for options in ({"percentile": "a"}, {"steps": 2.5}, {"steps": None}, {"percentile": 20}):
        with pytest.raises(CalibrationError):
            choose_range([1.0], grid, **options)
