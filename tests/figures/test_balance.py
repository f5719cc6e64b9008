"""Fronts, budgets, and where two texts part."""

import bounds
import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import balance, token_duel
from qviz.figures.duel import token_odds


def test_the_front_by_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = rng.integers(0, 12, (9, 2))
        found = balance([str(i) for i in range(9)], points[:, 0], points[:, 1], np.zeros(9), budget=6)
        beaten = [
            any((b <= a).all() and ((b < a).any() or j < i) for j, b in enumerate(points) if j != i)
            for i, a in enumerate(points)
        ]
        assert sorted(found.front.tolist()) == [i for i in range(9) if not beaten[i]]
        assert found.front.tolist() == sorted(found.front.tolist(), key=lambda i: points[i, 0])
        assert (found.fits == (points[:, 0] <= 6)).all()
        if found.fits.any():
            assert points[found.best, 1] == points[points[:, 0] <= 6, 1].min()
        else:
            assert found.best == -1


def test_each_series_has_a_front_of_its_own():
    sizes, damage = [4, 5, 6, 4, 5], [3, 2, 2.5, 1, 1.5]
    found = balance(list("abcde"), sizes, damage, [0] * 5, budget=9, series=[0, 0, 0, 1, 1], titles=["x", "y"], ghost=2)
    assert found.front.tolist() == [3]  # nothing is smaller than d, nothing better
    assert [front.tolist() for front in found.fronts] == [[0, 1], [3]]
    assert found.series.tolist() == [0, 0, 0, 1, 1]
    assert found.ghost == 2
    assert balance(["a", "b"], [1, 2], [2, 1], [0, 0], budget=9, ghost=7).ghost == -1
    traces = [trace.name for trace in found.plotly().data]
    assert {"x", "y"} <= set(traces)
    with pytest.raises(WidgetError, match="series holds 2; whole numbers from 0 to 1"):
        balance(["a", "b"], [1, 2], [2, 1], [0, 0], budget=9, series=[0, 2], titles=["x", "y"])


def test_a_budget_that_nothing_fits():
    assert balance(["a"], [5], [1], [0], budget=4).best == -1


@pytest.mark.parametrize(
    ("names", "sizes", "says"), [([], [], "0 names"), (["a"], [1, 2], "1 names, 2 sizes"), (["a"], [np.nan], "finite")]
)
def test_what_is_refused(names, sizes, says):
    with pytest.raises(WidgetError, match=says):
        balance(names, sizes, [1] * len(names), [0] * len(names), budget=1)


@pytest.mark.parametrize(
    ("left", "right", "parts"), [("abc", "abd", 2), ("abc", "abc", 3), ("ab", "abc", 2), ("", "a", 0), ("x", "a", 0)]
)
def test_where_texts_part(left, right, parts):
    duel = token_duel("p", ("l", "r"), (list(left), list(right)))
    assert duel.parts == parts
    assert duel.tokens == (tuple(left), tuple(right))


def test_what_two_models_held_probable():
    """Logits 0 and ln 3 are a quarter and three quarters; a third token has none."""
    logits = [[0, np.log(3), -np.inf], [np.log(3), 0, -np.inf]]
    odds = token_odds(("l", "r"), logits, [1, 0], ["a", "b", "c"].__getitem__, same=False, most=2)
    assert odds.tokens == ("a", "b")
    bounds.assert_within(odds.odds, [[0.25, 0.75], [0.75, 0.25]], bounds.size_bound(1, 8))
    assert odds.chosen.tolist() == [1, 0]
    assert not odds.same
    rare = token_odds(("l", "r"), logits, [2, 0], ["a", "b", "c"].__getitem__, most=1)
    assert rare.tokens[rare.chosen[0]] == "c", "what was written is there, however improbable"
    with pytest.raises(WidgetError, match="one vocabulary"):
        token_odds(("l", "r"), [[0, 1], [0]], [0, 0], str)


def test_the_token_on_show():
    assert token_duel("p", ("l", "r"), (list("abx"), list("aby"))).current == 2
    assert token_duel("p", ("l", "r"), (["a", "b"], ["a", "b"])).current == 1, "they never part: the last one"
    assert token_duel("p", ("l", "r"), (list("abx"), list("aby")), 0).current == 0
    assert token_duel("p", ("l", "r"), ([], ["a", "b"])).current == -1


def test_a_duel_has_two_sides():
    with pytest.raises(WidgetError, match="two sides"):
        token_duel("p", ("l",), ([],))
