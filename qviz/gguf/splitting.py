"""A model in several files, and back in one: what llama.cpp's ``gguf-split`` does, with the same bytes.

``split`` cuts between tensors, in the order of the file. The first part has all of the metadata, every part has
``split.no``, ``split.tensors.count`` and ``split.count``. Tensors are copied by the system; nothing of them is held in
memory. `merge` of what `split` wrote is the file that was split.

Examples
--------
>>> import tempfile, numpy as np
>>> from qviz import gguf
>>> folder = Path(tempfile.mkdtemp())
>>> whole = gguf.write(folder / "m.gguf", {"general.name": "m"}, {name: np.ones(8, np.float32) for name in "abc"})
>>> parts = split(whole, folder / "part", max_tensors=2)
>>> [path.name for path in parts], list(gguf.read(parts[1]))
(['part-00001-of-00002.gguf', 'part-00002-of-00002.gguf'], ['a', 'b', 'c'])
>>> merge(parts[0], folder / "again.gguf").read_bytes() == whole.read_bytes()
True
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from qviz._arguments import reporter
from qviz._arrays import flag, whole_number
from qviz._files import as_path, copy_bytes, replacing, replacing_files
from qviz._types import Progress
from qviz.errors import GGUFError
from qviz.gguf.header import ALIGNMENT_KEY, DEFAULT_ALIGNMENT, TensorInfo, padded
from qviz.gguf.metadata import Metadata
from qviz.gguf.reader import GGUFFile, read
from qviz.gguf.splits import COUNT, NUMBER, TENSORS
from qviz.gguf.values import I32, U16, encode_text
from qviz.gguf.writer import TensorEntry, header_bytes, pad

DEFAULT_TENSORS = 128
_MOST_PARTS = (1 << 16) - 1  # split.count is a u16


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """One file that `split` would write.

    Attributes
    ----------
    path : pathlib.Path
    tensors : tuple of TensorInfo
        As they stand in the model.
    nbytes : int
        Size of the whole file.
    tensor_bytes : int
        Size of its tensors, each padded: what ``max_size`` is compared with.
    header : bytes
        What stands before them.
    """

    path: Path
    tensors: tuple[TensorInfo, ...]
    nbytes: int
    tensor_bytes: int
    header: bytes


def plan_split(
    file: GGUFFile,
    prefix: str | os.PathLike[str],
    *,
    max_size: int | None = None,
    max_tensors: int | None = None,
    tensors_in_first: bool = True,
) -> list[PlannedPart]:
    """Which files `split` would write; see there."""
    where = as_path(prefix)
    if not where.name:
        raise GGUFError("prefix must end in the beginning of a file's name", found=prefix)
    tensors_in_first = flag(tensors_in_first, "tensors_in_first", GGUFError)
    groups = _groups(file, max_size, max_tensors)
    if not tensors_in_first:
        groups.insert(0, [])
    if len(groups) > _MOST_PARTS:
        raise GGUFError("more parts than can be numbered", path=file.path, found=len(groups), expected=_MOST_PARTS)
    numbers = (I32(len(file)), U16(len(groups)))
    plan = []
    for index, group in enumerate(groups):
        first = file.metadata.without(NUMBER, TENSORS, COUNT) if index == 0 else Metadata()
        metadata = first | {NUMBER: U16(index), TENSORS: numbers[0], COUNT: numbers[1]}
        # a step that is not the usual one must be known in each part
        if index and file.alignment != DEFAULT_ALIGNMENT:
            metadata = Metadata({ALIGNMENT_KEY: file.metadata[ALIGNMENT_KEY]}) | metadata
        path = where.with_name(f"{where.name}-{index + 1:05d}-of-{len(groups):05d}.gguf")
        header = header_bytes(metadata, _entries(group), file.parts[0].layout, file.alignment)
        tensor_bytes = sum(padded(info.nbytes, file.alignment) for info in group)
        nbytes = padded(len(header), file.alignment) + tensor_bytes
        plan.append(PlannedPart(path, tuple(group), nbytes, tensor_bytes, header))
    return plan


def _groups(file: GGUFFile, max_size: int | None, max_tensors: int | None) -> list[list[TensorInfo]]:
    if max_size is not None and max_tensors is not None:
        raise GGUFError("parts are limited by max_size or by max_tensors, and both are given; leave one out")
    limit = max_size if max_size is not None else (DEFAULT_TENSORS if max_tensors is None else max_tensors)
    limit = whole_number(limit, "max_size" if max_size is not None else "max_tensors", GGUFError, least=1)
    groups: list[list[TensorInfo]] = [[]]
    taken = 0
    for info in file.tensor_info.values():
        cost = 1 if max_size is None else padded(info.nbytes, file.alignment)
        if taken + cost > limit:
            if not groups[-1]:
                raise GGUFError(
                    f"the first tensor, {info.name!r}, takes more than a part may have, and a tensor is never cut",
                    path=file.path,
                    found=f"max_size {limit}",
                    expected=f"at least {cost} bytes",
                )
            groups.append([])
            taken = 0
        groups[-1].append(info)
        taken += cost
    return groups


def _entries(infos: Iterable[TensorInfo]) -> list[TensorEntry]:
    return [
        TensorEntry(info.name, encode_text(info.name, "a name"), info.format, info.shape, _dims(info), info.nbytes)
        for info in infos
    ]


def _dims(info: TensorInfo) -> tuple[int, ...]:
    """Dimensions as ggml writes them: at least one, and no 1 at the end of several."""
    dims = list(info.dims)
    while len(dims) > 1 and dims[-1] == 1:
        dims.pop()
    return tuple(dims) or (1,)


def split(
    path: str | os.PathLike[str],
    prefix: str | os.PathLike[str],
    *,
    max_size: int | None = None,
    max_tensors: int | None = None,
    tensors_in_first: bool = True,
    progress: Progress | None = None,
) -> list[Path]:
    """Write a model as several files, byte for byte as llama.cpp's ``gguf-split`` does.

    All parts appear when all are complete. (The version and byte order of the source are kept; ``gguf-split`` makes
    version 3 of everything, and pads to 32 bytes where a file asks for another alignment.)

    Parameters
    ----------
    path : path-like
        The model; it may be split itself.
    prefix : path-like
        The parts are called ``<prefix>-00001-of-00003.gguf`` and so on.
    max_size : int, optional
        Most bytes of tensors in a part, their padding included and the header not. A single tensor that takes more is a
        part of its own.
    max_tensors : int, optional
        Most tensors in a part; 128 if neither is given.
    tensors_in_first : bool
        False leaves only metadata in the first part.
    progress : Progress, optional
        Told the name of a file, and bytes.

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    GGUFError
        A limit that the first tensor exceeds, a file that cannot be read or written.
    """
    with read(path) as file:
        limits = {"max_size": max_size, "max_tensors": max_tensors}
        plan = plan_split(file, prefix, **limits, tensors_in_first=tensors_in_first)
        file.unchanged(header=True)
        with replacing_files(plan[0].path.parent) as together:
            for part in plan:
                with together.new(part.path.name) as out:
                    _write(out, part.path, part.header, file, part.tensors, progress)
            file.unchanged(header=True)
    return [part.path for part in plan]


def merge(
    first: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    keep_split_keys: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the parts of a split model as one file; the inverse of `split`.

    Parameters
    ----------
    first : path-like
        A part; the others are found by its name.
    out : path-like
        A file that does not exist yet.
    keep_split_keys : bool
        Leave ``split.no``, ``split.tensors.count`` and, as 0, ``split.count`` in the file, as ``gguf-split`` does.
    progress : Progress, optional
        Told the name of a file, and bytes.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    GGUFError
        Not a part of a split model, parts that do not belong together, or a file that exists.
    """
    target = as_path(out)
    if os.path.lexists(target):
        raise GGUFError("this file exists already; delete it, or choose another name", path=target)
    with read(first) as file:
        own = file.parts[0].metadata
        if not own.get(COUNT, 0):
            raise GGUFError(f"this file is no part of a split model: it has no {COUNT}, or 0", path=file.path)
        metadata = own.without(NUMBER, TENSORS, COUNT)
        if keep_split_keys:
            metadata = own.without(COUNT) | {COUNT: U16(0)}
        infos = list(file.tensor_info.values())
        header = header_bytes(metadata, _entries(infos), file.parts[0].layout, file.alignment)
        file.unchanged(header=True)
        with replacing(target) as written:
            _write(written, target, header, file, infos, progress)
            file.unchanged(header=True)
    return target


def _write(
    out: BinaryIO,
    path: Path,
    header: bytes,
    file: GGUFFile,
    infos: Sequence[TensorInfo],
    progress: Progress | None,
) -> None:
    """A header, and behind it tensors as they are."""
    sources = {part.path: part.file for part in file.parts}
    total, done = sum(info.nbytes for info in infos), 0
    tell = reporter(progress, GGUFError)

    def report(count: int) -> None:
        nonlocal done
        done += count
        tell(path.name, done, total)

    report(0)
    out.write(header)
    pad(out, len(header), file.alignment)
    for info in infos:
        copy_bytes(sources[info.path], info.offset, info.nbytes, out, path, progress=report)
        pad(out, info.nbytes, file.alignment)
