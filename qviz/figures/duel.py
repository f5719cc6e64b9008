"""Two continuations of one prompt, and the token at which they part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qviz.errors import WidgetError


@dataclass(frozen=True)
class TokenDuel:
    """What two models wrote.

    Attributes
    ----------
    prompt : str
    names : tuple of str
        Both models.
    tokens : tuple of tuple of str
        Their continuations, cut into tokens.
    parts : int
        How many tokens they share at the start.
    """

    prompt: str
    names: tuple[str, str]
    tokens: tuple[tuple[str, ...], tuple[str, ...]]
    parts: int


def token_duel(prompt: str, names: Sequence[str], tokens: Sequence[Sequence[str]]) -> TokenDuel:
    """Compare two continuations.

    Parameters
    ----------
    prompt : str
    names : sequence of str (2,)
    tokens : sequence of sequences of str (2,)

    Returns
    -------
    TokenDuel

    Raises
    ------
    WidgetError
        Not two of each.

    Examples
    --------
    >>> token_duel("The", ["F16", "Q2_K"], [[" United", " States"], [" United", " Kingdom"]]).parts
    1
    """
    if len(names) != 2 or len(tokens) != 2:
        raise WidgetError(f"a duel has two sides, got {len(names)} names and {len(tokens)} texts")
    left, right = (tuple(side) for side in tokens)
    parts = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return TokenDuel(prompt, (names[0], names[1]), (left, right), parts)
