"""A model rounded layer by layer towards what the unquantized model does, not only towards its weights.

Two residual streams of the same calibration tokens are kept: the unquantized model's, x, and the one that the rounded
layers make, x̂. A matrix W that receives x̂ in place of x should still give what the layers after it expect, so what is
rounded is the matrix that does this best before rounding,

    W* = (W·xᵀ + rᵀ) x̂ (x̂ᵀx̂ + λ)⁻¹,

where r, for a matrix whose outputs are added to the stream, is how far the stream has drifted already (Qronos,
arXiv:2505.11695; GPTAQ, arXiv:2504.02692, without r). λ is GPTQ's damping: with few tokens W* stays near W.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import transformer
from qviz._machine.blas import of_scipy, on_one_thread
from qviz._types import FloatArray, Progress, no_progress
from qviz.calibration import ActivationStats
from qviz.formats import Format, QTensor, quantize
from qviz.methods.gptq_format import FormatRounding, accepts
from qviz.methods.recommended import damping
from qviz.transformer.linear import Linear
from qviz.whole.by_layer.source import Source
from qviz.whole.by_layer.steps import steps_of

_TOKENS_AT_ONCE = 2048
_ADDED = ("attn_output", "ffn_down")
"""Matrices whose outputs are added to the residual stream."""


@dataclass(frozen=True)
class Method:
    """How to round.

    Attributes
    ----------
    sweeps : int
        As for `qviz.methods.refine`.
    follow : bool
        Towards W*, rather than W.
    drift : bool
        With r in W*, where nothing stands between a matrix and the stream.
    by_outputs : bool
        Errors of outputs count by what they change in the answers together.
    by_tokens : bool
        So do tokens, each by itself.
    """

    sweeps: int = 3
    follow: bool = True
    drift: bool = False
    by_outputs: bool = True
    by_tokens: bool = False


class Sides:
    """The same layer in the unquantized model and in the rounded one."""

    def __init__(self, model: Any, windows: npt.NDArray[np.int64], embedding: QTensor | None) -> None:
        self.exact = transformer.Transformer(model, activations="float")
        self.ours = transformer.Transformer(model, activations="float")
        self.streams = [self.exact.embed(windows)]
        if embedding is not None:
            self.ours.embedding = embedding
        self.streams.append(self.ours.embed(windows))

    def advance(self, i: int) -> None:
        """Run layer `i` on both."""
        for run, stream in zip((self.exact, self.ours), self.streams, strict=True):
            for part in _parts(stream):
                stream[part] = run.layer(i, stream[part])

    def inputs(
        self, i: int, kind: str, drift: bool
    ) -> Iterator[tuple[slice, FloatArray, FloatArray, FloatArray | None]]:
        """For some tokens at a time: which; the inputs of a matrix on both sides; the stream's drift if asked for."""
        for part in _parts(self.streams[0]):
            (x, s), (y, t) = (
                self._seen(run, i, kind, stream[part], drift)
                for run, stream in zip((self.exact, self.ours), self.streams, strict=True)
            )
            yield part, x, y, s - t if drift else None

    def _seen(self, run: Any, i: int, kind: str, stream: FloatArray, drift: bool) -> tuple[FloatArray, FloatArray]:
        seen: dict[str, FloatArray] = {}

        def look(name: str, x: FloatArray) -> None:
            here = name.split(".")[2]
            if here == kind or (here == "attn_output" and kind == "ffn_down" and drift):
                seen[here] = np.array(x)
            if here == kind:
                raise _SeenEnoughError

        run.on_linear_input = look
        try:
            with contextlib.suppress(_SeenEnoughError):
                run.layer(i, stream)
        finally:
            run.on_linear_input = None
        before = stream.reshape(-1, stream.shape[-1])
        if kind == "ffn_down" and drift:
            before = before + run.layers[i]["attn_output"](seen["attn_output"])
        return seen[kind], before


class _SeenEnoughError(Exception):
    """The rest of the layer is not needed."""


def _parts(stream: FloatArray) -> Iterator[slice]:
    step = max(1, _TOKENS_AT_ONCE // stream.shape[1])
    return (slice(start, start + step) for start in range(0, len(stream), step))


class Sums:
    """What a matrix needs to know of its inputs on both sides."""

    def __init__(self, n_in: int, n_out: int | None) -> None:
        self.stats = ActivationStats(n_in)
        self.lost = np.zeros((n_in, n_in))  # (x − x̂)ᵀ x̂
        self.drift = None if n_out is None else np.zeros((n_out, n_in))  # rᵀ x̂

    @on_one_thread
    def update(self, x: FloatArray, y: FloatArray, r: FloatArray | None, weight: FloatArray | None) -> None:
        """Add tokens: inputs x of the unquantized model, y of the rounded one, the drift r; what each counts."""
        if weight is not None:
            root = np.sqrt(weight)[:, None]
            x, y, r = x * root, y * root, None if r is None else r * root
        self.stats.update(y)
        self.lost += (x - y).T @ y
        if self.drift is not None and r is not None:
            self.drift += r.T @ y

    @on_one_thread
    def target(self, w: FloatArray, method: Method) -> FloatArray:
        """W*."""
        if not method.follow:
            return w
        right = w.astype(np.float64) @ self.lost
        if self.drift is not None:
            right += self.drift
        H = self.stats.hessian.astype(np.float64) * (self.stats.n_tokens / 2)
        damp = damping(self.stats.n_tokens, self.stats.n_in)
        H[np.diag_indices(len(H))] += damp * np.diagonal(H).mean() + 1e-12
        lapack = of_scipy("lapack")
        factor, _ = lapack.dpotrf(H, lower=1)
        moved, _ = lapack.dpotrs(factor, right.T, lower=1)
        moved_weights: FloatArray = (w + moved.T).astype(np.float32)
        return moved_weights


def rounded_layers(
    model: Any,
    format_of: Callable[[str], Format],
    windows: npt.NDArray[np.int64],
    method: Method,
    embedding: QTensor | None = None,
    sensitivity: Any = None,
    progress: Progress = no_progress,
) -> Iterator[dict[str, QTensor]]:
    """The matrices of each layer, rounded; one layer is in memory at a time."""
    sides, source = Sides(model, windows, embedding), Source(model)
    n = sides.ours.config.n_layers
    for i in range(n):
        before = sides.ours.layers[i]
        read = source.layer(before)
        sides.exact.layers[i], sides.ours.layers[i] = read, dict(read)
        tensors: dict[str, QTensor] = {}
        steps = steps_of(read)
        for k, kinds in enumerate(steps):
            progress(f"layer {i}: {', '.join(kinds)}", i * len(steps) + k, n * len(steps))
            tensors |= _step(sides, i, kinds, format_of, method, sensitivity)
        if i + 1 < n:
            sides.advance(i)
        sides.exact.layers[i] = sides.ours.layers[i] = before
        yield tensors


def _step(
    sides: Sides, i: int, kinds: Sequence[str], format_of: Callable[[str], Format], method: Method, sensitivity: Any
) -> dict[str, QTensor]:
    here = sides.ours.layers[i]
    drift = method.drift and kinds[0] in _ADDED and not any(kind.startswith("post_") for kind in here)
    known = {kind: None if sensitivity is None else sensitivity.of(i, kind) for kind in kinds}
    # unless tokens are weighted, matrices that share their inputs share what is known of them
    apart = kinds if method.by_tokens else kinds[:1]
    sums = {kind: Sums(here[kind].n_in, here[kind].n_out if drift else None) for kind in apart}
    for part, x, y, r in sides.inputs(i, kinds[0], drift):
        for kind in apart:
            sensed = known[kind]
            weights = sensed.tokens[part].reshape(-1) if sensed is not None and method.by_tokens else None
            sums[kind].update(x, y, r, weights)
    roundings = {kind: FormatRounding(sums[kind].stats) for kind in apart}
    made = {}
    for kind in kinds:
        name, sensed, shared = f"blk.{i}.{kind}.weight", known[kind], kind if kind in apart else kinds[0]
        fmt = format_of(name)
        if fmt is here[kind].weight.format:
            made[name] = here[kind].weight
            continue
        w = here[kind].weight.dequantize()
        target = sums[shared].target(w, method)
        if fmt.is_float:
            made[name] = quantize(target, fmt)
        elif accepts(fmt):
            outputs = sensed.outputs if sensed is not None and method.by_outputs else None
            made[name] = roundings[shared].round(target, fmt, sweeps=method.sweeps, outputs=outputs)
        else:
            made[name] = quantize(target, fmt, sums[shared].stats.mean_sq)
        here[kind] = Linear(made[name], name, "float", bias=here[kind].bias)
    return made
