"""Phi-3, Phi-3.5 and Phi-4: Llama with fused matrices, heads that turn in part, and frequencies for long contexts."""

from __future__ import annotations

from qviz.architectures import common
from qviz.architectures.base import Architecture, TensorPlace

_SETTINGS = (*common.SIZES, *common.RMS_EPS, *common.rope(10000.0, "longrope"))
_FACTORS = tuple(
    TensorPlace(f"rope_factors_{length}.weight", ("rope_size / 2",), "factors", optional=True)
    for length in ("long", "short")
)

PHI3 = Architecture(
    name="phi3",
    classes={
        "Phi3ForCausalLM": {
            "rms_norm_eps": 1e-5,
            "original_max_position_embeddings": 4096,
            "partial_rotary_factor": 1.0,
            "sliding_window": None,
        }
    },
    about="""
    Llama with one matrix for queries, keys and values, one under the other, and one for gate and up. What turns
    together stands half a head apart; only the first part of a head may turn. Models for long contexts divide each
    frequency by a factor, one set for contexts up to `original_context_length` and one for longer ones, and multiply
    sines and cosines by `rope.scaling.attn_factor`. The window that files speak of is not used, as in llama.cpp.
    """,
    settings=_SETTINGS,
    tensors=(
        *common.around(),
        *_FACTORS,
        *common.norm("attn_norm", "input_layernorm"),
        *common.linear("attn_qkv", (f"{common.Q} + 2 * {common.KV}", "n_embd"), "self_attn.qkv_proj"),
        *common.linear("attn_output", ("n_embd", common.Q), "self_attn.o_proj"),
        *common.norm("ffn_norm", "post_attention_layernorm"),
        *common.linear("ffn_up", ("2 * n_ff", "n_embd"), "mlp.gate_up_proj", part="ffn_gate_up"),
        *common.linear("ffn_down", ("n_embd", "n_ff"), "mlp.down_proj"),
    ),
    inactive=tuple(silent for silent in common.inactive(_SETTINGS) if silent.key != "attention.sliding_window"),
    unread=(*common.UNREAD, "attention.sliding_window"),
    only={"hidden_act": ("silu",)},
    rope="halves",
    source="llama.cpp, src/models/phi3.cpp",
)
