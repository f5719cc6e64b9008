"""Does a model still find an early fact when its KV cache is rounded? SmolLM2-135M-Instruct, told a number.

    python benchmarks/recall.py [--distances 256,1024] [--facts 24]

Needs the model (`qviz fetch smollm2`). Each trial begins with a sentence that gives somebody a four-digit number, goes
on with held-out English, and ends with the beginning of a sentence that needs the number. Printed are how many of the
numbers the model would write, the probability that it gives to a right digit (geometric mean), and by how much the
logarithm of that differs from an F16 cache's, in nats a number, with its paired standard error.
"""

from __future__ import annotations

import argparse

import numpy as np

import qviz

NAMES = ("Elena", "Tom", "Maria", "Peter", "Anna", "Jack", "Lucy", "Sam", "Nina", "Paul", "Rosa", "Ben")
ROTATED = "rotated Q4_0"
CACHES = ("F16", "Q8_0", ("Q8_0", "Q4_0"), ("Q4_0", "Q8_0"), "Q4_0", ROTATED)


def trials(tokenizer: qviz.transformer.Tokenizer, distance: int, facts: int) -> list[tuple[list[int], list[int]]]:
    """Prompts of equally many tokens between the fact and the question, and the digits that should follow."""
    rng, filler, made = np.random.default_rng(0), tokenizer.encode(qviz.models.heldout_text()), []
    for k in range(facts):
        name, number = NAMES[k % len(NAMES)], str(rng.integers(1000, 10000))
        told = tokenizer.encode(f"The secret number of {name} is {number}. Remember it.\n\n")
        start = 4000 * k % (len(filler) - distance)
        asked = tokenizer.encode(f"\n\nThe secret number of {name} is ")
        made.append((told + filler[start : start + distance] + asked, tokenizer.encode(number)))
    return made


def asked(run: qviz.Transformer, prompt: list[int], digits: list[int]) -> tuple[bool, float]:
    """Whether each digit is the likeliest one, and the logarithm of the probability of the number."""
    ids = np.array([prompt + digits])
    logits = run.window_logits(ids, len(prompt) - 1, ids.size - 1)[0].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return bool((log_p.argmax(axis=1) == digits).all()), float(sum(log_p[i, d] for i, d in enumerate(digits)))


def main() -> None:
    """Tell, read on, ask."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--distances", default="256,1024")
    parser.add_argument("--facts", type=int, default=24)
    options = parser.parse_args()
    model, turn = qviz.load("smollm2"), qviz.methods.hadamard(64)
    for distance in map(int, options.distances.split(",")):
        plain = None
        for kind in CACHES:
            rotation = turn if kind == ROTATED else None
            run = qviz.Transformer(model, cache="Q4_0" if kind == ROTATED else kind, cache_rotation=rotation)
            found = [asked(run, *trial) for trial in trials(run.tokenizer, distance, options.facts)]
            right, logs = sum(found_one[0] for found_one in found), np.array([log for _, log in found])
            plain = logs if plain is None else plain
            off = logs - plain
            name = kind if isinstance(kind, str) else f"keys {kind[0]}, values {kind[1]}"
            error = off.std() / np.sqrt(len(off) - 1)
            print(
                f"{distance:5} tokens  {name:24} {right:2} of {len(found)} right  digit {np.exp(logs.mean() / 4):.0%}  "
                f"{off.mean():+.2f} ± {error:.2f} nats",
                flush=True,
            )


if __name__ == "__main__":
    main()
