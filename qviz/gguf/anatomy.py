"""What every byte of a GGUF file is for, down to the single number; and what a reader says once some are changed.

Examples
--------
>>> from qviz import load
>>> part = load("tiny").file.parts[0]
>>> for field in fields_of(part, 0, 24):
...     print(field.start, field.stop, field.name, field.value)
0 4 magic GGUF
4 8 version 3
8 16 number of tensors 74
16 24 number of keys 26
>>> print(read_changed(part, {4: 9}).problem)
unknown GGUF version
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qviz._files import OpenFile
from qviz.errors import GGUFError
from qviz.formats import QTensor
from qviz.gguf.header import Header, Region
from qviz.gguf.reader import Part
from qviz.gguf.values import _CODES, SIZES, ValueType

MOST_ITEMS = 1 << 12
"""Items of an array that are told apart; those behind them are one field."""

_SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class Field:
    """Bytes that belong together.

    Attributes
    ----------
    start, stop : int
        First byte, and the one after the last, counted from the start of the file.
    name : str
        ``"version"``, ``"length of the key"``, ``"block 17"`` ...
    value : str
        What they say, as a person would write it; empty for blocks.
    region : Region
        The key, tensor or gap that they are part of.
    """

    start: int
    stop: int
    name: str
    value: str
    region: Region


class ChangedFile(OpenFile):
    """A file with some bytes changed, in memory only.

    Parameters
    ----------
    file : OpenFile
        It must stay open.
    changes : mapping of int to int
        Position -> byte, 0 … 255.
    """

    def __init__(self, file: OpenFile, changes: Mapping[int, int]) -> None:
        self.path, self.size, self.identity = file.path, file.size, file.identity
        self._original, self._changes, self._error = file, dict(changes), GGUFError

    @property
    def closed(self) -> bool:
        """True once the file itself was closed."""
        return self._original.closed

    def check(self, head: int = 0) -> None:
        """See `OpenFile.check`."""
        self._original.check(head)

    def read_into(self, buffer: Any, offset: int) -> None:
        """See `OpenFile.read_into`."""
        self._original.read_into(buffer, offset)
        with memoryview(buffer) as whole, whole.cast("B") as view:
            for position, byte in self._changes.items():
                if offset <= position < offset + len(view):
                    view[position - offset] = byte


def read_changed(part: Part, changes: Mapping[int, int]) -> Header | GGUFError:
    """Read the header of a file as it would be with some bytes changed.

    Parameters
    ----------
    part : Part
    changes : mapping of int to int
        Position -> byte, 0 … 255.

    Returns
    -------
    Header or GGUFError
        The header, or what is wrong with it.
    """
    try:
        return Header(ChangedFile(part.file, changes))
    except GGUFError as error:
        return error


def consequences(part: Part, changes: Mapping[int, int]) -> list[str]:
    """Say what a reader makes of a file with some bytes changed, where it does not refuse it.

    Parameters
    ----------
    part : Part
    changes : mapping of int to int
        Position -> byte, 0 … 255.

    Returns
    -------
    list of str
        A sentence for each key, tensor and gap that is not what it was; empty if nothing is.

    Raises
    ------
    GGUFError
        The header is refused; see `read_changed`.
    """
    header = read_changed(part, changes)
    if isinstance(header, GGUFError):
        raise header
    said = _keys_changed(part, header) + _tensors_changed(part, header)
    starts = [region.start for region in part.regions]
    for position in sorted(changes):
        region = part.regions[bisect.bisect_right(starts, position) - 1]
        if region.kind == "tensor":
            said += _weights_changed(part, region, position, changes)
        elif region.kind in ("padding", "unused"):
            said.append(f"byte {position:,} is {region.kind}: nobody reads it.")
    return list(dict.fromkeys(said))


def _keys_changed(part: Part, header: Header) -> list[str]:
    before, now = part.metadata, header.metadata
    said = [f"key {key!r} is gone." for key in before if key not in now]
    said += [f"key {key!r} is new: {_shown(str(now[key]))}." for key in now if key not in before]
    for key in before:
        if key in now and (a := before[key]) is not (b := now[key]) and repr(a) != repr(b):
            said.append(f"{key}: was {_shown(repr(a))}, is {_shown(repr(b))}.")
    return said


def _tensors_changed(part: Part, header: Header) -> list[str]:
    said = []
    for before, now in zip(part.tensor_info.values(), header.tensor_info.values(), strict=False):
        if before.name != now.name:
            said.append(f"tensor {before.name!r} is called {now.name!r} now.")
        if before.shape != now.shape:
            said.append(f"{now.name}: its shape was {before.shape}, is {now.shape}.")
        if before.format is not now.format:
            said.append(f"{now.name}: its blocks were {before.format}, are read as {now.format}.")
        if before.offset != now.offset:
            said.append(
                f"{now.name}: is read from byte {now.offset:,}, not {before.offset:,}: all its weights are wrong."
            )
    return said


def _weights_changed(part: Part, region: Region, position: int, changes: Mapping[int, int]) -> list[str]:
    info = part.tensor_info[region.name]
    fmt = info.format
    if not fmt.can_decode:
        return [f"{info.name}: a byte of its {fmt} blocks changed, and nothing notices."]
    start = region.start + (position - region.start) // fmt.type_size * fmt.type_size
    raws = [part.file.read(start, fmt.type_size), ChangedFile(part.file, changes).read(start, fmt.type_size)]
    before, now = (QTensor.from_bytes(fmt.name, raw, (fmt.block_size,)).dequantize() for raw in raws)
    wrong = int(((before != now) & ~(np.isnan(before) & np.isnan(now))).sum())
    if not wrong:
        return [f"{info.name}, block at byte {start:,}: no weight changes."]
    largest = float(np.abs(np.nan_to_num(now - before, nan=np.inf)).max())
    return [
        f"{info.name}, block at byte {start:,}: {wrong} of {fmt.block_size} weights change, by up to {largest:.3g}, "
        f"and nothing notices: GGUF has no checksum."
    ]


def fields_of(part: Part, first: int, last: int) -> list[Field]:
    """The fields that some bytes of a file belong to.

    Parameters
    ----------
    part : Part
    first, last : int
        The first of the bytes, and the one after the last.

    Returns
    -------
    list of Field
        In order; the first and the last may reach beyond the bytes that were asked for.

    Raises
    ------
    GGUFError
        There are no such bytes.
    """
    if not 0 <= first < last <= part.size:
        raise GGUFError(f"the file has no bytes {first} … {last}", path=part.path, expected=f"0 … {part.size}")
    regions = part.regions
    starts = [region.start for region in regions]
    fields: list[Field] = []
    for region in regions[max(bisect.bisect_right(starts, first) - 1, 0) :]:
        if region.start >= last:
            break
        kept = (field for field in _Walk(part, region, first, last).fields() if field.stop > first)
        for field in kept:
            if field.start >= last:
                break
            fields.append(field)
    return fields


class _Walk:
    """The fields of one region, front to back."""

    def __init__(self, part: Part, region: Region, first: int, last: int) -> None:
        self._part, self._region, self._first, self._last = part, region, first, last
        self._layout, self._at = part.layout, region.start

    def fields(self) -> Iterator[Field]:
        walks: dict[str, Callable[[], Iterator[Field]]] = {
            "header": self._header,
            "metadata": self._key,
            "tensor info": self._info,
            "tensor": self._blocks,
        }
        yield from walks.get(self._region.kind, self._rest)()

    def _field(self, size: int, name: str, value: str = "") -> Field:
        start, self._at = self._at, self._at + size
        return Field(start, self._at, name, value, self._region)

    def _raw(self, size: int) -> bytes:
        return self._part.file.read(self._at, min(size, self._region.stop - self._at))

    def _number(self, layout: struct.Struct, name: str, told: Callable[[int], str] = str) -> tuple[int, Field]:
        value = int(layout.unpack(self._raw(layout.size))[0])
        return value, self._field(layout.size, name, told(value))

    def _text(self, what: str) -> Iterator[Field]:
        length, field = self._number(self._layout.length, f"length of {what}")
        yield field
        if length:
            yield self._field(length, what, _shown(self._raw(min(length, 4 * _SHOWN)).decode("utf-8", "replace")))

    def _header(self) -> Iterator[Field]:
        yield self._field(4, "magic", self._raw(4).decode("ascii", "replace"))
        yield self._number(self._layout.u32, "version")[1]
        yield self._number(self._layout.length, "number of tensors")[1]
        yield self._number(self._layout.length, "number of keys")[1]

    def _key(self) -> Iterator[Field]:
        yield from self._text("the key")
        type_, field = self._number(self._layout.u32, "type of the value", _type_name)
        yield field
        yield from self._value(ValueType(type_), "the value")

    def _value(self, type_: ValueType, what: str) -> Iterator[Field]:
        if type_ is ValueType.STR:
            yield from self._text(what)
        elif type_ is ValueType.ARR:
            yield from self._array()
        else:
            yield self._scalar(type_, what)

    def _scalar(self, type_: ValueType, what: str) -> Field:
        (value,) = struct.unpack(f"{self._layout.order}{_CODES[type_]}", self._raw(SIZES[type_]))
        return self._field(SIZES[type_], what, f"{value:.6g}" if isinstance(value, float) else str(value))

    def _array(self) -> Iterator[Field]:
        item, field = self._number(self._layout.u32, "type of the items", _type_name)
        yield field
        count, field = self._number(self._layout.length, "number of items")
        yield field
        type_, index = ValueType(item), 0
        if type_ in SIZES:  # items before the first byte asked for need not be walked
            index = min(max((self._first - self._at) // SIZES[type_], 0), count)
            self._at += index * SIZES[type_]
        stop = min(count, index + MOST_ITEMS) if type_ in SIZES else count
        while index < stop and self._at < self._last:
            yield from self._value(type_, f"item {index}")
            index += 1
        if index < count and self._at < self._region.stop:
            yield self._field(self._region.stop - self._at, f"items {index} … {count - 1}")

    def _info(self) -> Iterator[Field]:
        info = self._part.tensor_info[self._region.name]
        yield from self._text("the name")
        count, field = self._number(self._layout.u32, "number of dimensions")
        yield field
        for axis in range(count):
            yield self._number(self._layout.length, f"dimension {axis}")[1]
        yield self._number(self._layout.u32, "type of the weights", lambda id: f"{id} = {info.format}")[1]
        yield self._number(self._layout.u64, "offset behind the header")[1]

    def _blocks(self) -> Iterator[Field]:
        info = self._part.tensor_info[self._region.name]
        size = info.format.type_size
        if not size:
            yield from self._rest()
            return
        index = max(self._first - self._at, 0) // size
        self._at += index * size
        while self._at < min(self._region.stop, self._last):
            yield self._field(size, f"block {index}" if info.format.block_size > 1 else f"weight {index}")
            index += 1

    def _rest(self) -> Iterator[Field]:
        what = {"padding": "zeros up to the next multiple of the alignment"}.get(self._region.kind, self._region.kind)
        yield self._field(self._region.stop - self._at, what)


def _type_name(id: int) -> str:
    return f"{id} = {ValueType(id)}" if id in ValueType._value2member_map_ else str(id)


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
