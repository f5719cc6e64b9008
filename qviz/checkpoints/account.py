"""Every tensor of a model's folder, accounted for: it goes into the GGUF file, is known to say nothing, or is named."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from qviz.checkpoints.model_config import SKIPPED, ModelConfig, Place
from qviz.checkpoints.safetensors import StoredTensor
from qviz.errors import CheckpointError, shortened
from qviz.formats import QTensor

FLOATS = ("F32", "F16", "BF16")
# What compressed-tensors found out about activations, keys and values; GGUF leaves them as they are.
_OF_ACTIVATIONS = re.compile(r".*\.(input|output|q|k|v|attn)_(global_)?(scale|zero_point)")
_LANGUAGE = "language_model."
_OF_PICTURES = re.compile(r"(model\.)?(vision_tower|multi_modal_projector)\.")
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
        """Name of a tensor -> what its header says."""

    def __getitem__(self, name: str) -> QTensor: ...

    def __iter__(self) -> Iterator[str]: ...


def accounted(
    checkpoint: Checkpoint, config: ModelConfig, folder: Path, packs: Callable[[str], bool] | None = None
) -> list[Place]:
    """The place of every tensor of a model.

    Biases that config.json does not announce are applied where the family may have them, and left out where they are
    zero: old packers wrote a bias of zeros beside every matrix.

    Parameters
    ----------
    checkpoint : Checkpoint
    config : ModelConfig
    folder : pathlib.Path
        For errors.
    packs : callable ``(name) -> bool``, optional
        Whether a tensor was packed, if some were: then its rows are outputs, and beside it may be scales for
        activations.

    Returns
    -------
    list of Place

    Raises
    ------
    CheckpointError
        A tensor that is missing, of another shape, not of floats, or that such a model does not have.
    """
    infos = checkpoint.tensor_info
    left = {name for name in checkpoint if not name.endswith(SKIPPED)}
    if packs is not None:
        left = {name for name in left if not _OF_ACTIVATIONS.fullmatch(name)}
    places = []
    for wanted in _placed(config, infos):  # ends at the first that is missing, however many layers are declared
        place = wanted
        if place.role == "experts" and place.source not in infos and f"{place.source}_blocks" in infos:
            place = place.as_mxfp4()
        elif place.source not in infos:
            place = next((one for one in map(place.taken_apart, place.apart) if one.sources[0] in infos), place)
        if packs is not None and packs(place.sources[0]):
            place = place.with_outputs_as_rows()
        left.difference_update(place.sources)
        if not place.announced and (place.source not in infos or not checkpoint[place.source].dequantize().any()):
            continue
        places.append(_fitting(infos, place, folder))
    if config.tied and (heads := left & {"lm_head.weight", f"{_LANGUAGE}lm_head.weight"}):
        for head in heads:
            _check_tied(checkpoint, places[0].source, head, folder)
        left -= heads
    if _LANGUAGE in places[0].source and (others := {name for name in left if _OF_PICTURES.match(name)}):
        warnings.warn(f"{folder.name}: what reads pictures ({len(others)} tensors) is left out", stacklevel=2)
        left -= others
    left = {name for name in left if not (name.endswith(".bias") and _is_zero(checkpoint, name))}
    if left:
        what = f"there are tensors that a model of the family {config.architecture.name!r} does not have"
        advice = next((text for mark, text in _ADVICE.items() for name in left if text and mark in name), "")
        names = ", ".join(sorted(left)[:3])
        raise CheckpointError(what, path=folder, found=names, expected=advice or "an unmodified model")
    return places


def check_vocabulary(infos: Mapping[str, StoredTensor], config: ModelConfig, folder: Path) -> None:
    """Refuse a vocab_size that the embedding does not have, before so many tokens are made.

    Raises
    ------
    CheckpointError
        Other rows, or no embedding.
    """
    place = next(_placed(config, infos))
    packed = [info.shape for name, info in infos.items() if name.startswith(place.source.removesuffix("weight"))]
    codes = 32 * max((max(shape, default=0) for shape in packed), default=0)  # that a word may hold
    if place.source in infos or config.n_vocab > codes:
        _fitting(infos, place, folder)


def _placed(config: ModelConfig, infos: Mapping[str, StoredTensor]) -> Iterator[Place]:
    """The places of a model under the names that this folder uses.

    They begin with the family's prefix; with nothing, if a model was saved without its head; or with more, if it is the
    part of a larger model that reads text.
    """
    usual, embedding = config.architecture.prefix, config.architecture.place("token_embd.weight").source
    known = (usual, "", f"{_LANGUAGE}{usual}", f"{usual}{_LANGUAGE}")
    found = next((prefix for prefix in known if embedding.replace(usual, prefix, 1) in infos), usual)
    head = _LANGUAGE if found.startswith(_LANGUAGE) else ""
    for place in config.places():
        source = place.source.replace(usual, found, 1) if place.source.startswith(usual) else head + place.source
        yield replace(place, source=source)


def _fitting(infos: Mapping[str, StoredTensor], place: Place, folder: Path) -> Place:
    shapes: list[tuple[int, ...]] = [place.source_shape] * len(place.sources)
    dtypes: tuple[str, ...] = FLOATS
    if place.mxfp4:
        *rows, n_in = place.source_shape
        shapes, dtypes = [(*rows, n_in // 32, 16), (*rows, n_in // 32)], ("U8",)
    for name, shape in zip(place.sources, shapes, strict=True):
        info = infos.get(name)
        if info is None:
            hint = "; set tie_word_embeddings if it shares the embedding" if name == "lm_head.weight" else ""
            raise CheckpointError(f"tensor {shortened(name)} is missing{hint}", path=folder)
        if info.shape != shape:
            what = f"tensor {name!r} does not fit config.json"
            raise CheckpointError(what, path=info.path, offset=info.offset, found=info.shape, expected=shape)
        if info.dtype not in dtypes:
            what = f"tensor {name!r} is not of {'bytes' if place.mxfp4 else 'floats'}"
            raise CheckpointError(what, path=info.path, found=info.dtype, expected=", ".join(dtypes))
    return place


def _is_zero(checkpoint: Checkpoint, name: str) -> bool:
    info = checkpoint.tensor_info[name]
    return info.dtype in FLOATS and info.nbytes > 0 and not checkpoint[name].dequantize().any()


def _check_tied(checkpoint: Checkpoint, embedding: str, output: str, folder: Path) -> None:
    """An output that config.json ties to the embedding may be stored again, but must be the same."""
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
