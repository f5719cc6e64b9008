"""Files of the shipped model in kinds that few programs read: what two programs must agree on when they run them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

import qviz
from qviz import gguf
from qviz.recipes import Switches
from qviz.transformer.evaluate import windows_of

HERE = Path(__file__).parent / "golden"
GOLDEN, IMATRIX = HERE / "agreement_files.npz", HERE / "imatrix.gguf"
CONTEXT, WINDOWS = 256, 4
FIRST = CONTEXT // 2  # the second half of a window is scored


def _recipe(name: str, **switches: object) -> Callable[[Path], Path]:
    """What llama-imatrix measured goes into the file of every recipe."""

    def write(folder: Path) -> Path:
        source, out = qviz.load("tiny").path, folder / "model.gguf"
        return qviz.quantize_model(source, out, name, imatrix=IMATRIX, switches=Switches(**switches)).path

    return write


def _split(folder: Path) -> Path:
    whole = qviz.quantize_model(qviz.load("tiny").path, folder / "whole.gguf", "Q8_0").path
    return gguf.split(whole, folder / "part", max_tensors=30)[0]


FILES: dict[str, Callable[[Path], Path]] = {
    **{name: _recipe(name) for name in (
        "BF16", "Q5_K_S", "Q4_K_S", "Q3_K_L", "Q3_K_S", "Q2_K_S", "IQ4_XS", "IQ3_M", "IQ3_S", "IQ3_XXS", "IQ2_M",
        "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S", "TQ1_0", "TQ2_0", "Q2_0", "Q1_0")},
    "MXFP4": _recipe("MXFP4", pure=True),
    "NVFP4": _recipe("Q8_0", tensor_type=("attn|ffn=nvfp4",)),
    "in three files": _split,
}  # fmt: skip


def source() -> bytes:
    """A digest of the model and of the text that it reads."""
    return hashlib.sha256(qviz.load("tiny").path.read_bytes() + qviz.models.heldout_text().encode()).digest()


def windows() -> np.ndarray:
    """What the models read, (WINDOWS, CONTEXT)."""
    run = qviz.Transformer(qviz.load("tiny"))
    return windows_of(run, qviz.models.heldout_text(), CONTEXT, WINDOWS * (CONTEXT - FIRST - 1))


def surprise(logits: np.ndarray, window: np.ndarray) -> np.ndarray:
    """−log p of the tokens that came, float64; logits (n_scored, n_vocab) of positions `FIRST` to the last but one."""
    x = np.asarray(logits, np.float64)
    x = x - x.max(-1, keepdims=True)
    came = window[FIRST + 1 :]
    return np.log(np.exp(x).sum(-1)) - x[np.arange(came.size), came]
