"""Tiny random models on which two programs must agree: every family, and its features switched on one by one.

Each is small enough to be made anew in a moment; `tests/golden/agreement.npz` keeps what llama.cpp computes from them.
"""

from __future__ import annotations

import hashlib
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import hf_folders as folders
import hf_models
import numpy as np
from made_models import made
from safetensors.numpy import save_file

import qviz
from qviz import checkpoints, gguf

GOLDEN = Path(__file__).parent / "golden" / "agreement.npz"
FORMATS = ("F32", "F16", "Q8_0")
N_TOKENS, N_SHOWN = 64, 4
_YARN = {"rope_scaling": "yarn", "rope_factor": 4.0, "rope_original": 16}
_MIXTURE = {"n_expert": 4, "n_expert_used": 2}


def _flags(*layers: int) -> dict[str, Any]:
    return {"attention.sliding_window_pattern": gguf.Array([bool(flag) for flag in layers], "bool")}


# family -> name of a case -> what `made` is told; "keys" are metadata under the family's prefix
MADE: dict[str, dict[str, dict[str, Any]]] = {
    "llama": {
        "plain": {},
        "own output": {"optional": ("output.weight",)},
        "one bias": {"optional": ("blk.{}.attn_k.bias",)},
        "attention biases": {"optional": tuple(f"blk.{{}}.attn_{part}.bias" for part in ("q", "k", "v", "output"))},
        "ffn biases": {"optional": tuple(f"blk.{{}}.ffn_{part}.bias" for part in ("gate", "up", "down"))},
        "factors": {"optional": ("rope_freqs.weight",)},
        "one key head": {"n_head_kv": 1},
        "no groups": {"n_head_kv": 4},
        "wide heads": {"head_size": 32, "value_size": 32},
        "linear": {"rope_scaling": "linear", "rope_factor": 3.0},
        "linear of 2023": {"rope_factor_2023": 3.0},
        "no scaling": {"rope_scaling": "none", "rope_factor": 3.0},
        "yarn": _YARN,
        "yarn and factors": {**_YARN, "optional": ("rope_freqs.weight",)},
        "magnitude": {"rope_magnitude": 1.3},
        "yarn and magnitude": {**_YARN, "rope_magnitude": 1.3},
        "another base": {"rope_base": 300.0},
        "experts": {**_MIXTURE},
        "one expert": {"n_expert": 4, "n_expert_used": 1},
        "all": {"optional": "all"},
    },
    "qwen2": {
        "plain": {},
        "own output": {"optional": ("output.weight",)},
        "bias of output": {"optional": ("output.weight", "output.bias")},
        "yarn": _YARN,
        "one key head": {"n_head_kv": 1},
    },
    "qwen3": {"plain": {}, "own output": {"optional": ("output.weight",)}, "yarn": _YARN, "narrow heads": {
        "head_size": 16, "value_size": 16}},
    "qwen3moe": {
        "plain": {},
        "three of four": {"n_expert_used": 3},
        "width by division": {"n_ff": 64, "n_ff_expert": 32, "keys": {"expert_feed_forward_length": None}},
        "yarn": _YARN,
    },
    "gemma2": {
        "plain": {},
        "usual caps": {"attention_cap": 50.0, "logit_cap": 30.0},
        "wide window": {"window": 40},
        "base of windows": {"window_rope_base": 300.0},
        "flags": {"keys": _flags(0, 1, 1)},
        "number": {"keys": {"attention.sliding_window_pattern": 3}},
        "linear": {"rope_scaling": "linear", "rope_factor": 3.0},
    },
    "gemma3": {
        "plain": {},
        "own output": {"optional": ("output.weight",)},
        "no window": {"window": 0},
        "usual base of windows": {"window_rope_base": 10000.0, "rope_base": 1e6},
        "cap": {"logit_cap": 3.0},
        "linear": {"rope_scaling": "linear", "rope_factor": 8.0},
        "yarn": _YARN,
        "flags": {"keys": _flags(0, 1, 1, 0, 0, 1, 1)},
        "one key head": {"n_head_kv": 1},
    },
    "phi3": {
        "plain": {},
        "own output": {"optional": ("output.weight",)},
        "partial": {"rope_size": 8},
        "linear": {"rope_scaling": "linear", "rope_factor": 3.0},
        "yarn": _YARN,
        "long": {"optional": ("rope_factors_long.weight", "rope_factors_short.weight"), "rope_original": 16,
                 "rope_magnitude": 1.2},
        "short": {"optional": ("rope_factors_long.weight", "rope_factors_short.weight"), "n_ctx": 4096,
                  "rope_original": 4096, "rope_magnitude": 1.2},
        "window that is not used": {"keys": {"attention.sliding_window": 5}},
    },
    "smollm3": {"plain": {}, "own output": {"optional": ("output.weight",)}, "yarn": _YARN},
    "olmo2": {
        "plain": {},
        "no window": {"window": 0},
        "flags": {"keys": _flags(1, 0, 0, 1)},
        "linear": {"rope_scaling": "linear", "rope_factor": 3.0},
        "yarn": _YARN,
        "base of windows": {"keys": {"rope.freq_base_swa": 10000.0}},
    },
    "granite": {
        "plain": {},
        "own output": {"optional": ("output.weight",)},
        "biases": {"optional": tuple(f"blk.{{}}.{part}.bias" for part in (
            "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"))},
        "no scale of embeddings": {"embedding_scale": 0.0},
        "no scale of branches": {"residual_scale": 0.0},
        "usual scale of scores": {"attention_scale": 0.0},
        "nothing turns": {"turns": False},
        "factors": {"optional": ("rope_freqs.weight",)},
        "linear": {"rope_scaling": "linear", "rope_factor": 3.0},
        "yarn": _YARN,
        "experts": {**_MIXTURE},
    },
    "gpt2": {"plain": {}, "own output": {"optional": ("output.weight",)}},
    "gpt-oss": {
        "plain": {},
        "yarn": _YARN,
        "linear": {"rope_scaling": "linear", "rope_factor": 3.0},
        "wide window": {"window": 40},
        "base of windows": {"window_rope_base": 300.0},
        "flags": {"keys": _flags(0, 1)},
        "three of four": {"n_expert_used": 3},
    },
}  # fmt: skip


CASES = {f"{family}, {name}": (family, name) for family, names in MADE.items() for name in names} | {
    f"folder, {name}": ("", name) for name in hf_models.cases()
}


def tokens(case: str) -> np.ndarray:
    """What a model reads."""
    return hf_models.tokens() if not CASES[case][0] else np.random.default_rng(64).integers(3, 300, N_TOKENS)


def shown(n_vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """Which logits are kept: rows and columns (N_TOKENS, N_SHOWN); a few of each token, in the end of most columns."""
    rows = np.repeat(np.arange(N_TOKENS)[:, None], N_SHOWN, 1)
    return rows, (5 * rows + np.arange(N_SHOWN) * n_vocab // N_SHOWN) % n_vocab


def write(case: str, fmt: str, path: Path) -> Path:
    """Make the model of a case with its matrices in a format, and write it."""
    family, name = CASES[case]
    if not family:
        return _from_folder(name, fmt, path)
    options = dict(MADE[family][name])
    keys = {f"{family}.{key}": value for key, value in options.pop("keys", {}).items()}
    model = made(family, fmt=fmt, **options).but(keys)
    return gguf.write(path, model.metadata, model)


@cache
def _vocabulary() -> Any:
    return folders.byte_level("gpt-2", 300)


def _from_folder(name: str, fmt: str, path: Path) -> Path:
    """A folder as Hugging Face has it, converted, and its matrices then in another format."""
    case = hf_models.cases()[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        folders.write_json(folder / "config.json", case["config"])
        save_file(hf_models.arrays(case), folder / "model.safetensors")
        _vocabulary().save(str(folder / "tokenizer.json"))
        if fmt in ("F16", "F32"):
            return checkpoints.convert(folder, path, type=fmt.lower())
        whole = checkpoints.convert(folder, Path(scratch) / "whole.gguf", type="f32")
        return qviz.quantize_model(whole, path, fmt).path


def digest(path: Path) -> str:
    """Of the weights in a file, whatever its metadata says."""
    found = hashlib.sha256()
    model = qviz.load(path)
    for name in sorted(model):
        found.update(name.encode() + model[name].tobytes())
    return found.hexdigest()[:16]


def cases_of(fmt: str) -> list[str]:
    """Those that come in a format: MXFP4 experts stay what they are, so only their other matrices change."""
    return [case for case in CASES if fmt != "Q8_0" or not case.endswith("mxfp4")]
