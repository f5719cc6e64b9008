"""Two continuations of one prompt, the token at which they part, and what both models held probable there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._types import DoubleArray
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
    current : int
        The token on show, counted from the prompt; -1 for none.
    """

    prompt: str
    names: tuple[str, str]
    tokens: tuple[tuple[str, ...], tuple[str, ...]]
    parts: int
    current: int = -1


@dataclass(frozen=True, eq=False)
class TokenOdds:
    """What two models held probable at one place.

    Attributes
    ----------
    names : tuple of str
        Both models.
    tokens : tuple of str
        Candidates, the most probable ones of either model first.
    odds : float64 array (2, k)
        Their probabilities.
    chosen : int32 array (2,)
        Which candidate each model wrote.
    same : bool
        Whether both had read the same text by then.
    """

    names: tuple[str, str]
    tokens: tuple[str, ...]
    odds: DoubleArray
    chosen: npt.NDArray[np.int32]
    same: bool


def token_duel(
    prompt: str, names: Sequence[str], tokens: Sequence[Sequence[str]], current: int | None = None
) -> TokenDuel:
    """Compare two continuations.

    Parameters
    ----------
    prompt : str
    names : sequence of str (2,)
    tokens : sequence of sequences of str (2,)
    current : int, optional
        The token on show; the first that differs unless given, or the last one.

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
    last = min(len(left), len(right)) - 1
    shown = min(max(0, parts if current is None else current), last)
    return TokenDuel(prompt, (names[0], names[1]), (left, right), parts, shown)


def token_odds(
    names: Sequence[str],
    logits: Sequence[npt.ArrayLike],
    written: Sequence[int],
    piece: Callable[[int], str],
    *,
    same: bool = True,
    most: int = 4,
) -> TokenOdds:
    """Compare what two models held probable.

    Parameters
    ----------
    names : sequence of str (2,)
    logits : sequence of array_like (n_vocab,) (2,)
        What both models say at one place.
    written : sequence of int (2,)
        The tokens that they wrote there.
    piece : callable
        The text of a token.
    same : bool
        Whether both had read the same text by then.
    most : int
        How many of the most probable tokens of each model to show.

    Returns
    -------
    TokenOdds

    Raises
    ------
    WidgetError
        Logits of different lengths.

    Examples
    --------
    >>> left, right = np.log([0.7, 0.2, 0.1]), np.log([0.3, 0.6, 0.1])
    >>> odds = token_odds(["a", "b"], [left, right], [0, 1], "xyz".__getitem__, most=1)
    >>> odds.tokens, odds.odds.round(3).tolist(), odds.chosen.tolist()
    (('x', 'y'), [[0.7, 0.2], [0.3, 0.6]], [0, 1])
    """
    both = [np.asarray(one, np.float64).reshape(-1) for one in logits]
    if len(both) != 2 or both[0].shape != both[1].shape:
        raise WidgetError(f"two models of one vocabulary are needed, got logits of {[one.size for one in both]}")
    chances = [np.exp(one - one.max()) for one in both]
    chances = [one / one.sum() for one in chances]
    found = {int(token) for one in chances for token in np.argsort(-one, kind="stable")[:most]} | set(map(int, written))
    order = sorted(found, key=lambda token: -max(chances[0][token], chances[1][token]))
    return TokenOdds(
        (names[0], names[1]),
        tuple(piece(token) for token in order),
        np.array([[one[token] for token in order] for one in chances]),
        np.array([order.index(int(token)) for token in written], np.int32),
        same,
    )
