"""What to do with a few matrices that share their input: a method by its name, ready to be called."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import methods
from qviz._types import FloatArray
from qviz.calibration import ActivationStats
from qviz.errors import MethodError, QvizError, shortened
from qviz.formats import Format, QTensor, quantize
from qviz.formats import get as get_format
from qviz.grids import AffineGrid
from qviz.methods.gptq_format import accepts
from qviz.whole.by_layer.rounded import RoundedMatrix, half_scales

INTEGER_METHODS = ("rtn", "gptq", "awq", "adaround", "autoround", "recommended")
"""Methods that a whole model can be rounded by."""

_UNCLIPPED = ("attn_q", "attn_k")  # llm-awq, auto_clip.py: their outputs are multiplied with each other


@dataclass(frozen=True, eq=False)
class StepOutcome:
    """What a method made of a few matrices.

    Attributes
    ----------
    matrices : list of RoundedMatrix or QTensor
    scale : float32 array (n_in,), optional
        AWQ's, of the input channels.
    notes : tuple of str
    """

    matrices: list[RoundedMatrix | QTensor]
    scale: FloatArray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rounding:
    """A method, ready to be called.

    Attributes
    ----------
    name : str
    calibrated : bool
        It wants to see inputs.
    round : callable ``(names, weights, stats, hindrance) -> StepOutcome``
        The last is why no scale of an input can be folded into what comes before; empty if one can.
    """

    name: str
    calibrated: bool
    round: Callable[[Sequence[str], list[FloatArray], ActivationStats | None, str], StepOutcome]


def rounding_of(method: str, bits: int, group_size: int, sym: bool, options: Mapping[str, Any]) -> Rounding:
    """A method as `qviz.whole.by_layer.round_model` names it."""
    if not isinstance(options, Mapping):
        raise MethodError(f"options is {shortened(options)}; a mapping of names to values is wanted")
    words = method.split(" ", 1) if isinstance(method, str) else []
    if len(words) == 1 and words[0] in INTEGER_METHODS:
        return onto_grid(method, AffineGrid(bits, group_size, sym), options)
    by_gptq = len(words) == 2 and words[0] == "gptq"
    with contextlib.suppress(QvizError):
        fmt = get_format(words[-1] if words else "")
        if fmt.can_encode and len(words) == 1 + by_gptq:
            return onto_formats(method, lambda _: fmt, by_gptq, options)
    raise MethodError(
        f"no method {shortened(method)}; there are {', '.join(INTEGER_METHODS)}, "
        f"the names of GGML formats such as 'Q4_K', and GPTQ onto such a format, 'gptq Q4_K'"
    )


def onto_grid(method: str, grid: AffineGrid, options: Mapping[str, Any]) -> Rounding:
    """Rounding onto an integer grid."""
    if grid.group_size == 0:
        raise MethodError("one scale for a whole matrix is not used for models; choose group_size −1 (a row) or more")
    known = _OPTIONS.get(method, _GPTQ_OPTIONS)
    if unknown := [name for name in options if name not in known]:
        raise MethodError(
            f"{method} has no option {shortened(unknown[0])}; it has {', '.join(known) or 'none'}"
            + ("; the gptq method lets you choose" if method == "recommended" else "")
        )
    round_matrix: Callable[..., Any] = getattr(methods, method)

    def rounded(
        names: Sequence[str], weights: list[FloatArray], stats: ActivationStats | None, hindrance: str
    ) -> StepOutcome:
        # rows do not depend on each other, so the matrices go through the method as one
        together = weights[0] if len(weights) == 1 else np.concatenate(weights)
        given = {**options, "n_grid": 1} if hindrance and method == "awq" else dict(options)
        result = round_matrix(together, stats, grid, **given)
        matrices: list[RoundedMatrix | QTensor] = []
        first = 0
        for name, weight in zip(names, weights, strict=True):
            rows = slice(first, first + len(weight))
            first += len(weight)
            codes, scales, zeros = result.codes[rows], result.scales[rows], result.zero_points[rows]
            if options.get("clip") and name.split(".")[2] in _UNCLIPPED:
                plain = grid.quantize(weight * result.equivalence_scale)
                codes, scales, zeros = plain.codes, plain.scale, plain.zero_point
            matrices.append(_matrix(codes, scales, zeros, result.g_idx, grid))
        notes = result.notes
        if method == "awq" and hindrance:
            notes = (*notes, f"{hindrance}, so no channel scale can be folded in there; rounded without")
        return StepOutcome(matrices, None if hindrance else result.equivalence_scale, notes)

    return Rounding(f"{method} {grid.bits} bit", method != "rtn", rounded)


_OPTIONS: dict[str, tuple[str, ...]] = {
    "rtn": (),
    "recommended": (),
    "awq": ("clip", "n_grid"),
    "adaround": ("steps",),
    "autoround": ("steps",),
}
_GPTQ_OPTIONS = ("act_order", "static_groups", "damp_percent", "mse", "weighted", "column_batch")


def _matrix(
    codes: npt.NDArray[Any], scales: FloatArray, zeros: Any, g_idx: npt.NDArray[np.int32], grid: AffineGrid
) -> RoundedMatrix:
    n_out, n_in = codes.shape
    size = grid.group_size if grid.group_size > 0 else n_in
    in_order = np.array_equal(g_idx, np.arange(n_in) // size)
    bpw = grid.bpw((n_out, n_in)) + (0.0 if in_order else 32 / n_out)
    scales = np.ascontiguousarray(scales)
    codes, zeros = np.ascontiguousarray(codes), np.ascontiguousarray(zeros)
    return RoundedMatrix(codes, half_scales(scales), zeros, g_idx, bpw, scales, grid.bits)


def onto_formats(name: str, format_of: Callable[[str], Format], by_gptq: bool, options: Mapping[str, Any]) -> Rounding:
    """Rounding onto GGML formats, of each tensor the one that `format_of` says."""
    if options:
        raise MethodError(f"{name} has no option {next(iter(options))!r}; a format has its own grid")

    def rounded(
        names: Sequence[str], weights: list[FloatArray], stats: ActivationStats | None, hindrance: str
    ) -> StepOutcome:
        matrices: list[RoundedMatrix | QTensor] = []
        notes = []
        for tensor, weight in zip(names, weights, strict=True):
            fmt = format_of(tensor)
            if not by_gptq or fmt.unpack_blocks is None:
                matrices.append(quantize(weight, fmt))
            elif accepts(fmt):
                assert stats is not None
                matrices.append(methods.gptq_format(weight, stats, fmt))
            else:
                assert stats is not None
                matrices.append(quantize(weight, fmt, stats.mean_sq))
                notes.append(f"the codes of {fmt} cannot be chosen one by one; rounded by importance instead")
        return StepOutcome(matrices, None, tuple(dict.fromkeys(notes)))

    return Rounding(name, by_gptq, rounded)
