"""Stage 1, *search*: the scale (and minimum) of each sub-block, sixteen of them side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qviz._machine.kernels import Kernel, f32, float_bits, i32, kernel, simd, u32
from qviz.formats.kquant.tiles import room
from qviz.formats.kquant.weights import weigh_by_square

WEIGHTED_SEARCH = f32(-0.9), f32(0.05), 36
"""``first``, ``step`` and ``steps`` of `search_with_min` with an importance matrix."""

TINY = f32(1e-15)
"""Below this, a sub-block counts as all zero."""


@dataclass(frozen=True)
class Search:
    """How one format looks for the scale (and minimum) of a sub-block.

    Parameters
    ----------
    width : int
        Weights of a sub-block.
    top : int
        The largest code; without a minimum codes are −top … top − 1.
    first, step, steps
        As of `search_with_min`, without an importance matrix. No steps: a format without a minimum.
    absolute : bool
        Errors count by their size rather than by their square.
    weigh : Kernel
        ``(x, w)``: how much the error of each weight counts without an importance matrix.
    refines : bool
        Without an importance matrix `refine.refine_centred` takes the place of `search_centred`.
    mean_factor : float
        As of `qviz.formats.kquant.tiles.mean_squares`, with an importance matrix.
    """

    width: int
    top: int
    first: float = 0
    step: float = 0
    steps: int = 0
    absolute: bool = False
    weigh: Kernel = weigh_by_square
    refines: bool = False
    mean_factor: float = 2

    @property
    def with_min(self) -> bool:
        """Whether a sub-block has a minimum."""
        return self.steps > 0

    def names(self) -> dict[str, Any]:
        """Values behind the names that the encoders' templates read; float32 where they compute with them."""
        return {
            "_WIDTH": self.width,
            "_TOP": f32(self.top),
            "_FIRST": f32(self.first),
            "_STEP": f32(self.step),
            "_STEPS": self.steps,
            "_ABSOLUTE": self.absolute,
            "_REFINES": self.refines,
            "_MEAN_FACTOR": f32(self.mean_factor),
            "_weigh": self.weigh,
        }


@kernel
def search_with_min(x, w, top, first, step, steps, absolute, codes, scales, mins, at, trace):
    """Scale and minimum for codes 0 … `top` of sixteen sub-blocks: ``x ≈ scale · code − min``.

    Candidate k stretches the levels by ``inverse = (first + step·k + top) / (high − low)``, rounds the weights to
    codes, and fits scale and minimum to those codes by weighted least squares. A better fit also moves `low`, from
    which the next candidates start. A minimum is never negative: zero stays within reach.

    Parameters
    ----------
    x, w : float32 arrays (16 n,)
        Weights and how much their errors count.
    top, first, step : float32
        The largest code; the stretch of candidate 0; what it grows by.
    steps : int
        Candidates after candidate 0.
    absolute : bool
        Errors count by their size rather than by their square.
    codes : float32 array (16 n,)
        Result: the codes of the best fit.
    scales, mins : float32 arrays
        Results, sixteen each from position `at`.
    trace : float32 array
        Empty, or (steps + 2, 3 + n, 16) for scale, minimum, error and codes of min–max and of each candidate. A
        candidate whose fit cannot be solved gets NaN as its error.
    """
    n = x.size // simd.LANES
    trial = room(x.size)
    low, high = simd.load(x, 0), simd.load(x, 0)
    sum_w = simd.load(w, 0)
    sum_x = sum_w * low
    for i in range(1, n):
        xi, wi = simd.load(x, simd.LANES * i), simd.load(w, simd.LANES * i)
        low, high = simd.select(xi < low, xi, low), simd.select(xi > high, xi, high)
        sum_w = sum_w + wi
        sum_x = sum_x + wi * xi
    zero = simd.spread(f32(0))
    low = simd.select(low > zero, zero, low)
    flat = high == low

    inverse = top / (high - low)
    scale = f32(1) / inverse
    for i in range(n):
        simd.store(trial, simd.LANES * i, nearest_level(inverse * (simd.load(x, simd.LANES * i) - low), f32(0), top))
    error = _error(x, w, trial, scale, low, absolute)
    best_inverse, best_low = inverse, low
    if trace.size > 0:
        record_candidate(trace, 0, scale, low, error, trial)

    for k in range(steps + 1):
        inverse = (first + step * f32(k) + top) / (high - low)
        sum_l, sum_ll, sum_lx = zero, zero, zero
        for i in range(n):
            xi = simd.load(x, simd.LANES * i)
            level = nearest_level(inverse * (xi - low), f32(0), top)
            simd.store(trial, simd.LANES * i, level)
            wl = simd.load(w, simd.LANES * i) * level
            sum_l = sum_l + wl
            sum_ll = sum_ll + wl * level
            sum_lx = sum_lx + wl * xi
        det = sum_w * sum_ll - sum_l * sum_l
        new_scale = (sum_w * sum_lx - sum_x * sum_l) / det
        new_low = (sum_ll * sum_x - sum_l * sum_lx) / det
        above = new_low > zero
        if simd.some(above):
            new_scale = simd.select(above, sum_lx / sum_ll, new_scale)
            new_low = simd.select(above, zero, new_low)
        new_error = _error(x, w, trial, new_scale, new_low, absolute)
        new_error = simd.select(det > zero, new_error, simd.spread(f32(np.nan)))
        if trace.size > 0:
            record_candidate(trace, k + 1, new_scale, new_low, new_error, trial)
        better = new_error < error
        error = simd.select(better, new_error, error)
        scale = simd.select(better, new_scale, scale)
        best_inverse, best_low = simd.select(better, inverse, best_inverse), simd.select(better, low, best_low)
        low = simd.select(better, new_low, low)

    simd.store(scales, at, simd.select(flat, zero, scale))
    simd.store(mins, at, simd.spread(f32(-0.0)) - low)
    best_inverse = simd.select(flat, zero, best_inverse)
    for i in range(n):
        level = nearest_level(best_inverse * (simd.load(x, simd.LANES * i) - best_low), f32(0), top)
        simd.store(codes, simd.LANES * i, level)


@kernel
def search_centred(x, w, top, codes, scales, at, trace):
    """Scale for codes −top … top − 1 of sixteen sub-blocks, without a minimum: ``x ≈ scale · code``.

    Candidates stretch the levels around the one that puts the weight of largest magnitude on −top. Each is fitted by
    weighted least squares, ``scale = Σ w·x·code / Σ w·code²``. That leaves an error of ``Σ w·x²`` minus the *gain*
    ``(Σ w·x·code)² / Σ w·code²``, so the largest gain wins, and no error needs to be summed.

    Parameters
    ----------
    x, w : float32 arrays (16 n,)
        Weights and how much their errors count.
    top : float32
        One more than the largest code.
    codes : float32 array (16 n,)
        Result: the codes of the best fit; −top in lanes that are all zero.
    scales : float32 array
        Result, sixteen from position `at`.
    trace : float32 array
        Empty, or (19, 3 + n, 16) for scale, zero, gain and codes of each candidate.
    """
    zero, never = simd.spread(f32(0)), simd.spread(-f32(np.inf))
    extreme, empty = signed_extreme(x, 0, x.size)
    inverse = simd.spread(-top) / extreme
    sum_lx, sum_ll = _fit(x, w, inverse, top, codes)
    scale = simd.select(sum_ll == zero, zero, sum_lx / sum_ll)
    gain = scale * sum_lx
    best_inverse = inverse
    if trace.size > 0:
        record_candidate(trace, 0, scale, zero, gain, codes)
    for k in range(1, 19):
        # -9 … 9 without 0, which came first
        inverse = simd.spread(-(top + f32(0.1) * f32(k - 10 if k < 10 else k - 9))) / extreme
        sum_lx, sum_ll = _fit(x, w, inverse, top, codes)
        if trace.size > 0:
            record_candidate(trace, k, sum_lx / sum_ll, zero, sum_lx / sum_ll * sum_lx, codes)
        better = simd.select(sum_ll > zero, sum_lx * sum_lx, never) > gain * sum_ll
        scale = simd.select(better, sum_lx / sum_ll, scale)
        gain = simd.select(better, scale * sum_lx, gain)
        best_inverse = simd.select(better, inverse, best_inverse)
    simd.store(scales, at, simd.select(empty, zero, scale))
    for i in range(0, x.size, simd.LANES):
        level = nearest_level(best_inverse * simd.load(x, i), -top, top - f32(1))
        simd.store(codes, i, simd.select(empty, simd.spread(-top), level))


@kernel
def signed_extreme(x, begin, end):
    """The first weight of the largest magnitude, with its sign; and the mask of lanes that count as all zero."""
    extreme, size = simd.spread(f32(0)), simd.spread(f32(0))
    for i in range(begin, end, simd.LANES):
        xi = simd.load(x, i)
        larger = simd.magnitude(xi) > size
        extreme, size = simd.select(larger, xi, extreme), simd.select(larger, simd.magnitude(xi), size)
    return extreme, size < TINY


@kernel
def _fit(x, w, inverse, top, codes):
    """Round to codes under one stretch; the two sums that their best scale is made of."""
    sum_lx, sum_ll = simd.spread(f32(0)), simd.spread(f32(0))
    for i in range(0, x.size, simd.LANES):
        xi, wi = simd.load(x, i), simd.load(w, i)
        level = nearest_level(inverse * xi, -top, top - f32(1))
        simd.store(codes, i, level)
        sum_lx = sum_lx + wi * xi * level
        sum_ll = sum_ll + wi * level * level
    return sum_lx, sum_ll


@kernel
def nearest_level(value, bottom, top):
    """The whole number nearest to `value`, cut to `bottom` … `top`."""
    level = simd.nearest(value)
    level = simd.select(level < bottom, simd.spread(bottom), level)
    return simd.select(level > top, simd.spread(top), level)


@kernel
def nearest_whole(value):
    """`simd.nearest` of one float32, as an int32."""
    return i32(i32(float_bits(value + f32(12582912)) & u32(0x007FFFFF)) - i32(0x00400000))


@kernel
def _error(x, w, codes, scale, low, absolute):
    total = simd.spread(f32(0))
    for i in range(x.size // simd.LANES):
        off = scale * simd.load(codes, simd.LANES * i) + low - simd.load(x, simd.LANES * i)
        off = simd.magnitude(off) if absolute else off * off
        total = total + simd.load(w, simd.LANES * i) * off
    return total


@kernel
def record_candidate(trace, k, scale, low, error, codes):
    """Write candidate `k` of a search to its trace."""
    at = k * (3 * simd.LANES + codes.size)
    simd.store(trace, at, scale)
    simd.store(trace, at + simd.LANES, simd.spread(f32(0)) - low)
    simd.store(trace, at + 2 * simd.LANES, error)
    for i in range(0, codes.size, simd.LANES):
        simd.store(trace, at + 3 * simd.LANES + i, simd.load(codes, i))
