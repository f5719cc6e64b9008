"""``qviz quantize IN OUT RECIPE``: the file that llama.cpp, or whisper.cpp, would write."""

from __future__ import annotations

import logging
from typing import Any

from qviz import recipes
from qviz.calibration import imatrix
from qviz.cli.names import file_of
from qviz.cli.terminal import echo, echo_json
from qviz.errors import RecipeError, printable
from qviz.recipes import report
from qviz.whole.by_recipe import Quantized, open_model, plan, quantize_model


def by_recipe(
    source: str,
    target: str,
    recipe: str,
    given: dict[str, Any],
    told: dict[str, Any],
    *,
    allow_requantize: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Quantize, or say what would be done."""
    path, rules, switches = file_of(source), given.get("rules", "modern"), switches_of(told)
    if dry_run:
        with_imatrix = "imatrix" in given and bool(switches.chosen(imatrix.read(given["imatrix"])))
        with open_model(path) as file:
            chosen, choices = plan(file, recipe, rules, imatrix=with_imatrix, switches=switches)
        answer: dict[str, Any] = {"dry_run": True}
        if not allow_requantize:
            warn_of_requantizing(source, choices)
    else:
        result = _run(path, target, recipe, allow_requantize=allow_requantize, switches=switches, **given)
        chosen, choices = result.recipe, result.choices
        answer = {"path": str(result.path), "seconds": result.seconds, "without_imatrix": result.without_imatrix}
    if as_json:
        echo_json({"recipe": chosen.name, "rules": rules, **answer, **report.as_dict(choices)})
        return
    table = list(report.lines(choices))
    for line in table if dry_run else table[-1:]:
        echo(printable(line))
    if answer.get("without_imatrix"):
        echo(f"{len(answer['without_imatrix'])} tensors are not in the importance matrix", err=True)


def switches_of(told: dict[str, Any]) -> recipes.Switches:
    """The record of the switches on a command line."""
    options = dict(told)
    types = [recipes.TensorType.parse(text) for text in options.pop("tensor_type", ())]
    if "tensor_type_file" in options:
        types += recipes.read_tensor_types(options.pop("tensor_type_file"))
    layers = options.pop("prune_layers", "")
    if not all(part.strip().isdigit() for part in layers.split(",") if layers):
        raise RecipeError(f"--prune-layers {layers!r} is no list of layers, such as 3,5,7")
    return recipes.Switches(
        **options | {"override_kv": dict(map(recipes.parse_override, options.pop("override_kv", ())))},
        tensor_type=tuple(types),
        prune_layers=tuple(int(part) for part in layers.split(",") if layers),
    )


def warn_of_requantizing(source: str, choices: list[recipes.TensorChoice]) -> None:
    """Say on standard error if this is a model that is quantized already."""
    if any(c.source.block_size > 1 and c.format is not c.source for c in choices):
        echo(f"{printable(source)} is quantized already: without --allow-requantize this will be refused", err=True)


def _run(source: Any, target: str, recipe: str, **options: Any) -> Quantized:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    if "dask" in options:  # what goes wrong is said in one line here; Dask would add tracebacks of its own
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}", markup=False)
    with Progress(*columns, text, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)

        def update(what: str, done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, description=printable(what))

        return quantize_model(source, target, recipe, progress=update, **options)
