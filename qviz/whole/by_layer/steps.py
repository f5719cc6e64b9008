"""One layer after the other, in four steps each, as the package's text says."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import models, transformer
from qviz._types import FloatArray, Progress, no_progress
from qviz.calibration import ActivationStats
from qviz.errors import CalibrationError, LlamaError, MethodError, NonFiniteError
from qviz.formats import QTensor, quantize
from qviz.transformer.inputs import run_to
from qviz.transformer.linear import Linear
from qviz.whole.by_layer.rounded import RoundedLayer, RoundedMatrix, RoundedModel
from qviz.whole.by_layer.rules import Rule, rule_of
from qviz.whole.by_layer.source import Source

STEPS = (("attn_q", "attn_k", "attn_v"), ("attn_output",), ("ffn_gate", "ffn_up"), ("ffn_down",))
"""Matrices that share their input, in the order in which a layer uses them."""
_BEFORE = {"attn_q": "attn_norm", "attn_output": "attn_v", "ffn_gate": "ffn_norm", "ffn_down": "ffn_up"}
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
    rule = rule_of(method, bits, group_size, sym, options)
    for layer in layers_of(model, rule, calibration, n_tokens, progress):
        rounded.put(layer)
    return rounded


def layers_of(
    model: Any, rule: Rule, calibration: str | Sequence[int] | None, n_tokens: int, progress: Progress | None
) -> Iterator[RoundedLayer]:
    """Each layer, rounded; one is in memory at a time.

    Parameters
    ----------
    model, calibration, n_tokens, progress
        As for `round_model`.
    rule : Rule

    Yields
    ------
    RoundedLayer
    """
    run, source = transformer.Transformer(model, activations="float"), Source(model)
    source.check(header=True)
    stream = None
    if rule.calibrated:
        windows = calibration_windows(run, calibration, n_tokens)
        stream = run.embed(windows)
    report, total = progress or no_progress, run.config.n_layers * len(STEPS)
    for i in range(run.config.n_layers):
        before, run.layers[i] = run.layers[i], source.layer(run.layers[i])
        layer = _untouched(i, before)
        for k, kinds in enumerate(STEPS):
            report(f"{rule.name}, layer {i}: {', '.join(kinds)}", i * len(STEPS) + k, total)
            layer = _step(run, layer, kinds, rule, stream)
        if stream is not None and i + 1 < run.config.n_layers:
            for part in _parts(stream):
                stream[part] = run.layer(i, stream[part])
        run.layers[i] = before  # lets go of the rounded weights, and of those that were read
        source.check(header=i + 1 == run.config.n_layers)
        yield layer
    report(rule.name, total, total)


def _untouched(i: int, parts: dict[str, Any]) -> RoundedLayer:
    """What a layer has beside its matrices."""
    norms = {f"blk.{i}.{kind}.weight": part for kind, part in parts.items() if not isinstance(part, Linear)}
    biases = {
        f"blk.{i}.{kind}.bias": part.bias
        for kind, part in parts.items()
        if isinstance(part, Linear) and part.bias is not None
    }
    return RoundedLayer(i, {}, norms, biases, ())


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
    if isinstance(n_tokens, bool) or not isinstance(n_tokens, int | np.integer) or n_tokens < 1:
        raise LlamaError(f"n_tokens is {n_tokens!r}; calibration needs a positive number of tokens, some thousands")
    words = models.calibration_text() if text is None else text
    length = min(run.config.n_ctx, _WINDOW)
    if isinstance(words, str):
        run.tokenizer  # noqa: B018 - without one, say so before anything about the text
    windows = transformer.evaluate.windows_of(run, words, length, None)
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


def _inputs(run: transformer.Transformer, i: int, kind: str, stream: FloatArray) -> ActivationStats:
    """Statistics of what a matrix of layer `i` receives."""
    linear = run.layers[i][kind]
    stats = ActivationStats(linear.n_in)

    try:
        for part in _parts(stream):
            run_to(run, linear.name, stats.update, functools.partial(run.layer, i, stream[part]))
    except CalibrationError as error:
        raise CalibrationError(f"inputs of {linear.name}: {error}") from None
    return stats


def _step(
    run: transformer.Transformer, layer: RoundedLayer, kinds: Sequence[str], rule: Rule, stream: FloatArray | None
) -> RoundedLayer:
    """Round matrices that share their input, and put them, and what else changes with them, into the running model."""
    i, here = layer.index, run.layers[layer.index]
    names = [f"blk.{i}.{kind}.weight" for kind in kinds]
    stats = None if stream is None else _inputs(run, i, kinds[0], stream)
    weights = [here[kind].weight.dequantize() for kind in kinds]
    shared = run.config.n_head != run.config.n_head_kv
    foldable = not (kinds[0] == "attn_output" and shared)
    try:
        rounded = rule.round(names, weights, stats, foldable)
    except (MethodError, CalibrationError, NonFiniteError) as error:
        raise type(error)(f"{', '.join(names)}: {error}") from None
    matrices, norms, biases = dict(layer.matrices), dict(layer.norms), dict(layer.biases)
    matrices |= dict(zip(names, rounded.matrices, strict=True))
    changed = list(kinds)
    if rounded.scale is not None and foldable:
        before = _BEFORE[kinds[0]]
        name = f"blk.{i}.{before}.weight"
        if name in norms:
            norms[name] = here[before] = norms[name] / rounded.scale
        else:
            earlier = matrices[name]
            assert isinstance(earlier, RoundedMatrix)
            matrices[name] = earlier.with_rows_divided(rounded.scale)
            bias = f"blk.{i}.{before}.bias"
            if bias in biases:
                biases[bias] = biases[bias] / rounded.scale
            changed.append(before)
    for kind in changed:
        name = f"blk.{i}.{kind}.weight"
        matrix = matrices[name]
        tensor = matrix if isinstance(matrix, QTensor) else quantize(matrix.dequantize(), "F32")
        here[kind] = Linear(tensor, name, "float", bias=biases.get(f"blk.{i}.{kind}.bias"))
    notes = tuple(f"{', '.join(names)}: {note}" for note in rounded.notes)
    return RoundedLayer(i, matrices, norms, biases, layer.notes + notes)
