"""The damage of the best file at a size, as it was measured once: a lesson has no time to measure it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qviz import models, recipes
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
