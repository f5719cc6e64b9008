"""The real weights and inputs that exhibits are run on, and the parts of GPTQ and AWQ that several of them share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import models
from qviz._types import FloatArray
from qviz.calibration import ActivationStats
from qviz.course.museum.exhibit import Number, output_error

Grid = tuple[npt.NDArray[np.floating], npt.NDArray[np.floating], int]

BATCH = 128
"""Columns that GPTQ works on before it updates the others."""


@dataclass(frozen=True, eq=False)
class MuseumLayer:
    """One matrix of SmolLM2-135M, and what reaches it.

    Attributes
    ----------
    name : str
    weight : float32 array (n_out, n_in)
    inputs, heldout : float32 arrays (n_tokens, n_in)
        From the text to calibrate on, and from the text to judge by.
    """

    name: str
    weight: FloatArray
    inputs: FloatArray
    heldout: FloatArray

    @property
    def material(self) -> str:
        """The layer in words: where it is from, its shape, and how many tokens reach it."""
        rows, columns = self.weight.shape
        return (
            f"{self.name} of SmolLM2-135M, {rows} × {columns}, with real inputs: {len(self.inputs)} tokens to calibrate"
            f" on, {len(self.heldout)} of other text to judge by"
        )

    def output_errors(
        self, right: npt.NDArray[Any], wrong: npt.NDArray[Any], plain: npt.NDArray[Any] | None = None
    ) -> tuple[Number, ...]:
        """The output error of both builds, and where plainly rounded weights are given, as a share of theirs."""
        errors = [output_error(self.heldout, self.weight, w.astype(np.float32)) for w in (right, wrong)]
        numbers = (Number("Output error", *errors, kind="share"),)
        if plain is None:
            return numbers
        least = output_error(self.heldout, self.weight, plain.astype(np.float32))
        return (*numbers, Number("… of plain rounding's", errors[0] / least, errors[1] / least, kind="share"))


@cache
def layer(name: str = "blk.14.attn_k") -> MuseumLayer:
    """A matrix with its inputs; some input channels of this one are far larger than the rest."""
    weight = models.load("smollm2-slices")[f"{name}.weight"].dequantize()
    return MuseumLayer(name, weight, *models.captured_inputs()[f"{name}.weight"])


@cache
def matrix() -> FloatArray:
    """Weights in rows of whole super-blocks, float32 (256, 768)."""
    return models.load("tiny")["blk.2.ffn_down.weight"].dequantize()


MATRIX = "blk.2.ffn_down of the small model, 256 × 768"
"""What `matrix` is."""


@cache
def hessian() -> npt.NDArray[np.float64]:
    """The Hessian of the layer's inputs, with five percent of damping."""
    H = ActivationStats.from_inputs(layer().inputs).hessian.astype(np.float64)
    H[np.diag_indices(len(H))] += 0.05 * np.diagonal(H).mean()
    return H


def slices(n: int, size: int) -> Iterator[slice]:
    """Slices of `size` columns."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def row_grid(weight: npt.NDArray[np.floating], bits: int) -> Grid:
    """Scale and zero point of each row (n_out, 1), and the largest code."""
    low, high = np.minimum(weight.min(axis=1), 0), np.maximum(weight.max(axis=1), 0)
    scale = ((high - low) / (2**bits - 1))[:, None]
    return scale, np.round(-low[:, None] / scale), 2**bits - 1


def round_to(weight: npt.NDArray[np.floating], grid: Grid) -> npt.NDArray[np.floating]:
    """Weights at the nearest levels of a grid."""
    scale, zero, top = grid
    rounded: npt.NDArray[np.floating] = (np.clip(np.round(weight / scale) + zero, 0, top) - zero) * scale
    return rounded


def round_groups(weight: npt.NDArray[np.floating], bits: int, size: int) -> npt.NDArray[np.floating]:
    """Round to nearest, a scale and a zero point for each `size` weights; NaN spreads to its group."""
    parts = np.ascontiguousarray(weight).reshape(-1, size)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return round_to(parts, row_grid(parts, bits)).reshape(weight.shape)
