"""Gemma 2: norms on both sides of each half, windows in every other layer, scores and logits with a soft cap."""

from __future__ import annotations

from qviz.architectures import common
from qviz.architectures.base import Architecture, Change, Setting

_SETTINGS = (
    *common.SIZES,
    *common.RMS_EPS,
    *common.rope(),
    *common.windows(4096),
    Setting("attn_logit_softcapping", "attention_cap", "number", 50.0, above=0, source="attn_logit_softcapping"),
    Setting("final_logit_softcapping", "logit_cap", "number", 30.0, above=0, source="final_logit_softcapping"),
)
_ONE: tuple[Change, ...] = ("plus one",)

GEMMA2 = Architecture(
    name="gemma2",
    classes={
        "Gemma2ForCausalLM": {
            "head_dim": 256,
            "tie_word_embeddings": True,
            "sliding_window": 4096,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "query_pre_attn_scalar": 256,
            "hidden_activation": "gelu_pytorch_tanh",
        }
    },
    about="""
    Llama with RMSNorm before and after each half of a layer; Hugging Face stores the gains less one. Embeddings are
    multiplied by the root of their width, and serve as output. The gate is a GELU. Scores go through 50 · tanh(score /
    50), logits through 30 · tanh(logit / 30). Layers 0, 2, 4 ... attend to the last 4096 tokens only. What turns
    together stands half a head apart. Scores are scaled by the width of a head, but by n_embd / n_head in the model of
    46 layers: no setting says so.
    """,
    settings=_SETTINGS,
    tensors=(
        *common.around(output="none", change=_ONE),
        *common.norm("attn_norm", "input_layernorm", change=_ONE),
        *common.attention(),
        *common.norm("post_attention_norm", "post_attention_layernorm", change=_ONE),
        *common.norm("ffn_norm", "pre_feedforward_layernorm", change=_ONE),
        *common.gated(),
        *common.norm("post_ffw_norm", "post_feedforward_layernorm", change=_ONE),
    ),
    inactive=common.inactive(_SETTINGS),
    unread=common.UNREAD,
    only={
        "hidden_activation": ("gelu_pytorch_tanh",),
        "attention_bias": (False,),
        "use_bidirectional_attention": (False,),
        "tie_word_embeddings": (True,),
    },
    rope="halves",
    activation="gelu",
    embedding_root=True,
    windowed=2,
    wide_scale=46,
    source="llama.cpp, src/models/gemma2.cpp",
)
