"""What becomes of a tensor between Hugging Face's folder and GGUF, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz.checkpoints.model_config import Place, interleaved
from qviz.errors import CheckpointError
from qviz.formats import QTensor, quantize
from qviz.formats import get as get_format


def as_stored(tensor: QTensor, place: Place) -> QTensor:
    """A tensor of floats as its place in a GGUF file wants it.

    Parameters
    ----------
    tensor : QTensor
        In F32, F16 or BF16.
    place : Place

    Examples
    --------
    >>> import numpy as np
    >>> place = Place("x", "blk.0.attn_norm.weight", (2,), "norm", ("plus one",))
    >>> as_stored(quantize(np.float32([0.5, -0.25]), "F32"), place).dequantize().tolist()
    [1.5, 0.75]
    """
    for step in place.change:
        if step == "plus one":
            tensor = quantize(tensor.dequantize() + np.float32(1), "F32")
        else:
            blocks = np.ascontiguousarray(_moved(tensor.blocks, step, place))
            tensor = QTensor(tensor.format, blocks, blocks.shape)
    return tensor


def _moved(x: npt.NDArray[Any], step: str, place: Place) -> npt.NDArray[Any]:
    """Rows that are chosen or change places; rows are outputs, the last axis of a bias."""
    if step == "transposed":
        return x.swapaxes(-1, -2)
    axis = x.ndim - 1 if place.role == "bias" or x.ndim == 1 else x.ndim - 2
    if step == "pairs":
        return x[interleaved(x.shape[0], place.heads)]
    return np.take(x, _rows(x.shape[axis], step), axis)


def _rows(n: int, step: str) -> npt.NDArray[np.intp]:
    """Which rows of a tensor that holds two are one of them."""
    half = n // 2
    rows = {
        "even rows": slice(0, None, 2),
        "odd rows": slice(1, None, 2),
        "first half": slice(0, half),
        "second half": slice(half, None),
    }[step]
    return np.arange(n)[rows]


def mxfp4_blocks(codes: npt.NDArray[np.uint8], exponents: npt.NDArray[np.uint8], place: Place, folder: Path) -> QTensor:
    """Hugging Face's MXFP4 -> ggml's: there a byte holds neighbours, here values sixteen apart.

    Parameters
    ----------
    codes : uint8 (..., n_in / 32, 16)
    exponents : uint8 (..., n_in / 32)
    place : Place
    folder : pathlib.Path
        For errors.

    Raises
    ------
    CheckpointError
        An exponent that stands for NaN.
    """
    for step in place.change:
        rows = _rows(codes.shape[-3], step)
        codes, exponents = np.take(codes, rows, -3), np.take(exponents, rows, -2)
    if (exponents == 255).any():
        raise CheckpointError(f"{place.source!r} holds NaN", path=folder)
    values = np.stack([codes & np.uint8(15), codes >> np.uint8(4)], -1).reshape(*codes.shape[:-1], 32)
    fmt = get_format("MXFP4")
    blocks = np.empty(exponents.shape, fmt.dtype)
    blocks["e"], blocks["qs"] = exponents, values[..., :16] | values[..., 16:] << np.uint8(4)
    return QTensor(fmt, blocks, place.shape)
