"""A rounded model as the folder that loaders of GPTQ or AWQ checkpoints read."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import checkpoints, models
from qviz._files import as_path
from qviz._types import Progress
from qviz.errors import MethodError, PipelineError, shortened
from qviz.grids import AffineGrid
from qviz.transformer.parts import refuse_no_model
from qviz.whole import by_recipe
from qviz.whole.by_layer.rounded import RoundedExperts, RoundedLayer, RoundedMatrix
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
    matrices : dict of str to tuple of int
        What will be rounded, by tensor name: (n_out, n_in), or (n_expert, n_out, n_in).
    nbytes : int
        Size of all tensors of the new folder.
    source_nbytes, n_weights : int
    notes : tuple of str
    """

    method: str
    grid: AffineGrid
    checkpoint: str
    options: Mapping[str, Any]
    matrices: Mapping[str, tuple[int, ...]]
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
        A family that does not run here, or what config.json has no word for.
    """
    refuse_no_model(model)
    if not isinstance(method, str) or method not in INTEGER_METHODS:
        raise MethodError(f"no method {shortened(method)} for packed weights; there are {', '.join(INTEGER_METHODS)}")
    grid = AffineGrid(bits, group_size, sym)
    onto_grid(method, grid, options)
    act_order = method == "recommended" or (bool(options.get("act_order")) and not options.get("static_groups"))
    usual = "awq" if method == "awq" and grid.bits == 4 else "gptq" if grid.sym else "gptq_v2"
    kind = usual if checkpoint is None else checkpoint
    _check_layout(kind, grid.bits, act_order)
    tensors = _tensors(model, checkpoints.config_of(model.metadata, model))
    nbytes = 0
    matrices: dict[str, tuple[int, ...]] = {}
    for tensor in tensors:
        if not tensor.rounded:
            nbytes += math.prod(tensor.shape) * _kept_dtype(model, tensor).itemsize
            continue
        matrices |= {place.target: place.shape for place in tensor.places}
        _check_shape(tensor, grid.group_size, tensors)
        n_out, n_in = tensor.shape
        parts = checkpoints.packed_parts(CHECKPOINTS[kind], grid.bits, n_out, n_in, grid.group_size, sym=grid.sym)
        nbytes += sum(math.prod(shape) * dtype.itemsize for dtype, shape in parts.values())
    for name in matrices:
        by_recipe.refuse_quantized(name, model[name].format, allow_requantize)
    notes = []
    if kind == "gptq" and not sym:
        notes.append(
            "GPTQ version 1 stores zero points less one, and readers differ on zero points of 0; "
            "gptq_v2 has no such trouble, nor has a symmetric grid"
        )
    sources = [model[name] for name in model]
    return PackPlan(
        method,
        grid,
        kind,
        dict(options),
        matrices,
        nbytes,
        sum(tensor.nbytes for tensor in sources),
        sum(tensor.n_weights for tensor in sources),
        tuple(notes),
    )


def _check_layout(kind: str, bits: int, act_order: bool) -> None:
    """Refuse codes that a packed layout has no place for."""
    if not isinstance(kind, str) or kind not in CHECKPOINTS:
        raise PipelineError(f"no packed layout {shortened(kind)}; there are {', '.join(CHECKPOINTS)}")
    if bits not in checkpoints.BITS:
        raise PipelineError(f"packed layouts hold 2, 3, 4 or 8 bits, not {bits}; choose one of these")
    if kind == "awq" and bits != 4:
        raise PipelineError(f"the AWQ layout holds 4 bits only, not {bits}; use --checkpoint gptq_v2 (checkpoint=...)")
    if kind in ("awq", "compressed-tensors") and act_order:
        raise PipelineError(
            f"the {'AWQ' if kind == 'awq' else kind} layout has no place for columns out of order: use checkpoint "
            "gptq_v2 (--checkpoint), or gptq without act_order (--no-act-order)"
        )


@dataclass(frozen=True)
class _Target:
    """A tensor of the new folder, or a module that is packed.

    Attributes
    ----------
    tensor : qviz.checkpoints.FolderTensor
    rounded : bool
    """

    tensor: checkpoints.FolderTensor
    rounded: bool

    @property
    def places(self) -> tuple[checkpoints.Place, ...]:
        return self.tensor.places

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    @property
    def name(self) -> str:
        return self.tensor.name.removesuffix(".weight") if self.rounded else self.tensor.name

    @property
    def layer(self) -> int | None:
        words = self.places[0].target.split(".")
        return int(words[1]) if words[0] == "blk" else None


def _tensors(model: models.Model, config: checkpoints.ModelConfig) -> list[_Target]:
    """All that the folder will hold, in its order: first what stands outside of layers."""
    kinds = {place.name: place.kind for place in config.architecture.tensors}
    steps = {kind for step in steps_of(set(kinds.values())) for kind in step}
    rounded = {
        place.name.format(i)
        for place in config.architecture.tensors
        for i in range(config.n_layers if place.in_layers else 0)
        if place.kind in steps
    }
    places = [place for place in config.places() if place.announced]
    # packers take experts apart, and with their matrices the biases of these
    apart = [place.taken_apart(place.apart[0]) if place.apart else place for place in places]
    apart = [place.with_outputs_as_rows() if place.target in rounded else place for place in apart]
    targets = [_Target(one, one.places[0].target in rounded) for one in checkpoints.folder_tensors(apart)]
    return sorted(targets, key=lambda target: -1 if target.layer is None else target.layer)


def _check_shape(tensor: _Target, group_size: int, tensors: Sequence[_Target]) -> None:
    n_out, n_in = tensor.shape
    size = n_in if group_size < 0 else group_size
    if n_in % size or n_in % 32 or n_out % 32:
        lengths = {one.shape[1] for one in tensors if one.rounded}
        fitting = [str(g) for g in (128, 64, 32) if all(n % g == 0 for n in lengths)]
        raise PipelineError(
            f"{tensor.places[0].target} {tensor.shape}: rows of {n_in} weights are not whole groups of {size}, or not "
            f"a multiple of 32 both ways, which packing needs; a group_size (--group-size) that fits: "
            f"{', '.join([*fitting, '-1'])}"
        )


def _kept_dtype(model: models.Model, tensor: _Target) -> np.dtype[Any]:
    """What tensors that are not rounded become: float32 for F32, and for BF16 with its range; else float16."""
    wide = any(model[place.target].format in ("F32", "BF16") for place in tensor.places)
    return np.dtype(np.float32 if wide else np.float16)


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
        A model in GGUF, of any family that runs here.
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
    config = checkpoints.config_of(model.metadata, model)
    tensors = _tensors(model, config)
    order = method == "recommended" or bool(options.get("act_order"))
    rounding = onto_grid(method, plan.grid, options)
    bits_total, notes = 0.0, list(plan.notes)
    source = Source(model)
    with checkpoints.packing(
        dst,
        {tensor.name: _entry(model, tensor) for tensor in tensors},
        bits=bits,
        format=CHECKPOINTS[plan.checkpoint],
        group_size=group_size,
        sym=sym,
        act_order=order,
        kept=[_module(tensor) for tensor in tensors if _is_router(tensor)],
        config=checkpoints.config_json(config, model.metadata),
    ) as out:
        for name, text in checkpoints.tokenizer_files(model.metadata).items():
            out.write_json(name, text)
        for tensor in tensors:
            if tensor.layer is None:
                out.put_rows(tensor.name, _float_rows(tensor, source, model))
        for layer in layers_of(model, rounding, calibration, n_tokens, progress):
            for tensor in tensors:
                if tensor.layer == layer.index:
                    out.put(tensor.name, _made(tensor, layer, model, plan))
            bits_total += sum(m.bpw * math.prod(plan.matrices[name]) for name, m in layer.matrices.items())
            notes += layer.notes
    weights = sum(math.prod(shape) for shape in plan.matrices.values())
    seconds = time.perf_counter() - started
    return Written(as_path(dst), plan.nbytes, plan.n_weights, bits_total / weights, seconds, tuple(notes))


def _module(tensor: _Target) -> str:
    return tensor.tensor.name.removesuffix(".weight")


def _is_router(tensor: _Target) -> bool:
    """Whether loaders may take it for a matrix that is packed."""
    return tensor.layer is not None and not tensor.rounded and tensor.places[0].role == "matrix"


def _entry(model: models.Model, tensor: _Target) -> Any:
    return tensor.shape if tensor.rounded else (_kept_dtype(model, tensor), tensor.shape)


def _float_rows(tensor: _Target, source: Source, model: models.Model) -> Iterator[npt.NDArray[Any]]:
    """A tensor outside of layers, a few rows at a time: an embedding may be the largest tensor of a model."""
    (place,) = tensor.places
    for part in source.rows(place.target, _WEIGHTS_AT_ONCE):
        rows = part.dequantize()
        yield tensor.tensor.joined([rows if len(place.shape) > 1 else rows[0]]).astype(_kept_dtype(model, tensor))


def _made(tensor: _Target, layer: RoundedLayer, model: models.Model, plan: PackPlan) -> Any:
    """A tensor of a layer as the folder has it: packed, or floats."""
    names = [place.target for place in tensor.places]
    if not tensor.rounded:
        kept = layer.norms | layer.biases
        parts = tensor.tensor.parts([kept[name] for name in names])
        return tensor.tensor.joined(parts).astype(_kept_dtype(model, tensor))
    matrices = []
    for name in names:
        made = layer.matrices[name]
        if isinstance(made, RoundedExperts):
            assert tensor.tensor.expert is not None
            made = made.matrices[tensor.tensor.expert]
        assert isinstance(made, RoundedMatrix)
        matrices.append(made)
    codes, scales, zeros = (
        tensor.tensor.joined([getattr(one, part) for one in matrices]) for part in ("codes", "scales", "zero_points")
    )
    return checkpoints.pack(
        codes,
        scales,
        zeros,
        bits=plan.grid.bits,
        format=CHECKPOINTS[plan.checkpoint],
        g_idx=matrices[0].g_idx,
        sym=plan.grid.sym,
    )
