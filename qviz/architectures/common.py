"""What most families share: tensors under Hugging Face's usual names, and settings with llama.cpp's defaults.

A family's file puts its tables together from these, and says only what is its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from qviz.architectures.base import Change, Inactive, Role, Setting, TensorPlace, When

LAYER = "model.layers.{}."
Q, KV = "n_head * head_size", "n_head_kv * head_size"

Places = tuple[TensorPlace, ...]
SettingTable = tuple[Setting, ...]


def linear(
    name: str,
    shape: tuple[str, ...],
    source: str,
    *,
    bias: str = "",
    role: Role = "matrix",
    change: tuple[Change, ...] = (),
    part: str = "",
    when: When = "always",
    apart: tuple[str, ...] = (),
) -> Places:
    """A matrix, and its bias unless it has none.

    Parameters
    ----------
    name, source, apart : str
        Without what stands before and behind: ``"attn_q"``, ``"self_attn.q_proj"``.
    shape, role, change, part, when
        As in `TensorPlace`, for the matrix.
    bias : {"", "optional", "required"}
    """
    full = f"blk.{{}}.{name}"
    places = (
        TensorPlace(
            f"{full}.weight",
            shape,
            role,
            f"{LAYER}{source}.weight",
            part=part,
            change=change,
            when=when,
            apart=tuple(f"{LAYER}{other}.weight" for other in apart),
        ),
    )
    if not bias:
        return places
    turned: tuple[Change, ...] = tuple(step for step in change if step == "pairs")
    optional = bias == "optional"
    source = f"{LAYER}{source}.bias"
    rows = shape[:-1]
    return (
        *places,
        TensorPlace(f"{full}.bias", rows, "bias", source, optional, part=part, change=turned, when=when),
    )


def norm(name: str, source: str, width: str = "n_embd", *, part: str = "", change: tuple[Change, ...] = ()) -> Places:
    """The gains of a norm within a layer."""
    full = f"blk.{{}}.{name}.weight"
    return (TensorPlace(full, (width,), "norm", f"{LAYER}{source}.weight", part=part, change=change),)


def around(*, output: str = "optional", change: tuple[Change, ...] = ()) -> Places:
    """What stands outside the layers: the embedding, the last norm, and the output matrix unless the two are one.

    Parameters
    ----------
    output : {"optional", "required", "none"}
    change : tuple of str
        What converting changes in the norm.
    """
    places = [
        TensorPlace("token_embd.weight", ("n_vocab", "n_embd"), "embedding", "model.embed_tokens.weight"),
        TensorPlace("output_norm.weight", ("n_embd",), "norm", "model.norm.weight", change=change),
    ]
    if output != "none":
        optional = output == "optional"
        instead = "token_embd.weight" if optional else ""
        places.append(
            TensorPlace("output.weight", ("n_vocab", "n_embd"), "matrix", "lm_head.weight", optional, instead)
        )
    return tuple(places)


FACTORS: Places = (TensorPlace("rope_freqs.weight", ("rope_size / 2",), "factors", optional=True),)
"""What Llama 3 divides each rotary frequency by."""


def attention(*, bias: str = "", out_bias: str = "", change: tuple[Change, ...] = ()) -> Places:
    """Queries, keys, values, and the matrix behind them; `change` is that of queries and keys."""
    return (
        *linear("attn_q", (Q, "n_embd"), "self_attn.q_proj", bias=bias, change=change),
        *linear("attn_k", (KV, "n_embd"), "self_attn.k_proj", bias=bias, change=change),
        *linear("attn_v", (KV, "n_embd"), "self_attn.v_proj", bias=bias),
        *linear("attn_output", ("n_embd", Q), "self_attn.o_proj", bias=out_bias),
    )


def gated(*, bias: str = "", when: When = "always") -> Places:
    """A feed-forward half with a gate: ``down(act(gate x) · up x)``."""
    return (
        *linear("ffn_gate", ("n_ff", "n_embd"), "mlp.gate_proj", bias=bias, when=when),
        *linear("ffn_up", ("n_ff", "n_embd"), "mlp.up_proj", bias=bias, when=when),
        *linear("ffn_down", ("n_embd", "n_ff"), "mlp.down_proj", bias=bias, when=when),
    )


def experts(inside: str, router: str, gate: str, up: str, down: str, *, when: When = "always") -> Places:
    """A feed-forward half of which each token meets a few, under the names that a folder gives to router and experts.

    Parameters
    ----------
    inside : str
        The setting that says how wide an expert is.
    router, gate, up, down : str
        Without the layer; ``{expert}`` for the expert's number.
    """
    into, out = ("n_expert", inside, "n_embd"), ("n_expert", "n_embd", inside)
    return (
        *linear("ffn_gate_inp", ("n_expert", "n_embd"), router, when=when),
        *linear("ffn_gate_exps", into, gate, role="experts", when=when),
        *linear("ffn_up_exps", into, up, role="experts", when=when),
        *linear("ffn_down_exps", out, down, role="experts", when=when),
    )


SIZES: SettingTable = (
    Setting("block_count", "n_layers", most=512, source="num_hidden_layers"),  # LLAMA_MAX_LAYERS
    Setting("context_length", "n_ctx", source="max_position_embeddings"),
    Setting("embedding_length", "n_embd", source="hidden_size"),
    Setting("feed_forward_length", "n_ff", in_layers=True, source="intermediate_size"),
    Setting("attention.head_count", "n_head", in_layers=True, source="num_attention_heads"),
    Setting("attention.head_count_kv", "n_head_kv", default="n_head", in_layers=True, source="num_key_value_heads"),
    Setting("attention.key_length", "head_size", default="n_embd / n_head", source="head_dim"),
    Setting("attention.value_length", "value_size", default="head_size"),
    Setting("vocab_size", "n_vocab", default=None, source="vocab_size"),
)
RMS_EPS: SettingTable = (
    Setting("attention.layer_norm_rms_epsilon", "norm_eps", "number", above=0, source="rms_norm_eps"),
)
EXPERTS: SettingTable = (
    Setting("expert_count", "n_expert", default=0, least=0, most=1024, source="num_local_experts"),
    Setting("expert_used_count", "n_expert_used", default=0, least=0, most=1024, source="num_experts_per_tok"),
)


def rope(base: float = 10000.0, *kinds: str) -> SettingTable:
    """Rotary positions: how much of a head turns, how fast, and how positions are stretched.

    As in llama.cpp: linear unless said, a factor of 0 is none, and the key of 2023 counts where there is no other.

    Parameters
    ----------
    base : float
    kinds : str
        Kinds of scaling that are allowed beside ``"none"``, ``"linear"`` and ``"yarn"``.
    """
    choices = ("none", "linear", "yarn", *kinds)
    return (
        Setting("rope.dimension_count", "rope_size", default="head_size", least=2),
        Setting("rope.freq_base", "rope_base", "number", default=base, above=0),
        Setting("rope.scaling.type", "rope_scaling", "text", default="linear", choices=choices),
        Setting("rope.scaling.factor", "rope_factor", "number", default=None, least=0),
        Setting("rope.scale_linear", "rope_factor_2023", "number", default=0.0, least=0),
        Setting("rope.scaling.attn_factor", "rope_magnitude", "number", default=1.0, above=0),
        Setting("rope.scaling.original_context_length", "rope_original", default="n_ctx"),
    )


def windows(default: object = None, base: object = "rope_base") -> SettingTable:
    """Attention within the last so many tokens, in some layers; those may turn at a speed of their own.

    A family that has windows unless told otherwise refuses one of 0 tokens: llama.cpp would attend to nothing.
    """
    least = 0 if default is None else 1
    return (
        Setting("attention.sliding_window", "window", default=default, least=least, source="sliding_window"),
        Setting("attention.sliding_window_pattern", "window_pattern", "pattern", default=None),
        Setting("rope.freq_base_swa", "window_rope_base", "number", default=base, above=0),
    )


_INACTIVE = (
    Inactive("expert_count", (0,), "a mixture of experts"),
    Inactive("expert_used_count", (0,), "a mixture of experts"),
    Inactive("expert_shared_count", (0,), "a mixture of experts"),
    Inactive("attention.causal", (True,), "attention to what comes later"),
    Inactive("attention.scale", (0,), "another scale of scores"),  # llama.cpp reads it for Granite only
    Inactive("attention.sliding_window", (0,), "attention in windows", from_setting="n_ctx"),
    Inactive("attention.clamp_kqv", (0,), "clamped queries, keys and values"),
    Inactive("attention.max_alibi_bias", (0,), "positions by ALiBi"),
    Inactive("attn_logit_softcapping", (0,), "capped attention scores"),
    Inactive("final_logit_softcapping", (0,), "capped logits"),
    Inactive("logit_scale", (0, 1), "scaled logits"),
    Inactive("residual_scale", (0, 1), "scaled residual branches"),
    Inactive("embedding_scale", (0, 1), "scaled embeddings"),
    Inactive("use_parallel_residual", (False,), "both halves of a layer side by side"),
    Inactive("rope.scaling.alpha", (0, 1), "dynamic rotary scaling"),
    # llama.cpp does not read these four, and takes the values of the first models that had YaRN
    Inactive("rope.scaling.yarn_ext_factor", (0, 1, -1), "another mixture of YaRN"),
    Inactive("rope.scaling.yarn_attn_factor", (1,), "another magnitude of YaRN"),
    Inactive("rope.scaling.yarn_beta_fast", (32,), "another ramp of YaRN"),
    Inactive("rope.scaling.yarn_beta_slow", (1,), "another ramp of YaRN"),
    Inactive("rope.scaling.yarn_log_multiplier", (0,), "another magnitude of YaRN"),
)
UNREAD = ("pooling_type", "rope.scaling.finetuned")


def inactive(settings: Iterable[Setting]) -> tuple[Inactive, ...]:
    """Keys of other families' features, which must say nothing; those that a family has settings for are left out."""
    used = {setting.key for setting in settings}
    return tuple(silent for silent in _INACTIVE if silent.key not in used)
