"""gpt-oss: experts of four bits, attention that may go to nobody, a gate with limits."""

from __future__ import annotations

import dataclasses

from qviz.architectures import common
from qviz.architectures.base import REQUIRED, Architecture, Change, Setting, TensorPlace

_LAYERS, *_OTHERS = (
    dataclasses.replace(setting, default="n_ff_expert") if setting.name == "n_ff" else setting
    for setting in common.SIZES
)
_SETTINGS = (
    _LAYERS,
    Setting("expert_feed_forward_length", "n_ff_expert", in_layers=True, source="intermediate_size"),
    *_OTHERS,
    *common.RMS_EPS,
    *common.rope(),
    *common.windows(REQUIRED),
    Setting("expert_count", "n_expert", most=1024, source="num_local_experts"),
    Setting("expert_used_count", "n_expert_used", most=1024, source="num_experts_per_tok"),
)
_EXPERTS = f"{common.LAYER}mlp.experts."


def _experts(name: str, source: str, n_out: str, n_in: str, *rows: Change) -> tuple[TensorPlace, ...]:
    full, source, apart = f"blk.{{}}.ffn_{name}_exps", f"{_EXPERTS}{source}", f"{_EXPERTS}{{expert}}.{name}_proj"
    shape = ("n_expert", n_out, n_in)
    return (
        TensorPlace(
            f"{full}.weight", shape, "experts", source, change=("transposed", *rows), apart=(f"{apart}.weight",)
        ),
        TensorPlace(f"{full}.bias", shape[:2], "bias", f"{source}_bias", change=rows, apart=(f"{apart}.bias",)),
    )


GPT_OSS = Architecture(
    name="gpt-oss",
    classes={
        "GptOssForCausalLM": {
            "model_type": "gpt_oss",
            "head_dim": 64,
            "rms_norm_eps": 1e-5,
            "rope_theta": 150000.0,
            "truncate": False,
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 32.0,
                "original_max_position_embeddings": 4096,
                "truncate": False,
            },
        }
    },
    about="""
    Qwen 3 with experts, but: no norms on queries and keys; biases on queries, keys, values, the matrix behind them, the
    router and the experts; windows in layers 0, 2, 4 ...; YaRN. Each head has a sink, one more score in its softmax
    that belongs to no token: attention may go nowhere. An expert's gate g is at most 7 and its up u within ±7; it makes
    g · sigmoid(1.702 g) · (u + 1). Experts come as MXFP4, gate and up row by row in turn; Hugging Face pairs
    neighbouring values in a byte, ggml values 16 apart. Packers take the experts apart, and gate and up.
    """,
    settings=_SETTINGS,
    tensors=(
        *common.around(output="required"),
        *common.norm("attn_norm", "input_layernorm"),
        *common.attention(bias="required", out_bias="required"),
        TensorPlace("blk.{}.attn_sinks.weight", ("n_head",), "sinks", f"{common.LAYER}self_attn.sinks"),
        *common.norm("post_attention_norm", "post_attention_layernorm", part="ffn_norm"),
        *common.linear("ffn_gate_inp", ("n_expert", "n_embd"), "mlp.router", bias="required"),
        *_experts("gate", "gate_up_proj", "n_ff_expert", "n_embd", "even rows"),
        *_experts("up", "gate_up_proj", "n_ff_expert", "n_embd", "odd rows"),
        *_experts("down", "down_proj", "n_embd", "n_ff_expert"),
    ),
    inactive=common.inactive(_SETTINGS),
    unread=common.UNREAD,
    only={
        "hidden_act": ("silu",),
        "attention_bias": (True,),
        "tie_word_embeddings": (False,),
        "swiglu_alpha": (1.702,),
        "swiglu_limit": (7.0,),
    },
    rope="halves",
    activation="clamped",
    windowed=2,
    source="llama.cpp, src/models/openai-moe.cpp",
)
