"""Qwen 3: Qwen 2 without biases, with norms on queries and keys."""

from __future__ import annotations

from qviz.architectures import common
from qviz.architectures.base import Architecture

_SETTINGS = (*common.SIZES, *common.RMS_EPS, *common.rope())

QWEN3 = Architecture(
    name="qwen3",
    classes={"Qwen3ForCausalLM": {"head_dim": 128}, "Qwen3Model": {"head_dim": 128}},
    about="""
    Qwen 2 without biases. Each head of queries and keys goes through an RMSNorm of its own, one gain for each value of
    a head, before it turns. A head may be wider than n_embd / n_head.
    """,
    settings=_SETTINGS,
    tensors=(
        *common.around(),
        *common.norm("attn_norm", "input_layernorm"),
        *common.attention(),
        *common.norm("attn_q_norm", "self_attn.q_norm", "head_size"),
        *common.norm("attn_k_norm", "self_attn.k_norm", "head_size"),
        *common.norm("ffn_norm", "post_attention_layernorm"),
        *common.gated(),
    ),
    inactive=common.inactive(_SETTINGS),
    unread=common.UNREAD,
    only={"hidden_act": ("silu",), "use_sliding_window": (False,), "attention_bias": (False,)},
    rope="halves",
    source="llama.cpp, src/models/qwen3.cpp",
)
