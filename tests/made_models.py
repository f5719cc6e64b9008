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
EXPERTS = {"n_expert": 4, "n_expert_used": 2, "n_ff_expert": 32}
# what a family needs beyond these, or what would else stay untried
OWN_SIZES = {
    "gemma2": {"window": 5, "attention_cap": 2.0, "logit_cap": 3.0, "n_layers": 3},
    "gemma3": {"window": 5, "n_layers": 7, "window_rope_base": 500.0},
    "olmo2": {"window": 5, "n_layers": 4},
    "smollm3": {"n_layers": 4},
    "granite": {"logit_divisor": 1.5, "embedding_scale": 3.0, "residual_scale": 0.6, "attention_scale": 0.3},
    "qwen3": {"head_size": 32, "value_size": 32},
    "qwen3moe": EXPERTS,
    "gpt-oss": {**EXPERTS, "window": 5},
}
# how families differ where no setting says so: an account of its own, to hold ours against
HALVES = {"rope": "halves"}
HOW = {
    "llama": {},
    "smollm3": {"unturned": 4},
    "granite": {},
    "qwen2": HALVES,
    "qwen3": HALVES,
    "qwen3moe": HALVES,
    "phi3": HALVES,
    "olmo2": {**HALVES, "windowed": 4, "unscaled": True},
    "gemma2": {**HALVES, "act": "gelu", "windowed": 2, "root": True, "window": 4096, "caps": (50.0, 30.0)},
    "gemma3": {**HALVES, "act": "gelu", "windowed": 6, "root": True, "unscaled": True, "swa_base": 10000.0},
    "gpt2": {"rope": "none", "act": "gelu"},
    "gpt-oss": {**HALVES, "windowed": 2, "act": "oai", "ffn_norm": "post_attention_norm"},
}
WIDE = {"gemma2": 46, "gemma3": 62}


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
    given = {**SIZES, **OWN_SIZES.get(name, {}), **sizes}
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
    for tensor, place in architecture.names(values["n_layers"], bool(values.get("n_expert"))):
        if place.optional and optional != "all" and place.name not in optional:
            continue
        shape = tuple(size(product, values) for product in place.shape)
        x = rng.standard_normal(shape)
        if place.role in ("norm", "factors"):
            x = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1 and place.role != "bias":
            x /= np.sqrt(shape[-1])
        model[tensor] = qviz.quantize(x.astype(np.float32), fmt if len(shape) > 1 and place.role != "bias" else "F32")
    model.metadata |= metadata or {}
    return model


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def silu(x):
    return x / (1 + np.exp(-x))


def clamped(gate, up):
    gate, up = np.minimum(gate, 7), np.clip(up, -7, 7)
    return gate / (1 + np.exp(-1.702 * gate)) * (up + 1)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Reference:
    """A transformer in float64, each formula as the papers have it, one head and one expert at a time."""

    def __init__(self, model):
        self.meta, self.name = model.metadata, model.metadata["general.architecture"]
        self.how = HOW[self.name]
        self.w = {name: model[name].dequantize().astype(np.float64) for name in model}
        get = self.get
        self.layers, self.width, self.heads = get("block_count"), get("embedding_length"), get("attention.head_count")
        self.kv = get("attention.head_count_kv", self.heads)
        self.size = get("attention.key_length", self.width // self.heads)
        eps = "attention.layer_norm_epsilon" if self.name == "gpt2" else "attention.layer_norm_rms_epsilon"
        self.eps = get(eps)
        self.window = get("attention.sliding_window", self.how.get("window", 0)) if "windowed" in self.how else 0
        self.caps = [
            get(key, default)
            for key, default in zip(
                ("attn_logit_softcapping", "final_logit_softcapping"), self.how.get("caps", (0, 0)), strict=True
            )
        ]
        wide = WIDE.get(self.name) == self.layers
        self.scale = get("attention.scale") or (self.width // self.heads if wide else self.size) ** -0.5

    def get(self, key, default=None):
        value = self.meta.get(f"{self.name}.{key}", default)
        # the same in all layers, or it does not run
        return value[0] if isinstance(value, list) and "pattern" not in key else value

    def is_windowed(self, i):
        pattern = self.get("attention.sliding_window_pattern", self.how.get("windowed"))
        if not self.window:
            return False
        if isinstance(pattern, list):
            return bool(pattern[i])
        return pattern == 0 or i % pattern != pattern - 1

    def norm(self, x, name):
        if f"{name}.weight" not in self.w:
            return x
        gain = self.w[f"{name}.weight"]
        if self.name == "gpt2":
            centred = x - x.mean(-1, keepdims=True)
            scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.eps)
            return scaled * gain + self.w[f"{name}.bias"]
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + self.eps) * gain

    def times(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w.get(f"{name}.bias", 0.0)

    def frequencies(self, windowed, length):
        """How far a pair turns from one position to the next, and what sines and cosines are multiplied with."""
        size = self.get("rope.dimension_count", self.size)
        base = self.get("rope.freq_base", 10000.0)
        if windowed:
            base = self.get("rope.freq_base_swa", self.how.get("swa_base", base))
        plain = base ** (-np.arange(0, size, 2) / size)
        if windowed and self.how.get("unscaled"):
            return plain, 1.0
        original = self.get("rope.scaling.original_context_length", self.get("context_length"))
        divisor = self.w.get("rope_freqs.weight", 1.0)
        divisor = self.w.get(f"rope_factors_{'long' if length > original else 'short'}.weight", divisor)
        plain, magnitude = plain / divisor, self.get("rope.scaling.attn_factor", 1)
        factor = self.get("rope.scaling.factor", self.get("rope.scale_linear", 0)) or 1.0
        kind = self.get("rope.scaling.type", "linear")
        if kind == "linear":
            return plain / factor, magnitude
        if kind != "yarn":
            return plain, magnitude
        # pairs that turn 32 times within the old context keep their speed, those that turn once do not
        turns = [size * np.log(original / (n * 2 * np.pi)) / (2 * np.log(base)) for n in (32, 1)]
        low, high = max(np.floor(turns[0]), 0), min(np.ceil(turns[1]), size - 1)
        slow = np.clip((np.arange(size // 2) - low) / max(high - low, 0.001), 0, 1)
        grown = 1 + 0.1 * np.log(factor) if factor > 1 else 1.0
        return plain * (1 - slow) + plain / factor * slow, magnitude * grown

    def turned(self, x, i):
        """(n, size): pairs as complex numbers."""
        step = self.how.get("unturned")
        off = self.how.get("rope") == "none" or (self.name == "granite" and self.get("rope.scaling.finetuned") is False)
        if off or (step and i % step == step - 1):
            return x
        found, magnitude = self.frequencies(self.is_windowed(i), len(x))
        n = 2 * len(found)
        first, second = (x[:, : n // 2], x[:, n // 2 : n]) if self.how.get("rope") else (x[:, 0:n:2], x[:, 1:n:2])
        z = (first + 1j * second) * np.exp(1j * np.arange(len(x))[:, None] * found) * magnitude
        parts = [z.real, z.imag] if self.how.get("rope") else [np.stack([z.real, z.imag], -1).reshape(len(x), n)]
        return np.concatenate([*parts, x[:, n:]], -1)

    def attention(self, i, h):
        p, n, size = f"blk.{i}.", len(h), self.size
        if p + "attn_qkv.weight" in self.w:
            together = self.times(h, p + "attn_qkv")
            q, k, v = np.split(together, [self.heads * size, (self.heads + self.kv) * size], -1)
        else:
            q, k, v = (self.times(h, f"{p}attn_{part}") for part in "qkv")

        def normed(x, name):
            gain = self.w.get(f"{p}{name}.weight")
            return x if gain is None else self.norm(x.reshape(n, -1, len(gain)), p + name).reshape(n, -1)

        q, k = normed(q, "attn_q_norm"), normed(k, "attn_k_norm")
        mixed = []
        for head in range(self.heads):
            mine, theirs = slice(head * size, (head + 1) * size), head // (self.heads // self.kv) * size
            scores = self.turned(q[:, mine], i) @ self.turned(k[:, theirs : theirs + size], i).T * self.scale
            if self.caps[0]:
                scores = self.caps[0] * np.tanh(scores / self.caps[0])
            scores[np.triu_indices(n, 1)] = -np.inf
            if self.is_windowed(i):
                scores[np.tril_indices(n, -self.window)] = -np.inf
            sinks = self.w.get(p + "attn_sinks.weight")
            if sinks is not None:
                scores = np.concatenate([scores, np.full((n, 1), sinks[head])], -1)
            mixed.append(softmax(scores)[:, :n] @ v[:, theirs : theirs + size])
        return self.times(np.concatenate(mixed, -1), p + "attn_output")

    def gate(self, gate, up):
        if self.how.get("act") == "oai":
            return clamped(gate, up)
        return (gelu if self.how.get("act") == "gelu" else silu)(gate) * up

    def feed_forward(self, i, h):
        p = f"blk.{i}.ffn_"
        if p + "gate_inp.weight" in self.w:
            return np.stack([self.experts(p, x) for x in h])
        if p + "gate.weight" in self.w:
            return self.times(self.gate(self.times(h, p + "gate"), self.times(h, p + "up")), p + "down")
        both = self.times(h, p + "up")
        if self.name == "gpt2":
            return self.times(gelu(both), p + "down")
        return self.times(self.gate(*np.split(both, 2, -1)), p + "down")

    def experts(self, p, x):
        """One token: the softmax over all experts, of which the highest are taken and made to sum up to one."""
        scores = self.times(x, p + "gate_inp")
        best = np.argsort(-scores, kind="stable")[: self.get("expert_used_count")]
        shares = softmax(scores)[best] / softmax(scores)[best].sum()
        out = 0
        for expert, share in zip(best, shares, strict=True):

            def times(y, name, expert=expert):
                bias = self.w.get(f"{p}{name}_exps.bias")
                return self.w[f"{p}{name}_exps.weight"][expert] @ y + (0 if bias is None else bias[expert])

            out = out + share * times(self.gate(times(x, "gate"), times(x, "up")), "down")
        return out

    def logits(self, tokens):
        """(tokens, n_vocab)."""
        x = self.w["token_embd.weight"][tokens]
        x = x * (np.sqrt(self.width) if self.how.get("root") else self.get("embedding_scale", 0) or 1.0)
        if "position_embd.weight" in self.w:
            x = x + self.w["position_embd.weight"][: len(tokens)]
        share = self.get("residual_scale", 0) or 1.0
        before = self.how.get("ffn_norm", "ffn_norm")
        after = {} if "ffn_norm" in self.how else {"attention": "post_attention_norm", "ffn": "post_ffw_norm"}
        for i in range(self.layers):
            p = f"blk.{i}."
            made = self.attention(i, self.norm(x, p + "attn_norm"))
            x = x + share * self.norm(made, p + after.get("attention", "none"))
            made = self.feed_forward(i, self.norm(x, p + before))
            x = x + share * self.norm(made, p + after.get("ffn", "none"))
        out = self.w.get("output.weight", self.w["token_embd.weight"])
        found = self.norm(x, "output_norm") @ out.T + self.w.get("output.bias", 0.0)
        found = found / self.get("logit_scale", 1.0) if self.name == "granite" else found
        return self.caps[1] * np.tanh(found / self.caps[1]) if self.caps[1] else found


def reference_logits(model, tokens):
    """What a model's architecture makes of tokens, (tokens, n_vocab) in float64."""
    return Reference(model).logits(tokens)
