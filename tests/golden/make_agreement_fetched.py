"""Write agreement_fetched.npz: tokens, surprise, divergence and importance of fetched models, as llama.cpp finds them.

Run ``PYTHONPATH=.. python make_agreement_fetched.py`` where llama-cpp-python is installed, after ``qviz fetch smollm2``
and ``qviz fetch gemma3-270m``.
"""

import json
import tempfile
from pathlib import Path

import agreement_fetched as fetched
import llamacpp
import numpy as np

import qviz


def figures(name: str, other: Path) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, int]]:
    """Surprise and divergence (3, n_tokens); sums of squares that each matrix receives, and over how many tokens."""
    model = qviz.load(name)
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}

    def look(weight: str, x: np.ndarray, experts: object) -> None:
        if weight.startswith("blk."):
            sums[weight] = sums.get(weight, 0) + np.einsum("ij,ij->j", x, x, dtype=np.float64)
            counts[weight] = counts.get(weight, 0) + len(x)

    windows, found = fetched.windows(qviz.Transformer(model)), []
    with (
        llamacpp.Opened(model.path, fetched.CONTEXT, kv=1, look=look) as first,
        llamacpp.Opened(other, fetched.CONTEXT, kv=1) as second,
    ):
        for window in windows:
            rows = (theirs.logits(window)[fetched.FIRST : -1] for theirs in (first, second))
            found.append(fetched.scored(*rows, window))
            print(name, len(found), found[-1].mean(-1), flush=True)
    return np.concatenate(found, axis=1), sums, counts


def main() -> None:
    stored: dict[str, np.ndarray] = {}
    about: dict[str, dict[str, int]] = {}
    for name, recipe in fetched.MODELS.items():
        model = qviz.load(name)
        tokenizer = qviz.Transformer(model).tokenizer
        with llamacpp.Opened(model.path, vocab_only=True) as theirs:
            digests = [
                [fetched.digest(theirs.tokens(text, bos=True, special=special)) for text in fetched.texts(tokenizer)]
                for special in (False, True)
            ]
        stored[f"{name}, tokens"] = np.array(digests, np.uint32)
        with tempfile.TemporaryDirectory() as folder:
            other = qviz.quantize_model(model.path, Path(folder) / "m.gguf", recipe, allow_requantize=True).path
            stored[f"{name}, scored"], sums, about[name] = figures(name, other)
        stored[f"{name}, scored"] = stored[f"{name}, scored"].astype(np.float32)
        stored[f"{name}, sums"] = np.concatenate([x[:: fetched.COLUMNS] for x in sums.values()]).astype(np.float32)
    stored["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez_compressed(fetched.GOLDEN, **stored)
    print(fetched.GOLDEN.stat().st_size)


if __name__ == "__main__":
    main()
