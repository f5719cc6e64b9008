"""llama.cpp itself, where llama-cpp-python is installed: the oracle for whole files. Not a dependency of the tests."""

import ctypes
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from qviz import recipes

INSTALLED = importlib.util.find_spec("llama_cpp") is not None


def version() -> str:
    import llama_cpp

    return str(llama_cpp.__version__)


def quantize(
    src: Path,
    dst: Path,
    recipe: str,
    *,
    imatrix: Mapping[str, np.ndarray] | None = None,
    overrides: Mapping[str, str | int] | None = None,
    pure: bool = False,
    allow_requantize: bool = False,
    dry_run: bool = False,
    threads: int = 2,
) -> tuple[bool, str]:
    """Run ``llama_model_quantize``.

    Returns whether it did what it was asked, and what it said.
    """
    import llama_cpp

    said: list[bytes] = []

    @llama_cpp.llama_log_callback
    def log(level, text, data):
        said.append(text)

    llama_cpp.llama_log_set(log, None)
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = threads
    params.ftype = recipes.get_recipe(recipe).file_type
    params.pure, params.allow_requantize, params.dry_run = pure, allow_requantize, dry_run
    if imatrix is not None:
        arrays = {name: np.ascontiguousarray(values, np.float32) for name, values in imatrix.items()}
        rows = [
            llama_cpp.llama_model_imatrix_data(
                name.encode(), values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), values.size
            )
            for name, values in arrays.items()
        ]
        params.imatrix = (llama_cpp.llama_model_imatrix_data * (len(rows) + 1))(*rows)
    if overrides is not None:
        table = (llama_cpp.llama_model_kv_override * (len(overrides) + 1))()
        for row, (key, value) in zip(table, overrides.items(), strict=False):
            row.key = key.encode()
            if isinstance(value, str):
                row.tag, row.value.val_str = 3, value.encode()
            else:
                row.tag, row.value.val_i64 = 0, value
        params.kv_overrides = table
    code = llama_cpp.llama_model_quantize(str(src).encode(), str(dst).encode(), ctypes.byref(params))
    return code == 0, b"".join(said).decode(errors="replace")
