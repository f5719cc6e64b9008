"""What `convert` will do with a folder, tensor by tensor and setting by setting, without doing it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qviz._files import as_path, read_folder, read_json
from qviz.architectures import Architecture
from qviz.checkpoints.account import accounted
from qviz.checkpoints.config_json import language_part
from qviz.checkpoints.model_config import ModelConfig, Place
from qviz.checkpoints.safetensors import read
from qviz.errors import CheckpointError

# Where a setting goes that no record of a family names: the key of a GGUF file, or what else it decides.
_ELSEWHERE: Mapping[str, str] = {
    "architectures": "general.architecture",
    "model_type": "general.architecture",
    "torch_dtype": "general.file_type",
    "dtype": "general.file_type",
    "rope_theta": "{}.rope.freq_base",
    "rope_scaling": "{}.rope.scaling.type",
    "rope_parameters": "{}.rope.freq_base",
    "tie_word_embeddings": "tensor output.weight: there, or not",
    "attention_bias": "tensors blk.N.attn_*.bias: there, or not",
    "mlp_bias": "tensors blk.N.ffn_*.bias: there, or not",
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
    "unk_token_id": "tokenizer.ggml.unknown_token_id",
}


@dataclass(frozen=True)
class SettingPlace:
    """Where one setting of config.json goes.

    Attributes
    ----------
    source : str
        Its key in config.json.
    value : object
    target : str
        Its key in the GGUF file, or the tensors that it decides on; empty where it says nothing about what the model
        computes, or nothing that its family does not say already.
    """

    source: str
    value: Any
    target: str


@dataclass(frozen=True)
class ConversionPlan:
    """What becomes of a folder.

    Attributes
    ----------
    architecture : qviz.architectures.Architecture
    tensors : tuple of Place
        In the order of the GGUF file. All of the folder's are among them but for those that say nothing, such as a
        second copy of a shared output matrix.
    settings : tuple of SettingPlace
        Every key of config.json, in its order.
    """

    architecture: Architecture
    tensors: tuple[Place, ...]
    settings: tuple[SettingPlace, ...]


def plan(folder: str | os.PathLike[str]) -> ConversionPlan:
    """Say what `convert` will do with a folder of floats.

    Parameters
    ----------
    folder : path-like
        With config.json and safetensors.

    Returns
    -------
    ConversionPlan

    Raises
    ------
    CheckpointError
        A tensor or a setting that has no place: the same that `convert` would refuse.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from qviz import load
    >>> from qviz.checkpoints import write_folder
    >>> with TemporaryDirectory() as there:
    ...     planned = plan(write_folder(f"{there}/tiny", load("tiny")))
    >>> place = planned.tensors[2]
    >>> place.source, place.target, place.change
    ('model.layers.0.self_attn.q_proj.weight', 'blk.0.attn_q.weight', ('pairs',))
    >>> [setting.target for setting in planned.settings if setting.source == "hidden_size"]
    ['llama.embedding_length']
    """
    source = as_path(folder)
    if not source.is_dir():
        raise CheckpointError("this is not the folder of a model", path=source)

    def opened(where: Any) -> ConversionPlan:
        path = where / "config.json"
        described = language_part(read_json(path))
        config = ModelConfig.from_json(described, path)
        with read(where, mapped=False) as files:
            tensors = tuple(accounted(files, config, where))
        family = config.architecture
        keys = {key: f"{family.name}.{s.key}" for s in family.settings for key in s.source.split(" or ") if key}
        keys |= {key: target.format(family.name) for key, target in _ELSEWHERE.items() if key not in keys}
        settings = (SettingPlace(key, value, keys.get(key, "")) for key, value in described.items())
        return ConversionPlan(family, tensors, tuple(settings))

    return read_folder(source, opened, CheckpointError)
