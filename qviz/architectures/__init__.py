"""Families of models, one file each: what their tensors and settings are called, and what these mean.

The files of this package are its registry: a module that holds an `Architecture` is found here.

Examples
--------
>>> ARCHITECTURES["llama"].place("blk.{}.attn_k.weight").shape
('n_head_kv * head_size', 'n_embd')
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from qviz.architectures.base import REQUIRED, Architecture, Inactive, Setting, TensorPlace, size

__all__ = ["ARCHITECTURES", "REQUIRED", "Architecture", "Inactive", "Setting", "TensorPlace", "size"]


def _collect() -> Mapping[str, Architecture]:
    by_name: dict[str, Architecture] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for value in vars(module).values():
            if not isinstance(value, Architecture) or by_name.get(value.name) is value:
                continue
            if value.name in by_name:
                raise ImportError(f"two files claim the architecture {value.name!r}; {info.name} is one of them")
            by_name[value.name] = value
    return MappingProxyType(by_name)


ARCHITECTURES: Mapping[str, Architecture] = _collect()
"""Every family that runs here, by its name in GGUF files."""
