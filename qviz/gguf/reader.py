"""Reading a GGUF file: check its header once, then hand out views of the memory map."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from qviz._files import OpenFile, as_path, open_file
from qviz.errors import GGUFError, NotEncodableError, shortened
from qviz.formats import QTensor
from qviz.gguf.foreign import ForeignFormat, refusal
from qviz.gguf.header import Header, Region, TensorInfo, padded
from qviz.gguf.metadata import Metadata
from qviz.gguf.rows import read_rows
from qviz.gguf.tensor_file import TensorFile


class GGUFFile(TensorFile[TensorInfo]):
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
        self.parts, self.paths = parts, tuple(part.path for part in parts)
        first = parts[0]
        self.path, self.version, self.endian = first.path, first.layout.version, first.layout.endian
        self.alignment, self.data_offset = first.alignment, first.data_offset
        self.metadata = metadata
        self.tensor_info: Mapping[str, TensorInfo] = MappingProxyType(
            {name: info for part in parts for name, info in part.tensor_info.items()}
        )
        self._part_of = {name: part for part in parts for name in part.tensor_info}

    def __getitem__(self, name: str) -> QTensor:
        self.info(name)
        return self._part_of[name].tensor(name)

    def __repr__(self) -> str:
        parts = f" in {len(self.parts)} files" if len(self.parts) > 1 else ""
        what = f"version {self.version}, {len(self)} tensors, {self.nbytes} bytes{parts}"
        return f"<GGUFFile {self.path.name!r}: {what}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return read, (self.path,)

    @property
    def nbytes(self) -> int:
        """Size of the file, or of all parts together."""
        return sum(part.size for part in self.parts)

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self.parts[0].closed

    def close(self) -> None:
        """Let go of the files. Tensors already handed out, and the metadata, stay usable."""
        for part in self.parts:
            part.close()

    def _opened(self) -> Iterator[tuple[OpenFile, int]]:
        for part in self.parts:
            part.check_open()  # metadata that have yet to be read keep a closed file open
            yield part.file, part.data_offset

    def read_rows(self, name: str, first: int, last: int, buffer: bytearray | None = None) -> QTensor:
        """Some rows of a tensor, read from the file instead of mapped.

        A file that is cut or changed meanwhile ends in an error; a map would end this process, or give the weights of
        another model.

        Parameters
        ----------
        name : str
        first, last : int
            Rows of the tensor, counted through all leading axes.
        buffer : bytearray, optional
            Where to read to, if it is long enough; the tensor is a view of it. What was read before is overwritten.

        Returns
        -------
        QTensor
            Its shape is (last - first, row length).

        Raises
        ------
        GGUFError
            The file was closed, cut or changed.
        """
        self.info(name)
        return self._part_of[name].read_rows(name, first, last, buffer)


class Part:
    """One file: its header, checked, and its tensors, views of a map that is made when the first is asked for.

    Attributes
    ----------
    path : pathlib.Path
    size : int
        Bytes.
    layout : ByteLayout
        Version and byte order.
    metadata : Metadata
    tensor_info : dict of str to TensorInfo
    alignment, data_offset : int
    """

    def __init__(self, path: Path, file: OpenFile | None = None) -> None:
        self.path = path
        self.closed = False
        self.file = file or open_file(path, wanted="the .gguf file in it")
        self.size = self.file.size
        try:
            if not self.size:
                raise GGUFError("the file is empty", path=path, offset=0, found="0 bytes", expected="a GGUF file")
            header = Header(self.file)
        except GGUFError:
            self.file.close()  # the traceback would keep it open
            raise
        self.layout, self.metadata, self.tensor_info = header.layout, header.metadata, header.tensor_info
        self.alignment, self.data_offset = header.alignment, header.data_offset
        self._sections = header.sections

    def close(self) -> None:
        """Let go of the file, or leave that to metadata that have yet to be read from it."""
        self.closed = True
        if self.metadata.detach():
            self.file.close()

    def check_open(self) -> None:
        """Refuse to go on with a file that was closed."""
        if self.closed:
            raise GGUFError("the file was closed; open it again with qviz.gguf.read", path=self.path)

    def _usable(self, info: TensorInfo) -> None:
        self.check_open()
        if isinstance(info.format, ForeignFormat):
            raise NotEncodableError(
                f"{self.path}: tensor {shortened(info.name)} cannot be used: {refusal(info.format)}"
            )

    def tensor(self, name: str) -> QTensor:
        """The tensor `name` (which exists), as a view of the map."""
        info = self.tensor_info[name]
        self._usable(info)
        fmt = info.format
        if not info.nbytes:
            blocks = np.empty(0, fmt.dtype)
        else:
            # A map that reaches past the end of its file kills the whole process when it is touched there.
            blocks = self.file.mapped_array(fmt.dtype, info.offset, info.nbytes)
            if self.layout.endian == "big":
                blocks = blocks.byteswap()
        blocks.flags.writeable = False
        return QTensor(fmt, blocks.reshape(*info.shape[:-1], info.shape[-1] // fmt.block_size), info.shape)

    def read_rows(self, name: str, first: int, last: int, buffer: bytearray | None = None) -> QTensor:
        """See `GGUFFile.read_rows`."""
        info = self.tensor_info[name]
        self._usable(info)
        blocks = read_rows(self.file, info, first, last, buffer)
        if self.layout.endian == "big":
            blocks = blocks.byteswap(inplace=True)
        blocks.flags.writeable = False
        return QTensor(info.format, blocks, (last - first, info.shape[-1]))

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """Every byte of the file, in order: which key, tensor or padding it belongs to."""
        tensors = sorted(self.tensor_info.values(), key=lambda info: (info.offset, info.nbytes))
        known = [*self._sections, *(Region(t.offset, t.offset + t.nbytes, "tensor", t.name) for t in tensors)]
        regions: list[Region] = []
        position = 0
        for region in [*known, Region(self.size, self.size, "end", "")]:
            regions += self._gap(position, region.start)
            regions.append(region)
            position = region.stop
        return tuple(regions[:-1])

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
