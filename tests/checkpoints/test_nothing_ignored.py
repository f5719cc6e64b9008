"""Each tensor and each setting of a folder ends in the GGUF file, is known to say nothing, or is named in an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hf_folders as folders
import numpy as np
import pytest
from tokenizers import Tokenizer

from qviz import checkpoints, gguf
from qviz.checkpoints import packed
from qviz.errors import CheckpointError

PACKED = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return folders.byte_level("smollm")


def changed(path: Path, tokenizer: Tokenizer, tensors: dict[str, np.ndarray | None], **changes: Any) -> Path:
    """A folder with other tensors in it; returns where its GGUF file goes."""
    _, arrays = folders.folder(path, tokenizer, **changes)
    whole = {name: x for name, x in {**arrays, **tensors}.items() if x is not None}
    folders.write_safetensors(path / "model.safetensors", whole)
    return path.with_suffix(".gguf")


def test_biases_keep_the_order_of_their_rows(tmp_path: Path, tokenizer: Tokenizer) -> None:
    _, arrays = folders.folder(tmp_path / "model", tokenizer, attention_bias=True, mlp_bias=True)
    file = gguf.read(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf", type="f32"))
    for ours, theirs, heads in (("attn_q", "self_attn.q_proj", 4), ("attn_k", "self_attn.k_proj", 2)):
        bias = arrays[f"model.layers.1.{theirs}.bias"]
        halves = bias.reshape(heads, 2, -1)  # rotary partners, a head's two halves, stand side by side in ggml
        assert np.array_equal(file[f"blk.1.{ours}.bias"].dequantize(), np.stack(halves.swapaxes(0, 1), -1).ravel())
    for ours, theirs in (
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ):
        assert np.array_equal(file[f"blk.0.{ours}.bias"].dequantize(), arrays[f"model.layers.0.{theirs}.bias"])
    # the same without a word of it in config.json
    folders.write_json(tmp_path / "model" / "config.json", folders.config(tokenizer.get_vocab_size()))
    again = gguf.read(checkpoints.convert(tmp_path / "model", tmp_path / "again.gguf", type="f32"))
    assert list(again) == list(file)
    assert all(np.array_equal(again[name].dequantize(), file[name].dequantize()) for name in file)


def test_biases_of_zeros_beside_packed_matrices(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """As packers of 2023 wrote them, with a config.json that knows no biases."""
    values = folders.config(
        tokenizer.get_vocab_size(), hidden_size=64, intermediate_size=96, quantization_config=PACKED
    )
    arrays: dict[str, np.ndarray] = {}
    for name, x in folders.tensors(values).items():
        module = name.removesuffix(".weight")
        if not name.endswith("_proj.weight"):
            arrays[name] = x
            continue
        grid_scale = np.abs(x).reshape(len(x), -1, 32).max(-1) / 7
        steps = np.clip(np.rint(x / np.repeat(grid_scale, 32, 1)), -8, 7).astype(np.int8)
        layer = packed.pack(steps, grid_scale, np.zeros(grid_scale.shape, int), format="gptq")
        arrays |= {f"{module}.{part}": array for part, array in layer.tensors().items()}
        arrays[f"{module}.bias"] = np.zeros(len(x), np.float16)
    model = tmp_path / "model"
    model.mkdir()
    folders.write_json(model / "config.json", values)
    tokenizer.save(str(model / "tokenizer.json"))
    from safetensors.numpy import save_file

    save_file(arrays, model / "model.safetensors")
    file = gguf.read(checkpoints.convert(model, tmp_path / "out.gguf"))
    assert not any(name.endswith("bias") for name in file)
    down = packed.read_packed(model)["model.layers.1.mlp.down_proj"].dequantize()
    assert np.array_equal(file["blk.1.ffn_down.weight"].dequantize(), down)
    arrays["model.layers.1.mlp.down_proj.bias"] = np.ones(64, np.float16)
    save_file(arrays, model / "model.safetensors")
    file = gguf.read(checkpoints.convert(model, tmp_path / "out.gguf"))
    assert [name for name in file if name.endswith("bias")] == ["blk.1.ffn_down.bias"]
    arrays["model.layers.1.mlp.down_proj.weight"] = np.ones((64, 96), np.float32)
    save_file(arrays, model / "model.safetensors")
    with pytest.raises(CheckpointError, match="is there twice: packed, and as floats"):
        checkpoints.convert(model, tmp_path / "out.gguf")


@pytest.mark.parametrize(
    ("name", "shape", "text"),
    [
        ("model.layers.0.self_attn.q_norm.weight", (8,), "does not have.*q_norm"),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", (4, 32), "merge the adapter into its model first"),
        ("vision_tower.patch.weight", (4, 4), "only the language model"),
        ("model.layers.0.input_layernorm.bias", (32,), "input_layernorm.bias"),
        ("lm_head.bias", (402,), "lm_head.bias"),
        ("score.weight", (2, 32), "it classifies"),
    ],
)
def test_tensors_that_have_no_place(
    tmp_path: Path, tokenizer: Tokenizer, name: str, shape: tuple[int, ...], text: str
) -> None:
    out = changed(tmp_path / "model", tokenizer, {name: np.ones(shape, np.float32)})
    with pytest.raises(CheckpointError, match=text):
        checkpoints.convert(tmp_path / "model", out)
    if name.endswith(".bias"):  # of zeros, they say nothing
        out = changed(tmp_path / "model", tokenizer, {name: np.zeros(shape, np.float32)})
        checkpoints.convert(tmp_path / "model", out)


def test_an_output_that_is_tied_and_stored(tmp_path: Path, tokenizer: Tokenizer) -> None:
    values, arrays = folders.folder(tmp_path / "model", tokenizer)
    same = arrays | {"lm_head.weight": arrays["model.embed_tokens.weight"]}
    folders.write_json(tmp_path / "model" / "config.json", values | {"tie_word_embeddings": True})
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is another tensor; set tie_word_embeddings to false"):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")
    folders.write_safetensors(tmp_path / "model" / "model.safetensors", same)
    assert "output.weight" not in gguf.read(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"logit_scale": 0.1}, "'logit_scale' is a setting that the family 'llama' does not have"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"vision_config": {"depth": 2}}, "vision_config"),
        ({"rope_interleaved": True}, "rope_interleaved"),
        ({"something_new": 3}, "something_new.*delete it: found 3"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0, "beta": 1}}, "not known here: 'beta'"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "mscale": 0.7}}, "not known here: 'mscale'"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "not known here: 'full_attention'"),
        ({"rope_parameters": {"rope_theta": 5e5}}, "rope_theta is given twice"),
        (
            {
                "rope_scaling": {"type": "linear", "factor": 2.0},
                "rope_parameters": {"rope_type": "linear", "factor": 4.0},
            },
            "contradict each other",
        ),
    ],
)
def test_settings_that_would_be_left_out(
    tmp_path: Path, tokenizer: Tokenizer, changes: dict[str, Any], text: str
) -> None:
    folders.folder(tmp_path / "model", tokenizer, **changes)
    with pytest.raises(CheckpointError, match=text):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")


@pytest.mark.parametrize(
    "changes",
    [
        {"partial_rotary_factor": 1.0, "layer_types": ["full_attention"] * 2, "rope_interleaved": False},
        {"_name_or_path": "x", "transformers_version": "5.0", "unsloth_fixed": True, "attention_dropout": 0.1},
        {"sliding_window": None, "pretraining_tp": 1, "use_cache": True, "auto_map": {"AutoModel": "x.Y"}},
        {
            "rope_theta": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 1.0},
        },
    ],
)
def test_settings_that_change_nothing(tmp_path: Path, tokenizer: Tokenizer, changes: dict[str, Any]) -> None:
    folders.folder(tmp_path / "model", tokenizer, **changes)
    metadata = gguf.read(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")).metadata
    assert metadata["llama.context_length"] == 512
    assert metadata["llama.rope.freq_base"] == (5e5 if "rope_parameters" in changes else 1e4)


@pytest.mark.parametrize(
    ("changes", "context"),
    [
        ({"sliding_window": 128}, 128),
        ({"sliding_window": 4096}, 512),
        ({"sliding_window": 128, "use_sliding_window": False}, 512),
        # transformers' Mistral has windows where config.json is silent, and reads no switch
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 128, "use_sliding_window": False}, 128),
        ({"architectures": ["MistralForCausalLM"], "max_position_embeddings": 8192}, 4096),
        ({"architectures": ["MistralForCausalLM"], "max_position_embeddings": 8192, "sliding_window": None}, 8192),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, 512),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 256}}, 256),
    ],
)
def test_the_context_ends_where_something_else_begins(
    tmp_path: Path, tokenizer: Tokenizer, changes: dict[str, Any], context: int
) -> None:
    folders.folder(tmp_path / "model", tokenizer, **changes)
    metadata = gguf.read(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")).metadata
    assert metadata["llama.context_length"] == context
