"""``qviz compare``: two files of one model side by side."""

from __future__ import annotations

import click

from qviz.cli.terminal import bars_of, echo, echo_json, read_text
from qviz.errors import printable


@click.command(short_help="Compare two files of one model.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--text", "text_file", metavar="FILE", help="What both read; the course's held-out text unless given.")
@click.option("--max-tokens", type=click.IntRange(1), default=2048, show_default=True, help="Score about so many.")
@click.option("--no-text", is_flag=True, help="Compare the tensors only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
def compare(a: str, b: str, text_file: str | None, max_tokens: int, no_text: bool, as_json: bool) -> None:
    """Compare model B with A: formats, bytes and signal over noise of each tensor; then what both make of a text.

    On the text: KL divergence and how often both prefer the same token, with their errors; and the first token where
    greedy continuations of its beginning part. A and B are GGUF files, or names such as tiny.
    """
    if no_text and text_file is not None:
        raise click.UsageError("--no-text leaves out what --text names; give one of the two")
    from rich.console import Console
    from rich.progress import Progress

    from qviz import models
    from qviz.measure import difference

    text = None if no_text else models.heldout_text() if text_file is None else read_text(text_file)
    one, two = models.load(a), models.load(b)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        apart = difference.compare_models(
            one, two, text, max_tokens=max_tokens, must_run=text_file is not None, progress=bars_of(bars)
        )
    if as_json:
        echo_json({"a": a, "b": b, **apart.as_dict()})
        return
    for line in difference.lines(apart, {"a": a, "b": b}):
        echo(printable(line))
