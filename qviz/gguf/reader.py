"""Reading a GGUF file: check everything once, then hand out views of the memory map.

Whatever a file says is a claim to check before acting on it: every count is compared with the bytes that are
left before anything is looped over or allocated, so opening takes time and memory in proportion to what the
file holds, not to what it declares.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, NoReturn, Self

import numpy as np

from qviz._files import as_path, map_file
from qviz.errors import FormatError, GGUFError
from qviz.formats import QTensor
from qviz.formats import get as get_format
from qviz.formats._opaque import REMOVED
from qviz.formats.base import Format
from qviz.gguf._lookup import MissingKeyError, suggestion
from qviz.gguf.metadata import MAX_KEY_BYTES, Metadata, Stored
from qviz.gguf.sniff import looks_like
from qviz.gguf.values import MAX_NESTING, SIZES, Layout, ValueType

MAGIC = b"GGUF"
VERSIONS = (1, 2, 3)
DEFAULT_ALIGNMENT = 32
ALIGNMENT_KEY = "general.alignment"
MAX_ALIGNMENT = 1 << 21  # a huge page; a file that asks for more is broken, and would cost that much padding
MAX_DIMS = 4
MAX_ENTRIES = 1 << 16  # keys, or tensors: each costs memory, and the largest models have some thousands
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
        return self.nbytes // self.format.type_size * self.format.block_size

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


class GGUFFile(Mapping[str, QTensor]):
    """An open GGUF file: a mapping from tensor name to `QTensor`, in the order of the file.

    Tensors are read-only views of the memory map (in a big-endian file, byte-swapped copies). A tensor keeps
    the map alive by itself, so closing the file never pulls the ground from under one. Made by `read`.

    Attributes
    ----------
    path : pathlib.Path
        The file, or the first part of a split model.
    metadata : Metadata
        Key -> value. Of a split model: the first part's, without the ``split.`` keys.
    tensor_info : mapping of str to TensorInfo
        Shape, format and absolute offset of each tensor.
    container : str
        ``"GGUF"``.
    version : int
        1, 2 or 3.
    endian : {"little", "big"}
    alignment : int
        Tensors start at multiples of so many bytes (of the first part).
    data_offset : int
        Where the first part's tensors start.
    parts : tuple of Part
        One for each file of a split model.
    """

    container = "GGUF"

    def __init__(self, parts: tuple[Part, ...], metadata: Metadata) -> None:
        self.parts = parts
        first = parts[0]
        self.path, self.version, self.endian = first.path, first.layout.version, first.layout.endian
        self.alignment, self.data_offset = first.alignment, first.data_offset
        self.metadata = metadata
        self.tensor_info: Mapping[str, TensorInfo] = MappingProxyType(
            {name: info for part in parts for name, info in part.tensor_info.items()}
        )
        self._part_of = {name: part for part in parts for name in part.tensor_info}

    def __getitem__(self, name: str) -> QTensor:
        try:
            part = self._part_of[name]
        except (KeyError, TypeError):
            raise MissingKeyError(f"{self.path}: no tensor {name!r}{suggestion(name, self._part_of)}") from None
        return part.tensor(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The tensor, or `default`."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get; Mapping's would suggest names

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._part_of

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensor_info)

    def __len__(self) -> int:
        return len(self.tensor_info)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        parts = f" in {len(self.parts)} files" if len(self.parts) > 1 else ""
        what = f"version {self.version}, {len(self)} tensors, {self.nbytes} bytes{parts}"
        return f"<GGUFFile {self.path.name!r}: {what}>"

    # A file equals itself; Mapping would compare the tensors, which are made anew at each look.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return read, (self.path,)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    @property
    def nbytes(self) -> int:
        """Size of the file, or of all parts together."""
        return sum(part.size for part in self.parts)

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self.parts[0].buffer is None

    def close(self) -> None:
        """Let go of the file. Tensors already handed out, and the metadata, stay usable."""
        self.metadata.detach()
        for part in self.parts:
            part.close()


class Part:
    """One file: its header, checked, and its memory map.

    Attributes
    ----------
    path : pathlib.Path
    size : int
        Bytes.
    layout : Layout
        Version and byte order.
    metadata : Metadata
    tensor_info : dict of str to TensorInfo
    alignment, data_offset : int
    buffer : mmap.mmap or None
        None once closed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.buffer: mmap.mmap | None
        self.file, self.buffer = map_file(path, wanted="the .gguf file in it")
        self.size = self.file.size
        try:
            header = _Header(self.buffer, self.size, path)
        except GGUFError:
            self.buffer.close()  # the traceback would keep the file open
            self.file.close()
            raise
        self.layout, self.metadata, self.tensor_info = header.layout, header.metadata, header.tensor_info
        self.alignment, self.data_offset = header.alignment, header.data_offset
        self._sections = header.sections

    def close(self) -> None:
        """Drop the map; it is unmapped when the last tensor that looks at it is gone."""
        self.metadata.detach()
        self.buffer = None
        self.file.close()

    def tensor(self, name: str) -> QTensor:
        """The tensor `name` (which exists), as a view of the map."""
        info = self.tensor_info[name]
        if self.buffer is None:
            raise GGUFError("the file was closed; open it again with qviz.gguf.read", path=self.path)
        # A map that reaches past the end of its file kills the whole process when it is touched there.
        if (now := self.buffer.size()) < info.offset + info.nbytes:
            raise GGUFError(
                f"the file shrank while it was open, {name!r} is no longer in it",
                path=self.path,
                offset=info.offset,
                found=f"{now} bytes",
                expected=f"{self.size} bytes; wait until it is written, then open it again",
            )
        fmt = info.format
        blocks = np.frombuffer(self.buffer, fmt.dtype, info.nbytes // fmt.type_size, info.offset)
        if self.layout.endian == "big":
            blocks = blocks.byteswap()
            blocks.flags.writeable = False
        return QTensor(fmt, blocks.reshape(*info.shape[:-1], -1), info.shape)

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """Every byte of the file, in order: which key, tensor or padding it belongs to."""
        tensors = sorted(self.tensor_info.values(), key=lambda info: info.offset)
        known = [*self._sections, *(Region(t.offset, t.offset + t.nbytes, "tensor", t.name) for t in tensors)]
        found: list[Region] = []
        position = 0
        for region in [*known, Region(self.size, self.size, "end", "")]:
            found += self._gap(position, region.start)
            found.append(region)
            position = region.stop
        return tuple(found[:-1])

    def _gap(self, start: int, stop: int) -> list[Region]:
        """Padding to the alignment, and whatever lies behind it."""
        middle = padded(start, self.alignment)
        if middle > stop:
            middle = start
        pieces = (start, middle, "padding"), (middle, stop, "unused")
        return [Region(a, b, kind, "") for a, b, kind in pieces if a < b]


def read(path: str | os.PathLike[str]) -> GGUFFile:
    """Open a GGUF file, version 1, 2 or 3, in either byte order; of a split model, all parts.

    Nothing but the header is read: tensors are mapped from the file when they are used.

    Parameters
    ----------
    path : path-like
        The file; any part of a model that was split into ``name-00001-of-00003.gguf`` ... opens the whole.

    Returns
    -------
    GGUFFile
        A mapping from tensor name to `QTensor`, with `metadata`. Usable in a ``with`` block.

    Raises
    ------
    ModelNotFoundError
        No such file.
    GGUFError
        Not a GGUF file, or a damaged one: says at which byte, what was found and what was expected.
    """
    from qviz.gguf.splits import open_parts

    parts = open_parts(as_path(path))
    metadata = parts[0].metadata
    split_keys = [key for key in metadata if key.startswith("split.")] if len(parts) > 1 else []
    return GGUFFile(parts, metadata.without(*split_keys) if split_keys else metadata)


def padded(position: int, alignment: int) -> int:
    """`position` rounded up to a multiple of `alignment`."""
    return -(-position // alignment) * alignment


class _Header:
    """Reads and checks a header from front to back. Lives only while a file is being opened."""

    def __init__(self, buffer: mmap.mmap, size: int, path: Path) -> None:
        self._buffer, self._size, self._path, self._pos = buffer, size, path, 0
        self.sections: list[Region] = []
        self.tensor_info: dict[str, TensorInfo] = {}

        self.layout = self._magic_and_version()
        counts_at, width = self._pos, self.layout.length.size
        n_tensors, n_keys = self._length("the number of tensors"), self._length("the number of metadata keys")
        self._close_section(0, "header", "")
        # at least: a key of one byte and a value of one byte; a tensor without a name, of one dimension
        hint = "; is the rest of the header in the other byte order than the version?"
        self._plausible(n_keys, width + 6, "metadata keys", counts_at + width, hint)
        self._plausible(n_tensors, 2 * width + 16, "tensors", counts_at, hint)
        self._sane(n_keys, "metadata keys", counts_at + width)
        self._sane(n_tensors, "tensors", counts_at)

        self.metadata = self._metadata(n_keys)
        self.alignment = self._alignment()
        infos = self._infos(n_tensors)
        self.data_offset = min(padded(self._pos, self.alignment), size)
        self._place(infos)

    def _magic_and_version(self) -> Layout:
        start = self._buffer[: len(MAGIC)]
        if start != MAGIC:
            if MAGIC.startswith(start):
                self._fail("the file ends inside the magic number", 0, start, MAGIC)
            self._fail(f"not a GGUF file{looks_like(self._buffer)}", 0, start, MAGIC)
        self._pos = len(MAGIC)
        raw = self._take(4, "the version")
        for endian in ("little", "big"):
            if (version := int.from_bytes(raw, endian)) in VERSIONS:
                return Layout(version, endian)
        self._fail(
            "unknown GGUF version",
            len(MAGIC),
            int.from_bytes(raw, "little"),
            "1, 2 or 3 in either byte order",
        )

    # -- the metadata

    def _metadata(self, count: int) -> Metadata:
        stored: dict[str, Stored] = {}
        for index in range(count):
            start = self._pos
            key = self._string(f"metadata key {index}", MAX_KEY_BYTES)
            if not key:
                self._fail(f"metadata key {index} is empty", start)
            if key in stored:
                self._fail(f"metadata key {key!r} appears twice", start)
            type_ = self._value_type(f"the type of {key!r}")
            value_start = self._pos
            self._skip_value(type_, key, 0)
            stored[key] = Stored(type_, value_start, self._pos)
            self._close_section(start, "metadata", key)
        return Metadata._from_file(self._buffer, self.layout, stored)

    def _value_type(self, what: str) -> ValueType:
        number = self._u32(what)
        try:
            return ValueType(number)
        except ValueError:
            self._fail(f"{what} is unknown", self._pos - 4, number, f"0 … {max(ValueType)}")

    def _skip_value(self, type_: ValueType, key: str, depth: int) -> None:
        """Step over one value, checking that it lies within the file."""
        if type_ is ValueType.STR:
            self._take_length(f"the text of {key!r}", self._length(f"the length of {key!r}"))
        elif type_ is not ValueType.ARR:
            self._take_length(f"the value of {key!r}", SIZES[type_])
        else:
            self._skip_array(key, depth)

    def _skip_array(self, key: str, depth: int) -> None:
        start = self._pos
        if depth == MAX_NESTING:
            self._fail(f"{key!r} nests arrays too deeply", start, None, f"at most {MAX_NESTING} levels")
        item_type = self._value_type(f"the item type of {key!r}")
        count = self._length(f"the item count of {key!r}")
        width = self.layout.length.size
        smallest = {ValueType.STR: width, ValueType.ARR: 4 + width}.get(item_type) or SIZES[item_type]
        self._plausible(count, smallest, f"items of {key!r}", start + 4)
        if item_type is ValueType.STR:
            self._skip_strings(count, key)
        elif item_type is ValueType.ARR:
            for _ in range(count):
                self._skip_array(key, depth + 1)
        else:
            self._pos += count * smallest

    def _skip_strings(self, count: int, key: str) -> None:
        # a vocabulary has 10^5 of these, so this loop is the time it takes to open a file
        unpack, width, buffer = self.layout.length.unpack_from, self.layout.length.size, self._buffer
        pos = self._pos
        while count:
            batch = min(count, 1000)
            try:
                for _ in repeat(None, batch):
                    pos += unpack(buffer, pos)[0] + width
            except (struct.error, OverflowError):  # past the end
                pos = self._size + 1
            if pos > self._size:
                for _ in range(batch):
                    self._skip_value(ValueType.STR, key, 0)  # one of them fails, and says where
            self._pos = pos
            count -= batch

    def _alignment(self) -> int:
        if ALIGNMENT_KEY not in self.metadata:
            return DEFAULT_ALIGNMENT
        stored = self.metadata._stored[ALIGNMENT_KEY]
        if stored.type is not ValueType.U32:
            self._fail(f"{ALIGNMENT_KEY} has the wrong type", stored.start - 4, str(stored.type), "u32")
        alignment = int(self.metadata[ALIGNMENT_KEY])
        if problem := alignment_problem(alignment):
            self._fail(f"{ALIGNMENT_KEY} {problem}", stored.start, alignment, f"a power of two up to {MAX_ALIGNMENT}")
        return alignment

    # -- the tensors

    def _infos(self, count: int) -> list[tuple[TensorInfo, int]]:
        """Tensor infos with offsets still relative to the data section, and where each offset stands."""
        infos = []
        names: set[str] = set()
        for index in range(count):
            start = self._pos
            name = self._string(f"the name of tensor {index}", MAX_NAME_BYTES)
            if "\0" in name:
                self._fail(f"the name of tensor {index} holds a zero byte", start, name)
            if name in names:
                self._fail(f"tensor name {name!r} appears twice", start)
            names.add(name)
            dims = self._dims(name)
            fmt, nbytes = self._format(name, dims)
            offset = self._unpack(self.layout.u64, f"the offset of {name!r}")
            infos.append((TensorInfo(name, dims[::-1], dims, fmt, offset, nbytes, self._path), self._pos - 8))
            self._close_section(start, "tensor info", name)
        return infos

    def _dims(self, name: str) -> tuple[int, ...]:
        count = self._u32(f"the number of dimensions of {name!r}")
        if not 1 <= count <= MAX_DIMS:
            self._fail(f"{name!r} has a wrong number of dimensions", self._pos - 4, count, f"1 … {MAX_DIMS}")
        dims: list[int] = []
        weights = 1
        for axis in range(count):
            start = self._pos
            length = self._length(f"dimension {axis} of {name!r}")
            if not 1 <= length <= _MAX_I64:
                self._fail(f"dimension {axis} of {name!r} is {'zero' if not length else 'negative'}", start, length)
            weights *= length
            if weights > _MAX_I64:
                self._fail(f"{name!r} has more weights than a 63-bit number can count", start, [*dims, length])
            dims.append(length)
        return tuple(dims)

    def _format(self, name: str, dims: tuple[int, ...]) -> tuple[Format, int]:
        start = self._pos
        type_id = self._u32(f"the type of {name!r}")
        if type_id in REMOVED:
            self._fail(f"{name!r} has type {REMOVED[type_id]}, which ggml removed", start, type_id)
        try:
            fmt = get_format(type_id)
        except FormatError:
            self._fail(f"{name!r} has an unknown type", start, type_id, "a ggml type id")
        if dims[0] % fmt.block_size:
            self._fail(
                f"rows of {name!r} are not whole blocks of {fmt}",
                start - len(dims) * self.layout.length.size,
                dims[0],
                f"a multiple of {fmt.block_size}",
            )
        nbytes = fmt.row_size(dims[0])
        for length in dims[1:]:
            nbytes *= length
        return fmt, nbytes

    def _place(self, infos: list[tuple[TensorInfo, int]]) -> None:
        """Check that every tensor lies in the data section, on its alignment, with none on top of another."""
        placed = []
        for info, where in infos:
            if info.offset % self.alignment:
                self._fail(
                    f"the offset of {info.name!r} is not aligned",
                    where,
                    info.offset,
                    f"a multiple of {self.alignment}",
                )
            absolute = self.data_offset + info.offset
            if absolute + info.nbytes > self._size:
                self._fail(
                    f"{info.name!r} reaches past the end of the file",
                    where,
                    f"{info.nbytes} bytes from byte {absolute}",
                    f"an end within {self._size} bytes; the file is cut short or damaged",
                )
            placed.append((replace(info, offset=absolute), where))
        self.tensor_info = {info.name: info for info, _ in placed}

        placed.sort(key=lambda item: item[0].offset)
        end = self.data_offset
        for i, (info, where) in enumerate(placed):
            if info.offset < end:
                self._fail(f"{info.name!r} overlaps {placed[i - 1][0].name!r}", where, info.offset, f"at least {end}")
            end = info.offset + info.nbytes
        # Some writers leave out the padding behind the last tensor; half of it means that the file was cut.
        if infos and end < self._size < padded(end, self.alignment):
            self._fail("the file ends inside its padding", self._size, None, f"{padded(end, self.alignment)} bytes")

    # -- primitives

    def _fail(self, problem: str, offset: int, found: object = None, expected: object = None) -> NoReturn:
        raise GGUFError(problem, path=self._path, offset=offset, found=found, expected=expected)

    def _plausible(self, count: int, smallest: int, what: str, offset: int, hint: str = "") -> None:
        left = self._size - self._pos
        if count * smallest > left:
            self._fail(f"more {what} than the file has room for", offset, count, f"at most {left // smallest}{hint}")

    def _sane(self, count: int, what: str, offset: int) -> None:
        if count > MAX_ENTRIES:
            self._fail(f"more {what} than any model has", offset, count, f"at most {MAX_ENTRIES}")

    def _take_length(self, what: str, length: int) -> None:
        if length > self._size - self._pos:
            self._fail(
                f"the file ends inside {what}",
                self._pos,
                f"{self._size - self._pos} bytes",
                f"{length} bytes",
            )
        self._pos += length

    def _take(self, length: int, what: str) -> bytes:
        start = self._pos
        self._take_length(what, length)
        return self._buffer[start : self._pos]

    def _unpack(self, number: Any, what: str) -> int:
        start = self._pos
        self._take_length(what, number.size)
        return int(number.unpack_from(self._buffer, start)[0])

    def _u32(self, what: str) -> int:
        return self._unpack(self.layout.u32, what)

    def _length(self, what: str) -> int:
        return self._unpack(self.layout.length, what)

    def _string(self, what: str, longest: int) -> str:
        start = self._pos
        length = self._length(f"the length of {what}")
        if length > longest:
            self._fail(f"{what} is too long", start, f"{length} bytes", f"at most {longest}")
        raw = self._take(length, what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            self._fail(f"{what} is not UTF-8", self._pos - length + error.start, raw)

    def _close_section(self, start: int, kind: str, name: str) -> None:
        self.sections.append(Region(start, self._pos, kind, name))


def alignment_problem(alignment: int) -> str:
    """What is wrong with an alignment, in words; empty if nothing is."""
    if alignment <= 0:
        return "is not positive"
    if alignment & (alignment - 1):
        return "is not a power of two"
    return "is huge" if alignment > MAX_ALIGNMENT else ""
