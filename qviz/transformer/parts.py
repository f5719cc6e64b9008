"""A model taken apart by its architecture's table: every tensor is measured first, and none is left over.

Kernels trust the shapes that they are called with, so this is the door: what comes through it fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from qviz.architectures import Architecture, TensorPlace, size
from qviz.errors import LlamaError
from qviz.formats.base import QTensor
from qviz.gguf.settings import shown
from qviz.transformer.config import TransformerConfig, architecture_of


class Parts(NamedTuple):
    """What a model consists of.

    Attributes
    ----------
    architecture : Architecture
    config : TransformerConfig
    tensors : dict of str to QTensor
        Under the names that the model has; each in the shape that the table asks for, and of a format that decodes.
    """

    architecture: Architecture
    config: TransformerConfig
    tensors: dict[str, QTensor]


def refuse_no_model(model: Any) -> None:
    """Refuse what is no mapping of tensors with ``.metadata``."""
    if not isinstance(model, Mapping) or not hasattr(model, "metadata"):
        raise LlamaError(
            f"a model is a mapping of tensors with .metadata, such as qviz.load returns; got {shown(model)}"
        )


def take_apart(model: Any) -> Parts:
    """Find and measure every tensor of a model.

    Parameters
    ----------
    model : mapping of tensor name to QTensor, with ``.metadata``

    Raises
    ------
    LlamaError
        What is no model; another architecture; settings that are missing, wrong or unknown; a tensor that is missing,
        has another shape, cannot be decoded, or has no place in the architecture.
    """
    refuse_no_model(model)
    architecture = architecture_of(model.metadata)
    embedding = _tensor(model, "token_embd.weight")
    config = TransformerConfig.from_metadata(model.metadata, embedding.shape[0] if len(embedding.shape) == 2 else None)
    left, tensors = set(model), {}
    for name, place in architecture.names(config.n_layers, config.n_expert > 0):
        if name not in model:
            if not place.optional:
                raise LlamaError(_missing(model, name))
            continue
        tensors[name] = _measured(_tensor(model, name), name, place, config)
        left.discard(name)
    if left:
        raise LlamaError(_left_over(left, architecture, config))
    return Parts(architecture, config, tensors)


def _tensor(model: Mapping[str, Any], name: str) -> QTensor:
    if name not in model:
        raise LlamaError(_missing(model, name))
    tensor = model[name]
    if not isinstance(tensor, QTensor):
        raise LlamaError(f"{name} is {shown(tensor)}; a QTensor is wanted, such as qviz.quantize returns")
    return tensor


def _measured(tensor: QTensor, name: str, place: TensorPlace, config: TransformerConfig) -> QTensor:
    """The tensor, if it has the shape that the settings ask for and can be decoded."""
    wanted = tuple(size(product, vars(config)) for product in place.shape)
    if tensor.shape != wanted:
        raise LlamaError(
            f"{name} has shape {tensor.shape}, the metadata ask for {wanted}; the file is damaged, or holds only a "
            f"part of a model"
        )
    if not tensor.format.can_decode:
        raise LlamaError(f"{name} is {tensor.format}, which cannot be decoded here; convert the model first")
    return tensor


def _missing(model: Mapping[str, Any], name: str) -> str:
    return f"the model has no tensor {name} ({len(model)} others); it is not a whole model, so it cannot be run"


def _left_over(left: set[str], architecture: Architecture, config: TransformerConfig) -> str:
    names = sorted(map(str, left))
    some = ", ".join(shown(name) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"the model has tensors that {architecture.name!r} with {config.n_layers} layers does not use: {some}. "
        f"It would not be run as it was made; check block_count and general.architecture"
    )
