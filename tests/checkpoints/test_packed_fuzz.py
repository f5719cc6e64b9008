"""Damaged packed folders: each is read, or refused in one sentence of ours. ``QVIZ_FUZZ=2000`` tries more of them."""

from __future__ import annotations

import copy
import json
import os
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from test_dialects import CASES, GPTQ, layer_of, stored, write

from qviz.checkpoints import packed
from qviz.errors import QvizError

COUNT = int(os.environ.get("QVIZ_FUZZ", "60"))
NONSENSE: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    7,
    16,
    2**40,
    0.5,
    float("nan"),
    "",
    "4",
    "gemm",
    [],
    [1],
    {},
    {"a": 1},
]
NONSENSE += ["re:(", "re:.*", ["re:[", "Linear"], {"weights": 3}, "x" * 3000, {"+:(a*)*b": {"bits": 9}}]


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [p for key in keys for p in [(*here, key), *places(value[key], (*here, key))]]


def with_other_settings(settings: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    broken = copy.deepcopy(settings)
    for _ in range(rng.randint(0, 2)):
        where = rng.choice(places(broken) or [()])
        if not where:
            break
        inner = broken
        for key in where[:-1]:
            inner = inner[key]
        if rng.random() < 0.2 and isinstance(inner, dict):
            del inner[where[-1]]
        else:
            inner[where[-1]] = copy.deepcopy(rng.choice(NONSENSE))
    if rng.random() < 0.2:
        known = [
            "dynamic",
            "extra_config",
            "ignore",
            "checkpoint_format",
            "desc_act",
            "sym",
            "pack_dtype",
            "w_bit",
            "adapter",
        ]
        broken[rng.choice(known)] = copy.deepcopy(rng.choice(NONSENSE))
    return broken


def with_other_tensors(tensors: dict[str, np.ndarray], rng: random.Random) -> dict[str, np.ndarray]:
    broken = dict(tensors)
    for _ in range(rng.randint(0, 2)):
        if not broken:
            break
        name = rng.choice(list(broken))
        x, kind = broken[name], rng.randrange(8)
        if kind == 0:
            del broken[name]
        elif kind == 1:
            broken[name] = x[: rng.randint(0, len(x))] if x.ndim else x
        elif kind == 2:
            broken[name] = x.reshape(-1)
        elif kind == 3:
            with np.errstate(all="ignore"):
                broken[name] = x.astype(rng.choice([np.float16, np.float32, np.int8, np.int32, np.int64]))
        elif kind == 4:
            broken[name] = np.ascontiguousarray(x.T)
        elif kind == 5 and x.size:
            changed = x.copy().reshape(-1)
            limits = np.finfo(x.dtype) if x.dtype.kind == "f" else np.iinfo(x.dtype)
            values = [0, -1, 1, limits.min, limits.max, *([np.nan, np.inf] if x.dtype.kind == "f" else [])]
            changed[rng.randrange(changed.size)] = rng.choice(values)
            broken[name] = changed.reshape(x.shape)
        elif kind == 6:
            broken[rng.choice(["g_idx", "weight_g_idx", "qzeros", "weight", "bias", "input_scale", "B"])] = x
        else:
            broken[name] = np.full(x.shape, rng.choice([0, 5, -1, 100]), x.dtype)
    return broken


def test_damaged_folders(tmp_path: Path) -> None:
    rng = random.Random(0)
    sound = [stored(case) for case in CASES]
    sound += [(layer_of(bits), {}, GPTQ | {"bits": bits}) for bits in (2, 3, 4, 8)]
    sound += [(layer_of(format="gemm"), {}, {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"})]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(COUNT):
        tensors, halves, settings = rng.choice(sound)
        tensors = with_other_tensors(tensors, rng)
        halves = {} if halves and rng.random() < 0.1 else {k: x for k, x in halves.items() if k not in tensors}
        settings = with_other_settings(settings, rng)
        write(tmp_path, settings, tensors, halves)
        if rng.random() < 0.1:  # bytes of the weights' header, or its end
            path = tmp_path / "model.safetensors"
            raw = bytearray(path.read_bytes())
            raw[rng.randrange(min(len(raw), 300))] = rng.randrange(256)
            path.write_bytes(raw[: rng.choice([len(raw), len(raw) // 2, 3])])
        said = outcome(tmp_path)
        assert len(said) < 1500, json.dumps(settings)[:300]
        outcomes["refused" if said else "read"] += 1
    assert all(outcomes.values()), outcomes


def outcome(folder: Path) -> str:
    """What a folder is refused with; nothing if it is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = packed.read_packed(folder)
        except QvizError as error:
            return str(error)
        for layer in found.values():
            weights = layer.dequantize()
            assert weights.shape == layer.shape
            assert np.isfinite(weights).all()
    return ""
