"""SmolLM3: Llama of which every fourth layer knows nothing of positions."""

from __future__ import annotations

from qviz.architectures import common
from qviz.architectures.base import Architecture

_SETTINGS = (*common.SIZES, *common.RMS_EPS, *common.rope())

SMOLLM3 = Architecture(
    name="smollm3",
    classes={"SmolLM3ForCausalLM": {"tie_word_embeddings": True, "rope_theta": 2e6, "num_key_value_heads": 4}},
    about="""
    Llama without biases, but queries and keys of layers 3, 7, 11 ... do not turn ("NoPE"). No setting says so: a model
    whose `no_rope_layers` are others cannot be converted. In `no_rope_layers` 1 means that a layer turns.
    """,
    settings=_SETTINGS,
    tensors=(
        *common.around(),
        *common.norm("attn_norm", "input_layernorm"),
        *common.attention(change=("pairs",)),
        *common.norm("ffn_norm", "post_attention_layernorm"),
        *common.gated(),
    ),
    inactive=common.inactive(_SETTINGS),
    unread=common.UNREAD,
    only={
        "hidden_act": ("silu",),
        "use_sliding_window": (False,),
        "attention_bias": (False,),
        "mlp_bias": (False,),
    },
    unturned=4,
    source="llama.cpp, src/models/smollm3.cpp",
)
