"""Every setting of a family out of a file's metadata, by the family's record: checked, and none left over.

Whoever runs a model and whoever writes it as a folder must know the same: what each key says, and that there is no key
that would change the answer and that nobody looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from qviz.architectures import Architecture, Inactive, Setting, size
from qviz.errors import GGUFError, QvizError
from qviz.gguf.settings import LARGEST_COUNT, Settings, shown

_LARGEST_FLOAT = float(np.finfo(np.float32).max)


def read_settings(
    architecture: Architecture, metadata: Mapping[str, Any], error: Callable[[str], QvizError] = GGUFError
) -> dict[str, Any]:
    """Every setting of a family, by the names that its record gives them.

    Parameters
    ----------
    architecture : Architecture
    metadata : mapping
    error : callable ``(text) -> QvizError``, optional
        What is raised.

    Returns
    -------
    dict of str to object
        Whole numbers, floats, texts, flags; a tuple of flags for a pattern of layers; None where a setting has no
        default and is not there.

    Raises
    ------
    QvizError
        A setting that is missing, of another type or out of range, one that asks for something that does not run here,
        or a key that nobody knows.
    """
    settings = Settings(metadata, f"{architecture.name}.", error)
    values: dict[str, Any] = {}
    for setting in architecture.settings:
        values[setting.name] = _read(settings, setting, values, error)
    for key in architecture.unread:
        settings.used.add(f"{architecture.name}.{key}")
    for inactive in architecture.inactive:
        if inactive.key in settings:
            _check_silent(settings, inactive, values, error)
    if left := settings.left():
        raise error(
            f"the metadata have {', '.join(shown(key) for key in left[:3])}{' and more' if len(left) > 3 else ''}, "
            f"which is not known here and might change what the model computes; write the file anew without it if it "
            f"does not matter"
        )
    return values


def _read(settings: Settings, setting: Setting, values: Mapping[str, Any], error: Callable[[str], QvizError]) -> Any:
    default: Any = setting.default
    if setting.kind == "text":
        return settings.text(setting.key, default, choices=setting.choices or None)
    if setting.kind == "flag":
        return settings.flag(setting.key, default)
    if setting.kind == "pattern":
        return _pattern(settings, setting, values["n_layers"], error)
    if setting.kind == "number":
        default = values[default] if isinstance(default, str) else default
        return settings.number(
            setting.key, default, above=setting.above, least=setting.least, most=min(setting.most, _LARGEST_FLOAT)
        )
    if isinstance(default, str):
        default = size(default, values)
    least = 1 if setting.least == -math.inf else int(setting.least)
    most = int(min(setting.most, LARGEST_COUNT))
    if not setting.in_layers:
        return settings.count(setting.key, default, least=least, most=most)
    value = settings.counts(setting.key, values["n_layers"], default, least=least, most=most)
    if not isinstance(value, tuple):
        return value
    if len(set(value)) > 1:
        raise error(f"{setting.key} differs among the layers ({shown(list(value))}); such models do not run here")
    return value[0]


def _pattern(
    settings: Settings, setting: Setting, n_layers: int, error: Callable[[str], QvizError]
) -> int | tuple[bool, ...] | None:
    """A number p, all layers but each p-th; or a flag for each layer."""
    if setting.key not in settings:
        settings.used.add(settings.prefix + setting.key)
        return None
    value = settings.raw(setting.key)
    flags = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(flags, list | tuple):
        return settings.count(setting.key, least=0)
    if len(flags) != n_layers or not all(
        isinstance(x, bool | int | np.bool_ | np.integer) and x in (0, 1) for x in flags
    ):
        raise error(
            f"{settings.prefix}{setting.key} is {shown(flags)}; a whole number, or true or false for each of "
            f"{n_layers} layers, is wanted"
        )
    return tuple(bool(flag) for flag in flags)


def _check_silent(
    settings: Settings, inactive: Inactive, values: Mapping[str, Any], error: Callable[[str], QvizError]
) -> None:
    """Refuse a key that asks for something that does not run here."""
    value = settings.raw(inactive.key)
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if inactive.from_setting and number and value >= values[inactive.from_setting]:
        return
    if inactive.like_setting and number and value == values[inactive.like_setting]:
        return
    for silent in inactive.values:
        # True equals 1: flags are compared with flags, numbers with numbers
        if (number or isinstance(value, bool)) and isinstance(silent, bool) != number and value == silent:
            return
    raise error(
        f"{settings.prefix}{inactive.key} is {shown(value)}: {inactive.what} does not run here, "
        f"and without it the answers would be wrong"
    )
