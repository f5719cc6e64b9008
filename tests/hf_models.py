"""Tiny random Hugging Face models whose logits are known: weights come from a seed, logits from `transformers`.

`tests/golden/architectures.npz` has, for each case, what config.json says, what the tensors are called, and the logits
of a few of 64 tokens. The weights are made anew from the name of each tensor, so that nobody has to keep them.
"""

from __future__ import annotations

import functools
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "golden" / "architectures.npz"
N_TOKENS, N_VOCAB = 64, 320
SHOWN = np.arange(7, N_TOKENS, 8)  # the tokens whose logits are kept


def tokens() -> np.ndarray:
    """What every model reads."""
    return np.random.default_rng(64).integers(3, N_VOCAB, N_TOKENS)


def weight(name: str, shape: tuple[int, ...], dtype: str = "F32", centre: float = 1.0) -> np.ndarray:
    """A tensor of a model, the same everywhere; `centre` is what a norm's gains lie around."""
    return _drawn(name, shape, dtype, centre).copy()


@functools.cache
def _drawn(name: str, shape: tuple[int, ...], dtype: str, centre: float) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if dtype == "U8":  # MXFP4: four-bit codes, or exponents of about 2^-5
        return rng.integers(120, 124, shape, np.uint8) if name.endswith("scales") else rng.integers(0, 256, shape, "u1")
    x = rng.standard_normal(shape, np.float32)
    if len(shape) == 1 or name.endswith("bias"):
        is_gain = name.endswith("weight")
        return np.float32(0.2) * x + np.float32(centre if is_gain else 0)
    return x * np.float32(0.06)


def cases() -> dict[str, dict[str, Any]]:
    """Name -> ``config``, ``tensors`` (name -> [dtype, shape]) and ``logits`` (len(SHOWN), n_vocab)."""
    with np.load(GOLDEN) as stored:
        described = json.loads(bytes(stored["cases"]).decode())
        return {name: {**case, "logits": stored[name]} for name, case in described.items()}


def arrays(case: dict[str, Any]) -> dict[str, np.ndarray]:
    """The weights of a case."""
    centre = 0.0 if case["config"]["model_type"].startswith("gemma") else 1.0
    return {name: weight(name, tuple(shape), dtype, centre) for name, (dtype, shape) in case["tensors"].items()}
