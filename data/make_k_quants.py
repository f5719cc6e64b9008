"""Let ggml's own C library quantize real weights to the K-quants: ``libggml-k-quants.gguf``, for lesson 05.

    python data/make_k_quants.py [--output data/libggml-k-quants.gguf]

Needs the wheel ``pywhispercpp`` (x86-64 Linux), which ships the library prebuilt; the lesson itself does not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qviz import QTensor, gguf, load

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import ggml  # noqa: E402  (tests/ggml.py: the library behind ctypes)

FORMATS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
ROWS = 64  # of 256 weights


def make(output: Path) -> Path:
    """Write the first 64 · 256 weights of the embedding in each K-quant, as the C library has them."""
    weights = load("smollm2-slices")["token_embd.weight"].dequantize().reshape(-1, 256)[:ROWS]
    tensors = {name: QTensor.from_bytes(name, ggml.quantize(weights, name), weights.shape) for name in FORMATS}
    gguf.write(output, {"general.architecture": "none", "general.name": "libggml's K-quants"}, tensors)
    return output


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "data" / "libggml-k-quants.gguf")
    path = make(parser.parse_args().output)
    print(f"{path}: {path.stat().st_size:,} bytes")
