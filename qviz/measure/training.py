"""What quantization-aware training brought the shipped model, as it was measured once: a lesson has not the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qviz.models.known import stored_json

_FILE = "training-curve.json"


@dataclass(frozen=True)
class TrainingRow:
    """The model after some steps of training, measured on text that no training saw.

    Attributes
    ----------
    start : str
        The method whose codes it began with.
    bits, group_size : int
        The grid's.
    step, tokens : int
        Steps done, and tokens that they have read, each as often as it came.
    kld, kld_se : float
        KL divergence from the unquantized model in nats a token, and its standard error.
    ppl, base_ppl : float
        Perplexity, and that of the unquantized model.
    moved : float
        The share of codes that rounding the original weights would not give.
    seconds : float
        So far, of the processor, all cores together.
    """

    start: str
    bits: int
    group_size: int
    step: int
    tokens: int
    kld: float
    kld_se: float
    ppl: float
    base_ppl: float
    moved: float
    seconds: float


def training_rows() -> tuple[TrainingRow, ...]:
    """What was measured, start by start, step by step. The first row of a start is the method alone.

    Raises
    ------
    ModelNotFoundError
        The file of the measurement is missing.

    Examples
    --------
    >>> rows = [row for row in training_rows() if row.start == "rtn" and row.bits == 2]
    >>> rows[0].step, rows[-1].kld < rows[0].kld
    (0, True)
    """
    return tuple(TrainingRow(**row) for row in stored_json(_FILE)["rows"])


def about_training() -> dict[str, Any]:
    """The model, the texts and the tokens that were measured, and when."""
    about: dict[str, Any] = stored_json(_FILE)["about"]
    return about
