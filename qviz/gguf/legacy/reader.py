"""Reading the model files of the months before GGUF.

::

    magic [version] | seven numbers | vocabulary | name, type, shape, [padding,] data of each tensor, to the end

Nothing in a file says how many tensors there are or what its numbers mean, so a reader has to know the model:
these are LLaMA's (and Alpaca's, Vicuna's ...), and whisper.cpp's, which share one magic number.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt

from qviz._files import Cursor, OpenFile, as_path, open_file
from qviz._files.window import FileWindow
from qviz.errors import GGUFError
from qviz.formats import QTensor
from qviz.formats.base import Format
from qviz.gguf.header import MAX_ENTRIES, TensorInfo, padded
from qviz.gguf.legacy import whisper
from qviz.gguf.legacy.blocks import LAYOUTS, Q4_0_V1, Q4_1_V1, by_row
from qviz.gguf.metadata import Metadata
from qviz.gguf.rows import read_rows
from qviz.gguf.sniff import looks_like
from qviz.gguf.tensor_file import TensorFile
from qviz.gguf.values import U32, Array, ValueType

CONTAINERS = {b"lmgg": "GGML", b"fmgg": "GGMF", b"tjgg": "GGJT"}
VERSIONS = {"GGMF": (1,), "GGJT": (1, 2, 3)}
LLAMA = ("n_vocab", "n_embd", "n_mult", "n_head", "n_layer", "n_rot", "ftype")

_ALIGNMENT = 32
_MAX_NAME_BYTES = 255
_MAX_TOKEN_BYTES = 4096
_LARGEST = 1 << 24  # of any number in a header
_MOST_TOKENS = 1 << 20  # each costs time and memory; the largest real vocabulary had 52 thousand
_PART = re.compile(r"(?P<first>.+)\.(?P<number>[1-9]\d{0,3})", re.DOTALL)
_MATRICES = tuple(f"{name}.weight" for name in ("wq", "wk", "wv", "wo", "w1", "w2", "w3", "output"))
# How these were cut over the parts of a large model; the other matrices were cut into rows.
_CUT_INTO_COLUMNS = re.compile(r"tok_embeddings|\.attention\.wo\.|\.feed_forward\.w2\.")

Model = Literal["llama", "whisper"]


@dataclass(frozen=True, slots=True)
class LegacyVocabulary:
    """The tokens that a file brings along.

    Parameters
    ----------
    tokens : tuple of bytes
        Text of each token, by id.
    scores : tuple of float or None
        Log-probabilities by which SentencePiece picks merges; None where the file has none.
    """

    tokens: tuple[bytes, ...]
    scores: tuple[float, ...] | None


class LegacyFile(TensorFile[TensorInfo]):
    """An open model file from before GGUF: a mapping from tensor name to `QTensor`. Made by `read`.

    Tensors are read-only views of the memory map, except those that have to be put together: of a model in several
    parts, and of the earliest layout.

    Attributes
    ----------
    path : pathlib.Path
        The file, or the first part of several.
    model : {"llama", "whisper"}
    container : {"GGML", "GGMF", "GGJT"}
    version : int
        Version of the container; 0 for GGML, which has none.
    layout : {1, 2, 3}
        Generation of the block layouts, see `qviz.gguf.legacy.blocks`; 3 is what GGUF holds.
    scales_per_row : bool
        True for layout 1 in its earliest form.
    header : mapping of str to int
        The numbers at the head of the file by name: ``n_embd``, ``n_layer`` ...
    vocabulary : LegacyVocabulary
    mel_filters : float32 array (n_mel, n_fft) or None
        From a spectrogram to mel bands; only a whisper model has them.
    alignment : int
        Tensors start at multiples of so many bytes.
    tensor_info : mapping of str to TensorInfo
        Shape, format, and absolute offset (of a model in parts: of the piece in the first one).
    metadata : Metadata
        Header and vocabulary once more, as `qviz inspect` prints them.
    """

    endian: Literal["little"] = "little"

    def __init__(self, parts: tuple[LegacyPart, ...]) -> None:
        first = parts[0]
        self.parts, self.paths = parts, tuple(part.path for part in parts)
        self.path, self.model, self.container, self.version = first.path, first.model, first.container, first.version
        self.layout, self.header = first.layout, MappingProxyType(first.header)
        self.scales_per_row = first.scales_per_row
        self.vocabulary, self.mel_filters = first.vocabulary, first.mel_filters
        self.data_offset = first.data_offset
        self.alignment = _ALIGNMENT if first.container == "GGJT" else 1
        self.tensor_info: Mapping[str, TensorInfo] = MappingProxyType(
            {name: _whole(info, len(parts)) for name, info in first.tensor_info.items()}
        )

    def __getitem__(self, name: str) -> QTensor:
        info = self.info(name)
        pieces = [part.blocks(name) for part in self.parts[: _pieces(info, len(self.parts))]]
        axis = 1 if _CUT_INTO_COLUMNS.search(name) else 0
        blocks = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis)
        return QTensor(info.format, blocks, info.shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return read, (self.path,)

    def __repr__(self) -> str:
        parts = f" in {len(self.parts)} files" if len(self.parts) > 1 else ""
        what = f"{self.model}, {len(self)} tensors, {self.nbytes} bytes{parts}"
        return f"<LegacyFile {self.path.name!r}: {self.container} version {self.version}, {what}>"

    @property
    def nbytes(self) -> int:
        """Size of the file, or of all parts together."""
        return sum(part.size for part in self.parts)

    @cached_property
    def metadata(self) -> Metadata:
        """Header and vocabulary as metadata."""
        values: dict[str, Any] = {name: U32(number) for name, number in self.header.items()}
        tokens = [token.decode("utf-8", "surrogateescape") for token in self.vocabulary.tokens]
        values["vocabulary.tokens"] = Array(tokens, ValueType.STR)
        if self.vocabulary.scores is not None:
            values["vocabulary.scores"] = Array(self.vocabulary.scores, ValueType.F32)
        if self.mel_filters is not None:
            values["mel_filters.shape"] = Array(self.mel_filters.shape, ValueType.U32)
        return Metadata(values)

    def read_rows(self, name: str, first: int, last: int, buffer: bytearray | None = None) -> QTensor:
        """Some rows of a tensor, read from the file instead of mapped; see `qviz.gguf.GGUFFile.read_rows`."""
        if len(self.parts) > 1 or self.scales_per_row:  # these have to be put together
            return self[name].rows(first, last)
        info = self.info(name)
        blocks = read_rows(self.parts[0].file, info, first, last, buffer)
        blocks.flags.writeable = False
        return QTensor(info.format, blocks, (last - first, info.shape[-1]))

    def _opened(self) -> Iterator[tuple[OpenFile, int]]:
        return ((part.file, part.data_offset) for part in self.parts)


def is_legacy(path: str | os.PathLike[str]) -> bool:
    """Whether a file is there and starts like one from before GGUF."""
    try:
        candidate = as_path(path)
        if not candidate.is_file():
            return False
        with candidate.open("rb") as file:
            return file.read(4) in CONTAINERS
    except (GGUFError, OSError, ValueError):  # ValueError: a NUL in the path
        return False


def read(path: str | os.PathLike[str], *, scales_per_row: bool | None = None, mapped: bool = True) -> LegacyFile:
    """Open a GGML, GGMF or GGJT file of a LLaMA model (all its parts), or a model of whisper.cpp.

    Parameters
    ----------
    path : path-like
        The file; of a model in parts any of ``model.bin``, ``model.bin.1`` ...
    scales_per_row : bool, optional
        Whether a quantized GGML file has the layout from before March 11 2023, which nothing in its header tells.
        By default it is told from the data: read the wrong way, scales are not plausible numbers.
    mapped : bool, optional
        Tensors are views of the memory map; else each is read when it is asked for. Whoever looks at a map behind the
        end of a file that was cut meanwhile is killed; whoever reads it gets an error.

    Returns
    -------
    LegacyFile
        A mapping from tensor name to `QTensor`. Usable in a ``with`` block.

    Raises
    ------
    ModelNotFoundError
        No such file, or a part of the model is missing.
    GGUFError
        Not such a file, or a damaged one: says at which byte, what was found and what was expected.
    """
    given = as_path(path)
    first = _first_part(given)
    opened = [LegacyPart(first, mapped)]
    try:
        count = opened[0].part_count()
        for number in range(1, count):
            sibling = LegacyPart(
                first.with_name(f"{first.name}.{number}"), mapped
            )  # closed below if the next one fails
            opened.append(sibling)
            opened[0].check_sibling(sibling)
        _decide_layout(opened, scales_per_row)
    except BaseException:
        for part in opened:
            part.file.close()
        raise
    return LegacyFile(tuple(opened))


class LegacyPart:
    """One file, its header checked from front to back."""

    def __init__(self, path: Path, mapped: bool) -> None:
        self.path, self.mapped = path, mapped
        self.file: OpenFile = open_file(path, wanted="the model's file in it")
        self.size = self.file.size
        try:
            if not self.size:
                raise GGUFError("the file is empty", path=path, offset=0, found="0 bytes", expected="a model's file")
            self._read(_NumberCursor(FileWindow(self.file), path, self.size))
        except BaseException:
            self.file.close()
            raise

    def _read(self, cursor: _NumberCursor) -> None:
        self.container, self.version = _magic(cursor)
        is_whisper = self.container == "GGML" and _is_whisper(cursor)
        self.model: Model = "whisper" if is_whisper else "llama"
        self.scales_per_row = False
        start = cursor.position
        names = whisper.HEADER if is_whisper else LLAMA
        self.header = dict(zip(names, cursor.numbers(len(names), "the header"), strict=True))
        for index, (name, number) in enumerate(self.header.items()):
            if not (name == "ftype" or 1 <= number <= _LARGEST):
                cursor.fail(f"{name} is not plausible", start + 4 * index, number, f"1 … {_LARGEST}{_OTHER_MODELS}")
        self.layout = self._layout(cursor, start)
        self.mel_filters = _mel_filters(cursor) if is_whisper else None
        self.vocabulary = _vocabulary(cursor, None if is_whisper else self.header["n_vocab"], self.container)
        self.data_offset = cursor.position
        aligned, most_dims = self.container == "GGJT", 4 if is_whisper else 2
        self.tensor_info = _tensors(cursor, LAYOUTS[self.layout], aligned=aligned, most_dims=most_dims)
        self._check_complete(cursor)

    def _layout(self, cursor: _NumberCursor, start: int) -> int:
        if self.model == "llama":
            return max(self.version, 1) if self.container == "GGJT" else 1
        layout = self.header["ftype"] // whisper.VERSION_FACTOR + 1
        if layout not in LAYOUTS:
            where = start + 4 * whisper.HEADER.index("ftype")
            cursor.fail("unknown quantization version", where, layout - 1, "0, 1 or 2")
        return layout

    def _check_complete(self, cursor: _NumberCursor) -> None:
        """The only way to see that a file was cut between two tensors."""
        layers = self.header["n_text_layer" if self.model == "whisper" else "n_layer"]
        if layers > len(self.tensor_info):
            expected = f"{layers} layers{_OTHER_MODELS}"
            cursor.fail("the file has fewer tensors than layers", self.size, len(self.tensor_info), expected)
        for name in whisper.tensor_names(self.header) if self.model == "whisper" else _llama_names(layers):
            if name not in self.tensor_info:
                first = next(iter(self.tensor_info), "")
                expected = f"all tensors of the model; the file is cut short or damaged{_OTHER_MODELS}"
                cursor.fail(f"the file ends before tensor {name!r}", self.size, f"{first!r} ...", expected)

    def part_count(self) -> int:
        """How many files the model was cut into, which only the width of its embeddings tells."""
        if self.model == "whisper":
            return 1
        info = self.tensor_info["tok_embeddings.weight"]
        n_vocab, n_embd = self.header["n_vocab"], self.header["n_embd"]
        rows, columns = info.shape if len(info.shape) == 2 else (0, 1)
        if rows != n_vocab or n_embd % columns or (self.container == "GGJT" and columns != n_embd):
            self._fail(f"{info.name!r} does not fit the header", info, info.shape, f"({n_vocab}, {n_embd})")
        count = n_embd // columns
        for other in self.tensor_info.values():
            self._check_shape(other, count)
        return count

    def _check_shape(self, info: TensorInfo, count: int) -> None:
        """`count` files: a matrix has either its rows or its columns cut, see `_whole`."""
        n_embd = self.header["n_embd"]
        if not info.name.endswith(_MATRICES):
            fits = info.shape == (n_embd,) or not info.name.endswith("norm.weight")
        elif len(info.shape) != 2:
            fits = False
        else:
            shape = _whole(info, count).shape
            fits = shape[0 if info.name.endswith(".w2.weight") else 1] == n_embd
        if not fits:
            self._fail(f"{info.name!r} does not fit the header", info, info.shape, f"n_embd = {n_embd}")

    def check_sibling(self, other: LegacyPart) -> None:
        """Refuse a part of another model."""
        same = other.container == self.container and other.header == self.header
        layouts = ({n: (t.shape, t.format) for n, t in part.tensor_info.items()} for part in (self, other))
        if not same or next(layouts) != next(layouts):
            raise GGUFError(f"this is not a part of the model in {self.path.name!r}", path=other.path)

    def blocks(self, name: str) -> npt.NDArray[Any]:
        """The blocks of a tensor (which exists) in its shape: rows, blocks of a row."""
        info = self.tensor_info[name]
        if self.file.closed:
            raise GGUFError("the file was closed; open it again with qviz.gguf.legacy.read", path=self.path)
        get = self.file.mapped_array if self.mapped else self.file.read_array
        raw = get(np.uint8, info.offset, info.nbytes)
        if self.scales_per_row and info.format in (Q4_0_V1, Q4_1_V1):
            blocks = by_row(info.format, raw.reshape(-1, info.format.row_size(info.shape[-1])))
        else:
            blocks = raw.view(info.format.dtype)
        return blocks.reshape(*info.shape[:-1], -1)

    def _fail(self, problem: str, info: TensorInfo, found: object, expected: str) -> NoReturn:
        raise GGUFError(problem, path=self.path, offset=info.offset, found=found, expected=expected or None)


_OTHER_MODELS = "; of the models with this magic number, LLaMA's and whisper.cpp's are read here"


def _magic(cursor: _NumberCursor) -> tuple[str, int]:
    magic = cursor.take(4, "the magic number")
    container = CONTAINERS.get(magic)
    if container is None:
        hint = "; open it with qviz.gguf.read" if magic == b"GGUF" else looks_like(cursor.buffer)
        cursor.fail(f"not a GGML, GGMF or GGJT file{hint}", 0, magic, "lmgg, fmgg or tjgg")
    if container not in VERSIONS:
        return container, 0
    (version,) = cursor.numbers(1, "the version")
    if version not in VERSIONS[container]:
        known = " or ".join(map(str, VERSIONS[container]))
        cursor.fail(f"unknown {container} version", 4, version, known)
    return container, version


def _is_whisper(cursor: _NumberCursor) -> bool:
    """In whisper's file the header is followed by its filters, whose number of mel bands is also in the header."""
    count = len(whisper.HEADER) + 1
    if cursor.size < cursor.position + 4 * count:
        return False
    numbers = struct.unpack(f"<{count}I", cursor.buffer[cursor.position : cursor.position + 4 * count])
    return numbers[-3] == numbers[-1] and all(0 < number < _LARGEST for number in numbers[:10])


def _mel_filters(cursor: _NumberCursor) -> npt.NDArray[np.float32]:
    start = cursor.position
    n_mel, n_fft = cursor.numbers(2, "the size of the mel filters")
    cursor.plausible(n_mel * n_fft, 4, "mel filter weights", start)
    raw = cursor.take(4 * n_mel * n_fft, "the mel filters")
    return np.frombuffer(raw, "<f4").reshape(n_mel, n_fft)


def _vocabulary(cursor: _NumberCursor, count: int | None, container: str) -> LegacyVocabulary:
    start = cursor.position
    if count is None:
        (count,) = cursor.numbers(1, "the number of tokens")
    scored = container != "GGML"
    cursor.plausible(count, 8 if scored else 4, "tokens", start)
    if count > _MOST_TOKENS:
        cursor.fail("more tokens than any model has", start, count, f"at most {_MOST_TOKENS}{_OTHER_MODELS}")
    tokens, scores = [], []
    for index in range(count):
        (length,) = cursor.numbers(1, f"the length of token {index}")
        if length > _MAX_TOKEN_BYTES:
            where, most = cursor.position - 4, f"at most {_MAX_TOKEN_BYTES} bytes{_OTHER_MODELS}"
            cursor.fail(f"token {index} is too long", where, length, most)
        tokens.append(cursor.take(length, f"token {index}"))
        if scored:
            scores.append(struct.unpack("<f", cursor.take(4, f"the score of token {index}"))[0])
    return LegacyVocabulary(tuple(tokens), tuple(scores) if scored else None)


def _tensors(
    cursor: _NumberCursor, formats: Mapping[int, Format], *, aligned: bool, most_dims: int
) -> Mapping[str, TensorInfo]:
    tensors: dict[str, TensorInfo] = {}
    while cursor.position < cursor.size:
        start = cursor.position
        if len(tensors) == MAX_ENTRIES:
            cursor.fail("more tensors than any model has", start, None, f"at most {MAX_ENTRIES}")
        what = f"the header of tensor {len(tensors)}"
        n_dims, length, type_id = cursor.numbers(3, what)
        if not 1 <= n_dims <= most_dims:
            cursor.fail(f"tensor {len(tensors)} has a wrong number of dimensions", start, n_dims, f"1 … {most_dims}")
        if not 1 <= length <= _MAX_NAME_BYTES:
            cursor.fail(f"the length of a name in {what}", start + 4, length, f"1 … {_MAX_NAME_BYTES}")
        dims = cursor.numbers(n_dims, what)
        name = _name(cursor, length)
        if name in tensors:
            cursor.fail(f"tensor name {name!r} appears twice", start)
        fmt = formats.get(type_id)
        if fmt is None:
            known = ", ".join(f"{id_} = {fmt}" for id_, fmt in formats.items())
            cursor.fail(f"{name!r} has an unknown type", start + 8, type_id, known)
        if 0 in dims or dims[0] % fmt.block_size:
            cursor.fail(f"{name!r} has a shape that {fmt} cannot hold", start + 12, dims, f"rows of {fmt.block_size}s")
        nbytes = fmt.row_size(dims[0])
        for n in dims[1:]:
            nbytes *= n
        if aligned:
            cursor.skip(padded(cursor.position, _ALIGNMENT) - cursor.position, f"the padding of {name!r}")
        tensors[name] = TensorInfo(name, dims[::-1], dims, fmt, cursor.position, nbytes, cursor.path)
        cursor.skip(nbytes, f"the data of {name!r}")
    return tensors


def _name(cursor: _NumberCursor, length: int) -> str:
    start = cursor.position
    raw = cursor.take(length, "a tensor's name")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        cursor.fail("a tensor's name is not UTF-8", start, raw)


# -- which tensors a whole model has


def _llama_names(layers: int) -> Iterator[str]:
    yield from ("tok_embeddings.weight", "norm.weight", "output.weight")
    pieces = [f"attention.{w}" for w in ("wq", "wk", "wv", "wo")] + [f"feed_forward.{w}" for w in ("w1", "w2", "w3")]
    for layer in range(layers):
        yield from (f"layers.{layer}.{piece}.weight" for piece in (*pieces, "attention_norm", "ffn_norm"))


# -- models in parts


def _first_part(path: Path) -> Path:
    match = _PART.fullmatch(path.name)
    first = path.with_name(match["first"]) if match else path
    return first if match and first.is_file() else path


def _pieces(info: TensorInfo, parts: int) -> int:
    """A norm stands whole in every part."""
    return parts if len(info.shape) == 2 else 1


def _whole(info: TensorInfo, parts: int) -> TensorInfo:
    count = _pieces(info, parts)
    if count == 1:
        return info
    rows, columns = info.shape
    shape = (rows, columns * count) if _CUT_INTO_COLUMNS.search(info.name) else (rows * count, columns)
    return replace(info, shape=shape, dims=shape[::-1], nbytes=info.nbytes * count)


# -- which of the two first layouts


def _decide_layout(parts: list[LegacyPart], wanted: bool | None) -> None:
    old = [info for info in parts[0].tensor_info.values() if info.format in (Q4_0_V1, Q4_1_V1)]
    possible = bool(old) and parts[0].container == "GGML" and parts[0].model == "llama"
    if wanted and not possible:
        raise GGUFError("scales_per_row is for quantized GGML files without a version", path=parts[0].path)
    if wanted is None:
        wanted = possible and _plausible_scales(parts[0], old[0], True) > _plausible_scales(parts[0], old[0], False)
    for part in parts:
        part.scales_per_row = bool(wanted)


def _plausible_scales(part: LegacyPart, info: TensorInfo, scales_per_row: bool) -> float:
    """Share of a tensor's scales that are numbers as trained weights have; codes read as floats rarely are."""
    rows = min(info.shape[0], 64)
    row_size = info.format.row_size(info.shape[-1])
    raw = part.file.read_array(np.uint8, info.offset, rows * row_size).reshape(rows, row_size)
    blocks = by_row(info.format, raw) if scales_per_row else raw.reshape(-1).view(info.format.dtype)
    size = np.abs(blocks["d"])
    return float(((size == 0) | ((size > 1e-8) & (size < 1e4))).mean())


class _NumberCursor(Cursor):
    """A cursor over little-endian numbers."""

    def numbers(self, count: int, what: str) -> tuple[int, ...]:
        return self.unpack(struct.Struct(f"<{count}I"), what)
