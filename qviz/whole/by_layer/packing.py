"""A rounded model as the folder that loaders of GPTQ or AWQ checkpoints read."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import checkpoints, models, transformer
from qviz._files import as_path
from qviz._types import Progress
from qviz.architectures import Architecture
from qviz.errors import MethodError, PipelineError
from qviz.formats import QTensor
from qviz.grids import AffineGrid
from qviz.whole import by_recipe
from qviz.whole.by_layer.rounded import RoundedMatrix
from qviz.whole.by_layer.rounding import INTEGER_METHODS, onto_grid
from qviz.whole.by_layer.source import Source
from qviz.whole.by_layer.steps import layers_of, steps_of

CHECKPOINTS = {"gptq": "gptq", "gptq_v2": "gptq_v2", "awq": "gemm", "compressed-tensors": "pack-quantized"}
"""Packed layouts by the name that their users give them; see `qviz.checkpoints.pack`."""
_WEIGHTS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Written:
    """What `pack_model` or `gptq_model` did.

    Attributes
    ----------
    path : pathlib.Path
        The new folder or file.
    nbytes : int
        Size of all tensors in it.
    n_weights : int
        Weights of the source.
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
    checkpoint : {"gptq", "gptq_v2", "awq", "compressed-tensors"}
    options : dict
        Options of the method.
    matrices : dict of str to (n_out, n_in)
        What will be rounded, by tensor name.
    nbytes : int
        Size of all tensors of the new folder.
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
    checkpoint : {"gptq", "gptq_v2", "awq", "compressed-tensors"}, optional
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
    if method not in INTEGER_METHODS:
        raise MethodError(f"no method {method!r} for packed weights; there are {', '.join(INTEGER_METHODS)}")
    grid = AffineGrid(bits, group_size, sym)
    onto_grid(method, grid, options)
    act_order = method == "recommended" or (bool(options.get("act_order")) and not options.get("static_groups"))
    kind = checkpoint or ("awq" if method == "awq" and bits == 4 else "gptq" if sym else "gptq_v2")
    _check_layout(kind, bits, act_order)
    config = checkpoints.ModelConfig.from_metadata(model.metadata, model)
    _check_settings(model, config)
    places = {place.target: place for place in config.places() if place.announced}
    matrices = {name: place for name, place in places.items() if name.startswith("blk.") and len(place.shape) == 2}
    for name, place in matrices.items():
        n_out, n_in = place.shape
        size = n_in if group_size < 0 else group_size
        if n_in % size or n_in % 32 or n_out % 32:
            raise PipelineError(
                f"{name} {place.shape}: rows of {n_in} weights are not whole groups of {size}, or not a multiple of 32 "
                f"both ways, which packing needs; a group_size (--group-size) that fits: {_groups(matrices.values())}"
            )
        by_recipe.refuse_quantized(name, model[name].format, allow_requantize)
    layout = CHECKPOINTS[kind]
    nbytes = 0
    for name, place in places.items():
        if name in matrices:
            parts = checkpoints.packed_parts(layout, bits, place.shape[0], place.shape[1], group_size, sym=sym)
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


def _check_layout(kind: str, bits: int, act_order: bool) -> None:
    """Refuse codes that a packed layout has no place for."""
    if kind not in CHECKPOINTS:
        raise PipelineError(f"no packed layout {kind!r}; there are {', '.join(CHECKPOINTS)}")
    if bits not in checkpoints.BITS:
        raise PipelineError(f"packed layouts hold 2, 3, 4 or 8 bits, not {bits}; choose one of these")
    if kind == "awq" and bits != 4:
        raise PipelineError(f"the AWQ layout holds 4 bits only, not {bits}; use --checkpoint gptq_v2 (checkpoint=...)")
    if kind in ("awq", "compressed-tensors") and act_order:
        raise PipelineError(
            f"the {'AWQ' if kind == 'awq' else kind} layout has no place for columns out of order: use checkpoint "
            "gptq_v2 (--checkpoint), or gptq without act_order (--no-act-order)"
        )


def _check_settings(model: Any, config: checkpoints.ModelConfig) -> None:
    """Refuse what a running model listens to, and config.json is not told."""
    run = transformer.TransformerConfig.from_metadata(model.metadata, config.n_vocab)
    told = {"rope_factor": 1.0, "rope_magnitude": 1.0}
    for name, value in told.items():
        if getattr(run, name) != value:
            raise PipelineError(
                f"the model has a {name} of {getattr(run, name):g}, which is not written into config.json here; "
                f"use qviz quantize with a recipe instead"
            )


def _groups(places: Any) -> str:
    lengths = {place.shape[1] for place in places}
    fitting = [str(g) for g in (128, 64, 32) if all(n % g == 0 for n in lengths)]
    return ", ".join([*fitting, "-1"])


def _kept_dtype(tensor: QTensor) -> np.dtype[Any]:
    """What tensors that are not rounded become: float32 for F32, and for BF16 with its range; else float16."""
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
    config = checkpoints.ModelConfig.from_metadata(model.metadata, model)
    places = {place.target: place for place in config.places() if place.announced}
    order = method == "recommended" or bool(options.get("act_order"))
    rounding = onto_grid(method, plan.grid, options)
    bits_total, notes = 0.0, list(plan.notes)
    out_of_layers = [name for name in places if not name.startswith("blk.")]
    names = out_of_layers + [name for i in range(config.n_layers) for name in names_of(config.architecture, i, places)]
    source = Source(model)
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
            rows = source.rows(name, _WEIGHTS_AT_ONCE)
            out.put_rows(places[name].source, _float_rows(rows, len(model[name].shape), _kept_dtype(model[name])))
        for layer in layers_of(model, rounding, calibration, n_tokens, progress):
            for name, values in (layer.norms | layer.biases).items():
                out.put(places[name].source, values[_rows(places[name])].astype(_kept_dtype(model[name])))
            for name, matrix in layer.matrices.items():
                assert isinstance(matrix, RoundedMatrix)
                out.put(_module(places[name]), _packed(matrix, places[name], plan))
                bits_total += matrix.bpw * math.prod(places[name].shape)
            notes += layer.notes
    weights = sum(math.prod(shape) for shape in plan.matrices.values())
    seconds = time.perf_counter() - started
    return Written(as_path(dst), plan.nbytes, plan.n_weights, bits_total / weights, seconds, tuple(notes))


def names_of(architecture: Architecture, i: int, there: Collection[str]) -> list[str]:
    """The tensors of a layer in the order in which they are written: what is not rounded, biases, matrices."""
    places = {place.name.format(i): place for place in architecture.tensors if place.in_layers}
    steps = [kind for kinds in steps_of({place.kind for place in places.values()}) for kind in kinds]
    matrices = {place.kind: name for name, place in places.items() if place.kind in steps and name in there}
    rest = [name for name in places if name in there and name not in matrices.values()]
    biases = [name for name in rest if f"{name.removesuffix('bias')}weight" in matrices.values()]
    return [*(name for name in rest if name not in biases), *biases, *(matrices[k] for k in steps if k in matrices)]


def _module(place: checkpoints.Place) -> str:
    return place.source.removesuffix(".weight")


def _entry(model: models.Model, plan: PackPlan, name: str) -> Any:
    shape = plan.matrices.get(name)
    return (_kept_dtype(model[name]), model[name].shape) if shape is None else shape


def _rows(place: checkpoints.Place) -> Any:
    """Rows of a tensor in Hugging Face's order."""
    return np.argsort(checkpoints.interleaved(place.shape[0], place.heads)) if place.heads else slice(None)


def _float_rows(parts: Iterable[QTensor], ndim: int, dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    """A few rows at a time: an embedding may be the largest tensor of a model."""
    for part in parts:
        rows = part.dequantize().astype(dtype)
        yield rows if ndim > 1 else rows[0]


def _packed(matrix: RoundedMatrix, place: checkpoints.Place, plan: PackPlan) -> checkpoints.PackedLinear:
    """A matrix in Hugging Face's order of rows, packed."""
    rows = _rows(place)
    return checkpoints.pack(
        matrix.codes[rows],
        matrix.scales[rows],
        matrix.zero_points[rows],
        bits=plan.grid.bits,
        format=CHECKPOINTS[plan.checkpoint],
        g_idx=matrix.g_idx,
        sym=plan.grid.sym,
    )
