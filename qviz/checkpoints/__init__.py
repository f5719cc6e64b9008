"""Models as others keep them: safetensors to read, a way to GGUF, and packed GPTQ and AWQ checkpoints.

`convert` makes a GGUF file of a folder, `plan` says beforehand what becomes of what, `write_folder` is the way back.
`read` opens a folder's safetensors as a mapping from name to `QTensor`.
`write_packed` (or `packing`, matrix by matrix) writes what GPTQ and AWQ loaders read, `read_packed` reads it back, and
`convert` makes GGUF of it, too. `config_of`, `config_json` and `tokenizer_files` turn a GGUF file's metadata into a
folder's files.
"""

from __future__ import annotations

from qviz.checkpoints.changes import FolderTensor, folder_tensors
from qviz.checkpoints.from_gguf import tokenizer_files
from qviz.checkpoints.model_config import ModelConfig, Place, interleaved
from qviz.checkpoints.packed import (
    BITS,
    PackedLinear,
    Packing,
    pack,
    pack_bits,
    pack_floats,
    packed_parts,
    packing,
    read_packed,
    unpack_bits,
    write_packed,
    zeros_from_v1,
    zeros_to_v1,
)
from qviz.checkpoints.plan import ConversionPlan, SettingPlace, plan
from qviz.checkpoints.safetensors import Safetensors, StoredTensor, read
from qviz.checkpoints.to_config import config_json, config_of
from qviz.checkpoints.to_folder import write_folder
from qviz.checkpoints.to_gguf import convert

__all__ = [
    "BITS",
    "ConversionPlan",
    "FolderTensor",
    "ModelConfig",
    "PackedLinear",
    "Packing",
    "Place",
    "Safetensors",
    "SettingPlace",
    "StoredTensor",
    "config_json",
    "config_of",
    "convert",
    "folder_tensors",
    "interleaved",
    "pack",
    "pack_bits",
    "pack_floats",
    "packed_parts",
    "packing",
    "plan",
    "read",
    "read_packed",
    "tokenizer_files",
    "unpack_bits",
    "write_folder",
    "write_packed",
    "zeros_from_v1",
    "zeros_to_v1",
]
