"""Small models of many kinds, the same on every machine, to be quantized by llama.cpp and by us.

llama.cpp quantizes whatever a file holds: matrices here have few rows, since only the row length matters.
"""

import functools
import zlib
from pathlib import Path

import numpy as np

from qviz import gguf
from qviz.calibration.imatrix import Entry, Imatrix
from qviz.formats import quantize


def weights(name: str, shape: tuple[int, ...], scale: float = 2.0**-9) -> np.ndarray:
    """Bell-shaped float32 noise with a few outliers, from integers only: no random generator to change under us."""
    n = int(np.prod(shape))
    z = np.arange(4 * n, dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()) << 24)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    parts = ((z ^ (z >> np.uint64(31))) >> np.uint64(48)).astype(np.int64).reshape(4, n)
    values = (parts.sum(0) - 2 * 65535).astype(np.float32) / np.float32(65536)
    values[:: 97 + n % 7] *= np.float32(6)
    return (values * np.float32(scale)).reshape(shape)


def model(
    layers: int = 8,
    width: int = 256,
    ffn: int = 512,
    heads: int = 4,
    kv_heads: int = 4,
    *,
    tied: bool = False,
    experts: int = 0,
    architecture: str = "llama",
    fused: bool = False,
    dtype: str = "F32",
    extra: dict | None = None,
):
    """Metadata and tensors, tensors on purpose not in the order in which they will be written."""
    several, suffix = ((experts,), "_exps") if experts else ((), "")
    parts = {
        "attn_q": (3, width),
        "attn_k": (2, width),
        "attn_v": (2, width),
        "attn_output": (3, width),
        f"ffn_gate{suffix}": (*several, 4, width),
        f"ffn_up{suffix}": (*several, 4, width),
        f"ffn_down{suffix}": (*several, 3, ffn),
    }
    if fused:
        for part in ("attn_q", "attn_k", "attn_v"):
            del parts[part]
        parts["attn_qkv"] = (5, width)
    shapes = {"token_embd.weight": (7, width), "rope_freqs.weight": (16,)}
    for i in range(layers):
        shapes |= {f"blk.{i}.{part}.weight": shape for part, shape in parts.items()}
        shapes[f"blk.{i}.attn_norm.weight"] = shapes[f"blk.{i}.ffn_norm.weight"] = (width,)
        if experts:
            shapes[f"blk.{i}.ffn_gate_inp.weight"] = (experts, width)
    shapes["output_norm.weight"] = (width,)
    shapes["blk.0.attn_q.bias"] = (width,)
    shapes["blk.1.one_row.weight"] = (1, width)
    if not tied:
        shapes["output.weight"] = (7, width)
    tensors = {
        name: quantize(weights(name, shape), "F32" if len(shape) == 1 or "gate_inp" in name else dtype)
        for name, shape in shapes.items()
    }
    metadata = {
        "general.architecture": architecture,
        "general.file_type": gguf.U32(1),
        "general.name": "small",
        f"{architecture}.block_count": layers,
        f"{architecture}.context_length": 128,
        f"{architecture}.embedding_length": width,
        f"{architecture}.feed_forward_length": ffn,
        f"{architecture}.attention.head_count": heads,
        f"{architecture}.attention.head_count_kv": kv_heads,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{architecture}.attention.layer_norm_epsilon": 1e-5,
        f"{architecture}.vocab_size": 7,
        "general.quantization_version": gguf.U32(2),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "Ġ", "é", "", "x"],
        "tokenizer.ggml.scores": [0.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0],
        "tokenizer.ggml.token_type": gguf.Array([2, 3, 3, 1, 1, 1, 1], "i32"),
        "tokenizer.ggml.add_bos_token": True,
        "a.flags": gguf.Array([True, False], "bool"),
        "a.wide": gguf.U64(2**40),
        "a.double": gguf.F64(0.1),
        "a.small": gguf.I8(-3),
    }
    if experts:
        metadata |= {f"{architecture}.expert_count": experts, f"{architecture}.expert_used_count": 2}
    return metadata | (extra or {}), tensors


MODELS = {
    "plain": {},
    "groups of four, tied, F16": {"heads": 8, "kv_heads": 2, "tied": True, "dtype": "F16"},
    "32 layers, BF16": {"layers": 32, "ffn": 256, "dtype": "BF16"},
    "rows of 96 and 288, groups of two": {"layers": 16, "width": 96, "ffn": 288, "heads": 4, "kv_heads": 2},
    "rows of 40, tied": {"layers": 3, "width": 40, "ffn": 512, "tied": True},
    "eight experts": {"layers": 8, "experts": 8, "heads": 8, "kv_heads": 2},
    "four experts, F16": {"layers": 8, "experts": 4, "dtype": "F16"},
    "the 70B rule": {"layers": 80, "ffn": 256, "heads": 64, "kv_heads": 8},
    "falcon": {"layers": 16, "architecture": "falcon", "fused": True},
    "split keys": {"layers": 2, "extra": {"split.no": gguf.U16(0), "split.count": gguf.U16(1)}},
}
"""Name -> options of `model`."""

IMATRIX_MODELS = ("plain", "groups of four, tied, F16", "eight experts")


def write_model(path: Path, name: str) -> Path:
    return gguf.write(path, *model(**MODELS[name]))


@functools.cache
def importance(name: str) -> Imatrix:
    """An importance matrix for a model, with one tensor missing (if it has it): that one is then quantized without."""
    entries = {}
    for tensor, info in model(**MODELS[name])[1].items():
        shape = info.shape
        if len(shape) > 1 and "norm" not in tensor and tensor != "blk.0.ffn_down.weight":
            experts = shape[0] if len(shape) == 3 else 1
            sums = np.square(weights(f"importance of {tensor}", (experts, shape[-1]), 8)) + np.float32(0.5)
            counts = np.full(experts, 1000)
            if experts > 1:
                counts[1] = 0  # an expert that never ran
            entries[tensor] = Entry(sums, counts)
    return Imatrix(
        entries, datasets=["wiki.train.raw", "more.txt"], chunk_count=7, chunk_size=512, path="small.imatrix"
    )
