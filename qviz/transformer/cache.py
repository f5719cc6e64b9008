"""Keys and values of the tokens so far: what a model that continues a text need not compute again."""

from __future__ import annotations

from typing import Any

import numpy as np

from qviz._arrays import real_array, whole_number
from qviz._types import FloatArray
from qviz.errors import LlamaError
from qviz.formats.base import QTensor, quantize
from qviz.gguf.settings import shown
from qviz.transformer.config import TransformerConfig

_CACHE_TYPES = ("F32", "F16", "Q8_0", "Q4_0")


class KVCache:
    """Keys and values of the tokens so far, in a format of their own.

    Parameters
    ----------
    config : TransformerConfig
    n_ctx : int
        Tokens there is room for.
    kind : {"F16", "F32", "Q8_0", "Q4_0"}
        Block formats are decoded when they are read.

    Attributes
    ----------
    length : int
        Tokens in it; a smaller one takes the last ones back.

    Raises
    ------
    LlamaError
        A kind that is not implemented, or no room for so many tokens.
    """

    def __init__(self, config: TransformerConfig, n_ctx: int, kind: str = "F16") -> None:
        if not isinstance(config, TransformerConfig):
            raise LlamaError(f"config is {shown(config)}; a model's .config is wanted")
        if not isinstance(kind, str) or kind not in _CACHE_TYPES:
            raise LlamaError(f"a KV cache of {shown(kind)} is not implemented; choose one of {', '.join(_CACHE_TYPES)}")
        n_ctx = whole_number(n_ctx, "n_ctx", LlamaError, least=1)
        width = config.n_head_kv * config.head_size
        if kind[0] == "Q" and width % 32:
            raise LlamaError(f"{width} values a token are not whole blocks of {kind}; choose F16")
        self.kind, self.n_ctx, self.length, self.width = kind, n_ctx, 0, width
        self.n_layers = config.n_layers
        per_token, dtype = width, np.dtype(np.float32 if kind == "F32" else np.float16)
        if kind[0] == "Q":
            per_token, dtype = width // 32, quantize(np.zeros(32, np.float32), kind).format.dtype
        try:
            self._store: Any = np.zeros((config.n_layers, 2, n_ctx, per_token), dtype)
        except (MemoryError, ValueError):
            nbytes = 2 * config.n_layers * n_ctx * per_token * dtype.itemsize
            raise LlamaError(
                f"a cache of {n_ctx:,} tokens takes {nbytes / 2**30:,.1f} GiB, more than there is; give a smaller n_ctx"
            ) from None
        self.halves = self._store.view(np.uint16) if kind == "F16" else None  # bits, for kernels
        self.room: Any = None  # whose, and what: where a token is worked on

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        return int(self._store.nbytes)

    def check(self, config: TransformerConfig, n_new: int) -> None:
        """Refuse to go on with another model, or with more tokens than there is room for.

        Parameters
        ----------
        config : TransformerConfig
            Of the model that asks.
        n_new : int
            Tokens that it wants to add.

        Raises
        ------
        LlamaError
        """
        width = config.n_head_kv * config.head_size
        if (self.n_layers, self.width) != (config.n_layers, width):
            raise LlamaError(
                f"the cache holds {self.n_layers} layers of {self.width} values, another model than this one of "
                f"{config.n_layers} layers of {width}; make one with new_cache()"
            )
        room = self._store.shape[2]
        length = whole_number(self.length, "the cache's length", LlamaError, least=0, most=room)
        if length + n_new > room:
            raise LlamaError(
                f"{length} tokens in the cache and {n_new} new ones do not fit its {room}; "
                f"make a longer one with new_cache(n_ctx=...)"
            )

    def put(self, layer: int, keys: FloatArray, values: FloatArray) -> None:
        """Write (n_tokens, width) behind the `length` tokens that are there."""
        layer = whole_number(layer, "the layer", LlamaError, least=0, most=self.n_layers - 1)
        length = whole_number(self.length, "the cache's length", LlamaError, least=0, most=self._store.shape[2])
        for k, given in enumerate((keys, values)):
            x = real_array(given, ("keys", "values")[k], LlamaError, shape=("n_tokens", self.width))
            if length + len(x) > self._store.shape[2]:
                raise LlamaError(f"{length} tokens and {len(x)} new ones do not fit a cache of {self._store.shape[2]}")
            rows = self._store[layer, k, length : length + len(x)]
            with np.errstate(over="ignore"):  # beyond float16 is infinity
                rows[...] = quantize(x, self.kind).blocks if self.kind[0] == "Q" else x

    def get(self, layer: int, length: int) -> tuple[Any, Any]:
        """Keys and values of the first `length` tokens: float32 or float16."""
        layer = whole_number(layer, "the layer", LlamaError, least=0, most=self.n_layers - 1)
        length = whole_number(length, "length", LlamaError, least=1, most=self._store.shape[2])
        found = self._store[layer, :, :length]
        if self.kind[0] == "Q":
            found = QTensor(self.kind, np.ascontiguousarray(found), (2, length, self.width)).dequantize()
        return found[0], found[1]
