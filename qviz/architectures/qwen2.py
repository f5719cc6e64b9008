"""Qwen 2 and 2.5: Llama with biases on queries, keys and values."""

from __future__ import annotations

from qviz.architectures import common
from qviz.architectures.base import Architecture, TensorPlace

_SETTINGS = (*common.SIZES, *common.RMS_EPS, *common.rope())

QWEN2 = Architecture(
    name="qwen2",
    classes={"Qwen2ForCausalLM": {}, "Qwen2Model": {}},
    about="""
    Llama, but queries, keys and values have biases and no other matrix has one, and what turns together stands half a
    head apart, as in Hugging Face's files, so rows keep their order. Some models say `use_sliding_window`: llama.cpp
    has no windows for them, so they are not converted.
    """,
    settings=_SETTINGS,
    tensors=(
        *common.around(),
        TensorPlace("output.bias", ("n_vocab",), "bias", optional=True),
        *common.norm("attn_norm", "input_layernorm"),
        *common.attention(bias="required"),
        *common.norm("ffn_norm", "post_attention_layernorm"),
        *common.gated(),
    ),
    inactive=common.inactive(_SETTINGS),
    unread=common.UNREAD,
    only={"hidden_act": ("silu",), "use_sliding_window": (False,)},
    rope="halves",
    source="llama.cpp, src/models/qwen2.cpp",
)
