"""``qviz generate``: text from a model, as it comes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import click

from qviz.cli.terminal import echo_piece


@click.command(short_help="Let a model continue a text, or answer.")
@click.argument("model")
@click.argument("prompt")
@click.option("--chat", is_flag=True, help="PROMPT is a question, put the way the model's chat template wants it.")
@click.option("--max-tokens", type=click.IntRange(0), default=256, show_default=True, help="Stop after so many tokens.")
@click.option("--temp", type=click.FloatRange(0), default=0.0, show_default=True, help="0 takes the likeliest token.")
@click.option("--top-k", type=click.IntRange(0), default=40, show_default=True, help="Only the likeliest; 0 for all.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=0.95, show_default=True,
              help="Only the likeliest that together have this probability.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed, the same text.")
def generate(
    model: str, prompt: str, chat: bool, max_tokens: int, temp: float, top_k: int, top_p: float, seed: int
) -> None:
    """Let MODEL (a GGUF file, or a name such as tiny) continue PROMPT; with --chat, answer it.

    The text is printed as it comes. Ctrl-C ends it.
    """
    from qviz import models, transformer

    run = transformer.Transformer(models.load(model))
    sampler = transformer.Sampler(temp, top_k, top_p, seed)
    if chat:
        ids = run.tokenizer.chat([{"role": "user", "content": prompt}])
        pieces = run.tokenizer.stream(transformer.generate_tokens(run, ids, max_tokens, sampler))
    else:
        pieces = transformer.generate(run, prompt, max_tokens, sampler)
    _print(pieces)


def _print(pieces: Iterable[str]) -> None:
    """Print pieces at once; whatever ends them, the line ends too."""
    begun = False
    try:
        for piece in pieces:
            begun = True
            echo_piece(piece)
    except BaseException:
        with contextlib.suppress(OSError):
            echo_piece("\n" if begun else "")
        raise
    echo_piece("\n")
