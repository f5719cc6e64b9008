"""Make perplexity.json: what llama.cpp itself finds on the shipped model, for the tests of `qviz.perplexity`.

Run ``python make_perplexity.py`` where llama-cpp-python is installed, whenever ``data/tiny.gguf`` or the held-out text
changes. Each window is evaluated by llama.cpp alone; only the sums are ours, in float64.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np

import qviz

RECIPES = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0", "IQ4_NL", "Q3_K_M", "Q2_K")
CONTEXT = 256
SLICES = [[at, at + 10_000] for at in (0, 300_000, 600_000, 900_000)]  # of the held-out text


def log_probabilities(path: Path, windows: list[list[int]]) -> np.ndarray:
    model = llama_cpp.Llama(
        str(path), n_ctx=CONTEXT, n_batch=CONTEXT, logits_all=True, n_threads=2, n_threads_batch=2, verbose=False
    )
    rows = []
    for window in windows:
        model.reset()
        model.eval(window)
        logits = np.array(model.scores[CONTEXT // 2 : CONTEXT - 1], np.float64)
        logits -= logits.max(-1, keepdims=True)
        rows.append(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    model.close()
    return np.concatenate(rows)


def main() -> None:
    source = qviz.load("tiny").path
    whole = qviz.models.heldout_text()
    text = "\n\n".join(whole[begin:end] for begin, end in SLICES)
    with tempfile.TemporaryDirectory() as folder:
        found, base, windows = {}, None, []
        for recipe in RECIPES:
            path = Path(folder) / f"{recipe}.gguf"
            qviz.quantize_model(source, path, recipe)
            if not windows:  # tokens as llama.cpp finds them, BOS before each window's second token
                model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
                ids = model.tokenize(text.encode(), add_bos=True)
                starts = range(0, len(ids) - CONTEXT + 1, CONTEXT)
                windows = [[model.token_bos(), *ids[a + 1 : a + CONTEXT]] for a in starts]
            ours = log_probabilities(path, windows)
            came = np.array([window[CONTEXT // 2 + 1 :] for window in windows]).ravel()
            nll = -ours[np.arange(came.size), came]
            base = ours if base is None else base
            kld = (np.exp(base) * (base - ours)).sum(-1)
            found[recipe] = {
                "ppl": round(float(np.exp(nll.mean())), 5),
                "kld": round(float(kld.mean()), 7),
                "same_top": round(float((ours.argmax(-1) == base.argmax(-1)).mean()), 5),
            }
            print(recipe, found[recipe])
    record = {
        "llama-cpp-python": llama_cpp.__version__,
        "model": hashlib.sha256(source.read_bytes()).hexdigest(),
        "text": hashlib.sha256(whole.encode()).hexdigest(),
        "slices": SLICES,
        "n_ctx": CONTEXT,
        "tokens": int(came.size),
        "found": found,
    }
    Path(__file__).with_name("perplexity.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
