"""``ggml_vec_dot_*`` of libggml-cpu, from the same wheel as `ggml`, and the activations that it takes."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import ggml
import numpy as np
import pytest

from qviz.formats import get


@cache
def library() -> ctypes.CDLL:
    base = Path(ggml.library()._name)
    found = sorted(base.parent.glob("libggml-cpu*"))
    if not found:
        pytest.skip("libggml-cpu is not in this wheel of pywhispercpp; exact sums are checked instead")
    lib = ctypes.CDLL(str(found[0]))
    lib.ggml_cpu_init()
    return lib


def activation_format(name: str) -> str:
    """The format to which ggml rounds activations before it multiplies them with weights in `name`."""
    if get(name).block_size == 256:
        return "Q8_K"
    return "Q8_1" if name.endswith("_1") else "Q8_0"


def activation_blocks(name: str, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Codes and scales in the layout that ``vec_dot(name)`` reads."""
    fmt = get(activation_format(name))
    blocks = np.zeros(codes.size // fmt.block_size, fmt.dtype)
    blocks["d"], blocks["qs"] = scales, codes.reshape(len(blocks), -1)
    if fmt == "Q8_K":
        blocks["bsums"] = codes.reshape(len(blocks), 16, 16).sum(2, dtype=np.int32)
    elif fmt == "Q8_1":
        blocks["s"] = scales * codes.reshape(len(blocks), -1).sum(1, dtype=np.int32)
    return blocks


def vec_dot(name: str) -> ctypes._CFuncPtr:
    """The function for weights in `name`; addresses go in as integers, so that numba can call it, too."""
    symbol = f"ggml_vec_dot_{name}_{activation_format(name)}".lower().replace("_k", "_K")
    function = getattr(library(), symbol)
    n, address = ctypes.c_int, ctypes.c_size_t
    function.restype, function.argtypes = None, [n, *[address] * 6, n]
    return function
