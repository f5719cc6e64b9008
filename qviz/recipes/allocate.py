"""Formats for all tensors under a budget: the least sum of damages whose bytes fit.

Each tensor has a few options, each with bytes and a damage, and one of them has to be chosen. Damages are taken to add
up. For a price λ of a byte, every tensor by itself takes the option with the least damage + λ · bytes; a higher price
makes the whole smaller. Only options on the lower convex hull of a tensor are ever taken that way, and the price at
which the whole just fits is found by bisection. What is left of the budget then buys the exchanges that spare most
damage a byte. Where tensors are few, all sums that no other beats in both bytes and damage are kept, which is exact.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qviz._arguments import check_record
from qviz._arrays import finite_number, whole_number
from qviz.errors import RecipeError, shortened

_EXACT = 200_000  # sums kept at most; beyond, the bisection's answer is used


class Option(NamedTuple):
    """One format for one tensor.

    Attributes
    ----------
    format : str
    nbytes : int
    damage : float
    """

    format: str
    nbytes: int
    damage: float


check_record(Option, RecipeError)


class Allocation(NamedTuple):
    """A format for each tensor.

    Attributes
    ----------
    chosen : dict of str to Option
    nbytes : int
        The sum, at most the budget.
    damage : float
        The sum.
    price : float
        Damage that a byte more would have spared, where it was found.
    exact : bool
        No other choice within the budget has less damage.
    """

    chosen: dict[str, Option]
    nbytes: int
    damage: float
    price: float
    exact: bool


def allocate(options: Mapping[str, Sequence[Option]], budget: int, *, most_sums: int = _EXACT) -> Allocation:
    """Choose an option for each tensor, so that the bytes fit and the damages sum up to the least.

    Parameters
    ----------
    options : mapping of str to sequence of Option
        Tensor -> what it could be; their bytes include padding, where a file has it.
    budget : int
        Bytes for all tensors together.
    most_sums : int
        How many partial sums may be kept for an exact answer; 0 for bisection and exchanges alone.

    Returns
    -------
    Allocation

    Raises
    ------
    RecipeError
        A budget below the smallest options, a tensor without options, or a damage that is no number.

    Examples
    --------
    >>> few = {"a": [Option("Q4_K", 45, 4.0), Option("Q6_K", 66, 1.0)], "b": [Option("Q4_K", 45, 9.0),
    ...        Option("Q6_K", 66, 2.0)]}
    >>> found = allocate(few, 120)
    >>> {name: option.format for name, option in found.chosen.items()}, found.nbytes, found.exact
    ({'a': 'Q4_K', 'b': 'Q6_K'}, 111, True)
    """
    if not isinstance(options, Mapping) or not all(_are_options(given) for given in options.values()):
        raise RecipeError(f"options are {shortened(options)}; a mapping from tensor name to a list of Option is wanted")
    budget = math.floor(finite_number(budget, "budget", RecipeError, least=0))
    most_sums = whole_number(most_sums, "most_sums", RecipeError, least=0)
    fronts = {name: _front(name, given) for name, given in options.items()}
    least = sum(front[0].nbytes for front in fronts.values())
    if least > budget:
        raise RecipeError(
            f"{budget:,} bytes are too few: the smallest formats of these tensors take {least:,}; ask for more"
        )
    chosen, price = _by_price(fronts, budget)
    _exchange(fronts, chosen, budget)
    exact = _all_sums(fronts, budget, most_sums) if most_sums else None
    if exact is not None:
        chosen = exact
    return Allocation(
        chosen,
        sum(option.nbytes for option in chosen.values()),
        math.fsum(option.damage for option in chosen.values()),
        price,
        exact is not None,
    )


def hull(front: Sequence[Option]) -> list[Option]:
    """Keep the options on the lower convex hull, of those with rising bytes and falling damage.

    Examples
    --------
    >>> [o.format for o in hull([Option("a", 1, 9.0), Option("b", 2, 8.5), Option("c", 3, 1.0)])]
    ['a', 'c']
    """
    corners: list[Option] = []
    for option in front:
        while len(corners) > 1 and _slope(corners[-2], corners[-1]) <= _slope(corners[-2], option):
            corners.pop()
        corners.append(option)
    return corners


def _slope(a: Option, b: Option) -> float:
    """Damage spared for each byte more."""
    return (a.damage - b.damage) / (b.nbytes - a.nbytes)


def _are_options(given: Any) -> bool:
    return isinstance(given, list | tuple) and all(isinstance(option, Option) for option in given)


def _front(name: str, given: Sequence[Option]) -> list[Option]:
    """Options that no other beats, with rising bytes and falling damage."""
    if not given:
        raise RecipeError(f"{name!r} has no format to choose from; give it at least one option")
    front: list[Option] = []
    for option in sorted(given, key=lambda o: (o.nbytes, o.damage)):
        if not math.isfinite(option.damage) or option.nbytes < 0:
            raise RecipeError(
                f"{name!r} in {option.format}: {option.nbytes} bytes and a damage of {option.damage}; both must be "
                f"finite, and bytes not negative"
            )
        if not front or option.damage < front[-1].damage:
            front.append(option)
    return front


def _by_price(fronts: Mapping[str, list[Option]], budget: int) -> tuple[dict[str, Option], float]:
    """The choice at the lowest price at which it fits."""
    hulls = {name: hull(front) for name, front in fronts.items()}
    prices = sorted({_slope(a, b) for points in hulls.values() for a, b in itertools.pairwise(points)})

    def at(price: float) -> dict[str, Option]:
        chosen = {}
        for name, points in hulls.items():
            k = 0
            while k + 1 < len(points) and _slope(points[k], points[k + 1]) > price:
                k += 1
            chosen[name] = points[k]
        return chosen

    low, high = 0, len(prices)  # at prices[high - 1] everything is smallest
    while low < high:
        middle = (low + high) // 2
        price = prices[middle - 1] if middle else -1.0
        if sum(option.nbytes for option in at(price).values()) <= budget:
            high = middle
        else:
            low = middle + 1
    price = prices[low - 1] if low else -1.0
    return at(price), max(price, 0.0)


def _exchange(fronts: Mapping[str, list[Option]], chosen: dict[str, Option], budget: int) -> None:
    """Spend what is left: the exchange that spares most damage for its bytes, as long as one fits."""
    left = budget - sum(option.nbytes for option in chosen.values())
    while True:
        best: tuple[float, str, Option] | None = None
        for name, front in fronts.items():
            now = chosen[name]
            for option in front:
                if option.damage < now.damage and 0 < option.nbytes - now.nbytes <= left:
                    rate = _slope(now, option)
                    if best is None or rate > best[0]:
                        best = rate, name, option
        if best is None:
            return
        left -= best[2].nbytes - chosen[best[1]].nbytes
        chosen[best[1]] = best[2]


def _all_sums(fronts: Mapping[str, list[Option]], budget: int, most: int) -> dict[str, Option] | None:
    """The best of all choices, or None if that would take more than `most` sums."""
    rest = sum(front[0].nbytes for front in fronts.values())
    sums = [(0, 0.0)]
    steps: list[list[tuple[int, int]]] = []  # for each tensor, of each sum: the sum before it, and the option
    for front in fronts.values():
        rest -= front[0].nbytes
        grown = sorted(
            (nbytes + option.nbytes, damage + option.damage, before, k)
            for before, (nbytes, damage) in enumerate(sums)
            for k, option in enumerate(front)
            if nbytes + option.nbytes + rest <= budget
        )
        if len(grown) > most:
            return None
        kept, least = [], math.inf
        for nbytes, damage, before, k in grown:
            if damage < least:
                least = damage
                kept.append((nbytes, damage, before, k))
        sums = [(nbytes, damage) for nbytes, damage, _, _ in kept]
        steps.append([(before, k) for _, _, before, k in kept])
    at = len(sums) - 1  # the most bytes, the least damage
    chosen: dict[str, Option] = {}
    for (name, front), step in zip(reversed(list(fronts.items())), reversed(steps), strict=True):
        at, k = step[at]
        chosen[name] = front[k]
    return {name: chosen[name] for name in fronts}
