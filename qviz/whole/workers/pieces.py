"""A piece of a model: some rows of a tensor, and how they become blocks of another format.

No row depends on another, so neither the size of the pieces nor who quantizes them changes a byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz._machine.kernels import kernel
from qviz._types import FloatArray
from qviz.errors import NonFiniteError, PipelineError, shortened
from qviz.formats import Format, QTensor, quantize

Blocks = npt.NDArray[Any]

# Exponent bits, all of them set in NaN and infinity
_EXPONENT: dict[str, Any] = {
    "<f2": np.uint16(0x7C00),
    "<f4": np.uint32(0x7F80_0000),
    "<f8": np.uint64(0x7FF0_0000_0000_0000),
}


class Piece(NamedTuple):
    """Some rows of a tensor, and what is to become of them. Holds no reference to a file, so it can travel."""

    name: str
    first_row: int
    source: QTensor
    format: Format
    importance: FloatArray | None


def convert(piece: Piece) -> Blocks:
    """Quantize a piece, or copy it if it is in its format already.

    Parameters
    ----------
    piece : Piece

    Returns
    -------
    array of ``piece.format.dtype`` (rows, blocks a row)

    Raises
    ------
    PipelineError
        NaN or infinity in the source, or a weight beyond the range of the format.
    """
    source, fmt = piece.source, piece.format
    if source.format is fmt:
        bad = _first_not_finite(source.blocks, fmt)
        if bad >= 0:
            _refuse(piece, bad, "is damaged: it holds")
        return source.blocks
    # a view where the weights are float32 already
    weights = source.blocks.view(np.float32) if source.format == "F32" else source.dequantize()
    try:
        blocks = quantize(weights, fmt, piece.importance).blocks
    except NonFiniteError:
        bad = int(np.flatnonzero(~np.isfinite(weights))[0])
        _refuse(piece, bad // fmt.block_size, "is damaged: it holds", weights)
    bad = _first_not_finite(blocks, fmt)
    if bad >= 0:
        _refuse(piece, bad, f"does not fit {fmt}: it holds", weights)
    return blocks


def _refuse(piece: Piece, block: int, problem: str, weights: FloatArray | None = None) -> None:
    source, fmt = piece.source, piece.format
    if weights is None:
        if not source.format.can_decode:
            raise PipelineError(f"tensor {shortened(piece.name)} {problem} a scale that is NaN or infinite")
        weights = source.dequantize()
    row, column = divmod(block * fmt.block_size, source.shape[-1])
    values = weights[row, column : column + fmt.block_size]
    with np.errstate(invalid="ignore"):
        at = int(np.argmax(np.where(np.isnan(values), np.inf, np.abs(values))))
    hint = (
        "; quantize to BF16, which has the range of float32"
        if np.isfinite(values[at])
        else "; make the model again from its origin"
    )
    raise PipelineError(
        f"tensor {shortened(piece.name)} {problem} {values[at]} "
        f"in row {piece.first_row + row}, column {column + at}{hint}"
    ) from None


@kernel
def _find(bits, mask):
    """Index of the first number with all bits of `mask` set, or -1."""
    for start in range(0, bits.size, 4096):
        part = bits[start : start + 4096]
        count = 0
        for i in range(part.size):
            count += (part[i] & mask) == mask
        if count:
            for i in range(part.size):
                if (part[i] & mask) == mask:
                    return start + i
    return -1


def _first_not_finite(blocks: Blocks, fmt: Format) -> int:
    """Index of the first block with a number that is NaN or infinite, or -1."""
    flat = blocks.reshape(-1)
    places = (int(_find(flat[name].view(mask.dtype), mask)) for name, mask in _numbers(fmt))
    return min((index for index in places if index >= 0), default=-1)


def _numbers(fmt: Format) -> Iterator[tuple[str, Any]]:
    """Fields that hold a floating-point number, and the bits of its exponent."""
    assert fmt.dtype.fields is not None
    for name, (dtype, *_) in fmt.dtype.fields.items():
        if dtype.str in _EXPONENT:
            yield name, _EXPONENT[dtype.str]
    # these two have types that NumPy does not know
    if fmt == "BF16":
        yield "x", np.uint16(0x7F80)
    if fmt == "MXFP4":
        yield "e", np.uint8(0xFF)
