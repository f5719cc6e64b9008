"""The forward pass of a transformer over quantized weights: one program over the parts that its architecture names.

A layer does what it has parts for: a norm before or after each half, or both; norms on queries and keys; rotation of
neighbours or of halves; attention with a window, a cap, sinks; a feed-forward half with a gate, without one, or a
mixture of experts.

Source of the arithmetic: llama.cpp ``src/models/*.cpp``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from qviz._arrays import flag, one_of, real_array, whole_array, whole_number
from qviz._machine.blas import on_one_thread
from qviz._machine.buffers import passing
from qviz._machine.team import in_parallel
from qviz._types import FloatArray
from qviz.errors import LlamaError, shortened
from qviz.formats.base import QTensor
from qviz.gguf.settings import shown
from qviz.transformer import experts
from qviz.transformer.cache import CacheForm, CacheKind, KVCache
from qviz.transformer.experts import ExpertLinears
from qviz.transformer.kernels import ops
from qviz.transformer.linear import Activations, Linear, multiply_one
from qviz.transformer.parts import Parts, take_apart
from qviz.transformer.rope import Rope
from qviz.transformer.token_pass import TokenPass
from qviz.transformer.tokenizer import Tokenizer

_Scalar = TypeVar("_Scalar", bound=np.generic)

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
    cos: FloatArray  # a table for each kind of layer
    sin: FloatArray
    cache: KVCache | None

    def asked(self, x: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """Take from rows (n · t, ...) those of the positions that were asked for."""
        rows = x.reshape(self.n, self.t, *x.shape[1:])[:, self.first : self.last]
        return np.ascontiguousarray(rows).reshape(-1, *x.shape[1:])


class Transformer:
    """A model that runs, of any architecture of `qviz.architectures`.

    Parameters
    ----------
    model : mapping of tensor name to QTensor, with ``.metadata``
        Such as `qviz.load` returns. Nothing is decoded in advance.
    activations : {"int8", "float"}
        Round activations to int8 where they meet quantized weights, as ggml does, or leave them in float32.
    on_linear_input : callable ``(name, x)``, optional
        Called with the input (n_tokens, n_in) of each matrix, under the matrix's tensor name: for calibration.
    cache : {"F16", "F32", "Q8_0", "Q4_0"} or (str, str)
        Format of keys and values, or one for each; independent windows are rounded as a cache of that format would.
    cache_rotation : float32 array (head_size, head_size), optional
        As in `qviz.transformer.KVCache`.

    Raises
    ------
    LlamaError
        Not a model of these families, or not a whole one.

    Examples
    --------
    >>> from qviz import load
    >>> llama = Transformer(load("tiny"))
    >>> llama
    <Transformer 'qviz tiny': llama, 8 layers, 256 wide, 4096 tokens>
    >>> llama.logits(llama.tokenizer.encode("The President of the United")).shape
    (6, 4096)
    """

    def __init__(
        self,
        model: Any,
        *,
        activations: str = "int8",
        on_linear_input: OnLinearInput | None = None,
        cache: CacheKind = "F16",
        cache_rotation: Any = None,
    ) -> None:
        if on_linear_input is not None and not callable(on_linear_input):
            raise LlamaError(f"on_linear_input is {shortened(on_linear_input)}; a callable (name, x) is wanted")
        parts = take_apart(model)
        self.model, self.on_linear_input = model, on_linear_input
        self.architecture, self.config = parts.architecture, parts.config
        self.name = str(model.metadata.get("general.name", parts.architecture.name))
        self.embedding = parts.tensors["token_embd.weight"]
        self._position_rows = parts.tensors.get("position_embd.weight")
        self.layers = [_layer_parts(parts, i, activations) for i in range(self.config.n_layers)]
        outside = _layer_parts(parts, None, activations)
        self.output_norm, self._output_norm = outside["output_norm"], outside
        self.output = outside.get("output") or _linear(parts.tensors, "token_embd.weight", activations, "output.bias")
        factors = {kind: part for kind, part in outside.items() if kind.startswith("rope_")}
        self._rope = Rope(self.config, factors)
        self._turn = ops.rotate_halves if self.architecture.rope == "halves" else ops.rotate
        self._layered = self.architecture.norm == "layer"
        self._cache = cache, cache_rotation
        self._form = CacheForm(self.config, cache, cache_rotation)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, made on first use."""
        if not hasattr(self, "_tokenizer"):
            self._tokenizer = Tokenizer(self.model.metadata)
        return self._tokenizer

    def __repr__(self) -> str:
        c = self.config
        sizes = f"{c.n_layers} layers, {c.n_embd} wide, {c.n_vocab} tokens"
        return f"<Transformer {self.name!r}: {self.architecture.name}, {sizes}>"

    def new_cache(self, n_ctx: int | None = None, kind: CacheKind | None = None) -> KVCache:
        """An empty KV cache for `n_ctx` tokens (at most 2048 unless given), in this model's format unless given."""
        own, rotation = self._cache
        n_ctx = min(self.config.n_ctx, 2048) if n_ctx is None else n_ctx
        return KVCache(self.config, n_ctx, own if kind is None else kind, rotation)

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
        own = cache if cache is not None else self.new_cache(ids.size)
        if not isinstance(own, KVCache):
            raise LlamaError(f"cache is {shown(own)}; a KVCache is wanted, such as new_cache() makes")
        own.check(self.config, ids.size)
        last_only = flag(last_only, "last_only", LlamaError)
        if ids.size == 1 and own.halves is not None and not own.rotated and self.on_linear_input is None:
            x = self._embed(ids, own.length)
            last = self._token_pass(x, own, *self._rope.tables(own.length + 1, own.n_ctx))
            own.length += 1
            return self._scaled(last)
        hidden = self._hidden(ids[None], own)[0]
        own.length += ids.size
        return self._logits(np.ascontiguousarray(hidden[-1:] if last_only else hidden))

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
        return self._logits(flat).reshape(ids.shape[0], last - first, -1)

    def _logits(self, hidden: FloatArray) -> FloatArray:
        return self._scaled(self._feed(hidden, self.output)[0])

    def _scaled(self, logits: FloatArray) -> FloatArray:
        c = self.config
        with np.errstate(all="ignore"):
            if c.logit_scale != 1:
                logits *= np.float32(c.logit_scale)
            if c.logit_cap:
                in_parallel(len(logits), lambda a, b: ops.cap(logits[a:b], np.float32(c.logit_cap)))
        return logits

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
        return TokenPass(self.config, self.architecture, self.layers, self._output_norm, self.output)

    def _embed(self, ids: npt.NDArray[np.int64], start: int = 0) -> FloatArray:
        """The residual stream (n_tokens, n_embd) of tokens in windows (..., t) that begin at position `start`."""
        x = self._rows(self.embedding, ids.reshape(-1))
        if self.config.embedding_scale != 1:
            with np.errstate(over="ignore"):
                x *= np.float32(self.config.embedding_scale)
        if self._position_rows is not None:
            positions = np.broadcast_to(np.arange(start, start + ids.shape[-1]), ids.shape).reshape(-1)
            if start + ids.shape[-1] > self.config.n_ctx:
                raise LlamaError(
                    f"position {start + ids.shape[-1] - 1} has no vector of its own; the model knows "
                    f"{self.config.n_ctx} positions"
                )
            x += self._rows(self._position_rows, positions)
        return x

    def _rows(self, tensor: QTensor, rows: npt.NDArray[np.int64]) -> FloatArray:
        blocks = np.ascontiguousarray(tensor.blocks[rows])
        return QTensor(tensor.format, blocks, (rows.size, self.config.n_embd)).dequantize()

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
        return self._embed(ids).reshape(*ids.shape, -1)

    @on_one_thread
    def layer(self, i: int, x: FloatArray, half: str | None = None) -> FloatArray:
        """What layer `i` makes of the residual stream of independent windows: the forward pass, one layer at a time.

        Parameters
        ----------
        i : int
        x : float32 array (n_windows, n_tokens, n_embd)
            From `embed` or the layer before; it is left as it is.
        half : {"attention", "feed-forward"}, optional
            Only this half of the layer: the second takes what the first one returns.

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
        >>> llama = Transformer(load("tiny"))
        >>> llama.layer(0, llama.embed([[1, 5, 7]])).shape
        (1, 3, 256)
        """
        i = whole_number(i, "the layer", LlamaError, least=0, most=self.config.n_layers - 1)
        given = real_array(x, "x", LlamaError, shape=("n_windows", "n_tokens", self.config.n_embd))
        halves = {"attention": self._attention_half, "feed-forward": self._feed_forward_half}
        work = self._layer if half is None else halves[one_of(half, "half", halves, LlamaError)]
        n, t, _ = given.shape
        stream = np.array(given).reshape(n * t, -1)
        return work(i, stream, self._pass(n, t)).reshape(given.shape)

    def _pass(self, n: int, t: int, cache: KVCache | None = None, first: int = 0, last: int | None = None) -> _Pass:
        start = cache.length if cache is not None else 0
        cos, sin = self._rope.tables(start + t, t if cache is None else cache.n_ctx)
        positions = np.tile(np.arange(start, start + t), n)
        return _Pass(n, t, first, t if last is None else last, start, positions, cos, sin, cache)

    def _norm(self, x: FloatArray, parts: Mapping[str, Any], kind: str) -> FloatArray:
        """A norm of each row, or of each head where its gains are fewer; nothing where there is none."""
        if kind not in parts:
            return x
        gain, bias, eps = parts[kind], parts.get(f"{kind}.bias"), np.float32(self.config.norm_eps)
        out = passing(x.shape)
        rows, into = x.reshape(-1, gain.size), out.reshape(-1, gain.size)
        if self._layered:
            bias = np.zeros_like(gain) if bias is None else bias
            in_parallel(len(rows), lambda a, b: ops.layer_norm(rows[a:b], gain, bias, eps, into[a:b]))
        else:
            in_parallel(len(rows), lambda a, b: ops.rms_norm(rows[a:b], gain, eps, into[a:b]))
        return out

    @on_one_thread
    def _hidden(
        self, ids: npt.NDArray[np.int64], cache: KVCache | None, first: int = 0, last: int | None = None
    ) -> Any:
        """The residual stream (n_windows, tokens, n_embd) after the last norm."""
        n, t = ids.shape
        run = self._pass(n, t, cache, first, last)
        x = self._embed(ids, run.start)
        for i in range(self.config.n_layers):
            x = self._layer(i, x, run)
        return self._norm(x, self._output_norm, "output_norm").reshape(n, -1, self.config.n_embd)

    def _layer(self, i: int, x: FloatArray, run: _Pass) -> FloatArray:
        """One layer; `x` (tokens, n_embd) may be changed, the last layer returns the rows that were asked for."""
        return self._feed_forward_half(i, self._attention_half(i, x, run), run)

    def _attention_half(self, i: int, x: FloatArray, run: _Pass) -> FloatArray:
        c, layer = self.config, self.layers[i]
        final = i == c.n_layers - 1 and (run.first, run.last) != (0, run.t)
        q, k, v = self._queries(layer, self._norm(x, layer, "attn_norm"), run if final else None)
        if final:  # only what is asked for needs attention output and feed-forward
            x = run.asked(x)
        q, k = self._norm(q, layer, "attn_q_norm"), self._norm(k, layer, "attn_k_norm")
        if c.turned[i]:
            table = len(run.cos) - 1 if c.windowed[i] else 0
            cos, sin = run.cos[table], run.sin[table]
            for heads, where in ((q, run.asked(run.positions) if final else run.positions), (k, run.positions)):
                self._rotate(heads, where, cos, sin)
        if run.cache is not None:
            run.cache.put(i, k, v)
            k, v = run.cache.get(i, run.start + run.t)
            k, v = (part.astype(np.float32, copy=False) for part in (k, v))
        else:
            k, v = self._kept(0, k), self._kept(1, v)
        heads = q.reshape(run.n, -1, c.n_head, c.head_size)
        mixed = self._attend(i, heads, k, v, run.start + (run.first if final else 0))
        return self._joined(i, "attn_output", x, mixed.reshape(len(x), -1))

    def _feed_forward_half(self, i: int, x: FloatArray, _run: _Pass) -> FloatArray:
        layer = self.layers[i]
        made = self._feed_forward(layer, self._norm(x, layer, "ffn_norm"))
        return self._added(x, layer, "post_ffw_norm", made)

    def _kept(self, which: int, x: FloatArray) -> FloatArray:
        """What a cache would have made of keys (0) or values (1)."""
        if self._form.kinds[which] == "F16" and self._cache[1] is None:
            return Activations(x).rounded(16)
        kept: FloatArray = self._form.decode(which, self._form.encode(which, x)).astype(np.float32, copy=False)
        return kept

    def _queries(self, layer: Mapping[str, Any], h: FloatArray, asked: _Pass | None) -> list[FloatArray]:
        """Queries, keys and values; queries only of the positions that are asked for, if not of all."""
        c = self.config
        if "attn_qkv" in layer:
            (together,) = self._feed(h, layer["attn_qkv"])
            edges = (c.n_head * c.head_size, (c.n_head + c.n_head_kv) * c.head_size)
            q, k, v = (np.ascontiguousarray(part) for part in np.split(together, edges, axis=1))
            return [q if asked is None else asked.asked(q), k, v]
        if asked is None:
            return self._feed(h, layer["attn_q"], layer["attn_k"], layer["attn_v"])
        k, v = self._feed(h, layer["attn_k"], layer["attn_v"])
        return [*self._feed(asked.asked(h), layer["attn_q"]), k, v]

    def _rotate(self, heads: FloatArray, where: npt.NDArray[np.int64], cos: FloatArray, sin: FloatArray) -> None:
        size = self.config.head_size
        in_parallel(len(heads), lambda a, b: self._turn(heads[a:b], where[a:b], cos, sin, size))

    def _joined(self, i: int, kind: str, x: FloatArray, received: FloatArray) -> FloatArray:
        """The residual stream, changed, with what the matrix at the end of a half of a layer makes of its inputs."""
        norm = "post_attention_norm" if kind == "attn_output" else "post_ffw_norm"
        return self._added(x, self.layers[i], norm, self._feed(received, self.layers[i][kind])[0])

    def _added(self, x: FloatArray, layer: Mapping[str, Any], norm: str, made: FloatArray) -> FloatArray:
        """The residual stream, changed, with what one half of a layer made."""
        made = self._norm(made, layer, norm)
        with np.errstate(all="ignore"):
            if self.config.residual_scale != 1:
                made *= np.float32(self.config.residual_scale)
            x += made
        return x

    def _feed_forward(self, layer: Mapping[str, Any], h: FloatArray) -> FloatArray:
        if "ffn_gate_inp" in layer:
            return self._mixture(layer, h)
        if "ffn_gate_up" in layer:
            (both,) = self._feed(h, layer["ffn_gate_up"])
            gate, up = (np.ascontiguousarray(part) for part in np.split(both, 2, axis=1))
        elif "ffn_gate" in layer:
            gate, up = self._feed(h, layer["ffn_gate"], layer["ffn_up"])
        else:
            (gate,) = self._feed(h, layer["ffn_up"])
            in_parallel(len(gate), lambda a, b: ops.gelu(gate[a:b]))
            return self._feed(gate, layer["ffn_down"])[0]
        self._gate(gate, up)
        return self._feed(gate, layer["ffn_down"])[0]

    def _gate(self, gate: FloatArray, up: FloatArray) -> None:
        gates = {"silu": ops.swiglu, "gelu": ops.geglu, "clamped": ops.clamped_gate}
        work = gates[self.architecture.activation]
        in_parallel(len(gate), lambda a, b: work(gate[a:b], up[a:b]))

    def _mixture(self, layer: Mapping[str, Any], h: FloatArray) -> FloatArray:
        """What the experts that each token meets make of it."""
        (scores,) = self._feed(h, layer["ffn_gate_inp"])
        chosen, weights = experts.choose(scores, self.config.n_expert_used)
        out = np.zeros(h.shape, np.float32)
        for expert, rows, places in experts.groups(chosen):
            part = np.ascontiguousarray(h[rows])
            gate, up = self._feed(part, layer["ffn_gate_exps"][expert], layer["ffn_up_exps"][expert])
            self._gate(gate, up)
            (made,) = self._feed(gate, layer["ffn_down_exps"][expert])
            with np.errstate(all="ignore"):
                out[rows] += made * weights[rows, places][:, None]
        return out

    def _attend(self, i: int, q: FloatArray, k: FloatArray, v: FloatArray, start: int) -> FloatArray:
        """Causal attention: q (n, t, heads, size) whose first query stands at `start`; k, v (n · keys, width)."""
        c = self.config
        window = c.window if c.windowed[i] else 0
        limit, sinks = np.float32(c.attention_cap), self.layers[i].get("attn_sinks", _NO_SINKS)
        n, t = q.shape[:2]
        heads = q.transpose(0, 2, 1, 3)
        with np.errstate(over="ignore"):
            q = np.multiply(heads, np.float32(c.attention_scale), out=passing(heads.shape))
        q = q.reshape(n * c.n_head_kv, -1, t, c.head_size)  # query heads that share a key head stand together
        k, v = (x.reshape(n, -1, c.n_head_kv, c.head_size).swapaxes(1, 2) for x in (k, v))
        k, v = (x.reshape(len(q), 1, -1, c.head_size) for x in (k, v))
        mixed = passing(q.shape)

        def work(a: int, b: int) -> None:
            head = a * (c.n_head // c.n_head_kv)
            for begin in range(0, t, _QUERIES):
                end = min(begin + _QUERIES, t)
                # none of the queries sees a key behind `seen`, nor one before `low`
                seen, low = start + end, max(start + begin + 1 - window, 0) if window else 0
                part, keys = q[a:b, :, begin:end], k[a:b, :, low:seen].swapaxes(-1, -2)
                scores = passing((*part.shape[:3], seen - low))
                with np.errstate(all="ignore"):  # a damaged model computes NaN, and says so only when it is scored
                    np.matmul(part, keys, out=scores)
                    rows = scores.reshape(-1, end - begin, seen - low)
                    if window or limit or sinks.size:
                        ops.masked_softmax(rows, start + begin - low, window, limit, sinks, head)
                    else:
                        ops.causal_softmax(rows, start + begin)
                    np.matmul(scores, v[a:b, :, low:seen], out=mixed[a:b, :, begin:end])

        in_parallel(len(q), work, least=1)
        together = passing((n, t, c.n_head, c.head_size))
        together[...] = mixed.reshape(n, c.n_head, t, c.head_size).transpose(0, 2, 1, 3)
        return together


_NO_SINKS = np.empty(0, np.float32)


def _layer_parts(parts: Parts, i: int | None, activations: str) -> dict[str, Any]:
    """The parts of layer `i`, or of what is outside the layers: matrices to multiply by, other arrays, by kind."""
    layer_parts: dict[str, Any] = {}
    for place in parts.architecture.tensors:
        name = place.name.format(i)
        if place.in_layers != (i is not None) or name not in parts.tensors:
            continue
        bias = f"{name.removesuffix('weight')}bias"
        if place.role == "matrix":
            layer_parts[place.kind] = _linear(parts.tensors, name, activations, bias)
        elif place.role == "experts":
            biases = parts.tensors[bias].dequantize() if bias in parts.tensors else None
            layer_parts[place.kind] = ExpertLinears(parts.tensors[name], name, activations, biases)
        elif place.role in ("norm", "factors", "sinks") or isinstance(layer_parts.get(place.kind[:-5]), np.ndarray):
            layer_parts[place.kind] = parts.tensors[name].dequantize()  # a bias is a norm's; matrices have taken theirs
    return layer_parts


def _linear(tensors: Mapping[str, QTensor], name: str, activations: str, bias: str) -> Linear:
    """A matrix, with its bias where the model has one."""
    added = tensors[bias].dequantize() if bias in tensors else None
    return Linear(tensors[name], name, activations, bias=added)
