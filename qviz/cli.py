"""``qviz``: the command line. Every command imports what it needs when it runs, so ``--help`` is instant."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qviz import __version__
from qviz.errors import QvizError

if TYPE_CHECKING:
    from qviz.gguf import GGUFFile
    from qviz.gguf.legacy import LegacyFile

FIRST_LESSON = "00_start_here.ipynb"
COURSE_FOLDER = "qviz-course"
PIPE_WIDTH = 200  # columns where there is no terminal to ask


class _Refusal(click.ClickException):
    exit_code = 2


class _Group(click.Group):
    """Turns a `QvizError` into one line and exit code 2; a traceback would only hide what it says."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except QvizError as error:
            from qviz.gguf.report import printable

            raise _Refusal(printable(str(error))) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="qviz")
def main() -> None:
    """Look inside quantized language models, and learn how they are made."""


@main.command(short_help="Show what is in a model file.")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
@click.option("--metadata/--no-metadata", default=True, help="Show the key-value metadata.")
@click.option("--tensors/--no-tensors", default=True, help="Show the table of tensors.")
@click.option("--full", is_flag=True, help="Print arrays and texts whole, however long.")
def inspect(file: str, as_json: bool, metadata: bool, tensors: bool, full: bool) -> None:
    """Show the metadata and tensors of a GGUF or older GGML FILE, or of a model by name (smollm2, tiny).

    Only the header is read, so this takes no longer for a large file.
    """
    from qviz.gguf.report import lines
    from qviz.gguf.summary import summarize

    with _open(file) as opened:
        summary = summarize(opened, limit=None if full else 8)
    if as_json:
        shown = summary.as_dict()
        hidden = [key for key, wanted in (("metadata", metadata), ("tensors", tensors)) if not wanted]
        click.echo(json.dumps({key: value for key, value in shown.items() if key not in hidden}, indent=2))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH
    _echo("\n".join(lines(summary, metadata=metadata, tensors=tensors, full=full, width=width)))


def _echo(text: str) -> None:
    """Print; a console that cannot show × or Ġ gets an escape, not an exception."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def _open(name: str) -> GGUFFile | LegacyFile:
    """A file, or a model by name, as `qviz.load` understands names."""
    from qviz import gguf
    from qviz.gguf import legacy

    if legacy.is_legacy(name):
        return legacy.read(name)
    if name.lower().endswith(".gguf") or Path(name).name != name:
        return gguf.read(name)
    from qviz import models

    return gguf.read(models.load(name).path)


@main.command(short_help="Download a model once.")
@click.argument("name")
def fetch(name: str) -> None:
    """Download the model NAME (such as smollm2) once and keep it; print where it is."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from qviz import models

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        path = models.fetch(name, progress=_progress(bars))
    click.echo(str(path))


def _progress(bars: Any) -> Callable[[str, int, int | None], None]:
    """A callback ``(stage, done, total)`` that keeps one bar for each stage."""
    tasks: dict[str, Any] = {}

    def update(stage: str, done: int, total: int | None) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done, total=total)

    return update


_BY_METHOD = "With --method: "


@main.command(short_help="Quantize a whole model.")
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
        _echo(printable(line))
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
    calibration = None if "calibration" not in given else _read_text(given.pop("calibration"))
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
            _echo(printable(line))
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
                _echo(printable(f"{name}  {' × '.join(map(str, shape))}  {method}, {plan.grid.bits} bit"))
            _echo(f"{len(plan.matrices)} matrices, {plan.checkpoint} layout")
            _echo(f"{plan.source_nbytes:,} bytes become {plan.nbytes:,}")
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

    result = _with_bar(work)
    if as_json:
        numbers = {"bytes": result.nbytes, "bpw": result.bpw, "seconds": result.seconds, "notes": list(result.notes)}
        click.echo(json.dumps({**what, "path": str(result.path), "weights": result.n_weights, **numbers}, indent=2))
        return
    for note in _shared(result.notes):
        click.echo(printable(note), err=True)
    _echo(
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


def _with_bar(work: Callable[[Any], Any]) -> Any:
    """Run a job that reports ``(what, done, total)``; a polite kill cleans up as Ctrl-C does."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True)) as bar, _polite_kill():
        task = bar.add_task("", total=None)
        return work(lambda what, done, total: bar.update(task, completed=done, total=total, description=what))


@contextmanager
def _polite_kill() -> Iterator[None]:
    """While entered, SIGTERM ends the program as an exception does: what is half written goes away."""
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _quantize(source: str, target: str, recipe: str, **options: Any) -> Any:
    """Run the job under a progress bar; a polite kill cleans up as Ctrl-C does."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from qviz import pipeline
    from qviz.gguf.report import printable

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}", markup=False)
    with Progress(*columns, text, console=Console(stderr=True)) as bar, _polite_kill():
        task = bar.add_task("", total=None)

        def update(progress: pipeline.Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total, description=printable(progress.tensor))

        return pipeline.quantize_model(source, target, recipe, progress=update, **options)


@main.command(short_help="Measure how well a model predicts a text.")
@click.argument("model")
@click.option("--text", "text_file", metavar="FILE", help="Text to score; the course's held-out text unless given.")
@click.option("--baseline", metavar="MODEL", help="The unquantized model, to compare with: difference, KL divergence.")
@click.option("--n-ctx", type=int, help="Tokens in a window; the model's context, at most 512, unless given.")
@click.option("--max-tokens", type=int, help="Score only about so many tokens: quicker, with wider error bars.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
def perplexity(
    model: str, text_file: str | None, baseline: str | None, n_ctx: int | None, max_tokens: int | None, as_json: bool
) -> None:
    """Perplexity of MODEL (a GGUF file, or a name such as tiny) on a text, as llama.cpp defines it.

    The second half of each window is scored. Every figure comes with its standard error; those against a baseline are
    paired, token by token.
    """
    from rich.console import Console
    from rich.progress import Progress

    from qviz import llama, models

    text = models.heldout_text() if text_file is None else _read_text(text_file)
    run = llama.Llama(models.load(model))
    base = None if baseline is None else llama.Llama(models.load(baseline))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("windows", total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        found = llama.perplexity(run, text, base, n_ctx=n_ctx, max_tokens=max_tokens, progress=update)
    if as_json:
        click.echo(json.dumps({"model": model, "baseline": baseline, **found.as_dict()}, indent=2))
        return
    _echo(str(found))


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise QvizError(f"{path}: the text cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise QvizError(f"{path}: byte {error.start} is no UTF-8; save the text as UTF-8 first") from None


@main.command(short_help="Convert a model to GGUF.")
@click.argument("source", metavar="MODEL")
@click.argument("target", metavar="OUT.gguf")
@click.option("--type", type=click.Choice(["auto", "f32", "f16", "bf16"]), help="Folder: what matrices become.")
@click.option("--name", help="Folder: the model's name; the folder's unless given.")
@click.option("--pre", metavar="NAME", help="Folder: llama.cpp's name for how its tokenizer cuts text into words.")
@click.option("--inexact", type=click.Choice(["F32", "F16", "round"]), help="File: what blocks of old layouts become.")
@click.option("--context-length", type=int, help="File: 2048 unless given; LLaMA 2 has 4096.")
@click.option("--rms-eps", type=float, help="File: 5e-6 unless given; LLaMA has 1e-6, LLaMA 2 has 1e-5.")
@click.option("--scales-per-row/--scales-per-block", default=None, help="File: layout, if it is not told correctly.")
def convert(source: str, target: str, **options: Any) -> None:
    """Convert MODEL to a GGUF file that llama.cpp runs.

    MODEL is a Hugging Face folder of the Llama family (config.json, safetensors, tokenizer), or a LLaMA file from
    before GGUF (GGML, GGMF, GGJT). Old blocks whose scales are no float16 become F32, unless --inexact says otherwise.
    """
    from rich.console import Console
    from rich.progress import Progress

    from qviz import checkpoints
    from qviz.gguf import legacy

    given = {name: value for name, value in options.items() if value is not None}
    is_folder = Path(source).is_dir()
    if wrong := [name for name in given if (name in ("type", "name", "pre")) != is_folder]:
        option = "--" + wrong[0].replace("_", "-")
        raise click.UsageError(f"{option} is for a {'file' if is_folder else 'folder'}, and {source} is not one")
    if is_folder:
        with Progress(console=Console(stderr=True), transient=True) as bars:
            path = checkpoints.convert(source, target, **given, progress=_progress(bars))
    else:
        path = legacy.convert(source, target, **given)
    click.echo(str(path))


@main.command(short_help="Open the course in JupyterLab.", context_settings={"ignore_unknown_options": True})
@click.argument("jupyter_args", nargs=-1, type=click.UNPROCESSED)
def lab(jupyter_args: tuple[str, ...]) -> None:
    """Open the course in JupyterLab; further arguments go to `jupyter lab`.

    From a checkout, its notebooks are opened where they are. Otherwise they are copied to ./qviz-course first; a file
    that is already there is never overwritten.
    """
    lessons = _lessons()
    command = [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={lessons}",
        f"--LabApp.default_url=/lab/tree/{FIRST_LESSON}",
        # in a container everybody is root, and Jupyter would refuse to start
        *(["--allow-root"] if os.name == "posix" and os.geteuid() == 0 else []),
        *jupyter_args,
    ]
    with (
        tempfile.TemporaryDirectory(prefix="qviz-") as config,
        subprocess.Popen(command, env=_lab_environment(Path(config))) as server,
    ):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is Jupyter's to answer
        sys.exit(server.wait())


@main.command(
    short_help="Show one lesson as a page, for a projector.", context_settings={"ignore_unknown_options": True}
)
@click.argument("lesson")
@click.option("--code", is_flag=True, help="Show the cells' code, too.")
@click.option("--locked", is_flag=True, help="Explorers wait for a prediction, as they do for students.")
@click.argument("voila_args", nargs=-1, type=click.UNPROCESSED)
def show(lesson: str, code: bool, locked: bool, voila_args: tuple[str, ...]) -> None:
    """Show LESSON, such as 05, as a page without editor: prose, pictures and controls that work.

    Voilà serves it; further arguments go there, such as --no-browser or --port=8866. Nothing is fetched from a network.
    """
    if importlib.util.find_spec("voila") is None:
        raise QvizError("Voilà is missing; run: pip install 'qviz-toolkit[show]'")
    found = sorted(_lessons().glob("[0-9]*.ipynb"))
    chosen = [path for path in found if path.name.startswith(Path(lesson).name)]
    if len(chosen) != 1:
        raise QvizError(f"no lesson {lesson!r}; there are {', '.join(path.stem for path in found)}")
    command = [
        *(sys.executable, "-m", "voila", str(chosen[0]), "--template=qviz", f"--strip_sources={not code}"),
        *voila_args,
    ]
    with tempfile.TemporaryDirectory(prefix="qviz-") as scratch:
        templates = Path(__file__).resolve().parent / "lesson" / "static"
        environment = {
            **os.environ,
            "JUPYTER_PATH": os.pathsep.join(filter(None, [str(templates), os.environ.get("JUPYTER_PATH", "")])),
            "QVIZ_UNLOCKED": "" if locked else "1",
            "QVIZ_PROGRESS": str(Path(scratch) / "progress.json"),  # what a class answers is not the teacher's progress
        }
        with subprocess.Popen(command, env=environment) as server:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is Voilà's to answer
            sys.exit(server.wait())


def _lab_environment(config: Path) -> dict[str, str]:
    """No question about news over the first lesson: a default, which the user's own settings still override."""
    defaults = config / "labconfig" / "default_setting_overrides.json"
    defaults.parent.mkdir()
    news = {"fetchNews": "false", "checkForUpdates": False}
    defaults.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": news}))
    # a teacher's tools, if they are installed, would only confuse a student: `jupyter lab` still shows them
    (defaults.parent / "page_config.json").write_text(json.dumps({"disabledExtensions": {"@jupyter/nbgrader": True}}))
    paths = [str(config), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    return {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, paths))}


def _lessons() -> Path:
    package = Path(__file__).resolve().parent
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "notebooks" / FIRST_LESSON).is_file():
        return checkout / "notebooks"
    bundled = package / "_bundled" / "notebooks"
    if not (bundled / FIRST_LESSON).is_file():
        raise QvizError(
            f"the course is not part of this installation: {bundled / FIRST_LESSON} is missing; "
            f"install qviz-toolkit again"
        )
    target = Path.cwd() / COURSE_FOLDER
    added, kept = copy_lessons(bundled, target)
    click.echo(f"{target}: {added} files copied, {kept} of yours kept", err=True)
    return target


def copy_lessons(source: Path, target: Path) -> tuple[int, int]:
    """Copy a folder, leaving every file that exists already as it is.

    Parameters
    ----------
    source, target : pathlib.Path

    Returns
    -------
    added, kept : int
        Files copied, and files left alone.

    Raises
    ------
    QvizError
        If something cannot be written.
    """
    added = kept = 0
    try:
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            to = target / file.relative_to(source)
            if any(part.startswith((".", "__")) for part in to.relative_to(target).parts):
                continue  # checkpoints and caches
            if os.path.lexists(to):
                kept += 1
                continue
            to.parent.mkdir(parents=True, exist_ok=True)
            scratch = to.with_name(f".{to.name}.tmp")  # an interrupted copy must not pass for the student's own file
            shutil.copyfile(file, scratch)
            scratch.replace(to)
            added += 1
    except OSError as error:
        raise QvizError(f"{target}: the lessons cannot be copied here: {error.strerror or error}") from None
    return added, kept


if __name__ == "__main__":
    main()
