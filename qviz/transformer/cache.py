"""Keys and values of the tokens so far: what a model that continues a text need not compute again."""

from __future__ import annotations

from typing import Any

import numpy as np

from qviz import formats
from qviz._arrays import real_array, whole_number
from qviz._types import FloatArray
from qviz.errors import LlamaError
from qviz.formats.base import QTensor, quantize
from qviz.gguf.settings import shown
from qviz.transformer.config import TransformerConfig

_CACHE_TYPES = ("F32", "F16", "Q8_0", "Q4_0")

CacheKind = str | tuple[str, str]
"""A format for both, or one for keys and one for values."""


class CacheForm:
    """How keys and values are kept: a format of each, and whether their heads are rotated first.

    Parameters
    ----------
    config : TransformerConfig
    kind : {"F16", "F32", "Q8_0", "Q4_0"} or (str, str)
        For both, or for keys and for values.
    rotation : float32 array (head_size, head_size), optional
        An orthogonal matrix that every head of keys and of values is multiplied by before it is rounded, and by its
        transpose after. llama.cpp does that with a Hadamard matrix where a cache is quantized
        (ggml-org/llama.cpp#21038); there queries and outputs are rotated instead, which is the same.

    Attributes
    ----------
    kinds : (str, str)
        The formats of keys and of values.
    width : int
        Values a token, of keys and of values alike.

    Raises
    ------
    LlamaError
        A format that is not implemented or does not fit the width, or a matrix that is not orthogonal.
    """

    def __init__(self, config: TransformerConfig, kind: CacheKind = "F16", rotation: Any = None) -> None:
        if not isinstance(config, TransformerConfig):
            raise LlamaError(f"config is {shown(config)}; a model's .config is wanted")
        kinds = kind if isinstance(kind, tuple) else (kind, kind)
        if len(kinds) != 2:
            raise LlamaError(f"a KV cache has two formats, of keys and of values; got {shown(kind)}")
        self.kinds: tuple[str, str] = kinds
        self.width = config.n_head_kv * config.head_size
        for one in kinds:
            if not isinstance(one, str) or one not in _CACHE_TYPES:
                raise LlamaError(
                    f"a KV cache of {shown(one)} is not implemented; choose one of {', '.join(_CACHE_TYPES)}"
                )
            if one[0] == "Q" and self.width % 32:
                raise LlamaError(f"{self.width} values a token are not whole blocks of {one}; choose F16")
        self._rotation: FloatArray | None = None
        if rotation is not None:
            size = config.head_size
            self._rotation = real_array(rotation, "rotation", LlamaError, shape=(size, size))
            off = float(np.abs(self._rotation @ self._rotation.T - np.eye(size)).max())
            if not off < 1e-3:
                raise LlamaError(
                    f"rotation is not orthogonal: R @ R.T differs from the unit matrix by {off:.3g}; "
                    f"qviz.methods.hadamard({size}) is one that is"
                )

    def store(self, layers: int, tokens: int) -> tuple[Any, Any, Any]:
        """Room for keys and for values, arrays (layers, tokens, ...); and the bits of both, if both are F16."""
        shapes = []
        for kind in self.kinds:
            fmt = formats.get(kind)
            shapes.append((self.width // fmt.block_size, fmt.dtype) if kind[0] == "Q" else (self.width, _FLOATS[kind]))
        if self.kinds == ("F16", "F16"):
            whole = np.zeros((layers, 2, tokens, self.width), np.float16)
            return whole[:, 0], whole[:, 1], whole.view(np.uint16)
        keys, values = (np.zeros((layers, tokens, n), dtype) for n, dtype in shapes)
        return keys, values, None

    def encode(self, which: int, x: FloatArray) -> Any:
        """Keys (0) or values (1), float32 (n_tokens, width), as they are kept."""
        if self._rotation is not None:
            x = self._turned(x, self._rotation)
        kind = self.kinds[which]
        with np.errstate(over="ignore"):  # beyond float16 is infinity
            return quantize(x, kind).blocks if kind[0] == "Q" else x.astype(_FLOATS[kind])

    def decode(self, which: int, kept: Any) -> Any:
        """What is kept of some tokens as numbers (n_tokens, width): float32 or float16."""
        kind = self.kinds[which]
        if kind[0] == "Q":
            kept = QTensor(kind, np.ascontiguousarray(kept), (len(kept), self.width)).dequantize()
        return kept if self._rotation is None else self._turned(kept, self._rotation.T)

    def _turned(self, x: Any, rotation: FloatArray) -> FloatArray:
        heads = np.asarray(x, np.float32).reshape(-1, len(rotation))
        turned: FloatArray = (heads @ rotation).reshape(len(x), self.width)
        return turned


_FLOATS = {"F32": np.float32, "F16": np.float16}


class KVCache:
    """Keys and values of the tokens so far, in a format of their own.

    Parameters
    ----------
    config : TransformerConfig
    n_ctx : int
        Tokens there is room for.
    kind : {"F16", "F32", "Q8_0", "Q4_0"} or (str, str)
        As in `CacheForm`. Block formats are decoded when they are read.
    rotation : float32 array (head_size, head_size), optional
        As in `CacheForm`.

    Attributes
    ----------
    length : int
        Tokens in it; a smaller one takes the last ones back.

    Raises
    ------
    LlamaError
        A format that is not implemented, or no room for so many tokens.
    """

    def __init__(self, config: TransformerConfig, n_ctx: int, kind: CacheKind = "F16", rotation: Any = None) -> None:
        form = self._form = CacheForm(config, kind, rotation)
        n_ctx = whole_number(n_ctx, "n_ctx", LlamaError, least=1)
        self.kinds, self.width = form.kinds, form.width
        self.n_ctx, self.length, self.n_layers = n_ctx, 0, config.n_layers
        self.rotated = rotation is not None
        try:
            keys, values, self.halves = form.store(config.n_layers, n_ctx)
        except (MemoryError, ValueError):
            nbytes = sum(config.n_layers * n_ctx * formats.get(kind).row_size(form.width) for kind in form.kinds)
            raise LlamaError(
                f"a cache of {n_ctx:,} tokens takes {nbytes / 2**30:,.1f} GiB, more than there is; give a smaller n_ctx"
            ) from None
        self._stores: tuple[Any, Any] = keys, values
        self.room: Any = None  # the pass that adds tokens here, and the buffers that it works in

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        return int(sum(store.nbytes for store in self._stores))

    def check(self, config: TransformerConfig, n_new: int) -> None:
        """Refuse to go on with another model, or with more tokens than there is room for.

        Parameters
        ----------
        config : TransformerConfig
            Settings of the model that asks.
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
        room = self._stores[0].shape[1]
        length = whole_number(self.length, "the cache's length", LlamaError, least=0, most=room)
        if length + n_new > room:
            raise LlamaError(
                f"{length} tokens in the cache and {n_new} new ones do not fit its {room}; "
                f"make a longer one with new_cache(n_ctx=...)"
            )

    def put(self, layer: int, keys: FloatArray, values: FloatArray) -> None:
        """Write (n_tokens, width) behind the `length` tokens that are there."""
        layer = whole_number(layer, "the layer", LlamaError, least=0, most=self.n_layers - 1)
        room = self._stores[0].shape[1]
        length = whole_number(self.length, "the cache's length", LlamaError, least=0, most=room)
        for k, given in enumerate((keys, values)):
            x = real_array(given, ("keys", "values")[k], LlamaError, shape=("n_tokens", self.width))
            if length + len(x) > room:
                raise LlamaError(f"{length} tokens and {len(x)} new ones do not fit a cache of {room}")
            self._stores[k][layer, length : length + len(x)] = self._form.encode(k, x)

    def get(self, layer: int, length: int) -> tuple[Any, Any]:
        """Keys and values of the first `length` tokens: float32 or float16."""
        layer = whole_number(layer, "the layer", LlamaError, least=0, most=self.n_layers - 1)
        length = whole_number(length, "length", LlamaError, least=1, most=self._stores[0].shape[1])
        keys, values = (self._form.decode(k, store[layer, :length]) for k, store in enumerate(self._stores))
        return keys, values
