"""Importance matrices: how much each input column of a weight matrix matters, measured on text.

While a model reads a calibration text, the input x of every weight matrix is squared and summed column by column. The
mean of x² says how far an error in that column of weights reaches into the output, so a quantizer that minimises
``Σ mean(x²) · (w − ŵ)²`` spends its few levels where they count. It is the diagonal of the Hessian that GPTQ uses.

llama.cpp keeps these sums in two kinds of file, both read and written here: GGUF, and the older ``.dat``::

    .dat   i32 number of entries
           per entry: i32 length, name, i32 calls, i32 values, float32 × values (sums over calls of the mean x²)
           i32 number of chunks, i32 length, name of the calibration text      (absent in the oldest files)

Examples
--------
>>> import tempfile
>>> from pathlib import Path
>>> m = Imatrix.from_means({"blk.0.attn_v.weight": [4.0, 1.0]}, tokens=512, chunk_size=512)
>>> path = write(Path(tempfile.mkdtemp()) / "imatrix.gguf", m)
>>> read(path)["blk.0.attn_v.weight"].tolist()
[4.0, 1.0]
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from qviz import gguf
from qviz._arrays import real_array, whole_array, whole_number
from qviz._files import Cursor, as_path, open_file, read_bytes, write_bytes
from qviz._types import FloatArray
from qviz.errors import ImatrixError
from qviz.gguf._lookup import MissingKeyError, suggestion
from qviz.gguf.header import MAX_ENTRIES

_SUMS, _COUNTS, _INPUTS = ".in_sum2", ".counts", ".in_sum"
_DATASETS, _CHUNKS, _CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
_MAX_NAME = 1 << 16
_MAX_BYTES = 1 << 31  # of a legacy file; the largest models' have a hundred megabytes


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What was measured for one weight matrix, or for each expert of a mixture.

    Parameters
    ----------
    sums : float32 array (experts, n)
        Σ x² of each input column; one row unless there are experts.
    counts : int64 array (experts,)
        Over how many tokens; 0 for an expert that never ran. Legacy files count calls instead, for all experts at once.
    inputs : float32 array (experts, n), optional
        Σ x, which newer GGUF files also hold. Not used for quantizing; kept when a file is written again.
    """

    sums: FloatArray
    counts: npt.NDArray[np.int64]
    inputs: FloatArray | None = None

    def means(self) -> FloatArray:
        """Mean x² of each column, float32 (experts, n); 1 for an expert that never ran, as in llama.cpp."""
        sums = real_array(self.sums, "sums", ImatrixError, shape=("experts", "n"))
        given = whole_array(
            self.counts, "counts", ImatrixError, shape=(len(sums),), least=-(1 << 63), most=(1 << 63) - 1
        )
        ran = given > 0
        counts = np.where(ran, given, 1).astype(np.float32)[:, None]
        return np.where(ran[:, None], sums / counts, np.float32(1))


class Imatrix(Mapping[str, FloatArray]):
    """Name of a weight tensor -> mean x² of its input columns, float32 (n,), or (experts, n).

    Parameters
    ----------
    entries : mapping of str to Entry
    datasets : sequence of str
        Names of the calibration texts.
    chunk_count, chunk_size : int
        How many pieces of text were read, and of how many tokens each; 0 if unknown.
    path : path-like, optional
        Where it was read from.
    legacy : bool
        True if it came from a ``.dat`` file.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        *,
        datasets: Sequence[str] = (),
        chunk_count: int = 0,
        chunk_size: int = 0,
        path: str | os.PathLike[str] | None = None,
        legacy: bool = False,
    ) -> None:
        named = isinstance(entries, Mapping) and all(isinstance(name, str) for name in entries)
        if not named or not all(isinstance(entry, Entry) for entry in entries.values()):
            raise ImatrixError("entries must be a mapping from a tensor's name to an Entry", found=entries)
        self.entries = MappingProxyType(dict(sorted(entries.items())))
        if not isinstance(datasets, list | tuple) or not all(isinstance(name, str) for name in datasets):
            raise ImatrixError("datasets must be a list of names", found=datasets)
        self.datasets = tuple(datasets)
        self.chunk_count = whole_number(chunk_count, "chunk_count", ImatrixError, least=0)
        self.chunk_size = whole_number(chunk_size, "chunk_size", ImatrixError, least=0)
        self.path = None if path is None else os.fspath(path)
        self.legacy = legacy

    @classmethod
    def from_means(
        cls, means: Mapping[str, npt.ArrayLike], *, tokens: int, chunk_size: int = 512, datasets: Sequence[str] = ()
    ) -> Imatrix:
        """Make one from mean squares that were measured elsewhere.

        Parameters
        ----------
        means : mapping of str to array_like (n,) or (experts, n)
            Mean x² of each input column.
        tokens : int
            Over how many tokens.
        chunk_size : int
            Tokens of a piece of text.
        datasets : sequence of str
            Names of the calibration texts.

        Raises
        ------
        ImatrixError
            A mean that is negative, NaN or infinite, or counts that are not positive.
        """
        tokens = whole_number(tokens, "tokens", ImatrixError, least=1, most=(1 << 63) - 1)
        chunk_size = whole_number(chunk_size, "chunk_size", ImatrixError, least=1)
        if not isinstance(means, Mapping):
            raise ImatrixError("means must be a mapping by tensor name", found=type(means).__name__)
        entries = {}
        for name, values in means.items():
            array = np.atleast_2d(real_array(values, f"means of {name!r}", ImatrixError))
            if array.ndim > 2 or not array.size:
                raise ImatrixError(f"means of {name!r} have a wrong shape", found=array.shape, expected="(n,)")
            counts = np.full(array.shape[0], tokens, np.int64)
            entries[name] = _checked(name, Entry(array * np.float32(tokens), counts), None)
        return cls(entries, datasets=datasets, chunk_count=-(-tokens // chunk_size), chunk_size=chunk_size)

    def __getitem__(self, name: str) -> FloatArray:
        try:
            means = self.entries[name].means()
        except (KeyError, TypeError):
            raise MissingKeyError(f"no importance of {name!r}{suggestion(name, self.entries)}") from None
        return means[0] if means.shape[0] == 1 else means

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        text = f", from {', '.join(self.datasets)}" if self.datasets else ""
        return f"<Imatrix: {len(self)} tensors, {self.chunk_count} chunks{text}>"


def read(path: str | os.PathLike[str]) -> Imatrix:
    """Read a file of importance matrices, GGUF or legacy ``.dat``; its first bytes say which.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Imatrix

    Raises
    ------
    ModelNotFoundError
        No such file.
    ImatrixError, GGUFError
        A damaged file, or one of another kind.
    """
    where = as_path(path)
    file = open_file(where, error=ImatrixError, wanted="the file of importance matrices in it")
    magic = file.read(0, min(4, file.size))
    file.close()
    return _read_gguf(where) if magic == b"GGUF" else _read_legacy(where)


def write(path: str | os.PathLike[str], imatrix: Imatrix, format: Literal["gguf", "dat"] | None = None) -> Path:
    """Write a file of importance matrices, as llama.cpp does; it appears whole or not at all.

    Parameters
    ----------
    path : path-like
    imatrix : Imatrix
    format : {"gguf", "dat"}, optional
        By the file's suffix if not given: ``.dat`` or anything else.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ImatrixError, GGUFError
        Something the format cannot hold, or a file that cannot be written.
    """
    where = as_path(path)
    kind = ("dat" if where.suffix == ".dat" else "gguf") if format is None else format
    if not isinstance(kind, str) or kind not in ("gguf", "dat"):
        raise ImatrixError("no such format of importance matrices", found=kind, expected="'gguf' or 'dat'")
    if not isinstance(imatrix, Imatrix) or not imatrix.entries:
        raise ImatrixError("nothing to write", path=where, found=imatrix, expected="an Imatrix that is not empty")
    return _write_gguf(where, imatrix) if kind == "gguf" else _write_legacy(where, imatrix)


def _checked(name: str, entry: Entry, path: Path | None) -> Entry:
    if not np.isfinite(entry.sums).all() or (entry.sums < 0).any():
        bad = entry.sums[~(np.isfinite(entry.sums) & (entry.sums >= 0))][0]
        raise ImatrixError(
            f"{name!r} holds a sum of squares that cannot be one", path=path, found=float(bad), expected="0 or more"
        )
    return entry


# -- GGUF


def _read_gguf(path: Path) -> Imatrix:
    with gguf.read(path) as file:
        names = [name.removesuffix(_SUMS) for name in file if name.endswith(_SUMS)]
        if not names:
            raise ImatrixError(
                "this GGUF file holds no importance matrices",
                path=path,
                found=f"tensors {', '.join(map(repr, list(file)[:3])) or 'none'}",
                expected=f"names that end in {_SUMS!r} and {_COUNTS!r}",
            )
        entries = {name: _gguf_entry(file, name, path) for name in names}
        datasets = file.metadata.get(_DATASETS, [])
        return Imatrix(
            entries,
            datasets=[str(text) for text in datasets] if isinstance(datasets, list) else [],
            chunk_count=_count(file, _CHUNKS, path),
            chunk_size=_count(file, _CHUNK_SIZE, path),
            path=path,
        )


def _gguf_entry(file: gguf.GGUFFile, name: str, path: Path) -> Entry:
    arrays = {}
    for suffix in (_SUMS, _COUNTS, _INPUTS):
        if name + suffix not in file:
            if suffix == _COUNTS:
                raise ImatrixError(f"{name + _SUMS!r} has no {name + _COUNTS!r} beside it", path=path)
            continue
        tensor = file[name + suffix]
        if tensor.format != "F32":
            raise ImatrixError(
                f"{name + suffix!r} has the wrong format", path=path, found=str(tensor.format), expected="F32"
            )
        arrays[suffix] = tensor.dequantize()
    counts = arrays[_COUNTS].reshape(-1)
    sums = arrays[_SUMS]
    inputs = arrays.get(_INPUTS)
    if not counts.size or not sums.size or sums.size % counts.size or (inputs is not None and inputs.size != sums.size):
        raise ImatrixError(
            f"the sums and counts of {name!r} do not fit together",
            path=path,
            found=f"{sums.size} sums, {counts.size} counts"
            + (f", {inputs.size} sums of inputs" if inputs is not None else ""),
            expected="as many sums for each count",
        )
    if not np.isfinite(counts).all() or (counts < 0).any() or (counts > 2**62).any():
        raise ImatrixError(f"{name + _COUNTS!r} holds what is no count", path=path, found=counts.tolist()[:4])
    shape = (counts.size, -1)
    whole = np.floor(counts.astype(np.float64) + 0.5).astype(np.int64)
    return _checked(name, Entry(sums.reshape(shape), whole, None if inputs is None else inputs.reshape(shape)), path)


def _count(file: gguf.GGUFFile, key: str, path: Path) -> int:
    value = file.metadata.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ImatrixError(f"metadata {key!r} is not a count", path=path, found=value, expected="a whole number")
    return int(value)


def _write_gguf(path: Path, imatrix: Imatrix) -> Path:
    metadata = {
        "general.type": "imatrix",
        _DATASETS: gguf.Array(imatrix.datasets, "str"),
        _CHUNKS: gguf.U32(imatrix.chunk_count),
        _CHUNK_SIZE: gguf.U32(imatrix.chunk_size),
    }
    tensors = {}
    for name, entry in imatrix.entries.items():
        arrays = [(_SUMS, entry.sums), (_COUNTS, entry.counts.astype(np.float32)[:, None]), (_INPUTS, entry.inputs)]
        for suffix, array in arrays:
            if array is not None:
                # ggml drops a dimension of one at the end
                tensors[name + suffix] = array[0] if array.shape[0] == 1 else array
    return gguf.write(path, metadata, tensors)


# -- legacy


class _LegacyCursor(Cursor):
    """A cursor over the numbers and texts of a legacy file."""

    def i32(self, what: str, low: int, high: int) -> int:
        start = self.position
        (value,) = self.unpack(_I32, what)
        if not low <= value <= high:
            self.fail(f"{what} makes no sense", start, value, f"{low} … {high}; is this a file of importance matrices?")
        return int(value)

    def text(self, what: str) -> str:
        length = self.i32(f"the length of {what}", 0, min(_MAX_NAME, self.left))
        return self.take(length, what).decode("utf-8", "surrogateescape")


_I32 = struct.Struct("<i")
_BIGGEST = (1 << 31) - 1


def _read_legacy(path: Path) -> Imatrix:
    cursor = _LegacyCursor(read_bytes(path, limit=_MAX_BYTES, error=ImatrixError), path, error=ImatrixError)
    # an entry takes at least 16 bytes
    count = cursor.i32("the number of entries", 1, min(max(cursor.size // 16, 1), MAX_ENTRIES))
    entries: dict[str, Entry] = {}
    for index in range(count):
        start = cursor.position
        name = cursor.text(f"the name of entry {index}")
        if not name or name in entries:
            problem = f"the name of entry {index} is {'used twice' if name else 'empty'}"
            cursor.fail(problem, start, name, "a new name")
        calls = cursor.i32(f"the number of calls of {name!r}", 0, _BIGGEST)
        size = cursor.i32(f"the number of values of {name!r}", 1, cursor.left // 4)
        sums = np.frombuffer(cursor.take(4 * size, f"the values of {name!r}"), "<f4").astype(np.float32)
        # no calls: the values are taken as they are
        entries[name] = _checked(name, Entry(sums[None], np.array([max(calls, 1)])), path)
    chunks = cursor.i32("the number of chunks", 0, _BIGGEST) if cursor.left else 0
    dataset = cursor.text("the name of the calibration text") if cursor.left else ""
    if cursor.left:
        cursor.fail("the file goes on after its end", cursor.position, f"{cursor.left} bytes", "nothing")
    return Imatrix(entries, datasets=[dataset] if dataset else [], chunk_count=chunks, path=path, legacy=True)


def _write_legacy(path: Path, imatrix: Imatrix) -> Path:
    measured = {name: entry for name, entry in imatrix.entries.items() if entry.counts.any()}
    parts = [struct.pack("<i", len(measured))]
    for name, entry in measured.items():
        calls, values = _calls(entry, imatrix)
        raw = name.encode("utf-8", "surrogateescape")
        parts += [struct.pack("<i", len(raw)), raw, struct.pack("<ii", calls, values.size), values.tobytes()]
    dataset = (imatrix.datasets[-1] if imatrix.datasets else "").encode("utf-8", "surrogateescape")
    parts += [struct.pack("<ii", imatrix.chunk_count, len(dataset)), dataset]
    write_bytes(path, b"".join(parts), ImatrixError)
    return path


def _calls(entry: Entry, imatrix: Imatrix) -> tuple[int, npt.NDArray[np.float32]]:
    """Number of calls, and for each column the sum over them of the mean x²."""
    most = int(entry.counts.max())
    if imatrix.legacy:
        return most, entry.sums.astype("<f4")
    calls = -(-most // imatrix.chunk_size) if imatrix.chunk_size else most
    return calls, (entry.means() * np.float32(calls)).astype("<f4")
