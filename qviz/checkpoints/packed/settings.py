"""What a folder says of its quantization: in one of four files, under keys that changed over the years.

``config.json`` holds it as ``quantization_config`` (``compression_config`` in early compressed-tensors); beside it
AutoGPTQ and GPTQModel write ``quantize_config.json``, AutoAWQ wrote ``quant_config.json``, AutoRound writes
``quantization_config.json``. Where several are there, they must not contradict each other in what a reader needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qviz._files import read_json
from qviz.checkpoints.packed.dialects import Dialect, dialects
from qviz.checkpoints.packed.dialects.base import PackedSettings
from qviz.checkpoints.packed.dialects.foreign import FOREIGN, by_method
from qviz.errors import CheckpointError

FILES = ("quantize_config.json", "quant_config.json", "quantization_config.json")
_INSIDE = ("quantization_config", "compression_config")
_TODAY = {
    "w_bit": "bits",
    "wbits": "bits",
    "q_group_size": "group_size",
    "groupsize": "group_size",
    "method": "quant_method",
}
_MUST_AGREE = ("bits", "group_size", "checkpoint_format", "format", "version", "sym", "desc_act", "packing_format")


def find_settings(folder: Path) -> PackedSettings | None:
    """What a folder says of its quantization; None if it says nothing.

    Parameters
    ----------
    folder : pathlib.Path

    Returns
    -------
    PackedSettings or None

    Raises
    ------
    CheckpointError
        A file that is damaged, or two that contradict each other.
    """
    stated: list[PackedSettings] = []
    config = read_json(folder / "config.json", required=False)
    for key in _INSIDE:
        if config.get(key):
            stated.append(_normal(config[key], folder / "config.json"))
            break
    for name in FILES:
        if values := read_json(folder / name, required=False):
            inside = next((values[key] for key in _INSIDE if isinstance(values.get(key), dict)), values)
            stated.append(_normal(inside, folder / name))
    if not stated:
        return None
    merged = dict(stated[0].values)
    for other in stated[1:]:
        _check_agreement(stated[0], other)
        merged = dict(other.values) | merged
    return PackedSettings(merged, stated[0].path)


def find_dialect(settings: PackedSettings) -> Dialect:
    """Find the dialect that wrote some settings.

    Raises
    ------
    CheckpointError
        The format is not read here; the text says what to do.
    """
    method = _method(settings)
    for dialect in dialects():
        if method in dialect.methods:
            return dialect
    foreign = by_method(method)
    if foreign is not None:
        raise settings.error(f"weights packed by {foreign.name} are not read here; {foreign.advice}", found=method)
    known = [dialect.name for dialect in dialects()]
    raise settings.error(
        "this quantization is not known here; convert the model that it was made of",
        found=method or "no quant_method",
        expected=", ".join(known),
    )


def _normal(values: Any, path: Path) -> PackedSettings:
    if not isinstance(values, dict):
        raise CheckpointError("the settings of its quantization must be an object", path=path, found=values)
    keys: dict[str, Any] = {}
    for key, value in values.items():
        name = _TODAY.get(key.lower(), key.lower())
        if keys.get(name) is not None and value is not None and keys[name] != value:
            raise CheckpointError(f"{name} is given twice", path=path, found=value, expected=str(keys[name])[:80])
        if keys.get(name) is None:
            keys[name] = value
    return PackedSettings(keys, path)


def _check_agreement(one: PackedSettings, other: PackedSettings) -> None:
    """Two files of one folder; what only one says is taken from it."""
    methods = _method(one), _method(other)
    if all(methods) and methods[0] != methods[1]:
        raise other.error(f"quant_method contradicts {one.path.name}", found=methods[1], expected=methods[0])
    for key in _MUST_AGREE:
        ours, theirs = (_folded(settings.values.get(key)) for settings in (one, other))
        if ours is not None and theirs is not None and ours != theirs:
            raise other.error(f"{key} contradicts {one.path.name}", found=theirs, expected=str(ours)[:80])


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _method(settings: PackedSettings) -> str:
    """``quant_method``, or what the other keys tell in files of before it was written."""
    if given := settings.word("quant_method"):
        return given
    values = settings.values
    if settings.word("checkpoint_format") in ("gptq", "gptq_v2") or values.get("is_marlin_format"):
        return "gptq"
    if any(values.get(key) for key in ("load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type")):
        return "bitsandbytes"
    if isinstance(values.get("version"), str) or isinstance(values.get("zero_point"), bool):
        return "awq"
    if "autoround_version" in values:
        return "auto-round"
    if "config_groups" in values:
        return "compressed-tensors"
    if "bits" in values and any(key in values for key in ("desc_act", "sym", "damp_percent", "true_sequential")):
        return "gptq"
    if set(values) <= {"bits", "group_size", "mode"} and "bits" in values:
        return "mlx"
    return next((foreign.methods[0] for foreign in FOREIGN if foreign.methods[0] in values), "")
