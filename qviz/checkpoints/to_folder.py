"""A GGUF file -> the Hugging Face folder that would become it: the way back from `qviz.checkpoints.convert`.

Rows go back to where Hugging Face keeps them, names and settings are spelled its way, and no weight changes: F16 stays
F16, gpt-oss's experts stay MXFP4, and any other format becomes F32, which holds it exactly.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._files import as_path, explained, replacing_folder
from qviz.checkpoints.changes import FolderTensor, folder_tensors, mxfp4_parts
from qviz.checkpoints.from_gguf import tokenizer_files
from qviz.checkpoints.packed.writer import tensor_file, write_json
from qviz.checkpoints.to_config import config_json, config_of
from qviz.errors import CheckpointError
from qviz.gguf.rows import read_tensor

_UNPACKED = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]


def write_folder(folder: str | os.PathLike[str], model: Any) -> Path:
    """Write a model as a Hugging Face folder: config.json, model.safetensors and a tokenizer.

    Parameters
    ----------
    folder : path-like
        New, or empty. It appears whole or not at all.
    model : mapping of tensor name to QTensor, with ``.metadata``
        One of any family that runs, such as `qviz.load` returns.

    Returns
    -------
    pathlib.Path
        `folder`.

    Raises
    ------
    GGUFError
        The model's file was cut or changed meanwhile.
    CheckpointError
        A family that does not run here, a setting that config.json has no word for, a tokenizer of an unknown kind, or
        a folder that is not empty or cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from qviz import load
    >>> with TemporaryDirectory() as there:
    ...     sorted(path.name for path in write_folder(f"{there}/tiny", load("tiny")).iterdir())
    ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']
    """
    target = as_path(folder)
    with explained(target, "cannot be read", CheckpointError):
        if target.is_dir() and any(target.iterdir()):
            raise CheckpointError("this folder is not empty; choose another name, or delete it first", path=target)
    config = config_of(model.metadata, model)
    files = tokenizer_files(model.metadata)
    there = _in_four_bits(folder_tensors(place for place in config.places() if place.announced), model)
    dtypes = {tensor.name: _dtype(tensor, model) for tensor in there}
    # as the safetensors package sorts them: wider types first, so that every tensor is aligned, then by name
    tensors = sorted(there, key=lambda tensor: (-dtypes[tensor.name].itemsize, tensor.name))
    described = {tensor.name: (dtypes[tensor.name], _shape(tensor)) for tensor in tensors}
    kind = "float16" if model["token_embd.weight"].format == "F16" else "float32"
    said = config_json(config, model.metadata) | {"torch_dtype": kind}
    if any(tensor.places[0].mxfp4 for tensor in tensors):
        said["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": _UNPACKED}
    with replacing_folder(target, CheckpointError) as new:
        _check_source(model)
        with tensor_file(new, target, described) as out:
            for tensor in tensors:
                out.put(tensor.name, _as_hugging_face(tensor, model, dtypes[tensor.name]))
        _check_source(model)
        write_json(new / "config.json", target, said)
        for name, text in files.items():
            write_json(new / name, target, text)
    return target


def _check_source(model: Any) -> None:
    """Refuse to go on if another program has changed the model's file."""
    if (file := getattr(model, "file", None)) is not None:
        file.unchanged(header=True)


def _in_four_bits(tensors: list[FolderTensor], model: Any) -> list[FolderTensor]:
    """Experts in MXFP4 stay so, in a family whose makers keep them so: codes and exponents, under two names."""
    found = []
    for tensor in tensors:
        place = tensor.places[0]
        all_four = all(model[one.target].format == "MXFP4" for one in tensor.places)
        if all_four and place.role == "experts" and "transposed" in place.change:
            found += folder_tensors(one.as_mxfp4() for one in tensor.places)
        else:
            found.append(tensor)
    return found


def _shape(tensor: FolderTensor) -> tuple[int, ...]:
    if not tensor.places[0].mxfp4:
        return tensor.shape
    *rows, n_in = tensor.shape
    return (*rows, n_in // 32, 16) if tensor.name.endswith("_blocks") else (*rows, n_in // 32)


def _dtype(tensor: FolderTensor, model: Any) -> np.dtype[Any]:
    if tensor.places[0].mxfp4:
        return np.dtype(np.uint8)
    halves = all(model[place.target].format == "F16" for place in tensor.places)
    return np.dtype(np.float16 if halves else np.float32)


def _as_hugging_face(tensor: FolderTensor, model: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    stored = [read_tensor(model, place.target, tensor.expert) for place in tensor.places]
    if tensor.places[0].mxfp4:
        codes, exponents = mxfp4_parts(stored, tensor)
        return codes if tensor.name.endswith("_blocks") else exponents
    return tensor.joined([x.dequantize() for x in stored]).astype(dtype)
