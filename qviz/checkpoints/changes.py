"""What becomes of a tensor between Hugging Face's folder and GGUF, step by step, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz.architectures.base import OF_TWO
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
    if step == "pairs":
        return x[interleaved(x.shape[0], place.heads)]
    axis = _row_axis(x, place)
    return np.take(x, _rows(x.shape[axis], step), axis)


def _row_axis(x: npt.NDArray[Any], place: Place) -> int:
    return x.ndim - 1 if place.role == "bias" or x.ndim == 1 else x.ndim - 2


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


# -- the way back


@dataclass(frozen=True)
class FolderTensor:
    """One tensor of a Hugging Face folder, and the tensors of a GGUF file that it is made of.

    Attributes
    ----------
    name : str
    places : tuple of Place
        One, or two of which each gives half of the rows.
    expert : int or None
        Which part of these it takes, where experts stand one by one.
    """

    name: str
    places: tuple[Place, ...]
    expert: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """In the folder."""
        return self.places[0].source_shape

    def parts(self, tensors: Iterable[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """What it takes of the tensors of its places."""
        return [x if self.expert is None else x[self.expert] for x in tensors]

    def joined(self, parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Its values as Hugging Face has them, of those that its places have in a GGUF file.

        Gains that are stored less one may move by half a unit in the last place of 1.

        Examples
        --------
        >>> halves = (Place("x", "a", (1, 2), change=("even rows",)), Place("x", "b", (1, 2), change=("odd rows",)))
        >>> FolderTensor("x", halves).joined([np.float32([[1, 2]]), np.float32([[3, 4]])]).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
        """
        place, x = self.places[0], parts[0]
        steps = place.change
        if steps and steps[-1] in OF_TWO:
            axis = _row_axis(x, place)
            shape = list(x.shape)
            shape[axis] *= 2
            x = np.empty(shape, x.dtype)
            for one, part in zip(self.places, parts, strict=True):
                np.moveaxis(x, axis, 0)[_rows(shape[axis], one.change[-1])] = np.moveaxis(part, axis, 0)
            steps = steps[:-1]
        for step in reversed(steps):
            if step == "plus one":
                x = x - np.ones(1, x.dtype)
            elif step == "transposed":
                x = x.swapaxes(-1, -2)
            else:
                assert step == "pairs"
                x = x[np.argsort(interleaved(x.shape[0], place.heads))]
        return x


def folder_tensors(places: Iterable[Place]) -> list[FolderTensor]:
    """The tensors of a folder, in the order of the GGUF file's tensors that they are made of.

    Parameters
    ----------
    places : iterable of Place
        Tensors of the GGUF file.
    """
    made: dict[str, FolderTensor] = {}
    for place in places:
        one_by_one = "{expert}" in place.source
        for number, name in enumerate(place.sources):
            before = made[name].places if name in made else ()
            made[name] = FolderTensor(name, (*before, place), number if one_by_one else None)
    return list(made.values())


def mxfp4_parts(tensors: Sequence[QTensor], whole: FolderTensor) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Ggml's MXFP4 -> Hugging Face's, as `mxfp4_blocks` undoes it: codes (..., n_in / 32, 16) and exponents."""
    packed = []
    for tensor in tensors:
        qs = tensor.blocks["qs"]
        values = np.concatenate([qs & np.uint8(15), qs >> np.uint8(4)], -1)
        packed.append(values[..., ::2] | values[..., 1::2] << np.uint8(4))
    exponents = [tensor.blocks["e"] for tensor in tensors]
    # outputs are the last axis but one for `joined`, so what belongs to a row goes into the last
    flat = whole.joined([x.reshape(*x.shape[:-2], -1) for x in packed])
    return flat.reshape(*flat.shape[:-1], -1, 16), whole.joined(exponents)
