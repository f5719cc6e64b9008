"""Pairs in a plane: points and cells worked out by hand, and beside a search of all."""

import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import pair_plane
from qviz.figures.pair_plane import borders

RNG = np.random.default_rng(4)
# Corners of cells solve two equations of coordinates up to 6 in float64, with a determinant above 1e-3 here: a few
# roundings of 6² · 2⁻⁵³, a thousand times as large at most.
TINY = 32 * 6**2 * 2**-53 * 1e3


def test_a_plane_by_hand():
    plane = pair_plane([[1, 1], [-3, 2], [2, -1]], [[-2, 0], [2, 0]], 1, reach=4)
    assert plane.taken.tolist() == [1, 0, 1]
    assert plane.errors.tolist() == [1.0, 2.5, 0.5]
    assert plane.mean_square == 4 / 3
    assert plane.counts.tolist() == [1, 2]
    (edge,) = plane.edges.tolist()
    assert sorted([edge[:2], edge[2:]]) == [[0, -4], [0, 4]]
    assert (plane.current, plane.reach) == (1, 4.0)
    assert pair_plane([[0, 0]], [[0, 0]]).reach > 0


def test_a_border_is_as_far_from_both_points_and_nearer_to_no_other():
    points = RNG.uniform(-1, 1, (12, 2)).astype(np.float32)
    edges = borders(points, 1.5)
    middles = (edges[:, :2] + edges[:, 2:]) / 2
    far = np.sort(np.hypot(*(middles[:, None] - points[None]).transpose(2, 0, 1)), axis=1)
    assert (far[:, 1] - far[:, 0] < TINY).all()
    assert (far[:, 2] - far[:, 0] > -TINY).all()
    assert np.abs(edges).max() < 1.5 + TINY
    # where a way across the plane changes its nearest point, it crosses a border
    assert len(borders(points[:1], 1.5)) == 0
    assert len(borders(np.concatenate([points, points]), 1.5)) == len(edges), "twice the same point is one"


def test_a_grid_of_points_has_square_cells():
    levels = np.arange(-1.5, 2)
    points = np.stack(np.meshgrid(levels, levels), axis=-1).reshape(-1, 2)
    edges = borders(points, 2.0)
    assert len(edges) == 24  # between neighbours, and none where four cells meet
    np.testing.assert_allclose(np.abs(edges[:, :2] - edges[:, 2:]).sum(axis=1), 1, rtol=0, atol=TINY)


def test_what_else_has_chosen_has_no_cells():
    plane = pair_plane([[0, 0], [1, 1]], [[0, 0], [1, 1]], taken=[1, 1], counts=[5, 7])
    assert plane.errors.tolist() == [1.0, 0.0]
    assert plane.counts.tolist() == [5, 7]
    assert plane.edges.shape == (0, 4)


@pytest.mark.parametrize(
    "given", [{"taken": [0]}, {"taken": [0, 2]}, {"taken": [0, -1]}, {"counts": [1]}, {"counts": [[1, 2]]}]
)
def test_points_that_are_chosen_have_to_be_there(given):
    with pytest.raises(WidgetError, match=r"taken|counts"):
        pair_plane([[0, 0], [1, 1]], [[0, 0], [1, 1]], **given)


@pytest.mark.parametrize(
    ("pairs", "points", "current", "says"),
    [
        ([[1, 2, 3]], [[0, 0]], 0, "n_pairs, 2"),
        ([[1, np.nan]], [[0, 0]], 0, "finite"),
        ([[1, 2]], np.empty((0, 2)), 0, "shape"),
        ([[1, 2]], [[0, 0]], 1, "no pair 1"),
    ],
)
def test_what_is_refused(pairs, points, current, says):
    with pytest.raises(WidgetError, match=says):
        pair_plane(pairs, points, current)
