"""Codebooks of groups, beside SciPy's k-means and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.vq import kmeans2, vq

from qviz.errors import GridError
from qviz.grids import kmeans_vectors

WEIGHTS = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)


@pytest.mark.parametrize(("together", "bits"), [(1, 2), (2, 2), (4, 1), (8, 1)])
def test_the_points_of_scipy_from_the_same_start(together, bits):
    groups, n = WEIGHTS.reshape(-1, together).astype(np.float64), 1 << bits * together
    start = groups[:: len(groups) // n][:n]
    theirs, _ = kmeans2(groups, start, iter=5, minit="matrix")
    ours = kmeans_vectors(WEIGHTS, together, bits, iterations=5)
    # means of at most len(groups) numbers below 5, rounded to float32 in each of five iterations
    np.testing.assert_allclose(ours.points, theirs, rtol=0, atol=5 * 5 * 2.0**-24 * len(groups) / n)
    np.testing.assert_array_equal(ours.quantize(WEIGHTS), vq(groups, ours.points.astype(np.float64))[0])


def test_groups_by_hand():
    # the first and the third group are the start; the second goes to the first, the fourth to the third
    book = kmeans_vectors([[0, 0, 0, 2], [8, 4, 8, 8]], together=2, bits=0, iterations=1)
    assert book.points.tolist() == [[4.0, 3.5]]
    book = kmeans_vectors([0, 2, 9, 5], together=1, bits=1, iterations=1)
    assert book.points.ravel().tolist() == [1.0, 7.0]
    assert book.quantize([[0, 3.9], [4.1, 100]]).tolist() == [0, 0, 1, 1]
    assert book.fake_quantize([[0, 3.9], [4.1, 100]]).tolist() == [[1, 1], [7, 7]]
    assert book.bpw == 1


@pytest.mark.parametrize(
    ("weight", "together", "bits", "says"),
    [
        ([[1.0, 2.0, 3.0]], 2, 1, "whole number of groups of 2"),
        ([[1.0, np.nan]], 2, 0, "finite"),
        ([[1.0, 2.0]], 2, 1, "1 groups are too few for 4 points"),
        (WEIGHTS, 8, 3, "2\\*\\*24 points"),
        (WEIGHTS, 0, 1, "together"),
        (1.0, 1, 1, "shape"),
    ],
)
def test_what_is_refused(weight, together, bits, says):
    with pytest.raises(GridError, match=says):
        kmeans_vectors(weight, together, bits)
