"""Qwen 3 with experts: Qwen 3 whose feed-forward half is one of many."""

from __future__ import annotations

from qviz.architectures import common
from qviz.architectures.base import Architecture, Setting

_SETTINGS = (
    *common.SIZES,
    *common.RMS_EPS,
    *common.rope(),
    Setting("expert_count", "n_expert", most=1024, source="num_experts or num_local_experts"),
    Setting("expert_used_count", "n_expert_used", most=1024, source="num_experts_per_tok"),
    Setting("expert_feed_forward_length", "n_ff_expert", default="n_ff / n_expert_used", in_layers=True,
            source="moe_intermediate_size"),
)  # fmt: skip

QWEN3MOE = Architecture(
    name="qwen3moe",
    classes={"Qwen3MoeForCausalLM": {"model_type": "qwen3_moe", "norm_topk_prob": False, "decoder_sparse_step": 1}},
    about="""
    Qwen 3, but every layer has many small feed-forward halves and a router: a token meets those few that score
    highest, weighted by the softmax of their scores among themselves. Hugging Face can leave the weights as they are
    among all experts (`norm_topk_prob` false), and give some layers a single wide half; llama.cpp can do neither.
    """,
    settings=_SETTINGS,
    tensors=(
        *common.around(),
        *common.norm("attn_norm", "input_layernorm"),
        *common.attention(),
        *common.norm("attn_q_norm", "self_attn.q_norm", "head_size"),
        *common.norm("attn_k_norm", "self_attn.k_norm", "head_size"),
        *common.norm("ffn_norm", "post_attention_layernorm"),
        *common.experts(
            "n_ff_expert",
            "mlp.gate",
            "mlp.experts.{expert}.gate_proj",
            "mlp.experts.{expert}.up_proj",
            "mlp.experts.{expert}.down_proj",
        ),
    ),
    inactive=common.inactive(_SETTINGS),
    unread=common.UNREAD,
    only={
        "hidden_act": ("silu",),
        "use_sliding_window": (False,),
        "attention_bias": (False,),
        "norm_topk_prob": (True,),
        "decoder_sparse_step": (1,),
        "mlp_only_layers": ((),),
    },
    rope="halves",
    source="llama.cpp, src/models/qwen3moe.cpp",
)
