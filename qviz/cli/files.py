"""``qviz inspect``, ``qviz convert``, ``qviz fetch``: files of models."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qviz.cli.names import file_of, known
from qviz.cli.terminal import bars_of, echo, echo_json, echo_path, warnings_said

if TYPE_CHECKING:
    from qviz.gguf import GGUFFile
    from qviz.gguf.legacy import LegacyFile

PIPE_WIDTH = 200  # columns where there is no terminal to ask


@click.command(short_help="Show what is in a model file.")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
@click.option("--metadata/--no-metadata", default=True, help="Show the key-value metadata.")
@click.option("--tensors/--no-tensors", default=True, help="Show the table of tensors.")
@click.option("--full", is_flag=True, help="Print arrays and texts whole, however long.")
def inspect(file: str, as_json: bool, metadata: bool, tensors: bool, full: bool) -> None:
    """Show the metadata and tensors of a GGUF or older GGML FILE, or of a model by name (smollm2, tiny).

    Only the header is read, so this takes no longer for a large file; of a GGUF file at https://… only that is fetched.
    """
    if full and not metadata:
        raise click.UsageError("--full is for metadata, and --no-metadata leaves them out; give one of the two")
    from qviz.gguf.report import lines
    from qviz.gguf.summary import summarize

    with _open(file) as opened:
        summary = summarize(opened, limit=None if full else 8)
    if as_json:
        shown = summary.as_dict()
        hidden = [key for key, wanted in (("metadata", metadata), ("tensors", tensors)) if not wanted]
        echo_json({key: value for key, value in shown.items() if key not in hidden})
        return
    width = shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else PIPE_WIDTH
    echo("\n".join(lines(summary, metadata=metadata, tensors=tensors, full=full, width=width)))


def _open(name: str) -> GGUFFile | LegacyFile:
    """A file, or a model by name, as `qviz.load` understands names."""
    from qviz import models
    from qviz.gguf import remote

    return remote.read_header(name) if remote.is_url(name) else models.load(name).file


@click.command(short_help="Download a model once.")
@click.argument("name")
@click.option("--verify", is_flag=True, help="Download nothing: compare the file that is here with its checksum.")
def fetch(name: str, verify: bool) -> None:
    """Download the model NAME (smollm2, gemma3-270m, whisper-tiny.en) once and keep it; print where it is.

    The terms that a model comes under are shown, and kept beside it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from qviz import models

    if verify:
        echo_path(models.verify(name))
        return
    if name in models.KNOWN and (licence := models.KNOWN[name].licence):
        echo(licence, err=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        path = models.fetch(name, progress=bars_of(bars))
    echo_path(path)


@click.command(short_help="Convert a model to GGUF.")
@click.argument("source", metavar="MODEL")
@click.argument("target", metavar="OUT.gguf")
@click.option("--type", type=click.Choice(["auto", "f32", "f16", "bf16"]), help="Folder: what matrices become.")
@click.option("--name", help="Folder: the model's name; the folder's unless given.")
@click.option("--pre", metavar="NAME", help="Folder: llama.cpp's name for how its tokenizer cuts text into words.")
@click.option("--inexact", type=click.Choice(["F32", "F16", "round"]), help="File: what blocks of old layouts become.")
@click.option("--context-length", type=click.IntRange(1, 2**31 - 1), help="File: 2048 unless given; LLaMA 2 has 4096.")
@click.option("--rms-eps", type=float, help="File: 5e-6 unless given; LLaMA has 1e-6, LLaMA 2 has 1e-5.")
@click.option("--scales-per-row/--scales-per-block", default=None, help="File: layout, if it is not told correctly.")
def convert(source: str, target: str, **options: Any) -> None:
    """Convert MODEL to a GGUF file that llama.cpp runs.

    MODEL is a Hugging Face folder of a family that runs here (config.json, safetensors, packed or not, tokenizer), or a
    LLaMA file from before GGUF (GGML, GGMF, GGJT). Old blocks whose scales are no float16 become F32, unless --inexact
    says otherwise.
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
        with warnings_said(), Progress(console=Console(stderr=True), transient=True) as bars:
            path = checkpoints.convert(source, target, **given, progress=bars_of(bars))
    else:
        path = legacy.convert(file_of(source) if known(source) else source, target, **given)
    echo_path(path)
