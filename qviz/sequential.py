"""Rounding methods on a whole model, layer by layer, each calibrated on what the rounded layers before it send.

Within a layer, matrices that share their input are rounded together, in the order in which the model uses them::

    attn_norm → q, k, v → attention → attn_output → ffn_norm → gate, up → SwiGLU → ffn_down → next layer

Before each of these four steps the calibration tokens go through what is rounded already ("true sequential" in
IST-DASLab/gptq, ``llama.py``), so a step also sees, and GPTQ partly repairs, the errors before it. Only the residual
stream of the calibration tokens is kept, and the weights of one layer.

What is measured is what is stored: scales are rounded to float16 before the next step sees them. AWQ's channel scales s
go where llm-awq puts them (``auto_scale.py``): into the norm before q, k, v and before gate, up; into the rows of
ffn_up before ffn_down; into the rows of attn_v before attn_output, unless heads share their values (grouped-query
attention), where one row of attn_v feeds several channels: there attn_output gets no scale. To divide a row by s, its
groups' scales are divided: codes stay as they are, for rounding to nearest does not mind the unit. So a matrix that is
rounded already can take up the scale of the one after it, exactly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import checkpoints, gguf, llama, methods, models, pipeline, recipes
from qviz._files import as_path
from qviz.calibration import ActivationStats
from qviz.errors import CalibrationError, LlamaError, MethodError, NonFiniteError, PipelineError, QvizError
from qviz.formats import Format, QTensor, quantize
from qviz.formats import get as get_format
from qviz.grids import AffineGrid
from qviz.llama.linear import Linear
from qviz.methods.gptq_format import accepts
from qviz.recipes import Choice, Recipe

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], object]

METHODS = ("rtn", "gptq", "awq", "recommended")
"""Methods that a whole model can be rounded by."""

CHECKPOINTS = {"gptq": "gptq", "gptq_v2": "gptq_v2", "awq": "gemm"}
"""Packed layouts by the name that their users give them; see `qviz.checkpoints.pack`."""

_STEPS = (("attn_q", "attn_k", "attn_v"), ("attn_output",), ("ffn_gate", "ffn_up"), ("ffn_down",))
_BEFORE = {"attn_q": "attn_norm", "attn_output": "attn_v", "ffn_gate": "ffn_norm", "ffn_down": "ffn_up"}
_UNCLIPPED = ("attn_q", "attn_k")  # llm-awq, auto_clip.py: their outputs are multiplied with each other
_TOKENS_AT_ONCE = 2048
_LEAST_SCALE = np.float32(2**-24)  # of float16
_WINDOW = 512


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
        Of a code.
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
        steps = self.codes.astype(np.int32) - self.zero_points[:, self.g_idx]
        weight: FloatArray = steps.astype(np.float32) * self.scales[:, self.g_idx]
        return weight

    def with_rows_divided(self, by: FloatArray) -> RoundedMatrix:
        """Row r divided by ``by[r]``; codes and zero points stay."""
        exact = self.exact_scales / by[:, None]
        return dataclasses.replace(self, scales=_half(exact), exact_scales=exact)


@dataclass(frozen=True, eq=False)
class RoundedLayer:
    """One layer of a model, rounded.

    Attributes
    ----------
    index : int
    matrices : dict of str to RoundedMatrix or QTensor
        By tensor name; a QTensor where a GGML format was asked for.
    norms : dict of str to float32 array
        The layer's norms by tensor name, AWQ's scales folded in.
    notes : tuple of str
        What the methods recovered from, or what to beware of.
    """

    index: int
    matrices: dict[str, RoundedMatrix | QTensor]
    norms: dict[str, FloatArray]
    notes: tuple[str, ...]


class RoundedModel(Mapping[str, QTensor]):
    """A model with rounded matrices in it: what `qviz.llama.Llama` takes. Made by `round_model`.

    Attributes
    ----------
    metadata : mapping
    notes : tuple of str
        What the methods recovered from, or what to beware of.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._replaced, self._stored = model, dict[str, QTensor](), dict[str, RoundedMatrix]()
        self.metadata = model.metadata
        self._bits, self._weights = 0.0, 0
        self.notes: tuple[str, ...] = ()

    @property
    def bpw(self) -> float:
        """Bits per weight of the rounded matrices, everything counted."""
        return self._bits / max(self._weights, 1)

    def _put(self, layer: RoundedLayer) -> None:
        for name, matrix in layer.matrices.items():
            if isinstance(matrix, QTensor):
                tensor = matrix
            else:
                tensor, self._stored[name] = quantize(matrix.dequantize(), "F32"), matrix
            self._replaced[name] = tensor
            self._bits += matrix.bpw * math.prod(tensor.shape)
            self._weights += math.prod(tensor.shape)
        self._replaced |= {name: quantize(norm, "F32") for name, norm in layer.norms.items()}
        self.notes += layer.notes

    def as_stored(self) -> RoundedModel:
        """The same model with its integer matrices as groups of codes, in the bytes that they take, instead of floats.

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
            packed[name] = llama.group_tensor(m.codes + middle, m.scales, m.zero_points + middle, m.g_idx, m.bits)
        same._replaced = self._replaced | packed
        return same

    def __getitem__(self, name: str) -> QTensor:
        tensor: QTensor = self._replaced[name] if name in self._replaced else self._model[name]
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._model)

    def __len__(self) -> int:
        return len(self._model)


def round_model(
    model: Any,
    method: str = "recommended",
    bits: int = 4,
    group_size: int = 128,
    *,
    sym: bool = False,
    calibration: str | Sequence[int] | None = None,
    n_tokens: int = 8192,
    progress: Progress | None = None,
    **options: Any,
) -> RoundedModel:
    """Round every matrix of every layer, in the order in which the model uses them. Embedding and output stay.

    Parameters
    ----------
    model : Model
        An unquantized Llama, such as `qviz.load` returns.
    method : str
        ``"rtn"``, ``"gptq"``, ``"awq"``, ``"recommended"``; a GGML format such as ``"Q4_K"``, onto which weights are
        rounded as `qviz.quantize` does; or ``"gptq Q4_K"``, by GPTQ onto that format's levels.
    bits, group_size, sym
        Of the grid; see `qviz.AffineGrid`.
    calibration : str or sequence of int, optional
        Text, or its tokens; the course's calibration text unless given.
    n_tokens : int
        Calibration tokens, rounded up to whole windows.
    progress : callable ``(what, done, total)``, optional
        Called before each step; whatever it raises ends the work.
    **options
        For the method: ``act_order=True`` for GPTQ, ``clip=True`` for AWQ.

    Returns
    -------
    RoundedModel

    Raises
    ------
    MethodError
        An unknown method, or a grid or options that do not fit.
    CalibrationError
        Inputs that are not finite.
    LlamaError
        A model that cannot be run, or too short a text.

    Examples
    --------
    >>> from qviz import load
    >>> rounded = round_model(load("tiny"), "rtn", bits=4, group_size=64)
    >>> rounded.bpw
    4.3125
    """
    rounded = RoundedModel(model)
    rule = _rule(method, bits, group_size, sym, options)
    for layer in _layers(model, rule, calibration, n_tokens, progress):
        rounded._put(layer)
    return rounded


# -- one layer after the other


def _layers(
    model: Any, rule: _Rule, calibration: str | Sequence[int] | None, n_tokens: int, progress: Progress | None
) -> Iterator[RoundedLayer]:
    run = llama.Llama(model, activations="float")
    stream = None
    if rule.calibrated:
        windows = calibration_windows(run, calibration, n_tokens)
        stream = run.embed(windows)
    total = run.config.n_layers * len(_STEPS)
    for i in range(run.config.n_layers):
        before = dict(run.layers[i])
        layer = RoundedLayer(i, {}, {f"blk.{i}.{kind}.weight": before[kind] for kind in ("attn_norm", "ffn_norm")}, ())
        for k, kinds in enumerate(_STEPS):
            if progress is not None:
                progress(f"{rule.name}, layer {i}: {', '.join(kinds)}", i * len(_STEPS) + k, total)
            layer = _step(run, layer, kinds, rule, stream)
        if stream is not None and i + 1 < run.config.n_layers:
            for part in _parts(stream):
                stream[part] = run.layer(i, stream[part])
        run.layers[i] = before  # lets go of the rounded weights
        yield layer
    if progress is not None:
        progress(rule.name, total, total)


def calibration_windows(run: llama.Llama, text: str | Sequence[int] | None, n_tokens: int) -> npt.NDArray[np.int64]:
    """At least `n_tokens` tokens of a text in windows of the model's context, at most 512 tokens each.

    Parameters
    ----------
    run : qviz.llama.Llama
    text : str or sequence of int, optional
        The course's calibration text unless given.
    n_tokens : int

    Returns
    -------
    int64 array (n_windows, n_tokens a window)

    Raises
    ------
    LlamaError
        Too short a text, or a model without a tokenizer.
    """
    if isinstance(n_tokens, bool) or not isinstance(n_tokens, int | np.integer) or n_tokens < 1:
        raise LlamaError(f"n_tokens is {n_tokens!r}; calibration needs a positive number of tokens, some thousands")
    words = models.calibration_text() if text is None else text
    length = min(run.config.n_ctx, _WINDOW)
    if isinstance(words, str):
        run.tokenizer  # noqa: B018 - without one, say so before anything about the text
    windows = llama.evaluate.windows_of(run, words, length, None)
    count = -(-int(n_tokens) // length)
    if len(windows) < count:
        raise LlamaError(
            f"the calibration text has {windows.size} tokens in whole windows of {length}, {n_tokens} were asked for; "
            f"give a longer text, or ask for fewer tokens (n_tokens, --tokens)"
        )
    return windows[:count]


def _parts(stream: FloatArray) -> Iterator[slice]:
    step = max(1, _TOKENS_AT_ONCE // stream.shape[1])
    return (slice(start, start + step) for start in range(0, len(stream), step))


class _SeenEnoughError(Exception):
    """The input that was asked for has been seen; the rest of the layer is not needed."""


def _inputs(run: llama.Llama, i: int, kind: str, stream: FloatArray) -> ActivationStats:
    """Statistics of what a matrix of layer `i` receives."""
    linear = run.layers[i][kind]
    stats = ActivationStats(linear.n_in)

    def look(name: str, x: FloatArray) -> None:
        if name == linear.name:
            stats.update(x)
            raise _SeenEnoughError

    run.on_linear_input = look
    try:
        for part in _parts(stream):
            with contextlib.suppress(_SeenEnoughError):
                run.layer(i, stream[part])
    except CalibrationError as error:
        raise CalibrationError(f"inputs of {linear.name}: {error}") from None
    finally:
        run.on_linear_input = None
    return stats


def _step(
    run: llama.Llama, layer: RoundedLayer, kinds: Sequence[str], rule: _Rule, stream: FloatArray | None
) -> RoundedLayer:
    """Round matrices that share their input, and put them, and what else changes with them, into the running model."""
    i, here = layer.index, run.layers[layer.index]
    names = [f"blk.{i}.{kind}.weight" for kind in kinds]
    stats = None if stream is None else _inputs(run, i, kinds[0], stream)
    weights = [here[kind].weight.dequantize() for kind in kinds]
    shared = run.config.n_head != run.config.n_head_kv
    foldable = not (kinds[0] == "attn_output" and shared)
    try:
        found = rule.round(names, weights, stats, foldable)
    except (MethodError, CalibrationError, NonFiniteError) as error:
        raise type(error)(f"{', '.join(names)}: {error}") from None
    matrices, norms = dict(layer.matrices), dict(layer.norms)
    matrices |= dict(zip(names, found.matrices, strict=True))
    changed = list(kinds)
    if found.scale is not None and foldable:
        before = _BEFORE[kinds[0]]
        name = f"blk.{i}.{before}.weight"
        if name in norms:
            norms[name] = here[before] = norms[name] / found.scale
        else:
            earlier = matrices[name]
            assert isinstance(earlier, RoundedMatrix)
            matrices[name] = earlier.with_rows_divided(found.scale)
            changed.append(before)
    for kind in changed:
        name = f"blk.{i}.{kind}.weight"
        matrix = matrices[name]
        tensor = matrix if isinstance(matrix, QTensor) else quantize(matrix.dequantize(), "F32")
        here[kind] = Linear(tensor, name, "float")
    notes = tuple(f"{', '.join(names)}: {note}" for note in found.notes)
    return RoundedLayer(i, matrices, norms, layer.notes + notes)


# -- what to do with a few matrices that share their input


@dataclass(frozen=True, eq=False)
class _Found:
    matrices: list[RoundedMatrix | QTensor]
    scale: FloatArray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Rule:
    name: str
    calibrated: bool
    round: Callable[[Sequence[str], list[FloatArray], ActivationStats | None, bool], _Found]


def _rule(method: str, bits: int, group_size: int, sym: bool, options: Mapping[str, Any]) -> _Rule:
    words = method.split(" ", 1) if isinstance(method, str) else []
    if len(words) == 1 and words[0] in METHODS:
        return _integer_rule(method, AffineGrid(bits, group_size, sym), options)
    by_gptq = len(words) == 2 and words[0] == "gptq"
    with contextlib.suppress(QvizError):
        fmt = get_format(words[-1] if words else "")
        if fmt.can_encode and len(words) == 1 + by_gptq:
            return _format_rule(method, lambda _: fmt, by_gptq, options)
    raise MethodError(
        f"no method {method!r}; there are {', '.join(METHODS)}, the names of GGML formats such as 'Q4_K', "
        f"and GPTQ onto such a format, 'gptq Q4_K'"
    )


def _integer_rule(method: str, grid: AffineGrid, options: Mapping[str, Any]) -> _Rule:
    if grid.group_size == 0:
        raise MethodError("one scale for a whole matrix is not used for models; choose group_size −1 (a row) or more")
    known = {"rtn": (), "recommended": (), "awq": ("clip", "n_grid")}.get(method, _GPTQ_OPTIONS)
    if unknown := [name for name in options if name not in known]:
        raise MethodError(
            f"{method} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}"
            + ("; the gptq method lets you choose" if method == "recommended" else "")
        )
    rule: Callable[..., Any] = getattr(methods, method)

    def rounded(
        names: Sequence[str], weights: list[FloatArray], stats: ActivationStats | None, foldable: bool
    ) -> _Found:
        # rows do not depend on each other, so the matrices go through the method as one
        together = weights[0] if len(weights) == 1 else np.concatenate(weights)
        given = dict(options) if foldable or method != "awq" else {**options, "n_grid": 1}
        result = rule(together, stats, grid, **given)
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
        if method == "awq" and not foldable:
            notes = (*notes, "heads share their values, so no channel scale can be folded into attn_v; rounded without")
        return _Found(matrices, result.equivalence_scale if foldable else None, notes)

    return _Rule(f"{method} {grid.bits} bit", method != "rtn", rounded)


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
    return RoundedMatrix(codes, _half(scales), zeros, g_idx, bpw, scales, grid.bits)


def _half(scales: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        half = np.maximum(scales, _LEAST_SCALE).astype(np.float16).astype(np.float32)
    if not np.isfinite(half).all():
        raise MethodError(f"a scale of {scales.max():g} does not fit float16; the weights are damaged, or need scaling")
    return half


def _format_rule(name: str, format_of: Callable[[str], Format], by_gptq: bool, options: Mapping[str, Any]) -> _Rule:
    if options:
        raise MethodError(f"{name} has no option {next(iter(options))!r}; a format has its own grid")

    def rounded(
        names: Sequence[str], weights: list[FloatArray], stats: ActivationStats | None, foldable: bool
    ) -> _Found:
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
                notes.append(f"{tensor}: the codes of {fmt} cannot be chosen one by one; rounded by importance instead")
        return _Found(matrices, None, tuple(notes))

    return _Rule(name, by_gptq, rounded)


# -- onto the disk


@dataclass(frozen=True)
class Written:
    """What `pack_model` or `gptq_model` did.

    Attributes
    ----------
    path : pathlib.Path
        The new folder or file.
    nbytes : int
        Of all tensors in it.
    n_weights : int
        Of the source.
    bpw : float
        Bits per weight of the matrices that were rounded, everything counted.
    seconds : float
    notes : tuple of str
        What the methods recovered from, or what to beware of.
    """

    path: Path
    nbytes: int
    n_weights: int
    bpw: float
    seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PackPlan:
    """What `pack_model` will do; nothing of it takes time.

    Attributes
    ----------
    method : str
    grid : qviz.AffineGrid
    checkpoint : {"gptq", "gptq_v2", "awq"}
    options : dict
        Of the method.
    matrices : dict of str to (n_out, n_in)
        What will be rounded, by tensor name.
    nbytes : int
        Of all tensors of the new folder.
    source_nbytes, n_weights : int
    notes : tuple of str
    """

    method: str
    grid: AffineGrid
    checkpoint: str
    options: Mapping[str, Any]
    matrices: Mapping[str, tuple[int, int]]
    nbytes: int
    source_nbytes: int
    n_weights: int
    notes: tuple[str, ...]


def plan_packing(
    model: Any,
    method: str = "recommended",
    bits: int = 4,
    group_size: int = 128,
    *,
    sym: bool = False,
    checkpoint: str | None = None,
    allow_requantize: bool = False,
    **options: Any,
) -> PackPlan:
    """Check that a model can be rounded and packed as asked, and say what will come of it.

    Parameters
    ----------
    model : Model
    method, bits, group_size, sym, **options
        As for `round_model`; a GGML format is no packed layout.
    checkpoint : {"gptq", "gptq_v2", "awq"}, optional
        The layout. Unless given: AWQ's for AWQ with 4 bits; for the rest GPTQ's, of version 1 where the grid is
        symmetric, and 2 where it is not, since readers of version 1 differ on zero points of 0.
    allow_requantize : bool
        Accept matrices that are quantized already. Their errors add up.

    Returns
    -------
    PackPlan

    Raises
    ------
    MethodError
        An unknown method, or options that it does not have.
    PipelineError
        Bits or groups that the layout cannot hold, or a model that is quantized already.
    LlamaError, CheckpointError
        A model that is no plain Llama.
    """
    if method not in METHODS:
        raise MethodError(f"no method {method!r} for packed weights; there are {', '.join(METHODS)}")
    grid = AffineGrid(bits, group_size, sym)
    _integer_rule(method, grid, options)
    act_order = method == "recommended" or (bool(options.get("act_order")) and not options.get("static_groups"))
    kind = checkpoint or ("awq" if method == "awq" and bits == 4 else "gptq" if sym else "gptq_v2")
    if kind not in CHECKPOINTS:
        raise PipelineError(f"no packed layout {checkpoint!r}; there are {', '.join(CHECKPOINTS)}")
    if bits not in checkpoints.BITS:
        raise PipelineError(f"packed layouts hold 2, 3, 4 or 8 bits, not {bits}; choose one of these")
    if kind == "awq" and bits != 4:
        raise PipelineError(f"the AWQ layout holds 4 bits only, not {bits}; use --checkpoint gptq_v2 (checkpoint=...)")
    if kind == "awq" and act_order:
        raise PipelineError(
            "the AWQ layout has no place for columns out of order: use checkpoint gptq_v2 (--checkpoint), "
            "or gptq without act_order (--no-act-order)"
        )
    config = checkpoints.LlamaConfig.from_metadata(model.metadata, model)
    places = {place.target: place for place in config.places()}
    matrices = {name: place for name, place in places.items() if name.startswith("blk.") and len(place.shape) == 2}
    for name, place in matrices.items():
        n_out, n_in = place.shape
        size = n_in if group_size < 0 else group_size
        if n_in % size or n_in % 32 or n_out % 32:
            raise PipelineError(
                f"{name} {place.shape}: rows of {n_in} weights are not whole groups of {size}, or not a multiple of 32 "
                f"both ways, which packing needs; a group_size (--group-size) that fits: {_groups(matrices.values())}"
            )
        _refuse_quantized(name, model[name].format, allow_requantize)
    layout = CHECKPOINTS[kind]
    nbytes = 0
    for name, place in places.items():
        if name in matrices:
            parts = checkpoints.packed_parts(layout, bits, place.shape[0], place.shape[1], group_size)
            nbytes += sum(math.prod(shape) * dtype.itemsize for dtype, shape in parts.values())
        else:
            nbytes += math.prod(place.shape) * _kept_dtype(model[name]).itemsize
    notes = []
    if kind == "gptq" and not sym:
        notes.append(
            "GPTQ version 1 stores zero points less one, and readers differ on zero points of 0; "
            "gptq_v2 has no such trouble, nor has a symmetric grid"
        )
    tensors = [model[name] for name in model]
    return PackPlan(
        method,
        grid,
        kind,
        dict(options),
        {name: (place.shape[0], place.shape[1]) for name, place in matrices.items()},
        nbytes,
        sum(tensor.nbytes for tensor in tensors),
        sum(tensor.n_weights for tensor in tensors),
        tuple(notes),
    )


def _groups(places: Any) -> str:
    lengths = {place.shape[1] for place in places}
    fitting = [str(g) for g in (128, 64, 32) if all(n % g == 0 for n in lengths)]
    return ", ".join([*fitting, "-1"])


def _refuse_quantized(name: str, fmt: Format, allow_requantize: bool) -> None:
    if fmt.block_size > 1 and not allow_requantize:
        raise PipelineError(
            f"{name!r} is quantized already ({fmt}), and quantizing it again adds a second error; "
            f"start from the F16 or F32 model, or pass allow_requantize=True (--allow-requantize)"
        )


def _kept_dtype(tensor: QTensor) -> np.dtype[Any]:
    """Of what stays: float32 for F32, and for BF16 with its range; else float16, as matrices usually are."""
    return np.dtype(np.float32 if tensor.format in ("F32", "BF16") else np.float16)


def pack_model(
    src: str | os.PathLike[str] | models.Model,
    dst: str | os.PathLike[str],
    method: str = "recommended",
    bits: int = 4,
    group_size: int = 128,
    *,
    sym: bool = False,
    checkpoint: str | None = None,
    calibration: str | Sequence[int] | None = None,
    n_tokens: int = 8192,
    allow_requantize: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Written:
    """Round a whole model, and write the folder that loaders of GPTQ or AWQ checkpoints read.

    The folder has Hugging Face's names and row order, ``config.json``, ``quantize_config.json`` and the tokenizer. It
    appears whole or not at all. `qviz.checkpoints.read_packed` reads its matrices, `qviz.checkpoints.convert` makes a
    GGUF file of it.

    Parameters
    ----------
    src : Model or path-like
        A Llama in GGUF.
    dst : path-like
        The new folder; may exist if it is empty.
    method, bits, group_size, sym, checkpoint, allow_requantize, **options
        As for `plan_packing`.
    calibration, n_tokens, progress
        As for `round_model`.

    Returns
    -------
    Written

    Raises
    ------
    QvizError
        As from `plan_packing` and `round_model`, before anything is written; or a folder that cannot be written.
    """
    started = time.perf_counter()
    model = src if isinstance(src, models.Model) else models.load(src)
    plan = plan_packing(
        model, method, bits, group_size, sym=sym, checkpoint=checkpoint, allow_requantize=allow_requantize, **options
    )
    config = checkpoints.LlamaConfig.from_metadata(model.metadata, model)
    places = {place.target: place for place in config.places()}
    order = method == "recommended" or bool(options.get("act_order"))
    rule = _integer_rule(method, plan.grid, options)
    bits_total, notes = 0.0, list(plan.notes)
    out_of_layers = [name for name in places if not name.startswith("blk.")]
    names = out_of_layers + [name for i in range(config.n_layer) for name in _names_of(i)]
    entries = {_module(places[n]) if n in plan.matrices else places[n].source: _entry(model, plan, n) for n in names}
    with checkpoints.packing(
        dst,
        entries,
        bits=bits,
        format=CHECKPOINTS[plan.checkpoint],
        group_size=group_size,
        sym=sym,
        act_order=order,
        config=config.as_json(model.metadata),
    ) as out:
        for name, text in checkpoints.tokenizer_files(model.metadata).items():
            out.write_json(name, text)
        for name in out_of_layers:
            out.put(places[name].source, model[name].dequantize().astype(_kept_dtype(model[name])))
        for layer in _layers(model, rule, calibration, n_tokens, progress):
            for name, norm in layer.norms.items():
                out.put(places[name].source, norm.astype(_kept_dtype(model[name])))
            for name, matrix in layer.matrices.items():
                assert isinstance(matrix, RoundedMatrix)
                out.put(_module(places[name]), _packed(matrix, places[name], plan))
                bits_total += matrix.bpw * math.prod(places[name].shape)
            notes += layer.notes
    weights = sum(math.prod(shape) for shape in plan.matrices.values())
    seconds = time.perf_counter() - started
    return Written(as_path(dst), plan.nbytes, plan.n_weights, bits_total / weights, seconds, tuple(notes))


def _names_of(i: int) -> list[str]:
    """The tensors of a layer in the order in which they are written."""
    return [f"blk.{i}.{kind}.weight" for kind in ("attn_norm", "ffn_norm", *itertools.chain(*_STEPS))]


def _module(place: checkpoints.Place) -> str:
    return place.source.removesuffix(".weight")


def _entry(model: models.Model, plan: PackPlan, name: str) -> Any:
    shape = plan.matrices.get(name)
    return (_kept_dtype(model[name]), model[name].shape) if shape is None else shape


def _packed(matrix: RoundedMatrix, place: checkpoints.Place, plan: PackPlan) -> checkpoints.PackedLinear:
    """A matrix in Hugging Face's order of rows, packed."""
    rows: Any = np.argsort(checkpoints.interleaved(place.shape[0], place.heads)) if place.heads else slice(None)
    return checkpoints.pack(
        matrix.codes[rows],
        matrix.scales[rows],
        matrix.zero_points[rows],
        bits=plan.grid.bits,
        format=CHECKPOINTS[plan.checkpoint],
        g_idx=matrix.g_idx,
    )


def gptq_model(
    src: str | os.PathLike[str] | models.Model,
    dst: str | os.PathLike[str],
    recipe: str | Recipe,
    *,
    calibration: str | Sequence[int] | None = None,
    n_tokens: int = 8192,
    rules: str = "modern",
    allow_requantize: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Quantize a whole model into GGUF by a recipe, its layers by GPTQ onto the levels of their GGML formats.

    A file like any other of that recipe, of the same size, for llama.cpp: only codes and scales are chosen better.
    Embedding and output are rounded as `qviz.quantize_model` does; so are formats whose codes cannot be chosen one by
    one, with the importance of each column.

    Parameters
    ----------
    src : Model or path-like
        A Llama in GGUF.
    dst : path-like
        The new file; an existing one is replaced, unless it is `src`.
    recipe : str
        ``"Q4_K_M"`` ...; see `qviz.recipes.RECIPES`.
    calibration, n_tokens, progress
        As for `round_model`.
    rules, allow_requantize
        As for `qviz.quantize_model`.

    Returns
    -------
    Written

    Raises
    ------
    QvizError
        As from `qviz.quantize_model` and `round_model`; nothing is left behind.
    """
    started = time.perf_counter()
    model = src if isinstance(src, models.Model) else models.load(src)
    target = as_path(dst)
    with contextlib.suppress(OSError, ValueError):
        if target.samefile(model.path):
            raise PipelineError(f"{target} is the model to be quantized; choose another name for the new file")
    found = recipes.get_recipe(recipe)
    choices = {c.name: c for c in recipes.plan(model, model.metadata, found, rules)}
    for choice in choices.values():
        _check(choice, allow_requantize)
    rule = _format_rule(f"gptq {found.name}", lambda name: choices[name].format, True, {})
    config = checkpoints.LlamaConfig.from_metadata(model.metadata, model)
    outside = [name for name in choices if not name.startswith("blk.")]
    names = outside + [name for i in range(config.n_layer) for name in _names_of(i)]
    metadata = pipeline.output_metadata(model.metadata, found) | {
        "quantize.gptq.tokens": gguf.U32(n_tokens),
        "quantize.gptq.software": "qviz",
    }
    bits, weights = 0.0, 0
    notes: list[str] = []
    with gguf.stream(target, metadata, {name: choices[name] for name in names}) as out:
        for name in outside:
            for blocks in pipeline.converted(model[name], choices[name]):
                out.append(blocks)
        for layer in _layers(model, rule, calibration, n_tokens, progress):
            for norm in layer.norms.values():
                out.append(quantize(norm, "F32").blocks)
            for matrix in layer.matrices.values():
                assert isinstance(matrix, QTensor)
                out.append(matrix.blocks)
                bits, weights = bits + 8 * matrix.nbytes, weights + matrix.n_weights
            notes += layer.notes
    nbytes = sum(choice.nbytes for choice in choices.values())
    total = sum(choice.n_weights for choice in choices.values())
    return Written(target, nbytes, total, bits / max(weights, 1), time.perf_counter() - started, tuple(notes))


def _check(choice: Choice, allow_requantize: bool) -> None:
    if choice.format is choice.source and not choice.quantized:
        return
    if not choice.format.can_encode:
        raise PipelineError(f"{choice.name!r} should become {choice.format}, which can be read here but not written")
    _refuse_quantized(choice.name, choice.source, allow_requantize)
