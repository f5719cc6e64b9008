"""What ``pytest --nbval notebooks/`` takes for equal: the text of an output, and its numbers as far as they are shown.

A number that was measured is rounded before it is shown. Another processor sums in another order, and a sum that lies
on the border between two roundings is then shown one unit in the last digit higher or lower. That is all the freedom
there is. Whole numbers are counts, and exact; so is every word between the numbers.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from nbval.plugin import IPyNbCell

# With a decimal point, an exponent, or in percent: what is shown of a measured number. Spaces around it make columns.
MEASURED = re.compile(r" *(?<![\w.])(-?\d[\d,]*(?:\.\d+(?:e[-+]?\d+)?|e[-+]?\d+|(?=\s?%))) *")


def number(shown: str) -> tuple[Decimal, Decimal]:
    """The value, and one unit of its last digit."""
    value = Decimal(shown.replace(",", ""))
    return value, Decimal(1).scaleb(int(value.as_tuple().exponent))


def as_shown(one: str, other: str) -> bool:
    """Whether two outputs differ by nothing, or by one unit in the last digit of measured numbers."""
    if one == other:
        return True
    if MEASURED.sub("#", one) != MEASURED.sub("#", other):
        return False
    for a, b in zip(MEASURED.findall(one), MEASURED.findall(other), strict=True):
        (x, unit), (y, other_unit) = number(a), number(b)
        if abs(x - y) > min(unit, other_unit):
            return False
    return True


class Output(str):
    """Text of an output, equal to another if it shows the same."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and as_shown(str(self), str(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # equality is not transitive


_sanitize = IPyNbCell.sanitize


def sanitize(cell: Any, output: Any) -> Any:
    """What nbval compares of an output."""
    clean = _sanitize(cell, output)
    return Output(clean) if isinstance(clean, str) else clean


IPyNbCell.sanitize = sanitize
