"""Llama 1 to 3, Mistral, Mixtral, SmolLM2 and their kin: the plainest family, which others are told apart from."""

from __future__ import annotations

from qviz.architectures import common
from qviz.architectures.base import Architecture

_SETTINGS = (
    *common.SIZES,
    *common.RMS_EPS,
    *common.rope(),
    *common.EXPERTS,
)
_MIXTRAL = "block_sparse_moe."

LLAMA = Architecture(
    name="llama",
    classes={
        "LlamaForCausalLM": {},
        "LlamaModel": {},
        "LLaMAForCausalLM": {},
        "MistralForCausalLM": {"model_type": "mistral", "sliding_window": 4096},
        "MixtralForCausalLM": {
            "model_type": "mixtral",
            "sliding_window": None,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
        },
    },
    about="""
    RMSNorm before each half of a layer. Rotary positions turn the pairs (2i, 2i + 1) of each head; Hugging Face keeps
    the partners half a head apart, so converters reorder the rows of q and k, and their biases. Several query heads may
    share a key head. The feed-forward half is SwiGLU. Any of the seven matrices may have a bias, and norms have none.
    Without an output matrix the embedding serves as one. Positions may be stretched by one factor ("linear"), by
    YaRN, or each frequency by one of its own (Llama 3: `rope_freqs.weight`). No windows: llama.cpp runs Mistral
    without, too. In Mixtral each token meets a few of several feed-forward halves: those that a router scores highest,
    weighted by the softmax of their scores.
    """,
    settings=_SETTINGS,
    tensors=(
        *common.around(),
        *common.FACTORS,
        *common.norm("attn_norm", "input_layernorm"),
        *common.attention(bias="optional", out_bias="optional", change=("pairs",)),
        *common.norm("ffn_norm", "post_attention_layernorm"),
        *common.gated(bias="optional", when="dense"),
        *common.experts(
            "n_ff",
            f"{_MIXTRAL}gate",
            f"{_MIXTRAL}experts.{{expert}}.w1",
            f"{_MIXTRAL}experts.{{expert}}.w3",
            f"{_MIXTRAL}experts.{{expert}}.w2",
            when="experts",
        ),
    ),
    inactive=common.inactive(_SETTINGS),
    unread=(*common.UNREAD, "tensor_data_layout"),  # "Meta AI original pth", of 2023
    only={"hidden_act": ("silu",)},
    source="llama.cpp, src/models/llama.cpp and src/llama-model.cpp: load_hparams",
)
