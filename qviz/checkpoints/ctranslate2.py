"""Reading CTranslate2's ``model.bin``: every variable with a header of its own, then names for the same thing.

::

    u32 version | spec, u32 revision | u32 count | variables | u32 count | (alias, name) ...
    variable: name | u8 rank | u32 dims ... | u8 type | u32 bytes | data

A text is a u16 length that counts a zero byte at its end, the text, and that byte. Dims stand in NumPy's order.

Source: ``src/models/model.cc`` and ``python/ctranslate2/specs/model_spec.py`` of OpenNMT/CTranslate2, commit 0d8bcd3.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from qviz._files import Cursor, OpenFile, as_path, open_file
from qviz._files.window import FileWindow
from qviz.checkpoints.safetensors import StoredTensor
from qviz.errors import CheckpointError
from qviz.formats import QTensor
from qviz.formats import get as get_format
from qviz.gguf.tensor_file import TensorFile

VERSION = 6
TYPES = ("F32", "I8", "I16", "I32", "F16", "BF16")
"""What the number of a type means."""

_U8, _U16, _U32 = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<I")
_MOST_DIMS = 8
_SMALLEST_VARIABLE = 2 + 1 + 1 + 1 + 4  # bytes: an empty name, no dims, no data


class CTranslate2(TensorFile[StoredTensor]):
    """An open ``model.bin``: a mapping from variable to `QTensor`, each read when it is asked for. Made by `read`.

    Attributes
    ----------
    path : pathlib.Path
    spec : str
        What kind of model this is, such as ``"WhisperSpec"``.
    revision : int
        Revision of the spec.
    tensor_info : mapping of str to StoredTensor
        A single number has the shape ().
    aliases : mapping of str to str
        Another name -> the variable it stands for.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path(path)
        self.paths = (self.path,)
        self._file = open_file(self.path, error=CheckpointError, wanted="the model.bin in it")
        try:
            cursor = Cursor(FileWindow(self._file), self.path, self._file.size, CheckpointError)
            self.spec, self.revision = _head(cursor)
            self.tensor_info: Mapping[str, StoredTensor] = MappingProxyType(_variables(cursor))
            self.aliases: Mapping[str, str] = MappingProxyType(_aliases(cursor, self.tensor_info))
            if cursor.left:
                cursor.fail("the file is too long", cursor.position, f"{cursor.left} more bytes", "its end")
        except BaseException:
            self._file.close()
            raise

    def __getitem__(self, name: str) -> QTensor:
        info = self.info(name)
        if not info.nbytes:
            raise CheckpointError(f"{name!r} holds no numbers", path=self.path, found=info.shape)
        fmt, shape = get_format(info.dtype), info.shape or (1,)
        blocks = self._file.read_array(fmt.dtype, info.offset, info.nbytes).reshape(shape)
        return QTensor(fmt, blocks, shape)

    def _opened(self) -> Iterator[tuple[OpenFile, int]]:
        yield self._file, 0  # headers stand between the data


def read(path: str | os.PathLike[str]) -> CTranslate2:
    """Open CTranslate2's ``model.bin``.

    Raises
    ------
    ModelNotFoundError
        No such file.
    CheckpointError
        A damaged file, or one of another version: says at which byte, what was found and what was expected.
    """
    return CTranslate2(path)


def _head(cursor: Cursor) -> tuple[str, int]:
    (version,) = cursor.unpack(_U32, "the version")
    if version != VERSION:
        cursor.fail("not a model.bin of CTranslate2, or one of another version", 0, version, str(VERSION))
    spec = _text(cursor, "the name of the spec")
    (revision,) = cursor.unpack(_U32, "the revision of the spec")
    return spec, revision


def _variables(cursor: Cursor) -> dict[str, StoredTensor]:
    start = cursor.position
    (count,) = cursor.unpack(_U32, "the number of variables")
    cursor.plausible(count, _SMALLEST_VARIABLE, "variables", start)
    variables: dict[str, StoredTensor] = {}
    for index in range(count):
        start = cursor.position
        name = _text(cursor, f"the name of variable {index}")
        if name in variables:
            cursor.fail(f"variable {name!r} appears twice", start)
        variables[name] = _variable(cursor, name)
    return variables


def _variable(cursor: Cursor, name: str) -> StoredTensor:
    start, what = cursor.position, f"the header of {name!r}"
    (rank,) = cursor.unpack(_U8, what)
    if rank > _MOST_DIMS:
        cursor.fail(f"{name!r} has a wrong number of dimensions", start, rank, f"at most {_MOST_DIMS}")
    shape = tuple(cursor.unpack(struct.Struct(f"<{rank}I"), what))
    start = cursor.position
    (kind,) = cursor.unpack(_U8, what)
    if kind >= len(TYPES):
        cursor.fail(f"{name!r} has an unknown type", start, kind, ", ".join(f"{i} = {t}" for i, t in enumerate(TYPES)))
    start = cursor.position
    (nbytes,) = cursor.unpack(_U32, what)
    expected = math.prod(shape) * get_format(TYPES[kind]).type_size
    if nbytes != expected:
        cursor.fail(f"{name!r} has a wrong number of bytes", start, nbytes, f"{expected}: {TYPES[kind]} {shape}")
    info = StoredTensor(name, TYPES[kind], shape, cursor.position, nbytes, cursor.path)
    cursor.skip(nbytes, f"the data of {name!r}")
    return info


def _aliases(cursor: Cursor, variables: Mapping[str, StoredTensor]) -> dict[str, str]:
    start = cursor.position
    (count,) = cursor.unpack(_U32, "the number of aliases")
    cursor.plausible(count, 4, "aliases", start)
    aliases: dict[str, str] = {}
    for index in range(count):
        start = cursor.position
        alias = _text(cursor, f"alias {index}")
        if alias in variables or alias in aliases:
            cursor.fail(f"alias {alias!r} is the name of something else, too", start)
        start = cursor.position
        name = _text(cursor, f"what {alias!r} stands for")
        if name not in variables:
            cursor.fail(f"alias {alias!r} stands for a variable that is not there", start, name)
        aliases[alias] = name
    return aliases


def _text(cursor: Cursor, what: str) -> str:
    start = cursor.position
    (length,) = cursor.unpack(_U16, what)
    raw = cursor.take(length, what)
    try:
        if raw[-1:] == b"\0":
            return raw[:-1].decode("utf-8")
    except UnicodeDecodeError:
        pass
    cursor.fail(f"{what} is not UTF-8 that ends in a zero byte", start, raw)
