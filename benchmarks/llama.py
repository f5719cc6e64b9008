"""Tokens per second of a whole model, beside llama.cpp on the same cores in the same run.

Run ``python benchmarks/llama.py`` after ``qviz fetch smollm2`` and ``pip install llama-cpp-python``. Both generate 40
tokens behind a prompt of 256, five times in turn; the ratio is that of the medians. The last lines are perplexity runs
of the shipped model.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

import qviz
from qviz.transformer import Transformer, perplexity

PROMPT, NEW, ROUNDS = 256, 40, 5


def main() -> None:
    import llama_cpp

    source = qviz.load("smollm2").path
    text = qviz.models.heldout_text()[:4000]
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'SmolLM2-135M':12}  prompt: ours, llama.cpp, ratio   generation: ours, llama.cpp, ratio (tokens/s)")
        for name in ("Q4_1", "Q8_0", "Q4_K_M"):
            path = source
            if name != "Q4_1":  # as it is shipped
                path = Path(folder) / f"{name}.gguf"
                qviz.quantize_model(source, path, name, allow_requantize=True)
            ours = Transformer(qviz.load(path))
            ids = ours.tokenizer.encode(text)[:PROMPT]
            theirs = llama_cpp.Llama(str(path), n_ctx=512, n_threads=2, n_threads_batch=2, verbose=False, n_batch=512)
            rates: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
            for _ in range(ROUNDS + 1):
                cache = ours.new_cache(PROMPT + NEW)
                begun = time.perf_counter()
                ours.logits(ids, cache, last_only=True)
                middle = time.perf_counter()
                for token in ids[:NEW]:
                    ours.logits([token], cache)
                rates["ours"].append((PROMPT / (middle - begun), NEW / (time.perf_counter() - middle)))
                theirs.reset()
                begun = time.perf_counter()
                theirs.eval(ids)
                middle = time.perf_counter()
                for token in ids[:NEW]:
                    theirs.eval([token])
                rates["theirs"].append((PROMPT / (middle - begun), NEW / (time.perf_counter() - middle)))
            a, b = (np.median(rates[side][1:], axis=0) for side in ("ours", "theirs"))  # the first run warms up
            print(
                f"{name:12}  {a[0]:8.0f} {b[0]:8.0f} {a[0] / b[0]:6.2f}   {a[1]:12.1f} {b[1]:8.1f} {a[1] / b[1]:6.2f}"
            )
    tiny = Transformer(qviz.load("tiny"))
    for n in (10_000, 45_000):
        begun = time.perf_counter()
        found = perplexity(tiny, qviz.models.heldout_text(), max_tokens=n)
        print(f"{found}: {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
