"""Tokens per second of whole models, beside llama.cpp on the same files, in one run.

    python benchmarks/llama.py [smollm2 gemma3-270m] [--rounds 15] [--one-core]

Run ``qviz fetch`` for both models and ``pip install llama-cpp-python`` before. Both read a prompt of 256 tokens at
once, and then 24 tokens one by one, on two threads. They take turns; the fastest prompt and the fastest token of each
count. Where others use the cores, too, two threads wait for each other: ``--one-core`` gives either side one thread
and counts its CPU seconds. The last lines are perplexity runs of the shipped model.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp

import qviz
from qviz.transformer import Transformer, perplexity

PROMPT, NEW = 256, 24
FORMATS = ("Q8_0", "Q4_K_M", "Q4_1")

Clock = Callable[[], float]
Side = Callable[[], tuple[float, float]]


def timed(
    clock: Clock, start: Callable[[], Any], prompt: Callable[[Any], Any], token: Callable[[Any, int], Any]
) -> Side:
    """Seconds of the prompt, and of the fastest token behind it."""

    def run() -> tuple[float, float]:
        state = start()
        begun = clock()
        prompt(state)
        whole, tokens = clock() - begun, []
        for i in range(NEW):
            begun = clock()
            token(state, i)
            tokens.append(clock() - begun)
        return whole, min(tokens)

    return run


def ours(path: Path, ids: list[int], clock: Clock) -> Side:
    model = Transformer(qviz.load(path))
    return timed(
        clock,
        lambda: model.new_cache(PROMPT + NEW),
        lambda cache: model.logits(ids, cache, last_only=True),
        lambda cache, i: model.logits([ids[i]], cache),
    )


def theirs(path: Path, ids: list[int], clock: Clock, threads: int) -> Side:
    model: Any = llama_cpp.Llama(
        str(path), n_ctx=512, n_threads=threads, n_threads_batch=threads, verbose=False, n_batch=512
    )
    return timed(clock, model.reset, lambda _: model.eval(ids), lambda _, i: model.eval([ids[i]]))


def compared(name: str, path: Path, text: str, rounds: int, one_core: bool) -> None:
    """Print a row of the table."""
    ids = Transformer(qviz.load(path)).tokenizer.encode(text)[:PROMPT]
    clock = time.process_time if one_core else time.perf_counter
    sides = ours(path, ids, clock), theirs(path, ids, clock, 1 if one_core else 2)
    for run in sides:  # compiles, and brings the file into memory
        run()
    times = [[run() for run in sides] for _ in range(rounds)]
    (prompt, prompt_b), (new, new_b) = ([min(row[side][what] for row in times) for side in (0, 1)] for what in (0, 1))
    print(
        f"{name:20} {PROMPT / prompt:8.0f} {PROMPT / prompt_b:8.0f} {prompt_b / prompt:6.2f}   "
        f"{1 / new:12.1f} {1 / new_b:8.1f} {new_b / new:6.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["smollm2", "gemma3-270m"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--one-core", action="store_true")
    given = parser.parse_args()
    if given.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    text = qviz.models.heldout_text()[:4000]
    print(f"{'tokens/s':20}  prompt: ours, llama.cpp, ratio   generation: ours, llama.cpp, ratio", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.models:
            for fmt in FORMATS:
                path = Path(folder) / f"{name}-{fmt}.gguf"
                qviz.quantize_model(qviz.load(name).path, path, fmt, allow_requantize=True)
                compared(f"{name} {fmt}", path, text, given.rounds, given.one_core)
                path.unlink()
    tiny = Transformer(qviz.load("tiny"))
    for n in (10_000, 45_000):
        begun = time.perf_counter()
        found = perplexity(tiny, qviz.models.heldout_text(), max_tokens=n)
        print(f"{found}: {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
