"""Tiny random models of every family: a folder, converted here, computes the logits that `transformers` computed."""

import hf_folders as folders
import hf_models
import numpy as np
import pytest
from safetensors.numpy import save_file

import qviz
from qviz import checkpoints
from qviz.architectures import ARCHITECTURES

CASES = hf_models.cases()
KNOWN = {name: a.name for a in ARCHITECTURES.values() for name in a.classes}


def family(case):
    return KNOWN.get(CASES[case]["config"]["architectures"][0])


@pytest.fixture(scope="module")
def tokenizer():
    return folders.byte_level("gpt-2", 300)


def converted(path, case, tokenizer):
    """A case as a folder, and that as a model."""
    folder = path / case
    folder.mkdir()
    folders.write_json(folder / "config.json", CASES[case]["config"])
    save_file(hf_models.arrays(CASES[case]), folder / "model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
    return qviz.load(checkpoints.convert(folder, path / f"{case}.gguf", type="f32"))


@pytest.mark.parametrize(
    ("prefix", "head", "pictures"),
    [
        ("language_model.model.", "language_model.lm_head.", "vision_tower."),
        ("model.language_model.", "lm_head.", "model.multi_modal_projector."),
    ],
)
def test_what_reads_text_of_a_model_that_reads_pictures(tmp_path, tokenizer, prefix, head, pictures):
    """Gemma 3 from 4 billion weights on: the names of 2025 and of today; settings of its text apart."""
    described, folder = CASES["gemma3"], tmp_path / "model"
    folder.mkdir()
    inner = {k: v for k, v in described["config"].items() if k not in ("architectures", "eos_token_id")}
    values = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "eos_token_id": [2]}
    values |= {"text_config": inner, "vision_config": {"hidden_size": 16}, "mm_tokens_per_image": 4}
    folders.write_json(folder / "config.json", values)
    arrays = {prefix + name.removeprefix("model."): x for name, x in hf_models.arrays(described).items()}
    arrays[f"{head}weight"] = arrays[f"{prefix}embed_tokens.weight"].copy()
    arrays[f"{pictures}patches.weight"] = np.ones((16, 3), np.float32)
    save_file(arrays, folder / "model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.warns(UserWarning, match=r"what reads pictures \(1 tensors\) is left out"):
        model = qviz.load(checkpoints.convert(folder, tmp_path / "out.gguf", type="f32"))
    run = qviz.Transformer(model, activations="float")
    found = run.logits(hf_models.tokens(), run.new_cache(64, "F32"))[hf_models.SHOWN]
    assert np.abs(found - described["logits"]).max() <= 1e-4 * described["logits"].std()


@pytest.mark.parametrize("case", [case for case in CASES if family(case)])
def test_logits(tmp_path, tokenizer, case):
    """All tokens at once, and one by one in the compiled pass, whose cache is of float16."""
    model = converted(tmp_path, case, tokenizer)
    want = CASES[case]["logits"]
    run = qviz.Transformer(model, activations="float")
    ids = hf_models.tokens()
    found = run.logits(ids, run.new_cache(len(ids), "F32"))[hf_models.SHOWN]
    spread = want.std()
    assert np.abs(found - want).max() <= 1e-4 * spread
    cache = run.new_cache(len(ids))
    one_by_one = np.concatenate([run.logits([token], cache) for token in ids])[hf_models.SHOWN]
    # keys and values have 11 bits in the cache
    assert np.abs(one_by_one - want).max() <= 5e-3 * spread
    windows = run.window_logits(np.array([ids, ids[::-1]]), 10, 60)[0]
    shown = [k for k, i in enumerate(hf_models.SHOWN) if 10 <= i < 60]
    assert np.abs(windows[hf_models.SHOWN[shown] - 10] - want[shown]).max() <= 5e-3 * spread
