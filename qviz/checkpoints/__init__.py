"""Models as others keep them: safetensors to read, a way to GGUF, and packed GPTQ and AWQ checkpoints.

`convert` makes a GGUF file of a Llama-family folder, `read` opens its safetensors as a mapping from name to `QTensor`.
`write_packed` writes what GPTQ and AWQ loaders read, `read_packed` reads it back.
"""

from __future__ import annotations

from qviz.checkpoints.packed import PackedLinear, pack, read_packed, write_packed
from qviz.checkpoints.safetensors import Safetensors, StoredTensor, read
from qviz.checkpoints.to_gguf import convert

__all__ = [
    "PackedLinear",
    "Safetensors",
    "StoredTensor",
    "convert",
    "pack",
    "read",
    "read_packed",
    "write_packed",
]
