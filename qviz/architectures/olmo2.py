"""OLMo 2 and 3: norms behind each half instead of before it, and over whole rows of queries and keys."""

from __future__ import annotations

from qviz.architectures import common
from qviz.architectures.base import Architecture, Inactive

_WINDOW, _PATTERN, _ = common.windows()
_SETTINGS = (*common.SIZES, *common.RMS_EPS, *common.rope(), _WINDOW, _PATTERN)

OLMO2 = Architecture(
    name="olmo2",
    classes={
        "Olmo2ForCausalLM": {"rms_norm_eps": 1e-5},
        "Olmo3ForCausalLM": {"model_type": "olmo3", "rms_norm_eps": 1e-5, "sliding_window": 4096, "rope_theta": 5e5},
    },
    about="""
    Llama without biases whose norms stand behind attention and behind the feed-forward half, before their results are
    added; nothing stands before them. Queries and keys go through an RMSNorm over all heads at once. What turns
    together stands half a head apart. OLMo 3 attends within a window in three layers of four; YaRN stretches positions
    in the fourth only. Windowed layers turn as fast as the others: llama.cpp reads a base of their own, and does not
    use it.
    """,
    settings=_SETTINGS,
    tensors=(
        *common.around(output="required"),
        *common.attention(),
        *common.norm("attn_q_norm", "self_attn.q_norm", common.Q),
        *common.norm("attn_k_norm", "self_attn.k_norm", common.KV),
        *common.norm("post_attention_norm", "post_attention_layernorm"),
        *common.gated(),
        *common.norm("post_ffw_norm", "post_feedforward_layernorm"),
    ),
    inactive=(
        *common.inactive(_SETTINGS),
        Inactive("rope.freq_base_swa", (), "another base of windowed layers", like_setting="rope_base"),
    ),
    unread=common.UNREAD,
    only={"hidden_act": ("silu",), "attention_bias": (False,), "tie_word_embeddings": (False,)},
    rope="halves",
    windowed=4,
    window_rope="unscaled",
    source="llama.cpp, src/models/olmo2.cpp",
)
