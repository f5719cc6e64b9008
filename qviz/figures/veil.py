"""What stands where a picture would give an answer away."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Veil:
    """A hatched place, and why nothing is to be seen there.

    Attributes
    ----------
    reason : str
    """

    reason: str
