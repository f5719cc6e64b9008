"""The bounds hold for sums in any order, and would not hold for a wrong result."""

import bounds
import numpy as np
import pytest

import qviz

RNG = np.random.default_rng(8)


def in_some_order(terms):
    """A float32 sum, one term after the other."""
    total = np.float32(0)
    for term in RNG.permutation(np.asarray(terms, np.float32)):
        total = np.float32(total + term)
    return total


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_sum_in_any_order(scale):
    terms = (RNG.standard_normal(300) * scale ** RNG.uniform(0, 1, 300)).astype(np.float32)
    exact, bound = terms.astype(np.float64).sum(), bounds.sum_bound(terms)
    found = np.array([in_some_order(terms) for _ in range(20)])
    assert (np.abs(found - exact) <= bound).all()
    assert len(set(found.tolist())) > 1, "the order matters"
    assert bound < np.abs(terms).max() / 10, "a term that is left out shows"


def test_a_product():
    x, w = (RNG.standard_normal((5, 200)).astype(np.float32) for _ in range(2))
    bound = bounds.dot_bound(x, w)
    exact = x.astype(np.float64) @ w.T.astype(np.float64)
    assert (np.abs(x @ w.T - exact) <= bound).all()
    assert (np.abs(x[:, :-1] @ w[:, :-1].T - exact) > bound).mean() > 0.9


def test_blocks():
    tensor = qviz.quantize(RNG.standard_normal((4, 256)).astype(np.float32), "Q4_1")
    x = RNG.standard_normal((3, 256)).astype(np.float32)
    codes = np.rint(x * 127 / np.abs(x).max()) * (np.abs(x).max() / 127)
    bound = bounds.block_bound(tensor, x)
    exact = codes.astype(np.float64) @ tensor.dequantize().T.astype(np.float64)
    assert (np.abs(codes.astype(np.float32) @ tensor.dequantize().T - exact) <= bound).all()
    assert (bound < np.abs(exact).mean() / 100).all()


def test_pairs():
    a = RNG.standard_normal(4000)
    b = a + 0.01 * RNG.standard_normal(4000)
    assert abs(a.mean() - b.mean()) <= bounds.paired_bound(a, b)
    # stated: a spread of 4000 is known to a few percent
    assert bounds.paired_bound(a, b) == pytest.approx(5 * 0.01 / 4000**0.5, rel=0.1)
    assert bounds.paired_bound(a, b, 1000) == pytest.approx(2 * bounds.paired_bound(a, b))
