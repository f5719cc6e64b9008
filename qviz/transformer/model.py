"""The forward pass of a Llama over quantized weights.

Source of the arithmetic: llama.cpp ``src/models/llama.cpp`` (``llm_build_llama``): RMSNorm, rotary positions,
grouped-query attention, SwiGLU, tied or separate output matrix.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz._arrays import flag, real_array, whole_array, whole_number
from qviz._machine.blas import on_one_thread
from qviz._machine.buffers import passing
from qviz._machine.team import in_parallel
from qviz._types import FloatArray
from qviz.errors import LlamaError
from qviz.formats.base import QTensor
from qviz.gguf.settings import shown
from qviz.transformer.cache import KVCache
from qviz.transformer.config import LlamaConfig
from qviz.transformer.kernels import ops
from qviz.transformer.linear import Activations, Linear, multiply_one
from qviz.transformer.parts import take_apart
from qviz.transformer.token_pass import TokenPass
from qviz.transformer.tokenizer import Tokenizer

OnLinearInput = Callable[[str, FloatArray], object]

_QUERIES = 64  # queries that attend together; more of them waste work on keys that the first may not see


class _Pass(NamedTuple):
    """What all layers of one forward pass share."""

    n: int  # windows
    t: int  # tokens in each
    first: int  # positions asked for
    last: int
    start: int  # tokens in the cache already
    positions: npt.NDArray[np.int64]
    cos: FloatArray
    sin: FloatArray
    cache: KVCache | None


class Transformer:
    """A Llama model that runs.

    Parameters
    ----------
    model : mapping of tensor name to QTensor, with ``.metadata``
        Such as `qviz.load` returns. Nothing is decoded in advance.
    activations : {"int8", "float"}
        Round activations to int8 where they meet quantized weights, as ggml does, or leave them in float32.
    on_linear_input : callable ``(name, x)``, optional
        Called with the input (n_tokens, n_in) of each matrix, under the matrix's tensor name: for calibration.

    Raises
    ------
    LlamaError
        Not a Llama, or not a whole one.

    Examples
    --------
    >>> from qviz import load
    >>> llama = Llama(load("tiny"))
    >>> llama
    <Llama 'qviz tiny': 8 layers, 256 wide, 4096 tokens>
    >>> llama.logits(llama.tokenizer.encode("The President of the United")).shape
    (6, 4096)
    """

    def __init__(self, model: Any, *, activations: str = "int8", on_linear_input: OnLinearInput | None = None) -> None:
        if on_linear_input is not None and not callable(on_linear_input):
            raise LlamaError(f"on_linear_input is {on_linear_input!r}; a callable (name, x) is wanted")
        parts = take_apart(model)
        self.model, self.on_linear_input = model, on_linear_input
        self.architecture, self.config = parts.architecture, parts.config
        self.name = str(model.metadata.get("general.name", parts.architecture.name))
        self.embedding = parts.tensors["token_embd.weight"]
        self.layers: list[dict[str, Any]] = []
        for i in range(self.config.n_layers):
            layer: dict[str, Any] = {}
            for place in parts.architecture.tensors:
                name = place.name.format(i)
                if place.in_layers and place.role == "matrix":
                    layer[name.split(".")[2]] = _linear(parts.tensors, name, activations)
                elif place.in_layers and place.role == "norm":
                    layer[name.split(".")[2]] = parts.tensors[name].dequantize()
            self.layers.append(layer)
        self.output_norm = parts.tensors["output_norm.weight"].dequantize()
        head = "output.weight" if "output.weight" in parts.tensors else "token_embd.weight"
        self.output = _linear(parts.tensors, head, activations)
        self._angles: tuple[FloatArray, FloatArray] = (np.empty((0, 0), np.float32),) * 2
        self._frequencies = _frequencies(self.config, parts.tensors.get("rope_freqs.weight"))

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, made on first use."""
        if not hasattr(self, "_tokenizer"):
            self._tokenizer = Tokenizer(self.model.metadata)
        return self._tokenizer

    def __repr__(self) -> str:
        c = self.config
        return f"<Llama {self.name!r}: {c.n_layers} layers, {c.n_embd} wide, {c.n_vocab} tokens>"

    def new_cache(self, n_ctx: int | None = None, kind: str = "F16") -> KVCache:
        """An empty KV cache for `n_ctx` tokens (at most 2048 unless given)."""
        return KVCache(self.config, min(self.config.n_ctx, 2048) if n_ctx is None else n_ctx, kind)

    def logits(self, tokens: npt.ArrayLike, cache: KVCache | None = None, last_only: bool = False) -> FloatArray:
        """Logits of what follows each token.

        Parameters
        ----------
        tokens : int array (n_tokens,)
            New tokens; with a `cache`, they continue it.
        cache : KVCache, optional
        last_only : bool
            Only those after the last token.

        Returns
        -------
        float32 array (n_tokens or 1, n_vocab)

        Raises
        ------
        LlamaError
            A token that does not exist, another model's cache, or no room left in it.
        """
        ids = self._tokens([tokens] if isinstance(tokens, int | np.integer) else tokens, "n_tokens")
        own = cache if cache is not None else self.new_cache(ids.size, "F16")
        if not isinstance(own, KVCache):
            raise LlamaError(f"cache is {shown(own)}; a KVCache is wanted, such as new_cache() makes")
        own.check(self.config, ids.size)
        last_only = flag(last_only, "last_only", LlamaError)
        if ids.size == 1 and own.kind == "F16" and self.on_linear_input is None:
            found = self._token_pass(self._embed(ids), own, *self._rope(own.length + 1))
            own.length += 1
            return found
        hidden = self._hidden(ids[None], own)[0]
        own.length += ids.size
        return self._feed(np.ascontiguousarray(hidden[-1:] if last_only else hidden), self.output)[0]

    def window_logits(self, windows: npt.NDArray[np.int64], first: int = 0, last: int | None = None) -> FloatArray:
        """Logits of independent windows, all at once.

        Parameters
        ----------
        windows : int array (n_windows, n_tokens)
        first, last : int
            Only those of positions `first` to `last`; in the last layer nothing is computed for the others.

        Returns
        -------
        float32 array (n_windows, last − first, n_vocab)

        Raises
        ------
        LlamaError
            A token that does not exist, an array of another shape, positions that are not there.
        """
        ids = self._tokens(windows, "n_windows", "n_tokens")
        first = whole_number(first, "first", LlamaError, least=0, most=ids.shape[1] - 1)
        last = ids.shape[1] if last is None else last
        last = whole_number(last, "last", LlamaError, least=first + 1, most=ids.shape[1])
        hidden = self._hidden(ids, None, first, last)
        flat = np.ascontiguousarray(hidden).reshape(-1, self.config.n_embd)
        return self._feed(flat, self.output)[0].reshape(ids.shape[0], last - first, -1)

    def _tokens(self, ids: Any, *shape: str) -> npt.NDArray[np.int64]:
        """Tokens of this model, in an array of so many dimensions."""
        return whole_array(ids, "tokens", LlamaError, shape=shape, least=0, most=self.config.n_vocab - 1)

    def _feed(self, x: FloatArray, *linears: Linear) -> list[FloatArray]:
        """Several matrices times the same activations."""
        if self.on_linear_input is not None:
            for linear in linears:
                self.on_linear_input(linear.name, x)
        shared = Activations(x)
        if len(x) > 1:
            return [linear(shared) for linear in linears]
        outs = [np.empty((1, linear.n_out), np.float32) for linear in linears]
        multiply_one(shared, linears, [out[0] for out in outs])
        return outs

    @functools.cached_property
    def _token_pass(self) -> TokenPass:
        return TokenPass(self.config, self.layers, self.output_norm, self.output)

    def _rope(self, n: int) -> tuple[FloatArray, FloatArray]:
        angles = self._angles  # another thread may put shorter ones in their place
        if angles[0].shape[0] < n:
            with np.errstate(over="ignore", invalid="ignore"):  # frequencies of a damaged file may be infinite
                angle = np.arange(max(n, 256), dtype=np.float32)[:, None] * self._frequencies
                magnitude = np.float32(self.config.rope_magnitude)
                angles = self._angles = np.cos(angle) * magnitude, np.sin(angle) * magnitude
        return angles

    def _embed(self, ids: npt.NDArray[np.int64]) -> FloatArray:
        fmt = self.embedding.format
        rows = np.ascontiguousarray(self.embedding.blocks[ids])
        return QTensor(fmt, rows, (ids.size, self.config.n_embd)).dequantize()

    def embed(self, windows: npt.ArrayLike) -> FloatArray:
        """The residual stream before the first layer.

        Parameters
        ----------
        windows : int array (n_windows, n_tokens)

        Returns
        -------
        float32 array (n_windows, n_tokens, n_embd)

        Raises
        ------
        LlamaError
            A token that does not exist, or an array of another shape.
        """
        ids = self._tokens(windows, "n_windows", "n_tokens")
        return self._embed(ids.reshape(-1)).reshape(*ids.shape, -1)

    @on_one_thread
    def layer(self, i: int, x: FloatArray) -> FloatArray:
        """What layer `i` makes of the residual stream of independent windows: the forward pass, one layer at a time.

        Parameters
        ----------
        i : int
        x : float32 array (n_windows, n_tokens, n_embd)
            From `embed` or the layer before; it is left as it is.

        Returns
        -------
        float32 array of the shape of `x`

        Raises
        ------
        LlamaError
            A layer that is not there, or a stream of another shape.

        Examples
        --------
        >>> from qviz import load
        >>> llama = Llama(load("tiny"))
        >>> llama.layer(0, llama.embed([[1, 5, 7]])).shape
        (1, 3, 256)
        """
        i = whole_number(i, "the layer", LlamaError, least=0, most=self.config.n_layers - 1)
        given = real_array(x, "x", LlamaError, shape=("n_windows", "n_tokens", self.config.n_embd))
        n, t, _ = given.shape
        stream = np.array(given).reshape(n * t, -1)
        return self._layer(i, stream, self._pass(n, t)).reshape(given.shape)

    def _pass(self, n: int, t: int, cache: KVCache | None = None, first: int = 0, last: int | None = None) -> _Pass:
        start = cache.length if cache is not None else 0
        cos, sin = self._rope(start + t)
        positions = np.tile(np.arange(start, start + t), n)
        return _Pass(n, t, first, t if last is None else last, start, positions, cos, sin, cache)

    def _norm(self, x: FloatArray, gain: FloatArray) -> FloatArray:
        out, eps = passing(x.shape), np.float32(self.config.norm_eps)
        in_parallel(len(x), lambda a, b: ops.rms_norm(x[a:b], gain, eps, out[a:b]))
        return out

    @on_one_thread
    def _hidden(
        self, ids: npt.NDArray[np.int64], cache: KVCache | None, first: int = 0, last: int | None = None
    ) -> Any:
        """The residual stream (n_windows, tokens, n_embd) after the last norm."""
        n, t = ids.shape
        run = self._pass(n, t, cache, first, last)
        x = self._embed(ids.reshape(-1))
        for i in range(self.config.n_layers):
            x = self._layer(i, x, run)
        return self._norm(x, self.output_norm).reshape(n, -1, self.config.n_embd)

    def _layer(self, i: int, x: FloatArray, run: _Pass) -> FloatArray:
        """One layer; `x` (tokens, n_embd) may be changed, the last layer returns the rows that were asked for."""
        c, layer = self.config, self.layers[i]
        n, t, first, last, start, positions, cos, sin, cache = run

        def turn(heads: FloatArray, where: npt.NDArray[np.int64]) -> None:
            in_parallel(len(heads), lambda a, b: ops.rotate(heads[a:b], where[a:b], cos, sin, c.head_size))

        h = self._norm(x, layer["attn_norm"])
        final = i == c.n_layers - 1 and (first, last) != (0, t)
        where = positions
        if not final:
            q, k, v = self._feed(h, layer["attn_q"], layer["attn_k"], layer["attn_v"])
        else:  # only what is asked for needs queries, attention output and feed-forward
            k, v = self._feed(h, layer["attn_k"], layer["attn_v"])
            h = np.ascontiguousarray(h.reshape(n, t, -1)[:, first:last]).reshape(n * (last - first), -1)
            x = np.ascontiguousarray(x.reshape(n, t, -1)[:, first:last]).reshape(n * (last - first), -1)
            where = np.ascontiguousarray(positions.reshape(n, t)[:, first:last]).reshape(-1)
            (q,) = self._feed(h, layer["attn_q"])
        turn(q, where)
        turn(k, positions)
        if cache is not None:
            cache.put(i, k, v)
            k, v = cache.get(i, start + t)
            k, v = (part.astype(np.float32, copy=False) for part in (k, v))
        else:  # what an F16 cache would have made of them
            k, v = Activations(k).rounded(16), Activations(v).rounded(16)
        mixed = self._attend(q.reshape(n, -1, c.n_head, c.head_size), k, v, start + (first if final else 0))
        x += self._feed(mixed.reshape(len(x), -1), layer["attn_output"])[0]
        h = self._norm(x, layer["ffn_norm"])
        gate, up = self._feed(h, layer["ffn_gate"], layer["ffn_up"])
        in_parallel(len(gate), lambda a, b: ops.swiglu(gate[a:b], up[a:b]))
        x += self._feed(gate, layer["ffn_down"])[0]
        return x

    def _attend(self, q: FloatArray, k: FloatArray, v: FloatArray, start: int) -> FloatArray:
        """Causal attention: q (n, t, heads, size) whose first query stands at `start`; k, v (n · keys, width)."""
        c = self.config
        n, t = q.shape[:2]
        heads = q.transpose(0, 2, 1, 3)
        with np.errstate(over="ignore"):
            q = np.multiply(heads, np.float32(c.attention_scale), out=passing(heads.shape))
        q = q.reshape(n * c.n_head_kv, -1, t, c.head_size)  # query heads that share a key head stand together
        k, v = (x.reshape(n, -1, c.n_head_kv, c.head_size).swapaxes(1, 2) for x in (k, v))
        k, v = (x.reshape(len(q), 1, -1, c.head_size) for x in (k, v))
        mixed = passing(q.shape)

        def work(a: int, b: int) -> None:
            for begin in range(0, t, _QUERIES):
                end = min(begin + _QUERIES, t)
                seen = start + end  # no key behind these is seen by any of the queries
                part, keys = q[a:b, :, begin:end], k[a:b, :, :seen].swapaxes(-1, -2)
                scores = passing((*part.shape[:3], seen))
                with np.errstate(all="ignore"):  # a damaged model computes NaN, and says so only when it is scored
                    np.matmul(part, keys, out=scores)
                    ops.causal_softmax(scores.reshape(-1, end - begin, seen), start + begin)
                    np.matmul(scores, v[a:b, :, :seen], out=mixed[a:b, :, begin:end])

        in_parallel(len(q), work, least=1)
        together = passing((n, t, c.n_head, c.head_size))
        together[...] = mixed.reshape(n, c.n_head, t, c.head_size).transpose(0, 2, 1, 3)
        return together


def _linear(tensors: Mapping[str, QTensor], name: str, activations: str) -> Linear:
    """A matrix, with its bias where the model has one."""
    bias = tensors.get(f"{name.removesuffix('weight')}bias")
    return Linear(tensors[name], name, activations, bias=None if bias is None else bias.dequantize())


def _frequencies(config: LlamaConfig, factors: QTensor | None) -> FloatArray:
    """By how much each pair of a head turns from one position to the next, float32 (rope_size / 2,)."""
    power = -np.arange(0, config.rope_size, 2, dtype=np.float32) / np.float32(config.rope_size)
    with np.errstate(all="ignore"):  # a damaged file may divide by zero
        found: FloatArray = np.float32(config.rope_base) ** power
        if factors is not None:
            found = found / factors.dequantize()
        return found / np.float32(config.rope_factor)
