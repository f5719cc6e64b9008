"""What each format costs each tensor, in divergence of the answers.

For a matrix with output factor O and input factor H (see `sensitivity`) an error E costs ½·tr(O·E·H·Eᵀ). It is
measured on a sample of rows, rounded by GPTQ and a little descent, each row counting by its own entry of O. A row of
an embedding matters when its token is read, by the gradients there, and, where the embedding is the output matrix, too,
when its token is expected, by the inputs of the output matrix; both in parts of how often that is.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import transformer
from qviz._machine.blas import on_one_thread
from qviz._machine.team import do_all
from qviz._types import FloatArray, Progress
from qviz.calibration import ActivationStats
from qviz.errors import PipelineError
from qviz.formats import Format, get, quantize
from qviz.methods.gptq_format import FormatRounding, accepts
from qviz.methods.recommended import damping
from qviz.recipes.allocate import Option
from qviz.whole.best.sensitivity import Sensitivity
from qviz.whole.by_layer.source import Source

_SUPER = ("IQ2_XXS", "IQ2_XS", "IQ2_S", "Q2_K", "IQ3_XXS", "IQ3_S", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K")
_CANDIDATES = (*_SUPER, "Q4_0", "IQ4_NL", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
_SMALL = ("IQ1_M",)  # rounded by importance alone, and slowly: only where it is needed
_WEIGHTS, _LEAST_ROWS, _MOST_ROWS = 1 << 16, 48, 256  # of a matrix, rounded to see what a format costs
_SWEEPS = 1  # after which the cost of a format is close to what it will be
_TOKENS_AT_ONCE = 2048


def candidates(row: int, small: bool) -> list[Format]:
    """Formats that are tried for rows of so many weights; with `small`, those of less than two bits, too."""
    names = (*_SMALL, *_CANDIDATES) if small else _CANDIDATES
    return [fmt for fmt in map(get, names) if row % fmt.block_size == 0 and fmt.can_encode]


def padded(nbytes: int, alignment: int) -> int:
    """Bytes that a tensor takes in a file."""
    return -(-nbytes // alignment) * alignment


def layer_options(
    model: Any,
    windows: npt.NDArray[np.int64],
    sensitivity: Sensitivity,
    alignment: int,
    small: bool,
    progress: Progress,
) -> dict[str, list[Option]]:
    """Options of the matrices of every layer."""
    run, source = transformer.Transformer(model, activations="float"), Source(model)
    stream = run.embed(windows)
    options = {}
    for i in range(run.config.n_layers):
        before = run.layers[i]
        run.layers[i] = source.layer(before)
        progress(f"what formats cost layer {i}", i, run.config.n_layers)
        for kind, stats in _inputs(run, i, stream, sensitivity).items():
            name, w = f"blk.{i}.{kind}.weight", run.layers[i][kind].weight.dequantize()
            options[name] = _options(w, stats, sensitivity.of(i, kind).rows, alignment, small)
        run.layers[i] = before
    return options


def _inputs(run: Any, i: int, stream: FloatArray, sensitivity: Sensitivity) -> dict[str, ActivationStats]:
    """Statistics of what each matrix of a layer receives, tokens weighted; `stream` goes on to the next layer."""
    stats: dict[str, ActivationStats] = {}
    step = max(1, _TOKENS_AT_ONCE // stream.shape[1])
    for first in range(0, len(stream), step):
        part, seen = slice(first, first + step), dict[str, FloatArray]()

        def look(name: str, x: FloatArray, seen: dict[str, FloatArray] = seen, part: slice = part) -> None:
            kind = name.split(".")[2]
            seen[kind] = x * np.sqrt(sensitivity.of(i, kind).tokens[part].reshape(-1, 1))

        run.on_linear_input = look
        try:
            stream[part] = run.layer(i, stream[part])
        finally:
            run.on_linear_input = None
        widest = sorted(seen, key=lambda kind: -seen[kind].shape[1])
        stats |= {kind: ActivationStats(seen[kind].shape[1]) for kind in widest if kind not in stats}
        do_all(functools.partial(stats[kind].update, seen[kind]) for kind in widest)
    return stats


@on_one_thread
def _options(
    w: FloatArray,
    stats: ActivationStats,
    rows: npt.NDArray[Any],
    alignment: int,
    small: bool,
    damp: float | None = None,
) -> list[Option]:
    """Options of one matrix, whose row r counts ``rows[r]``."""
    count = min(len(w), _MOST_ROWS, max(_LEAST_ROWS, _WEIGHTS // w.shape[1]))
    # a row is taken as often as it counts
    counted = np.cumsum(rows, dtype=np.float64)
    places = np.searchsorted(counted, counted[-1] * (np.arange(count) + 0.5) / count)
    some, times = np.unique(places.clip(max=len(w) - 1), return_counts=True)
    part, share = np.ascontiguousarray(w[some]), counted[-1] / count
    rounding, H = FormatRounding(stats, damp), stats.hessian
    options = []
    for fmt in candidates(w.shape[1], small):
        rounded = rounding.round(part, fmt, sweeps=_SWEEPS) if accepts(fmt) else quantize(part, fmt, stats.mean_sq)
        E = part - rounded.dequantize()
        cost = 0.25 * share * float(times @ np.einsum("ij,ij->i", E @ H, E, dtype=np.float64))
        options.append(Option(fmt.name, padded(len(w) * fmt.row_size(w.shape[1]), alignment), cost))
    return options


def outer_stats(sensitivity: Sensitivity, roles: Sequence[str]) -> tuple[ActivationStats, float]:
    """The input factor of an embedding (``"read"``), an output matrix (``"answer"``), or one that is both; damping."""
    parts = {"read": sensitivity.reading, "answer": sensitivity.answering}
    H: npt.NDArray[np.float64] = np.array([parts[role] for role in roles], np.float64).sum(axis=0)
    n = len(H)
    damp = damping(sensitivity.n_tokens, n)
    H[np.diag_indices(n)] += 1e-6 * np.diagonal(H).mean() + 1e-30  # so that it has a factor
    try:
        inputs = np.linalg.cholesky(H).T * np.sqrt(n)
    except np.linalg.LinAlgError:
        raise PipelineError(
            "the calibration text says too little: its tokens are nearly all alike; give another"
        ) from None
    return ActivationStats.from_inputs(inputs.astype(np.float32)), damp


def outer_options(
    w: FloatArray, sensitivity: Sensitivity, roles: Sequence[str], alignment: int, small: bool
) -> list[Option]:
    """Options of the embedding or the output matrix."""
    stats, damp = outer_stats(sensitivity, roles)
    return _options(w, stats, sensitivity.frequency, alignment, small, damp)
