"""The table of recipes on several models side by side, as it was measured once: a lesson has no time for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import transformer
from qviz._arrays import real_array
from qviz.errors import QvizError, shortened
from qviz.measure.paired import PairedAccuracy
from qviz.measure.tables import PUBLISHED_PPL
from qviz.metrics import rank_correlation
from qviz.models.known import stored_json

_FILE = "models-table.json"


@dataclass(frozen=True)
class Tails:
    """What the mean of a KL divergence hides: how it is spread over the tokens, in nats.

    Attributes
    ----------
    median, high, most : float
        Half the tokens have no more than `median`, 99 in 100 no more than `high`; `most` is the largest.
    """

    median: float
    high: float
    most: float


@dataclass(frozen=True)
class ModelRow:
    """One recipe on one model, against the model's file as it was published.

    Attributes
    ----------
    model, recipe : str
    nbytes : int
        Size of the file.
    bpw : float
        Bits per weight, of all tensors together.
    formats : mapping of str to float
        Which share of the weights has which format.
    tensors : str
        Hash of all tensors: files whose tensors are equal byte for byte have the same.
    quality : qviz.transformer.Perplexity
        With its differences from the published file.
    tails : Tails
    tasks : mapping of str to PairedAccuracy
        Right answers before and after, for each task of `qviz.measure.cloze_items`; empty where that was not measured.
    faded : mapping of str to (float, float)
        Nats by which the right choice's ln p fell, a mean for each task, and its standard error.
    """

    model: str
    recipe: str
    nbytes: int
    bpw: float
    formats: Mapping[str, float]
    tensors: str
    quality: transformer.Perplexity
    tails: Tails
    tasks: Mapping[str, PairedAccuracy]
    faded: Mapping[str, tuple[float, float]]

    @property
    def published(self) -> float | None:
        """`PUBLISHED_PPL` of a 7B model, for comparison."""
        return PUBLISHED_PPL.get(self.recipe)

    @property
    def answers(self) -> PairedAccuracy:
        """All tasks together."""
        every = self.tasks.values()
        return PairedAccuracy(*(sum(getattr(t, part) for t in every) for part in ("both", "lost", "won", "neither")))


def tails(kld: npt.ArrayLike) -> Tails:
    """Median, 99th percentile and largest of the divergences of single tokens.

    Examples
    --------
    >>> tails([0.0, 1.0, 2.0, 3.0, 4.0])
    Tails(median=2.0, high=3.96, most=4.0)
    """
    values = real_array(kld, "kld", QvizError, (np.float64,))
    if not values.size or not np.isfinite(values).all():
        raise QvizError("divergences must be finite numbers, one at least")
    median, high, most = np.quantile(values, (0.5, 0.99, 1))
    return Tails(float(median), float(high), float(most))


def models_table(model: str | None = None) -> tuple[ModelRow, ...]:
    """The recipes of lesson 10's table on the models that were measured.

    Parameters
    ----------
    model : str, optional
        Only this one's rows: ``"tiny"``, ``"smollm2"`` or ``"gemma3-270m"``.

    Raises
    ------
    QvizError
        There is no such model in the table.

    Examples
    --------
    >>> row = models_table("smollm2")[-1]
    >>> row.recipe, row.quality.n_tokens >= 500
    ('Q2_K', True)
    """
    stored = stored_json(_FILE)["rows"]
    known = list(dict.fromkeys(row["model"] for row in stored))
    if model is not None and (not isinstance(model, str) or model not in known):
        raise QvizError(f"{shortened(model)} was not measured; there are {', '.join(known)}")
    return tuple(_row(row) for row in stored if model in (None, row["model"]))


def about_models_table() -> dict[str, Any]:
    """The models, the texts and the tokens that were measured, by what, and when."""
    about: dict[str, Any] = stored_json(_FILE)["about"]
    return about


def rank_correlations(columns: Mapping[str, Sequence[float]]) -> dict[tuple[str, str], float]:
    """Spearman's rank correlation of each two columns of a table.

    Parameters
    ----------
    columns : mapping of str to sequence of float
        Equally long, at least three values each.

    Returns
    -------
    dict of (str, str) to float

    Raises
    ------
    QvizError
        Columns of different lengths, or too short.

    Examples
    --------
    >>> rank_correlations({"a": [1, 2, 3], "b": [1, 4, 9], "c": [3, 2, 1]})
    {('a', 'b'): 1.0, ('a', 'c'): -1.0, ('b', 'c'): -1.0}
    """
    if not isinstance(columns, Mapping):
        raise QvizError(f"columns are {shortened(columns)}; a mapping from name to numbers is wanted")
    arrays = {
        name: real_array(values, f"column {shortened(name)}", QvizError, (np.float64,), shape=("n",))
        for name, values in columns.items()
    }
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) != 1 or min(lengths.values()) < 3:
        raise QvizError(f"columns of one length, at least 3, are needed; got {lengths}")
    names = list(arrays)
    pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
    return {(a, b): rank_correlation(arrays[a], arrays[b]) for a, b in pairs}


def _row(row: Mapping[str, Any]) -> ModelRow:
    return ModelRow(
        row["model"],
        row["recipe"],
        row["nbytes"],
        row["bpw"],
        row["formats"],
        row["tensors"],
        transformer.Perplexity(**row["quality"]),
        Tails(*row["kld_tails"]),
        {task: PairedAccuracy(*counts) for task, counts in row["tasks"].items()},
        {task: (mean, error) for task, (mean, error) in row["faded"].items()},
    )
