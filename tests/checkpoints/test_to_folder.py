"""GGUF -> Hugging Face folders, read by the libraries that read real ones; and what `plan` says beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hf_folders as folders
import hf_models
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

import qviz
from qviz import checkpoints, gguf
from qviz.checkpoints.packed import writer
from qviz.errors import CheckpointError, QvizError


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return folders.byte_level("smollm")


class Changed(dict):
    """The small model with something else in its metadata."""

    def __init__(self, **metadata: Any) -> None:
        model = qviz.load("tiny")
        super().__init__({name: model[name] for name in model})
        self.metadata = {**model.metadata, **{key.replace("__", "."): value for key, value in metadata.items()}}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("changes", [{}, {"attention_bias": True, "mlp_bias": True}, {"tie_word_embeddings": True}])
def test_there_and_back_is_the_folder_that_others_wrote(
    tmp_path: Path, tokenizer: Tokenizer, dtype: str, changes: dict[str, Any]
) -> None:
    config, _ = folders.folder(tmp_path / "model", tokenizer, dtype=dtype, **changes)
    with_bf16 = checkpoints.read(tmp_path / "model")
    file = qviz.load(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    back = checkpoints.write_folder(tmp_path / "back", file)
    found = load_file(back / "model.safetensors")
    assert set(found) == set(with_bf16)
    for name, x in found.items():
        # what was F32 went through F16; everything else is as it was
        expected = with_bf16[name].dequantize()
        if dtype == "F32" and x.ndim == 2:
            expected = expected.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(x.astype(np.float32), expected, err_msg=name)
        assert x.dtype == (np.float32 if dtype == "BF16" or x.ndim == 1 else np.float16)
    said = json.loads((back / "config.json").read_text("utf-8"))
    assert {key: said[key] for key in config if key in said} == {key: config[key] for key in config if key in said}
    assert said["torch_dtype"] == ("float32" if dtype == "BF16" else "float16")


def test_rows_of_a_head_stand_half_a_head_apart(tmp_path: Path) -> None:
    """By hand: row 2i of a head goes to row i, row 2i + 1 to row i + 32."""
    tiny = qviz.load("tiny")
    found = load_file(checkpoints.write_folder(tmp_path / "tiny", tiny) / "model.safetensors")
    theirs, ours = found["model.layers.3.self_attn.k_proj.weight"], tiny["blk.3.attn_k.weight"].dequantize()
    for head in (0, 3):
        for i in (0, 1, 31):
            np.testing.assert_array_equal(theirs[64 * head + i], ours[64 * head + 2 * i])
            np.testing.assert_array_equal(theirs[64 * head + i + 32], ours[64 * head + 2 * i + 1])
    values = found["model.layers.3.self_attn.v_proj.weight"]
    np.testing.assert_array_equal(values, tiny["blk.3.attn_v.weight"].dequantize())


def test_tensors_stand_in_the_order_of_the_safetensors_package(tmp_path: Path) -> None:
    ours = checkpoints.write_folder(tmp_path / "tiny", qviz.load("tiny")) / "model.safetensors"
    save_file(load_file(ours), tmp_path / "theirs.safetensors")
    theirs = checkpoints.read(tmp_path / "theirs.safetensors").tensor_info
    found = checkpoints.read(ours).tensor_info
    assert sorted(found, key=lambda name: found[name].offset) == sorted(theirs, key=lambda name: theirs[name].offset)


def test_the_tokenizers_library_cuts_text_alike(tmp_path: Path) -> None:
    tiny = qviz.load("tiny")
    folder = checkpoints.write_folder(tmp_path / "tiny", tiny)
    theirs, ours = Tokenizer.from_file(str(folder / "tokenizer.json")), qviz.Transformer(tiny).tokenizer
    for text in ("Call me Ishmael.", "  two spaces, naïve café\nand a line"):
        assert theirs.encode(text).ids == ours.encode(text)


def test_converting_what_was_written_gives_the_same_tensors(tmp_path: Path) -> None:
    tiny = qviz.load("tiny")
    path = checkpoints.convert(checkpoints.write_folder(tmp_path / "tiny", tiny), tmp_path / "again.gguf")
    again = gguf.read(path)
    assert set(again) == set(tiny)
    assert all(again[name].tobytes() == tiny[name].tobytes() for name in tiny)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"general__architecture": "bloom"}, "models of this family cannot be written as a folder: found 'bloom'"),
        ({"general__architecture": "qwen2"}, r"there is no qwen2\.block_count"),
        ({"llama__attention__scale": gguf.F32(0.5)}, "attention.scale"),
        ({"llama__residual_scale": gguf.F32(0.5)}, "residual_scale"),
        ({"llama__rope__scaling__attn_factor": gguf.F32(2)}, "a magnitude of rotary positions"),
        ({"llama__rope__dimension_count": gguf.U32(32)}, "only whole heads can turn in this family"),
        ({"llama__block_count": gguf.U32(3)}, "there are tensors that a folder of the family 'llama' does not have"),
        ({"llama__of_ours": gguf.U32(3)}, r"llama\.of_ours.*not known here"),
    ],
)
def test_what_config_json_cannot_say_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        checkpoints.write_folder(tmp_path / "model", Changed(**changed))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("key", ["llama__rope__scaling__factor", "llama__rope__scale_linear"])
def test_stretched_positions(tmp_path: Path, key: str) -> None:
    folder = checkpoints.write_folder(tmp_path / "model", Changed(**{key: gguf.F32(4)}))
    said = json.loads((folder / "config.json").read_text("utf-8"))
    assert said["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}


def test_a_source_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tensor is written, then another program writes into the file: an error, and nothing is left."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(qviz.load("tiny").path.read_bytes())
    model, put = qviz.load(path), writer._TensorFile.put

    def change(*args: Any) -> None:
        put(*args)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    monkeypatch.setattr(writer._TensorFile, "put", change)
    with pytest.raises(QvizError, match="the file shrank"):
        checkpoints.write_folder(tmp_path / "out", model)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny.gguf"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not empty"):
        checkpoints.write_folder(tmp_path, qviz.load("tiny"))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# -- every family: folders whose tensors and settings are those that the transformers package wrote

# the same model under the names of its plainest relative, which computes the same
_RELATIVES = {"mistral": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}}
# said in another place, or only where it is not what it would be anyway
_ELSEWHERE = {"rope_parameters", "rope_theta", "n_inner", "use_bidirectional_attention"}
CASES = hf_models.cases()


@pytest.mark.parametrize("case", CASES)
def test_every_family_there_and_back(tmp_path: Path, case: str) -> None:
    folder, theirs = tmp_path / "model", hf_models.arrays(CASES[case])
    folder.mkdir()
    folders.write_json(folder / "config.json", CASES[case]["config"])
    save_file(theirs, folder / "model.safetensors")
    folders.byte_level("gpt-2", 300).save(str(folder / "tokenizer.json"))
    file = qviz.load(checkpoints.convert(folder, tmp_path / "out.gguf", type="f32"))
    back = checkpoints.write_folder(tmp_path / "back", file)
    found = load_file(back / "model.safetensors")
    assert {name: (x.dtype, x.shape) for name, x in found.items()} == {
        name: (x.dtype, x.shape) for name, x in theirs.items()
    }
    for name, x in theirs.items():
        if case.startswith("gemma") and name.endswith("norm.weight"):  # one was added, and rounded
            x = (x + np.float32(1)) - np.float32(1)
        np.testing.assert_array_equal(found[name], x, err_msg=name)
    config = CASES[case]["config"] | _RELATIVES.get(case, {})
    said = json.loads((back / "config.json").read_text("utf-8"))
    shared = (set(said) & set(config)) - _ELSEWHERE
    assert {key: said[key] for key in shared} == {key: config[key] for key in shared}
    again = qviz.load(checkpoints.convert(back, tmp_path / "again.gguf", type="f32"))
    assert {name: again[name].tobytes() for name in again} == {name: file[name].tobytes() for name in file}
    runs = [qviz.transformer.TransformerConfig.from_metadata(model.metadata) for model in (file, again)]
    assert runs[0] == runs[1]


def test_positions_of_a_llama_3(tmp_path: Path) -> None:
    """Its divisors stand in the file; the four numbers that they were computed of come back, or it is refused."""
    case = CASES["llama-3"]
    folder = tmp_path / "model"
    folder.mkdir()
    folders.write_json(folder / "config.json", case["config"])
    save_file(hf_models.arrays(case), folder / "model.safetensors")
    folders.byte_level("gpt-2", 300).save(str(folder / "tokenizer.json"))
    file = qviz.load(checkpoints.convert(folder, tmp_path / "out.gguf"))
    said = json.loads((checkpoints.write_folder(tmp_path / "back", file) / "config.json").read_text("utf-8"))
    wanted = {key: x for key, x in case["config"]["rope_parameters"].items() if key != "rope_theta"}
    assert said["rope_scaling"] == wanted
    other = Changed()
    other["rope_freqs.weight"] = qviz.quantize(np.linspace(1, 9, 32, dtype=np.float32), "F32")
    with pytest.raises(CheckpointError, match="are not Llama 3's"):
        checkpoints.write_folder(tmp_path / "other", other)


# -- plan


def test_the_plan_is_what_happens(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config, arrays = folders.folder(tmp_path / "model", tokenizer, attention_bias=True)
    planned = checkpoints.plan(tmp_path / "model")
    file = gguf.read(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    assert [place.target for place in planned.tensors] == list(file)
    assert {place.source for place in planned.tensors} == set(arrays)
    assert all(place.shape == file.tensor_info[place.target].shape for place in planned.tensors)
    moved = {place.target for place in planned.tensors if place.change}
    assert moved == {f"blk.{i}.attn_{x}.{part}" for i in (0, 1) for x in "qk" for part in ("weight", "bias")}
    assert [setting.source for setting in planned.settings] == list(config)
    for setting in planned.settings:
        if setting.target.startswith("llama."):
            assert file.metadata[setting.target] == pytest.approx(setting.value, rel=float(2.0**-24))  # F32


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"residual_scale_of_ours": 0.5}, "residual_scale_of_ours"), ({"num_hidden_layers": 3}, "missing")],
)
def test_what_has_no_place_is_refused(
    tmp_path: Path, tokenizer: Tokenizer, changes: dict[str, Any], message: str
) -> None:
    folders.folder(tmp_path / "model", tokenizer)
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")
    with pytest.raises(CheckpointError, match=message):
        checkpoints.plan(tmp_path / "model")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not the folder of a model"):
        checkpoints.plan(tmp_path / "nothing")
