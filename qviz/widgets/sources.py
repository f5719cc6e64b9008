"""What an explorer was given, as named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qviz._arrays import real_array
from qviz._types import FloatArray
from qviz.errors import WidgetError, shortened
from qviz.formats import QTensor

MOST_WEIGHTS = 1 << 22
"""Weights that an explorer works on; of a larger tensor it takes the first rows, and says so."""


@dataclass(frozen=True, eq=False)
class TensorSource:
    """One named tensor.

    Attributes
    ----------
    name : str
    tensor : QTensor or float32 array
    address : int or None
        Position of its first byte in the file it comes from.
    """

    name: str
    tensor: QTensor | FloatArray
    address: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weights."""
        return self.tensor.shape

    @property
    def format_name(self) -> str:
        """How the weights are stored, e.g. ``"Q4_1"``; a NumPy array counts as ``"F32"``."""
        return str(self.tensor.format) if isinstance(self.tensor, QTensor) else "F32"

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return self.tensor.nbytes

    @property
    def rows(self) -> int:
        """Rows of all leading axes together."""
        return int(np.prod(self.shape[:-1], dtype=int))

    @property
    def shown_rows(self) -> int:
        """Rows that an explorer works on."""
        return min(self.rows, max(1, MOST_WEIGHTS // self.shape[-1]))

    @property
    def cut_note(self) -> str:
        """Says that only a part is shown, where that is so."""
        if self.shown_rows == self.rows:
            return ""
        return f"Shown and measured: the first {self.shown_rows} of {self.rows} rows."

    def weights(self) -> FloatArray:
        """The first `shown_rows` rows as weights.

        Returns
        -------
        float32 array (shown_rows, columns)
        """
        tensor, columns = self.tensor, self.shape[-1]
        if isinstance(tensor, QTensor):
            blocks = tensor.blocks.reshape(self.rows, -1)[: self.shown_rows]
            return QTensor(tensor.format, blocks, (self.shown_rows, columns)).dequantize()
        return tensor.reshape(self.rows, columns)[: self.shown_rows]


def first_matrix(given: Any) -> str | None:
    """Name of the first tensor of a model that has rows and columns; None if there is none, or `given` is no model."""
    if not isinstance(given, Mapping):
        return None
    return next((name for name, tensor in given.items() if len(getattr(tensor, "shape", (0, 0))) > 1), None)


class Sources:
    """The tensors that can be looked at, opened when asked for.

    Parameters
    ----------
    given : array_like, QTensor, mapping of str to either, or (mapping, name)
        A mapping is a model or a GGUF file.
    name : str, optional
        What to call a single tensor.
    """

    def __init__(self, given: Any, name: str | None = None) -> None:
        names = None
        if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Mapping):
            given, only = given
            _of(given, only)  # raises if it is not there
            names = [only]
        self._given: Mapping[str, Any] = given if isinstance(given, Mapping) else {name or "weights": given}
        self.names: list[str] = names or list(self._given)
        if not self.names:
            raise WidgetError("there is no tensor to show: the mapping is empty")

    def __getitem__(self, name: str) -> TensorSource:
        tensor = _of(self._given, name)
        if not isinstance(tensor, QTensor):
            if isinstance(tensor, str | bytes) or tensor is None:
                raise WidgetError(
                    f"{name}: expected weights (an array, a QTensor, or a model from qviz.load), "
                    f"got {shortened(tensor)}; open a file with qviz.load(path) first"
                )
            tensor = real_array(tensor, name, WidgetError)
        if not tensor.shape or 0 in tensor.shape:
            raise WidgetError(f"{name}: expected at least one row of weights, got shape {tensor.shape}")
        return TensorSource(name, tensor, _address(self._given, name))


def _of(given: Mapping[str, Any], name: str) -> Any:
    try:
        return given[name]
    except KeyError:
        near = [other for other in given if name.split(".")[-1] in other] or list(given)
        raise WidgetError(
            f"no tensor {shortened(name)}; there are {len(given)}, such as {', '.join(near[:4])}"
        ) from None


def _address(given: Mapping[str, Any], name: str) -> int | None:
    info = getattr(given, "tensor_info", {}).get(name)
    return None if info is None else int(info.offset)
