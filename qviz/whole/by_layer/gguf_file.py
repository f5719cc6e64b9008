"""A model rounded by GPTQ as a GGUF file of a recipe."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence

from qviz import gguf, models, recipes
from qviz._files import as_path, refuse_source
from qviz._types import Progress
from qviz.architectures import Architecture
from qviz.errors import PipelineError
from qviz.formats import QTensor, quantize
from qviz.recipes import Recipe, TensorChoice
from qviz.transformer.parts import take_apart
from qviz.whole import by_recipe
from qviz.whole.by_layer.packing import Written
from qviz.whole.by_layer.rounding import onto_formats
from qviz.whole.by_layer.source import Source
from qviz.whole.by_layer.steps import layers_of, steps_of


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
        A model in GGUF, of any family that runs here.
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
    refuse_source(target, model.file.paths, PipelineError)
    chosen = recipes.get_recipe(recipe)
    choices = {c.name: c for c in recipes.plan(model, model.metadata, chosen, rules)}
    for choice in choices.values():
        _check(choice, allow_requantize)
    rounding = onto_formats(f"gptq {chosen.name}", lambda name: choices[name].format, True, {})
    parts = take_apart(model)
    outside = [name for name in choices if not name.startswith("blk.")]
    layers = range(parts.config.n_layers)
    names = outside + [name for i in layers for name in _names_of(parts.architecture, i, choices)]
    source = Source(model)
    metadata = by_recipe.output_metadata(model.metadata, chosen) | {
        "quantize.gptq.tokens": gguf.U32(n_tokens),
        "quantize.gptq.software": "qviz",
    }
    bits, weights = 0.0, 0
    notes: list[str] = []
    with gguf.stream(target, metadata, {name: choices[name] for name in names}) as out:
        for name in outside:
            for blocks in by_recipe.converted(source.tensor(name), choices[name]):
                out.append(blocks)
        for layer in layers_of(model, rounding, calibration, n_tokens, progress):
            kept = layer.norms | layer.biases
            for name in _names_of(parts.architecture, layer.index, choices):
                if name in kept:
                    out.append(quantize(kept[name], choices[name].format).blocks)
                    continue
                matrix = layer.matrices[name]
                assert isinstance(matrix, QTensor)
                out.append(matrix.blocks)
                bits, weights = bits + 8 * matrix.nbytes, weights + matrix.n_weights
            notes += layer.notes
    nbytes = sum(choice.nbytes for choice in choices.values())
    total = sum(choice.n_weights for choice in choices.values())
    return Written(target, nbytes, total, bits / max(weights, 1), time.perf_counter() - started, tuple(notes))


def _names_of(architecture: Architecture, i: int, there: Collection[str]) -> list[str]:
    """The tensors of a layer in the order in which they are written: what is not rounded, biases, matrices."""
    places = {place.name.format(i): place for place in architecture.tensors if place.in_layers}
    steps = [kind for kinds in steps_of({place.kind for place in places.values()}) for kind in kinds]
    matrices = {place.kind: name for name, place in places.items() if place.kind in steps and name in there}
    rest = [name for name in places if name in there and name not in matrices.values()]
    biases = [name for name in rest if f"{name.removesuffix('bias')}weight" in matrices.values()]
    return [*(name for name in rest if name not in biases), *biases, *(matrices[k] for k in steps if k in matrices)]


def _check(choice: TensorChoice, allow_requantize: bool) -> None:
    if choice.format is choice.source and not choice.quantized:
        return
    if choice.needs_imatrix and not choice.name.startswith("blk."):
        raise PipelineError(
            f"{choice.name!r} should become {choice.format}, which needs an importance matrix; only matrices of layers "
            f"are calibrated here, so write the recipe without --method, with --imatrix"
        )
    if not (choice.format.can_encode or choice.format.needs_imatrix):
        raise PipelineError(f"{choice.name!r} should become {choice.format}, which can be read here but not written")
    by_recipe.refuse_quantized(choice.name, choice.source, allow_requantize)
