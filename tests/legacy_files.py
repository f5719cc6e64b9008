"""Model files from before GGUF, put together by hand from the layouts of their day: struct, plain NumPy, no qviz.

Every block maker returns the bytes of a matrix and, by the plainest possible loop over weights, what they decode to.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

F32, F16, Q4_0, Q4_1, Q4_2, Q4_3, Q5_0, Q5_1, Q8_0 = range(9)
Q4_K = 12


class Matrix(NamedTuple):
    type_id: int
    shape: tuple[int, ...]
    raw: bytes
    values: np.ndarray  # float32


def f32(rng: np.random.Generator, shape: tuple[int, ...]) -> Matrix:
    x = rng.normal(0, 0.02, shape).astype(np.float32)
    return Matrix(F32, shape, x.tobytes(), x)


def f16(rng: np.random.Generator, shape: tuple[int, ...]) -> Matrix:
    x = rng.normal(0, 0.02, shape).astype(np.float16)
    return Matrix(F16, shape, x.tobytes(), x.astype(np.float32))


def _scale(rng: np.random.Generator, code: str, *, fits_half: bool) -> np.float32:
    x = rng.normal(0, 0.01)
    x = np.float32(np.float16(x)) if fits_half or code == "e" else np.float32(x)
    return x


def quantized(
    type_id: int,
    size: int,
    scale_code: str,
    *,
    with_min: bool = False,
    bits: int = 4,
    pairs: bool = True,
    offset: int = 0,
    fits_half: bool = False,
) -> Callable[[np.random.Generator, tuple[int, ...]], Matrix]:
    """A maker of blocks of `size` codes; `pairs`: neighbours share a byte, else the halves of a block do."""

    def make(rng: np.random.Generator, shape: tuple[int, ...]) -> Matrix:
        raw, values = b"", []
        for _ in range(int(np.prod(shape)) // size):
            d = _scale(rng, scale_code, fits_half=fits_half)
            m = _scale(rng, scale_code, fits_half=fits_half) if with_min else np.float32(0)
            codes = [int(c) for c in rng.integers(0, 2**bits, size)]
            raw += struct.pack("<" + scale_code, d) + (struct.pack("<" + scale_code, m) if with_min else b"")
            if bits == 8:
                raw += bytes(codes)
                codes = [c - 256 if c > 127 else c for c in codes]
            else:
                if bits == 5:
                    raw += struct.pack("<I", sum((c >> 4) << l for l, c in enumerate(codes)))
                low = [c & 15 for c in codes]
                half = size // 2
                couples = [(low[2 * l], low[2 * l + 1]) if pairs else (low[l], low[l + half]) for l in range(half)]
                raw += bytes(a | b << 4 for a, b in couples)
            values += [np.float32(c - offset) * d + m for c in codes]
        return Matrix(type_id, shape, raw, np.array(values, np.float32).reshape(shape))

    return make


V1 = {
    "F32": f32,
    "F16": f16,
    "Q4_0_v1": quantized(Q4_0, 32, "f", offset=8),
    "Q4_1_v1": quantized(Q4_1, 32, "f", with_min=True),
    "Q4_2": quantized(Q4_2, 16, "e", offset=8),
    "Q4_3": quantized(Q4_3, 16, "e", with_min=True),
    "Q5_0_v1": quantized(Q5_0, 32, "e", bits=5, offset=16),
    "Q5_1_v1": quantized(Q5_1, 32, "e", bits=5, with_min=True),
    "Q8_0_v1": quantized(Q8_0, 32, "f", bits=8),
}
V2 = {
    "F32": f32,
    "F16": f16,
    "Q4_0_v2": quantized(Q4_0, 32, "f", offset=8, pairs=False),
    "Q4_1_v2": quantized(Q4_1, 32, "f", with_min=True, pairs=False),
    "Q5_0": quantized(Q5_0, 32, "e", bits=5, offset=16, pairs=False),
    "Q5_1": quantized(Q5_1, 32, "e", bits=5, with_min=True, pairs=False),
    "Q8_0_v1": quantized(Q8_0, 32, "f", bits=8),
}
V3 = {
    "F32": f32,
    "F16": f16,
    "Q4_0": quantized(Q4_0, 32, "e", offset=8, pairs=False),
    "Q4_1": quantized(Q4_1, 32, "e", with_min=True, pairs=False),
    "Q5_0": V2["Q5_0"],
    "Q5_1": V2["Q5_1"],
    "Q8_0": quantized(Q8_0, 32, "e", bits=8),
}


def by_row(matrix: Matrix) -> Matrix:
    """The blocks of a matrix as they stood before March 11 2023: a row's mins, its scales, then its codes."""
    fields = {Q4_0: [4, 16], Q4_1: [4, 4, 16]}[matrix.type_id]
    rows = matrix.shape[0]
    row_size = len(matrix.raw) // rows
    raw = b""
    for r in range(rows):
        row = matrix.raw[r * row_size : (r + 1) * row_size]
        blocks = [row[i : i + sum(fields)] for i in range(0, row_size, sum(fields))]
        if matrix.type_id == Q4_1:
            raw += b"".join(b[4:8] for b in blocks)
        raw += b"".join(b[:4] for b in blocks) + b"".join(b[-16:] for b in blocks)
    return matrix._replace(raw=raw)


# -- containers


def record(name: str | bytes, matrix: Matrix, position: int | None = None) -> bytes:
    """A tensor; `position`: where it starts, in a container that aligns the data."""
    raw_name = name.encode() if isinstance(name, str) else name
    dims = matrix.shape[::-1]
    head = (
        struct.pack("<3I", len(dims), len(raw_name), matrix.type_id) + struct.pack(f"<{len(dims)}I", *dims) + raw_name
    )
    if position is not None:
        head += bytes(-(position + len(head)) % 32)
    return head + matrix.raw


def llama_file(
    tensors: dict[str, Matrix],
    hparams: tuple[int, ...],
    tokens: list[tuple[bytes, float]],
    container: str = "GGJT",
    version: int = 3,
) -> bytes:
    magic = {"GGML": 0x67676D6C, "GGMF": 0x67676D66, "GGJT": 0x67676A74}[container]
    out = struct.pack("<I", magic) + (struct.pack("<I", version) if container != "GGML" else b"")
    out += struct.pack("<7I", *hparams)
    for text, score in tokens:
        out += struct.pack("<I", len(text)) + text + (struct.pack("<f", score) if container != "GGML" else b"")
    for name, matrix in tensors.items():
        out += record(name, matrix, len(out) if container == "GGJT" else None)
    return out


def whisper_file(tensors: dict[str, Matrix], hparams: tuple[int, ...], tokens: list[bytes], mel: np.ndarray) -> bytes:
    out = struct.pack("<I", 0x67676D6C) + struct.pack("<11i", *hparams)
    out += struct.pack("<2i", *mel.shape) + mel.astype("<f4").tobytes()
    out += struct.pack("<i", len(tokens)) + b"".join(struct.pack("<i", len(t)) + t for t in tokens)
    return out + b"".join(record(name, matrix) for name, matrix in tensors.items())


# -- small models


def whisper_header(width: int) -> tuple[int, ...]:
    """All numbers of a whisper file's header but the last, the file type."""
    return (51, 8, width, 2, 1, 8, width, 2, 1, 4)


def whisper_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of a whisper model of one layer on each side."""
    shapes: dict[str, tuple[int, ...]] = {
        "decoder.positional_embedding": (8, width),
        "encoder.positional_embedding": (8, width),
        "decoder.token_embedding.weight": (51, width),
        "encoder.conv1.weight": (width, 4, 3),
        "encoder.conv1.bias": (width, 1),
        "encoder.conv2.weight": (width, width, 3),
        "encoder.conv2.bias": (width, 1),
    }
    for norm in ("decoder.ln", "encoder.ln_post"):
        shapes |= {f"{norm}.{part}": (width,) for part in ("weight", "bias")}
    for side, kinds in {"encoder": ["attn"], "decoder": ["attn", "cross_attn"]}.items():
        block = f"{side}.blocks.0"
        for kind in kinds:
            shapes |= {f"{block}.{kind}_ln.{p}": (width,) for p in ("weight", "bias")}
            shapes |= {f"{block}.{kind}.{p}.weight": (width, width) for p in ("query", "key", "value", "out")}
            shapes |= {f"{block}.{kind}.{p}.bias": (width,) for p in ("query", "value", "out")}
        shapes |= {f"{block}.mlp_ln.{p}": (width,) for p in ("weight", "bias")}
        shapes |= {f"{block}.mlp.0.weight": (4 * width, width), f"{block}.mlp.0.bias": (4 * width,)}
        shapes |= {f"{block}.mlp.2.weight": (width, 4 * width), f"{block}.mlp.2.bias": (width,)}
    return shapes


def is_whisper_matrix(name: str) -> bool:
    """Whether whisper.cpp quantizes a tensor."""
    parts = ("query", "key", "value", "out", "mlp.0", "mlp.2", "token_embedding")
    return name.endswith(tuple(f"{part}.weight" for part in parts))


N_VOCAB, N_EMBD, N_MULT, N_HEAD, N_LAYER, N_FF = 300, 64, 32, 4, 2, 128


def tokens(n: int = N_VOCAB) -> list[tuple[bytes, float]]:
    """LLaMA's order: three special tokens, 256 bytes, pieces."""
    special = [(" \u2047 ".encode(), 0.0), (b"", 0.0), (b"", 0.0)]
    single = [(bytes([b]), 0.0) for b in range(256)]
    pieces = [(f" w{i}".encode(), -float(i)) for i in range(n - 259)]
    return (special + single + pieces)[:n]


@functools.cache
def llama_tensors(maker: Callable, seed: int = 0, layers: int = N_LAYER, kv: int = N_EMBD) -> dict[str, Matrix]:
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "tok_embeddings.weight": (N_VOCAB, N_EMBD),
        "norm.weight": (N_EMBD,),
        "output.weight": (N_VOCAB, N_EMBD),
    }
    for i in range(layers):
        here = {
            "attention.wq": (N_EMBD, N_EMBD),
            "attention.wk": (kv, N_EMBD),
            "attention.wv": (kv, N_EMBD),
            "attention.wo": (N_EMBD, N_EMBD),
            "attention_norm": (N_EMBD,),
            "feed_forward.w1": (N_FF, N_EMBD),
            "feed_forward.w2": (N_EMBD, N_FF),
            "feed_forward.w3": (N_FF, N_EMBD),
            "ffn_norm": (N_EMBD,),
        }
        shapes |= {f"layers.{i}.{name}.weight": shape for name, shape in here.items()}
    return {name: (f32 if len(shape) == 1 else maker)(rng, shape) for name, shape in shapes.items()}


def hparams(ftype: int, layers: int = N_LAYER) -> tuple[int, ...]:
    return N_VOCAB, N_EMBD, N_MULT, N_HEAD, layers, N_EMBD // N_HEAD, ftype
