"""Gradients of a model like Llama: one batch of windows through its layers, and back."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from qviz import transformer
from qviz._types import FloatArray

Keep = Callable[[int, str, FloatArray, FloatArray, FloatArray], object]
"""What hears, for each matrix: its layer, its kind, its inputs (n_tokens, n_in), gradients of its outputs (n_tokens,
n_out), and what it makes of these: gradients of its inputs (n_tokens, n_in)."""
KINDS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_EXTRA_NORMS = {"attn_q_norm", "attn_k_norm", "post_attention_norm", "post_ffw_norm"}


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
    sigmoid: FloatArray = (1 / (1 + np.exp(-x))).astype(np.float32, copy=False)
    value: FloatArray = x * sigmoid
    slope: FloatArray = sigmoid * (1 + x * (1 - sigmoid))
    return value, slope


def _gelu(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    root, cubic = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)
    square = np.square(x)
    bent: FloatArray = np.tanh(root * x * (1 + cubic * square)).astype(np.float32, copy=False)
    slope = (1 + bent) / 2 + x / 2 * (1 - np.square(bent)) * root * (1 + 3 * cubic * square)
    value: FloatArray = (x * (1 + bent) / 2).astype(np.float32, copy=False)
    return value, slope.astype(np.float32, copy=False)


_GATES = {"silu": _silu, "gelu": _gelu}
"""What a gate goes through, and the slope there."""


class Norm:
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


class Backward:
    """One batch of windows through the layers and back.

    Parameters
    ----------
    run : qviz.transformer.Transformer
        One without `unknown_parts`.
    shape : (int, int)
        Windows, and tokens in each.
    """

    def __init__(self, run: transformer.Transformer, shape: tuple[int, ...]) -> None:
        self.run, (self.n, self.t) = run, shape
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

    def forward(self, i: int, x: FloatArray) -> FloatArray:
        """What layer `i` makes of a stream (n_tokens, n_embd)."""
        layer = self.run.layers[i]
        x2 = x + _Attention(self, i, x).out
        h = Norm(x2, layer["ffn_norm"], self.c.norm_eps).out
        bent, _ = _GATES[self.run.architecture.activation](self.times(i, "ffn_gate", h))
        down = self.times(i, "ffn_down", bent * self.times(i, "ffn_up", h))
        return x2 + Norm(down, layer.get("post_ffw_norm"), self.c.norm_eps).out

    def layer(self, i: int, x: FloatArray, dx3: FloatArray, keep: Keep) -> FloatArray:
        """Gradient of what enters layer `i`, from that of what leaves it; what its matrices hear goes to `keep`."""
        layer = self.run.layers[i]
        attention = _Attention(self, i, x)
        x2 = x + attention.out
        ffn_norm = Norm(x2, layer["ffn_norm"], self.c.norm_eps)
        dx2 = dx3 + ffn_norm.back(self._feed_forward(i, ffn_norm.out, dx3, keep))
        return dx2 + attention.back(dx2, keep)

    def _feed_forward(self, i: int, h: FloatArray, dx3: FloatArray, keep: Keep) -> FloatArray:
        """Gradient of what enters the second half, behind its first norm."""
        times = self.times
        gate, up = times(i, "ffn_gate", h), times(i, "ffn_up", h)
        bent, slope = _GATES[self.run.architecture.activation](gate)
        gains = self.run.layers[i].get("post_ffw_norm")
        down = None if gains is None else times(i, "ffn_down", bent * up)
        ddown = dx3 if down is None else Norm(down, gains, self.c.norm_eps).back(dx3)
        ds = self.back(i, "ffn_down", bent * up, ddown, keep)
        dup, dgate = ds * bent, ds * up * slope
        dh: FloatArray = self.back(i, "ffn_up", h, dup, keep) + self.back(i, "ffn_gate", h, dgate, keep)
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

    def back(self, i: int, kind: str, x: FloatArray, g: FloatArray, keep: Keep) -> FloatArray:
        """Gradient of the inputs x of a matrix, from that of its outputs."""
        dx: FloatArray = g @ self.weight(i, kind)
        keep(i, kind, x, g, dx)
        return dx


class _Attention:
    """The first half of a layer, forwards; then back."""

    def __init__(self, of: Backward, i: int, x: FloatArray) -> None:
        self._of, self._i = of, i
        c, layer, times = of.c, of.run.layers[i], of.times
        self._norm = Norm(x, layer["attn_norm"], c.norm_eps)
        h = self._norm.out
        self._q_norm = Norm(times(i, "attn_q", h), layer.get("attn_q_norm"), c.norm_eps)
        self._k_norm = Norm(times(i, "attn_k", h), layer.get("attn_k_norm"), c.norm_eps)
        self._q = of._heads(of._turn(i, self._q_norm.out))
        self._k = of._heads(of._turn(i, self._k_norm.out))
        self._v = of._heads(times(i, "attn_v", h))
        scores = (self._q @ self._k.swapaxes(-1, -2)) * np.float32(c.attention_scale)
        scores[..., of._unseen(i)] = -np.inf
        scores -= scores.max(axis=-1, keepdims=True)
        p = np.exp(scores, out=scores)
        p /= p.sum(axis=-1, keepdims=True)
        self._p = p
        self._mixed = (p @ self._v).swapaxes(1, 2).reshape(len(x), -1)
        self._post = Norm(times(i, "attn_output", self._mixed), layer.get("post_attention_norm"), c.norm_eps)
        self.out = self._post.out

    def back(self, dx2: FloatArray, keep: Keep) -> FloatArray:
        """Gradient of what entered, from that of what was added to the stream."""
        of, i, p = self._of, self._i, self._p
        c = of.c
        dmixed = of.back(i, "attn_output", self._mixed, self._post.back(dx2), keep)
        dmixed = dmixed.reshape(of.n, of.t, c.n_head, c.head_size).swapaxes(1, 2)
        dp = dmixed @ self._v.swapaxes(-1, -2)
        dscores = p * (dp - np.sum(dp * p, axis=-1, keepdims=True)) * np.float32(c.attention_scale)
        dq = self._q_norm.back(of._turn(i, of._flat(dscores @ self._k, c.n_head), back=True))
        dk = self._k_norm.back(of._turn(i, of._flat(dscores.swapaxes(-1, -2) @ self._q, c.n_head_kv), back=True))
        dv = of._flat(p.swapaxes(-1, -2) @ dmixed, c.n_head_kv)
        dh = [of.back(i, kind, self._norm.out, g, keep) for kind, g in zip(KINDS, (dq, dk, dv), strict=False)]
        return self._norm.back(dh[0] + dh[1] + dh[2])
