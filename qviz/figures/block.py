"""One block under a lens: its bytes, the fields they form, and which bit feeds which weight.

Which bit feeds which weight is written down nowhere. It is found by asking the decoder: flip a bit, decode
again, see which weights moved. So the picture cannot disagree with the code, and a new format has one at
once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from qviz._types import ByteArray, FloatArray
from qviz.errors import WidgetError
from qviz.formats.base import Format, QTensor

# Blocks of random bytes that each bit is flipped in. One would not do: a bit of the scale moves no weight
# whose code is 0. The chance that a pair of 4-bit code and scale is missed in all of them is 16^-24.
_TRIALS = 24

_FLOAT_PARTS = {"F16": (1, 5, 10), "BF16": (1, 8, 7), "F32": (1, 8, 23), "F64": (1, 11, 52)}


@dataclass(frozen=True)
class BlockField:
    """One field of a block.

    Attributes
    ----------
    name : str
        As in the format's dtype.
    type : str
        Type of one element, e.g. ``"float16"``.
    offset : int
        Bytes from the start of the block.
    size : int
        Bytes of an element.
    count : int
        Elements.
    parts : tuple of int
        For a float: bits of sign, exponent and fraction, highest first; else empty.
    note : str
        What it is for, in words.
    """

    name: str
    type: str
    offset: int
    size: int
    count: int
    parts: tuple[int, ...]
    note: str


@dataclass(frozen=True, eq=False)
class BitMap:
    """What each bit of a block does.

    Bit ``8·i + k`` is bit `k` of byte `i`, `k` = 0 the lowest.

    Attributes
    ----------
    feeds : bool array (8·type_size, block_size)
        True where a bit can move a weight.
    place : int32 array (8·type_size,)
        What a bit adds to the code of the weight that it feeds; 0 if it has no such place value.
    """

    feeds: npt.NDArray[np.bool_]
    place: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class BlockLens:
    """One block, as it stands in the file and with some bits flipped.

    Attributes
    ----------
    format : str
    block_size : int
        Weights in the block.
    row, column : int
        Where its first weight stands in the tensor.
    address : int or None
        Position of its first byte in the file.
    fields : tuple of BlockField
    raw, original : uint8 arrays (type_size,)
        The bytes with and without the flips.
    elements : float64 array (n,)
        Value of every element of every field, in order.
    feeds : uint8 array (8·type_size, ceil(block_size / 8))
        `BitMap.feeds`, with what flips of this very block move; eight weights a byte, the first in the lowest bit.
    place : int32 array (8·type_size,)
    weights, before : float32 arrays (block_size,)
        Decoded from `raw` and from `original`; empty if the format cannot be decoded here.
    codes : int8 array (block_size,)
    levels : int8 array (block_size,)
        What the codes stand for: the codes themselves, unless the format looks them up in a table.
    scales, mins : float32 arrays (block_size / sub_block_size,)
        ``weight = scale · level − min``; all four are empty for formats without codes.
    """

    format: str
    block_size: int
    row: int
    column: int
    address: int | None
    fields: tuple[BlockField, ...]
    raw: ByteArray
    original: ByteArray
    elements: npt.NDArray[np.float64]
    feeds: ByteArray
    place: npt.NDArray[np.int32]
    weights: FloatArray
    before: FloatArray
    codes: npt.NDArray[np.int8]
    levels: npt.NDArray[np.int8]
    scales: FloatArray
    mins: FloatArray

    @property
    def broken(self) -> npt.NDArray[np.bool_]:
        """Weights that the flips have changed, (block_size,)."""
        return _differs(self.weights, self.before)


def block_lens(
    tensor: QTensor, index: int, flips: Iterable[tuple[int, int]] = (), address: int | None = None
) -> BlockLens:
    """Put one block of a tensor under the lens.

    Parameters
    ----------
    tensor : QTensor
    index : int
        Which block, counted along the rows.
    flips : iterable of (byte, bit)
        Bits to flip; bit 0 is the lowest.
    address : int, optional
        Position of the tensor's first byte in its file.

    Returns
    -------
    BlockLens

    Raises
    ------
    WidgetError
        No such block, or no such bit in it.

    Examples
    --------
    >>> from qviz.formats import quantize
    >>> t = quantize(np.arange(64, dtype=np.float32), "Q8_0")
    >>> lens = block_lens(t, 1, flips=[(2, 0)], address=1000)  # byte 2 is the code of weight 0
    >>> lens.address, lens.broken.nonzero()[0].tolist(), int(lens.codes[0])
    (1034, [0], 64)
    """
    fmt = tensor.format
    blocks = tensor.blocks.reshape(-1)
    if not 0 <= index < blocks.size:
        raise WidgetError(f"no block {index}: the tensor has {blocks.size}, counted from 0")
    original = np.frombuffer(blocks[index].tobytes(), np.uint8)
    raw = original.copy()
    for byte, bit in flips:
        if not (0 <= byte < fmt.type_size and 0 <= bit < 8):
            raise WidgetError(
                f"no bit {bit} of byte {byte}: a {fmt} block has bytes 0 … {fmt.type_size - 1}, bits 0 … 7"
            )
        raw[byte] ^= 1 << bit
    per_row = tensor.blocks.shape[-1]
    both = np.stack([raw, original])
    weights = _tensor(fmt, both).dequantize() if fmt.can_decode else np.empty((2, 0), np.float32)
    codes, scales, mins = np.empty(0, np.int8), np.empty(0, np.float32), np.empty(0, np.float32)
    if fmt.unpack_blocks is not None:
        codes, scales, mins = QTensor(fmt, raw.view(fmt.dtype), (fmt.block_size,)).unpack()
    bits = bit_map(fmt)
    # a codebook has entries that few flips tell apart, so this very block is asked as well
    feeds = bits.feeds | _flips_move(fmt, raw) if fmt.can_decode else bits.feeds
    return BlockLens(
        fmt.name,
        fmt.block_size,
        index // per_row,
        index % per_row * fmt.block_size,
        None if address is None else address + index * fmt.type_size,
        fields(fmt),
        raw,
        original,
        _elements(fmt, raw, weights[0]),
        np.packbits(feeds, axis=1, bitorder="little"),
        bits.place,
        weights[0],
        weights[1],
        codes,
        codes if fmt.table is None else np.array(fmt.table, np.int8)[codes],
        scales,
        mins,
    )


@cache
def bit_map(fmt: Format) -> BitMap:
    """Find what each bit of a block does, by flipping it and decoding.

    Parameters
    ----------
    fmt : Format

    Returns
    -------
    BitMap
        All False and 0 if the format cannot be decoded here.

    Examples
    --------
    Q4_0: byte 2 holds the codes of weight 0 (low half) and weight 16 (high half).

    >>> from qviz.formats import get
    >>> bits = bit_map(get("Q4_0"))
    >>> [bits.feeds[8 * 2 + k].nonzero()[0].tolist() for k in (0, 3, 4, 7)]
    [[0], [0], [16], [16]]
    >>> bits.place[16:24].tolist(), int(bits.feeds[0].sum())  # a bit of the scale feeds all 32
    ([1, 2, 4, 8, 1, 2, 4, 8], 32)
    """
    n_bits = 8 * fmt.type_size
    feeds = np.zeros((n_bits, fmt.block_size), bool)
    if not fmt.can_decode:
        return BitMap(feeds, np.zeros(n_bits, np.int32))
    steps = []  # (n_bits, block_size) each: what setting a bit adds to every code
    rng = np.random.default_rng(0)
    for block in rng.integers(0, 256, (_TRIALS, fmt.type_size), np.uint8):
        feeds |= _flips_move(fmt, block)
        if not fmt.is_float:
            off, on = (_tensor(fmt, raw).unpack().codes for raw in (block & ~_one_bit(fmt), block | _one_bit(fmt)))
            steps.append(on.astype(np.int32) - off)
    return BitMap(feeds, _places(steps, n_bits))


@cache
def _one_bit(fmt: Format) -> ByteArray:
    """Blocks (n_bits, type_size) of which each has one bit set, the lowest of the first byte first."""
    return np.packbits(np.eye(8 * fmt.type_size, dtype=bool), axis=1, bitorder="little")


def _flips_move(fmt: Format, block: ByteArray) -> npt.NDArray[np.bool_]:
    """Which weights of one block each flip moves, (n_bits, block_size)."""
    return _differs(_tensor(fmt, block ^ _one_bit(fmt)).dequantize(), _tensor(fmt, block[None]).dequantize())


def _places(steps: list[npt.NDArray[np.int32]], n_bits: int) -> npt.NDArray[np.int32]:
    """Bits that always add the same to just one code; others choose from a codebook, say, or set a sign."""
    if not steps:
        return np.zeros(n_bits, np.int32)
    one = np.all([step == steps[0] for step in steps], axis=(0, 2)) & (np.count_nonzero(steps[0], axis=1) == 1)
    places: npt.NDArray[np.int32] = np.where(one, steps[0].sum(axis=1), 0).astype(np.int32)
    return places


@cache
def fields(fmt: Format) -> tuple[BlockField, ...]:
    """The fields of a format's block.

    Examples
    --------
    >>> from qviz.formats import get
    >>> [(f.name, f.type, f.count, f.note) for f in fields(get("Q4_0"))]
    [('d', 'float16', 1, 'scale'), ('qs', 'uint8', 16, 'codes + 8, two a byte')]
    """
    names = fmt.dtype.names or ()
    fields = []
    for name in names:
        dtype, offset = fmt.dtype.fields[name][:2]  # type: ignore[index]
        base, shape = dtype.subdtype or (dtype, ())
        if base.names:  # a struct in the struct: show its bytes
            base, shape = np.dtype("u1"), (dtype.itemsize,)
        kind = fmt.name if fmt.name in _FLOAT_PARTS else {"f2": "F16", "f4": "F32", "f8": "F64"}.get(base.str[1:], "")
        fields.append(
            BlockField(
                name,
                "bfloat16" if kind == "BF16" else base.name,
                int(offset),
                base.itemsize,
                int(np.prod(shape, dtype=int)),
                _FLOAT_PARTS.get(kind, ()),
                fmt.field_notes.get(name, "" if fmt.can_decode else "not decoded here"),
            )
        )
    return tuple(fields)


def _elements(fmt: Format, raw: ByteArray, weights: FloatArray) -> npt.NDArray[np.float64]:
    if fmt.is_float:  # BF16 is stored as an integer field: its value is the weight's
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            return weights.astype(np.float64)
    values = []
    for f in fields(fmt):
        dtype = np.dtype(f.type).newbyteorder("<")
        values.append(np.frombuffer(raw[f.offset : f.offset + f.size * f.count].tobytes(), dtype).astype(np.float64))
    return np.concatenate(values)


def _tensor(fmt: Format, raw: ByteArray) -> QTensor:
    return QTensor(fmt, np.ascontiguousarray(raw).view(fmt.dtype), (len(raw), fmt.block_size))


def _differs(a: FloatArray, b: FloatArray) -> npt.NDArray[np.bool_]:
    moved: npt.NDArray[np.bool_] = (a != b) & ~(np.isnan(a) & np.isnan(b))
    return moved
