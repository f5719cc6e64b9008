"""Where the numbers of a GGML block stand, bit by bit: codes, sub-scales, sub-minimums, and the float16 before them.

A format's encoder writes all of these together. Methods that choose them one by one need to put them in by themselves,
and a reader to take them out again is all that a format file has to have: flip each bit of an empty block, unpack it,
and see what changed. That finds the bits of every code; with the factors `d` and `dmin` set to 1, it finds those of
every sub-block's scale and minimum, too.

Formats in which a code is not a number of its own (the lattices of IQ2 and IQ3, base-3 packing) have no such bits.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz.errors import MethodError
from qviz.formats.base import Format, QTensor

_FACTORS = ("d", "dmin", "m")


@dataclass(frozen=True, eq=False)
class BitField:
    """A whole number for each of a few places in a block.

    Attributes
    ----------
    at : intp array (places, bits)
        The bit of the block, from its least significant, that holds each digit.
    empty : int64 array (places,)
        What a block of zeros says.
    lowest, highest : int
        The smallest and the largest number that fits.
    """

    at: npt.NDArray[np.intp]
    empty: npt.NDArray[np.int64]
    lowest: int
    highest: int

    def put(self, bits: npt.NDArray[np.uint8], values: npt.NDArray[Any]) -> None:
        """Write `values` (n, places) into the bits (n, 8 · type_size) of n blocks."""
        digits = (values.astype(np.int64) - self.empty)[:, :, None] >> np.arange(self.at.shape[1]) & 1
        bits[:, self.at.ravel()] = digits.reshape(len(bits), -1)


@dataclass(frozen=True, eq=False)
class BlockBits:
    """The numbers of a block.

    Attributes
    ----------
    format : Format
    codes : BitField
    scales, mins : BitField, optional
        One a sub-block, as multiples of the factors; None where the factor alone is the scale or minimum.
    factor : str, optional
        The field of the scales' float16; None where scales are no multiple of one.
    min_factor : str, optional
        That of the minimums.
    min_sign : int
        −1 where the field is added instead of subtracted.
    """

    format: Format
    codes: BitField
    scales: BitField | None
    mins: BitField | None
    factor: str | None
    min_factor: str | None
    min_sign: int

    def put_codes(self, blocks: npt.NDArray[Any], codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """`blocks` (n,) with other codes (n, block_size)."""
        return self.put(blocks, {"codes": codes})

    def put(self, blocks: npt.NDArray[Any], values: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """`blocks` (n,) with other numbers: ``codes``, ``scales``, ``mins`` (n, places), ``factor``, ``min_factor``."""
        raw = np.ascontiguousarray(blocks).view(np.uint8).reshape(len(blocks), -1)
        bits = np.unpackbits(raw, axis=1, bitorder="little")
        for name in ("codes", "scales", "mins"):
            if name in values:
                getattr(self, name).put(bits, values[name])
        filled = np.packbits(bits, axis=1, bitorder="little")
        written: npt.NDArray[Any] = np.ascontiguousarray(filled).view(blocks.dtype)[:, 0]
        for name in ("factor", "min_factor"):
            if name in values:
                written[getattr(self, name)] = values[name]
        return written


@functools.cache
def bits_of(fmt: Format) -> BlockBits:
    """Where the numbers of a format's blocks stand.

    Raises
    ------
    MethodError
        For a format without a code for each weight, or one that cannot be written.

    Examples
    --------
    >>> from qviz.formats import get
    >>> found = bits_of(get("Q4_K"))
    >>> found.scales.at.shape, found.scales.highest, found.mins.highest, found.factor, found.min_factor
    ((8, 6), 63, 63, 'd', 'dmin')
    >>> found = bits_of(get("Q3_K"))
    >>> found.scales.lowest, found.scales.highest, found.mins
    (-32, 31, None)
    """
    if not fmt.can_encode or fmt.unpack_blocks is None:
        raise MethodError(f"{fmt} has no codes to choose, or cannot be written here; try Q4_K or IQ4_NL")
    refused = MethodError(f"the codes of {fmt} cannot be chosen one by one; try Q4_K or IQ4_NL")
    empty, flipped = _flipped(fmt, {})
    codes = _field(empty.codes[0], flipped.codes, fmt.block_size)
    if codes is None:
        raise refused
    halves = [name for name in _FACTORS if fmt.dtype.fields and _is_half(fmt, name)]
    if not halves:
        return BlockBits(fmt, codes, None, None, None, None, 1)
    empty, flipped = _flipped(fmt, dict.fromkeys(halves, 1.0))
    other = np.ones(len(flipped.scales), bool)
    other[codes.at.ravel()] = False
    other[_bits_of_fields(fmt, halves)] = False
    scales = _changes(empty.scales, flipped.scales, other)
    mins = _changes(empty.mins, flipped.mins, other)
    second = halves[1] if len(halves) > 1 else None
    if scales is None and not (empty.scales == 1).all():
        return BlockBits(fmt, codes, None, None, None, None, 1)  # scales of another kind
    sign = 1 if mins is not None or second is None else int(np.sign(empty.mins[0, 0]))
    return BlockBits(fmt, codes, scales, mins, halves[0], second, sign)


def _is_half(fmt: Format, name: str) -> bool:
    assert fmt.dtype.fields is not None
    return name in fmt.dtype.fields and fmt.dtype.fields[name][0] == np.dtype("<f2")


def _bits_of_fields(fmt: Format, names: list[str]) -> npt.NDArray[np.intp]:
    assert fmt.dtype.fields is not None
    starts = [8 * int(fmt.dtype.fields[name][1]) for name in names]
    return np.concatenate([np.arange(start, start + 16) for start in starts])


def _flipped(fmt: Format, factors: dict[str, float]) -> tuple[Any, Any]:
    """A block of zeros but for its factors, unpacked, and the same with each bit flipped in turn."""
    block = np.zeros(1, fmt.dtype)
    for name, value in factors.items():
        block[name] = value
    raw = block.view(np.uint8).reshape(1, -1)
    ones = np.packbits(np.eye(8 * fmt.type_size, dtype=np.uint8), axis=1, bitorder="little")

    def unpacked(data: npt.NDArray[np.uint8]) -> Any:
        return QTensor.from_bytes(fmt.name, data.tobytes(), (len(data), fmt.block_size)).unpack()

    return unpacked(raw), unpacked(raw ^ ones)


def _changes(empty: npt.NDArray[Any], flipped: npt.NDArray[Any], other: npt.NDArray[np.bool_]) -> BitField | None:
    """The field behind what bits change that are neither of codes nor of factors."""
    if not np.isfinite(flipped[other]).all():
        return None
    changed = np.where(other[:, None], flipped, empty[0])
    return _field(empty[0], changed, empty.shape[1])


def _field(empty: npt.NDArray[Any], flipped: npt.NDArray[Any], places: int) -> BitField | None:
    """The field of which each bit changes one place by a power of two; None if there is none."""
    empty = empty.astype(np.int64)
    changes = flipped.astype(np.int64) - empty
    at, place = np.nonzero(changes)
    if not at.size or at.size % places or np.unique(at).size != at.size:
        return None
    sizes = changes[at, place]
    order = np.lexsort((np.abs(sizes), place))
    sizes = sizes[order].reshape(places, -1)
    bits = sizes.shape[1]
    if not (np.abs(sizes) == 1 << np.arange(bits)).all() or not np.array_equal(
        place[order].reshape(places, -1)[:, 0], np.arange(places)
    ):
        return None
    low = int((empty + np.minimum(sizes, 0).sum(axis=1)).min())
    high = int((empty + np.maximum(sizes, 0).sum(axis=1)).max())
    return BitField(at[order].reshape(places, bits), empty, low, high)
