"""A GGUF file -> the Hugging Face folder that would become it: the way back from `qviz.checkpoints.convert`.

Rows of q and k go back to where Hugging Face keeps them, names and settings are spelled its way, and no weight changes:
F16 stays F16, and any other format becomes F32, which holds it exactly.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._files import as_path, explained, replacing_folder
from qviz.checkpoints.from_gguf import tokenizer_files
from qviz.checkpoints.model_config import ModelConfig, Place, interleaved
from qviz.checkpoints.packed.writer import tensor_file, write_json
from qviz.errors import CheckpointError
from qviz.formats import QTensor

_SAYS_NOTHING: Mapping[str, tuple[object, ...]] = {
    "rope_factor": (None, 0.0, 1.0),
    "rope_factor_2023": (0.0, 1.0),
    "rope_magnitude": (1.0,),
}
"""Settings of a Llama that config.json has no plain word for, and the values with which they change nothing."""


def write_folder(folder: str | os.PathLike[str], model: Any) -> Path:
    """Write a model as a Hugging Face folder: config.json, model.safetensors and a tokenizer.

    Parameters
    ----------
    folder : path-like
        New, or empty. It appears whole or not at all.
    model : mapping of tensor name to QTensor, with ``.metadata``
        A Llama, such as `qviz.load` returns.

    Returns
    -------
    pathlib.Path
        `folder`.

    Raises
    ------
    CheckpointError
        Another family, a setting that config.json has no word for, a tokenizer of an unknown kind, or a folder that is
        not empty or cannot be written.

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
    config = ModelConfig.from_metadata(model.metadata, model)
    _check_settings(config, model.metadata)
    files = tokenizer_files(model.metadata)
    there = {place.source: place for place in config.places() if place.announced}
    dtypes = {source: _dtype(model[place.target]) for source, place in there.items()}
    # as the safetensors package sorts them: wider types first, so that every tensor is aligned, then by name
    places = {source: there[source] for source in sorted(there, key=lambda name: (-dtypes[name].itemsize, name))}
    described = {source: (dtypes[source], place.source_shape) for source, place in places.items()}
    kind = "float16" if model["token_embd.weight"].format == "F16" else "float32"
    with replacing_folder(target, CheckpointError) as new:
        with tensor_file(new, target, described) as out:
            for source, place in places.items():
                out.put(source, _as_hugging_face(model[place.target], place))
        write_json(new / "config.json", target, config.as_json(model.metadata) | {"torch_dtype": kind})
        for name, text in files.items():
            write_json(new / name, target, text)
    return target


def _check_settings(config: ModelConfig, metadata: Mapping[str, Any]) -> None:
    """Refuse what the file says, and a plain Llama's config.json has no word for."""
    family = config.architecture
    said = {name: (config.values[name], values) for name, values in _SAYS_NOTHING.items()}
    for silent in family.inactive:
        value = metadata.get(f"{family.name}.{silent.key}")
        same = [config.values[name] for name in (silent.from_setting, silent.like_setting) if name]
        said[silent.key] = (value, (None, *silent.values, *same))
    for name, (value, values) in said.items():
        if value not in values:
            what = f"the model has a {name}, which config.json of a plain Llama has no word for"
            raise CheckpointError(what, found=value, expected=values[-1])


def _dtype(tensor: QTensor) -> np.dtype[Any]:
    return np.dtype(np.float16 if tensor.format == "F16" else np.float32)


def _as_hugging_face(tensor: QTensor, place: Place) -> npt.NDArray[Any]:
    """Floats, with the partners of a rotation half a head apart where they stood side by side."""
    x = tensor.dequantize().astype(_dtype(tensor))
    return x[np.argsort(interleaved(len(x), place.heads))] if "pairs" in place.change else x
