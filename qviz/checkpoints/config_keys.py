"""Every key of a config.json, accounted for: used, known to be harmless, or named in an error.

A key that nobody looks at may change what a model computes: a scale on the residual stream, a softcap, a norm on
queries. So a key that is not known here, and says something, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qviz.architectures import Architecture
from qviz.errors import CheckpointError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


USED = _words("""
    architectures model_type vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads
    num_key_value_heads head_dim max_position_embeddings rms_norm_eps rope_theta rope_scaling rope_parameters hidden_act
    tie_word_embeddings attention_bias mlp_bias sliding_window use_sliding_window original_max_position_embeddings
    quantization_config compression_config quantization bos_token_id eos_token_id pad_token_id unk_token_id
""")
"""Read by the conversion itself."""

# How a model was made or trained.
_MAKING = _words("""
    initializer_range pretraining_tp attention_dropout hidden_dropout attn_dropout resid_dropout embd_dropout dropout
    resid_pdrop embd_pdrop attn_pdrop gradient_checkpointing neftune_noise_alpha torch_dtype dtype train_dtype
    max_sequence_length max_seq_len max_seq_length seq_length model_max_length tokenizer_model_max_length
    output_router_logits router_aux_loss_coef router_jitter_noise initializer_factor
""")
# How it is loaded.
_LOADING = _words("""
    auto_map use_cache tokenizer_class torchscript use_bfloat16 tf_legacy_loss is_decoder is_llama_config
    attn_implementation cache_implementation use_return_dict return_dict output_hidden_states output_attentions
    model_file_base_name model_basename max_window_layers pad_token bos_token eos_token unk_token transformers.js_config
""")
# What of generation stood here before generation_config.json.
_GENERATION = _words("""
    max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p
    typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids
    num_return_sequences output_scores return_dict_in_generate remove_invalid_values suppress_tokens
    begin_suppress_tokens exponential_decay_length_penalty max_new_tokens
""")
# Heads that LlamaForCausalLM does not have.
_HEADS = _words("""
    id2label label2id num_labels problem_type finetuning_task task_specific_params prefix chunk_size_feed_forward
    summary_type summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout
""")
_HARMLESS = _MAKING | _LOADING | _GENERATION | _HEADS
_HARMLESS_NAMES = re.compile(
    r"_.*|.*version|.*_token_ids?|.*_name|.*_path|unsloth.*|.*flash_?attn.*|.*flash_attention.*"
)
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "partial_rotary_factor": (1,),
    "rotary_pct": (1,),
    "logit_scale": (1,),
    "logits_scaling": (1,),
    "residual_multiplier": (1,),
    "embedding_multiplier": (1,),
    "attention_layers_per_block": (1,),
}
"""Keys that change nothing with these values."""


# Of families that have windows, positions or scales of their own; the conversion looks at these where it matters.
_OF_FAMILIES: Mapping[str, frozenset[str]] = {
    "window": _words("layer_types sliding_window_pattern rope_local_base_freq"),
    "unturned": _words("no_rope_layers no_rope_layer_interval"),
    "wide_scale": _words("query_pre_attn_scalar"),
    "gpt2": _words("n_ctx reorder_and_upcast_attn"),  # n_positions says the same; how a product is taken
}


def _used(architecture: Architecture) -> set[str]:
    """Keys that the family's record names."""
    settings = {setting.name for setting in architecture.settings}
    used = {key for setting in architecture.settings for key in setting.source.split(" or ")} | set(architecture.only)
    used |= {key for assumed in architecture.classes.values() for key in assumed}
    for what, keys in _OF_FAMILIES.items():
        if what in settings or what == architecture.name or getattr(architecture, what, False):
            used |= keys
    return used


def check_keys(config: Mapping[str, Any], path: Path, architecture: Architecture) -> None:
    """Refuse settings that would be left out.

    Parameters
    ----------
    config : mapping
        The contents of a config.json.
    path : pathlib.Path
        For errors.
    architecture : Architecture
        Whose settings they are.

    Raises
    ------
    CheckpointError
        A key that changes what the model computes, or is not known.
    """
    used = _used(architecture)
    for key, value in config.items():
        if key in USED or key in used or key in _HARMLESS or _HARMLESS_NAMES.fullmatch(key) or not value:
            continue
        if any(value == fine and not isinstance(value, bool) for fine in _ONLY.get(key, ())):
            continue
        if key == "layer_types" and isinstance(value, list) and all(kind == "full_attention" for kind in value):
            continue
        raise CheckpointError(
            f"{key[:80]!r} is a setting that the family {architecture.name!r} does not have, or is not known here; "
            f"if it changes nothing in what the model computes, delete it",
            path=path,
            found=value,
        )
