"""AWQ: scale salient input channels up before rounding, and the activations down by as much.

With s per input channel, X·Wᵀ = (X/s)·(W·s)ᵀ: exact before rounding. Afterwards the channels with large inputs, scaled
up, lose less. s = mean|x|^alpha, with the alpha of least output error among 0, 0.05, …, 0.95; then, if asked, each
group's range is clipped where that lowers the error of the output.

Lin et al. 2023, arXiv:2306.00978; searches as in mit-han-lab/llm-awq (``auto_scale.py``, ``auto_clip.py``). Both losses
are quadratic forms, ‖X·Dᵀ‖² = tr(D·G·Dᵀ) with G = XᵀX, so all tokens count and none has to be kept. One difference:
there each group is clipped as if it were alone. Here that is the first of three turns; in the others a group also sees
what the others leave of the output's error, and can make up for it.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qviz._arrays import finite_number, flag, one_of, real_array, whole_number
from qviz._machine.blas import of_scipy, on_one_thread
from qviz._machine.kernels import f32, i32, kernel
from qviz._types import DoubleArray, FloatArray
from qviz.calibration import ActivationStats
from qviz.errors import MethodError, shortened
from qviz.grids import AffineGrid
from qviz.grids.affine import group_params, steps_from_zero
from qviz.methods._inputs import checked, groups_of
from qviz.methods.result import MethodResult

_TURNS = 3  # of the clip search
_CLIPS = (1 - np.arange(10) / 20).astype(np.float32)  # parts of the largest weight
_NUMBERS = (int, float, np.integer, np.floating)


@on_one_thread
def awq(
    weight: npt.ArrayLike,
    stats: ActivationStats,
    grid: AffineGrid,
    *,
    n_grid: int = 20,
    alpha: float | None = None,
    clip: bool = False,
    trace: bool = False,
) -> MethodResult:
    """Search the channel scales, optionally the clipping, and round.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats
        What is known of the layer's inputs. A channel that no token used gets the smallest scale, not an infinite one.
    grid : AffineGrid
    n_grid : int
        Alphas to try: 0, 1/n_grid, …, 1 − 1/n_grid.
    alpha : float, optional
        Take this one, 0 … 1, instead of searching.
    clip : bool
        Also try ranges shrunken to 100, 95, …, 55 % of each group's largest weight.
    trace : bool
        Keep `alpha`, `loss` (relative output error at each alpha), `best`, `act_scale`, and with `clip` the
        `clip_keep` of each group, the parts that were tried (`clip_tried`), and what each row and group would lose if
        it alone were rounded, in the same unit (`clip_loss`, of shape (tried, n_out, n_groups)).

    Returns
    -------
    MethodResult
        `weight` is what multiplies the unscaled inputs; `codes` stand for ``weight · equivalence_scale``.

    Raises
    ------
    MethodError
        Arrays that do not fit together, or weights that are not finite.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((64, 8)) * [1, 1, 1, 1, 1, 1, 1, 30]
    >>> w = np.random.default_rng(1).standard_normal((4, 8))
    >>> result = awq(w, ActivationStats.from_inputs(x), AffineGrid(bits=3, group_size=-1))
    >>> int(result.equivalence_scale.argmax())
    7
    """
    w = checked(weight, stats, grid)
    n_grid = whole_number(n_grid, "n_grid", MethodError, least=1, most=1 << 16)
    clip, trace = flag(clip, "clip", MethodError), flag(trace, "trace", MethodError)
    if alpha is not None and (isinstance(alpha, bool) or not isinstance(alpha, _NUMBERS) or not 0 <= alpha <= 1):
        raise MethodError(f"alpha must be a number 0 … 1, got {shortened(alpha)}")
    act_scale, G = stats.mean_abs, stats.hessian
    if not np.isfinite(G).all():
        raise MethodError("the inputs' products overflow float32; scale the inputs down, or look for outliers in them")
    np.fill_diagonal(G, np.diagonal(G) / 2)  # as `_squares` wants it
    whole = max(float(_squares(w, G).sum()), np.finfo(np.float64).tiny)
    alphas = np.arange(n_grid) / n_grid if alpha is None else np.array([float(alpha)])
    losses, best, s = np.empty(alphas.size), np.inf, np.ones_like(act_scale)
    for k, exponent in enumerate(alphas):
        tried = channel_scale(act_scale, exponent)
        off = grid.fake_quantize(w * tried) / tried - w
        losses[k] = float(_squares(off, G).sum()) / whole
        if losses[k] < best:
            best, s = losses[k], tried
    scaled = w * s
    record: dict[str, Any] = {}
    if trace:
        record = {"alpha": alphas, "loss": losses, "best": float(alphas[losses.argmin()]), "act_scale": act_scale}
    if clip:
        keep, alone = _clipped(scaled, w, s, G, grid)
        if trace:
            record |= {"clip_keep": keep, "clip_tried": _CLIPS.copy(), "clip_loss": alone / whole}
    t = grid.quantize(scaled)
    return MethodResult(
        t.dequantize() / s,
        t.codes,
        t.scale,
        t.zero_point,
        groups_of(grid, w.shape[1]),
        t.bpw,
        equivalence_scale=s,
        trace=record,
    )


def _clipped(
    scaled: FloatArray, w: FloatArray, s: FloatArray, G: FloatArray, grid: AffineGrid
) -> tuple[FloatArray, DoubleArray]:
    """Clip `scaled` (= w·s) in place; the part that each group keeps, and what each part costs a group alone.

    Returns
    -------
    float32 array (n_out, n_groups), float64 array (parts, n_out, n_groups)
    """
    if grid.group_size == 0:
        raise MethodError("clipping is searched for rows or groups; use group_size −1 or more")
    n_in = w.shape[1]
    size = min(grid.group_size, n_in) if grid.group_size > 0 else n_in
    keep = np.empty((len(w), int(groups_of(grid, n_in)[-1]) + 1), np.float32)
    alone = np.empty((_CLIPS.size, *keep.shape))
    off = grid.fake_quantize(scaled) / s - w
    for turn, g in itertools.product(range(_TURNS if keep.shape[1] > 1 else 1), range(keep.shape[1])):
        part = slice(g * size, (g + 1) * size)
        gram = G[part, part] / np.outer(s[part], s[part])
        group = np.ascontiguousarray(scaled[:, part])
        off[:, part] = 0
        # the first turn looks at each group alone, the others at what all the others leave
        pull = np.zeros_like(group) if turn == 0 else (off @ G[:, part] / s[part]).astype(np.float32)
        keep[:, g], chosen, losses = _best_clip(group, gram.astype(np.float32), pull, grid)
        if turn == 0:
            alone[:, :, g] = losses
        off[:, part] = chosen / s[part]
    for g in range(keep.shape[1]):
        part = slice(g * size, (g + 1) * size)
        limit = keep[:, g : g + 1] * np.abs(scaled[:, part]).max(axis=1, keepdims=True)
        scaled[:, part] = np.clip(scaled[:, part], -limit, limit)
    return keep, alone


def _is_part(value: Any) -> bool:
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool) and bool(0 < value <= 1)


def channel_scale(act_scale: FloatArray, alpha: float) -> FloatArray:
    """The scale of each input channel: act_scale^alpha, centred so that √(max · min) is 1.

    Only ratios matter to the rounding; the centring keeps scaled weights within float16. A channel that no token used
    gets a small scale, not 0, by which nobody could divide.

    Examples
    --------
    >>> channel_scale(np.float32([1, 4, 16]), 0.5).tolist()
    [0.5, 1.0, 2.0]
    """
    act_scale = real_array(act_scale, "act_scale", MethodError, shape=("n_in",))
    if not (np.isfinite(act_scale) & (act_scale >= 0)).all():
        raise MethodError("act_scale must be means of |x|: finite numbers from 0 up")
    alpha = finite_number(alpha, "alpha", MethodError, least=-16, most=16)
    s = np.maximum(act_scale ** np.float32(alpha), np.float32(1e-4))
    centred: FloatArray = s / np.sqrt(s.max() * s.min())
    return centred


def _squares(off: FloatArray, gram: FloatArray) -> npt.NDArray[np.float64]:
    """d·G·dᵀ of each row d of `off`, float64 (rows,); `gram` is G with half its diagonal.

    G = T + Tᵀ with T one triangle and half the diagonal, so d·G·dᵀ = 2·d·T·dᵀ: half the work of a full product.
    """
    blas = of_scipy("blas")

    half = blas.strmm(1.0, gram.T, off.T)  # reads one triangle only
    squares: npt.NDArray[np.float64] = 2 * np.einsum("ji,ij->i", half, off, dtype=np.float64)
    return squares


def _best_clip(
    group: FloatArray, gram: FloatArray, pull: FloatArray, grid: AffineGrid
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.float64]]:
    """For each row of one group: the part of its largest weight to keep, the errors that remain, all losses."""
    losses = np.empty((_CLIPS.size, len(group)))
    best, keep = np.full(len(group), np.inf), np.ones(len(group), np.float32)
    off, chosen = np.empty_like(group), np.empty_like(group)
    for step, part in enumerate(_CLIPS):
        _clip_errors(group, part, grid.qmin, grid.qmax, grid.sym, off)
        loss = _squares(off, gram) + 2 * np.einsum("ij,ij->i", off, pull, dtype=np.float64)
        losses[step], better = loss, loss < best
        best[better], keep[better], chosen[better] = loss[better], part, off[better]
    return keep, chosen, losses


@kernel
def _clip_errors(group, part, qmin, qmax, sym, out):
    for r in range(group.shape[0]):
        row = group[r]
        most = f32(0)
        for j in range(row.size):
            most = max(most, abs(row[j]))
        limit = f32(part * most)
        low, high = f32(0), f32(0)
        for j in range(row.size):
            x = min(max(row[j], -limit), limit)
            low, high = min(low, x), max(high, x)
        ends = np.empty(2, np.float32)
        ends[0], ends[1] = low, high
        scale, zero, _ = group_params(ends, qmin, qmax, sym)
        lowest, highest = f32(i32(qmin - zero)), f32(i32(qmax - zero))
        for j in range(row.size):
            x = min(max(row[j], -limit), limit)
            out[r, j] = f32(scale * steps_from_zero(x, scale, lowest, highest)) - row[j]


def keep_salient(
    weight: npt.ArrayLike,
    stats: ActivationStats,
    grid: AffineGrid,
    *,
    by: Literal["activation", "weight", "random"] = "activation",
    part: float = 0.01,
    seed: int = 0,
) -> MethodResult:
    """Round to nearest, but keep a few input columns in float16: the experiment that AWQ starts from.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats
    grid : AffineGrid
    by : {"activation", "weight", "random"}
        Keep the columns of largest mean |x|, of largest mean |w|, or any.
    part : float
        How many of the columns, 0 … 1; at least one.
    seed : int
        For ``by="random"``.

    Returns
    -------
    MethodResult
        `bpw` counts 16 more bits for each kept weight, and 32 for the index of each kept column.

    Raises
    ------
    MethodError
        As in `awq`.

    Examples
    --------
    >>> stats = ActivationStats.from_inputs([[1.0, 9.0]])
    >>> keep_salient([[1.0, 0.4375]], stats, AffineGrid(1, -1)).weight.tolist()
    [[1.0, 0.4375]]
    """
    w = checked(weight, stats, grid)
    one_of(by, "by", ("activation", "weight", "random"), MethodError)
    if not _is_part(part):
        raise MethodError(f"part must be in 0 … 1, got {shortened(part)}")
    n_out, n_in = w.shape
    count = max(1, round(part * n_in))
    score = {"activation": stats.mean_abs, "weight": np.abs(w).mean(axis=0)}.get(by)
    if score is None:
        columns = np.random.default_rng(seed).permutation(n_in)[:count]
    else:
        columns = np.argsort(-score, kind="stable")[:count]
    t = grid.quantize(w)
    mixed = t.dequantize()
    with np.errstate(over="ignore"):
        kept = w[:, columns].astype(np.float16).astype(np.float32)
    if not np.isfinite(kept).all():
        raise MethodError("a weight to keep does not fit float16; scale the weights down")
    mixed[:, columns] = kept
    bpw = t.bpw + (16 * n_out + 32) * count / (n_out * n_in)
    return MethodResult(mixed, t.codes, t.scale, t.zero_point, groups_of(grid, n_in), bpw, trace={"kept": columns})
