"""One layer after the other, in a few steps each, as the package's text says."""

from __future__ import annotations

import functools
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import models, transformer
from qviz._arguments import reporter
from qviz._arrays import whole_number
from qviz._machine.buffers import give_back
from qviz._machine.team import on_each_thread
from qviz._types import FloatArray, Progress
from qviz.calibration import ActivationStats
from qviz.errors import CalibrationError, LlamaError, MethodError, NonFiniteError, shortened
from qviz.formats import QTensor, quantize
from qviz.transformer import Transformer
from qviz.transformer.experts import ExpertLinears
from qviz.transformer.inputs import run_to
from qviz.transformer.linear import Linear
from qviz.whole.by_layer.rounded import RoundedExperts, RoundedLayer, RoundedMatrix, RoundedModel
from qviz.whole.by_layer.rounding import Rounding, StepOutcome, rounding_of
from qviz.whole.by_layer.source import Source

_TOGETHER = (
    *(("attn_q", "attn_k", "attn_v"), ("attn_qkv",), ("attn_output",)),
    *(("ffn_gate", "ffn_up"), ("ffn_gate_up",), ("ffn_down",), ("ffn_gate_exps", "ffn_up_exps"), ("ffn_down_exps",)),
)
"""Matrices that share their input, in the order in which a layer uses them; a layer has some of them."""
# What AWQ's scales of an input go into: a norm, or the rows of a matrix.
_BEFORE = {
    **dict.fromkeys(("attn_q", "attn_qkv"), "attn_norm"),
    **dict.fromkeys(("ffn_gate", "ffn_gate_up"), "ffn_norm"),
    "attn_output": "attn_v",
    "ffn_down": "ffn_up",
}
_STATISTICS = 1 << 30  # bytes for those of experts that are kept at once
_TOKENS_AT_ONCE = 2048
_WINDOW = 512


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
        An unquantized model of any family that runs here, such as `qviz.load` returns.
    method : str
        ``"rtn"``, ``"gptq"``, ``"awq"``, ``"adaround"``, ``"autoround"``, ``"recommended"``; a GGML format such as
        ``"Q4_K"``, onto which weights are rounded as `qviz.quantize` does; or ``"gptq Q4_K"``, by GPTQ onto that
        format's levels.
    bits, group_size, sym
        As for `qviz.AffineGrid`.
    calibration : str or sequence of int, optional
        Text, or its tokens; the course's calibration text unless given.
    n_tokens : int
        Calibration tokens, rounded up to whole windows.
    progress : callable ``(what, done, total)``, optional
        Called before each step; whatever it raises ends the work.
    **options
        For the method: ``act_order=True`` for GPTQ, ``clip=True`` for AWQ, ``steps=200`` for learned rounding.

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
    rounding = rounding_of(method, bits, group_size, sym, options)
    try:
        for layer in layers_of(model, rounding, calibration, n_tokens, progress):
            rounded.put(layer)
    finally:
        on_each_thread(give_back)
    return rounded


def layers_of(
    model: Any, rounding: Rounding, calibration: str | Sequence[int] | None, n_tokens: int, progress: Progress | None
) -> Iterator[RoundedLayer]:
    """Each layer, rounded; one is in memory at a time.

    Parameters
    ----------
    model, calibration, n_tokens, progress
        As for `round_model`.
    rounding : Rounding

    Yields
    ------
    RoundedLayer
    """
    run, source = transformer.Transformer(model, activations="float"), Source(model)
    source.check(header=True)
    stream = None
    if rounding.calibrated:
        windows = calibration_windows(run, calibration, n_tokens)
        stream = run.embed(windows)
    steps = steps_of(run.layers[0])
    report, total = reporter(progress, LlamaError), run.config.n_layers * len(steps)
    for i in range(run.config.n_layers):
        before, run.layers[i] = run.layers[i], source.layer(run.layers[i])
        layer = _untouched(run, i, before)
        for k, kinds in enumerate(steps):
            report(f"{rounding.name}, layer {i}: {', '.join(kinds)}", i * len(steps) + k, total)
            step = _experts_step if kinds[0].endswith("_exps") else _step
            layer = step(run, layer, kinds, rounding, stream)
        if stream is not None and i + 1 < run.config.n_layers:
            for part in _parts(stream):
                stream[part] = run.layer(i, stream[part])
        run.layers[i] = before  # lets go of the rounded weights, and of those that were read
        source.check(header=i + 1 == run.config.n_layers)
        yield layer
    report(rounding.name, total, total)


def steps_of(parts: Container[str]) -> list[tuple[str, ...]]:
    """Matrices of a layer that share their input, in the order in which it uses them.

    Examples
    --------
    >>> steps_of(("attn_norm", "attn_qkv", "attn_output", "ffn_up", "ffn_down"))
    [('attn_qkv',), ('attn_output',), ('ffn_up',), ('ffn_down',)]
    """
    steps = (tuple(kind for kind in kinds if kind in parts) for kinds in _TOGETHER)
    return [kinds for kinds in steps if kinds]


def _untouched(run: Transformer, i: int, parts: Mapping[str, Any]) -> RoundedLayer:
    """What a layer has beside the matrices that are rounded."""
    named = {place.kind: place.name.format(i) for place in run.architecture.tensors if place.in_layers}
    rounded = {kind for kinds in steps_of(parts) for kind in kinds}
    rest = {named[kind]: part for kind, part in parts.items() if isinstance(part, np.ndarray)}
    biases = {}
    for kind, part in parts.items():
        if isinstance(part, Linear) and kind not in rounded:  # a router
            rest[named[kind]] = part.weight.dequantize()
        bias = getattr(part, "bias", None)
        if bias is not None:
            biases[f"{named[kind].removesuffix('weight')}bias"] = bias
    return RoundedLayer(i, {}, rest, biases, ())


def calibration_windows(
    run: transformer.Transformer, text: str | Sequence[int] | None, n_tokens: int
) -> npt.NDArray[np.int64]:
    """At least `n_tokens` tokens of a text in windows of the model's context, at most 512 tokens each.

    Parameters
    ----------
    run : qviz.transformer.Transformer
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
    if not isinstance(run, Transformer):
        raise LlamaError(f"run is {shortened(run)}; a qviz.Transformer is wanted")
    n_tokens = whole_number(n_tokens, "n_tokens", LlamaError, least=1)
    words = models.calibration_text() if text is None else text
    length = min(run.config.n_ctx, _WINDOW)
    if isinstance(words, str):
        run.tokenizer  # noqa: B018 - without one, say so before anything about the text
    windows = transformer.evaluate.windows_of(run, words, length, None)
    count = -(-n_tokens // length)
    if len(windows) < count:
        raise LlamaError(
            f"the calibration text has {windows.size} tokens in whole windows of {length}, {n_tokens} were asked for; "
            f"give a longer text, or ask for fewer tokens (n_tokens, --tokens)"
        )
    return windows[:count]


def _parts(stream: FloatArray) -> Iterator[slice]:
    step = max(1, _TOKENS_AT_ONCE // stream.shape[1])
    return (slice(start, start + step) for start in range(0, len(stream), step))


def _inputs(run: Transformer, i: int, linear: Linear, stream: FloatArray) -> ActivationStats:
    """Statistics of what a matrix of layer `i` receives."""
    stats = ActivationStats(linear.n_in)
    try:
        for part in _parts(stream):
            run_to(run, linear.name, stats.update, functools.partial(run.layer, i, stream[part]))
    except CalibrationError as error:
        raise CalibrationError(f"inputs of {linear.name}: {error}") from None
    return stats


def _inputs_of_experts(
    run: Transformer, i: int, linears: Sequence[Linear], stream: FloatArray
) -> list[ActivationStats | None]:
    """Statistics of what each of a few experts' matrices receives; empty ones of those that no token reaches."""
    stats = {linear.name: ActivationStats(linear.n_in) for linear in linears}

    def look(name: str, x: FloatArray) -> None:
        if name in stats:
            stats[name].update(x)

    run.on_linear_input = look
    try:
        for part in _parts(stream):
            run.layer(i, stream[part])
    except CalibrationError as error:
        raise CalibrationError(f"inputs of the experts of layer {i}: {error}") from None
    finally:
        run.on_linear_input = None
    return list(stats.values())


def _rounded(
    rounding: Rounding, names: Sequence[str], weights: list[FloatArray], stats: ActivationStats | None, hindrance: str
) -> StepOutcome:
    try:
        return rounding.round(names, weights, stats, hindrance)
    except (MethodError, CalibrationError, NonFiniteError) as error:
        raise type(error)(f"{', '.join(names)}: {error}") from None


def _hindrance(run: Transformer, parts: Mapping[str, Any], kind: str) -> str:
    """Why the scales of an input cannot be folded into what comes before it; empty if they can."""
    before = _BEFORE.get(kind, "ffn_norm" if kind == "ffn_up" else "")
    if kind == "attn_output" and run.config.n_head != run.config.n_head_kv:
        return "heads share their values"
    if before not in parts:
        return "nothing that could take it stands before"
    curved = run.architecture.activation == "clamped" or "ffn_gate" not in parts
    return "what stands before is not multiplied, but bent" if kind == "ffn_down" and curved else ""


def _step(
    run: Transformer, layer: RoundedLayer, kinds: Sequence[str], rounding: Rounding, stream: FloatArray | None
) -> RoundedLayer:
    """Round matrices that share their input, and put them, and what else changes with them, into the running model."""
    i, here = layer.index, run.layers[layer.index]
    names = [here[kind].name for kind in kinds]
    stats = None if stream is None else _inputs(run, i, here[kinds[0]], stream)
    weights = [here[kind].weight.dequantize() for kind in kinds]
    hindrance = _hindrance(run, here, kinds[0])
    rounded = _rounded(rounding, names, weights, stats, hindrance)
    del weights, stats  # the largest arrays here; the next ones need their room
    matrices, norms, biases = dict(layer.matrices), dict(layer.norms), dict(layer.biases)
    matrices |= dict(zip(names, rounded.matrices, strict=True))
    changed = list(kinds)
    if rounded.scale is not None and not hindrance:
        before = _BEFORE.get(kinds[0], "ffn_norm")
        for kind in (before, f"{before}.bias"):
            name = next((p.name.format(i) for p in run.architecture.tensors if p.in_layers and p.kind == kind), "")
            if name in norms:
                norms[name] = here[kind] = norms[name] / rounded.scale
            elif name in biases:
                biases[name] = biases[name] / rounded.scale
            elif name in matrices:
                earlier = matrices[name]
                assert isinstance(earlier, RoundedMatrix)
                matrices[name] = earlier.with_rows_divided(rounded.scale)
                changed.append(before)
    for kind in changed:
        name = here[kind].name
        matrix = matrices[name]
        assert not isinstance(matrix, RoundedExperts)
        tensor = matrix if isinstance(matrix, QTensor) else quantize(matrix.dequantize(), "F32")
        here[kind] = Linear(tensor, name, "float", bias=biases.get(f"{name.removesuffix('weight')}bias"))
    notes = tuple(f"{', '.join(names)}: {note}" for note in rounded.notes)
    return RoundedLayer(i, matrices, norms, biases, layer.notes + notes)


def _experts_step(
    run: Transformer, layer: RoundedLayer, kinds: Sequence[str], rounding: Rounding, stream: FloatArray | None
) -> RoundedLayer:
    """Round the matrices of all experts that share their input, each by the tokens that reach it.

    Scales are not folded: the norm before the experts feeds the router, too. An expert that no token reaches is rounded
    as if all its inputs were alike.
    """
    i, here = layer.index, run.layers[layer.index]
    first, n = here[kinds[0]], len(here[kinds[0]])
    made: dict[str, list[RoundedMatrix | QTensor]] = {here[kind].name: [] for kind in kinds}
    unreached, notes = [], list[str]()
    at_once = max(1, _STATISTICS // (8 * first[0].n_in ** 2))
    for start in range(0, n, at_once):
        experts = range(start, min(start + at_once, n))
        stats_of: list[ActivationStats | None] = [None] * len(experts)
        if stream is not None:
            stats_of = _inputs_of_experts(run, i, [first[e] for e in experts], stream)
        for expert, stats in zip(experts, stats_of, strict=True):
            if stats is not None and not stats.n_tokens:
                unreached.append(expert)
                stats.update(np.eye(stats.n_in, dtype=np.float32))
            linears = [here[kind][expert] for kind in kinds]
            weights = [linear.weight.dequantize() for linear in linears]
            result = _rounded(rounding, list(made), weights, stats, "the norm before experts feeds their router, too")
            for into, matrix in zip(made.values(), result.matrices, strict=True):
                into.append(matrix)
            notes += [f"{linears[0].name}: {note}" for note in result.notes]
    if unreached:
        names = ", ".join(map(str, unreached))
        notes.append(
            f"{', '.join(made)}: no calibration token reached expert {names}; rounded without knowing any input, so "
            f"give more calibration text"
        )
    matrices = dict(layer.matrices)
    for kind, (name, parts) in zip(kinds, made.items(), strict=True):
        experts_made = RoundedExperts.of(parts)
        matrices[name] = experts_made
        tensor = experts_made if isinstance(experts_made, QTensor) else quantize(experts_made.dequantize(), "F32")
        here[kind] = ExpertLinears(tensor, name, "float", here[kind].bias)
    return RoundedLayer(i, matrices, layer.norms, layer.biases, (*layer.notes, *dict.fromkeys(notes)))
