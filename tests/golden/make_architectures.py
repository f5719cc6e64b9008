"""Logits of tiny random models of every family, as `transformers` computes them in float32.

Run with torch 2.13 and transformers 5.24::

    PYTHONPATH=.. python make_architectures.py
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from hf_models import GOLDEN, N_TOKENS, N_VOCAB, SHOWN, arrays, tokens
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

COMMON = {
    "vocab_size": N_VOCAB, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": None,
}  # fmt: skip
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
GPT2 = {"n_embd": 256, "n_layer": 4, "n_head": 4, "n_positions": 512, "n_inner": None}
GEMMA = {"head_dim": 64, "sliding_window": 16, "query_pre_attn_scalar": 64}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
GRANITE = {
    "embedding_multiplier": 3.0, "attention_multiplier": 0.08, "residual_multiplier": 0.7, "logits_scaling": 1.7,
}  # fmt: skip
LONG = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1 + 0.1 * i for i in range(32)],
    "long_factor": [2 + 0.3 * i for i in range(32)], "original_max_position_embeddings": 256,
}  # fmt: skip
CASES = {
    "llama": ("llama", {}),
    "llama-tied-biases": ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama-3": ("llama", {"rope_parameters": LLAMA3}),
    "llama-linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 3.0}}),
    "llama-yarn": ("llama", {"rope_parameters": YARN}),
    "llama-narrow-heads": ("llama", {"head_dim": 32, "num_key_value_heads": 1}),
    "mistral": ("mistral", {"sliding_window": None}),
    "mixtral": ("mixtral", {**EXPERTS, "sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen2-tied-yarn": ("qwen2", {"tie_word_embeddings": True, "rope_parameters": YARN}),
    "qwen3": ("qwen3", {"head_dim": 64}),
    "qwen3-wide-heads": ("qwen3", {"head_dim": 96, "tie_word_embeddings": True, "rope_parameters": YARN}),
    "qwen3moe": ("qwen3_moe", {"head_dim": 64, "moe_intermediate_size": 256, "num_experts": 6,
                               "num_experts_per_tok": 3, "norm_topk_prob": True, "decoder_sparse_step": 1}),
    "gemma2": ("gemma2", GEMMA),
    "gemma2-caps": ("gemma2", {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma3": ("gemma3_text", {**GEMMA, "num_hidden_layers": 7}),
    "gemma3-linear": ("gemma3_text", {**GEMMA, "num_hidden_layers": 7, "head_dim": 32, "query_pre_attn_scalar": 32,
                      "rope_parameters": {
                          "full_attention": {"rope_type": "linear", "rope_theta": 50000.0, "factor": 8.0},
                          "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}),
    "phi3": ("phi3", {}),
    "phi3-partial": ("phi3", {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
                                                  "partial_rotary_factor": 0.5}}),
    "phi3-long": ("phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 256}),
    "smollm3": ("smollm3", {"tie_word_embeddings": True}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", {"sliding_window": 16, "num_hidden_layers": 5}),
    "olmo3-yarn": ("olmo3", {"sliding_window": 16, "rope_parameters": {
        "full_attention": {**YARN, "rope_theta": 500000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0}}}),
    "granite": ("granite", GRANITE),
    "granite-tied-biases": ("granite", {**GRANITE, "tie_word_embeddings": True, "attention_bias": True,
                                        "mlp_bias": True}),
    "granitemoe": ("granitemoe", {**GRANITE, **EXPERTS}),
    "gpt2": ("gpt2", GPT2),
    "gpt-oss": ("gpt_oss", {"head_dim": 64, "sliding_window": 16, **EXPERTS}),
    "gpt-oss-mxfp4": ("gpt_oss", {"head_dim": 64, "sliding_window": 16, **EXPERTS}),
}  # fmt: skip
# gpt-oss says YaRN unless told otherwise; with its default, "truncate": false, llama.cpp and we differ by 1e-4
for _name in ("gpt-oss", "gpt-oss-mxfp4"):
    CASES[_name][1]["rope_parameters"] = {**YARN, "rope_theta": 150000.0, "beta_fast": 32.0, "beta_slow": 1.0}


def listed(path):
    """Name -> [dtype, shape] of a safetensors file."""
    with safe_open(path, "numpy") as file:
        return {name: ["F32", list(file.get_slice(name).get_shape())] for name in file.keys()}  # noqa: SIM118 - no mapping


def packed(tensors):
    """gpt-oss as it is shipped: experts of MXFP4, 32 codes and one exponent at a time along the inputs."""
    found = {}
    for name, (dtype, shape) in tensors.items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            n, n_in, n_out = shape
            found[f"{name}_blocks"] = ["U8", [n, n_out, n_in // 32, 16]]
            found[f"{name}_scales"] = ["U8", [n, n_out, n_in // 32]]
        else:
            found[name] = [dtype, shape]
    return found


def unpacked(weights):
    """The same weights as floats, by transformers' own code."""
    found = {}
    for name, x in weights.items():
        if name.endswith("_blocks"):
            base = name.removesuffix("_blocks")
            scales = torch.from_numpy(weights[f"{base}_scales"])
            found[base] = convert_moe_packed_tensors(torch.from_numpy(x), scales, dtype=torch.float32).numpy().copy()
        elif not name.endswith("_scales"):
            found[name] = x
    return found


def made(kind, changes, name):
    values = {**COMMON, **changes}
    if kind == "gpt2":
        values = {"vocab_size": N_VOCAB, "bos_token_id": 1, "eos_token_id": 2, **changes}
    config = CONFIG_MAPPING[kind](**values)
    config._attn_implementation = "eager"
    with tempfile.TemporaryDirectory() as folder:
        model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(folder)
        path = Path(folder) / "model.safetensors"
        tensors = listed(path)
        if name.endswith("mxfp4"):
            tensors = packed(tensors)
        case = {"config": json.loads((Path(folder) / "config.json").read_text()), "tensors": tensors}
        case["config"].pop("transformers_version", None)
        save_file(unpacked(arrays(case)), path, {"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            logits = model(torch.from_numpy(tokens())[None]).logits[0].numpy()
        for key, x in load_file(path).items():  # every tensor was read
            state = model.state_dict()
            if key in state:
                assert np.array_equal(state[key].numpy(), x), key
    assert logits.shape == (N_TOKENS, N_VOCAB)
    print(name, logits.std(), len(tensors), flush=True)
    return case, logits[SHOWN]


torch.set_num_threads(1)
found = {name: made(*case, name) for name, case in CASES.items()}
text = json.dumps({name: case for name, (case, _) in found.items()}, separators=(",", ":")).encode()
np.savez_compressed(GOLDEN, cases=np.frombuffer(text, np.uint8), **{name: x for name, (_, x) in found.items()})
print(GOLDEN.stat().st_size)
