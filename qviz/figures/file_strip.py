"""A file as a strip: what its parts are and how large, and the bytes of one page with the fields that they form."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from qviz._arrays import whole_number
from qviz.errors import WidgetError, shortened

KINDS = ("header", "metadata", "tensor info", "padding", "tensor", "unused")
"""What a part of a file can be."""


@dataclass(frozen=True)
class PageField:
    """Bytes of the page that belong together.

    Attributes
    ----------
    start, stop : int
        In the file; a field may begin before the page, and end behind it.
    name, value : str
    part : int
        Index of the part of the file that it is in.
    """

    start: int
    stop: int
    name: str
    value: str
    part: int


@dataclass(frozen=True, eq=False)
class FileStrip:
    """A file, and one page of it.

    Attributes
    ----------
    size : int
        Bytes of the file.
    header : int
        Where the tensors begin.
    starts, stops : float64 arrays (n,)
        Bytes of each part, in order.
    kinds : uint8 array (n,)
        Index into `KINDS`.
    names : tuple of str
        Key, or name of a tensor; empty where a part has none.
    at : int
        First byte of the page.
    raw, original : uint8 arrays (n_bytes,)
        The page with and without the bytes that were changed.
    fields : tuple of PageField
    changed : float64 array (k,)
        Positions of all changed bytes.
    wrong_at : int
        Byte at which a reader gives up; −1 if it does not.
    """

    size: int
    header: int
    starts: npt.NDArray[np.float64]
    stops: npt.NDArray[np.float64]
    kinds: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    at: int
    raw: npt.NDArray[np.uint8]
    original: npt.NDArray[np.uint8]
    fields: tuple[PageField, ...]
    changed: npt.NDArray[np.float64]
    wrong_at: int


def file_strip(
    parts: Sequence[tuple[int, int, str, str]],
    header: int,
    at: int,
    original: bytes,
    fields: Sequence[tuple[int, int, str, str]],
    changes: Collection[tuple[int, int]] = (),
    wrong_at: int | None = None,
) -> FileStrip:
    """Show where the parts of a file lie, and one page of its bytes.

    Parameters
    ----------
    parts : sequence of (start, stop, kind, name)
        All of the file, in order.
    header : int
        Where its tensors begin.
    at : int
        First byte of the page.
    original : bytes
        The page, as it is in the file.
    fields : sequence of (start, stop, name, value)
        Fields of the page, in order.
    changes : collection of (position, byte)
        Bytes that are changed.
    wrong_at : int, optional
        Byte at which a reader gives up.

    Returns
    -------
    FileStrip

    Raises
    ------
    WidgetError
        Parts that leave a gap, a kind that nobody knows, or a page outside of the file.

    Examples
    --------
    >>> strip = file_strip([(0, 4, "header", ""), (4, 8, "tensor", "w")], 4, 0, b"GGUF1234", [(0, 4, "magic", "GGUF")])
    >>> strip.size, strip.fields[0].name, strip.fields[0].part
    (8, 'magic', 0)
    """
    if not parts or any(a[1] != b[0] for a, b in pairwise(parts)):
        raise WidgetError("the parts of a file must follow each other without a gap")
    if unknown := {kind for _, _, kind, _ in parts} - set(KINDS):
        raise WidgetError(f"no part of a file is {shortened(min(unknown))}; there are {', '.join(KINDS)}")
    starts, stops = (np.array([part[side] for part in parts], np.float64) for side in (0, 1))
    size, page = int(stops[-1]), np.frombuffer(original, np.uint8)
    if not 0 <= at < at + page.size <= size:
        raise WidgetError(f"a page from {at} to {at + page.size} is not in a file of {size} bytes")
    raw = page.copy()
    for position, byte in changes:
        byte = whole_number(byte, f"byte {position}", WidgetError, least=0, most=255)
        if at <= position < at + page.size:
            raw[position - at] = byte
    first = [int(np.searchsorted(starts, start, "right")) - 1 for start, *_ in fields]
    return FileStrip(
        size,
        header,
        starts,
        stops,
        np.array([KINDS.index(kind) for _, _, kind, _ in parts], np.uint8),
        tuple(name for *_, name in parts),
        at,
        raw,
        page,
        tuple(PageField(*field, part) for field, part in zip(fields, first, strict=True)),
        np.array(sorted(position for position, _ in changes), np.float64),
        -1 if wrong_at is None else wrong_at,
    )
