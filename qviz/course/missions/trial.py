"""Carry a choice out: round the small model as chosen and measure it, or look the damage up."""

from __future__ import annotations

import math
from typing import Any

from qviz import formats, measure, models, transformer
from qviz._arguments import reporter
from qviz._types import FloatArray, Progress
from qviz.course.missions.choices import (
    CALIBRATION,
    FIELD,
    MAX_TOKENS,
    MEASURED_METHODS,
    Choice,
    Mission,
    Outcome,
    formats_of,
    sizes,
    small,
)
from qviz.errors import RecipeError
from qviz.models import Model
from qviz.whole import by_layer, imatrix

_TOGETHER = 5  # recipes that share a run of the unquantized model


def build(model: Model, choice: Choice, progress: Progress | None = None) -> transformer.Transformer:
    """Round a model as chosen, ready to run; every tensor has the bytes that `qviz.quantize_model` would write.

    Parameters
    ----------
    model : Model
        An unquantized Llama.
    choice : Choice
        A recipe, not one of `MEASURED_METHODS`.
    progress : callable ``(what, done, total)``, optional
        Whatever it raises ends the work.

    Returns
    -------
    Transformer
        Its cache in the format of the choice.
    """
    mission = Mission("", "", "tiny", 0, 0, 1)
    plan = formats_of(mission, choice)
    weight = importance(model, progress) if choice.imatrix else {}
    tensors: dict[str, Any] = {}
    report = reporter(progress, RecipeError)
    for done, (name, (_, _, fmt)) in enumerate(plan.items()):
        report(f"rounding {choice.recipe}", done, len(plan))
        tensor = model[name]
        if str(tensor.format) != fmt:
            tensor = formats.quantize(tensor.dequantize(), fmt, imatrix=weight.get(name))
        tensors[name] = tensor
    return transformer.Transformer(by_layer.RoundedModel(model, tensors), cache=choice.cache)


_IMPORTANCE: dict[tuple[Any, ...], dict[str, FloatArray]] = {}


def importance(model: Model, progress: Progress | None = None, n_tokens: int = CALIBRATION) -> dict[str, FloatArray]:
    """Mean square of each input of each matrix, on the calibration text; kept for the next choice.

    Parameters
    ----------
    model : Model
    progress : callable, optional
        Called before each window.
    n_tokens : int
        How many tokens of the calibration text to use, rounded up to whole windows.

    Returns
    -------
    dict of str to float32 array (n_in,)
    """
    seen = model.path.stat()
    key = model.path, seen.st_mtime_ns, seen.st_size, n_tokens
    if key in _IMPORTANCE:
        return _IMPORTANCE[key]
    n_ctx = min(model.metadata[f"{model.metadata['general.architecture']}.context_length"], 256)
    chunks = -(-n_tokens // n_ctx)
    collected = imatrix.collect(
        model, models.calibration_text(), n_ctx=n_ctx, chunks=chunks, activations="float", progress=progress
    )
    _IMPORTANCE[key] = dict(collected)
    return _IMPORTANCE[key]


def play(
    mission: Mission, choice: Choice, *, max_tokens: int = MAX_TOKENS, progress: Progress | None = None
) -> Outcome:
    """Carry a choice out: measure it on the small model, or look it up.

    Parameters
    ----------
    mission : Mission
    choice : Choice
    max_tokens : int
        Tokens to score.
    progress : callable ``(what, done, total)``, optional
        Whatever it raises ends the work.

    Returns
    -------
    Outcome

    Raises
    ------
    RecipeError
        As in `sizes`; or a rounding method with a quantized cache, which nothing here measures.
    """
    size = sizes(mission, choice)
    if not mission.measured:
        damage = measure.PUBLISHED_PPL.get(choice.recipe, 0.0 if choice.recipe == "F16" else math.nan)
        return Outcome(choice, size.disk, size.memory, size.bpw, damage, math.nan, size.speed)
    model = small()
    if choice.recipe in MEASURED_METHODS:
        if choice.cache != "F16" or choice.embedding or choice.values or choice.imatrix:
            raise RecipeError(
                f"{choice}: {choice.recipe} is measured alone, with a cache in F16; leave the rest as it is"
            )
        (row,) = measure.method_table(
            [MEASURED_METHODS[choice.recipe]], model, max_tokens=max_tokens, n_tokens=CALIBRATION, progress=progress
        )
        quality, speed = row.quality, math.nan
    else:
        report = reporter(progress, RecipeError)
        run = build(model, choice, report)
        quality = transformer.perplexity(
            run,
            models.heldout_text(),
            transformer.Transformer(model),
            max_tokens=max_tokens,
            progress=report,
        )
        report(f"timing {choice.recipe}", 0, 1)
        speed = measure.generation_speed(run, 24)
    assert quality.kld is not None
    assert quality.kld_se is not None
    return Outcome(choice, size.disk, size.memory, size.bpw, quality.kld, quality.kld_se, speed, quality)


def field(mission: Mission, *, max_tokens: int = MAX_TOKENS, progress: Progress | None = None) -> list[Outcome]:
    """Every plain recipe with a cache in F16: what a choice is compared with.

    Measured once and kept on disk (`qviz.measure.recipe_table`), or looked up.

    Parameters
    ----------
    mission : Mission
    max_tokens, progress
        As for `play`.

    Returns
    -------
    list of Outcome
    """
    if not mission.measured:
        return [play(mission, Choice(name)) for name in FIELD]
    rows: list[measure.RecipeRow] = []
    for start in range(0, len(FIELD), _TOGETHER):  # a few at a time: what is done stays done if the rest is stopped
        some = FIELD[start : start + _TOGETHER]
        rows += measure.recipe_table(small(), recipes=some, max_tokens=max_tokens, progress=progress)
    outcomes = []
    for row in rows:
        size = sizes(mission, Choice(row.recipe))
        q = row.quality
        assert q.kld is not None
        assert q.kld_se is not None
        outcomes.append(
            Outcome(size.choice, size.disk, size.memory, size.bpw, q.kld, q.kld_se, row.tokens_per_second, q)
        )
    return outcomes
