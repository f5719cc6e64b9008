"""Bytes of a file, each field on lines of its own and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from qviz._arrays import whole_number
from qviz.errors import WidgetError, shortened

_WIDTH = 16


@dataclass(frozen=True, repr=False)
class HexDump:
    """What `hexdump` returns; its `repr` is the picture.

    Attributes
    ----------
    fields : tuple of (int, int, str)
        First byte, the one after the last, and what they are.
    data : bytes
        From the first field's first byte on.
    most : int
        Lines that a field may take.
    """

    fields: tuple[tuple[int, int, str], ...]
    data: bytes
    most: int

    def __repr__(self) -> str:
        first, digits = self.fields[0][0], len(f"{self.fields[-1][1]:,}")
        lines = []
        for start, stop, what in self.fields:
            for row in range(start, stop, _WIDTH):
                if row >= start + self.most * _WIDTH:
                    lines.append(f"{'':{digits}}  … {stop - row:,} more bytes")
                    break
                part = self.data[row - first : min(row + _WIDTH, stop) - first]
                text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "·" for byte in part)
                name = what if row == start else ""
                line = f"{row:{digits},}  {part.hex(' '):{3 * _WIDTH - 1}}  {text:{_WIDTH}}  {name}"
                lines.append(line.rstrip())
        return "\n".join(lines)


def hexdump(
    data: bytes | bytearray | memoryview | npt.NDArray[np.uint8],
    edges: Sequence[int],
    labels: Sequence[str],
    most: int = 3,
) -> HexDump:
    r"""Show bytes field by field: where, in hexadecimal, as text, and what they are.

    Parameters
    ----------
    data : bytes-like
        The file, or its beginning; a memory map is not read beyond the last edge.
    edges : sequence of int
        Where each field starts and, last, where the last one ends.
    labels : sequence of str
        What to call the fields: one less than edges.
    most : int
        Lines of 16 bytes that one field may take; the rest is counted.

    Returns
    -------
    HexDump

    Raises
    ------
    WidgetError
        An edge lies outside `data` or not behind the one before it; there are too many labels, or too few.

    Examples
    --------
    >>> hexdump(b"GGUF\x03\0\0\0", [0, 4, 8], ["magic", "version"])
    0  47 47 55 46                                      GGUF              magic
    4  03 00 00 00                                      ····              version
    """
    # arrays are buffers, but say so to a type checker only from Python 3.12 on
    view = memoryview(data)  # type: ignore[arg-type]
    if not view.c_contiguous:
        raise WidgetError("data must lie in one piece; np.ascontiguousarray makes a copy that does")
    view = view.cast("B") if view.nbytes else memoryview(b"")
    whole_number(most, "most", WidgetError, least=1)
    at = [int(edge) for edge in edges]
    if len(at) < 2 or len(labels) != len(at) - 1:
        raise WidgetError(f"{len(at)} edges bound {max(len(at) - 1, 0)} fields, but there are {len(labels)} labels")
    if at[0] < 0 or at[-1] > len(view) or any(start >= stop for start, stop in pairwise(at)):
        raise WidgetError(f"edges must be in order, from 0 to {len(view)}, a byte between any two; got {shortened(at)}")
    fields = tuple((start, stop, str(label)) for (start, stop), label in zip(pairwise(at), labels, strict=True))
    return HexDump(fields, bytes(view[at[0] : at[-1]]), most)
