"""``qviz perplexity``: how good a model still is."""

from __future__ import annotations

import click

from qviz.cli.terminal import echo, echo_json, read_text


@click.command(short_help="Measure how well a model predicts a text.")
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

    from qviz import models, transformer

    text = models.heldout_text() if text_file is None else read_text(text_file)
    run = transformer.Transformer(models.load(model))
    base = None if baseline is None else transformer.Transformer(models.load(baseline))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("windows", total=None)

        def update(what: str, done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        measured = transformer.perplexity(run, text, base, n_ctx=n_ctx, max_tokens=max_tokens, progress=update)
    if as_json:
        echo_json({"model": model, "baseline": baseline, **measured.as_dict()})
        return
    echo(str(measured))
