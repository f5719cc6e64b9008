"""Models that are fetched, on which two programs must agree: what each token costs, what each matrix receives, tokens.

The course's held-out text is read in windows, BOS first where the model wants one, the second half of each scored.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from odd_texts import odd_texts

import qviz
from qviz.transformer.evaluate import windows_of

GOLDEN = Path(__file__).parent / "golden" / "agreement_fetched.npz"
# model -> the recipe that is compared with the file as it comes
MODELS = {"smollm2": "Q4_K_M", "gemma3-270m": "Q8_0"}
CONTEXT, WINDOWS = 512, 8
FIRST = CONTEXT // 2
COLUMNS = 16  # of the sums of each matrix, every so-maniest is kept
N_TEXTS = 2000


def windows(model: qviz.Transformer) -> np.ndarray:
    """What is read, (WINDOWS, CONTEXT)."""
    return windows_of(model, qviz.models.heldout_text(), CONTEXT, WINDOWS * (CONTEXT - FIRST - 1))


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Float32, from logits (n_tokens, n_vocab)."""
    x = logits - logits.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True, dtype=np.float64)).astype(np.float32)


def scored(base: np.ndarray, other: np.ndarray, window: np.ndarray) -> np.ndarray:
    """−log p of each token that came, by either; and the divergence of the second from the first: (3, n_scored)."""
    rows, came = np.arange(CONTEXT - FIRST - 1), window[FIRST + 1 :]
    a, b = (log_probabilities(x) for x in (base, other))
    apart = np.einsum("ij,ij->i", np.exp(a), a - b, dtype=np.float64)
    return np.array([-a[rows, came], -b[rows, came], apart])


def texts(tokenizer: qviz.transformer.Tokenizer) -> list[str]:
    """Odd texts, with spellings of the model's own special tokens among them."""
    special = [text for text, kind in zip(tokenizer.tokens, tokenizer.kinds, strict=True) if kind in (3, 4)]
    spelled = [*special[:60], "<|im_start|>", "<start_of_turn>", "</s>", "<eos>", "<bos>"]
    return list(odd_texts(N_TEXTS, 11, spelled, qviz.models.heldout_text()))


def digest(ids: list[int]) -> int:
    """Of the tokens of a text."""
    return zlib.crc32(np.array(ids, np.int32).tobytes())
