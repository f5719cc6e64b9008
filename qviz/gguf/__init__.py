"""The GGUF container: what llama.cpp and its relatives keep a model in.

::

    GGUF, version, counts | key-value metadata | tensor infos | padding | tensors, each padded

A file stores a tensor's dimensions with the row length first (``ne = [576, 1536]``); here and only here they
are turned round, into NumPy's shape (1536, 576).

Examples
--------
>>> import tempfile, numpy as np
>>> from pathlib import Path
>>> from qviz.formats import quantize
>>> path = Path(tempfile.mkdtemp()) / "tiny.gguf"
>>> _ = write(path, {"general.architecture": "llama"}, {"w": quantize(np.ones((2, 64)), "Q4_0")})
>>> file = read(path)
>>> file["w"], file.metadata["general.architecture"], file.tensor_info["w"].dims
(<QTensor Q4_0 (2, 64): 72 bytes, 4.5 bpw>, 'llama', (64, 2))
"""

from __future__ import annotations

from qviz.gguf import legacy
from qviz.gguf._lookup import MissingKeyError
from qviz.gguf.editing import edit
from qviz.gguf.header import Region, TensorInfo
from qviz.gguf.metadata import Metadata
from qviz.gguf.reader import GGUFFile, Part, read
from qviz.gguf.splitting import merge, split
from qviz.gguf.values import F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, Array, ValueType
from qviz.gguf.writer import TensorStream, stream, write

__all__ = [
    "F32",
    "F64",
    "I8",
    "I16",
    "I32",
    "I64",
    "U8",
    "U16",
    "U32",
    "U64",
    "Array",
    "GGUFFile",
    "Metadata",
    "MissingKeyError",
    "Part",
    "Region",
    "TensorInfo",
    "TensorStream",
    "ValueType",
    "edit",
    "legacy",
    "merge",
    "read",
    "split",
    "stream",
    "write",
]
