"""Small random models of every architecture, made from its table, and a float64 forward pass with no code of ours."""

from __future__ import annotations

import numpy as np

import qviz
from qviz import gguf
from qviz.architectures import ARCHITECTURES, REQUIRED, size

# by the names of the settings; what a family needs beyond these, its own table of sizes says
SIZES = {
    "n_layers": 2, "n_ctx": 64, "n_embd": 64, "n_ff": 96, "n_head": 4, "n_head_kv": 2, "n_vocab": 300,
    "norm_eps": 1e-5, "rope_base": 10000.0,
}  # fmt: skip


class Made(dict):
    """Tensors in memory, with metadata: all that a model needs to be."""

    metadata: dict

    def but(self, metadata=None, **tensors):
        """A copy with other metadata or tensors; None takes one away."""
        other = Made({name: x for name, x in {**self, **tensors}.items() if x is not None})
        changed = {**self.metadata, **(metadata or {})}
        other.metadata = {key: value for key, value in changed.items() if value is not None}
        return other


def tokenizer(n_vocab):
    """A SentencePiece vocabulary: three controls, the bytes, and letters."""
    letters = [f"\u2581{chr(97 + i)}" for i in range(20)] + [chr(97 + i) for i in range(max(n_vocab - 279, 0))]
    tokens = (["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + letters)[:n_vocab]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": gguf.Array(tokens, "str"),
        "tokenizer.ggml.scores": gguf.Array([float(-i) for i in range(len(tokens))], "f32"),
        "tokenizer.ggml.token_type": gguf.Array(([2, 3, 3] + [6] * 256 + [1] * len(letters))[: len(tokens)], "i32"),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def made(name="llama", optional=(), fmt="F32", seed=0, metadata=None, **sizes):
    """A model of an architecture.

    `optional` names tensors as the table does, or "all"; `sizes` are settings by name; `metadata` is added as it is.
    """
    architecture, rng = ARCHITECTURES[name], np.random.default_rng(seed)
    given = {**SIZES, **sizes}
    model = Made()
    model.metadata = {"general.architecture": name, "general.name": "made", **tokenizer(given["n_vocab"])}
    values = {}
    for setting in architecture.settings:
        default = (
            size(setting.default, values)
            if isinstance(setting.default, str) and setting.kind == "count"
            else setting.default
        )
        values[setting.name] = given.get(setting.name, default)
        assert values[setting.name] is not REQUIRED, f"SIZES in {__file__} has no {setting.name}, which {name} needs"
        if setting.name in given:
            model.metadata[f"{name}.{setting.key}"] = given[setting.name]
    for tensor, place in architecture.names(values["n_layers"]):
        if place.optional and optional != "all" and place.name not in optional:
            continue
        shape = tuple(size(product, values) for product in place.shape)
        x = rng.standard_normal(shape)
        if place.role in ("norm", "factors"):
            x = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            x /= np.sqrt(shape[-1])
        model[tensor] = qviz.quantize(x.astype(np.float32), fmt if len(shape) > 1 else "F32")
    model.metadata |= metadata or {}
    return model


def reference_logits(model, tokens):
    """A Llama in float64, each formula as the papers have it, one head at a time."""
    meta = model.metadata
    w = {name: model[name].dequantize().astype(np.float64) for name in model}

    def get(key, default=None):
        value = meta.get(f"llama.{key}", default)
        return value[0] if isinstance(value, list) else value  # the same in all layers, or it does not run

    heads, width = get("attention.head_count"), get("embedding_length")
    kv, size = get("attention.head_count_kv", heads), get("attention.key_length", width // heads)
    eps, base, turned_size = (
        get("attention.layer_norm_rms_epsilon"),
        get("rope.freq_base", 10000.0),
        get("rope.dimension_count", size),
    )
    scale = get("attention.scale") or 1 / np.sqrt(size)
    factor = 1.0
    if get("rope.scaling.type", "linear") == "linear":
        factor = get("rope.scaling.factor", get("rope.scale_linear", 0)) or 1.0
    n = len(tokens)
    frequencies = base ** (-np.arange(0, turned_size, 2) / turned_size) / w.get("rope_freqs.weight", 1.0)

    def norm(x, gain):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * gain

    def times(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def turned(x):  # (n, size): pairs as complex numbers
        angle = np.arange(n)[:, None] / factor * frequencies
        z = (
            (x[:, 0:turned_size:2] + 1j * x[:, 1:turned_size:2])
            * np.exp(1j * angle)
            * get("rope.scaling.attn_factor", 1)
        )
        return np.concatenate([np.stack([z.real, z.imag], -1).reshape(n, turned_size), x[:, turned_size:]], -1)

    x = w["token_embd.weight"][tokens]
    for i in range(get("block_count")):
        p = f"blk.{i}."
        h = norm(x, w[p + "attn_norm.weight"])
        q, k, v = (times(h, f"{p}attn_{part}") for part in "qkv")
        mixed = []
        for head in range(heads):
            mine, theirs = slice(head * size, (head + 1) * size), head // (heads // kv) * size
            scores = turned(q[:, mine]) @ turned(k[:, theirs : theirs + size]).T * scale
            scores[np.triu_indices(n, 1)] = -np.inf
            e = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(e / e.sum(-1, keepdims=True) @ v[:, theirs : theirs + size])
        x = x + times(np.concatenate(mixed, -1), p + "attn_output")
        h = norm(x, w[p + "ffn_norm.weight"])
        gate, up = times(h, p + "ffn_gate"), times(h, p + "ffn_up")
        x = x + times(gate / (1 + np.exp(-gate)) * up, p + "ffn_down")
    out = w.get("output.weight", w["token_embd.weight"])
    return norm(x, w["output_norm.weight"]) @ out.T
