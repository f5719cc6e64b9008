"""Files that llama.cpp's gguf-split and ours take apart."""

import shutil
from pathlib import Path

import numpy as np
from recipe_models import model

import qviz
from qviz import gguf
from qviz.models import data_dir


def tiny(folder: Path) -> Path:
    return Path(shutil.copy(data_dir() / "tiny.gguf", folder / "source.gguf"))


def odd(folder: Path) -> Path:
    """Tensors of odd sizes, values of each type, and keys of an earlier split, out of their place."""
    metadata = {
        "general.architecture": "llama",
        "split.count": gguf.U16(0),
        "a.bool": True,
        "a.text": "Grüße",
        "a.texts": gguf.Array(["", "x", "ġ"], "str"),
        "a.none": gguf.Array([], "i32"),
        "a.f64": gguf.F64(0.1),
        "a.i8": gguf.I8(-3),
        "a.u64s": gguf.Array([1 << 63], "u64"),
        "split.no": gguf.U16(7),
    }
    tensors = {f"t{i}": np.arange(i + 1, dtype=np.float32) for i in range(9)}
    tensors["t3"] = np.zeros((2, 3, 4, 5), np.float16)
    return gguf.write(folder / "source.gguf", metadata, tensors)


def mixture(folder: Path) -> Path:
    return gguf.write(folder / "source.gguf", *model(layers=3, experts=4))


MODELS = {"tiny": tiny, "odd": odd, "mixture": mixture}
CASES = {
    "tiny": (
        "--split-max-size 3M",
        "--split-max-size 5M --no-tensor-first-split",
        "--split-max-tensors 10",
        "--split-max-tensors 128",
    ),
    "odd": ("--split-max-tensors 1", "--split-max-tensors 4", "--split-max-tensors 3 --no-tensor-first-split"),
    "mixture": ("--split-max-tensors 5",),
}


class _Model(dict):
    metadata: dict


def tiny_in_f32():
    """The small model with every matrix in F32: nothing is rounded before it is multiplied."""
    source = qviz.load("tiny")
    model = _Model({name: qviz.quantize(tensor.dequantize(), "F32") for name, tensor in source.items()})
    model.metadata = source.metadata
    return model
