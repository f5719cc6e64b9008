"""Converted models in llama.cpp itself: its tokens against the tokenizer's, its logits against plain NumPy.

Runs where ``llama-cpp-python`` is installed; it is no test dependency, since it has to be compiled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hf_folders as folders
import numpy as np
import pytest
import sentencepiece
from tokenizers import Tokenizer

from qviz import checkpoints

llama_cpp = pytest.importorskip("llama_cpp", reason="pip install llama-cpp-python to compare with llama.cpp itself")

TEXTS = [
    "The quick brown fox isn't lazy",
    "  two spaces, 12345 and 6.78\tTAB\n\nnew  lines \n ",
    "naïve café 北京 東京 Привет 🚀 I'VE they'll",
    "def f(x):\n    return x+1  # code <|end|> <tool>x",
    "a",
]


def opened(path: Path, **options: Any) -> Any:
    return llama_cpp.Llama(str(path), n_ctx=64, n_threads=1, verbose=False, **options)


@pytest.mark.parametrize("words", folders.WORDS)
def test_byte_level_tokens(tmp_path: Path, words: str) -> None:
    tokenizer = folders.byte_level(words)
    folders.folder(tmp_path / "model", tokenizer)
    model = opened(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    for text in (*TEXTS, *folders.TEXT[:5]):
        assert model.tokenize(text.encode(), special=True) == tokenizer.encode(text).ids


@pytest.mark.parametrize("with_model", [False, True])
def test_sentencepiece_tokens(tmp_path: Path, with_model: bool) -> None:
    raw = folders.sentencepiece_model()
    tokenizer = folders.llama_tokenizer(raw)
    folders.folder(tmp_path / "model", tokenizer)
    if with_model:
        (tmp_path / "model" / "tokenizer.model").write_bytes(raw)
    model = opened(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    pieces = sentencepiece.SentencePieceProcessor(model_proto=raw)
    for text in (*TEXTS, *folders.TEXT[:5]):
        text = text.replace("<|end|>", "")
        assert model.tokenize(text.encode()) == [1, *pieces.encode(text)]
        assert tokenizer.encode(text).ids == [1, *pieces.encode(text)]


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True, "num_key_value_heads": 1},
        {"num_key_value_heads": 4, "attention_bias": True},
        {"rope_theta": 100.0, "rope_scaling": LLAMA3 | {"original_max_position_embeddings": 64}},
    ],
)
def test_logits(tmp_path: Path, changes: dict[str, Any]) -> None:
    tokenizer: Tokenizer = folders.byte_level("smollm")
    config, weights = folders.folder(tmp_path / "model", tokenizer, **changes)
    # norms near one, so that signals survive; the weights' other random draws stay
    weights = {name: x + 1 if x.ndim == 1 and "norm" in name else 3 * x for name, x in weights.items()}
    folders.write_safetensors(tmp_path / "model" / "model.safetensors", weights)
    model = opened(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf", type="f32"), logits_all=True)
    ids = np.random.default_rng(2).integers(0, config["vocab_size"], 24).tolist()
    model.eval(ids)
    ours, theirs = folders.forward(config, weights, ids), np.array(model.scores[: len(ids)])
    # llama.cpp keeps keys and values in float16; a row in the wrong place costs a whole deviation
    assert np.abs(ours - theirs).max() < 0.02 * ours.std()
