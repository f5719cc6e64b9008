"""What every rounding method returns, and the checks they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arguments import check_record
from qviz._types import FloatArray
from qviz.errors import MethodError


@dataclass(frozen=True, eq=False)
class MethodResult:
    """Weights that a method rounded onto a grid.

    Attributes
    ----------
    weight : float32 array (n_out, n_in)
        Fake-quantized: what the codes stand for, for the inputs as they are.
    codes : integer array (n_out, n_in)
        From ``grid.qmin`` to ``grid.qmax``, in the order of the input columns.
    scales : float32 array (n_out, n_groups)
    zero_points : int32 array (n_out, n_groups)
        float32 from `hqq`.
    g_idx : int32 array (n_in,)
        The group of each input column.
    bpw : float
        Bits per weight: codes, scales, zero points, and `g_idx` or kept columns where a file has to hold them.
    equivalence_scale : float32 array (n_in,), optional
        AWQ: codes stand for ``weight · equivalence_scale``; the operation before divides its outputs by it.
    rotation : float32 array (n_in, n_in), optional
        Rotation: codes stand for ``weight @ rotation``; the layer's inputs are multiplied by it, too.
    damp_percent : float, optional
        GPTQ: the damping that the factorization took, at least the one asked for.
    dead : boolean array (n_in,), optional
        GPTQ: input columns that no token used; their weights became zero.
    notes : tuple of str
        What was recovered from, or what to beware of; empty if all is well.
    trace : mapping of str to array
        Intermediate quantities, named in the method's docstring; empty unless asked for.
    """

    weight: FloatArray
    codes: npt.NDArray[Any]
    scales: FloatArray
    zero_points: npt.NDArray[np.int32] | FloatArray
    g_idx: npt.NDArray[np.int32]
    bpw: float
    equivalence_scale: FloatArray | None = None
    rotation: FloatArray | None = None
    damp_percent: float | None = None
    dead: npt.NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    trace: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<MethodResult {self.weight.shape}: {self.bpw:g} bpw>"


check_record(MethodResult, MethodError)
