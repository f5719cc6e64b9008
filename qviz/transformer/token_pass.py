"""One token through all layers, in one compiled call: what generation spends its time with.

The steps are those of `qviz.transformer.model.Transformer` for many tokens. Products and attention are cut into pieces
that other cores help with (`qviz._machine.team`); the rest is a few microseconds a layer, and stays on one core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz._arrays import check_shape
from qviz._machine.kernels import half_bits, kernel, native
from qviz._machine.team import JOB, PIECES, attended, finish, patient, post, take, wait
from qviz._types import FloatArray
from qviz.architectures import Architecture
from qviz.errors import LlamaError
from qviz.transformer.config import TransformerConfig
from qviz.transformer.kernels import ops
from qviz.transformer.kernels.rounding import quantize_activations, round_to_half
from qviz.transformer.linear import Linear

if TYPE_CHECKING:
    from qviz.transformer.cache import KVCache

# how a kernel sees a matrix: the kernel that multiplies it, its blocks, how its input is rounded, in which row of
# `_Room.orders` the order of its columns is, where its output goes, and where its bias begins; -1 where there is none
_MATRIX = ("address", "blocks", "rows", "columns", "itemsize", "n_in", "width", "order", "out", "bias")
# how it sees a model: its sizes, what it does between matrices, and where each vector begins in `_Room.floats`
_SIZES = ("n_embd", "n_head", "n_head_kv", "head_size", "n_expert", "n_expert_used", "n_ff_expert")
_HOW = ("layered", "halves", "activation", "spare", "output", "output_norm", "output_norm_bias")
_BEGINS = ("h", "q", "k", "v", "mixed", "gate", "up", "added", "router", "shares", "summed", "logits", "end")
_FLOATS = ("scale", "cap", "residual_scale", "eps")
_ACTIVATIONS = {"silu": 0, "gelu": 1, "clamped": 2}
# how it sees a layer: the first of a few matrices, and how many; where a norm's gains begin in `_Room.vectors`
_PRODUCTS = ("qkv", "n_qkv", "attn_output", "ffn", "n_ffn", "ffn_down", "router", "gates", "ups", "downs")
_VECTORS = (
    *("attn_norm", "attn_norm.bias", "attn_q_norm", "attn_k_norm", "post_attention_norm"),
    *("ffn_norm", "ffn_norm.bias", "post_ffw_norm", "attn_sinks"),
)
_LAYER = (*_PRODUCTS, *(name.replace(".", "_") for name in _VECTORS), "q_width", "k_width", "window", "table", "gated")
# which vector each matrix takes, and which it makes
_WAYS = {
    "attn_q": ("h", "q"), "attn_k": ("h", "k"), "attn_v": ("h", "v"), "attn_qkv": ("h", "q"),
    "attn_output": ("mixed", "added"), "ffn_gate": ("h", "gate"), "ffn_up": ("h", "up"), "ffn_gate_up": ("h", "gate"),
    "ffn_down": ("gate", "added"), "ffn_gate_inp": ("h", "router"), "ffn_gate_exps": ("h", "gate"),
    "ffn_up_exps": ("h", "up"), "ffn_down_exps": ("gate", "added"),
}  # fmt: skip

# words of a job: matrices from `_FIRST` on, `_COUNT` of them, times what begins at `_FROM`; none of them: attention
_FIRST, _COUNT, _FROM, _POSITION = JOB, JOB + 1, JOB + 2, JOB + 3

_PIECE = 1 << 15  # weights in one piece: some microseconds, a hundred times what taking it costs
_MOST_PIECES = 16


class _Room(NamedTuple):
    """What one token needs to be worked on; `orders` (n, n_in), `biases` and `vectors` are the model's."""

    floats: FloatArray
    rounded: FloatArray
    codes: npt.NDArray[np.int8]
    scales: FloatArray
    sums: npt.NDArray[np.int32]
    scores: FloatArray
    orders: npt.NDArray[np.int32]
    biases: FloatArray
    vectors: FloatArray
    picks: npt.NDArray[np.int64]


@kernel
def _multiply(share, shares, first, count, start, matrices, room):
    """One of `shares` parts of each of a few matrices."""
    floats, rounded, codes, scales, sums, biases = (
        room.floats,
        room.rounded,
        room.codes,
        room.scales,
        room.sums,
        room.biases,
    )
    for i in range(first, first + count):
        m = matrices[i]
        fours = m.rows // 4  # kernels go through four rows at once
        a = fours * share // shares * 4
        b = fours * (share + 1) // shares * 4 if share + 1 < shares else m.rows
        if a == b:
            continue
        blocks, out, n = m.blocks + a * m.columns * m.itemsize, floats[m.out + a : m.out + b], m.n_in
        if m.width >= 32:
            k = 0 if m.width == 32 else 1
            given = codes[k, :n], scales[k, : n // m.width], sums[k, : n // 16]
            native.multiply(m.address, blocks, b - a, m.columns, m.itemsize, given, out)
        else:
            x = rounded[:n] if m.width == 16 or m.order >= 0 else floats[start : start + n]
            native.multiply(m.address, blocks, b - a, m.columns, m.itemsize, (x,), out)
        if m.bias >= 0:
            for j in range(b - a):
                out[j] += biases[m.bias + a + j]


@kernel
def _attend(group, position, layer, sizes, room, keys, values):
    """The query heads that share one key head."""
    s, floats, scores = sizes[0], room.floats, room.scores
    share = s.n_head // s.n_head_kv
    n = share * s.head_size
    low = max(position + 1 - layer.window, 0) if layer.window > 0 else 0
    sinks = room.vectors[:0]
    if layer.attn_sinks >= 0:
        sinks = room.vectors[layer.attn_sinks + group * share : layer.attn_sinks + group * share + share]
    ops.attend(
        floats[s.q + group * n : s.q + group * n + n].reshape((share, s.head_size)),
        keys[low : position + 1],
        values[low : position + 1],
        group * s.head_size,
        s.scale,
        s.cap,
        sinks,
        scores[group * share : group * share + share],
        floats[s.mixed + group * n : s.mixed + group * n + n].reshape((share, s.head_size)),
    )


@kernel
def _pieces(board, matrices, layers, sizes, room, cache):
    """Do pieces of the job on the board as long as there are any; how many."""
    done = 0
    while True:
        piece = take(board)
        if piece < 0:
            return done
        first = board[_FIRST]
        if board[_COUNT]:
            _multiply(piece, board[PIECES], first, board[_COUNT], board[_FROM], matrices, room)
        else:
            _attend(piece, board[_POSITION], layers[first], sizes, room, cache[first, 0], cache[first, 1])
        finish(board)
        done += 1


@kernel
def _help(board, matrices, layers, sizes, room, cache):
    """What another core does while tokens are made."""
    idle = 0
    while patient(board, idle):
        idle = 0 if _pieces(board, matrices, layers, sizes, room, cache) else idle + 1


@kernel
def _round(first, count, start, matrices, room):
    """The activations that begin at `start`, as each of a few matrices needs them."""
    floats, rounded, codes, scales, sums = room.floats, room.rounded, room.codes, room.scales, room.sums
    n, seen = matrices[first].n_in, 0
    x = floats[start : start + n]
    if matrices[first].order >= 0:
        x = rounded[:n]
        for j in range(n):
            x[j] = floats[start + room.orders[matrices[first].order, j]]
    for i in range(first, first + count):
        width = matrices[i].width
        if width == 0 or seen & width:
            continue
        seen |= width
        if width == 16:
            round_to_half(x.reshape((1, n)), rounded[:n].reshape((1, n)))
        else:
            k = 0 if width == 32 else 1
            quantize_activations(x, codes[k, :n], scales[k, : n // width], sums[k, : n // 16])


@kernel
def _products(first, count, start, board, matrices, layers, sizes, room, cache):
    """Matrices `first` to ``first + count`` times the same activations, which begin at `start` in ``room.floats``."""
    weights, at_once = 0, count
    for i in range(first, first + count):
        weights += matrices[i].rows * matrices[i].n_in
        if matrices[i].order >= 0:  # each has an order of its own
            at_once = 1
    for i in range(first, first + count, at_once):
        _round(i, at_once, start, matrices, room)
        board[_FIRST], board[_COUNT], board[_FROM] = i, at_once, start
        post(board, max(1, min(weights * at_once // count // _PIECE, _MOST_PIECES)))
        _pieces(board, matrices, layers, sizes, room, cache)
        wait(board)


@kernel
def _norm(x, gain, bias, s, vectors, out):
    """A norm of each row, whose gains and biases begin at `gain` and `bias`; nothing (-1) only copies."""
    n = x.shape[1]
    if gain < 0:
        for j in range(n):
            out[0, j] = x[0, j]
    elif s.layered:
        ops.layer_norm(x, vectors[gain : gain + n], vectors[bias : bias + n], s.eps, out)
    else:
        ops.rms_norm(x, vectors[gain : gain + n], s.eps, out)


@kernel
def _turn(x, position, cos, sin, s):
    if s.halves:
        ops.rotate_halves(x, position, cos, sin, s.head_size)
    else:
        ops.rotate(x, position, cos, sin, s.head_size)


@kernel
def _gate(gate, up, activation):
    if activation == 0:
        ops.swiglu(gate, up)
    elif activation == 1:
        ops.geglu(gate, up)
    else:
        ops.clamped_gate(gate, up)


@kernel
def _choose(s, room):
    """The experts that a router scores highest, and the softmax of their scores; NaN counts as lowest."""
    scores, shares = room.floats[s.router : s.router + s.n_expert], room.floats[s.shares : s.shares + s.n_expert_used]
    for i in range(s.n_expert_used):
        best = -1
        for e in range(s.n_expert):
            taken = False
            for j in range(i):
                taken |= room.picks[j] == e
            if not taken and (best < 0 or scores[e] > scores[best] or np.isnan(scores[best])):
                best = e
        room.picks[i] = best
    total = np.float32(0)
    for i in range(s.n_expert_used):
        shares[i] = ops.exp(scores[room.picks[i]] - scores[room.picks[0]])
        total += shares[i]
    for i in range(s.n_expert_used):
        shares[i] /= total


@kernel
def _copy(matrices, source, target, out):
    """A matrix once more, with another place for its output."""
    a, b = matrices[source], matrices[target]
    b.address, b.blocks, b.rows, b.columns, b.itemsize = a.address, a.blocks, a.rows, a.columns, a.itemsize
    b.n_in, b.width, b.order, b.bias, b.out = a.n_in, a.width, a.order, a.bias, out


@kernel
def _mixture(layer, board, matrices, layers, sizes, room, cache):
    """What a few experts make of `h`, into `added`; their matrices are put beside each other first."""
    s, floats = sizes[0], room.floats
    used, width = s.n_expert_used, s.n_ff_expert
    _products(layer.router, 1, s.h, board, matrices, layers, sizes, room, cache)
    _choose(s, room)
    for i in range(used):
        _copy(matrices, layer.gates + room.picks[i], s.spare + i, s.gate + i * width)
        _copy(matrices, layer.ups + room.picks[i], s.spare + used + i, s.up + i * width)
    _products(s.spare, 2 * used, s.h, board, matrices, layers, sizes, room, cache)
    gate, up = floats[s.gate : s.gate + used * width], floats[s.up : s.up + used * width]
    _gate(gate.reshape((used, width)), up.reshape((used, width)), s.activation)
    for j in range(s.n_embd):
        floats[s.summed + j] = np.float32(0)
    for i in range(used):
        _copy(matrices, layer.downs + room.picks[i], s.spare, s.added)
        _products(s.spare, 1, s.gate + i * width, board, matrices, layers, sizes, room, cache)
        for j in range(s.n_embd):
            floats[s.summed + j] += floats[s.shares + i] * floats[s.added + j]
    for j in range(s.n_embd):
        floats[s.added + j] = floats[s.summed + j]


@kernel
def _feed_forward(layer, board, matrices, layers, sizes, room, cache):
    """The second half of a layer: from `h` to `added`."""
    s, floats = sizes[0], room.floats
    if layer.router >= 0:
        _mixture(layer, board, matrices, layers, sizes, room, cache)
        return
    _products(layer.ffn, layer.n_ffn, s.h, board, matrices, layers, sizes, room, cache)
    n = s.up - s.gate
    gate, up = floats[s.gate : s.gate + n].reshape((1, n)), floats[s.up : s.up + n].reshape((1, n))
    if layer.gated:
        _gate(gate, up, s.activation)
    else:
        ops.gelu(gate)
    _products(layer.ffn_down, 1, s.gate, board, matrices, layers, sizes, room, cache)


@kernel
def _add(x, norm, s, room):
    """The residual stream with what one half of a layer made."""
    made = room.floats[s.added : s.added + s.n_embd].reshape((1, s.n_embd))
    if norm >= 0:
        _norm(made, norm, norm, s, room.vectors, made)
    for j in range(s.n_embd):
        x[0, j] += made[0, j] * s.residual_scale


@kernel
def _token(board, x, position, cos, sin, matrices, layers, sizes, room, cache):
    """The residual stream `x` (1, n_embd) of a token at `position` (1,), changed -> logits, in ``room.floats``."""
    s, floats, here = sizes[0], room.floats, position[0]
    h = floats[s.h : s.h + s.n_embd].reshape((1, s.n_embd))
    q, k = (floats[s.q : s.k].reshape((1, s.k - s.q)), floats[s.k : s.v].reshape((1, s.v - s.k)))
    for i in range(layers.size):
        layer = layers[i]
        _norm(x, layer.attn_norm, layer.attn_norm_bias, s, room.vectors, h)
        _products(layer.qkv, layer.n_qkv, s.h, board, matrices, layers, sizes, room, cache)
        if layer.q_width:
            heads, keys = q.reshape((-1, layer.q_width)), k.reshape((-1, layer.k_width))
            _norm(heads, layer.attn_q_norm, layer.attn_q_norm, s, room.vectors, heads)
            _norm(keys, layer.attn_k_norm, layer.attn_k_norm, s, room.vectors, keys)
        if layer.table >= 0:
            _turn(q, position, cos[layer.table], sin[layer.table], s)
            _turn(k, position, cos[layer.table], sin[layer.table], s)
        for j in range(s.v - s.k):
            cache[i, 0, here, j] = half_bits(floats[s.k + j])
            cache[i, 1, here, j] = half_bits(floats[s.v + j])
        board[_FIRST], board[_COUNT], board[_POSITION] = i, 0, here
        post(board, s.n_head_kv)
        _pieces(board, matrices, layers, sizes, room, cache)
        wait(board)
        _products(layer.attn_output, 1, s.mixed, board, matrices, layers, sizes, room, cache)
        _add(x, layer.post_attention_norm, s, room)
        _norm(x, layer.ffn_norm, layer.ffn_norm_bias, s, room.vectors, h)
        _feed_forward(layer, board, matrices, layers, sizes, room, cache)
        _add(x, layer.post_ffw_norm, s, room)
    _norm(x, s.output_norm, s.output_norm_bias, s, room.vectors, h)
    _products(s.output, 1, s.h, board, matrices, layers, sizes, room, cache)


def check_compiled_sizes(linear: Linear, n_in: int, n_out: int) -> None:
    """Refuse a matrix that a kernel called by address would leave its arrays for: nothing checks there.

    Parameters
    ----------
    linear : Linear
    n_in, n_out : int
        Values between which it stands.

    Raises
    ------
    LlamaError
        If its blocks are not those that the kernel was compiled for, or do not fit what is around them.
    """
    fmt, blocks = linear.weight.format, linear.blocks
    per_row = n_in // fmt.block_size
    whole = n_in % fmt.block_size == 0 and (linear.width in (0, 16) or n_in % linear.width == 0)
    stored = blocks.dtype == fmt.kernel_dtype and blocks.itemsize == fmt.type_size and blocks.flags.c_contiguous
    if not whole or not stored or (linear.n_out, linear.n_in, *blocks.shape) != (n_out, n_in, n_out, per_row):
        raise LlamaError(
            f"{linear.name} of {fmt} has blocks of shape {blocks.shape} and {blocks.itemsize} bytes for "
            f"({linear.n_out}, {linear.n_in}) weights; the pass was made for ({n_out}, {n_in}), {per_row} blocks of "
            f"{fmt.type_size} bytes a row"
        )


def _helping(*given: Any) -> None:
    _help(*given)


class TokenPass:
    """A model as `_token` takes it.

    Parameters
    ----------
    config : TransformerConfig
    architecture : Architecture
        How a layer is done.
    layers : sequence of mappings
        For each layer its matrices (`Linear`), experts (`ExpertLinears`) and norms (arrays), by the names of their
        parts.
    output_norm : mapping
        ``"output_norm"``, and ``"output_norm.bias"`` where there is one.
    output : Linear
    """

    def __init__(
        self,
        config: TransformerConfig,
        architecture: Architecture,
        layers: Sequence[Mapping[str, Any]],
        output_norm: Mapping[str, Any],
        output: Linear,
    ) -> None:
        self._config = c = config
        q, kv = c.n_head * c.head_size, c.n_head_kv * c.head_size
        inside = c.n_expert_used * c.n_ff_expert if c.n_expert else c.n_ff
        lengths = (c.n_embd, q, kv, kv, q, inside, inside, c.n_embd, c.n_expert, c.n_expert_used, c.n_embd, c.n_vocab)
        self._slots = dict(zip(_BEGINS, lengths, strict=False))
        self._begins = dict(zip(_BEGINS, np.cumsum([0, *lengths]).tolist(), strict=True))
        self._rows: list[tuple[int, ...]] = []
        self._biases, self._orders = _Joined(np.float32), list[npt.NDArray[np.int32]]()
        self._vectors, self._linears = _Joined(np.float32), list[Linear]()  # whose blocks must stay where they are
        self._layers = np.zeros(len(layers), [(field, np.int64) for field in _LAYER])
        for i, (row, parts) in enumerate(zip(self._layers, layers, strict=True)):
            self._put_layer(i, row, parts)
        self._sizes = np.zeros(
            1, [*((f, np.int64) for f in (*_SIZES, *_HOW, *_BEGINS)), *((f, np.float32) for f in _FLOATS)]
        )
        values = {name: getattr(c, name) for name in _SIZES} | self._begins
        values |= {"layered": architecture.norm == "layer", "halves": architecture.rope == "halves"}
        values["activation"] = _ACTIVATIONS[architecture.activation]
        values["output"] = self._put(output, c.n_embd, c.n_vocab, "logits")
        for name in ("output_norm", "output_norm.bias"):
            values[name.replace(".", "_")] = self._put_vector(output_norm, name, (c.n_embd,))
        values["spare"] = len(self._rows)
        values |= {"scale": c.attention_scale, "cap": c.attention_cap, "eps": c.norm_eps}
        values["residual_scale"] = c.residual_scale
        for name, value in values.items():
            self._sizes[name] = value
        spare = [(0,) * len(_MATRIX)] * (2 * c.n_expert_used if c.n_expert else 0)
        self._matrices = np.array([*self._rows, *spare], [(field, np.int64) for field in _MATRIX])
        self._widest = max(linear.n_in for linear in self._linears)
        self._order = np.zeros((len(self._orders), self._widest if self._orders else 0), np.int32)
        for into, order in zip(self._order, self._orders, strict=True):
            into[: order.size] = order
        self._enter: Any = None

    def _put_layer(self, i: int, row: Any, parts: Mapping[str, Any]) -> None:
        c, s = self._config, self._slots

        def matrices(*kinds: str) -> tuple[int, int]:
            """Where the first of a few matrices is, and how many there are; those that a layer lacks do not count."""
            first = len(self._rows)
            there = [kind for kind in kinds if kind in parts]
            for kind in there:
                start, out = _WAYS[kind]
                if kind == "ffn_up" and "ffn_gate" not in parts:
                    out = "gate"  # without a gate it is what goes through the activation
                n_out = s["q"] + 2 * s["k"] if kind == "attn_qkv" else s[out] * (2 if kind == "ffn_gate_up" else 1)
                self._put(parts[kind], s[start], n_out, out)
            return (first if there else -1), len(there)

        row["qkv"], row["n_qkv"] = matrices("attn_q", "attn_k", "attn_v", "attn_qkv")
        row["attn_output"] = matrices("attn_output")[0]
        row["ffn"], row["n_ffn"] = matrices("ffn_gate", "ffn_up", "ffn_gate_up")
        row["ffn_down"], row["router"] = matrices("ffn_down")[0], matrices("ffn_gate_inp")[0]
        row["gated"] = "ffn_gate" in parts or "ffn_gate_up" in parts
        for field, kind in (("gates", "ffn_gate_exps"), ("ups", "ffn_up_exps"), ("downs", "ffn_down_exps")):
            row[field] = len(self._rows)
            into, out = (c.n_ff_expert, c.n_embd) if field == "downs" else (c.n_embd, c.n_ff_expert)
            for linear in parts.get(kind, ()):
                self._put(linear, into, out, _WAYS[kind][1])
        for name in _VECTORS:
            row[name.replace(".", "_")] = self._put_vector(parts, name, self._widths(name))
        if "attn_q_norm" in parts:
            row["q_width"], row["k_width"] = parts["attn_q_norm"].size, parts["attn_k_norm"].size
        row["window"] = c.window if c.windowed[i] else 0
        row["table"] = -1 if not c.turned[i] else int(c.windowed[i] and c.windows_turn_apart)

    def _widths(self, name: str) -> tuple[int, ...]:
        """The lengths that a norm may have."""
        c = self._config
        heads = {"attn_q_norm": c.n_head, "attn_k_norm": c.n_head_kv}
        if name == "attn_sinks":
            return (c.n_head,)
        return (c.head_size, heads[name] * c.head_size) if name in heads else (c.n_embd,)

    def _put(self, linear: Linear, n_in: int, n_out: int, out: str) -> int:
        """Add a matrix between two vectors; return where it stands."""
        check_compiled_sizes(linear, n_in, n_out)
        rows, columns = linear.blocks.shape
        order = -1
        if linear.order is not None:
            order = len(self._orders)
            self._orders.append(linear.order)
        bias = -1 if linear.bias is None else self._biases.put(linear.bias)
        place = (linear.address(), linear.blocks.ctypes.data, rows, columns, linear.blocks.itemsize)
        self._rows.append((*place, linear.n_in, linear.width, order, self._begins[out], bias))
        self._linears.append(linear)
        return len(self._rows) - 1

    def _put_vector(self, parts: Mapping[str, Any], name: str, lengths: tuple[int, ...]) -> int:
        """Where a norm's gains begin, -1 if there are none. A LayerNorm without biases has zeros."""
        if name not in parts:
            missing = name.endswith(".bias") and name.removesuffix(".bias") in parts
            return self._vectors.put(np.zeros(lengths[0], np.float32)) if missing else -1
        length = parts[name].size if parts[name].size in lengths else lengths[0]
        check_shape(parts[name], "a norm", LlamaError, (length,))
        return self._vectors.put(parts[name])

    def _room(self, n_ctx: int) -> _Room:
        n = -(-self._widest // 256) * 256
        return _Room(
            np.empty(self._begins["end"], np.float32),
            np.empty(n, np.float32),
            np.empty((2, n), np.int8),
            np.empty((2, n // 32), np.float32),
            np.empty((2, n // 16), np.int32),
            np.empty((self._config.n_head, n_ctx), np.float32),
            self._order,
            self._biases.array,
            self._vectors.array,
            np.zeros(max(self._config.n_expert_used, 1), np.int64),
        )

    def __call__(self, x: FloatArray, cache: KVCache, cos: FloatArray, sin: FloatArray) -> FloatArray:
        """Logits of what follows one token; its keys and values are written behind those in the cache.

        Parameters
        ----------
        x : float32 array (1, n_embd)
            Its embedding, which is changed.
        cache : KVCache
            It must hold F16.
        cos, sin : float32 arrays (1 or 2, at least ``cache.length + 1``, rope_size / 2)

        Returns
        -------
        float32 array (1, n_vocab)
        """
        if cache.room is None or cache.room[0] is not self:
            assert cache.halves is not None
            # the last rows of the matrices are for the experts of the token at hand
            cache.room = self, self._room(cache.halves.shape[2]), self._matrices.copy()
        _, room, matrices = cache.room
        shared = matrices, self._layers, self._sizes, room, cache.halves
        with attended(_helping, *shared) as board:
            given = x, np.array([cache.length]), cos, sin, *shared
            if self._enter is None:
                self._enter = _token.entry(board, *given)
            self._enter(board, *given)
        logits: FloatArray = room.floats[None, self._begins["logits"] :].copy()
        return logits


class _Joined:
    """Vectors one behind the other."""

    def __init__(self, dtype: Any) -> None:
        self._parts, self._length, self._dtype = list[Any](), 0, dtype

    def put(self, vector: Any) -> int:
        """Add one; where it begins."""
        self._parts.append(vector)
        self._length += len(vector)
        return self._length - len(vector)

    @property
    def array(self) -> Any:
        """All vectors so far, one behind the other."""
        if len(self._parts) != 1:
            self._parts = [np.concatenate(self._parts) if self._parts else np.empty(0, self._dtype)]
        return self._parts[0]
