"""Write agreement_files.npz: what llama.cpp expects of each token, by files of the shipped model in rare formats.

Run ``PYTHONPATH=.. python make_agreement_files.py`` where llama-cpp-python is installed.
"""

import tempfile
from pathlib import Path

import agreement_files as files
import llamacpp
import numpy as np


def figures(path: Path, windows: np.ndarray) -> np.ndarray:
    """−log p of every token that is scored, and a few tokens generated behind the last window on the way."""
    found = []
    with llamacpp.Opened(path, files.CONTEXT + 8, kv=1) as theirs:
        for window in windows:
            logits = theirs.logits(window)
            found.append(files.surprise(logits[files.FIRST : -1], window))
        for _ in range(8):
            logits = theirs.logits([int(logits[-1].argmax())], forget=False)
            assert np.isfinite(logits).all()
    return np.concatenate(found).astype(np.float32)


def main() -> None:
    windows, found = files.windows(), {}
    for name, write in files.FILES.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = figures(write(Path(folder)), windows)
        print(f"{name:16} perplexity {np.exp(found[name].mean(dtype=np.float64)):12.3f}", flush=True)
    np.savez_compressed(files.GOLDEN, source=np.frombuffer(files.source(), np.uint8), **found)


if __name__ == "__main__":
    main()
