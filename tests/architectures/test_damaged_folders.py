"""Folders of every family with something wrong are refused in one sentence, or understood; a family is a short file."""

import itertools
import json
import math
from pathlib import Path

import hf_folders as folders
import hf_models
import numpy as np
import pytest
from safetensors.numpy import save_file

import qviz
from qviz import checkpoints
from qviz.architectures import ARCHITECTURES
from qviz.errors import CheckpointError

CASES = hf_models.cases()
ODD = (
    None, 0, 1, -1, 2, 3, 63, 2.5, 1e300, math.nan, math.inf, "", "64", "silu", True, False, [], [1],
    ["full_attention"], {}, {"rope_type": "yarn"}, 2**31 - 1, 10**20,
)  # fmt: skip
NESTED = (
    {"rope_type": "yarn", "factor": 4.0}, {"rope_type": "linear", "factor": -1}, {"rope_type": "longrope"},
    {"full_attention": {}, "sliding_attention": {}}, {"full_attention": {"rope_theta": "x"}},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1, "high_freq_factor": 4}, {"rope_theta": math.nan},
)  # fmt: skip


_YARN = {"rope_type": "yarn", "rope_theta": 5e5, "factor": 4.0, "original_max_position_embeddings": 32}
_TWO_BASES = {
    "full_attention": {"rope_type": "default", "rope_theta": 5e5},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}


def test_a_family_is_one_short_file():
    for name in ARCHITECTURES:
        path = Path(qviz.__file__).parent / "architectures" / f"{name.replace('-', '_')}.py"
        assert len(path.read_text("utf-8").splitlines()) <= 120, path


@pytest.fixture(scope="module")
def tokenizer():
    return folders.byte_level("gpt-2", 300)


@pytest.fixture
def folder(tmp_path, tokenizer):
    """Makes a folder of a case, in few layers, as small as a config.json allows."""

    def make(case):
        values = dict(CASES[case]["config"])
        arrays = hf_models.arrays(CASES[case])
        path = tmp_path / "model"
        path.mkdir()
        tokenizer.save(str(path / "tokenizer.json"))
        folders.write_json(path / "config.json", values)
        save_file(arrays, path / "model.safetensors")
        return path, values, arrays

    return make


def understood(values):
    """Whether a config.json is: its keys for GGUF, its tensors, its factors."""
    try:
        config = checkpoints.ModelConfig.from_json(values, Path("config.json"))
        config.metadata()
        config.rope_factors()
        for place in itertools.islice(config.places(), 500):  # however many layers are declared
            assert len(place.source_shape) > 0
    except CheckpointError as error:
        return "\n" in str(error)  # more than a sentence
    return True


@pytest.mark.parametrize("case", sorted(CASES))
def test_odd_settings(case):
    """Every key of config.json replaced in turn, and taken away."""
    values = CASES[case]["config"]
    assert understood(values)
    outcomes = [understood(values | {key: odd}) for key in values for odd in ODD]
    outcomes += [understood({k: v for k, v in values.items() if k != key}) for key in values]
    outcomes += [understood(values | {"rope_parameters": nested}) for nested in NESTED]
    assert not all(outcomes)


@pytest.mark.parametrize(
    "case", ["qwen2", "gemma3", "phi3", "gpt2", "qwen3moe", "granitemoe", "gpt-oss", "gpt-oss-mxfp4"]
)
def test_tensors_that_are_missing_extra_or_of_another_shape(folder, case):
    path, _, arrays = folder(case)
    for name in list(arrays)[:: max(1, len(arrays) // 3)]:
        x = arrays[name]
        for changed in (None, x[:-1].copy(), x[None], x.astype(np.int8)):
            whole = {k: v for k, v in {**arrays, name: changed}.items() if v is not None}
            save_file(whole, path / "model.safetensors")
            with pytest.raises(CheckpointError, match=name.split(".")[-1]):
                checkpoints.convert(path, path.parent / "out.gguf", type="f32")
    save_file({**arrays, "model.layers.0.unheard_of.weight": np.ones((2, 2), np.float32)}, path / "model.safetensors")
    with pytest.raises(CheckpointError, match="unheard_of"):
        checkpoints.convert(path, path.parent / "out.gguf", type="f32")


@pytest.mark.parametrize(
    ("case", "changes", "says"),
    [
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window False only"),
        ("qwen3moe", {"norm_topk_prob": False}, "norm_topk_prob True only"),
        ("qwen3moe", {"mlp_only_layers": [0]}, "mlp_only_layers"),
        ("qwen3moe", {"num_experts_per_tok": 7}, "7 experts of 6"),
        ("gemma2", {"query_pre_attn_scalar": 128}, "query_pre_attn_scalar 128"),
        ("gemma2", {"hidden_activation": "silu"}, "with gelu_pytorch_tanh only"),
        ("gemma2", {"attn_logit_softcapping": None}, "with a number as attn_logit_softcapping only"),
        ("gemma2", {"final_logit_softcapping": 0.0}, "final_logit_softcapping must be a positive number"),
        ("olmo3", {"rope_parameters": _TWO_BASES}, "as fast as the others"),
        ("olmo2", {"sliding_window": 16}, "'sliding_window' is a setting of another class of this family"),
        ("olmo2", {"layer_types": ["sliding_attention"] * 4}, "'layer_types' is a setting of another class"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma3", {"layer_types": ["full_attention"]}, "a value for each of 7 layers"),
        ("gemma3", {"layer_types": ["chunked_attention"] * 7}, "a kind that is not known here"),
        ("smollm3", {"no_rope_layers": [1, 0, 1, 0]}, "turns other layers"),
        ("smollm3", {"no_rope_layers": None, "no_rope_layer_interval": 2}, "turns other layers.*found 2, expected 4"),
        ("gemma2", {"sliding_window_pattern": 3}, "read by no class of this family: found 3, expected 2"),
        ("gemma3", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, "its class reads nothing else"),
        ("olmo3", {"rope_parameters": _YARN}, "its class reads nothing else"),
        ("phi3-long", {"original_max_position_embeddings": 128}, "is given twice.*found 256, expected 128"),
        ("phi3-long", {"original_max_position_embeddings": None}, "silence means another.*found 256, expected 4096"),
        ("granite", {"attention_multiplier": 0.0}, "attention_multiplier must be a positive number"),
        ("gemma3", {"final_logit_softcapping": 0.0}, "final_logit_softcapping must be a positive number"),
        ("gpt-oss", {"swiglu_limit": 5.0}, "swiglu_limit"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("phi3", {"partial_rotary_factor": 0.51}, "partial_rotary_factor is given twice"),
        ("granite", {"logits_scaling": 0}, "logits_scaling must be a positive number"),
        ("llama", {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "cannot be converted here"),
    ],
)
def test_what_llama_cpp_cannot_be_told(folder, case, changes, says):
    path, values, _ = folder(case)
    folders.write_json(path / "config.json", values | changes)
    with pytest.raises(CheckpointError, match=says):
        checkpoints.convert(path, path.parent / "out.gguf", type="f32")


@pytest.mark.parametrize("case", ["gemma2", "gemma3"])
def test_scores_are_scaled_as_the_class_does_unless_told(folder, case):
    """transformers scales by the root of 256 where config.json is silent, whatever the width of a head."""
    path, values, _ = folder(case)
    folders.write_json(path / "config.json", {k: v for k, v in values.items() if k != "query_pre_attn_scalar"})
    with pytest.raises(CheckpointError, match="found 'query_pre_attn_scalar 256', expected 64"):
        checkpoints.convert(path, path.parent / "out.gguf", type="f32")


@pytest.mark.parametrize("said", [{}, {"rope_theta": 5e4, "rope_scaling": None}])
def test_gpt_oss_is_stretched_unless_told(folder, tmp_path, said):
    """As transformers has it: YaRN of 32; and a folder that is written of an unstretched model says so."""
    path, values, _ = folder("gpt-oss")
    values = {k: v for k, v in values.items() if k != "rope_parameters"}
    folders.write_json(path / "config.json", values | said)
    with pytest.warns(UserWarning, match="rounds the ends of YaRN's ramp"):
        model = qviz.load(checkpoints.convert(path, tmp_path / "out.gguf", type="f32"))
    found = {key.removeprefix("gpt-oss.rope."): model.metadata[key] for key in model.metadata if ".rope." in key}
    assert found["scaling.type"] == "yarn"
    assert (found["scaling.factor"], found["scaling.original_context_length"]) == (32, 4096)
    assert found["freq_base"] == said.get("rope_theta", 150000)
    folders.write_json(path / "config.json", values | {"rope_scaling": {"rope_type": "default"}})
    model = qviz.load(checkpoints.convert(path, tmp_path / "plain.gguf", type="f32"))
    again = checkpoints.write_folder(tmp_path / "again", model)
    told = qviz.load(checkpoints.convert(again, tmp_path / "again.gguf", type="f32"))
    assert "gpt-oss.rope.scaling.type" not in told.metadata


def test_windowed_layers_turn_at_a_base_of_their_own_unless_told(folder):
    path, values, _ = folder("gemma3")
    kinds = {"full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": {"rope_type": "default"}}
    folders.write_json(path / "config.json", values | {"rope_parameters": kinds})
    rope = qviz.load(checkpoints.convert(path, path.parent / "out.gguf", type="f32")).metadata
    assert (rope["gemma3.rope.freq_base"], rope["gemma3.rope.freq_base_swa"]) == (1e6, 1e4)


def test_a_magnitude_that_yarn_has_in_any_case_is_none_of_its_own(folder):
    """OLMo 3's config.json states 1 + 0.1 ln 8; llama.cpp computes the same."""
    path, values, _ = folder("llama")
    yarn = {"rope_type": "yarn", "factor": 8.0, "attention_factor": 1.2079441541679836}
    folders.write_json(path / "config.json", values | {"rope_parameters": {"rope_theta": 1e4, **yarn}})
    model = qviz.load(checkpoints.convert(path, path.parent / "out.gguf", type="f32"))
    assert qviz.Transformer(model).config.rope_yarn
    assert not any("yarn_attn_factor" in key for key in model.metadata)


@pytest.mark.parametrize("scaling", [{"rope_type": "default"}, {"rope_type": "linear", "factor": 2.0}])
def test_a_folder_of_olmo_3_tells_each_kind_of_layer_its_base(folder, tmp_path, scaling):
    """transformers 5 gives rope_theta to layers without a window only, and 500000 to the others."""
    path, values, _ = folder("olmo3")
    plain = {"rope_type": "default", "rope_theta": 1e4}
    kinds = {"full_attention": plain | scaling, "sliding_attention": plain}
    folders.write_json(path / "config.json", values | {"rope_parameters": kinds})
    model = qviz.load(checkpoints.convert(path, tmp_path / "out.gguf", type="f32"))
    again = checkpoints.write_folder(tmp_path / "again", model)
    assert json.loads((again / "config.json").read_text("utf-8"))["rope_parameters"] == kinds
    told = qviz.load(checkpoints.convert(again, tmp_path / "again.gguf", type="f32"))
    assert [told.metadata[key] for key in told.metadata if ".rope." in key] == [
        model.metadata[key] for key in model.metadata if ".rope." in key
    ]


@pytest.mark.parametrize(("case", "window"), [("gemma2", 512), ("gemma3", 0), ("olmo3", 0), ("gpt-oss", 512)])
def test_null_is_no_window(folder, case, window):
    """A window as long as the context where a family has one in any case."""
    path, values, _ = folder(case)
    folders.write_json(path / "config.json", values | {"sliding_window": None})
    model = qviz.load(checkpoints.convert(path, path.parent / "out.gguf", type="f32"))
    assert qviz.Transformer(model).config.window == window


def test_windows_of_another_pattern_are_written(folder):
    path, values, _ = folder("gemma3")
    kinds = ["sliding_attention", "full_attention"] * 3 + ["full_attention"]
    folders.write_json(path / "config.json", values | {"layer_types": kinds})
    model = qviz.load(checkpoints.convert(path, path.parent / "out.gguf", type="f32"))
    assert qviz.Transformer(model).config.windowed == tuple(kind == "sliding_attention" for kind in kinds)
