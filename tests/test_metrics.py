"""Error measures against exact sums and NumPy, and their edge cases."""

import math

import bounds
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

import qviz
from qviz import metrics
from qviz.errors import FormatError, ShapeError

pytestmark = pytest.mark.filterwarnings("error")

MEASURES = ("mse", "rmse", "max_abs_error", "sqnr_db", "relative_error", "cosine_similarity")

SIDE = 30
# of a quotient of two float64 sums of squares, as many as there are in the largest array
EXACT = 2 * (SIDE**3 + 3) * bounds.DOUBLE

pairs = hnp.array_shapes(max_dims=3, max_side=SIDE).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.float32, shape, elements=st.floats(-1e6, 1e6, width=32))] * 2)
)


@given(pairs)
@settings(deadline=None)
def test_against_exact_sums(pair):
    x, y = (a.astype(float).ravel() for a in pair)
    c = metrics.compare(*pair)
    error = math.fsum((x - y) ** 2)
    signal, other = math.fsum(x * x), math.fsum(y * y)
    assert c.n == x.size
    assert c.mse == pytest.approx(error / x.size, rel=EXACT)
    assert c.rmse == pytest.approx(math.sqrt(error / x.size), rel=EXACT)
    assert c.max_abs_error == np.abs(x - y).max()
    if error and signal:
        assert c.sqnr_db == pytest.approx(10 * math.log10(signal / error), abs=bounds.decibel_bound(1, 2 * EXACT))
        assert c.relative_error == pytest.approx(math.sqrt(error / signal), rel=EXACT)
    if signal and other:
        assert c.cosine == pytest.approx(math.fsum(x * y) / math.sqrt(signal) / math.sqrt(other), abs=2 * EXACT)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 1000, 70_001])
def test_every_weight_counts_once(n):
    x, y = np.zeros(n, np.float32), np.zeros(n, np.float32)
    for where in (0, n // 2, n - 1):
        y[:] = 0
        y[where] = 3
        assert metrics.mse(x, y) == 9 / n
        assert metrics.max_abs_error(x, y) == 3


def test_sums_are_float64():
    # float32 would lose the ones beside 2^24
    x = np.ones((3000, 6000), np.float32)
    assert metrics.compare(x, x * 0).signal == 18_000_000
    # and float64 input keeps its last digits
    # stated: 1 + 1e-12 is not a float64
    assert metrics.max_abs_error([1.0], [1.0 + 1e-12]) == pytest.approx(1e-12, rel=1e-3)


def test_measures_and_comparison_agree():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 5, 7)).astype(np.float32)
    c = metrics.compare(x, y)
    values = [getattr(metrics, name)(x, y) for name in MEASURES]
    assert values == [c.mse, c.rmse, c.max_abs_error, c.sqnr_db, c.relative_error, c.cosine]
    assert all(type(v) is float for v in values)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        # mse, rmse, max, sqnr, relative, cosine
        ([0.0, 0.0], [0.0, 0.0], (0, 0, 0, math.inf, 0, 1)),
        ([1.0, 2.0], [1.0, 2.0], (0, 0, 0, math.inf, 0, 1)),
        ([0.0, 0.0], [3.0, 4.0], (12.5, math.sqrt(12.5), 4, -math.inf, math.inf, 0)),
        ([3.0, 4.0], [0.0, 0.0], (12.5, math.sqrt(12.5), 4, 0, 1, 0)),
        ([1.0, 0.0], [-1.0, 0.0], (2, math.sqrt(2), 2, -10 * math.log10(4), 2, -1)),
    ],
)
def test_edge_cases(x, y, expected):
    assert [getattr(metrics, name)(x, y) for name in MEASURES] == pytest.approx(list(expected), abs=EXACT)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_never_hidden(bad):
    x = np.ones(1000, np.float32)
    y = x.copy()
    y[700] = bad
    values = [getattr(metrics, name)(x, y) for name in MEASURES]
    assert not any(math.isfinite(v) for v in values[:4])
    if math.isnan(bad):
        assert all(math.isnan(v) for v in values)
        assert all(math.isnan(getattr(metrics, name)(y, x)) for name in MEASURES)


def test_extreme_magnitudes_do_not_overflow():
    big = np.float64([1e200, 1e200])
    assert metrics.sqnr_db(np.float32([3e38]), np.float32([0])) == 0
    assert metrics.relative_error(np.float32([1e-45]), np.float32([0])) == 1
    assert metrics.cosine_similarity(np.float32([3e38, 0]), np.float32([3e38, 3e38])) == pytest.approx(0.5**0.5)
    assert metrics.mse(big, big) == 0


def test_tensors_are_dequantized():
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    t, grid = qviz.quantize(x, "Q4_0"), qviz.AffineGrid(4, 32)
    assert metrics.rmse(x, t) == metrics.rmse(x, t.dequantize()) > 0
    assert metrics.rmse(x, grid.quantize(x)) == metrics.rmse(x, grid.fake_quantize(x)) > 0


@pytest.mark.parametrize("name", [*MEASURES, "compare"])
def test_arrays_that_cannot_be_compared(name):
    measure = getattr(metrics, name)
    for x, y in [([1.0], [1.0, 2.0]), ([[1.0]], [1.0]), ([], []), (1.0, [1.0])]:
        with pytest.raises(ShapeError, match="same shape"):
            measure(x, y)
    with pytest.raises(FormatError, match="approximation must be real numbers"):
        measure([1.0], ["a"])
    with pytest.raises(FormatError, match="reference must be real numbers"):
        measure([1j], [1.0])


def test_bits_per_weight():
    assert metrics.bits_per_weight(34, 32) == 8.5
    for nbytes, n in [(1, 0), (1, -1), (-1, 1)]:
        with pytest.raises(ShapeError):
            metrics.bits_per_weight(nbytes, n)


def test_output_error_is_about_products():
    rng = np.random.default_rng(5)
    x, w, v = (rng.standard_normal(shape).astype(np.float32) for shape in ((30, 8), (5, 8), (5, 8)))
    wide = [a.astype(float) for a in (x, w, v)]
    gram = wide[0].T @ wide[0]
    off = wide[1] - wide[2]
    expected = np.trace(off @ gram @ off.T) / np.trace(wide[1] @ gram @ wide[1].T)
    assert metrics.output_error(x, w, v) == pytest.approx(expected, rel=EXACT)
    x[:, 3] = 0
    changed = w.copy()
    changed[:, 3] += 100
    assert metrics.output_error(x, w, changed) == 0
    assert metrics.output_error(x, w * 0, changed) == math.inf
    changed[0, 0] = np.nan
    assert math.isnan(metrics.output_error(x, w, changed))
    for wrong in ((x[0], w, w), (x[:, 1:], w, w), (x[:0], w, w), (x, w[0], w[0]), (x, w, w.T)):
        with pytest.raises(ShapeError):
            metrics.output_error(*wrong)


@pytest.mark.parametrize("values", [2, 5, 1000], ids=lambda n: f"{n} values")
def test_rank_correlation_is_scipys(values):
    """With few values, most share their ranks.

    A quotient has the roundings of `n` products above, as many below, and of four steps beside; there are two.
    """
    rng = np.random.default_rng(values)
    for n in (3, 17, 400):
        x, y = rng.integers(0, values, (2, n)).astype(np.float64)
        x[:2], y[:2] = (0, 1), (1, 0)
        theirs = stats.spearmanr(x, y).statistic
        assert abs(metrics.rank_correlation(x, y) - theirs) <= 2 * (2 * n + 4) * bounds.DOUBLE


def test_rank_correlation_at_its_ends():
    assert metrics.rank_correlation([1, 2, 3], [0.1, 1e300, np.inf]) == 1
    assert metrics.rank_correlation([1, 2, 3], [5, 1, 0]) == -1
    for x, y in (([1, 1, 1], [1, 2, 3]), ([1, 2, np.nan], [1, 2, 3]), ([7], [7])):
        assert math.isnan(metrics.rank_correlation(x, y))
    with pytest.raises(ShapeError, match=r"y has shape \(2,\)"):
        metrics.rank_correlation([1, 2, 3], [1, 2])
