"""Walking over the bytes of a header, from front to back."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NoReturn

from qviz.errors import GGUFError


class Cursor:
    """A position in a file; whatever does not fit ends in an error that names the byte.

    Parameters
    ----------
    buffer : bytes-like
        What is sliced and unpacked: bytes, a map, or something that reads on demand.
    path : pathlib.Path
        For errors.
    size : int, optional
        Bytes of the whole; of `buffer` unless given.
    error : type
        Kind of the error.

    Attributes
    ----------
    position : int
        Bytes from the beginning of the file.
    """

    def __init__(self, buffer: Any, path: Path, size: int | None = None, error: type[GGUFError] = GGUFError) -> None:
        self.buffer, self.path, self.error = buffer, path, error
        self.size = len(buffer) if size is None else size
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes that follow."""
        return self.size - self.position

    def fail(self, problem: str, offset: int, found: object = None, expected: object = None) -> NoReturn:
        """Raise the error."""
        raise self.error(problem, path=self.path, offset=offset, found=found, expected=expected)

    def skip(self, length: int, what: str) -> None:
        """Step over `length` bytes, which must be there."""
        if length > self.size - self.position:
            self.fail(f"the file ends inside {what}", self.position, f"{self.left} bytes", f"{length} bytes")
        self.position += length

    def take(self, length: int, what: str) -> bytes:
        """The next `length` bytes."""
        start = self.position
        self.skip(length, what)
        return bytes(self.buffer[start : self.position])

    def unpack(self, layout: struct.Struct, what: str) -> tuple[Any, ...]:
        """The next numbers."""
        return layout.unpack(self.take(layout.size, what))

    def plausible(self, count: int, smallest: int, what: str, offset: int, hint: str = "") -> None:
        """Refuse a count of things for which the rest of the file has no room.

        Parameters
        ----------
        count : int
        smallest : int
            Bytes that one of them takes at least.
        what : str
            Their name in the plural.
        offset : int
            Where the count stands.
        hint : str
            Added to what was expected.
        """
        if count * smallest > self.left:
            most = f"at most {max(self.left // smallest, 0)}{hint}"
            self.fail(f"more {what} than the file has room for", offset, count, most)
