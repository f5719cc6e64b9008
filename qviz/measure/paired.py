"""Two models on the same questions: who got which right, and what such a difference can show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from qviz._arrays import as_array, finite_number
from qviz.errors import QvizError

_LEAST = 1e-9  # of a difference, and of a chance to be misled
_MOST = 1 - 1e-9  # of a probability that must be below 1


@dataclass(frozen=True)
class PairedAccuracy:
    """Right answers of two models, question by question.

    Attributes
    ----------
    both, lost, won, neither : int
        Questions that both answered right; only the first; only the second; none. `lost` and `won` are the *flips*.
    """

    both: int
    lost: int
    won: int
    neither: int

    @property
    def n(self) -> int:
        """Questions."""
        return self.both + self.lost + self.won + self.neither

    @property
    def before(self) -> float:
        """Accuracy of the first model, 0 … 1."""
        return (self.both + self.lost) / self.n

    @property
    def after(self) -> float:
        """Accuracy of the second."""
        return (self.both + self.won) / self.n

    @property
    def difference(self) -> float:
        """``after − before``: the flips that were won, less those that were lost."""
        return (self.won - self.lost) / self.n

    @property
    def flips(self) -> float:
        """Share of the questions that one answered right and the other wrong."""
        return (self.won + self.lost) / self.n

    @property
    def p_value(self) -> float:
        """Exact two-sided p-value that flips in both directions are equally likely (McNemar's test, exact).

        If rounding favoured no side, each flip would be the toss of a coin. This is the probability that coins fall
        at least as unevenly as `lost` and `won`.
        """
        m, fewer = self.lost + self.won, min(self.lost, self.won)
        return min(1.0, float(2 * sum(math.comb(m, k) for k in range(fewer + 1)) / 2**m))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval of the difference (Bonett and Price, 2012: one flip more each way, then the normal one).

        Parameters
        ----------
        level : float
            How often such intervals hold the true difference.

        Notes
        -----
        D. G. Bonett and R. M. Price, *Adjusted Wald confidence interval for a difference of binomial proportions based
        on paired data*, Journal of Educational and Behavioral Statistics 37 (2012).
        """
        level = finite_number(level, "level", QvizError, least=_LEAST, most=_MOST)
        won, lost, n = (self.won + 1), (self.lost + 1), self.n + 2
        middle = (won - lost) / n
        half = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(((won + lost) / n - middle**2) / n)
        return max(middle - half, -1.0), min(middle + half, 1.0)

    def __str__(self) -> str:
        low, high = self.interval()
        return (
            f"{self.before:.1%} before, {self.after:.1%} after: {self.lost} lost, {self.won} won of {self.n}; "
            f"difference {100 * self.difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}), "
            f"p = {self.p_value:.2g}"
        )


def paired_accuracy(before: npt.ArrayLike, after: npt.ArrayLike) -> PairedAccuracy:
    """Count who got which question right.

    Parameters
    ----------
    before, after : bool array (n_questions,)
        Whether each model answered right, such as ``ClozeAnswers.right``.

    Raises
    ------
    QvizError
        Not the same questions, or none.

    Examples
    --------
    >>> found = paired_accuracy([True, True, True, False], [True, False, False, True])
    >>> found.lost, found.won, found.difference
    (2, 1, -0.25)
    >>> found.p_value  # three coins always fall as unevenly as two to one
    1.0
    """
    a, b = (as_array(x, what, QvizError) for x, what in ((before, "before"), (after, "after")))
    if a.shape != b.shape or a.ndim != 1 or not a.size or a.dtype != np.bool_ or b.dtype != np.bool_:
        raise QvizError(
            f"right answers must be two lists of True and False, equally long and not empty; got {a.dtype} of shape "
            f"{a.shape} and {b.dtype} of shape {b.shape}"
        )
    counts = (a & b, a & ~b, ~a & b, ~a & ~b)
    return PairedAccuracy(*(int(part.sum()) for part in counts))


def items_needed(difference: float, flips: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """Questions that a test needs to see a difference between two models.

    Parameters
    ----------
    difference : float
        Between the two accuracies: 0.01 is one point.
    flips : float
        Share of the questions that one answers right and the other wrong. For models that have nothing to do with each
        other, or for two sets of questions, that is ``p (1 − q) + q (1 − p)``, with accuracies p and q.
    power : float
        How often the test shall see it.
    level : float
        How often it may see a difference where there is none.

    Returns
    -------
    int

    Raises
    ------
    QvizError
        Numbers out of range; fewer flips than the difference, which cannot be.

    Notes
    -----
    O. S. Miettinen, *The matched pairs design in the case of all-or-none responses*, Biometrics 24 (1968);
    R. J. Connor, *Sample size for testing differences in proportions for the paired-sample design*, Biometrics 43
    (1987).

    Examples
    --------
    >>> items_needed(0.01, flips=0.05)
    3923
    >>> items_needed(0.01, flips=0.6 * 0.41 + 0.59 * 0.4)  # unpaired, accuracies of 60 % and 59 %
    37830
    """
    difference = abs(finite_number(difference, "difference", QvizError))
    flips = finite_number(flips, "flips", QvizError, above=0, most=1)
    power = finite_number(power, "power", QvizError, above=0, most=_MOST)
    level = finite_number(level, "level", QvizError, least=_LEAST, most=_MOST)
    if not 0 < difference <= flips:
        raise QvizError(f"{flips:g} flips cannot make a difference of {difference:g}; give at least as many flips")
    if difference < _LEAST:
        raise QvizError(f"difference is {difference:g}; one of at least {_LEAST:g} is wanted: no test shows less")
    normal = NormalDist()
    by_chance = normal.inv_cdf(1 - level / 2) * math.sqrt(flips)
    seen = normal.inv_cdf(power) * math.sqrt(flips - difference**2)
    return math.ceil((by_chance + seen) ** 2 / difference**2)
