"""Quantization-aware training: the weights of a whole model learn to live on a few levels.

Each step rounds every matrix of the layers, runs some text through the rounded model, and asks how the loss would
change with each rounded weight. The straight-through estimator (`qviz.methods.straight_through`) passes that on to
weights in float32 that nobody runs, and to the scale of each group. Adam moves both a little. After many steps enough
of these weights have crossed to another level, where the loss is less. At the end only codes and scales are left.

The loss is the Kullback–Leibler divergence from what the unquantized model says (`targets` "model": distillation), or
the surprise at the text itself ("text"). The estimator: Bengio et al. 2013, arXiv:1308.3432; scales that learn: Esser
et al. 2020, arXiv:1902.08153; a language model that teaches its quantized self: Liu et al. 2023 (LLM-QAT),
arXiv:2305.17888. Embedding, output and norms stay as they are, as in `qviz.whole.by_layer.round_model`, so that what
comes of it can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arguments import reporter
from qviz._arrays import finite_number, one_of, whole_number
from qviz._machine.blas import on_one_thread
from qviz._machine.buffers import give_back
from qviz._machine.team import in_parallel, on_each_thread
from qviz._types import DoubleArray, FloatArray, IntArray, Progress
from qviz.errors import PipelineError
from qviz.formats import QTensor
from qviz.grids import AffineGrid
from qviz.methods.straight_through import adam, back
from qviz.transformer import Transformer
from qviz.transformer.kernels import ops
from qviz.whole.backward import KINDS, Backward, Norm, unknown_parts
from qviz.whole.by_layer.rounded import RoundedExperts, RoundedLayer, RoundedMatrix, RoundedModel, half_scales
from qviz.whole.by_layer.rounding import rounding_of
from qviz.whole.by_layer.steps import calibration_windows, layers_of

STARTS = ("rtn", "gptq", "adaround", "autoround")
"""Methods whose codes training can begin with."""
_INSIDE = np.float32(0.49)  # of a step: as far as a weight may lie from the level that it starts on
_TEACHER_TOKENS = 2048  # that the unquantized model runs at once


class _Matrix:
    """A matrix that learns: weights in float32, a scale for each group, and what Adam remembers of both."""

    def __init__(self, weight: FloatArray, start: RoundedMatrix, grid: AffineGrid) -> None:
        self.grid, self.scale = grid, start.exact_scales.copy()
        self.zero: IntArray = start.zero_points
        step = self.scale[:, start.g_idx]
        level = step * (start.codes.astype(np.int32) - self.zero[:, start.g_idx])
        self.g_idx = start.g_idx
        self.weight: FloatArray = np.clip(weight, level - _INSIDE * step, level + _INSIDE * step)
        self.pace = np.float32(self.scale.mean(dtype=np.float64))  # in what its rates are counted
        self._memory = [np.zeros(x.size, np.float32) for x in (self.weight, self.weight, self.scale, self.scale)]
        self.rounded = self.round()

    def round(self) -> FloatArray:
        self.rounded = self.grid.fake_quantize(self.weight, params=(self.scale, self.zero))
        return self.rounded

    def learn(self, gradient: FloatArray, step: int, rate: float, scale_rate: float) -> None:
        """Move against a gradient of the rounded weights, which is lost."""
        by_scale = np.empty_like(self.scale)
        size = self.grid.group_size if self.grid.group_size > 0 else gradient.shape[1]
        width = min(size, gradient.shape[1])
        args = self.grid.qmin, self.grid.qmax, gradient, gradient, by_scale
        back(self.weight, self.scale, self.zero, width, *args)
        mean, square, scale_mean, scale_square = self._memory
        rates = np.float32(rate) * self.pace, np.float32(scale_rate) * self.pace
        adam(self.weight.reshape(-1), gradient.reshape(-1), mean, square, step, rates[0])
        adam(self.scale.reshape(-1), by_scale.reshape(-1), scale_mean, scale_square, step, rates[1])
        np.maximum(self.scale, np.float32(1e-3) * self.pace, out=self.scale)
        self.round()

    def forget(self) -> None:
        """Give up what only further steps would need: twice the bytes of the weights."""
        self._memory = []

    def stored(self) -> RoundedMatrix:
        half = half_scales(self.scale)
        t = self.grid.quantize(self.weight, params=(half, self.zero))
        bpw = self.grid.bpw(self.weight.shape)
        return RoundedMatrix(t.codes, half, self.zero, self.g_idx, bpw, half, self.grid.bits)


class _Rounded(Backward):
    """The way through a model and back, with rounded matrices."""

    def __init__(self, run: Transformer, shape: tuple[int, ...], matrices: Mapping[tuple[int, str], _Matrix]) -> None:
        super().__init__(run, shape)
        self._matrices = matrices

    def weight(self, i: int, kind: str) -> FloatArray:
        return self._matrices[i, kind].rounded


class Training:
    """A model whose matrices are being trained for a grid of few bits.

    Parameters
    ----------
    model : Model
        An unquantized one without `qviz.whole.backward.unknown_parts`, such as ``qviz.load("tiny")``.
    bits, group_size, sym
        As for `qviz.AffineGrid`; rows or groups.
    start : {"gptq", "rtn", "adaround", "autoround"}
        Whose codes to begin with.
    calibration : str or sequence of int, optional
        Text to train on, or its tokens; the course's calibration text unless given.
    n_tokens : int
        So much of it, in whole windows.
    steps : int
        How many steps are planned: rates rise over the first tenth, and fall to 0 until the last.
    batch : int
        Windows in each step.
    rate, scale_rate : float
        How far a step moves weights and scales, at most about, in parts of the mean scale of their matrix.
    targets : {"model", "text"}
        Learn what the unquantized model says, or what the text says.
    seed : int
        In which order windows come.
    options : mapping of str to value, optional
        For the method to start with, such as ``{"mse": True}`` for GPTQ.
    progress : callable ``(what, done, total)``, optional
        Called before each step of work; whatever it raises ends it.

    Attributes
    ----------
    loss : float64 array (steps done,)
        The loss on each step's windows, before that step, in nats a token.

    Raises
    ------
    PipelineError
        A model that the way back does not know, or a method with channels out of order.
    MethodError, LlamaError
        As in `qviz.whole.by_layer.round_model`.

    Examples
    --------
    >>> from qviz import load
    >>> training = Training(load("tiny"), bits=3, start="rtn", n_tokens=512, steps=2, batch=1)
    >>> training.run(2).loss.shape, training.rounded()["blk.0.attn_q.weight"].format.name
    ((2,), 'F32')
    """

    def __init__(
        self,
        model: Any,
        bits: int = 2,
        group_size: int = 64,
        *,
        sym: bool = False,
        start: str = "gptq",
        calibration: str | Sequence[int] | None = None,
        n_tokens: int = 16384,
        steps: int = 100,
        batch: int = 8,
        rate: float = 0.01,
        scale_rate: float = 0.003,
        targets: str = "model",
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> None:
        one_of(start, "start", STARTS, PipelineError)
        one_of(targets, "targets", ("model", "text"), PipelineError)
        self.steps = whole_number(steps, "steps", PipelineError, least=1)
        self._batch = whole_number(batch, "batch", PipelineError, least=1)
        self._rate = finite_number(rate, "rate", PipelineError, above=0)
        self._scale_rate = finite_number(scale_rate, "scale_rate", PipelineError, least=0)
        self._rng = np.random.default_rng(whole_number(seed, "seed", PipelineError, least=0))
        self._report, self._grid = reporter(progress, PipelineError), AffineGrid(bits, group_size, sym)
        if not 2 <= self._grid.bits <= 4:
            raise PipelineError(f"training is for 2, 3 or 4 bits, where rounding alone costs something; got {bits}")
        self._model, self._run = model, Transformer(model, activations="float")
        if odd := unknown_parts(self._run):
            raise PipelineError(f"no gradients are known for parts of this model: {odd}")
        rounding = rounding_of(start, bits, group_size, sym, {} if options is None else options)
        self.windows = calibration_windows(self._run, calibration, n_tokens)
        self._matrices: dict[tuple[int, str], _Matrix] = {}
        layers = layers_of(model, rounding, calibration, n_tokens, progress)
        for layer in layers:
            for kind in KINDS:
                made = layer.matrices[f"blk.{layer.index}.{kind}.weight"]
                assert isinstance(made, RoundedMatrix)
                if not np.array_equal(made.g_idx, np.sort(made.g_idx)):
                    raise PipelineError("training wants groups of neighbours; start with act_order=False")
                weight = self._run.layers[layer.index][kind].weight.dequantize()
                self._matrices[layer.index, kind] = _Matrix(weight, made, self._grid)
        on_each_thread(give_back)  # what the method to start with had in hand
        self._head = self._run.output.weight.dequantize()
        self._wanted = self._teacher() if targets == "model" else None
        self.loss: DoubleArray = np.empty(0)
        self._order: list[int] = []

    def run(self, steps: int | None = None) -> Training:
        """Do so many steps more, or all that are left; returns itself.

        Raises
        ------
        PipelineError
            More than were planned.
        """
        done = self.loss.size
        left = self.steps - done
        n = left if steps is None else whole_number(steps, "steps", PipelineError, least=1)
        if n > left:
            raise PipelineError(f"{n} steps were asked for, {left} of the {self.steps} planned are left")
        losses = list(self.loss)
        for step in range(done, done + n):
            self._report("training", step, self.steps)
            losses.append(self._step(step))
            self.loss = np.array(losses)
        if not self.steps - self.loss.size:
            for matrix in self._matrices.values():
                matrix.forget()
            give_back()
        return self

    def rounded(self) -> RoundedModel:
        """The model as its codes and scales, these in float16, are now."""
        rounded = RoundedModel(self._model)
        for i in range(self._run.config.n_layers):
            names: dict[str, RoundedMatrix | RoundedExperts | QTensor] = {}
            names |= {f"blk.{i}.{kind}.weight": self._matrices[i, kind].stored() for kind in KINDS}
            rounded.put(RoundedLayer(i, names, {}, {}, ()))
        return rounded

    def moved(self) -> float:
        """The share of weights whose code is another than rounding the original to the nearest level would give."""
        other = total = 0
        for (i, kind), matrix in self._matrices.items():
            nearest = self._grid.fake_quantize(
                self._run.layers[i][kind].weight.dequantize(), params=(matrix.scale, matrix.zero)
            )
            other, total = other + int((nearest != matrix.rounded).sum()), total + nearest.size
        return other / total

    @on_one_thread
    def _teacher(self) -> FloatArray:
        """What the unquantized model's output matrix receives (n_windows, n_tokens, n_embd)."""
        n, t = self.windows.shape
        hidden = np.empty((n, t, self._run.config.n_embd), np.float32)
        at_once = max(1, _TEACHER_TOKENS // t)
        for first in range(0, n, at_once):
            self._report("what the unquantized model says", first, n)
            part = self.windows[first : first + at_once]

            def work(a: int, b: int, part: Any = part, into: Any = hidden[first : first + at_once]) -> None:
                way = Backward(self._run, (b - a, t))
                x = self._run.embed(part[a:b]).reshape(-1, self._run.config.n_embd)
                for i in range(self._run.config.n_layers):
                    x = way.forward(i, x)
                into[a:b] = Norm(x, self._run.output_norm, self._run.config.norm_eps).out.reshape(b - a, t, -1)

            in_parallel(len(part), work, least=1)
        return hidden

    def _step(self, step: int) -> float:
        if len(self._order) < self._batch:
            self._order += self._rng.permutation(len(self.windows)).tolist()
        chosen, self._order = self._order[: self._batch], self._order[self._batch :]
        loss, gradients = self._gradients(np.array(chosen))
        warm = (step + 1) / max(1, self.steps // 10)  # the first gradients are of chance
        pace = min(warm, 1 - step / self.steps)
        for key, matrix in self._matrices.items():
            matrix.learn(gradients[key], step + 1, self._rate * pace, self._scale_rate * pace)
        return loss

    @on_one_thread
    def _gradients(self, chosen: npt.NDArray[np.int64]) -> tuple[float, dict[tuple[int, str], FloatArray]]:
        """The mean loss of a few windows, and its gradient by each rounded matrix."""
        sums: dict[int, dict[tuple[int, str], FloatArray]] = {}
        losses: dict[int, float] = {}

        def work(a: int, b: int) -> None:
            losses[a], sums[a] = self._of_windows(chosen[a:b], chosen.size)

        in_parallel(chosen.size, work, least=1)
        first, *others = (sums[a] for a in sorted(sums))
        for other in others:
            for key, gradient in other.items():
                first[key] += gradient
        return sum(losses[a] for a in sorted(losses)), first

    def _of_windows(self, chosen: npt.NDArray[np.int64], of: int) -> tuple[float, dict[tuple[int, str], FloatArray]]:
        """What a few of `of` windows add to the mean loss, and to its gradients."""
        run, windows = self._run, self.windows[chosen]
        n, t = windows.shape
        way = _Rounded(run, (n, t), self._matrices)
        streams = [run.embed(windows).reshape(n * t, -1)]
        for i in range(run.config.n_layers):
            streams.append(way.forward(i, streams[-1]))
        norm = Norm(streams.pop(), run.output_norm, run.config.norm_eps)
        p = norm.out @ self._head.T
        ops.log_softmax(p)
        if self._wanted is not None:
            wanted = self._wanted[chosen].reshape(n * t, -1) @ self._head.T
            ops.log_softmax(wanted)
            share = np.float32(1 / (of * t))
            aims = np.exp(wanted)
            loss = float(np.einsum("ij,ij->", aims, wanted - p, dtype=np.float64)) * float(share)
            pull = np.exp(p, out=p) - aims
        else:
            targets = np.concatenate([windows[:, 1:], windows[:, :1]], axis=1).reshape(-1)
            scored = np.tile(np.arange(t) < t - 1, n)  # the last token of a window is followed by none
            share = np.float32(1 / (of * (t - 1)))
            rows = np.arange(n * t)
            loss = -float(p[rows, targets][scored].sum(dtype=np.float64)) * float(share)
            pull = np.exp(p, out=p)
            pull[rows, targets] -= 1
            pull *= scored[:, None]
        pull *= share
        dx = norm.back(pull @ self._head)
        gradients: dict[tuple[int, str], FloatArray] = {}

        def keep(i: int, kind: str, x: FloatArray, g: FloatArray, _back: FloatArray) -> None:
            gradients[i, kind] = g.T @ x

        for i in reversed(range(run.config.n_layers)):
            dx = way.layer(i, streams[i], dx, keep)
        return loss, gradients
