"""Gemma 3, as far as it reads text: Gemma 2 with norms on queries and keys, no caps, five windowed layers to a full."""

from __future__ import annotations

from qviz.architectures import common
from qviz.architectures.base import Architecture, Change, Setting

_SETTINGS = (
    *common.SIZES,
    *common.RMS_EPS,
    *common.rope(),
    *common.windows(None, base=10000.0),
    Setting("final_logit_softcapping", "logit_cap", "number", 0.0, least=0, source="final_logit_softcapping"),
)
_ONE: tuple[Change, ...] = ("plus one",)

_TEXT = {
    "model_type": "gemma3_text",
    "head_dim": 256,
    "tie_word_embeddings": True,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "query_pre_attn_scalar": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
}

GEMMA3 = Architecture(
    name="gemma3",
    classes={
        "Gemma3ForCausalLM": _TEXT,
        # pictures, too: its config.json tells only what differs from the model of 4 billion weights
        "Gemma3ForConditionalGeneration": {
            **_TEXT,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-6,
        },
    },
    about="""
    Gemma 2, but each head of queries and keys goes through an RMSNorm before it turns, and scores have no cap. Five
    layers attend within a window, the sixth to everything. Windowed layers turn at a base frequency of their own,
    10000, and are not stretched; the others' base is 1000000, stretched by 8 in the larger models. A file without a
    window has none in any layer. The model of 62 layers scales scores by n_embd / n_head.
    """,
    settings=_SETTINGS,
    tensors=(
        *common.around(change=_ONE),
        *common.norm("attn_norm", "input_layernorm", change=_ONE),
        *common.attention(),
        *common.norm("attn_q_norm", "self_attn.q_norm", "head_size", change=_ONE),
        *common.norm("attn_k_norm", "self_attn.k_norm", "head_size", change=_ONE),
        *common.norm("post_attention_norm", "post_attention_layernorm", change=_ONE),
        *common.norm("ffn_norm", "pre_feedforward_layernorm", change=_ONE),
        *common.gated(),
        *common.norm("post_ffw_norm", "post_feedforward_layernorm", change=_ONE),
    ),
    inactive=common.inactive(_SETTINGS),
    unread=(*common.UNREAD, "mm.tokens_per_image"),
    only={
        "hidden_activation": ("gelu_pytorch_tanh",),
        "attention_bias": (False,),
        "use_bidirectional_attention": (False,),
        "attn_logit_softcapping": (None,),
    },
    rope="halves",
    activation="gelu",
    embedding_root=True,
    windowed=6,
    window_rope="unscaled",
    wide_scale=62,
    source="llama.cpp, src/models/gemma3.cpp",
)
