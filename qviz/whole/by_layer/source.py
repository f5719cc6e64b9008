"""The weights of a model file, a layer at a time, in memory of their own.

A map of the file would stay in memory page by page until the whole model is there, and whoever looks at a map of a
file that somebody cuts dies of it. So what is worked on is read, and read again only if the file is still what it
was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from qviz.formats import QTensor
from qviz.gguf.rows import read_tensor
from qviz.transformer.experts import ExpertLinears
from qviz.transformer.linear import Linear


class Source:
    """Reads what is worked on.

    Parameters
    ----------
    model : Model, or another mapping of tensors
        Tensors of a mapping that is no file are taken as they are.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._file = model, getattr(model, "file", None)

    def tensor(self, name: str) -> QTensor:
        """A whole tensor."""
        return read_tensor(self._model, name)

    def rows(self, name: str, n_weights: int) -> Iterator[QTensor]:
        """A tensor's rows in order, about so many weights at a time."""
        shape = self._model[name].shape
        step, count = max(1, n_weights // shape[-1]), math.prod(shape[:-1])
        for first in range(0, count, step):
            if self._file is None:
                tensor = self._model[name]
                part = tensor.blocks.reshape(count, -1)[first : first + step]
                yield QTensor(tensor.format, part, (len(part), shape[-1]))
            else:
                yield self._file.read_rows(name, first, min(first + step, count))

    def layer(self, mapped: dict[str, Any]) -> dict[str, Any]:
        """A layer of a running model with its matrices read."""
        return {kind: self._read(part) for kind, part in mapped.items()}

    def _read(self, part: Any) -> Any:
        if isinstance(part, Linear):
            return Linear(self.tensor(part.name), part.name, "float", bias=part.bias)
        if isinstance(part, ExpertLinears):
            return ExpertLinears(self.tensor(part.name), part.name, "float", part.bias)
        return part

    def check(self, *, header: bool = False) -> None:
        """Refuse to go on if the file was changed.

        Parameters
        ----------
        header : bool
            Look at the header, too, at the beginning and at the end.

        Raises
        ------
        GGUFError
            It was.
        """
        if self._file is not None:
            self._file.unchanged(header=header)
