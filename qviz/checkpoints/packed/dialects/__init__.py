"""How each program packs weights: one file a dialect, found by being in this folder.

To add one, copy the file that is most like it. It holds a `Dialect` record: what the settings of its writers look
like, and the layouts of words that are its own. `foreign` names what is refused, and what to do about it.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from qviz.checkpoints.packed.dialects.base import Dialect, Layout

__all__ = ["Dialect", "Layout", "dialects", "layouts"]


@functools.cache
def dialects() -> tuple[Dialect, ...]:
    """Every dialect of this folder."""
    names = sorted(file.name for file in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(module.DIALECT for module in modules if hasattr(module, "DIALECT"))


@functools.cache
def layouts() -> Mapping[str, Layout]:
    """Every layout by name."""
    return MappingProxyType({layout.name: layout for dialect in dialects() for layout in dialect.layouts})
