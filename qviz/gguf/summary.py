"""What is in a file, as plain data: the contents of ``qviz inspect``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qviz.formats.base import Format
from qviz.gguf.foreign import ForeignFormat
from qviz.gguf.header import TensorInfo
from qviz.gguf.reader import GGUFFile
from qviz.gguf.values import Endian

if TYPE_CHECKING:
    from qviz.gguf.legacy import LegacyFile


@dataclass(frozen=True, slots=True)
class MetadataEntry:
    """One metadata key.

    Parameters
    ----------
    key : str
    type : str
        ``"u32"``, ``"arr[str]"`` ...
    value : object
        The value; of a long array only the first items.
    length : int or None
        Items of an array, all of them counted, or bytes of a text that was cut; None for anything else.
    """

    key: str
    type: str
    value: Any
    length: int | None


@dataclass(frozen=True, slots=True)
class FormatTotal:
    """All tensors of one format together."""

    format: Format
    tensors: int
    weights: int
    nbytes: int

    @property
    def bpw(self) -> float:
        """Bits per weight: of the format, or where nobody knows that, counted."""
        if self.format.bpw == self.format.bpw or not self.weights:
            return self.format.bpw
        return 8 * self.nbytes / self.weights


@dataclass(frozen=True, slots=True)
class Summary:
    """A file at a glance; see `summarize`.

    Parameters
    ----------
    paths : tuple of pathlib.Path
        The file, or all parts of a split model.
    container, version, endian, alignment, data_offset
        As of `GGUFFile`.
    file_bytes : int
        Size of all files.
    metadata : tuple of MetadataEntry
    tensors : tuple of TensorInfo
    totals : tuple of FormatTotal
        Largest first.
    """

    paths: tuple[Path, ...]
    container: str
    version: int
    endian: Endian
    alignment: int
    data_offset: int
    file_bytes: int
    metadata: tuple[MetadataEntry, ...]
    tensors: tuple[TensorInfo, ...]
    totals: tuple[FormatTotal, ...]

    @property
    def weights(self) -> int:
        """Weights of all tensors."""
        return sum(total.weights for total in self.totals)

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors, without padding."""
        return sum(total.nbytes for total in self.totals)

    @property
    def bpw(self) -> float | None:
        """Bits per weight over all tensors; None if there are none."""
        return 8 * self.tensor_bytes / self.weights if self.weights else None

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it: NaN and infinities become strings."""
        return {
            "paths": [str(path) for path in self.paths],
            "container": self.container,
            "version": self.version,
            "byte_order": self.endian,
            "alignment": self.alignment,
            "data_offset": self.data_offset,
            "file_bytes": self.file_bytes,
            "weights": self.weights,
            "tensor_bytes": self.tensor_bytes,
            "bpw": self.bpw,
            "formats": {
                t.format.name: {
                    "tensors": t.tensors,
                    "weights": t.weights,
                    "bytes": t.nbytes,
                    "bpw": t.bpw if math.isfinite(t.bpw) else None,
                    **_whose(t.format),
                }
                for t in self.totals
            },
            "metadata": {entry.key: _entry_dict(entry) for entry in self.metadata},
            "tensors": [
                {
                    "name": info.name,
                    "format": info.format.name,
                    "shape": info.shape,
                    "dims_in_file": info.dims,
                    "file": info.path.name,
                    "offset": info.offset,
                    "bytes": info.nbytes,
                }
                for info in self.tensors
            ],
        }


def summarize(file: GGUFFile | LegacyFile, limit: int | None = 8) -> Summary:
    """Collect what `qviz inspect` shows; nothing but the header is read.

    Parameters
    ----------
    file : GGUFFile or LegacyFile
    limit : int or None, optional
        Most items kept of a metadata array; None keeps all.

    Returns
    -------
    Summary
    """
    totals: dict[Format, list[int]] = {}
    for info in file.tensor_info.values():
        total = totals.setdefault(info.format, [0, 0, 0])
        total[0] += 1
        total[1] += info.n_weights
        total[2] += info.nbytes
    types = file.metadata.types
    return Summary(
        paths=tuple(part.path for part in file.parts),
        container=file.container,
        version=file.version,
        endian=file.endian,
        alignment=file.alignment,
        data_offset=file.data_offset,
        file_bytes=file.nbytes,
        metadata=tuple(MetadataEntry(key, types[key], *file.metadata.peek(key, limit)) for key in file.metadata),
        tensors=tuple(file.tensor_info.values()),
        totals=tuple(FormatTotal(fmt, *total) for fmt, total in sorted(totals.items(), key=lambda item: -item[1][2])),
    )


def _whose(fmt: Format) -> dict[str, str]:
    return {"unknown": fmt.source} if isinstance(fmt, ForeignFormat) else {}


def _entry_dict(entry: MetadataEntry) -> dict[str, Any]:
    result = {"type": entry.type, "value": _json(entry.value)}
    if entry.length is not None:
        result["length"] = entry.length
    return result


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, float):
        # float32's own digits: 1e-05, not 9.999999747378752e-06
        return float(repr(value)) if math.isfinite(value) else repr(float(value))
    return value
