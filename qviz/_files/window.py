"""A file seen through a window: its bytes by position, without holding or mapping all of them."""

from __future__ import annotations

from qviz._files.opening import OpenFile

_SPAN = 1 << 18


class FileWindow:
    """Slices of a file, read a stretch at a time.

    Parameters
    ----------
    file : OpenFile

    Attributes
    ----------
    start : int
        Where in the file `data` begins.
    data : bytes
        What is at hand.
    """

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self.start, self.data = 0, b""

    def __len__(self) -> int:
        return self._file.size

    def move(self, position: int) -> None:
        """Read the stretch from `position` on; it may be shorter at the end of the file."""
        self.start = position
        self.data = self._file.read(position, min(_SPAN, self._file.size - position))

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._file.size)
        if stop - start > _SPAN:
            return self._file.read(start, stop - start)
        if not self.start <= start <= stop <= self.start + len(self.data):
            self.move(start)
        return self.data[start - self.start : stop - self.start]
