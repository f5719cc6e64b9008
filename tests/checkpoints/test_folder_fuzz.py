"""Models with something wrong in them, on their way to a folder and back: one sentence, or a folder that is understood.

``QVIZ_FUZZ=2000`` tries more packed folders.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_models import Made, made
from safetensors.numpy import load_file, save_file

import qviz
from qviz import checkpoints, gguf
from qviz.architectures import ARCHITECTURES
from qviz.errors import QvizError
from qviz.whole import by_layer

COUNT = int(os.environ.get("QVIZ_FUZZ", "12"))
ODD: tuple[Any, ...] = (
    *(None, 0, 1, -1, 3, 2.5, 1e300, math.nan, math.inf, "", "64", "yarn", "longrope", True, False, [], [1, 2], [True]),
    *([5] * 4, 2**31 - 1, 10**20, {}, gguf.F32(1.5), gguf.Array([1.0], "f32"), np.float32(2), np.int64(7)),
)
FAMILIES = sorted(ARCHITECTURES)


def refused(work: Any, *args: Any) -> str:
    """What an error says, in one line; nothing if there is none."""
    try:
        work(*args)
    except QvizError as error:
        said = str(error)
        assert said
        assert "\n" not in said
        assert len(said) < 2000
        return said
    return ""


def described(model: Made) -> None:
    config = checkpoints.config_of(model.metadata, model)
    said = checkpoints.config_json(config, model.metadata)
    json.dumps(said, allow_nan=False)
    checkpoints.ModelConfig.from_json(said, Path("config.json"))


@pytest.mark.parametrize("family", FAMILIES)
def test_odd_metadata(family: str) -> None:
    """Every key replaced in turn, and taken away: what is written can be read, or it is refused."""
    model = made(family)
    assert refused(described, model) == ""
    keys = [key for key in model.metadata if key.startswith(f"{family}.")] + ["general.architecture"]
    keys += [f"{family}.rope.scaling.{name}" for name in ("type", "factor", "attn_factor", "original_context_length")]
    keys += [f"{family}.{name}" for name in ("rope.freq_base_swa", "attention.sliding_window_pattern", "of_ours")]
    keys += [f"tokenizer.ggml.{name}_token_id" for name in ("bos", "eos", "padding")]
    outcomes = [refused(described, model.but({key: odd})) for key in keys for odd in ODD]
    assert sum(map(bool, outcomes)) > len(outcomes) / 3


@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_that_do_not_fit(tmp_path: Path, family: str) -> None:
    model = made(family, optional="all" if family == "phi3" else ())
    names = list(model)
    for name in names[:: max(1, len(names) // 12)]:
        x = model[name].dequantize()
        wrong = [None, x[:-1], x[None], np.repeat(x, 2, axis=-1)]
        for i, changed in enumerate(wrong):
            tensor = None if changed is None or not changed.size else qviz.quantize(changed, "F32")
            said = refused(checkpoints.write_folder, tmp_path / f"{name}{i}", model.but(**{name: tensor}))
            optional = changed is None and name == "output.weight"
            assert said or optional, name
            assert (tmp_path / f"{name}{i}").exists() == (not said)
    extra = model.but(**{"blk.0.unheard_of.weight": model["output_norm.weight"]})
    assert "unheard_of" in refused(checkpoints.write_folder, tmp_path / "more", extra)


# -- packed folders


@pytest.fixture(scope="module", params=["gpt-oss", "qwen3moe", "phi3", "gemma3", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, family = tmp_path_factory.mktemp("packed"), str(request.param)
    model = made(family)
    gguf.write(path / "m.gguf", model.metadata, model)
    return by_layer.pack_model(path / "m.gguf", path / "packed", "rtn", 4, 32, checkpoint="gptq_v2").path


def with_something_wrong(tensors: dict[str, np.ndarray], rng: random.Random) -> dict[str, np.ndarray]:
    broken = dict(tensors)
    for name in rng.sample(sorted(tensors), rng.randint(0, 2)):
        x = tensors[name]
        changes: list[Any] = [None, x[:-1], x[None], x.astype(np.int8), x.T, np.zeros_like(x), np.full_like(x, -1)]
        changes += [x.astype(np.float32) * np.float32(np.nan), np.repeat(x, 2, axis=0)]
        changed = rng.choice(changes)
        del broken[name]
        if changed is not None:
            broken[name if rng.random() < 0.9 else name.replace("layers.0", "layers.7")] = np.ascontiguousarray(changed)
    if rng.random() < 0.2:
        name = rng.choice([name for name in tensors if name.endswith("qweight")])
        broken[name.replace("qweight", "weight")] = np.zeros((64, 64), np.float32)
    return broken


def with_another_setting(values: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    key = rng.choice(sorted(values))
    if key == "quantization_config" and rng.random() < 0.8:
        return values | {key: with_another_setting(values[key], rng)}
    return values | {key: rng.choice([x for x in ODD if not isinstance(x, gguf.Array | np.generic)])}


def test_a_vocabulary_that_no_embedding_has(folder: Path, tmp_path: Path) -> None:
    """Said before two thousand million tokens are made."""
    for name in ("tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / "config.json").read_text("utf-8")) | {"vocab_size": 2**31 - 1}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    assert "does not fit config.json" in refused(checkpoints.convert, tmp_path, tmp_path / "out.gguf")
    rest = {name: x for name, x in load_file(folder / "model.safetensors").items() if "e" in name.rsplit(".")[-1]}
    save_file({k: x for k, x in rest.items() if "embed" not in k and "wte" not in k}, tmp_path / "model.safetensors")
    assert "is missing" in refused(checkpoints.convert, tmp_path, tmp_path / "out.gguf")


def tries(seed: int) -> Iterator[random.Random]:
    yield from (random.Random(f"{seed} {i}") for i in range(COUNT))


def test_packed_folders_with_something_wrong(folder: Path, tmp_path: Path) -> None:
    tensors, config = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text("utf-8"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    for rng in tries(len(tensors)):
        save_file(with_something_wrong(tensors, rng), tmp_path / "model.safetensors")
        said = with_another_setting(config, rng) if rng.random() < 0.6 else config
        (tmp_path / "config.json").write_text(json.dumps(said), "utf-8")
        (tmp_path / "out.gguf").unlink(missing_ok=True)
        if not refused(checkpoints.convert, tmp_path, tmp_path / "out.gguf"):
            assert len(gguf.read(tmp_path / "out.gguf")) > 0
        else:
            assert not (tmp_path / "out.gguf").exists()
