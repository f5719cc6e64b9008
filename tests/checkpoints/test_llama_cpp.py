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


def forward(config: dict[str, Any], weights: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """A Llama forward pass as Hugging Face defines it, in float64: logits (tokens, vocabulary)."""
    w = {name: x.astype(np.float64) for name, x in weights.items()}
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    size, n = config["hidden_size"] // heads, len(ids)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * w[f"{name}.weight"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    frequency = config["rope_theta"] ** -(np.arange(0, size, 2) / size)
    if scaling := config.get("rope_scaling"):
        context, wave = scaling["original_max_position_embeddings"], 2 * np.pi / frequency
        low, high = context / scaling["low_freq_factor"], context / scaling["high_freq_factor"]
        part = (context / wave - scaling["low_freq_factor"]) / (
            scaling["high_freq_factor"] - scaling["low_freq_factor"]
        )
        between = (1 - part) * frequency / scaling["factor"] + part * frequency
        frequency = np.where(wave < high, frequency, np.where(wave > low, frequency / scaling["factor"], between))
    angle = np.arange(n)[:, None, None] * np.concatenate([frequency, frequency])

    def rotate(x: np.ndarray) -> np.ndarray:
        turned = np.concatenate([-x[..., size // 2 :], x[..., : size // 2]], -1)
        return x * np.cos(angle) + turned * np.sin(angle)

    x = w["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        h = norm(x, f"{layer}.input_layernorm")
        q = rotate(linear(h, f"{layer}.self_attn.q_proj").reshape(n, heads, size))
        k = rotate(linear(h, f"{layer}.self_attn.k_proj").reshape(n, kv, size)).repeat(heads // kv, 1)
        v = linear(h, f"{layer}.self_attn.v_proj").reshape(n, kv, size).repeat(heads // kv, 1)
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(size) + np.triu(np.full((n, n), -np.inf), 1)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hij,jhd->ihd", scores / scores.sum(-1, keepdims=True), v).reshape(n, -1)
        x = x + linear(mixed, f"{layer}.self_attn.o_proj")
        h = norm(x, f"{layer}.post_attention_layernorm")
        gate = linear(h, f"{layer}.mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(h, f"{layer}.mlp.up_proj"), f"{layer}.mlp.down_proj")
    head = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    return norm(x, "model.norm") @ w[head].T


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
    ours, theirs = forward(config, weights, ids), np.array(model.scores[: len(ids)])
    # llama.cpp keeps keys and values in float16; a row in the wrong place costs a whole deviation
    assert np.abs(ours - theirs).max() < 0.02 * ours.std()
