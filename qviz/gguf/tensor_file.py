"""What all readers of tensors have in common: a mapping from name to `QTensor` over a file that can be closed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from qviz._files import OpenFile
from qviz.errors import shortened
from qviz.formats import QTensor
from qviz.gguf._lookup import MissingKeyError, suggestion

Info = TypeVar("Info")


class TensorFile(Mapping[str, QTensor], Generic[Info]):
    """An open file of tensors, in the order of the file; usable in a ``with`` block.

    A subclass sets the attributes, says what a tensor is, and which files are open.

    Attributes
    ----------
    path : pathlib.Path
        What an error names: the file, the first of several, or their folder.
    paths : tuple of pathlib.Path
        All files.
    tensor_info : mapping of str to Info
        What the header says about each tensor.
    """

    path: Path
    paths: tuple[Path, ...]
    tensor_info: Mapping[str, Info]

    def info(self, name: str) -> Info:
        """What the header says about one tensor.

        Raises
        ------
        MissingKeyError
            There is no such tensor; names that resemble it.
        """
        if name not in self:
            raise MissingKeyError(f"{self.path}: no tensor {shortened(name)}{suggestion(name, self.tensor_info)}")
        return self.tensor_info[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The tensor, or `default`."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get; Mapping's would suggest names

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.tensor_info

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensor_info)

    def __len__(self) -> int:
        return len(self.tensor_info)

    # A file equals itself; Mapping would compare the tensors, which are made anew at each look.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def unchanged(self, *, header: bool = False) -> None:
        """Refuse to go on if another program has changed a file since it was opened.

        Whoever reads a whole model asks before each piece, and with `header` at the beginning and at the end.

        Parameters
        ----------
        header : bool
            Compare a hash of the header with that of the first time this was asked, too: clocks of some drives are
            coarse.

        Raises
        ------
        GGUFError
            Its size, the time of its last change, or its header is another.
        """
        for file, length in self._opened():
            file.check(length if header else 0)

    def close(self) -> None:
        """Let go of the files. Tensors already handed out stay usable."""
        for file, _ in self._opened():
            file.close()

    def _opened(self) -> Iterable[tuple[OpenFile, int]]:
        """Each open file, and how many bytes its header has."""
        raise NotImplementedError
