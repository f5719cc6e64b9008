"""How much the answers depend on what each matrix puts out: which tokens, and which outputs together.

To second order the divergence of the answers is ½·δᵀF δ, where δ is a change of the logits and F = diag(p) − p·pᵀ. A
random vector u with E[u·uᵀ] = F, sent backwards through the unquantized model, reaches the outputs of every matrix as
gradients g, and E[g·gᵀ] is what F means there. So an error e = Δw·x of an output costs ½·(g·e)² on average. Kept are,
for each matrix, the mean of g·gᵀ (how errors of outputs add up) and |g|² of each token (where they matter); together
they stand for the whole curvature as a product of one factor for outputs and one for inputs (K-FAC, arXiv:1503.05671;
for rounding: YAQA, arXiv:2505.22988, and GuidedQuant, arXiv:2505.07004).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz import transformer
from qviz._machine.blas import on_one_thread
from qviz._types import FloatArray, Progress, no_progress
from qviz.transformer.kernels import ops

KINDS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_TOKENS_AT_ONCE = 2048
_DAMP = 0.01  # of the mean on the diagonal


class Sensed(NamedTuple):
    """What is known of one matrix.

    Attributes
    ----------
    tokens : float32 array (n_windows, n_tokens)
        |g|² of each token, in parts of its mean.
    outputs : float32 array (n_out, n_out)
        Mean g·gᵀ.
    """

    tokens: FloatArray
    outputs: FloatArray


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
    """What a model has that the way back does not know; empty if it is a plain Llama."""
    c, plain = run.config, {*KINDS, "attn_norm", "ffn_norm"}
    for layer in run.layers:
        if odd := {kind for kind in set(layer) ^ plain if not kind.endswith(".bias")}:
            return ", ".join(sorted(odd))
    others = {
        "activation": run.architecture.activation != "silu",
        "norms": run.architecture.norm != "rms",
        "scales": not c.embedding_scale == c.residual_scale == c.logit_scale == 1,
        "caps": bool(c.logit_cap or c.attention_cap),
        "windows": any(c.windowed),
        "layers without positions": not all(c.turned),
    }
    return next((what for what, there in others.items() if there), "")


class _Backward:
    """One batch of windows through the layers and back."""

    def __init__(self, run: transformer.Transformer, windows: npt.NDArray[np.int64]) -> None:
        self.run, self.shape = run, windows.shape
        self.n, self.t = windows.shape
        c = run.config
        cos, sin = run._rope.tables(self.t, self.t)
        self.positions = np.tile(np.arange(self.t), self.n)
        self.cos, self.sin, self.c = cos[0], sin[0], c

    def _turn(self, x: FloatArray, back: bool = False) -> FloatArray:
        x = np.ascontiguousarray(x)
        self.run._turn(x, self.positions, self.cos, -self.sin if back else self.sin, self.c.head_size)
        return x

    def normed(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """A norm without its gains, and by what it multiplied."""
        scale = 1 / np.sqrt(np.mean(np.square(x), axis=1, keepdims=True) + np.float32(self.c.norm_eps))
        return x * scale, scale

    @staticmethod
    def norm_back(g: FloatArray, unit: FloatArray, scale: FloatArray) -> FloatArray:
        """Gradient of what entered a norm, from that of what `normed` gave."""
        back: FloatArray = scale * (g - unit * np.mean(g * unit, axis=1, keepdims=True))
        return back

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
        c, layer = self.c, self.run.layers[i]
        w = {kind: layer[kind].weight.dequantize() for kind in KINDS}

        def times(kind: str, x: FloatArray) -> FloatArray:
            out: FloatArray = x @ w[kind].T
            return out if layer[kind].bias is None else out + layer[kind].bias

        unit, scale = self.normed(x)
        h = unit * layer["attn_norm"]
        q, k = self._heads(self._turn(times("attn_q", h))), self._heads(self._turn(times("attn_k", h)))
        v = self._heads(times("attn_v", h))
        scores = (q @ k.swapaxes(-1, -2)) * np.float32(c.attention_scale)
        scores[..., ~np.tri(self.t, dtype=bool)] = -np.inf
        scores -= scores.max(axis=-1, keepdims=True)
        p = np.exp(scores, out=scores)
        p /= p.sum(axis=-1, keepdims=True)
        mixed = (p @ v).swapaxes(1, 2).reshape(len(x), -1)
        x2 = x + times("attn_output", mixed)
        unit2, scale2 = self.normed(x2)
        h2 = unit2 * layer["ffn_norm"]
        gate, up = times("ffn_gate", h2), times("ffn_up", h2)
        sigmoid = 1 / (1 + np.exp(-gate))
        # backwards
        keep(i, "ffn_down", dx3)
        ds = dx3 @ w["ffn_down"]
        dup = ds * (gate * sigmoid)
        dgate = ds * up * (sigmoid * (1 + gate * (1 - sigmoid)))
        keep(i, "ffn_up", dup)
        keep(i, "ffn_gate", dgate)
        dh2 = dup @ w["ffn_up"] + dgate @ w["ffn_gate"]
        dx2 = dx3 + self.norm_back(dh2 * layer["ffn_norm"], unit2, scale2)
        keep(i, "attn_output", dx2)
        dmixed = (dx2 @ w["attn_output"]).reshape(self.n, self.t, c.n_head, c.head_size).swapaxes(1, 2)
        dv = p.swapaxes(-1, -2) @ dmixed
        dp = dmixed @ v.swapaxes(-1, -2)
        dscores = p * (dp - np.sum(dp * p, axis=-1, keepdims=True)) * np.float32(c.attention_scale)
        dq = self._turn(self._flat(dscores @ k, c.n_head), back=True)
        dk = self._turn(self._flat(dscores.swapaxes(-1, -2) @ q, c.n_head_kv), back=True)
        dv = self._flat(dv, c.n_head_kv)
        keep(i, "attn_q", dq)
        keep(i, "attn_k", dk)
        keep(i, "attn_v", dv)
        dh = dq @ w["attn_q"] + dk @ w["attn_k"] + dv @ w["attn_v"]
        return dx2 + self.norm_back(dh * layer["attn_norm"], unit, scale)


class _Sums:
    """What `_Backward` hands over, added up."""

    def __init__(self, windows: npt.NDArray[np.int64], n_layers: int, draws: int) -> None:
        self.tokens = {(i, kind): np.zeros(windows.shape, np.float32) for i in range(n_layers) for kind in KINDS}
        self.outputs: dict[tuple[int, str], npt.NDArray[np.float64]] = {}
        self.part, self._count, self._draws = slice(0), windows.size * draws, draws

    def keep(self, i: int, kind: str, g: FloatArray) -> None:
        """Take the gradients (n_tokens, n_out) of what a matrix puts out, for the windows in `part`."""
        square = np.einsum("ij,ij->i", g, g)
        into = self.tokens[i, kind][self.part]
        into += square.reshape(into.shape) / self._draws
        products = self.outputs.setdefault((i, kind), np.zeros((g.shape[1],) * 2))
        products += g.T @ g

    def sensed(self) -> dict[tuple[int, str], Sensed]:
        """By layer and kind."""
        by_kind = {}
        for key, products in self.outputs.items():
            weights, square = self.tokens[key], (products / self._count).astype(np.float32)
            square[np.diag_indices(len(square))] += np.float32(_DAMP) * np.diagonal(square).mean()
            mean = np.float32(max(weights.mean(dtype=np.float64), 1e-30))
            by_kind[key] = Sensed(weights / mean, square)
        return by_kind


@on_one_thread
def measure(
    model: Any, windows: npt.NDArray[np.int64], *, draws: int = 1, progress: Progress = no_progress
) -> Sensitivity:
    """Send random vectors back through a model.

    Parameters
    ----------
    model : Model
        A plain Llama; see `unknown_parts`.
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
        unit, scale = batch.normed(streams.pop().reshape(-1, c.n_embd))
        h = unit * run.output_norm
        answering += h.T @ h
        p = h @ head.T
        ops.log_softmax(p)
        np.exp(p, out=p)
        frequency += p.sum(axis=0, dtype=np.float64)
        for _ in range(draws):
            u = np.sqrt(p) * rng.choice(np.array([-1, 1], np.float32), p.shape)
            u -= p * u.sum(axis=1, keepdims=True)  # now E[u·uᵀ] = diag(p) − p·pᵀ
            dx = batch.norm_back((u @ head) * run.output_norm, unit, scale)
            for i in reversed(range(c.n_layers)):
                dx = batch.layer(i, streams[i].reshape(-1, c.n_embd), dx, sums.keep)
            reading += dx.T @ dx
    sensitivity.by_kind = sums.sensed()
    sensitivity.reading = (reading / (windows.size * draws)).astype(np.float32)
    sensitivity.answering = (answering / windows.size).astype(np.float32)
    sensitivity.frequency = (frequency / windows.size).astype(np.float32)
    return sensitivity
