"""Which files of a folder hold a model's weights: they are called by many names.

An index (``*.safetensors.index.json``) decides. Without one: ``model.safetensors``; the name that the quantization's
settings give (AutoGPTQ before 0.5 wrote ``gptq_model-4bit-128g.safetensors``); shards
``…-00001-of-00003.safetensors``, all of them; or the only safetensors file there is. Several that are none of this
are named, and none is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from qviz.errors import CheckpointError

INDEX = "model.safetensors.index.json"
_SUFFIX, _INDEX_SUFFIX = ".safetensors", ".safetensors.index.json"
_SHARD = re.compile(r"(.+?)[-_.]?(\d{1,6})-of-(\d{1,6})\.safetensors", re.ASCII)
_NAMES = ("model_file_base_name", "model_basename", "model_base_name")
_SETTINGS = ("quantize_config.json", "quant_config.json", "quantization_config.json", "config.json")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
# Beside a model: other things than the model.
_NOT_THE_MODEL = ("adapter_model.safetensors", "consolidated.safetensors", "optimizer.safetensors")


class WeightFiles(NamedTuple):
    """Files of a model.

    Attributes
    ----------
    paths : list of pathlib.Path
    places : dict of str to str, or None
        The file of each tensor, if there is an index.
    index_name : str
        The index's name.
    """

    paths: list[Path]
    places: dict[str, str] | None = None
    index_name: str = INDEX


def weight_files(folder: Path, read_json: Callable[..., Mapping[str, Any]]) -> WeightFiles:
    """The safetensors files that hold the model of a folder.

    Parameters
    ----------
    folder : pathlib.Path
    read_json : callable ``(path, required=True) -> mapping``
        Raises `CheckpointError` for what is no JSON object.

    Returns
    -------
    WeightFiles

    Raises
    ------
    CheckpointError
        None, several that could be meant, or a shard that is missing.
    """
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror or error}", path=folder) from None
    present = [name for name in names if name.endswith(_SUFFIX)]
    indexes = [name for name in names if name.endswith(_INDEX_SUFFIX)]
    if INDEX in indexes:
        indexes = [INDEX]
    if len(indexes) > 1:
        raise CheckpointError(
            "there are several indexes; keep that of the model", path=folder, found=", ".join(indexes)
        )
    if indexes:
        return _indexed(folder, indexes[0], read_json)
    if "model.safetensors" in present:
        return WeightFiles([folder / "model.safetensors"])
    if not present:
        raise _nothing(folder, names)
    if named := _named(folder, present, read_json):
        return WeightFiles([folder / named])
    return WeightFiles([folder / name for name in _chosen(folder, present)])


def _indexed(folder: Path, index: str, read_json: Callable[..., Mapping[str, Any]]) -> WeightFiles:
    path = folder / index
    places = read_json(path).get("weight_map")
    if not isinstance(places, dict) or not places or not all(map(_is_file_name, places.values())):
        raise CheckpointError("weight_map must name a file of this folder for each tensor", path=path)
    files = sorted(set(places.values()))
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise CheckpointError(f"missing: {', '.join(missing[:3])}; download the whole model", path=folder)
    if pickles := [name for name in files if not name.endswith(_SUFFIX)]:
        raise CheckpointError(f"the index names {pickles[0]}; save it as safetensors first", path=path)
    return WeightFiles([folder / name for name in files], places, index)


def _named(folder: Path, present: list[str], read_json: Callable[..., Mapping[str, Any]]) -> str | None:
    """The file that the quantization's settings name."""
    for file in _SETTINGS:
        settings = read_json(folder / file, required=False)
        inner = settings.get("quantization_config")
        for values in (settings, inner if isinstance(inner, dict) else {}):
            for key in _NAMES:
                name = values.get(key)
                if isinstance(name, str) and name + _SUFFIX in present:
                    return name + _SUFFIX
    return None


def _chosen(folder: Path, present: list[str]) -> list[str]:
    """One file, or all shards of one set."""
    rest = [name for name in present if name not in _NOT_THE_MODEL] or present
    if rest == ["adapter_model.safetensors"]:
        raise CheckpointError("this is an adapter (LoRA), not a model; merge it into its model first", path=folder)
    sets: dict[tuple[str, int], dict[int, str]] = {}
    single = []
    for name in rest:
        shard = _SHARD.fullmatch(name)
        if shard is None:
            single.append(name)
        else:
            sets.setdefault((shard[1], int(shard[3])), {})[int(shard[2])] = name
    models = {key: shards for key, shards in sets.items() if key[0] == "model"} or sets
    if len(models) == 1 and (not single or "model" in {stem for stem, _ in models}):
        ((stem, count), shards) = next(iter(models.items()))
        if missing := [i for i in range(1, count + 1) if i not in shards][:3]:
            what = f"{len(shards)} of {count} shards of {stem} are here, number {missing[0]} is missing"
            raise CheckpointError(f"{what}; download the whole model", path=folder)
        return [shards[i] for i in sorted(shards)]
    if not sets and len(single) == 1:
        return single
    unnumbered = [name for name in single if name.startswith("model")]
    if unnumbered and not sets:  # parts that follow no pattern, but say that they are the model's
        return unnumbered
    raise CheckpointError(
        "several files could be the model; keep one, or call it model.safetensors",
        path=folder,
        found=", ".join(rest[:4]),
    )


def _nothing(folder: Path, names: list[str]) -> CheckpointError:
    pickles = [
        name for name in names if name.endswith(_PICKLES) and not name.startswith(("training_args", "optimizer"))
    ]
    hint = (
        f"; save {pickles[0]} as safetensors first (load it with transformers, and save_pretrained)" if pickles else ""
    )
    return CheckpointError(f"there is no model.safetensors{hint}", path=folder)


def _is_file_name(name: Any) -> bool:
    """A bare name: an index must not lead out of its folder."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\:\0")
