"""What was left on the table: every choice beside all plain recipes, and the reasons given for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qviz.course.missions.choices import MIB, Choice, Mission, Outcome, sizes


@dataclass(frozen=True)
class Limits:
    """Which limits of a mission an outcome keeps.

    Attributes
    ----------
    disk, memory, speed : bool
        True if it is kept, or does not matter.
    floor : float
        Tokens per second that are wanted; 0 if none are.
    """

    disk: bool
    memory: bool
    speed: bool
    floor: float

    @property
    def all(self) -> bool:
        """True if every limit is kept."""
        return self.disk and self.memory and self.speed


def limits(mission: Mission, outcome: Outcome, others: Sequence[Outcome] = ()) -> Limits:
    """Check an outcome against its budget.

    Parameters
    ----------
    mission : Mission
    outcome : Outcome
    others : sequence of Outcome
        From `field`: the speed of Q8_0 is the measure for the small model. Without them speed is not judged there.

    Returns
    -------
    Limits

    Examples
    --------
    >>> from qviz.course.missions import MISSIONS
    >>> phone = MISSIONS["7B on a phone"]
    >>> [limits(phone, sizes(phone, Choice(name))).memory for name in ("Q4_K_M", "Q2_K")]
    [False, True]
    """
    floor = mission.speed
    if mission.measured and floor:
        reached = [o.speed for o in others if o.choice.recipe == "Q8_0"]
        floor = floor * reached[0] if reached else 0.0
    fast = not floor or not math.isfinite(outcome.speed) or outcome.speed >= floor
    return Limits(outcome.disk <= mission.disk * MIB, outcome.memory <= mission.memory * MIB, fast, floor)


@dataclass(frozen=True)
class Verdict:
    """How good a choice was.

    Attributes
    ----------
    outcome : Outcome
    limits : Limits
    better : tuple of Outcome
        Plain recipes with the same cache that keep all limits and do clearly less damage, least damage first.
        "Clearly": by more than twice the standard errors.
    dominated_by : tuple of Outcome
        Those among all plain recipes that are no larger and do clearly less damage.
    front : bool
        True if nothing dominates it.
    left : float
        Damage over that of the best of `better`; 1 if there is none.
    """

    outcome: Outcome
    limits: Limits
    better: tuple[Outcome, ...]
    dominated_by: tuple[Outcome, ...]
    front: bool
    left: float


def judge(mission: Mission, outcome: Outcome, others: Sequence[Outcome]) -> Verdict:
    """Compare an outcome with every plain recipe.

    A recipe is compared with the cache of the choice: its memory is counted with that cache, and what the cache costs
    is added to its damage. That cost is how much more damage the choice does than the same recipe with a cache in F16:
    an estimate, since two kinds of damage need not just add up; 0 where the choice is no plain recipe.

    Parameters
    ----------
    mission : Mission
    outcome : Outcome
        From `play`.
    others : sequence of Outcome
        From `field`.

    Returns
    -------
    Verdict
    """
    plain = [o for o in others if o.choice == Choice(outcome.choice.recipe)]
    alike = outcome.choice == Choice(outcome.choice.recipe, cache=outcome.choice.cache)
    extra = max(0.0, outcome.damage - plain[0].damage) if plain and alike and outcome.choice.cache != "F16" else 0.0
    swapped = []
    for other in others:
        size = sizes(mission, Choice(other.choice.recipe, cache=outcome.choice.cache))
        speed = size.speed if not mission.measured else other.speed
        swapped.append(
            Outcome(
                size.choice, size.disk, size.memory, size.bpw, other.damage + extra, other.error, speed, other.quality
            )
        )
    rivals = [o for o in swapped if _clearly_less(o, outcome)]
    better = sorted((o for o in rivals if limits(mission, o, others).all), key=lambda o: o.damage)
    beaten = tuple(o for o in rivals if o.memory <= outcome.memory and o.disk <= outcome.disk)
    kept = limits(mission, outcome, others)
    left = outcome.damage / better[0].damage if better and better[0].damage > 0 else 1.0
    return Verdict(outcome, kept, tuple(better), beaten, not beaten, left)


def _clearly_less(one: Outcome, other: Outcome) -> bool:
    if not (math.isfinite(one.damage) and math.isfinite(other.damage)):
        return False
    noise = math.hypot(*(e if math.isfinite(e) else 0.0 for e in (one.error, other.error)))
    return one.damage < other.damage - 2 * noise


@dataclass(frozen=True)
class Reason:
    """Why somebody might choose a format.

    Attributes
    ----------
    text : str
    holds : callable (Mission, Verdict) -> bool, or None
        None where it is a misconception.
    answer : str
        What to say to it; for a misconception, what is so instead, and where it is taught.
    """

    text: str
    holds: Callable[[Mission, Verdict], bool] | None
    answer: str


def _cache_share(mission: Mission, verdict: Verdict) -> bool:
    o = verdict.outcome
    return verdict.limits.memory and o.memory - o.disk > 0.2 * o.memory


REASONS = (
    Reason(
        "it does the least damage of what fits",
        lambda mission, v: v.limits.all and not v.better,
        "That is the question to ask, of measured formats and with all limits in view.",
    ),
    Reason(
        "nothing smaller does less damage",
        lambda mission, v: v.front,
        "That is what it means to lie on the front (lesson 10).",
    ),
    Reason(
        "it leaves room for the KV cache",
        _cache_share,
        "The cache grows with the context and with every conversation; the weights do not.",
    ),
    Reason(
        "it is fast enough here",
        lambda mission, v: v.limits.speed and math.isfinite(v.outcome.speed),
        "Speed belongs to a format, a kernel and a machine together (lesson 09).",
    ),
    Reason(
        "its name says how many bits a weight takes",
        None,
        "It does not: scales are stored too, and a recipe gives some tensors more bits (lessons 04 and 05).",
    ),
    Reason(
        "K means k-means: its levels are fitted to the weights",
        None,
        "K names a family of super-block formats with evenly spaced levels; nothing is clustered (lesson 05).",
    ),
    Reason(
        "M is for medium-sized models",
        None,
        "S, M and L say how generous the recipe is to sensitive tensors, for a model of any size (lesson 05).",
    ),
    Reason(
        "it computes in 4 bits, so it is fastest",
        None,
        "Weights are stored in 4 bits; these formats multiply in int8 or floating point (lessons 01 and 09).",
    ),
    Reason(
        "AWQ and GPTQ are always better than plain rounding",
        None,
        "They often round better, and sometimes worse; measure, at equal true bits (lessons 07, 08 and 10).",
    ),
)
"""What can be said for a choice; some of it is never true."""
