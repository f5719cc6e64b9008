"""Granite 3: Llama with multipliers on embeddings, scores, residual branches and logits; with experts, too."""

from __future__ import annotations

from qviz.architectures import common
from qviz.architectures.base import Architecture, Setting

_SETTINGS = (
    *common.SIZES,
    *common.RMS_EPS,
    Setting("attention.scale", "attention_scale", "number", 0.0, least=0, source="attention_multiplier"),
    *common.rope(),
    Setting("rope.scaling.finetuned", "turns", "flag", default=True),
    Setting("embedding_scale", "embedding_scale", "number", 0.0, source="embedding_multiplier"),
    Setting("residual_scale", "residual_scale", "number", 0.0, source="residual_multiplier"),
    Setting("logit_scale", "logit_divisor", "number", above=0, source="logits_scaling"),
    *common.EXPERTS,
)
_ONES = {"embedding_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0, "attention_multiplier": 1.0}
_MOE = "block_sparse_moe."
_IN, _OUT = (tuple(f"{_MOE}{name}_linear.{{expert}}{end}" for end in (".linear", "")) for name in ("input", "output"))

GRANITE = Architecture(
    name="granite",
    classes={
        "GraniteForCausalLM": _ONES,
        "GraniteMoeForCausalLM": {**_ONES, "model_type": "granitemoe", "num_local_experts": 8},
    },
    about="""
    Llama with four multipliers: of embeddings, of scores (in place of 1 / √head), of what each half adds to the
    residual stream, and a divisor of logits. A multiplier of 0 is none. `rope.scaling.finetuned` false means that
    nothing turns. With experts, gate and up of all experts stand in one tensor of Hugging Face's.
    """,
    settings=_SETTINGS,
    tensors=(
        *common.around(),
        *common.FACTORS,
        *common.norm("attn_norm", "input_layernorm"),
        *common.attention(bias="optional", out_bias="optional", change=("pairs",)),
        *common.norm("ffn_norm", "post_attention_layernorm"),
        *common.gated(bias="optional", when="dense"),
        *common.linear("ffn_gate_inp", ("n_expert", "n_embd"), f"{_MOE}router.layer", when="experts"),
        *common.linear("ffn_gate_exps", ("n_expert", "n_ff", "n_embd"), f"{_MOE}input_linear", role="experts",
                       change=("first half",), when="experts", apart=_IN),
        *common.linear("ffn_up_exps", ("n_expert", "n_ff", "n_embd"), f"{_MOE}input_linear", role="experts",
                       change=("second half",), when="experts", apart=_IN),
        *common.linear("ffn_down_exps", ("n_expert", "n_embd", "n_ff"), f"{_MOE}output_linear", role="experts",
                       when="experts", apart=_OUT),
    ),
    inactive=common.inactive(_SETTINGS),
    unread=tuple(key for key in common.UNREAD if key != "rope.scaling.finetuned"),
    only={"hidden_act": ("silu",)},
    source="llama.cpp, src/models/granite.cpp",
)  # fmt: skip
