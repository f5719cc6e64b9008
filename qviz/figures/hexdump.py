"""Bytes of a file, each field on lines of its own and named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qviz.errors import WidgetError

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
        first = self.fields[0][0] if self.fields else 0
        digits = len(f"{self.fields[-1][1]:,}") if self.fields else 1
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


def hexdump(data: bytes | bytearray | memoryview, fields: Iterable[tuple[int, int, str]], most: int = 3) -> HexDump:
    r"""Show bytes field by field: where, in hexadecimal, as text, and what they are.

    Parameters
    ----------
    data : bytes-like
        The file, or its beginning; a memory map is not read beyond the fields.
    fields : iterable of (int, int, str)
        First byte, the one after the last, and what to call them; in order, and without overlap.
    most : int
        Lines of 16 bytes that one field may take; the rest is counted.

    Returns
    -------
    HexDump

    Raises
    ------
    WidgetError
        A field lies outside `data`, holds no byte, or starts before the last one ends.

    Examples
    --------
    >>> hexdump(b"GGUF\x03\0\0\0", [(0, 4, "magic"), (4, 8, "version")])
    0  47 47 55 46                                      GGUF              magic
    4  03 00 00 00                                      ····              version
    """
    view, listed, end = memoryview(data).cast("B"), [], 0
    for start, stop, what in fields:
        if not end <= start < stop <= len(view):
            raise WidgetError(
                f"field {what!r} from byte {start} to {stop}: fields must hold a byte each, stand in order, "
                f"and end by byte {len(view)}"
            )
        listed.append((int(start), int(stop), str(what)))
        end = stop
    shown = bytes(view[listed[0][0] : end]) if listed else b""
    return HexDump(tuple(listed), shown, most)
