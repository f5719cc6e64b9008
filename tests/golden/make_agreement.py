"""Write agreement.npz: logits of small random models of every family, as llama.cpp computes them.

Run ``PYTHONPATH=.. python make_agreement.py`` where llama-cpp-python is installed (see `tests/agreement_models.py`).
"""

import json
import sys
import tempfile
from pathlib import Path

import agreement_models as models
import llamacpp
import numpy as np


def figures(case: str, fmt: str, path: Path) -> np.ndarray:
    """What llama.cpp computes of a case: the logits that are kept, float32 (n_tokens, n_shown)."""
    with llamacpp.Opened(models.write(case, fmt, path)) as theirs:
        logits = theirs.logits(models.tokens(case))
    return logits[models.shown(logits.shape[1])]


def main() -> None:
    found: dict[str, list[np.ndarray]] = {fmt: [] for fmt in models.FORMATS}
    digests: dict[str, list[str]] = {fmt: [] for fmt in models.FORMATS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        for fmt in models.FORMATS:
            for case in models.cases_of(fmt):
                print(fmt, case, flush=True)
                found[fmt].append(figures(case, fmt, path))
                digests[fmt].append(models.digest(path))
    cases = {fmt: models.cases_of(fmt) for fmt in models.FORMATS}
    record = {"llama-cpp-python": llamacpp.version(), "cases": cases, "weights": digests}
    stored = np.frombuffer(json.dumps(record).encode(), np.uint8)
    np.savez_compressed(models.GOLDEN, about=stored, **{fmt: np.stack(rows) for fmt, rows in found.items()})
    print(models.GOLDEN.stat().st_size)


if __name__ == "__main__":
    sys.exit(main())
