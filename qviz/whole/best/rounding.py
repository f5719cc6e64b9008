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
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import transformer
from qviz._arrays import flag, whole_number
from qviz._machine.blas import of_scipy, on_one_thread
from qviz._machine.team import cores, do_all
from qviz._types import FloatArray, Progress, no_progress
from qviz.calibration import ActivationStats
from qviz.errors import PipelineError
from qviz.formats import Format, QTensor, quantize
from qviz.methods.gptq_format import FormatRounding, accepts
from qviz.methods.recommended import damping
from qviz.transformer.linear import Linear
from qviz.whole.by_layer.source import Source
from qviz.whole.by_layer.steps import steps_of

_TOKENS_AT_ONCE = 2048
_RECEIVED_BYTES = 1 << 28  # of inputs that are kept rather than worked out twice
_ADDED = ("attn_output", "ffn_down")
"""Matrices whose outputs are added to the residual stream."""


@dataclass(frozen=True)
class Method:
    """How to round.

    Attributes
    ----------
    sweeps : int
        As for `qviz.methods.gptq_format`.
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

    def __post_init__(self) -> None:
        """Refuse what is no such part."""
        whole_number(self.sweeps, "sweeps", PipelineError, least=0, most=1_000_000)
        for name in ("follow", "drift", "by_outputs", "by_tokens"):
            flag(getattr(self, name), name, PipelineError)


class Sides:
    """The same layer in the unquantized model and in the rounded one."""

    def __init__(self, model: Any, windows: npt.NDArray[np.int64], embedding: QTensor | None) -> None:
        self.exact = transformer.Transformer(model, activations="float")
        self.ours = transformer.Transformer(model, activations="float")
        self.streams = [self.exact.embed(windows)]
        if embedding is not None:
            self.ours.embedding = embedding
        self.streams.append(self.ours.embed(windows))
        self._ahead = False  # the exact side has been through the half that the other is in
        self._received: list[FloatArray] = []  # what its last matrix receives there, unless that is too much to keep

    def inputs(
        self, i: int, kind: str, drift: bool
    ) -> Iterator[tuple[slice, FloatArray, FloatArray, FloatArray | None]]:
        """For some tokens at a time: which; the inputs of a matrix on both sides; the stream's drift if asked for.

        The exact side does not change. So at the last matrix of a half its stream goes through to the end of it.
        """
        through, received = kind in _ADDED, []
        for part in _parts(self.streams[0]):
            before, ours = (stream[part] for stream in self.streams)
            x, after = self._seen(self.exact, i, kind, before, through)
            y, _ = self._seen(self.ours, i, kind, ours, False)
            if through and y.nbytes * len(self.streams[0]) <= _RECEIVED_BYTES * len(ours):
                received.append(y)
            yield part, x, y, (before - ours).reshape(-1, ours.shape[-1]) if drift else None
            if after is not None:
                before[...] = after
        self._ahead, self._received = through, received

    def advance(self, i: int, kind: str) -> None:
        """Move both streams through the half of layer `i` that ends with a matrix."""
        exact, ours = self.streams
        if not self._ahead:
            self._run(self.exact, i, kind, exact)
        if self._received:
            for part, received in zip(_parts(ours), self._received, strict=True):
                self.ours._joined(i, kind, ours[part].reshape(-1, ours.shape[-1]), received)
        else:
            self._run(self.ours, i, kind, ours)
        self._ahead, self._received = False, []

    def _run(self, run: Any, i: int, kind: str, stream: FloatArray) -> None:
        for part in _parts(stream):
            stream[part] = run.layer(i, stream[part], half_of(kind))

    def _seen(
        self, run: Any, i: int, kind: str, stream: FloatArray, through: bool
    ) -> tuple[FloatArray, FloatArray | None]:
        """What a matrix receives; and what its half makes of the stream, if it is to go through."""
        seen: list[FloatArray] = []

        def look(name: str, x: FloatArray) -> None:
            if name.split(".")[2] == kind:
                seen.append(np.array(x))
                if not through:
                    raise _SeenEnoughError

        after = None
        run.on_linear_input = look
        try:
            with contextlib.suppress(_SeenEnoughError):
                after = run.layer(i, stream, half_of(kind))
        finally:
            run.on_linear_input = None
        return seen[0], after


def half_of(kind: str) -> str:
    """Which half of a layer a matrix belongs to."""
    return "attention" if kind.startswith("attn_") else "feed-forward"


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

        def lose() -> None:
            self.lost += (x - y).T @ y

        def drift_away() -> None:
            if self.drift is not None and r is not None:
                self.drift += r.T @ y

        do_all((lose, drift_away, functools.partial(self.stats.update, y)))

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
            if kinds[0] in _ADDED and (i + 1 < n or k + 1 < len(steps)):
                sides.advance(i, kinds[0])
        sides.exact.layers[i] = sides.ours.layers[i] = before
        yield tensors


def _step(
    sides: Sides, i: int, kinds: Sequence[str], format_of: Callable[[str], Format], method: Method, sensitivity: Any
) -> dict[str, QTensor]:
    here = sides.ours.layers[i]
    formats = {kind: format_of(f"blk.{i}.{kind}.weight") for kind in kinds}
    changing = [kind for kind in kinds if formats[kind] is not here[kind].weight.format]
    made = {kind: here[kind].weight for kind in kinds if kind not in changing}
    if changing:
        made |= _rounded(sides, i, changing, formats, method, sensitivity)
    for kind in changing:
        here[kind] = Linear(made[kind], f"blk.{i}.{kind}.weight", "float", bias=here[kind].bias)
    return {f"blk.{i}.{kind}.weight": tensor for kind, tensor in made.items()}


def _rounded(
    sides: Sides, i: int, kinds: Sequence[str], formats: dict[str, Format], method: Method, sensitivity: Any
) -> dict[str, QTensor]:
    """Matrices that share their inputs, each in its format."""
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

    def rounded(kind: str) -> None:
        sensed, shared, fmt = known[kind], kind if kind in apart else kinds[0], formats[kind]
        target = sums[shared].target(here[kind].weight.dequantize(), method)
        if accepts(fmt):
            outputs = sensed.outputs if sensed is not None and method.by_outputs else None
            made[kind] = roundings[shared].round(target, fmt, sweeps=method.sweeps, outputs=outputs)
        else:
            made[kind] = quantize(target, fmt, None if fmt.is_float else sums[shared].stats.mean_sq)

    tasks = [functools.partial(rounded, kind) for kind in sorted(kinds, key=lambda kind: -here[kind].n_out)]
    if len(tasks) < cores():  # each of them is divided among all cores
        for task in tasks:
            task()
    else:
        do_all(tasks)
    return made
