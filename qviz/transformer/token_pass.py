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
from qviz.errors import LlamaError
from qviz.transformer.config import LlamaConfig
from qviz.transformer.kernels import ops
from qviz.transformer.kernels.rounding import quantize_activations, round_to_half
from qviz.transformer.linear import Linear

if TYPE_CHECKING:
    from qviz.transformer.cache import KVCache

# how a kernel sees a matrix: the kernel that multiplies it, its blocks, how its input is rounded, where its output
# goes, and where its bias begins, or -1
_MATRIX = ("address", "blocks", "rows", "columns", "itemsize", "n_in", "width", "ordered", "out", "bias")
# how it sees a model: its sizes, and where each vector begins in `_Room.floats`
_SIZES = ("n_embd", "n_ff", "n_head", "n_head_kv", "head_size")
_BEGINS = ("h", "q", "k", "v", "mixed", "gate", "up", "added", "logits", "end")
_PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_OUTPUTS = ("q", "k", "v", "added", "gate", "up", "added")
_INPUTS = ("h", "h", "h", "mixed", "h", "h", "gate")

# words of a job: matrices from `_FIRST` on, `_COUNT` of them, times what begins at `_FROM`; none of them: attention
_FIRST, _COUNT, _FROM, _POSITION = JOB, JOB + 1, JOB + 2, JOB + 3

_PIECE = 1 << 15  # weights in one piece: some microseconds, a hundred times what taking it costs
_MOST_PIECES = 16


class _Room(NamedTuple):
    """What one token needs to be worked on; `orders` (n_matrices, n_in) and `biases` are the model's."""

    floats: FloatArray
    rounded: FloatArray
    codes: npt.NDArray[np.int8]
    scales: FloatArray
    sums: npt.NDArray[np.int32]
    scores: FloatArray
    orders: npt.NDArray[np.int32]
    biases: FloatArray


@kernel
def _multiply(share, shares, first, count, start, matrices, room):
    """One of `shares` parts of each of a few matrices."""
    floats, rounded, codes, scales, sums, _, _, biases = room
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
            x = rounded[:n] if m.width == 16 or m.ordered else floats[start : start + n]
            native.multiply(m.address, blocks, b - a, m.columns, m.itemsize, (x,), out)
        if m.bias >= 0:
            for j in range(b - a):
                out[j] += biases[m.bias + a + j]


@kernel
def _attend(group, position, sizes, room, keys, values):
    """The query heads that share one key head."""
    s, floats, scores = sizes[0], room[0], room[5]
    share = s.n_head // s.n_head_kv
    n = share * s.head_size
    ops.attend(
        floats[s.q + group * n : s.q + group * n + n].reshape((share, s.head_size)),
        keys[: position + 1],
        values[: position + 1],
        group * s.head_size,
        s.scale,
        scores[group * share : group * share + share],
        floats[s.mixed + group * n : s.mixed + group * n + n].reshape((share, s.head_size)),
    )


@kernel
def _pieces(board, matrices, sizes, room, cache):
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
            _attend(piece, board[_POSITION], sizes, room, cache[first, 0], cache[first, 1])
        finish(board)
        done += 1


@kernel
def _help(board, matrices, sizes, room, cache):
    """What another core does while tokens are made."""
    idle = 0
    while patient(board, idle):
        idle = 0 if _pieces(board, matrices, sizes, room, cache) else idle + 1


@kernel
def _round(first, count, start, matrices, room):
    """The activations that begin at `start`, as each of a few matrices needs them."""
    floats, rounded, codes, scales, sums, _, orders, _ = room
    n, seen = matrices[first].n_in, 0
    x = floats[start : start + n]
    if matrices[first].ordered:
        x = rounded[:n]
        for j in range(n):
            x[j] = floats[start + orders[first, j]]
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
def _products(first, count, start, board, matrices, sizes, room, cache):
    """Matrices `first` to ``first + count`` times the same activations, which begin at `start` in ``room.floats``."""
    weights, at_once = 0, count
    for i in range(first, first + count):
        weights += matrices[i].rows * matrices[i].n_in
        if matrices[i].ordered:  # each has an order of its own
            at_once = 1
    for i in range(first, first + count, at_once):
        _round(i, at_once, start, matrices, room)
        board[_FIRST], board[_COUNT], board[_FROM] = i, at_once, start
        post(board, max(1, min(weights * at_once // count // _PIECE, _MOST_PIECES)))
        _pieces(board, matrices, sizes, room, cache)
        wait(board)


@kernel
def _token(board, x, position, eps, cos, sin, gains, matrices, sizes, room, cache):
    """The residual stream `x` (1, n_embd) of a token at `position` (1,), changed -> logits, in ``room.floats``."""
    s, floats, here = sizes[0], room[0], position[0]
    h = floats[s.h : s.h + s.n_embd].reshape((1, s.n_embd))
    q, k = (floats[s.q : s.k].reshape((1, s.k - s.q)), floats[s.k : s.v].reshape((1, s.v - s.k)))
    gate, up = floats[s.gate : s.up].reshape((1, s.n_ff)), floats[s.up : s.up + s.n_ff].reshape((1, s.n_ff))
    layers = (gains.shape[0] - 1) // 2
    for layer in range(layers):
        first = 7 * layer
        ops.rms_norm(x, gains[2 * layer], eps, h)
        _products(first, 3, s.h, board, matrices, sizes, room, cache)
        ops.rotate(q, position, cos, sin, s.head_size)
        ops.rotate(k, position, cos, sin, s.head_size)
        for j in range(s.v - s.k):
            cache[layer, 0, here, j] = half_bits(floats[s.k + j])
            cache[layer, 1, here, j] = half_bits(floats[s.v + j])
        board[_FIRST], board[_COUNT], board[_POSITION] = layer, 0, here
        post(board, s.n_head_kv)
        _pieces(board, matrices, sizes, room, cache)
        wait(board)
        _products(first + 3, 1, s.mixed, board, matrices, sizes, room, cache)
        for j in range(s.n_embd):
            x[0, j] += floats[s.added + j]
        ops.rms_norm(x, gains[2 * layer + 1], eps, h)
        _products(first + 4, 2, s.h, board, matrices, sizes, room, cache)
        ops.swiglu(gate, up)
        _products(first + 6, 1, s.gate, board, matrices, sizes, room, cache)
        for j in range(s.n_embd):
            x[0, j] += floats[s.added + j]
    ops.rms_norm(x, gains[2 * layers], eps, h)
    _products(7 * layers, 1, s.h, board, matrices, sizes, room, cache)


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
    config : LlamaConfig
    layers : sequence of mappings
        Of each layer its matrices (`Linear`) and norms (arrays), by the names of their parts.
    output_norm : float32 array (n_embd,)
    output : Linear
    """

    def __init__(
        self, config: LlamaConfig, layers: Sequence[Mapping[str, Any]], output_norm: FloatArray, output: Linear
    ) -> None:
        c = config
        q, kv = c.n_head * c.head_size, c.n_head_kv * c.head_size
        lengths = (c.n_embd, q, kv, kv, q, c.n_ff, c.n_ff, c.n_embd, c.n_vocab)
        self._sizes = np.zeros(1, [*((field, np.int64) for field in (*_SIZES, *_BEGINS)), ("scale", np.float32)])
        self._sizes["scale"] = c.attention_scale
        for field in _SIZES:
            self._sizes[field] = getattr(c, field)
        for field, begin in zip(_BEGINS, np.cumsum([0, *lengths]), strict=True):
            self._sizes[field] = begin
        slots = dict(zip(_BEGINS, lengths, strict=False))
        ways = list(zip(_PARTS, _INPUTS, _OUTPUTS, strict=True))
        linears = [(layer[part], slots[start], out) for layer in layers for part, start, out in ways]
        linears.append((output, c.n_embd, "logits"))
        self._matrices = np.zeros(len(linears), [(field, np.int64) for field in _MATRIX])
        biases: list[FloatArray] = []
        for row, (linear, n_in, out) in zip(self._matrices, linears, strict=True):
            check_compiled_sizes(linear, n_in, slots[out])
            blocks = linear.blocks
            rows, columns = blocks.shape
            begin, bias = self._sizes[out][0], -1
            if linear.bias is not None:
                bias = sum(map(len, biases))
                biases.append(linear.bias)
            place = (linear.address(), blocks.ctypes.data, rows, columns, blocks.itemsize)
            values = (*place, linear.n_in, linear.width, linear.order is not None, begin, bias)
            for field, value in zip(_MATRIX, values, strict=True):
                row[field] = value
        self._biases = np.concatenate(biases) if biases else np.empty(0, np.float32)
        self._widest = max(linear.n_in for linear, *_ in linears)
        ordered = [(i, linear.order) for i, (linear, *_) in enumerate(linears) if linear.order is not None]
        self._orders = np.zeros((len(linears), self._widest) if ordered else (0, 0), np.int32)
        for i, order in ordered:
            self._orders[i, : order.size] = order
        norms = [layer[part] for layer in layers for part in ("attn_norm", "ffn_norm")]
        for gain in (*norms, output_norm):
            check_shape(gain, "a norm", LlamaError, (c.n_embd,))
        self._gains = np.stack([*norms, output_norm])
        self._config, self._linears = c, linears  # whose blocks must stay where they are
        self._enter: Any = None

    def _room(self, n_ctx: int) -> _Room:
        n = -(-self._widest // 256) * 256
        return _Room(
            np.empty(self._sizes["end"][0], np.float32),
            np.empty(n, np.float32),
            np.empty((2, n), np.int8),
            np.empty((2, n // 32), np.float32),
            np.empty((2, n // 16), np.int32),
            np.empty((self._config.n_head, n_ctx), np.float32),
            self._orders,
            self._biases,
        )

    def __call__(self, x: FloatArray, cache: KVCache, cos: FloatArray, sin: FloatArray) -> FloatArray:
        """Logits of what follows one token; its keys and values are written behind those in the cache.

        Parameters
        ----------
        x : float32 array (1, n_embd)
            Its embedding, which is changed.
        cache : KVCache
            Of F16.
        cos, sin : float32 arrays (at least ``cache.length + 1``, rope_size / 2)

        Returns
        -------
        float32 array (1, n_vocab)
        """
        if cache.room is None or cache.room[0] is not self:
            assert cache.halves is not None
            cache.room = self, self._room(cache.halves.shape[2])
        room = cache.room[1]
        shared = self._matrices, self._sizes, room, cache.halves
        with attended(_helping, *shared) as board:
            given = x, np.array([cache.length]), np.float32(self._config.norm_eps), cos, sin, self._gains, *shared
            if self._enter is None:
                self._enter = _token.entry(board, *given)
            self._enter(board, *given)
        logits: FloatArray = room.floats[None, self._sizes["logits"][0] :].copy()
        return logits
