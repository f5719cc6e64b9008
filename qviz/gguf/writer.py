"""Writing a GGUF file: header, infos and tensors back to back, each padded, as ggml and gguf-py demand.

The file appears whole or not at all: it is written beside its destination, flushed to the disk, then renamed
over it. So a file may be overwritten while tensors of it are mapped, and even while it is the source of what
is written: the old bytes live on until the last tensor that looks at them is gone. (Windows refuses to
replace a mapped file; there that ends in an error, and the old file stays.)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz._files import as_path, replacing
from qviz.errors import GGUFError, ShapeError, shortened
from qviz.formats import QTensor
from qviz.formats import get as get_format
from qviz.formats.base import Format
from qviz.gguf.foreign import ForeignFormat, refusal
from qviz.gguf.header import (
    ALIGNMENT_KEY,
    DEFAULT_ALIGNMENT,
    MAGIC,
    MAX_ALIGNMENT,
    MAX_DIMS,
    MAX_NAME_BYTES,
    VERSIONS,
    alignment_problem,
    padded,
)
from qviz.gguf.metadata import Metadata
from qviz.gguf.values import U32, ByteLayout, Endian, encode_length, encode_text

# Bytes turned round at a time for a big-endian file.
_CHUNK = 1 << 22

_ARRAY_FORMATS = {
    np.dtype(code): name
    for code, name in {
        "f4": "F32",
        "f2": "F16",
        "f8": "F64",
        "i1": "I8",
        "i2": "I16",
        "i4": "I32",
        "i8": "I64",
    }.items()
}


class TensorEntry(NamedTuple):
    """One tensor of a file to be: what its header says of it, and how many bytes follow."""

    name: str
    raw_name: bytes
    format: Format
    shape: tuple[int, ...]
    dims: tuple[int, ...]
    nbytes: int


def write(
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any],
    tensors: Mapping[str, QTensor | npt.NDArray[Any]],
    *,
    version: int = 3,
    endian: Endian = "little",
    alignment: int | None = None,
) -> Path:
    """Write a GGUF file.

    ``write(copy, file.metadata, file)`` gives the same bytes as `file`, if that lays out its tensors as this
    does: in order, without gaps, each padded to the alignment. A split model becomes one file.

    Parameters
    ----------
    path : path-like
        Where to; an existing file is replaced once the new one is complete.
    metadata : mapping of str to object
        See `qviz.gguf.values` for the types that plain values get, and how to ask for another.
    tensors : mapping of str to QTensor or ndarray
        In this order. Arrays are stored as they are: float32 as F32, float16 as F16, float64 as F64, int8 …
        int64 as I8 … I64. If the mapping has a `tensor_info` with a `format` and a `shape` for each name (a
        `GGUFFile` has), tensors are asked for one at a time, so a model larger than memory can be written.
    version : {3, 2, 1}, optional
        llama.cpp reads 2 and 3.
    endian : {"little", "big"}, optional
        Byte order of everything, weights included.
    alignment : int, optional
        Tensors start at multiples of it; a power of two. From ``general.alignment`` if not given, else 32.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    GGUFError
        A name, value or tensor that the format cannot hold, or a file that cannot be written. Nothing is left
        behind.
    """
    with stream(path, metadata, tensors, version=version, endian=endian, alignment=alignment) as out:
        for entry in out.entries:
            if entry.nbytes:
                out.append(_blocks(tensors[entry.name], entry))
    return out.path


@contextlib.contextmanager
def stream(
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Any],
    *,
    version: int = 3,
    endian: Endian = "little",
    alignment: int | None = None,
) -> Iterator[TensorStream]:
    """Write a GGUF file whose tensors come piece by piece, in a ``with`` block.

    Nothing of the file can be seen under its name before the block ends. If the block ends in an exception, or before
    every tensor is complete, nothing is left behind.

    Parameters
    ----------
    path, metadata, version, endian, alignment
        As for `write`.
    tensors : mapping
        Name -> anything with a `format` and a `shape`, in the order in which their blocks will come.

    Yields
    ------
    TensorStream

    Raises
    ------
    GGUFError
        As from `write`; also if tensors are incomplete at the end.
    """
    target = as_path(path)
    for what, given in (("metadata", metadata), ("tensors", tensors)):
        if not isinstance(given, Mapping):
            raise GGUFError(f"{what} must be a mapping, such as a dict", found=type(given).__name__)
    layout = _layout(version, endian)
    meta, step = _aligned(metadata if isinstance(metadata, Metadata) else Metadata(metadata), alignment)
    entries = [entry_of(name, described) for name, described in _described(tensors)]
    header = header_bytes(meta, entries, layout, step)
    with replacing(target) as file:
        file.write(header)
        pad(file, len(header), step)
        out = TensorStream(file, target, entries, layout, step)
        yield out
        out.check_complete()


def file_size(metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> int:
    """Bytes of the file that `write` or `stream` would make, padding included.

    Parameters
    ----------
    metadata, tensors : mapping
        As for `stream`.
    """
    meta, step = _aligned(metadata if isinstance(metadata, Metadata) else Metadata(metadata), None)
    entries = [entry_of(name, described) for name, described in _described(tensors)]
    start = padded(len(header_bytes(meta, entries, _layout(3, "little"), step)), step)
    return start + sum(padded(entry.nbytes, step) for entry in entries)


class TensorStream:
    """Takes the blocks of a file's tensors in order, in pieces of any number of blocks. Made by `stream`.

    Attributes
    ----------
    path : pathlib.Path
        What the file will be.
    entries : list
        What each tensor will be: `name`, `format`, `shape`, `nbytes`.
    """

    def __init__(
        self, file: BinaryIO, path: Path, entries: list[TensorEntry], layout: ByteLayout, alignment: int
    ) -> None:
        self.path, self.entries = path, entries
        self._file, self._layout, self._alignment = file, layout, alignment
        self._index = self._written = 0
        self._skip_empty()

    def _skip_empty(self) -> None:
        """Tensors of no weights have no blocks that anybody could append."""
        while self._index < len(self.entries) and not self.entries[self._index].nbytes:
            self._index += 1

    @property
    def current(self) -> TensorEntry | None:
        """The tensor that the next blocks belong to; None after the last one."""
        return self.entries[self._index] if self._index < len(self.entries) else None

    def append(self, blocks: npt.NDArray[Any]) -> None:
        """Write the next blocks; they must not reach past the end of the current tensor.

        Parameters
        ----------
        blocks : contiguous array of the tensor's ``format.dtype``

        Raises
        ------
        GGUFError
            Blocks of another format, more of them than the tensor has, or a file that cannot be written.
        """
        entry = self.current
        if entry is None or blocks.dtype != entry.format.dtype or self._written + blocks.nbytes > entry.nbytes:
            raise GGUFError(
                f"these blocks do not belong to {repr(entry.name) if entry else 'any tensor'}",
                path=self.path,
                found=f"{blocks.nbytes} bytes of {blocks.dtype}",
                expected=f"{entry.nbytes - self._written} bytes of {entry.format}" if entry else "nothing more",
            )
        _write_tensor(self._file, blocks.reshape(-1), self._layout)
        self._written += blocks.nbytes
        if self._written == entry.nbytes:
            pad(self._file, entry.nbytes, self._alignment)
            self._index, self._written = self._index + 1, 0
            self._skip_empty()

    def check_complete(self) -> None:
        """Refuse to end before every tensor has all its blocks."""
        if self._index < len(self.entries):
            entry = self.entries[self._index]
            raise GGUFError(
                f"tensor {shortened(entry.name)} is not complete",
                path=self.path,
                found=f"{self._written} bytes",
                expected=f"{entry.nbytes} bytes",
            )


def _layout(version: int, endian: Endian) -> ByteLayout:
    if isinstance(version, bool) or not isinstance(version, int) or version not in VERSIONS:
        raise GGUFError("no such GGUF version", found=version, expected="3, 2 or 1")
    if not isinstance(endian, str) or endian not in ("little", "big"):
        raise GGUFError("no such byte order", found=endian, expected="'little' or 'big'")
    return ByteLayout(version, endian)


def _aligned(metadata: Metadata, alignment: int | None) -> tuple[Metadata, int]:
    """The alignment, and metadata that state it."""
    stated = metadata.get(ALIGNMENT_KEY, U32(DEFAULT_ALIGNMENT))
    if alignment is None:
        alignment = stated
        if not isinstance(stated, U32):
            raise GGUFError(f"{ALIGNMENT_KEY} must be a whole number, a u32", found=stated)
    problem = alignment_problem(alignment) if isinstance(alignment, int) else "is not a whole number"
    if problem:
        raise GGUFError(f"the alignment {problem}", found=alignment, expected=f"a power of two up to {MAX_ALIGNMENT}")
    if type(stated) is not U32 or stated != alignment:
        metadata = metadata | {ALIGNMENT_KEY: U32(alignment)}
    return metadata, int(alignment)


def _described(tensors: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    infos = getattr(tensors, "tensor_info", tensors)
    return ((name, infos[name]) for name in tensors)


def entry_of(name: Any, tensor: Any) -> TensorEntry:
    """Check that the format can hold a tensor, and how many bytes it takes."""
    if not isinstance(name, str):
        raise GGUFError("a tensor's name must be a string", found=name)
    raw = encode_text(name, f"tensor name {name!r}")
    if len(raw) > MAX_NAME_BYTES or 0 in raw:
        raise GGUFError(
            "a tensor's name is too long or holds a zero byte", found=name, expected=f"{MAX_NAME_BYTES} bytes"
        )
    if isinstance(tensor, np.ndarray):
        fmt, shape = _array_format(name, tensor), tensor.shape
    elif isinstance(getattr(tensor, "format", None), Format):
        fmt, shape = tensor.format, tensor.shape
    else:
        raise GGUFError(
            f"tensor {shortened(name)} is neither a QTensor nor a NumPy array",
            found=type(tensor).__name__,
            expected="one of these",
        )
    if len(shape) > MAX_DIMS:
        raise GGUFError(
            f"tensor {shortened(name)} has a shape that GGUF cannot hold",
            found=shape,
            expected=f"at most {MAX_DIMS} dimensions; reshape it",
        )
    if isinstance(fmt, ForeignFormat):
        raise GGUFError(f"tensor {shortened(name)} cannot be copied: {refusal(fmt)}")
    # ggml takes a number without dimensions, and tensors of none; a file that is copied keeps what it says
    dims = tuple(getattr(tensor, "dims", shape[::-1]))
    try:
        nbytes = fmt.row_size(shape[-1] if shape else 1) if 0 not in shape else 0
    except ShapeError as error:
        raise GGUFError(f"tensor {shortened(name)}: {error}") from None
    for length in shape[:-1]:
        nbytes *= length
    return TensorEntry(name, raw, fmt, tuple(shape), dims, nbytes)


def _array_format(name: str, array: npt.NDArray[Any]) -> Format:
    format_name = _ARRAY_FORMATS.get(array.dtype.newbyteorder("="))
    if format_name is None:
        raise GGUFError(
            f"tensor {shortened(name)} has a dtype that GGUF cannot hold",
            found=str(array.dtype),
            expected="float32, float16, float64, int8 … int64, or a QTensor from qviz.quantize",
        )
    return get_format(format_name)


def header_bytes(metadata: Metadata, entries: Sequence[TensorEntry], layout: ByteLayout, alignment: int) -> bytes:
    """Everything before the padding that the tensors follow."""
    parts = [
        MAGIC,
        layout.u32.pack(layout.version),
        encode_length(len(entries), layout, "the number of tensors"),
        encode_length(len(metadata), layout, "the number of metadata keys"),
        metadata.encoded(layout),
    ]
    offset = 0
    for entry in entries:
        what = f"tensor {entry.name!r}"
        parts += [
            encode_length(len(entry.raw_name), layout, what),
            entry.raw_name,
            layout.u32.pack(len(entry.dims)),
        ]
        parts += [encode_length(length, layout, what) for length in entry.dims]
        parts += [layout.u32.pack(entry.format.type_id), layout.u64.pack(offset)]
        offset += padded(entry.nbytes, alignment)
    return b"".join(parts)


def _blocks(tensor: Any, entry: TensorEntry) -> npt.NDArray[Any]:
    """The tensor's blocks in one dimension; copied only if they do not lie in order already."""
    try:
        if isinstance(tensor, np.ndarray):
            little = tensor.astype(tensor.dtype.newbyteorder("<"), order="C", copy=False)
            return np.ascontiguousarray(little).reshape(-1).view(entry.format.dtype)
        if not isinstance(tensor, QTensor) or tensor.format is not entry.format or tensor.shape != entry.shape:
            raise GGUFError(
                f"tensor {shortened(entry.name)} is not what tensor_info said",
                found=tensor,
                expected=f"a QTensor {entry.format} {entry.shape}",
            )
        return np.ascontiguousarray(tensor.blocks).reshape(-1)
    except MemoryError as problem:
        raise GGUFError(
            f"tensor {shortened(entry.name)} does not lie in order, and memory does not hold a copy",
            found=f"{entry.nbytes:,} bytes",
            expected="an array that is contiguous, such as a memory map",
        ) from problem


def _write_tensor(file: BinaryIO, blocks: npt.NDArray[Any], layout: ByteLayout) -> None:
    if layout.endian == "little":
        file.write(blocks.view(np.uint8).data)
        return
    step = max(_CHUNK // blocks.itemsize, 1)
    for start in range(0, blocks.size, step):
        file.write(blocks[start : start + step].byteswap().view(np.uint8).data)


def pad(file: BinaryIO, written: int, alignment: int) -> None:
    """Zeros up to the next multiple of `alignment`."""
    file.write(bytes(padded(written, alignment) - written))
