"""The plane of the capstone: what is hidden, what is shown, the front, the best that is allowed."""

import numpy as np
import pytest

from qviz.course.missions.figure import chooser
from qviz.errors import WidgetError


def plane(sizes, damage, kept, **changes):
    settings = {"budget": 5.0, "size": 4.0, "predicted": (0.01, 0.04)} | changes
    return chooser([f"f{i}" for i in range(len(sizes))], sizes, damage, kept, **settings)


def test_front_and_best_by_brute_force():
    rng = np.random.default_rng(2)
    for _ in range(40):
        sizes, damage, kept = rng.integers(1, 9, 7), rng.integers(1, 9, 7) / 10, rng.random(7) < 0.6
        found = plane(sizes, damage, kept)
        points = np.column_stack([sizes, damage])
        worth = [
            i
            for i, a in enumerate(points)
            if not any((b <= a).all() and ((b < a).any() or j < i) for j, b in enumerate(points) if j != i)
        ]
        assert found.front.tolist() == sorted(worth, key=lambda i: sizes[i])
        if kept.any():
            assert kept[found.best]
            assert damage[found.best] == damage[kept].min()
        else:
            assert found.best == -1


def test_nothing_shows_before_it_is_measured():
    found = plane([3, 4], None, [True, False])
    assert np.isnan(found.damage).all()
    assert (found.front.size, found.best) == (0, -1)
    assert found.kept.tolist() == [1, 0]


def test_tries_are_kept_in_order():
    found = plane([3, 4], [0.2, 0.1], [True, True], tries=[("a", 3.0, 0.2), ("b", 3.5, 0.15)])
    assert found.tries == ("a", "b")
    assert found.tried.tolist() == [[3.0, 0.2], [3.5, 0.15]]


@pytest.mark.parametrize(
    "changes", [{"budget": 0}, {"size": np.nan}, {"predicted": (0.2, 0.1)}, {"predicted": (0, 0.1)}, {"low": 2.0}]
)
def test_what_is_refused(changes):
    with pytest.raises(WidgetError, match="positive"):
        plane([3, 4], None, [True, True], **changes)


def test_one_of_each_is_needed():
    with pytest.raises(WidgetError, match="2 names"):
        chooser(["a", "b"], [1], None, [True, True], budget=1, size=1, predicted=(0.1, 0.2))
