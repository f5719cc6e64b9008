"""How much the answers depend on what each matrix puts out: which tokens, and which outputs together.

To second order the divergence of the answers is ½·δᵀF δ, where δ is a change of the logits and F = diag(p) − p·pᵀ. A
random vector u with E[u·uᵀ] = F, sent backwards through the unquantized model, reaches the outputs of every matrix as
gradients g, and E[g·gᵀ] is what F means there. So an error e = Δw·x of an output costs ½·(g·e)² on average. Kept are,
for each matrix, the mean of g·gᵀ (how errors of outputs add up) and |g|² of each token (where they matter); together
they stand for the whole curvature as a product of one factor for outputs and one for inputs (K-FAC, arXiv:1503.05671;
for rounding: YAQA, arXiv:2505.22988, and GuidedQuant, arXiv:2505.07004).

Where activations meet quantized weights on a processor, they are rounded, too: to int8 with a scale for each 32, or for
each 256 before super-blocks. What that costs is measured by the same gradients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz import transformer
from qviz._machine.blas import on_one_thread
from qviz._machine.team import do_all
from qviz._types import FloatArray, Progress, no_progress
from qviz.transformer.kernels import ops
from qviz.transformer.linear import Activations
from qviz.whole.backward import KINDS, Backward, Norm

INPUT_WIDTHS = 32, 256
_TOKENS_AT_ONCE = 1024
_LOGITS_AT_ONCE = 1 << 22  # numbers, for each core
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
    inputs : float64 array (2,)
        Divergence where inputs are rounded to int8, with a scale for each of `INPUT_WIDTHS`.
    """

    tokens: FloatArray
    outputs: FloatArray
    inputs: npt.NDArray[np.float64]

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
    answer_inputs : float64 array (2,)
        As `Sensed.inputs`, of the output matrix.
    n_tokens : int
    """

    def __init__(self, n_embd: int, n_vocab: int, n_tokens: int) -> None:
        self.by_kind: dict[tuple[int, str], Sensed] = {}
        self.reading = np.zeros((n_embd, n_embd), np.float32)
        self.answering = np.zeros((n_embd, n_embd), np.float32)
        self.frequency = np.zeros(n_vocab, np.float32)
        self.answer_inputs = np.zeros(len(INPUT_WIDTHS))
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
            "answer_inputs": self.answer_inputs,
            "n_tokens": np.int64(self.n_tokens),  # type: ignore[dict-item]
        }
        for (i, kind), sensed in self.by_kind.items():
            arrays |= {f"{i}.{kind}.{part}": array for part, array in sensed._asdict().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Any, n_layers: int) -> Sensitivity:
        """What `as_arrays` gave."""
        sensitivity = cls(len(arrays["reading"]), len(arrays["frequency"]), int(arrays["n_tokens"]))
        sensitivity.reading, sensitivity.answering = arrays["reading"], arrays["answering"]
        sensitivity.frequency, sensitivity.answer_inputs = arrays["frequency"], arrays["answer_inputs"]
        for i in range(n_layers):
            for kind in KINDS:
                sensitivity.by_kind[i, kind] = Sensed(*(arrays[f"{i}.{kind}.{part}"] for part in Sensed._fields))
        return sensitivity


class _Sums:
    """What `Backward` hands over, added up."""

    def __init__(self, windows: npt.NDArray[np.int64], n_layers: int, draws: int) -> None:
        self.tokens = {(i, kind): np.zeros(windows.shape, np.float32) for i in range(n_layers) for kind in KINDS}
        self.outputs: dict[tuple[int, str], FloatArray] = {}
        self.inputs = {key: np.zeros(len(INPUT_WIDTHS)) for key in self.tokens}
        self.part, self._count, self._draws = slice(0), windows.size * draws, draws

    def add(self, i: int, kind: str, x: FloatArray, g: FloatArray, back: FloatArray) -> list[Callable[[], None]]:
        """Tasks that add what `Backward` says of a matrix, for the windows in `part`."""
        n = g.shape[1] // _groups(g.shape[1])
        products = self.outputs.setdefault((i, kind), np.zeros((g.shape[1] // n, n, n), np.float32))

        def of_tokens() -> None:
            self.inputs[i, kind] += rounding_costs(x, back) / self._count
            square = np.einsum("ij,ij->i", g, g)
            into = self.tokens[i, kind][self.part]
            into += square.reshape(into.shape) / self._draws

        def of_outputs(k: int) -> None:
            part = np.ascontiguousarray(g[:, k * n : (k + 1) * n])
            products[k] += part.T @ part

        return [of_tokens, *(functools.partial(of_outputs, k) for k in range(len(products)))]

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
            by_kind[key] = Sensed(weights / mean, square, self.inputs.pop(key))
        return by_kind


def rounding_costs(x: FloatArray, gradients: FloatArray) -> npt.NDArray[np.float64]:
    """Σ over tokens of ½·(g·δ)², where δ is what rounding to int8 does to inputs, for each of `INPUT_WIDTHS`."""
    found, activations = np.zeros(len(INPUT_WIDTHS)), Activations(np.ascontiguousarray(x))
    for k, width in enumerate(INPUT_WIDTHS):
        if x.shape[1] % width == 0:
            moved = np.einsum("ti,ti->t", activations.rounded(width) - x, gradients, dtype=np.float64)
            found[k] = 0.5 * float(moved @ moved)
    return found


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
    frequency, way = np.zeros(c.n_vocab), Backward(run, (1, windows.shape[1]))
    step = max(1, _TOKENS_AT_ONCE // windows.shape[1])
    for first in range(0, len(windows), step):
        progress("how much the answers depend on each matrix", first, len(windows))
        sums.part = slice(first, first + step)
        streams = [run.embed(windows[sums.part])]
        for i in range(c.n_layers):
            streams.append(run.layer(i, streams[-1]))
        norm = Norm(streams.pop().reshape(-1, c.n_embd), run.output_norm, c.norm_eps)
        answering += norm.out.T @ norm.out
        for draw in range(draws):
            du, expected = _drawn(norm.out, head, rng)
            if draw == 0:
                frequency += expected
            sensitivity.answer_inputs += rounding_costs(norm.out, du) / (windows.size * draws)
            dx = norm.back(du)
            for i in reversed(range(c.n_layers)):
                dx = _back(way, i, streams[i], dx.reshape(streams[i].shape), sums)
            reading += dx.T @ dx
    sensitivity.by_kind = sums.sensed()
    sensitivity.reading = (c.embedding_scale**2 * reading / (windows.size * draws)).astype(np.float32)
    sensitivity.answering = (answering / windows.size).astype(np.float32)
    sensitivity.frequency = (frequency / windows.size).astype(np.float32)
    return sensitivity


def _back(way: Backward, i: int, x: FloatArray, dx: FloatArray, sums: _Sums) -> FloatArray:
    """Gradients (n_tokens, n_embd) of what enters a layer, for windows x and gradients (n_windows, n_tokens, n_embd).

    Each window goes back by itself, on whichever core is free; what they say of a matrix is added up together.
    """
    out = np.empty_like(x)
    kept: list[dict[str, tuple[FloatArray, ...]]] = [{} for _ in x]

    def window(w: int) -> None:
        def keep(_i: int, kind: str, *said: FloatArray) -> None:
            kept[w][kind] = said

        out[w] = way.layer(i, x[w], dx[w], keep)

    do_all(functools.partial(window, w) for w in range(len(x)))
    tasks: list[Callable[[], None]] = []
    for kind in KINDS:
        x_all, g_all, back = (np.concatenate(parts) for parts in zip(*(here[kind] for here in kept), strict=True))
        tasks += sums.add(i, kind, x_all, g_all, back)
    do_all(tasks)
    return out.reshape(-1, out.shape[-1])


def _drawn(h: FloatArray, head: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, npt.NDArray[np.float64]]:
    """Gradients (n_tokens, n_embd) of one draw of u where the output matrix is met, and Σ p."""
    step = max(1, _LOGITS_AT_ONCE // len(head))
    starts = range(0, len(h), step)
    bits = [rng.bytes(-(-len(h[first : first + step]) * len(head) // 8)) for first in starts]
    out, expected = np.empty_like(h), np.zeros((len(starts), len(head)))

    def some(k: int) -> None:
        part = slice(starts[k], starts[k] + step)
        p = h[part] @ head.T
        ops.log_softmax(p)
        np.exp(p, out=p)
        p.sum(axis=0, dtype=np.float64, out=expected[k])
        u = np.unpackbits(np.frombuffer(bits[k], np.uint8), count=p.size).reshape(p.shape).astype(np.float32)
        u *= 2
        u -= 1
        u *= np.sqrt(p)
        p *= u.sum(axis=1, keepdims=True)
        u -= p  # now E[u·uᵀ] = diag(p) − p·pᵀ
        out[part] = u @ head

    do_all(functools.partial(some, k) for k in range(len(starts)))
    return out, expected.sum(axis=0)
