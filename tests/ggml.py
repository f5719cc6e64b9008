"""libggml, through the prebuilt library inside the ``pywhispercpp`` wheel: the oracle for every byte."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from qviz.formats import get


@cache
def library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("pywhispercpp")
    if spec is None or spec.origin is None:
        pytest.skip("libggml is not installed (wheel pywhispercpp: x86-64 Linux); golden bytes are checked instead")
    site = Path(spec.origin).parent.parent
    lib = ctypes.CDLL(str(next((site / "pywhispercpp.libs").glob("libggml-base-*"))))
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        *[ctypes.c_int64] * 3,
        ctypes.c_void_p,
    ]
    return lib


def quantize(x: np.ndarray, name: str, imatrix: np.ndarray | None = None) -> bytes:
    """`x` (rows, n) in format `name`, as ``ggml_quantize_chunk`` writes it."""
    x = np.ascontiguousarray(x, np.float32)
    fmt = get(name)
    out = np.empty(x.shape[0] * fmt.row_size(x.shape[1]), np.uint8)
    weights = None if imatrix is None else np.ascontiguousarray(imatrix, np.float32).ctypes.data
    written = library().ggml_quantize_chunk(fmt.type_id, x.ctypes.data, out.ctypes.data, 0, *x.shape, weights)
    assert written == out.nbytes
    return out.tobytes()


def dequantize(raw: bytes, name: str, n: int) -> np.ndarray:
    """`n` weights from `raw`, as ggml's ``dequantize_row`` reads them."""
    if name == "F32":
        return np.frombuffer(raw, np.float32)[:n]
    symbol = {"F16": "ggml_fp16_to_fp32_row", "BF16": "ggml_bf16_to_fp32_row"}.get(
        name, f"dequantize_row_{name.lower().replace('_k', '_K')}"
    )
    function = getattr(library(), symbol)
    function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    source, out = np.frombuffer(raw, np.uint8).copy(), np.empty(n, np.float32)
    function(source.ctypes.data, out.ctypes.data, n)
    return out
