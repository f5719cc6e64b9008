"""Formats under a budget, beside every choice there is."""

import itertools

import numpy as np
import pytest

from qviz.errors import RecipeError
from qviz.recipes.allocate import Option, allocate, hull


def tensors(seed, n=4, formats=5):
    rng = np.random.default_rng(seed)
    return {
        f"t{i}": [Option(f"F{k}", int(rng.integers(1, 400)), float(rng.exponential())) for k in range(formats)]
        for i in range(n)
    }


def best_of_all(options, budget):
    fitting = [c for c in itertools.product(*options.values()) if sum(o.nbytes for o in c) <= budget]
    return min(sum(o.damage for o in c) for c in fitting)


@pytest.mark.parametrize("seed", range(30))
def test_equals_brute_force(seed):
    options = tensors(seed)
    least = sum(min(o.nbytes for o in given) for given in options.values())
    for budget in (least, least + 1, least + 97, least + 400, 10**6):
        found = allocate(options, budget)
        assert found.exact
        assert found.nbytes == sum(o.nbytes for o in found.chosen.values()) <= budget
        assert found.damage == pytest.approx(best_of_all(options, budget), rel=1e-12)  # stated: another order
        assert all(found.chosen[name] in given for name, given in options.items())


@pytest.mark.parametrize("seed", range(30))
def test_without_all_sums_it_fits_and_loses_less_than_one_step(seed):
    options = tensors(seed, n=6)
    budget = sum(min(o.nbytes for o in given) for given in options.values()) + 300
    found = allocate(options, budget, most_sums=0)
    assert found.nbytes <= budget
    assert not found.exact
    # the bisection's answer is best for its own size, so only one step of one hull can be missing
    steps = [a.damage - b.damage for given in options.values() for a, b in itertools.pairwise(hull(front(given)))]
    assert found.damage <= best_of_all(options, budget) + max(steps) + 1e-12


def front(given):
    kept = []
    for option in sorted(given, key=lambda o: (o.nbytes, o.damage)):
        if not kept or option.damage < kept[-1].damage:
            kept.append(option)
    return kept


def test_more_bytes_never_hurt():
    options = tensors(3, n=12)
    least = sum(min(o.nbytes for o in given) for given in options.values())
    damages = [allocate(options, least + more).damage for more in range(0, 2000, 50)]
    assert damages == sorted(damages, reverse=True)


def test_a_budget_that_nothing_fits():
    with pytest.raises(RecipeError, match=r"1 bytes are too few: .* take [0-9,]+; ask for more"):
        allocate(tensors(0), 1)
    with pytest.raises(RecipeError, match="no format to choose from"):
        allocate({"a": []}, 10)
    with pytest.raises(RecipeError, match="damage of nan"):
        allocate({"a": [Option("Q4_0", 1, float("nan"))]}, 10)
