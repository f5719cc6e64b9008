"""Llama 1 to 3, Mistral, SmolLM2 and their kin: the plainest family, which others are told apart from."""

from __future__ import annotations

from qviz.architectures.base import Architecture, Inactive, Setting, TensorPlace

_LAYER = "model.layers.{}."
_Q, _KV = "n_head * head_size", "n_head_kv * head_size"

LLAMA = Architecture(
    name="llama",
    classes=("LlamaForCausalLM", "LlamaModel", "MistralForCausalLM"),
    about="""
    RMSNorm before each half of a layer. Rotary positions turn the pairs (2i, 2i + 1) of each head; Hugging Face keeps
    the partners half a head apart, so converters reorder the rows of q and k, and their biases. Several query heads may
    share a key head. The feed-forward half is SwiGLU. Any of the seven matrices may have a bias, and norms have none.
    Without an output matrix the embedding serves as one. Positions may be stretched by one factor ("linear"), or each
    frequency by one of its own (Llama 3: `rope_freqs.weight`). No windows: llama.cpp runs Mistral without, too.
    """,
    settings=(
        Setting("block_count", "n_layers", most=512),  # LLAMA_MAX_LAYERS
        Setting("context_length", "n_ctx"),
        Setting("embedding_length", "n_embd"),
        Setting("feed_forward_length", "n_ff", in_layers=True),
        Setting("attention.head_count", "n_head", in_layers=True),
        Setting("attention.head_count_kv", "n_head_kv", default="n_head", in_layers=True),
        Setting("attention.key_length", "head_size", default="n_embd / n_head"),
        Setting("attention.value_length", "value_size", default="head_size"),
        Setting("attention.scale", "attention_scale", "number", default=0.0, least=0),  # 0: 1 / sqrt(head_size)
        Setting("attention.layer_norm_rms_epsilon", "norm_eps", "number", above=0),
        Setting("rope.dimension_count", "rope_size", default="head_size", least=2),
        Setting("rope.freq_base", "rope_base", "number", default=10000.0, above=0),
        # as in llama.cpp: linear unless said, a factor of 0 is none, and the key of 2023 counts where there is no other
        Setting("rope.scaling.type", "rope_scaling", "text", default="linear", choices=("none", "linear")),
        Setting("rope.scaling.factor", "rope_factor", "number", default=None, least=0),
        Setting("rope.scale_linear", "rope_factor_2023", "number", default=0.0, least=0),
        Setting("rope.scaling.attn_factor", "rope_magnitude", "number", default=1.0, above=0),
        Setting("vocab_size", "n_vocab", default=None),
    ),
    tensors=(
        TensorPlace("token_embd.weight", ("n_vocab", "n_embd"), "embedding", "model.embed_tokens.weight"),
        TensorPlace("rope_freqs.weight", ("rope_size / 2",), "factors", optional=True),
        TensorPlace("output_norm.weight", ("n_embd",), "norm", "model.norm.weight"),
        TensorPlace(
            "output.weight",
            ("n_vocab", "n_embd"),
            "matrix",
            "lm_head.weight",
            optional=True,
            instead="token_embd.weight",
        ),
        TensorPlace("blk.{}.attn_norm.weight", ("n_embd",), "norm", f"{_LAYER}input_layernorm.weight"),
        TensorPlace("blk.{}.attn_q.weight", (_Q, "n_embd"), "matrix", f"{_LAYER}self_attn.q_proj.weight"),
        TensorPlace("blk.{}.attn_q.bias", (_Q,), "bias", f"{_LAYER}self_attn.q_proj.bias", optional=True),
        TensorPlace("blk.{}.attn_k.weight", (_KV, "n_embd"), "matrix", f"{_LAYER}self_attn.k_proj.weight"),
        TensorPlace("blk.{}.attn_k.bias", (_KV,), "bias", f"{_LAYER}self_attn.k_proj.bias", optional=True),
        TensorPlace("blk.{}.attn_v.weight", (_KV, "n_embd"), "matrix", f"{_LAYER}self_attn.v_proj.weight"),
        TensorPlace("blk.{}.attn_v.bias", (_KV,), "bias", f"{_LAYER}self_attn.v_proj.bias", optional=True),
        TensorPlace("blk.{}.attn_output.weight", ("n_embd", _Q), "matrix", f"{_LAYER}self_attn.o_proj.weight"),
        TensorPlace("blk.{}.attn_output.bias", ("n_embd",), "bias", f"{_LAYER}self_attn.o_proj.bias", optional=True),
        TensorPlace("blk.{}.ffn_norm.weight", ("n_embd",), "norm", f"{_LAYER}post_attention_layernorm.weight"),
        TensorPlace("blk.{}.ffn_gate.weight", ("n_ff", "n_embd"), "matrix", f"{_LAYER}mlp.gate_proj.weight"),
        TensorPlace("blk.{}.ffn_gate.bias", ("n_ff",), "bias", f"{_LAYER}mlp.gate_proj.bias", optional=True),
        TensorPlace("blk.{}.ffn_up.weight", ("n_ff", "n_embd"), "matrix", f"{_LAYER}mlp.up_proj.weight"),
        TensorPlace("blk.{}.ffn_up.bias", ("n_ff",), "bias", f"{_LAYER}mlp.up_proj.bias", optional=True),
        TensorPlace("blk.{}.ffn_down.weight", ("n_embd", "n_ff"), "matrix", f"{_LAYER}mlp.down_proj.weight"),
        TensorPlace("blk.{}.ffn_down.bias", ("n_embd",), "bias", f"{_LAYER}mlp.down_proj.bias", optional=True),
    ),
    inactive=(
        Inactive("expert_count", (0,), "a mixture of experts"),
        Inactive("expert_used_count", (0,), "a mixture of experts"),
        Inactive("expert_shared_count", (0,), "a mixture of experts"),
        Inactive("attention.causal", (True,), "attention to what comes later"),
        Inactive("attention.sliding_window", (0,), "attention in windows", from_setting="n_ctx"),
        Inactive("attention.clamp_kqv", (0,), "clamped queries, keys and values"),
        Inactive("attention.max_alibi_bias", (0,), "positions by ALiBi"),
        Inactive("attn_logit_softcapping", (0,), "capped attention scores"),
        Inactive("final_logit_softcapping", (0,), "capped logits"),
        Inactive("logit_scale", (0, 1), "scaled logits"),
        Inactive("residual_scale", (0, 1), "scaled residual branches"),
        Inactive("embedding_scale", (0, 1), "scaled embeddings"),
        Inactive("use_parallel_residual", (False,), "both halves of a layer side by side"),
        Inactive("rope.scaling.alpha", (0, 1), "dynamic rotary scaling"),
        Inactive("rope.scaling.yarn_ext_factor", (0,), "YaRN"),
        Inactive("rope.scaling.yarn_attn_factor", (1,), "YaRN"),
        Inactive("rope.scaling.yarn_log_multiplier", (0,), "YaRN"),
    ),
    unread=(
        "pooling_type",
        "rope.scaling.finetuned",
        "rope.scaling.original_context_length",  # YaRN's, as are the next two
        "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
        "tensor_data_layout",  # "Meta AI original pth", of 2023
    ),
    source="llama.cpp, src/models/llama.cpp and src/llama-model.cpp: load_hparams",
)
