"""The header of a GGUF file, read and checked from front to back.

Whatever a file says is a claim to check before acting on it: every count is compared with the bytes that are left
before anything is looped over or allocated, so opening takes time and memory in proportion to what the file holds,
not to what it declares. Of values nothing is kept but where they lie.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from operator import length_hint
from pathlib import Path
from typing import Any, NamedTuple

from qviz._arrays import MOST_WEIGHTS, claimed
from qviz._files import Cursor, OpenFile
from qviz._files.window import FileWindow
from qviz.errors import FormatError
from qviz.formats import get as get_format
from qviz.formats.base import Format
from qviz.gguf._lookup import MissingKeyError
from qviz.gguf.foreign import ForeignFormat, foreign
from qviz.gguf.metadata import MAX_KEY_BYTES, Metadata, Section, Stored
from qviz.gguf.sniff import looks_like
from qviz.gguf.values import MAX_NESTING, SIZES, ByteLayout, ValueType

MAGIC = b"GGUF"
VERSIONS = (1, 2, 3)
DEFAULT_ALIGNMENT = 32
ALIGNMENT_KEY = "general.alignment"
MAX_ALIGNMENT = 1 << 21  # a huge page; a file that asks for more is broken, and would cost that much padding
MAX_DIMS = 4
MAX_ENTRIES = 1 << 16  # keys, tensors, or arrays in arrays: each costs memory, and the largest models have thousands
MAX_STRINGS = 1 << 26  # in all arrays together, a hundred times the largest vocabulary: each costs time
MAX_NAME_BYTES = 63  # ggml keeps names in 64 bytes, the last one zero
_MAX_I64 = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a file says about one tensor.

    Parameters
    ----------
    name : str
    shape : tuple of int
        NumPy order: rows last dimension, as in ``QTensor.shape``.
    dims : tuple of int
        As the file stores it: the row length first, the reverse of `shape`.
    format : Format
    offset : int
        Where the first block starts, in bytes from the beginning of the file.
    nbytes : int
    path : pathlib.Path
        The file that holds it; tells the parts of a split model apart.
    """

    name: str
    shape: tuple[int, ...]
    dims: tuple[int, ...]
    format: Format
    offset: int
    nbytes: int
    path: Path

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    def block_offset(self, *index: int) -> int:
        """Where in the file the block that holds a weight starts.

        Parameters
        ----------
        *index : int
            Position of the weight, one number a dimension of `shape`.

        Examples
        --------
        >>> from qviz.formats import get
        >>> info = TensorInfo("w", (2, 64), (64, 2), get("Q4_0"), 1024, 72, Path("x.gguf"))
        >>> info.block_offset(0, 31), info.block_offset(0, 32), info.block_offset(1, 0)
        (1024, 1042, 1060)
        """
        if len(index) != len(self.shape) or not all(0 <= i < n for i, n in zip(index, self.shape, strict=True)):
            raise MissingKeyError(f"{self.name!r} has no weight {list(index)}; its shape is {self.shape}")
        flat = 0
        for i, n in zip(index, self.shape, strict=True):
            flat = flat * n + i
        return self.offset + flat // self.format.block_size * self.format.type_size


class Region(NamedTuple):
    """A stretch of bytes of a file and what it is for.

    Attributes
    ----------
    start, stop : int
    kind : str
        ``"header"``, ``"metadata"``, ``"tensor info"``, ``"padding"``, ``"tensor"`` or ``"unused"``.
    name : str
        Key or tensor name; empty where there is none.
    """

    start: int
    stop: int
    kind: str
    name: str


def padded(position: int, alignment: int) -> int:
    """`position` rounded up to a multiple of `alignment`."""
    return -(-position // alignment) * alignment


def alignment_problem(alignment: int) -> str:
    """What is wrong with an alignment, in words; empty if nothing is."""
    if alignment <= 0:
        return "is not positive"
    if alignment & (alignment - 1):
        return "is not a power of two"
    return "is huge" if alignment > MAX_ALIGNMENT else ""


class Header(Cursor):
    """Reads a header. Lives only while a file is being opened.

    Attributes
    ----------
    layout : ByteLayout
        Version and byte order.
    metadata : Metadata
    tensor_info : dict of str to TensorInfo
    alignment, data_offset : int
    sections : list of Region
        What the header consists of, in order.
    """

    def __init__(self, file: OpenFile) -> None:
        self._window = FileWindow(file)
        super().__init__(self._window, file.path, file.size)
        self._file = file
        self._arrays = self._strings = 0
        self.sections: list[Region] = []
        self.tensor_info: dict[str, TensorInfo] = {}

        self.layout = self._magic_and_version()
        counts_at, width = self.position, self.layout.length.size
        n_tensors, n_keys = self._length("the number of tensors"), self._length("the number of metadata keys")
        self._close_section(0, "header", "")
        # at least: a key of one byte and a value of one byte; a tensor without a name or dimensions
        hint = "; is the rest of the header in the other byte order than the version?"
        self.plausible(n_keys, width + 6, "metadata keys", counts_at + width, hint)
        self.plausible(n_tensors, width + 16, "tensors", counts_at, hint)
        self._sane(n_keys, "metadata keys", counts_at + width)
        self._sane(n_tensors, "tensors", counts_at)

        self.metadata = self._metadata(n_keys)
        self.alignment = self._alignment()
        infos = self._infos(n_tensors)
        self.data_offset = min(padded(self.position, self.alignment), self.size)
        self._place(infos)

    def _magic_and_version(self) -> ByteLayout:
        start = self._window[0 : len(MAGIC)]
        if start != MAGIC:
            if MAGIC.startswith(start):
                self.fail("the file ends inside the magic number", 0, start, MAGIC)
            self.fail(f"not a GGUF file{looks_like(self._window)}", 0, start, MAGIC)
        self.position = len(MAGIC)
        raw = self.take(4, "the version")
        for endian in ("little", "big"):
            if (version := int.from_bytes(raw, endian)) in VERSIONS:
                return ByteLayout(version, endian)
        self.fail("unknown GGUF version", len(MAGIC), int.from_bytes(raw, "little"), "1, 2 or 3 in either byte order")

    # -- the metadata

    def _metadata(self, count: int) -> Metadata:
        stored: dict[str, Stored] = {}
        for index in range(count):
            start = self.position
            key = self._string(f"metadata key {index}", MAX_KEY_BYTES)
            if not key:
                self.fail(f"metadata key {index} is empty", start)
            if key in stored:
                self.fail(f"metadata key {key!r} appears twice", start)
            type_ = self._value_type(f"the type of {key!r}")
            value_start = self.position
            item_type = self._skip_value(type_, key)
            stored[key] = Stored(type_, value_start, self.position, item_type)
            self._close_section(start, "metadata", key)
        return Metadata._from_file(Section(self._file), self.layout, stored)

    def _value_type(self, what: str) -> ValueType:
        number = self._u32(what)
        try:
            return ValueType(number)
        except ValueError:
            self.fail(f"{what} is unknown", self.position - 4, number, f"0 … {max(ValueType)}")

    def _skip_value(self, type_: ValueType, key: str) -> ValueType | None:
        """Step over one value, checking that it lies within the file; says what an array holds."""
        if type_ is ValueType.ARR:
            return self._skip_array(key, 0)
        if type_ is ValueType.STR:
            self.skip(self._length(f"the length of {key!r}"), f"the text of {key!r}")
        else:
            self.skip(SIZES[type_], f"the value of {key!r}")
        return None

    def _skip_array(self, key: str, depth: int) -> ValueType:
        start = self.position
        if depth == MAX_NESTING:
            self.fail(f"{key!r} nests arrays too deeply", start, None, f"at most {MAX_NESTING} levels")
        item_type = self._value_type(f"the item type of {key!r}")
        count = self._length(f"the item count of {key!r}")
        width = self.layout.length.size
        smallest = {ValueType.STR: width, ValueType.ARR: 4 + width}.get(item_type) or SIZES[item_type]
        self.plausible(count, smallest, f"items of {key!r}", start + 4)
        if item_type is ValueType.STR:
            self._skip_strings(count, key, start + 4)
        elif item_type is ValueType.ARR:
            self._arrays += count
            if self._arrays > MAX_ENTRIES:
                self.fail(f"{key!r} holds more arrays than any model has", start + 4, count, f"at most {MAX_ENTRIES}")
            for _ in range(count):
                self._skip_array(key, depth + 1)
        else:
            self.position += count * smallest
        return item_type

    def _skip_strings(self, count: int, key: str, offset: int) -> None:
        # a vocabulary has 10^5 of these, so this loop is the time it takes to open a file
        self._strings += count
        if self._strings > MAX_STRINGS:
            self.fail(f"{key!r} holds more texts than any model has", offset, count, f"at most {MAX_STRINGS}")
        unpack, width = self.layout.length.unpack_from, self.layout.length.size
        while count:
            batch = repeat(None, min(count, 1 << 16))
            if not 0 <= self.position - self._window.start <= len(self._window.data) - width:
                self._window.move(self.position)
            first = self.position
            position, data, left = first - self._window.start, self._window.data, length_hint(batch)
            try:
                for _ in batch:
                    position += unpack(data, position)[0] + width
                done = left
            except (struct.error, OverflowError):  # past what is at hand, or past the end
                done = left - length_hint(batch) - 1
            if not done or self._window.start + position > self.size:
                for _ in range(max(done, 1)):
                    self._skip_text(key)  # fails at the one that does not lie within the file, and says where
                count -= max(done, 1)
                continue
            self.position = self._window.start + position
            count -= done

    def _skip_text(self, key: str) -> None:
        self.skip(self._length(f"the length of {key!r}"), f"the text of {key!r}")

    def _alignment(self) -> int:
        stored = self.metadata._stored.get(ALIGNMENT_KEY)
        if stored is None:
            return DEFAULT_ALIGNMENT
        if stored.type is not ValueType.U32:
            self.fail(f"{ALIGNMENT_KEY} has the wrong type", stored.start - 4, str(stored.type), "u32")
        alignment = int(self.metadata[ALIGNMENT_KEY])
        if problem := alignment_problem(alignment):
            self.fail(f"{ALIGNMENT_KEY} {problem}", stored.start, alignment, f"a power of two up to {MAX_ALIGNMENT}")
        return alignment

    # -- the tensors

    def _infos(self, count: int) -> list[tuple[TensorInfo, int]]:
        """Tensor infos with offsets still relative to the data section, and where each offset stands."""
        infos = []
        names: set[str] = set()
        for index in range(count):
            start = self.position
            name = self._string(f"the name of tensor {index}", MAX_NAME_BYTES)
            if "\0" in name:
                self.fail(f"the name of tensor {index} holds a zero byte", start, name)
            if name in names:
                self.fail(f"tensor name {name!r} appears twice", start)
            names.add(name)
            dims = self._dims(name)
            fmt, nbytes = self._format(name, dims)
            offset = int(self.unpack(self.layout.u64, f"the offset of {name!r}")[0])
            shape = dims[::-1] or (1,)  # a number without dimensions: one weight
            infos.append((TensorInfo(name, shape, dims, fmt, offset, nbytes, self.path), self.position - 8))
            self._close_section(start, "tensor info", name)
        return infos

    def _dims(self, name: str) -> tuple[int, ...]:
        """Lengths of the axes, as ggml takes them: none at all, or some that are zero, are fine."""
        count = self._u32(f"the number of dimensions of {name!r}")
        if count > MAX_DIMS:
            self.fail(f"{name!r} has a wrong number of dimensions", self.position - 4, count, f"0 … {MAX_DIMS}")
        dims: list[int] = []
        for axis in range(count):
            start = self.position
            length = self._length(f"dimension {axis} of {name!r}")
            if length > _MAX_I64:
                self.fail(f"dimension {axis} of {name!r} is negative", start, length)
            dims.append(length)
            if claimed(dims) > MOST_WEIGHTS:
                self.fail(f"{name!r} has more weights than memory can address", start, dims)
        return tuple(dims)

    def _format(self, name: str, dims: tuple[int, ...]) -> tuple[Format, int]:
        """Format and bytes; of a type that is not ggml's, nobody knows the bytes before the next tensor is seen."""
        start = self.position
        type_id = self._u32(f"the type of {name!r}")
        try:
            fmt = get_format(type_id)
        except FormatError:
            return foreign(type_id), 0
        row = dims[0] if dims else 1
        if row % fmt.block_size:
            self.fail(
                f"rows of {name!r} are not whole blocks of {fmt}",
                start - len(dims) * self.layout.length.size,
                row,
                f"a multiple of {fmt.block_size}",
            )
        return fmt, row // fmt.block_size * fmt.type_size * math.prod(dims[1:])

    def _place(self, infos: list[tuple[TensorInfo, int]]) -> None:
        """Check that every tensor lies in the data section, on its alignment, with none on top of another."""
        for info, where in infos:
            if info.offset % self.alignment:
                problem = f"the offset of {info.name!r} is not aligned"
                self.fail(problem, where, info.offset, f"a multiple of {self.alignment}")
            absolute = self.data_offset + info.offset
            if absolute + info.nbytes > self.size:
                self.fail(
                    f"{info.name!r} reaches past the end of the file",
                    where,
                    f"{info.nbytes} bytes from byte {absolute}",
                    f"an end within {self.size} bytes; the file is cut short or damaged",
                )
        order = sorted(range(len(infos)), key=lambda i: (infos[i][0].offset, infos[i][0].nbytes))
        placed = [replace(info, offset=self.data_offset + info.offset) for info, _ in infos]
        self._measure_foreign(placed, order)
        end, last = self.data_offset, ""
        for i in order:
            info, (_, where) = placed[i], infos[i]
            if info.offset < end:
                self.fail(f"{info.name!r} overlaps {last!r}", where, info.offset, f"at least {end}")
            end, last = info.offset + info.nbytes, info.name
        self.tensor_info = {info.name: info for info in placed}
        # Some writers leave out the padding behind the last tensor; half of it means that the file was cut.
        if infos and end < self.size < padded(end, self.alignment):
            self.fail("the file ends inside its padding", self.size, None, f"{padded(end, self.alignment)} bytes")

    def _measure_foreign(self, placed: list[TensorInfo], order: Sequence[int]) -> None:
        """A tensor of a foreign type takes what there is up to the next one, its padding included."""
        stop = self.size
        for i in reversed(order):
            info = placed[i]
            if isinstance(info.format, ForeignFormat) and info.n_weights:
                placed[i] = replace(info, nbytes=max(stop - info.offset, 0))
            stop = min(stop, info.offset)

    # -- primitives

    def unpack(self, layout: struct.Struct, what: str) -> tuple[Any, ...]:
        """The next numbers; at once if they are at hand."""
        at, data = self.position - self._window.start, self._window.data
        if not 0 <= at <= len(data) - layout.size:
            return super().unpack(layout, what)
        self.position += layout.size
        return layout.unpack_from(data, at)

    def _sane(self, count: int, what: str, offset: int) -> None:
        if count > MAX_ENTRIES:
            self.fail(f"more {what} than any model has", offset, count, f"at most {MAX_ENTRIES}")

    def _u32(self, what: str) -> int:
        return int(self.unpack(self.layout.u32, what)[0])

    def _length(self, what: str) -> int:
        return int(self.unpack(self.layout.length, what)[0])

    def _string(self, what: str, longest: int) -> str:
        start = self.position
        length = self._length(f"the length of {what}")
        if length > longest:
            self.fail(f"{what} is too long", start, f"{length} bytes", f"at most {longest}")
        raw = self.take(length, what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            self.fail(f"{what} is not UTF-8", self.position - length + error.start, raw)

    def _close_section(self, start: int, kind: str, name: str) -> None:
        self.sections.append(Region(start, self.position, kind, name))
