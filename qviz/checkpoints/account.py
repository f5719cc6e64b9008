"""Every tensor of a Llama's folder, accounted for: it goes into the GGUF file, is known to say nothing, or is named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from qviz.checkpoints.llama import SKIPPED, LlamaConfig, Place
from qviz.checkpoints.safetensors import StoredTensor
from qviz.errors import CheckpointError
from qviz.formats import QTensor

FLOATS = ("F32", "F16", "BF16")
# What compressed-tensors found out about activations, keys and values; GGUF leaves them as they are.
_OF_ACTIVATIONS = re.compile(r".*\.(input|output|q|k|v|attn)_(global_)?(scale|zero_point)")
_ADVICE = {
    "lora_": "merge the adapter into its model first",
    "vision": "only the language model of such a folder can be converted",
    "visual": "only the language model of such a folder can be converted",
    "rotary_emb": "",
    "score.": "it classifies, and GGUF has no place for that head",
    "inv_freq": "",
}


class Checkpoint(Protocol):
    """Tensors by name, and what is known of them before they are read."""

    @property
    def tensor_info(self) -> Mapping[str, StoredTensor]:
        """By name."""

    def __getitem__(self, name: str) -> QTensor: ...

    def __iter__(self) -> Iterator[str]: ...


def accounted(checkpoint: Checkpoint, config: LlamaConfig, folder: Path, *, packed: bool = False) -> list[Place]:
    """The place of every tensor of a model.

    Biases that config.json does not announce are applied where a Llama may have them, and left out where they are
    zero: old packers wrote a bias of zeros beside every matrix.

    Parameters
    ----------
    checkpoint : Checkpoint
    config : LlamaConfig
    folder : pathlib.Path
        For errors.
    packed : bool
        Its matrices were packed, and may have scales for activations beside them.

    Returns
    -------
    list of Place

    Raises
    ------
    CheckpointError
        A tensor that is missing, of another shape, not of floats, or that a Llama does not have.
    """
    infos = checkpoint.tensor_info
    left = {name for name in checkpoint if not name.endswith(SKIPPED)}
    if packed:
        left = {name for name in left if not _OF_ACTIVATIONS.fullmatch(name)}
    places = []
    for place in _with_biases(config, infos):  # ends at the first that is missing, however many layers are declared
        left.discard(place.source)
        if not place.announced and not checkpoint[place.source].dequantize().any():
            continue
        places.append(_fitting(infos, place, folder))
    if config.tied and "lm_head.weight" in left:
        _check_tied(checkpoint, config, folder)
        left.discard("lm_head.weight")
    left = {name for name in left if not (name.endswith(".bias") and _is_zero(checkpoint, name))}
    if left:
        what = "there are tensors that a Llama model does not have"
        advice = next((text for mark, text in _ADVICE.items() for name in left if text and mark in name), "")
        found = ", ".join(sorted(left)[:3])
        raise CheckpointError(what, path=folder, found=found, expected=advice or "an unmodified model")
    return places


def _with_biases(config: LlamaConfig, infos: Mapping[str, StoredTensor]) -> Iterator[Place]:
    """The places that config.json announces, and those of biases that are there all the same."""
    for place in config.places():
        yield place
        bias = place.bias()
        if bias is not None and bias.source in infos and not config.announces(bias):
            yield bias


def _fitting(infos: Mapping[str, StoredTensor], place: Place, folder: Path) -> Place:
    info = infos.get(place.source)
    if info is None:
        hint = "; set tie_word_embeddings if it shares the embedding" if place.source == "lm_head.weight" else ""
        raise CheckpointError(f"tensor {place.source!r} is missing{hint}", path=folder)
    if info.shape != place.shape:
        what = f"tensor {place.source!r} does not fit config.json"
        raise CheckpointError(what, path=info.path, offset=info.offset, found=info.shape, expected=place.shape)
    if info.dtype not in FLOATS:
        what = f"tensor {place.source!r} is not of floats"
        raise CheckpointError(what, path=info.path, found=info.dtype, expected=", ".join(FLOATS))
    return place


def _is_zero(checkpoint: Checkpoint, name: str) -> bool:
    info = checkpoint.tensor_info[name]
    return info.dtype in FLOATS and info.nbytes > 0 and not checkpoint[name].dequantize().any()


def _check_tied(checkpoint: Checkpoint, config: LlamaConfig, folder: Path) -> None:
    """An output that config.json ties to the embedding may be stored again, but must be the same."""
    output, embedding = "lm_head.weight", f"{config.prefix}embed_tokens.weight"
    infos = checkpoint.tensor_info
    same: Any = infos[output].dtype == infos[embedding].dtype and infos[output].shape == infos[embedding].shape
    if same:
        same = np.array_equal(checkpoint[output].blocks, checkpoint[embedding].blocks)
    if not same:
        raise CheckpointError(
            "config.json says that the output shares the embedding (tie_word_embeddings), but lm_head.weight is "
            "another tensor; set tie_word_embeddings to false to use it, or delete it",
            path=folder,
        )
