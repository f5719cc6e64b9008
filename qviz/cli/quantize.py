"""``qviz quantize``: by a recipe, byte for byte as llama.cpp does, or by a rounding method."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from qviz.cli.terminal import echo, polite_kill, read_text, with_bar

_BY_METHOD = "With --method: "


@click.command(short_help="Quantize a whole model.")
@click.argument("source", metavar="IN.gguf")
@click.argument("target", metavar="OUT")
@click.argument("recipe", required=False)
@click.option("--imatrix", metavar="FILE", help="Importance matrices, GGUF or .dat.")
@click.option("--rules", default="modern", show_default=True, help="modern, 2023-06 or uniform.")
@click.option("--threads", type=int, help="Threads to use; all cores unless given.")
@click.option("--dask", metavar="ADDRESS", help="A Dask scheduler whose workers do the work.")
@click.option("--allow-requantize", is_flag=True, help="Accept a model that is quantized already.")
@click.option("--method", metavar="NAME", help="Round by rtn, gptq, awq or recommended, layer by layer.")
@click.option("--bits", type=int, help=_BY_METHOD + "2, 3, 4 or 8; 4 unless given.")
@click.option("--group-size", type=int, help=_BY_METHOD + "weights that share a scale, -1 a row; 128 unless given.")
@click.option("--sym/--asym", default=None, help=_BY_METHOD + "no zero points; with them unless given.")
@click.option("--act-order/--no-act-order", default=None, help="With gptq: columns of large inputs first; on.")
@click.option("--clip/--no-clip", default=None, help="With awq: search the ranges, too; off.")
@click.option("--checkpoint", metavar="LAYOUT", help=_BY_METHOD + "gptq, gptq_v2 or awq; what suits unless given.")
@click.option("--format", "format_", metavar="RECIPE", help="With gptq: write GGUF by RECIPE, as the third argument.")
@click.option("--calibration", metavar="FILE", help=_BY_METHOD + "a text; the course's unless given.")
@click.option("--tokens", type=int, help=_BY_METHOD + "of the calibration text; 8192 unless given.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
def quantize(
    source: str,
    target: str,
    recipe: str | None,
    imatrix: str | None,
    rules: str,
    threads: int | None,
    dask: str | None,
    allow_requantize: bool,
    method: str | None,
    format_: str | None,
    dry_run: bool,
    as_json: bool,
    **by_method: Any,
) -> None:
    """Quantize the model IN.gguf (or a name, such as tiny) into OUT.

    By RECIPE, such as Q4_K_M: OUT is the GGUF file that llama.cpp would write, byte for byte.

    By --method: OUT is a folder with packed GPTQ or AWQ weights under Hugging Face's names, for the loaders of such
    checkpoints; `qviz convert` makes GGUF of it. With gptq and a RECIPE: OUT is a GGUF file of that recipe, whose codes
    GPTQ chose. OUT appears under its name when it is complete.
    """
    if recipe is not None and format_ is not None:
        raise click.UsageError(f"RECIPE is given twice: {recipe} and --format {format_}")
    given = {name: value for name, value in by_method.items() if value is not None}
    if method is None:
        if given or format_ is not None:
            option = next(iter(given), "format").replace("_", "-")
            raise click.UsageError(f"--{option} is for --method; which one: rtn, gptq, awq or recommended?")
        if recipe is None:
            raise click.UsageError("Missing argument 'RECIPE', such as Q4_K_M; or give --method")
        options = {"imatrix": imatrix, "rules": rules, "threads": threads, "dask": dask}
        _quantize_by_recipe(source, target, recipe, allow_requantize, dry_run, as_json, options)
        return
    for name, value in (("imatrix", imatrix), ("threads", threads), ("dask", dask)):
        if value is not None:
            raise click.UsageError(f"--{name} is not for --method")
    _quantize_by_method(source, target, method, recipe or format_, rules, allow_requantize, dry_run, as_json, given)


def _quantize_by_recipe(
    source: str,
    target: str,
    recipe: str,
    allow_requantize: bool,
    dry_run: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    from qviz import gguf, recipes
    from qviz.gguf.report import printable
    from qviz.recipes import report

    rules = options["rules"]
    if dry_run:
        with gguf.read(source) as file:
            choices = recipes.plan(file, file.metadata, recipe, rules, imatrix=options["imatrix"] is not None)
        answer: dict[str, Any] = {"dry_run": True}
        if not allow_requantize and any(c.source.block_size > 1 and c.format is not c.source for c in choices):
            click.echo(f"{source} is quantized already: without --allow-requantize this will be refused", err=True)
    else:
        result = _quantize(source, target, recipe, allow_requantize=allow_requantize, **options)
        choices = result.choices
        answer = {"path": str(result.path), "seconds": result.seconds, "without_imatrix": result.without_imatrix}
    if as_json:
        name = recipes.get_recipe(recipe).name
        click.echo(json.dumps({"recipe": name, "rules": rules, **answer, **report.as_dict(choices)}, indent=2))
        return
    table = list(report.lines(choices))
    for line in table if dry_run else table[-1:]:
        echo(printable(line))
    if answer.get("without_imatrix"):
        click.echo(f"{len(answer['without_imatrix'])} tensors are not in the importance matrix", err=True)


_NOT_IN_GGUF = ("bits", "group_size", "sym", "act_order", "clip", "checkpoint")


def _quantize_by_method(
    source: str,
    target: str,
    method: str,
    recipe: str | None,
    rules: str,
    allow_requantize: bool,
    dry_run: bool,
    as_json: bool,
    given: dict[str, Any],
) -> None:
    from qviz import models, recipes, sequential
    from qviz.gguf.report import printable
    from qviz.recipes import report

    if recipe is not None:
        if method != "gptq":
            raise click.UsageError(f"RECIPE goes with gptq, which can round onto GGML formats; {method} cannot")
        if wrong := [name for name in _NOT_IN_GGUF if name in given]:
            raise click.UsageError(f"--{wrong[0].replace('_', '-')} is for packed folders; {recipe} has its own grid")
    calibration = None if "calibration" not in given else read_text(given.pop("calibration"))
    n_tokens = given.pop("tokens", 8192)
    wanted = {"clip": "awq", "act_order": "gptq"}
    if wrong := [name for name, owner in wanted.items() if name in given and method != owner]:
        raise click.UsageError(f"--{wrong[0].replace('_', '-')} is for {wanted[wrong[0]]}, not for {method}")
    if method == "gptq":
        given.setdefault("act_order", True)
    model = models.load(source)
    if recipe is not None and dry_run:
        choices = recipes.plan(model, model.metadata, recipe, rules)
        if as_json:
            name = recipes.get_recipe(recipe).name
            said = {"method": method, "recipe": name, "rules": rules, "dry_run": True, **report.as_dict(choices)}
            click.echo(json.dumps(said, indent=2))
            return
        for line in report.lines(choices):
            echo(printable(line))
        return
    common: dict[str, Any] = {"allow_requantize": allow_requantize}
    if recipe is None:
        plan = sequential.plan_packing(model, method, **given, **common)
        what: dict[str, Any] = {
            "method": method,
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
        if dry_run:
            if as_json:
                tensors = [{"name": name, "shape": shape} for name, shape in plan.matrices.items()]
                click.echo(json.dumps({**what, "dry_run": True, "tensors": tensors}, indent=2))
                return
            for name, shape in plan.matrices.items():
                echo(printable(f"{name}  {' × '.join(map(str, shape))}  {method}, {plan.grid.bits} bit"))
            echo(f"{len(plan.matrices)} matrices, {plan.checkpoint} layout")
            echo(f"{plan.source_nbytes:,} bytes become {plan.nbytes:,}")
            return

        def work(progress: Any) -> Any:
            options: dict[str, Any] = {"calibration": calibration, "n_tokens": n_tokens, "progress": progress}
            return sequential.pack_model(model, target, method, **given, **common, **options)
    else:
        what = {"method": method, "recipe": recipes.get_recipe(recipe).name, "rules": rules}
        by_recipe = recipe

        def work(progress: Any) -> Any:
            options: dict[str, Any] = {"calibration": calibration, "n_tokens": n_tokens, "progress": progress}
            return sequential.gptq_model(model, target, by_recipe, rules=rules, **common, **options)

    result = with_bar(work)
    if as_json:
        numbers = {"bytes": result.nbytes, "bpw": result.bpw, "seconds": result.seconds, "notes": list(result.notes)}
        click.echo(json.dumps({**what, "path": str(result.path), "weights": result.n_weights, **numbers}, indent=2))
        return
    for note in _shared(result.notes):
        click.echo(printable(note), err=True)
    echo(
        f"{sum(t.nbytes for t in model.values()):,} bytes become {result.nbytes:,}; "
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


def _quantize(source: str, target: str, recipe: str, **options: Any) -> Any:
    """Run the job under a progress bar; a polite kill cleans up as Ctrl-C does."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from qviz import pipeline
    from qviz.gguf.report import printable

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}", markup=False)
    with Progress(*columns, text, console=Console(stderr=True)) as bar, polite_kill():
        task = bar.add_task("", total=None)

        def update(progress: pipeline.Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total, description=printable(progress.tensor))

        return pipeline.quantize_model(source, target, recipe, progress=update, **options)
