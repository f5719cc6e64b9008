"""How much the answers depend on what each matrix puts out: which tokens, and which outputs together.

To second order the divergence of the answers is ½·δᵀF δ, where δ is a change of the logits and F = diag(p) − p·pᵀ. A
random vector u with E[u·uᵀ] = F, sent backwards through the unquantized model, reaches the outputs of every matrix as
gradients g, and E[g·gᵀ] is what F means there. So an error e = Δw·x of an output costs ½·(g·e)² on average. Kept are,
for each matrix, the mean of g·gᵀ (how errors of outputs add up) and |g|² of each token (where they matter); together
they stand for the whole curvature as a product of one factor for outputs and one for inputs (K-FAC, arXiv:1503.05671;
for rounding: YAQA, arXiv:2505.22988, and GuidedQuant, arXiv:2505.07004).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz import transformer
from qviz._machine.blas import on_one_thread
from qviz._types import FloatArray, Progress, no_progress
from qviz.transformer.kernels import ops

KINDS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_EXTRA_NORMS = {"attn_q_norm", "attn_k_norm", "post_attention_norm", "post_ffw_norm"}
_TOKENS_AT_ONCE = 1024
_LOGITS_AT_ONCE = 1 << 23  # numbers
_TOGETHER = 512  # outputs whose errors are known together, at most: their products are what takes memory
_DAMP = 0.01  # of the mean on the diagonal


class Sensed(NamedTuple):
    """What is known of one matrix.

    Attributes
    ----------
    tokens : float32 array (n_windows, n_tokens)
        |g|² of each token, in parts of its mean.
    outputs : float32 array (groups, n, n)
        Mean g·gᵀ of each n outputs in a row; n_out = groups · n.
    """

    tokens: FloatArray
    outputs: FloatArray

    @property
    def rows(self) -> FloatArray:
        """Mean g² of each output, (n_out,)."""
        return np.diagonal(self.outputs, axis1=1, axis2=2).reshape(-1)


class Sensitivity:
    """`Sensed` of every matrix of the layers, and what the embedding and the output matrix need instead.

    Attributes
    ----------
    by_kind : dict of (int, str) to Sensed
        By layer and kind of matrix.
    reading : float32 array (n_embd, n_embd)
        Mean g·gᵀ of what is read from the embedding.
    answering : float32 array (n_embd, n_embd)
        Mean h·hᵀ of what the output matrix receives.
    frequency : float32 array (n_vocab,)
        How often each token is expected: the mean of p.
    n_tokens : int
    """

    def __init__(self, n_embd: int, n_vocab: int, n_tokens: int) -> None:
        self.by_kind: dict[tuple[int, str], Sensed] = {}
        self.reading = np.zeros((n_embd, n_embd), np.float32)
        self.answering = np.zeros((n_embd, n_embd), np.float32)
        self.frequency = np.zeros(n_vocab, np.float32)
        self.n_tokens = n_tokens

    def of(self, i: int, kind: str) -> Sensed:
        """What is known of a matrix, by its layer and kind."""
        return self.by_kind[i, kind]

    def as_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """For `numpy.savez`."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "reading": self.reading,
            "answering": self.answering,
            "frequency": self.frequency,
            "n_tokens": np.int64(self.n_tokens),  # type: ignore[dict-item]
        }
        for (i, kind), sensed in self.by_kind.items():
            arrays[f"{i}.{kind}.tokens"], arrays[f"{i}.{kind}.outputs"] = sensed
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Any, n_layers: int) -> Sensitivity:
        """What `as_arrays` gave."""
        sensitivity = cls(len(arrays["reading"]), len(arrays["frequency"]), int(arrays["n_tokens"]))
        sensitivity.reading, sensitivity.answering = arrays["reading"], arrays["answering"]
        sensitivity.frequency = arrays["frequency"]
        for i in range(n_layers):
            for kind in KINDS:
                sensitivity.by_kind[i, kind] = Sensed(arrays[f"{i}.{kind}.tokens"], arrays[f"{i}.{kind}.outputs"])
        return sensitivity


def unknown_parts(run: transformer.Transformer) -> str:
    """What a model has that the way back does not know; empty if it knows everything.

    It knows Llama, with biases, norms of queries and keys, norms behind each half of a layer, and windows.
    """
    c, plain = run.config, {*KINDS, "attn_norm", "ffn_norm"}
    for layer in run.layers:
        if odd := {kind for kind in set(layer) ^ plain if not kind.endswith(".bias")} - _EXTRA_NORMS:
            return ", ".join(sorted(odd))
    others = {
        "activation": run.architecture.activation not in _GATES,
        "norms": run.architecture.norm != "rms",
        "scales": not c.residual_scale == c.logit_scale == 1,
        "caps": bool(c.logit_cap or c.attention_cap),
        "layers without positions": not all(c.turned),
    }
    return next((what for what, there in others.items() if there), "")


def _silu(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    sigmoid: FloatArray = 1 / (1 + np.exp(-x))
    value: FloatArray = x * sigmoid
    slope: FloatArray = sigmoid * (1 + x * (1 - sigmoid))
    return value, slope


def _gelu(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    root, cubic = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)
    square = np.square(x)
    bent: FloatArray = np.tanh(root * x * (1 + cubic * square))
    slope: FloatArray = (1 + bent) / 2 + x / 2 * (1 - np.square(bent)) * root * (1 + 3 * cubic * square)
    value: FloatArray = x * (1 + bent) / 2
    return value, slope


_GATES = {"silu": _silu, "gelu": _gelu}
"""What a gate goes through, and the slope there."""


class _Norm:
    """A norm of rows, or of heads; or none, where the gains are None."""

    def __init__(self, x: FloatArray, gains: FloatArray | None, eps: float) -> None:
        self.gains, self.out = gains, x
        if gains is not None:
            rows = x.reshape(-1, gains.size)
            self.scale = 1 / np.sqrt(np.mean(np.square(rows), axis=1, keepdims=True) + np.float32(eps))
            self.unit = rows * self.scale
            self.out = (self.unit * gains).reshape(x.shape)

    def back(self, g: FloatArray) -> FloatArray:
        """Gradient of what entered, from that of what came out."""
        if self.gains is None:
            return g
        rows = g.reshape(self.unit.shape) * self.gains
        back: FloatArray = self.scale * (rows - self.unit * np.mean(rows * self.unit, axis=1, keepdims=True))
        return back.reshape(g.shape)


class _Backward:
    """One batch of windows through the layers and back."""

    def __init__(self, run: transformer.Transformer, windows: npt.NDArray[np.int64]) -> None:
        self.run, self.shape = run, windows.shape
        self.n, self.t = windows.shape
        c = run.config
        self.cos, self.sin = run._rope.tables(self.t, self.t)
        self.positions = np.tile(np.arange(self.t), self.n)
        self.c = c

    def _turn(self, i: int, x: FloatArray, back: bool = False) -> FloatArray:
        x = np.ascontiguousarray(x)
        table = len(self.cos) - 1 if self.c.windowed[i] else 0
        sin = self.sin[table]
        self.run._turn(x, self.positions, self.cos[table], -sin if back else sin, self.c.head_size)
        return x

    def _unseen(self, i: int) -> npt.NDArray[np.bool_]:
        """Which keys (columns) a query (row) does not see."""
        seen = np.tri(self.t, dtype=bool)
        return ~(seen & ~np.tri(self.t, k=-self.c.window, dtype=bool)) if self.c.windowed[i] else ~seen

    def _heads(self, x: FloatArray) -> FloatArray:
        heads = x.reshape(self.n, self.t, -1, self.c.head_size).swapaxes(1, 2)
        shared = self.c.n_head // heads.shape[1]
        repeated: FloatArray = np.repeat(heads, shared, axis=1) if shared > 1 else heads
        return repeated

    def _flat(self, heads: FloatArray, n_heads: int) -> FloatArray:
        """Gradients of heads; those that share a key or value add up."""
        shared = heads.reshape(self.n, n_heads, -1, self.t, self.c.head_size).sum(axis=2)
        flat: FloatArray = shared.swapaxes(1, 2).reshape(self.n * self.t, -1)
        return flat

    def layer(self, i: int, x: FloatArray, dx3: FloatArray, keep: Callable[[int, str, FloatArray], None]) -> FloatArray:
        """Gradient of what enters layer `i`, from that of what leaves it."""
        layer = self.run.layers[i]
        attention = _Attention(self, i, x)
        x2 = x + attention.out
        ffn_norm = _Norm(x2, layer["ffn_norm"], self.c.norm_eps)
        dx2 = dx3 + ffn_norm.back(self._feed_forward(i, ffn_norm.out, dx3, keep))
        return dx2 + attention.back(dx2, keep)

    def _feed_forward(
        self, i: int, h: FloatArray, dx3: FloatArray, keep: Callable[[int, str, FloatArray], None]
    ) -> FloatArray:
        """Gradient of what enters the second half, behind its first norm."""
        weight, times = self.weight, self.times
        gate, up = times(i, "ffn_gate", h), times(i, "ffn_up", h)
        bent, slope = _GATES[self.run.architecture.activation](gate)
        gains = self.run.layers[i].get("post_ffw_norm")
        down = None if gains is None else times(i, "ffn_down", bent * up)
        ddown = dx3 if down is None else _Norm(down, gains, self.c.norm_eps).back(dx3)
        keep(i, "ffn_down", ddown)
        ds: FloatArray = ddown @ weight(i, "ffn_down")
        dup: FloatArray = ds * bent
        dgate: FloatArray = ds * up * slope
        keep(i, "ffn_up", dup)
        keep(i, "ffn_gate", dgate)
        dh: FloatArray = dup @ weight(i, "ffn_up") + dgate @ weight(i, "ffn_gate")
        return dh

    def weight(self, i: int, kind: str) -> FloatArray:
        """A matrix of layer `i`."""
        decoded: FloatArray = self.run.layers[i][kind].weight.dequantize()
        return decoded

    def times(self, i: int, kind: str, x: FloatArray) -> FloatArray:
        """What a matrix puts out."""
        bias = self.run.layers[i][kind].bias
        out: FloatArray = x @ self.weight(i, kind).T
        return out if bias is None else out + bias


class _Attention:
    """The first half of a layer, forwards; then back."""

    def __init__(self, of: _Backward, i: int, x: FloatArray) -> None:
        self._of, self._i = of, i
        c, layer, times = of.c, of.run.layers[i], of.times
        self._norm = _Norm(x, layer["attn_norm"], c.norm_eps)
        h = self._norm.out
        self._q_norm = _Norm(times(i, "attn_q", h), layer.get("attn_q_norm"), c.norm_eps)
        self._k_norm = _Norm(times(i, "attn_k", h), layer.get("attn_k_norm"), c.norm_eps)
        self._q = of._heads(of._turn(i, self._q_norm.out))
        self._k = of._heads(of._turn(i, self._k_norm.out))
        self._v = of._heads(times(i, "attn_v", h))
        scores = (self._q @ self._k.swapaxes(-1, -2)) * np.float32(c.attention_scale)
        scores[..., of._unseen(i)] = -np.inf
        scores -= scores.max(axis=-1, keepdims=True)
        p = np.exp(scores, out=scores)
        p /= p.sum(axis=-1, keepdims=True)
        self._p = p
        mixed = (p @ self._v).swapaxes(1, 2).reshape(len(x), -1)
        self._post = _Norm(times(i, "attn_output", mixed), layer.get("post_attention_norm"), c.norm_eps)
        self.out = self._post.out

    def back(self, dx2: FloatArray, keep: Callable[[int, str, FloatArray], None]) -> FloatArray:
        """Gradient of what entered, from that of what was added to the stream."""
        of, i, p = self._of, self._i, self._p
        c, weight = of.c, of.weight
        dout = self._post.back(dx2)
        keep(i, "attn_output", dout)
        dmixed = (dout @ weight(i, "attn_output")).reshape(of.n, of.t, c.n_head, c.head_size).swapaxes(1, 2)
        dv = of._flat(p.swapaxes(-1, -2) @ dmixed, c.n_head_kv)
        dp = dmixed @ self._v.swapaxes(-1, -2)
        dscores = p * (dp - np.sum(dp * p, axis=-1, keepdims=True)) * np.float32(c.attention_scale)
        dq = self._q_norm.back(of._turn(i, of._flat(dscores @ self._k, c.n_head), back=True))
        dk = self._k_norm.back(of._turn(i, of._flat(dscores.swapaxes(-1, -2) @ self._q, c.n_head_kv), back=True))
        keep(i, "attn_q", dq)
        keep(i, "attn_k", dk)
        keep(i, "attn_v", dv)
        return self._norm.back(dq @ weight(i, "attn_q") + dk @ weight(i, "attn_k") + dv @ weight(i, "attn_v"))


class _Sums:
    """What `_Backward` hands over, added up."""

    def __init__(self, windows: npt.NDArray[np.int64], n_layers: int, draws: int) -> None:
        self.tokens = {(i, kind): np.zeros(windows.shape, np.float32) for i in range(n_layers) for kind in KINDS}
        self.outputs: dict[tuple[int, str], FloatArray] = {}
        self.part, self._count, self._draws = slice(0), windows.size * draws, draws

    def keep(self, i: int, kind: str, g: FloatArray) -> None:
        """Take the gradients (n_tokens, n_out) of what a matrix puts out, for the windows in `part`."""
        square = np.einsum("ij,ij->i", g, g)
        into = self.tokens[i, kind][self.part]
        into += square.reshape(into.shape) / self._draws
        n = g.shape[1] // _groups(g.shape[1])
        products = self.outputs.setdefault((i, kind), np.zeros((g.shape[1] // n, n, n), np.float32))
        for k, into in enumerate(products):
            part = np.ascontiguousarray(g[:, k * n : (k + 1) * n])
            into += part.T @ part

    def sensed(self) -> dict[tuple[int, str], Sensed]:
        """By layer and kind; what was added up is used up."""
        by_kind = {}
        for key in list(self.outputs):
            weights, square = self.tokens.pop(key), self.outputs.pop(key)
            square /= np.float32(self._count)
            diagonal = np.diagonal(square, axis1=1, axis2=2)
            added = np.float32(_DAMP * diagonal.mean(dtype=np.float64))
            for part in square:
                part[np.diag_indices(len(part))] += added
            mean = np.float32(max(weights.mean(dtype=np.float64), 1e-30))
            by_kind[key] = Sensed(weights / mean, square)
        return by_kind


def _groups(n_out: int) -> int:
    """In how many groups outputs are known together: equal ones, of `_TOGETHER` at most."""
    groups = -(-n_out // _TOGETHER)
    while n_out % groups:
        groups += 1
    return groups


@on_one_thread
def measure(
    model: Any, windows: npt.NDArray[np.int64], *, draws: int = 1, progress: Progress = no_progress
) -> Sensitivity:
    """Send random vectors back through a model.

    Parameters
    ----------
    model : Model
        One without `unknown_parts`.
    windows : int64 array (n_windows, n_tokens)
    draws : int
        Random vectors for each token.
    progress : callable ``(what, done, total)``

    Returns
    -------
    Sensitivity
    """
    run = transformer.Transformer(model, activations="float")
    rng, c, head = np.random.default_rng(0), run.config, run.output.weight.dequantize()
    sensitivity, sums = Sensitivity(c.n_embd, c.n_vocab, windows.size), _Sums(windows, c.n_layers, draws)
    reading, answering = np.zeros((c.n_embd, c.n_embd)), np.zeros((c.n_embd, c.n_embd))
    frequency = np.zeros(c.n_vocab)
    step = max(1, _TOKENS_AT_ONCE // windows.shape[1])
    for first in range(0, len(windows), step):
        progress("how much the answers depend on each matrix", first, len(windows))
        sums.part = slice(first, first + step)
        batch = _Backward(run, windows[sums.part])
        streams = [run.embed(windows[sums.part])]
        for i in range(c.n_layers):
            streams.append(run.layer(i, streams[-1]))
        norm = _Norm(streams.pop().reshape(-1, c.n_embd), run.output_norm, c.norm_eps)
        answering += norm.out.T @ norm.out
        for draw in range(draws):
            du, expected = _drawn(norm.out, head, rng)
            if draw == 0:
                frequency += expected
            dx = norm.back(du)
            for i in reversed(range(c.n_layers)):
                dx = batch.layer(i, streams[i].reshape(-1, c.n_embd), dx, sums.keep)
            reading += dx.T @ dx
    sensitivity.by_kind = sums.sensed()
    sensitivity.reading = (c.embedding_scale**2 * reading / (windows.size * draws)).astype(np.float32)
    sensitivity.answering = (answering / windows.size).astype(np.float32)
    sensitivity.frequency = (frequency / windows.size).astype(np.float32)
    return sensitivity


def _drawn(h: FloatArray, head: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, npt.NDArray[np.float64]]:
    """Gradients (n_tokens, n_embd) of one draw of u where the output matrix is met, and Σ p."""
    out, expected = np.empty_like(h), np.zeros(len(head))
    step = max(1, _LOGITS_AT_ONCE // len(head))
    for first in range(0, len(h), step):
        p = h[first : first + step] @ head.T
        ops.log_softmax(p)
        np.exp(p, out=p)
        expected += p.sum(axis=0, dtype=np.float64)
        bits = np.frombuffer(rng.bytes(-(-p.size // 8)), np.uint8)
        u = np.unpackbits(bits, count=p.size).reshape(p.shape).astype(np.float32)
        u *= 2
        u -= 1
        u *= np.sqrt(p)
        p *= u.sum(axis=1, keepdims=True)
        u -= p  # now E[u·uᵀ] = diag(p) − p·pᵀ
        out[first : first + step] = u @ head
    return out, expected
