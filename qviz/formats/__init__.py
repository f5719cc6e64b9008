"""GGML's block formats, one file each.

The files of this package are its registry: every module that holds a `Format` is found here, so a new format is one
new file, and the tests in ``tests/formats`` run on it as soon as it exists.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from qviz.errors import UnknownFormatError, shortened
from qviz.formats._opaque import REMOVED
from qviz.formats.base import Format, QTensor, quantize

__all__ = ["FORMATS", "Format", "QTensor", "get", "quantize"]


def _collect() -> Mapping[str, Format]:
    by_name: dict[str, Format] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for value in vars(module).values():
            # type(), not isinstance(): asking a lazily imported module for its class would import it
            for fmt in value if type(value) is tuple else (value,):
                if type(fmt) is not Format or by_name.get(fmt.name) is fmt:
                    continue
                if twin := next((f for f in by_name.values() if fmt.name == f.name or fmt.type_id == f.type_id), None):
                    raise ImportError(
                        f"two formats claim {fmt.name} / type id {fmt.type_id}: {fmt!r} in {info.name} and {twin!r}"
                    )
                by_name[fmt.name] = fmt
    return MappingProxyType(dict(sorted(by_name.items(), key=lambda item: item[1].type_id)))


FORMATS: Mapping[str, Format] = _collect()
"""Every known format by name, in the order of ggml's type ids."""

_BY_ID = {fmt.type_id: fmt for fmt in FORMATS.values()}


def get(key: str | int | Format) -> Format:
    """Look a format up by name (any case) or by ggml type id.

    Parameters
    ----------
    key : str, int or Format
        ``"Q4_0"``, ``"q4_0"``, ``2`` or the format itself.

    Raises
    ------
    UnknownFormatError
        With the names that exist.

    Examples
    --------
    >>> get("q4_0").bpw, get(2).name
    (4.5, 'Q4_0')
    """
    if isinstance(key, Format):
        return key
    if not isinstance(key, str | int | np.integer) or isinstance(key, bool):
        shown = repr(key) if key is None else type(key).__name__
        raise UnknownFormatError(
            f"no format {shown}: a name or a ggml type id is wanted; known formats: {', '.join(FORMATS)}"
        )
    fmt = FORMATS.get(key.upper()) if isinstance(key, str) else _BY_ID.get(int(key))
    if isinstance(key, int) and key in REMOVED:
        raise UnknownFormatError(
            f"type id {key} was {REMOVED[key]}, which ggml has removed; known: {', '.join(FORMATS)}"
        )
    if fmt is None:
        raise UnknownFormatError(f"no format {shortened(key)}; known formats: {', '.join(FORMATS)}")
    return fmt
