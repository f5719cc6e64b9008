"""``qviz imatrix``: which input columns of a model's matrices matter."""

from __future__ import annotations

import click

from qviz.cli.terminal import bars_of, echo, echo_path, read_text
from qviz.errors import printable


@click.command(short_help="Measure an importance matrix, for quantizing.")
@click.argument("model")
@click.argument("target", metavar="OUT")
@click.option("--text", "text_file", metavar="FILE", help="What is read; the course's calibration text unless given.")
@click.option("--chunks", type=click.IntRange(1), metavar="N", help="Read only so many chunks; all unless given.")
@click.option("--ctx", type=click.IntRange(16), metavar="N", help="Tokens of a chunk; 512, or the model's context.")
def imatrix(model: str, target: str, text_file: str | None, chunks: int | None, ctx: int | None) -> None:
    """Let MODEL (a GGUF file, or a name such as tiny) read a text, and write what its matrices receive into OUT.

    OUT is what llama.cpp's llama-imatrix writes, in its older form if the name ends in .dat: for
    `qviz quantize --imatrix` and for llama.cpp. The text should be of the kind that the model will meet.
    """
    from rich.console import Console
    from rich.progress import Progress

    from qviz import models
    from qviz.calibration import imatrix as files
    from qviz.whole import imatrix as whole

    text = models.calibration_text() if text_file is None else read_text(text_file)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        collected = whole.collect(
            models.load(model),
            text,
            n_ctx=ctx,
            chunks=chunks,
            dataset=text_file or "tiny-calibration.txt",
            progress=bars_of(bars),
        )
    for name, entry in collected.entries.items():
        if missed := int((entry.counts == 0).sum()):
            echo(printable(f"{name}: the text reached {len(entry.counts) - missed} of {len(entry.counts)}"), err=True)
    echo_path(files.write(target, collected))
