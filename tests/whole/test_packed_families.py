"""Packed folders of every family: names, rows and codes as the family's own folders have them, read back by `convert`.

Where a tensor goes is taken from folders that the transformers package wrote; words are taken apart by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import hf_folders as folders
import hf_models
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import qviz
from qviz import checkpoints
from qviz.whole import by_layer

CASES = hf_models.cases()
FAMILIES = [
    *("llama-tied-biases", "llama-3", "mixtral", "qwen2", "qwen3", "qwen3moe", "gemma2", "gemma3", "phi3", "smollm3"),
    *("olmo3-yarn", "granite", "granitemoe", "gpt2", "gpt-oss"),
]
BITS, GROUP = 8, 32


def made(path: Path, case: str) -> tuple[qviz.models.Model, dict[str, np.ndarray]]:
    """A case as a GGUF file, and the tensors of its folder."""
    folder, arrays = path / case, hf_models.arrays(CASES[case])
    folder.mkdir()
    folders.write_json(folder / "config.json", CASES[case]["config"])
    save_file(arrays, folder / "model.safetensors")
    folders.byte_level("gpt-2", 300).save(str(folder / "tokenizer.json"))
    return qviz.load(checkpoints.convert(folder, path / f"{case}.gguf", type="f32")), arrays


def of_linears(arrays: dict[str, np.ndarray], case: str) -> dict[str, np.ndarray]:
    """Each linear layer of a model by the name that packers give it, (n_out, n_in), and what stays floats."""
    found: dict[str, np.ndarray] = {}
    for name, x in arrays.items():
        if case == "gpt2" and re.search(r"\.c_(attn|proj|fc)\.weight$", name):
            found[name] = x.T
        elif case == "granitemoe" and x.ndim == 3:
            for expert, part in enumerate(x):
                found[name.replace("_linear.weight", f"_linear.{expert}.linear.weight")] = part
        elif case == "gpt-oss" and "mlp.experts" in name:
            kind = "bias" if name.endswith("bias") else "weight"
            for expert, part in enumerate(x):
                rows = part if kind == "bias" else part.T
                own = f"{name.split('experts')[0]}experts.{expert}"
                if "gate_up" in name:
                    found[f"{own}.gate_proj.{kind}"] = rows[0::2]
                    found[f"{own}.up_proj.{kind}"] = rows[1::2]
                else:
                    found[f"{own}.down_proj.{kind}"] = rows
        else:
            found[name] = x
    return found


def unpacked(stored: dict[str, np.ndarray], module: str) -> np.ndarray:
    """A matrix of eight-bit codes in GPTQ's words, by hand: a byte is a code, a word's lowest byte the first."""
    words = stored[f"{module}.qweight"].astype("<i4")
    codes = words.view(np.uint8).reshape(*words.shape, 4).transpose(0, 2, 1).reshape(-1, words.shape[1])
    codes = codes.astype(np.float32)
    zeros = np.ascontiguousarray(stored[f"{module}.qzeros"].astype("<i4")).view(np.uint8).astype(np.float32)
    groups = stored[f"{module}.g_idx"]
    return ((codes - zeros[groups]) * stored[f"{module}.scales"].astype(np.float32)[groups]).T


@pytest.mark.parametrize("case", FAMILIES)
def test_a_folder_by_the_familys_own_names(tmp_path: Path, case: str) -> None:
    model, arrays = made(tmp_path, case)
    written = by_layer.pack_model(model, tmp_path / "packed", "rtn", BITS, GROUP, checkpoint="gptq_v2")
    stored, linears = load_file(written.path / "model.safetensors"), of_linears(arrays, case)
    modules = {name.removesuffix(".qweight") for name in stored if name.endswith(".qweight")}
    assert sum(x.nbytes for x in stored.values()) == written.nbytes
    for name, x in linears.items():
        module = name.removesuffix(".weight")
        if module in modules:
            steps = np.repeat(stored[f"{module}.scales"].astype(np.float32).T, GROUP, axis=1)
            # half a step, and what float16 rounded of a scale that 255 steps are measured in
            assert (np.abs(unpacked(stored, module) - x) <= steps * (0.5 + 256 * 2.0**-11)).all(), name
        else:
            tolerance = 2.0**-23 if case.startswith("gemma") and "norm" in name else 0  # one was added, and rounded
            assert np.abs(stored[name] - x).max() <= tolerance, name
    parts = {f"{module}.{part}" for module in modules for part in ("qweight", "qzeros", "scales", "g_idx")}
    assert set(stored) == parts | {name for name in linears if name.removesuffix(".weight") not in modules}
    matrices = {
        name for name, x in linears.items() if ".weight" in name and x.ndim == 2 and re.search(r"\.\d+\.", name)
    }
    routers = {name for name in matrices if name.removesuffix(".weight") not in modules}
    assert all(re.search(r"(\.gate|router|router\.layer)\.weight$", name) for name in routers)
    assert len(matrices) == len(modules) + len(routers)


@pytest.mark.parametrize(
    ("case", "method", "checkpoint", "bits"),
    [
        *((case, "rtn", "gptq", 4) for case in ("gpt2", "gemma2", "granite")),
        *((case, "gptq", "gptq_v2", 4) for case in ("granitemoe", "gpt-oss", "phi3", "olmo3-yarn", "smollm3")),
        *((case, "awq", "awq", 4) for case in ("qwen2", "gemma3", "mixtral", "phi3")),
        *((case, "gptq", "compressed-tensors", 8) for case in ("qwen3moe", "gpt-oss", "granitemoe", "qwen3")),
    ],
)
def test_convert_reads_what_was_measured(tmp_path: Path, case: str, method: str, checkpoint: str, bits: int) -> None:
    model, _ = made(tmp_path, case)
    how: dict[str, Any] = {"sym": checkpoint == "gptq"}
    if method != "rtn":
        how |= {"calibration": np.random.default_rng(1).integers(3, 320, 512).tolist(), "n_tokens": 512}
    rounded = by_layer.round_model(model, method, bits, GROUP, **how)
    by_layer.pack_model(model, tmp_path / "packed", method, bits, GROUP, checkpoint=checkpoint, **how)
    back = qviz.load(checkpoints.convert(tmp_path / "packed", tmp_path / "back.gguf"))
    assert set(back) == set(rounded)
    for name in back:
        want = rounded[name].dequantize()
        # gains go less one into the folder, and come back: half a unit in the last place of 1, twice
        tolerance = 2.0**-23 if case.startswith("gemma") and "norm" in name else 0
        assert np.abs(back[name].dequantize() - want).max() <= tolerance, name


def test_loaders_are_told_that_routers_stay(tmp_path: Path) -> None:
    model, _ = made(tmp_path, "mixtral")
    layers = [f"model.layers.{i}.block_sparse_moe.gate" for i in range(4)]
    said = {}
    for kind, bits in (("gptq", 4), ("awq", 4), ("compressed-tensors", 4)):
        folder = by_layer.pack_model(model, tmp_path / kind, "rtn", bits, GROUP, sym=True, checkpoint=kind).path
        said[kind] = json.loads((folder / "config.json").read_text("utf-8"))["quantization_config"]
    assert said["awq"]["modules_to_not_convert"] == layers
    assert said["compressed-tensors"]["ignore"] == [*layers, "lm_head"]
    left = [pattern.removeprefix("-:") for pattern in said["gptq"]["dynamic"]]
    assert [bool(re.match(pattern, name)) for pattern, name in zip(left, layers, strict=True)] == [True] * 4
    assert not any(re.match(pattern, "model.layers.0.block_sparse_moe.gate_up") for pattern in left)


def test_experts_taken_apart_by_others(tmp_path: Path) -> None:
    """Floats, too: each expert's matrix under a name of its own, and Granite's without a word more."""
    for case in ("gpt-oss", "granitemoe"):
        model, arrays = made(tmp_path, case)
        apart = {name.replace(".linear.weight", ".weight"): x for name, x in of_linears(arrays, case).items()}
        save_file({name: np.ascontiguousarray(x) for name, x in apart.items()}, tmp_path / case / "model.safetensors")
        again = qviz.load(checkpoints.convert(tmp_path / case, tmp_path / "again.gguf", type="f32"))
        assert {name: again[name].tobytes() for name in again} == {name: model[name].tobytes() for name in model}
