"""The weights of a model file, a layer at a time, in memory of their own.

A map of the file would stay in memory page by page until the whole model is there, and whoever looks at a map of a
file that somebody cuts dies of it. So what is worked on is read, and read again only if the file is still what it
was.
"""

from __future__ import annotations

import math
from typing import Any

from qviz.formats import QTensor
from qviz.transformer.experts import ExpertLinears
from qviz.transformer.linear import Linear


class Source:
    """Reads what is worked on.

    Parameters
    ----------
    model : Model, or another mapping of tensors
        Of a mapping that is no file, tensors are taken as they are.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._file = model, getattr(model, "file", None)

    def tensor(self, name: str) -> QTensor:
        """A whole tensor."""
        if self._file is None:
            tensor: QTensor = self._model[name]
            return tensor
        shape = self._file.tensor_info[name].shape
        read: QTensor = self._file.read_rows(name, 0, math.prod(shape[:-1]))
        return QTensor(read.format, read.blocks.reshape(*shape[:-1], -1), shape)

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
