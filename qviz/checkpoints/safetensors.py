"""Reading safetensors: a JSON header, then every tensor's bytes back to back.

::

    u64 length of the header | {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ...} | tensors

A reader of its own, and a short one: tensors are to be views of the memory map, as those of a GGUF file are, or to be
read some rows at a time from a file that may be cut meanwhile. The `safetensors` package can hand NumPy, which has no
bfloat16, copies at best.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from qviz._files import NotJSONError, OpenFile, as_path, open_file, parse_json, read_json
from qviz.checkpoints.weight_files import INDEX, weight_files
from qviz.errors import CheckpointError, GGUFError, shortened
from qviz.formats import QTensor
from qviz.formats import get as get_format
from qviz.formats.base import Format
from qviz.gguf.tensor_file import TensorFile

# The package refuses longer headers, too: JSON grows on parsing.
MAX_HEADER_BYTES = 100_000_000
MAX_HEADER_VALUES = 1 << 21  # of JSON: those of a quarter of a million tensors

# Bytes of each dtype, and the format with the same layout where there is one.
_DTYPES: Mapping[str, tuple[int, str | None]] = MappingProxyType(
    {name: (size, name) for name, size in {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}.items()}
    | {name: (size, name) for name, size in {"I64": 8, "I32": 4, "I16": 2, "I8": 1}.items()}
    | dict.fromkeys(("U64", "C64"), (8, None))
    | dict.fromkeys(("U32",), (4, None))
    | dict.fromkeys(("U16",), (2, None))
    | dict.fromkeys(("U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), (1, None))
)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """What a header says about one tensor.

    Parameters
    ----------
    name, dtype : str
    shape : tuple of int
    offset : int
        In bytes from the beginning of the file.
    nbytes : int
    path : pathlib.Path
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    path: Path


class Safetensors(TensorFile[StoredTensor]):
    """Open safetensors files: a mapping from tensor name to `QTensor`, views of the memory map or read. Made by `read`.

    Attributes
    ----------
    path : pathlib.Path
        The file, or the folder of several.
    paths : tuple of pathlib.Path
    tensor_info : mapping of str to StoredTensor
    """

    def __init__(self, files: tuple[_File, ...]) -> None:
        self._files = {file.path: file for file in files}
        self.paths = tuple(self._files)
        self.path = self.paths[0].parent if len(files) > 1 else self.paths[0]
        self.tensor_info: Mapping[str, StoredTensor] = MappingProxyType(
            {name: info for file in files for name, info in file.tensors.items()}
        )

    def __getitem__(self, name: str) -> QTensor:
        file, info = self._place(name)
        return file.tensor(info)

    def _place(self, name: str) -> tuple[_File, StoredTensor]:
        info = self.info(name)
        return self._files[info.path], info

    def read_rows(self, name: str, first: int, last: int) -> QTensor:
        """Some rows of a tensor, read from the file instead of mapped; see `qviz.gguf.GGUFFile.read_rows`.

        Parameters
        ----------
        name : str
        first, last : int
            Rows of the tensor, counted through all leading axes.

        Returns
        -------
        QTensor
            Its shape is (last - first, row length).

        Raises
        ------
        GGUFError
            The file was closed, cut or changed.
        """
        file, info = self._place(name)
        return file.rows(info, first, last)

    def read_bytes(self, name: str) -> npt.NDArray[np.uint8]:
        """A tensor of bytes (U8, or floats of a byte) in its shape, read from the file.

        Raises
        ------
        GGUFError
            A tensor of something else; the file was closed, cut or changed.
        """
        file, info = self._place(name)
        if info.dtype not in ("U8", "F8_E4M3"):
            raise CheckpointError(f"{name!r} is not of bytes", path=info.path, found=info.dtype, expected="U8")
        return file.read_bytes(info)

    def _opened(self) -> Iterator[tuple[OpenFile, int]]:
        return ((file.opened, file.data_offset) for file in self._files.values())


def read(path: str | os.PathLike[str], *, mapped: bool = True) -> Safetensors:
    """Open a safetensors file, or all files of a model's folder.

    Parameters
    ----------
    path : path-like
        A file, or a folder with ``model.safetensors``, or shards, or what `qviz.checkpoints.weight_files` finds.
    mapped : bool, optional
        Tensors are views of the memory map; else each is read when it is asked for. Whoever looks at a map behind the
        end of a file that was cut meanwhile is killed; whoever reads it gets an error.

    Returns
    -------
    Safetensors
        A mapping from tensor name to `QTensor`. Usable in a ``with`` block.

    Raises
    ------
    ModelNotFoundError
        No such file.
    CheckpointError
        A damaged file, a missing shard, or a folder without safetensors.
    """
    given = as_path(path)
    paths, wanted, index = weight_files(given, read_json) if given.is_dir() else ([given], None, INDEX)
    files: list[_File] = []
    try:
        for shard in paths:
            files.append(_File(shard, mapped))  # noqa: PERF401 - if the next one fails, this is closed
        _check_shards(given, files, wanted, index)
    except BaseException:
        for file in files:
            file.opened.close()
        raise
    return Safetensors(tuple(files))


class _File:
    """One file, its header checked."""

    def __init__(self, path: Path, mapped: bool) -> None:
        self.path, self.mapped = path, mapped
        self.data_offset = 0
        self.opened = open_file(path, error=CheckpointError, wanted="a .safetensors file in it")
        self.size = self.opened.size
        try:
            self.tensors = self._header()
        except GGUFError:
            self.opened.close()
            raise

    def _header(self) -> dict[str, StoredTensor]:
        length = int.from_bytes(self.opened.read(0, min(8, self.size)), "little")
        most = min(self.size - 8, MAX_HEADER_BYTES)
        if not 2 <= length <= most:
            raise CheckpointError(
                "not a safetensors file, or a damaged one: wrong length of the header",
                path=self.path,
                offset=0,
                found=length,
                expected=f"2 … {max(most, 2)} bytes",
            )
        try:
            header = parse_json(self.opened.read(8, length), MAX_HEADER_VALUES)
        except NotJSONError as error:
            raise CheckpointError(f"the header is not a JSON object: {error}", path=self.path, offset=8) from None
        if not isinstance(header, dict):
            what = f"the header is not a JSON object: it is a {type(header).__name__}"
            raise CheckpointError(what, path=self.path, offset=8)
        self.data_offset = start = 8 + length
        tensors = [self._tensor(name, entry, start) for name, entry in header.items() if name != "__metadata__"]
        tensors.sort(key=lambda info: (info.offset, info.nbytes))
        end = start
        for info in tensors:
            if info.offset != end:
                what = f"the data of {info.name!r} overlaps another tensor's or leaves a gap"
                raise CheckpointError(what, path=self.path, offset=8, found=info.offset - start, expected=end - start)
            end += info.nbytes
        if end != self.size:
            raise CheckpointError(
                "the file is cut short, or too long",
                path=self.path,
                offset=self.size,
                found=f"{self.size} bytes",
                expected=f"{end} bytes",
            )
        return {info.name: info for info in tensors}

    def _tensor(self, name: str, entry: Any, start: int) -> StoredTensor:
        def fail(problem: str, found: object, expected: str) -> CheckpointError:
            return CheckpointError(f"{problem} of {name!r}", path=self.path, offset=8, found=found, expected=expected)

        if not isinstance(entry, dict):
            raise fail("wrong description", entry, "dtype, shape and data_offsets")
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise fail("unknown dtype", dtype, ", ".join(_DTYPES))
        if not _counts(shape):
            raise fail("wrong shape", shape, "a list of whole numbers")
        if not _counts(offsets) or len(offsets) != 2:
            raise fail("wrong data_offsets", offsets, "first and last byte")
        first, last = offsets
        nbytes = math.prod(shape) * _DTYPES[dtype][0]
        if last - first != nbytes:
            raise fail("wrong number of bytes", last - first, f"{nbytes}: {dtype} of shape {shape}")
        return StoredTensor(name, dtype, tuple(shape), start + first, nbytes, self.path)

    def tensor(self, info: StoredTensor) -> QTensor:
        shape = info.shape or (1,)
        fmt = self._format(info)
        get = self.opened.mapped_array if self.mapped else self.opened.read_array
        blocks = get(fmt.dtype, info.offset, info.nbytes)
        return QTensor(fmt, blocks.reshape(shape), shape)

    def rows(self, info: StoredTensor, first: int, last: int) -> QTensor:
        fmt, n = self._format(info), (info.shape or (1,))[-1]
        start, stop = (info.offset + row * n * fmt.type_size for row in (first, last))
        if not info.offset <= start <= stop <= info.offset + info.nbytes:
            raise CheckpointError(f"{info.name!r} has no rows {first} … {last}", path=self.path)
        return QTensor(
            fmt, self.opened.read_array(fmt.dtype, start, stop - start).reshape(last - first, n), (last - first, n)
        )

    def read_bytes(self, info: StoredTensor) -> npt.NDArray[np.uint8]:
        return self.opened.read_array(np.uint8, info.offset, info.nbytes).reshape(info.shape)

    def _format(self, info: StoredTensor) -> Format:
        """The format of a tensor that can be used now."""
        if self.opened.closed:
            raise CheckpointError("the file was closed; open it again", path=self.path)
        name = _DTYPES[info.dtype][1]
        if name is None or not info.nbytes:
            what = f"{info.name!r} cannot be used here"
            raise CheckpointError(what, path=self.path, found=f"{info.dtype} {info.shape}", expected=_USABLE)
        return get_format(name)


_USABLE = f"one of {', '.join(name for name, (_, fmt) in _DTYPES.items() if fmt)}, and not empty"


def _counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in value) and len(value) <= 64


# -- models in shards


def _check_shards(path: Path, files: list[_File], places: dict[str, str] | None, index: str) -> None:
    seen: dict[str, Path] = {}
    for file in files:
        for name in file.tensors:
            if name in seen:
                raise CheckpointError(
                    f"tensor {shortened(name)} stands in {seen[name].name} and {file.path.name}", path=path
                )
            seen[name] = file.path
    for name, place in (places or {}).items():
        if name not in seen or seen[name].name != place:
            raise CheckpointError(f"tensor {shortened(name)} is not in {place}, as {index} says", path=path)
