"""``qviz quantize IN OUT --method``: rounded layer by layer, into a packed folder or, by GPTQ, into a GGUF file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qviz import models, recipes
from qviz.cli.by_recipe import warn_of_requantizing
from qviz.cli.terminal import echo, echo_json, read_text
from qviz.errors import printable
from qviz.recipes import report
from qviz.whole import by_layer


def packed(
    source: str,
    target: str,
    method: str,
    given: dict[str, Any],
    *,
    allow_requantize: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """A folder with packed weights."""
    reading = reading_of(given)
    if method == "gptq":
        # the layouts that have no place for columns out of order
        given.setdefault("act_order", given.get("checkpoint") not in ("awq", "compressed-tensors"))
    model = models.load(source)
    plan = by_layer.plan_packing(model, method, **given, allow_requantize=allow_requantize)
    if dry_run:
        _say_plan(plan, as_json)
        return
    result = with_bar(
        lambda progress: by_layer.pack_model(
            model, target, method, **given, **reading, allow_requantize=allow_requantize, progress=progress
        )
    )
    _say_result(model, result, _described(plan), as_json)


def gguf_by_gptq(
    source: str,
    target: str,
    recipe: str,
    given: dict[str, Any],
    *,
    allow_requantize: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """A GGUF file whose codes GPTQ chose."""
    reading, rules = reading_of(given), given.get("rules", "modern")
    model = models.load(source)
    what = {"method": "gptq", "recipe": recipes.get_recipe(recipe).name, "rules": rules}
    if dry_run:
        choices = recipes.plan(model, model.metadata, recipe, rules)
        if not allow_requantize:
            warn_of_requantizing(source, choices)
        if as_json:
            echo_json({**what, "dry_run": True, **report.as_dict(choices)})
            return
        for line in report.lines(choices):
            echo(printable(line))
        return
    result = with_bar(
        lambda progress: by_layer.gptq_model(
            model, target, recipe, rules=rules, **reading, allow_requantize=allow_requantize, progress=progress
        )
    )
    _say_result(model, result, what, as_json)


def reading_of(given: dict[str, Any], tokens: int | None = 8192) -> dict[str, Any]:
    """What is read to calibrate, taken out of `given`: so many `tokens` unless it says how many."""
    text = given.pop("calibration", None)
    return {"calibration": None if text is None else read_text(text), "n_tokens": given.pop("tokens", tokens)}


def _described(plan: by_layer.PackPlan) -> dict[str, Any]:
    return {
        "method": plan.method,
        "bits": plan.grid.bits,
        "group_size": plan.grid.group_size,
        "sym": plan.grid.sym,
        "checkpoint": plan.checkpoint,
        "options": dict(plan.options),
        "matrices": len(plan.matrices),
        "source_bytes": plan.source_nbytes,
        "bytes": plan.nbytes,
        "weights": plan.n_weights,
        "notes": list(plan.notes),
    }


def _say_plan(plan: by_layer.PackPlan, as_json: bool) -> None:
    if as_json:
        tensors = [{"name": name, "shape": shape} for name, shape in plan.matrices.items()]
        echo_json({**_described(plan), "dry_run": True, "tensors": tensors})
        return
    for name, shape in plan.matrices.items():
        echo(printable(f"{name}  {' × '.join(map(str, shape))}  {plan.method}, {plan.grid.bits} bit"))
    echo(f"{len(plan.matrices)} matrices, {plan.checkpoint} layout")
    echo(f"{plan.source_nbytes:,} bytes become {plan.nbytes:,}")


def _say_result(model: models.Model, result: by_layer.Written, what: dict[str, Any], as_json: bool) -> None:
    if as_json:
        numbers = {"bytes": result.nbytes, "bpw": result.bpw, "seconds": result.seconds, "notes": list(result.notes)}
        echo_json({**what, "path": str(result.path), "weights": result.n_weights, **numbers})
        return
    for note in _shared(result.notes):
        echo(printable(note), err=True)
    echo(
        f"{sum(info.nbytes for info in model.tensor_info.values()):,} bytes become {result.nbytes:,}; "
        f"{result.bpw:.3f} bits per weight in the layers' matrices"
    )


def _shared(notes: Sequence[str]) -> Iterator[str]:
    """Notes that only differ in the tensor they begin with, once each."""
    seen: dict[str, list[str]] = {}
    for note in notes:
        name, _, text = note.partition(": ") if note.startswith("blk.") else ("", "", note)
        seen.setdefault(text, []).append(name)
    for text, names in seen.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{names[0]}{more}: {text}" if names[0] else text


def with_bar(work: Callable[[Any], Any]) -> Any:
    """Run a job that reports ``(what, done, total)``, a bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)

        def update(what: str, done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, description=printable(what))

        return work(update)
