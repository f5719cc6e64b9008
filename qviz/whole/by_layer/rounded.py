"""Matrices, layers and models that were rounded, as a checkpoint stores them."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import transformer
from qviz._types import FloatArray
from qviz.errors import MethodError
from qviz.formats import QTensor, quantize
from qviz.transformer.parts import refuse_no_model

_WEIGHTS_AT_ONCE = 1 << 20
_LEAST_SCALE = np.float32(2**-24)  # of float16


@dataclass(frozen=True, eq=False)
class RoundedMatrix:
    """A matrix as a checkpoint stores it: weight = scale · (code − zero point), scales in float16.

    Attributes
    ----------
    codes : integer array (n_out, n_in)
    scales : float32 array (n_out, n_groups)
        Values that float16 holds.
    zero_points : int32 array (n_out, n_groups)
    g_idx : int32 array (n_in,)
        The group of each column.
    bpw : float
        Bits per weight, everything counted.
    exact_scales : float32 array (n_out, n_groups)
        Before float16.
    bits : int
        Bits of a code.
    """

    codes: npt.NDArray[Any]
    scales: FloatArray
    zero_points: npt.NDArray[np.int32]
    g_idx: npt.NDArray[np.int32]
    bpw: float
    exact_scales: FloatArray
    bits: int

    def dequantize(self) -> FloatArray:
        """The weights, float32 (n_out, n_in)."""
        weight = np.empty(self.codes.shape, np.float32)
        step = max(1, _WEIGHTS_AT_ONCE // max(self.codes.shape[1], 1))
        for first in range(0, len(weight), step):
            rows = slice(first, first + step)
            steps = self.codes[rows].astype(np.int32) - self.zero_points[rows][:, self.g_idx]
            np.multiply(steps.astype(np.float32), self.scales[rows][:, self.g_idx], out=weight[rows])
        return weight

    def with_rows_divided(self, by: FloatArray) -> RoundedMatrix:
        """Row r divided by ``by[r]``; codes and zero points stay."""
        exact = self.exact_scales / by[:, None]
        return dataclasses.replace(self, scales=half_scales(exact), exact_scales=exact)


@dataclass(frozen=True, eq=False)
class RoundedExperts:
    """The matrices of all experts of a layer.

    Attributes
    ----------
    matrices : tuple of RoundedMatrix
    """

    matrices: tuple[RoundedMatrix, ...]

    @classmethod
    def of(cls, matrices: Sequence[RoundedMatrix | QTensor]) -> RoundedExperts | QTensor:
        """From one matrix for each expert; where a GGML format was asked for, one tensor of them all."""
        tensors = [matrix for matrix in matrices if isinstance(matrix, QTensor)]
        if not tensors:
            return cls(tuple(matrix for matrix in matrices if isinstance(matrix, RoundedMatrix)))
        blocks = np.stack([tensor.blocks for tensor in tensors])
        return QTensor(tensors[0].format, blocks, (len(tensors), *tensors[0].shape))

    @property
    def bpw(self) -> float:
        """Bits per weight, everything counted."""
        return sum(matrix.bpw for matrix in self.matrices) / len(self.matrices)

    def dequantize(self) -> FloatArray:
        """The weights, float32 (n_expert, n_out, n_in)."""
        return np.stack([matrix.dequantize() for matrix in self.matrices])


@dataclass(frozen=True, eq=False)
class RoundedLayer:
    """One layer of a model, rounded.

    Attributes
    ----------
    index : int
    matrices : dict of str to RoundedMatrix, RoundedExperts or QTensor
        By tensor name; a QTensor where a GGML format was asked for.
    norms : dict of str to float32 array
        The layer's norms and whatever else is not rounded by tensor name, AWQ's scales folded in.
    biases : dict of str to float32 array
        Those of its matrices that have one, by tensor name; divided like the rows of their matrices.
    notes : tuple of str
        What the methods recovered from, or what to beware of.
    """

    index: int
    matrices: dict[str, RoundedMatrix | RoundedExperts | QTensor]
    norms: dict[str, FloatArray]
    biases: dict[str, FloatArray]
    notes: tuple[str, ...]


class RoundedModel(Mapping[str, QTensor]):
    """A model with rounded tensors in it: what `qviz.transformer.Transformer` takes. Made by `round_model`.

    Parameters
    ----------
    model : mapping of tensor name to QTensor, with ``.metadata``
    replaced : mapping of str to QTensor
        What stands in for tensors of the model.

    Attributes
    ----------
    metadata : mapping
    notes : tuple of str
        What the methods recovered from, or what to beware of.
    """

    def __init__(self, model: Any, replaced: Mapping[str, QTensor] = types.MappingProxyType({})) -> None:
        refuse_no_model(model)
        self._model, self._replaced, self._stored = model, dict(replaced), dict[str, RoundedMatrix]()
        self.metadata = model.metadata
        self._bits, self._weights = 0.0, 0
        self.notes: tuple[str, ...] = ()

    @property
    def bpw(self) -> float:
        """Bits per weight of the rounded matrices, everything counted."""
        return self._bits / max(self._weights, 1)

    def put(self, layer: RoundedLayer) -> None:
        """Take over a layer."""
        for name, matrix in layer.matrices.items():
            if isinstance(matrix, QTensor):
                tensor = matrix
            else:
                tensor = quantize(matrix.dequantize(), "F32")
                if isinstance(matrix, RoundedMatrix):
                    self._stored[name] = matrix
            self._replaced[name] = tensor
            self._bits += matrix.bpw * math.prod(tensor.shape)
            self._weights += math.prod(tensor.shape)
        floats = layer.norms | layer.biases
        self._replaced |= {name: quantize(values, "F32") for name, values in floats.items()}
        self.notes += layer.notes

    def as_stored(self) -> RoundedModel:
        """The same model with its integer matrices as groups of codes, in the bytes that they take, instead of floats.

        Experts stay floats.

        Raises
        ------
        LlamaError
            For groups that do not run here: of no whole 32 codes, or of different sizes.
        """
        same = RoundedModel(self._model)
        same.__dict__ |= self.__dict__
        packed = {}
        for name, m in self._stored.items():
            middle = 1 << (m.bits - 1) if m.codes.min() < 0 else 0  # symmetric grids count from there
            packed[name] = transformer.group_tensor(m.codes + middle, m.scales, m.zero_points + middle, m.g_idx, m.bits)
        same._replaced = self._replaced | packed
        return same

    def __getitem__(self, name: str) -> QTensor:
        tensor: QTensor = self._replaced[name] if name in self._replaced else self._model[name]
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._model)

    def __len__(self) -> int:
        return len(self._model)


def half_scales(scales: FloatArray) -> FloatArray:
    """Scales as float16 holds them: the least positive one instead of zero.

    Raises
    ------
    MethodError
        One that is too large.
    """
    with np.errstate(over="ignore"):
        half = np.maximum(scales, _LEAST_SCALE).astype(np.float16).astype(np.float32)
    if not np.isfinite(half).all():
        raise MethodError(f"a scale of {scales.max():g} does not fit float16; the weights are damaged, or need scaling")
    return half
