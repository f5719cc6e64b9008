"""Hugging Face model folders, made with the libraries that make real ones: safetensors, tokenizers, sentencepiece."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "I've told him 3 times: 12345 is not 54321, isn't it?",
    "Numbers 0 1 2 3 4 5 6 7 8 9 10 100 1000; code: def f(x): return x + 1",
    "Über den Wolken - naïve café, 北京 and 東京, Привет мир!",
    "  spaces   and\ttabs\nand new lines\n\n",
] * 20

LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)

N_EMBD, N_FF, N_LAYER, N_HEAD, N_HEAD_KV = 32, 48, 2, 4, 2


def config(n_vocab: int, **changes: Any) -> dict[str, Any]:
    values = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": n_vocab,
        "hidden_size": N_EMBD,
        "intermediate_size": N_FF,
        "num_hidden_layers": N_LAYER,
        "num_attention_heads": N_HEAD,
        "num_key_value_heads": N_HEAD_KV,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
    }
    return {key: value for key, value in (values | changes).items() if value is not ...}


def tensors(values: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """float32 weights with the shapes that a config asks for."""
    rng = np.random.default_rng(seed)
    n, ff, vocab = values["hidden_size"], values["intermediate_size"], values["vocab_size"]
    size = values.get("head_dim", n // values["num_attention_heads"])
    q, kv = size * values["num_attention_heads"], size * values["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, n), "model.norm.weight": (n,)}
    if not values.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (vocab, n)
    for i in range(values["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.{name}.weight": (n,) for name in ("input_layernorm", "post_attention_layernorm")}
        attention = {"q_proj": (q, n), "k_proj": (kv, n), "v_proj": (kv, n), "o_proj": (n, q)}
        shapes |= {f"{layer}.self_attn.{name}.weight": shape for name, shape in attention.items()}
        mlp = {"gate_proj": (ff, n), "up_proj": (ff, n), "down_proj": (n, ff)}
        shapes |= {f"{layer}.mlp.{name}.weight": shape for name, shape in mlp.items()}
        if values.get("attention_bias"):
            shapes |= {f"{layer}.self_attn.{name}.bias": shape[:1] for name, shape in attention.items()}
        if values.get("mlp_bias"):
            shapes |= {f"{layer}.mlp.{name}.bias": shape[:1] for name, shape in mlp.items()}
    return {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def bfloat16(x: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers (which have nothing in the lower ones)."""
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def write_safetensors(path: Path, arrays: dict[str, np.ndarray], dtype: str = "F32") -> None:
    """Through the `safetensors` package; BF16, which NumPy lacks, by hand."""
    if dtype != "BF16":
        save_file({name: x.astype({"F32": "f4", "F16": "f2"}[dtype]) for name, x in arrays.items()}, path)
        return
    header, data = {}, b""
    for name, x in arrays.items():
        raw = bfloat16(x).tobytes()
        header[name] = {"dtype": "BF16", "shape": x.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), "utf-8")


# -- tokenizers

WORDS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama-bpe": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


def byte_level(words: str, n_vocab: int = 400) -> Tokenizer:
    """A trained byte-level tokenizer; with BOS in front if it is Llama 3's kind."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=words == "llama-bpe"))
    tokenizer.pre_tokenizer = WORDS[words]
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>", "<|pad|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    if words == "llama-bpe":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
        )
    return tokenizer


def sentencepiece_model(n_vocab: int = 420) -> bytes:
    """A SentencePiece model of LLaMA's kind: BPE, bytes for what is unknown, a space in front."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=out,
        vocab_size=n_vocab,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        minloglevel=2,
    )
    return out.getvalue()


def llama_tokenizer(model: bytes) -> Tokenizer:
    """The same as tokenizer.json: the pairs that make each piece, best score first, as LLaMA's was made."""
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocab = {pieces.id_to_piece(i): i for i in range(pieces.vocab_size())}
    merges = []
    for piece, index in vocab.items():
        if pieces.is_byte(index) or pieces.is_control(index) or pieces.is_unknown(index):
            continue
        cuts = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
        pairs = sorted((vocab[a], vocab[b], a, b) for a, b in cuts if a in vocab and b in vocab)
        merges += [(-pieces.get_score(index), a, b) for _, _, a, b in pairs]
    merges.sort(key=lambda merge: merge[0])
    bpe = models.BPE(vocab, [(a, b) for _, a, b in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def folder(
    path: Path,
    tokenizer: Tokenizer,
    *,
    dtype: str = "F32",
    tokenizer_config: dict[str, Any] | None = None,
    padding: int = 0,
    **changes: Any,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A whole model folder; returns its config and its weights."""
    path.mkdir(exist_ok=True)
    values = config(tokenizer.get_vocab_size() + padding, **changes)
    arrays = tensors(values)
    if dtype == "F16":
        arrays = {name: x.astype(np.float16).astype(np.float32) for name, x in arrays.items()}
    if dtype == "BF16":
        arrays = {name: (x.view(np.uint32) & 0xFFFF0000).view(np.float32) for name, x in arrays.items()}
    write_json(path / "config.json", values)
    write_safetensors(path / "model.safetensors", arrays, dtype)
    tokenizer.save(str(path / "tokenizer.json"))
    if tokenizer_config is not None:
        write_json(path / "tokenizer_config.json", tokenizer_config)
    return values, arrays


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
