"""The damage of the best file at a size, as it was measured once: a lesson has no time to measure it again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import models, recipes
from qviz._arrays import real_array, whole_number
from qviz.errors import ShapeError
from qviz.models.known import stored_json

RECIPE, BEST = "recipe with importance matrix", "best file"
"""What a row of `best_files` is."""
_FILE = "best-files.json"


@dataclass(frozen=True)
class BestRow:
    """One file, measured against the unquantized model on text that no calibration saw.

    Attributes
    ----------
    recipe : str
        llama.cpp's recipe, whose size the file may take.
    what : str
        `RECIPE`, `BEST`, or a step on the way from one to the other.
    nbytes : int
        Size of the file.
    kld, kld_se : float
        KL divergence in nats a token, and its standard error.
    ppl, base_ppl : float
        Perplexity, and that of the unquantized model.
    seconds : float
        CPU seconds to write the file.
    """

    recipe: str
    what: str
    nbytes: int
    kld: float
    kld_se: float
    ppl: float
    base_ppl: float
    seconds: float


@dataclass(frozen=True)
class BestRatio:
    """The best file of a recipe's size beside the recipe's file, on the same tokens of one text.

    Attributes
    ----------
    text : str
        ``"held-out"``: of the same works as the calibration's, but never seen. ``"code"``: this package's source, which
        is of another kind.
    n_tokens : int
        Tokens scored.
    recipe : str
    ratio, ratio_se : float
        What is left of the recipe's KL divergence, and the standard error of that (`paired_ratio`).
    kld, recipe_kld : float
        Both divergences, in nats a token.
    ppl, recipe_ppl, base_ppl : float
        Perplexity of both, and of the unquantized model.
    ppl_ratio, ppl_ratio_se : float
        ppl / recipe_ppl, and its standard error, over windows, too.
    """

    text: str
    n_tokens: int
    recipe: str
    ratio: float
    ratio_se: float
    kld: float
    recipe_kld: float
    ppl: float
    recipe_ppl: float
    base_ppl: float
    ppl_ratio: float
    ppl_ratio_se: float


def paired_ratio(ours: npt.ArrayLike, theirs: npt.ArrayLike, window: int) -> tuple[float, float]:
    """Mean of one value a token over the mean of another, of the same tokens; and its standard error.

    Tokens of a window share their context, so windows are what is drawn at random. With aᵢ and bᵢ, the means of window
    i of n, the ratio is R = Σaᵢ / Σbᵢ. To first order it is off by the mean of (aᵢ − R·bᵢ) / b̄ (the delta method), and
    the standard error of that mean is √(Σ(aᵢ − R·bᵢ)² / (n(n − 1))) / b̄. What both have in common, a window that is
    hard for every file, drops out of the difference.

    Parameters
    ----------
    ours, theirs : array_like (n_tokens,)
        As many of each window, window after window.
    window : int
        How many tokens of each window there are.

    Returns
    -------
    tuple of float
        The ratio, and its standard error: NaN for a single window.

    Raises
    ------
    ShapeError
        Not as many of both, or no whole windows.

    Examples
    --------
    >>> paired_ratio([1, 1, 2, 2], [2, 2, 4, 4], 2)  # half of it in each window
    (0.5, 0.0)
    """
    window = whole_number(window, "window", ShapeError, least=1)
    given = ((ours, "ours"), (theirs, "theirs"))
    first, second = (real_array(x, what, ShapeError, (np.float64,)).ravel() for x, what in given)
    if first.size != second.size or not first.size or first.size % window:
        raise ShapeError(f"whole windows of {window} of both are wanted, got {first.size:,} and {second.size:,} values")
    a, b = (x.reshape(-1, window).mean(axis=1) for x in (first, second))
    ratio, n = float(a.sum() / b.sum()), len(a)
    if n < 2:
        return ratio, math.nan
    return ratio, float(np.sqrt(np.square(a - ratio * b).sum() / (n * (n - 1))) / b.mean())


def best_files() -> tuple[BestRow, ...]:
    """Two files for each recipe: llama.cpp's, with an importance matrix, and what ``qviz quantize --size`` writes.

    Both were calibrated on the same tokens. `about_best_files` says which.

    Raises
    ------
    ModelNotFoundError
        The file of the measurement is missing.

    Examples
    --------
    >>> rows = best_files()
    >>> theirs, ours = (row for row in rows if row.recipe == "Q2_K")
    >>> theirs.what, ours.what, ours.nbytes <= theirs.nbytes, ours.kld < theirs.kld
    ('recipe with importance matrix', 'best file', True, True)
    """
    return _rows("files")


def best_steps() -> tuple[BestRow, ...]:
    """The same for one recipe, with each step of the method added in turn; steps that did not help stand last."""
    return _rows("steps")


def best_ratios() -> tuple[BestRatio, ...]:
    """How much damage is left at each recipe's size, on many more tokens than `best_files`, and on two texts.

    Examples
    --------
    >>> row = best_ratios()[0]
    >>> row.text, row.ratio + 3 * row.ratio_se < 1
    ('held-out', True)
    """
    return tuple(BestRatio(**row) for row in stored_json(_FILE)["ratios"])


def about_best_files() -> dict[str, Any]:
    """The model, the texts and the tokens that were measured, by what, and when."""
    about: dict[str, Any] = stored_json(_FILE)["about"]
    return about


def tensor_bytes(row: BestRow) -> tuple[int, float]:
    """What a file's tensors take, as `RecipeRow` counts it: without the header, most of which is the vocabulary.

    The recipe says how large its tensors are; what its file has beyond that is the header. The best file of that size
    has nearly the same one: within 2 kB.

    Returns
    -------
    tuple
        Bytes of all tensors, and bits per weight.

    Examples
    --------
    >>> theirs, ours = (row for row in best_files() if row.recipe == "Q2_K")
    >>> tensor_bytes(theirs)
    (3380224, 3.4366398802745874)
    >>> tensor_bytes(theirs)[0] - tensor_bytes(ours)[0] == theirs.nbytes - ours.nbytes
    True
    """
    model = models.load(str(about_best_files()["model"]))
    choices = recipes.plan(model, model.metadata, row.recipe, imatrix=True)
    file = next(other for other in best_files() if other.recipe == row.recipe and other.what == RECIPE)
    header = file.nbytes - sum(choice.nbytes for choice in choices)
    nbytes = row.nbytes - header
    return nbytes, 8 * nbytes / sum(choice.n_weights for choice in choices)


def _rows(part: str) -> tuple[BestRow, ...]:
    return tuple(BestRow(**row) for row in stored_json(_FILE)[part])
