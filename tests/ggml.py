"""libggml, through the prebuilt library inside the ``pywhispercpp`` wheel: the oracle for every byte.

``QVIZ_LIBGGML=path/to/libggml-base.so`` names another build: one of today knows Q2_0, and writes IQ1_M as it is now.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib.util
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from qviz.formats import get


@cache
def library() -> ctypes.CDLL:
    lib = ctypes.CDLL(os.environ.get("QVIZ_LIBGGML") or str(_in_wheel()))
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        *[ctypes.c_int64] * 3,
        ctypes.c_void_p,
    ]
    return lib


def _in_wheel() -> Path:
    spec = importlib.util.find_spec("pywhispercpp")
    if spec is None or spec.origin is None:
        pytest.skip("libggml is not installed (wheel pywhispercpp: x86-64 Linux); golden bytes are checked instead")
    return next((Path(spec.origin).parent.parent / "pywhispercpp.libs").glob("libggml-base-*"))


def is_of_today() -> bool:
    """Whether this build knows Q2_0 and writes IQ1_M as since ggml-org/llama.cpp#28706: version 0.25 does."""
    function = getattr(library(), "ggml_version", None)
    if function is None:
        return False
    function.restype = ctypes.c_char_p
    return tuple(map(int, function().decode().split(".")[:2])) >= (0, 25)


def survives(name: str) -> bool:
    """Whether this build encodes any row of a format as ours; those with codebooks end the process if sums overflow."""
    return (name != "Q2_0" or is_of_today()) and not name.startswith(("IQ1", "IQ2", "IQ3"))


def quantize(x: np.ndarray, name: str, imatrix: np.ndarray | None = None) -> bytes:
    """`x` (rows, n) in format `name`, as ``ggml_quantize_chunk`` writes it."""
    x = np.ascontiguousarray(x, np.float32)
    fmt = get(name)
    out = np.empty(x.shape[0] * fmt.row_size(x.shape[1]), np.uint8)
    weights = None if imatrix is None else np.ascontiguousarray(imatrix, np.float32)
    address = None if weights is None else weights.ctypes.data
    written = library().ggml_quantize_chunk(fmt.type_id, x.ctypes.data, out.ctypes.data, 0, *x.shape, address)
    assert written == out.nbytes
    return out.tobytes()


def quantize_each(rows: Sequence[np.ndarray], name: str, imatrix: np.ndarray | None = None) -> list[bytes | None]:
    """As `quantize`, row by row; None where libggml ends its process, which is what it does if it finds no entry."""
    size = get(name).row_size(rows[0].size)
    quantize(np.ones((1, rows[0].size)), name, np.ones(rows[0].size))  # what takes long is done once, before the fork
    results: list[bytes | None] = []
    while len(results) < len(rows):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            faulthandler.disable()
            os.environ["GGML_NO_BACKTRACE"] = "1"
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            for row in rows[len(results) :]:
                os.write(write, quantize(row[None], name, imatrix))
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            done = pipe.read()
        os.waitpid(child, 0)
        results += [done[at : at + size] for at in range(0, len(done), size)]
        if len(results) < len(rows):
            results.append(None)
    return results


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
