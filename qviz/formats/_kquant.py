"""What the K-quants (Q2_K … Q6_K) share: the search for a scale, and the way through a tensor.

A **super-block** is 256 weights, cut into sub-blocks of 16 or 32. Each sub-block has its own scale (and minimum), and
those are quantized too: a super-block stores one float16 factor for all its scales and small integers for each.
Encoding goes in three stages:

1. *search*: the scale of each sub-block. Plain min–max stretches the levels from the smallest weight to the largest;
   the search tries levels stretched a little more or less, solves a weighted least-squares fit for each, and keeps the
   fit with the smallest error;
2. *share*: the scales of a super-block become integer multiples of one float16;
3. *round*: every weight is rounded again, now with the scales that the file will hold.

Every sum below runs in float32 and in the order of ggml's loops, so that each byte comes out the same. To be fast
nevertheless, sixteen sub-blocks (in stage 2, sixteen super-blocks) lie side by side as `lanes` (see `simd`): in
stage 1 ``x[16 * i + lane]`` is weight i of sub-block `lane`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array
from qviz._machine.kernels import Kernel, f32, half_bits, half_float, i8, i32, kernel, simd, u8
from qviz.errors import FormatError, NonFiniteError, ShapeError
from qviz.formats.base import Format

SUPER = 256
"""Weights in a super-block."""

TILE = 16
"""Super-blocks encoded at a time, one lane each in stage 2."""

NOTHING = np.empty(0, np.float32)
"""No importance matrix, or no trace."""

WEIGHTED_SEARCH = f32(-0.9), f32(0.05), 36
"""``first``, ``step`` and ``steps`` of `search_with_min` with an importance matrix."""

# Groups of sixteen sub-blocks that `refine_centred` works on in turns.
_TURNS = 4

# Below this, a sub-block counts as all zero.
_TINY = f32(1e-15)


# --- stage 1: search -------------------------------------------------------------------------------------------------


@kernel
def search_with_min(  # type: ignore[no-untyped-def]
    x, w, top, first, step, steps, absolute, codes, scales, mins, at, trace
):
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
        simd.store(trial, simd.LANES * i, _level(inverse * (simd.load(x, simd.LANES * i) - low), f32(0), top))
    error = _error(x, w, trial, scale, low, absolute)
    best_inverse, best_low = inverse, low
    if trace.size > 0:
        _record(trace, 0, scale, low, error, trial)

    for k in range(steps + 1):
        inverse = (first + step * f32(k) + top) / (high - low)
        sum_l, sum_ll, sum_lx = zero, zero, zero
        for i in range(n):
            xi = simd.load(x, simd.LANES * i)
            level = _level(inverse * (xi - low), f32(0), top)
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
            _record(trace, k + 1, new_scale, new_low, new_error, trial)
        better = new_error < error
        error = simd.select(better, new_error, error)
        scale = simd.select(better, new_scale, scale)
        best_inverse, best_low = simd.select(better, inverse, best_inverse), simd.select(better, low, best_low)
        low = simd.select(better, new_low, low)

    simd.store(scales, at, simd.select(flat, zero, scale))
    simd.store(mins, at, simd.spread(f32(-0.0)) - low)
    best_inverse = simd.select(flat, zero, best_inverse)
    for i in range(n):
        level = _level(best_inverse * (simd.load(x, simd.LANES * i) - best_low), f32(0), top)
        simd.store(codes, simd.LANES * i, level)


@kernel
def search_centred(x, w, top, codes, scales, at, trace):  # type: ignore[no-untyped-def]
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
    extreme, empty = signed_extreme(x)
    inverse = simd.spread(-top) / extreme
    sum_lx, sum_ll = _fit(x, w, inverse, top, codes)
    scale = simd.select(sum_ll == zero, zero, sum_lx / sum_ll)
    gain = scale * sum_lx
    best_inverse = inverse
    if trace.size > 0:
        _record(trace, 0, scale, zero, gain, codes)
    for k in range(1, 19):
        # -9 … 9 without 0, which came first
        inverse = simd.spread(-(top + f32(0.1) * f32(k - 10 if k < 10 else k - 9))) / extreme
        sum_lx, sum_ll = _fit(x, w, inverse, top, codes)
        if trace.size > 0:
            _record(trace, k, sum_lx / sum_ll, zero, sum_lx / sum_ll * sum_lx, codes)
        better = simd.select(sum_ll > zero, sum_lx * sum_lx, never) > gain * sum_ll
        scale = simd.select(better, sum_lx / sum_ll, scale)
        gain = simd.select(better, scale * sum_lx, gain)
        best_inverse = simd.select(better, inverse, best_inverse)
    simd.store(scales, at, simd.select(empty, zero, scale))
    for i in range(0, x.size, simd.LANES):
        level = _level(best_inverse * simd.load(x, i), -top, top - f32(1))
        simd.store(codes, i, simd.select(empty, simd.spread(-top), level))


@kernel
def refine_centred(x, n, top, codes, scales, at, trace):  # type: ignore[no-untyped-def]
    """As `search_centred` with w = x², but by moving one code at a time while that raises the gain: Q3_K's search.

    The first codes put the weight of largest magnitude on −top. Then, up to five times, each weight in turn gets the
    code that is best under the scale fitted to all others, if that raises the gain.

    Every step waits for the division of the step before. So several groups of sixteen sub-blocks take turns, and the
    processor divides for one while it adds for the others.

    Parameters
    ----------
    x : float32 array (16 n groups,)
        Weights, group after group.
    n : int
        Weights of a sub-block.
    top, codes, scales, at
        As in `search_centred`, for all groups.
    trace : float32 array
        Empty, or, for one group, (6, 3 + n, 16) for scale, zero, gain and codes at first and after each round; a round
        that changes no lane ends the search.
    """
    zero, never = simd.spread(f32(0)), simd.spread(-f32(np.inf))
    # Two habits against LLVM's ideas: three different numbers that no gain can beat, or it joins the masks (see
    # `simd`); and adding zero to what goes back where it came from, or it makes a masked store, which some
    # processors run forty times slower.
    minus_one, minus_two = simd.spread(f32(-1)), simd.spread(f32(-2))
    size = n * simd.LANES
    groups = x.size // size
    products, squares = room(x.size), room(x.size)
    sums_lx, sums_ll = room(groups * simd.LANES), room(groups * simd.LANES)
    for i in range(0, x.size, simd.LANES):
        xi = simd.load(x, i)
        simd.store(squares, i, xi * xi)
        simd.store(products, i, xi * xi * xi)
    for g in range(groups):
        part, first = x[g * size : (g + 1) * size], codes[g * size : (g + 1) * size]
        extreme, empty = signed_extreme(part)
        sum_lx, sum_ll = _fit(part, squares[g * size : (g + 1) * size], simd.spread(-top) / extreme, top, first)
        simd.store(sums_lx, g * simd.LANES, sum_lx)
        simd.store(sums_ll, g * simd.LANES, sum_ll)
        if trace.size > 0:
            _record(trace, 0, sum_lx / sum_ll, zero, sum_lx / sum_ll * sum_lx, first)
    for k in range(5):
        moved = zero
        for i in range(0, size, simd.LANES):
            for g in range(groups):
                j, sums = g * size + i, g * simd.LANES
                wx, w, code = simd.load(products, j), simd.load(squares, j), simd.load(codes, j)
                sum_lx, sum_ll = simd.load(sums_lx, sums), simd.load(sums_ll, sums)
                others_lx = sum_lx - wx * code
                others_ll = sum_ll - w * code * code
                new = _level(simd.load(x, j) * others_ll / others_lx, -top, top - f32(1))
                new_lx = others_lx + wx * new
                new_ll = others_ll + w * new * new
                gain = simd.select(new != code, new_lx * new_lx * sum_ll, minus_one)
                gain = simd.select(new_ll > zero, simd.select(others_lx > zero, gain, minus_two), never)
                better = gain > sum_lx * sum_lx * new_ll
                simd.store(codes, j, simd.select(better, new, code) + zero)
                simd.store(sums_lx, sums, simd.select(better, new_lx, sum_lx))
                simd.store(sums_ll, sums, simd.select(better, new_ll, sum_ll))
                moved = simd.select(better, simd.spread(f32(1)), moved)
        if trace.size > 0:
            sum_lx, sum_ll = simd.load(sums_lx, 0), simd.load(sums_ll, 0)
            _record(trace, k + 1, sum_lx / sum_ll, zero, sum_lx / sum_ll * sum_lx, codes)
        if not simd.some(moved > zero):
            break
    for g in range(groups):
        sum_lx, sum_ll = simd.load(sums_lx, g * simd.LANES), simd.load(sums_ll, g * simd.LANES)
        extreme, empty = signed_extreme(x[g * size : (g + 1) * size])
        scale = simd.select(sum_ll > zero, sum_lx / sum_ll, zero)
        simd.store(scales, at + g * simd.LANES, simd.select(empty, zero, scale))
        for j in range(g * size, (g + 1) * size, simd.LANES):
            simd.store(codes, j, simd.select(empty, simd.spread(-top), simd.load(codes, j)) + zero)


@kernel
def signed_extreme(x):  # type: ignore[no-untyped-def]
    """The first weight of the largest magnitude, with its sign; and the mask of lanes that count as all zero."""
    extreme, size = simd.spread(f32(0)), simd.spread(f32(0))
    for i in range(0, x.size, simd.LANES):
        xi = simd.load(x, i)
        larger = simd.magnitude(xi) > size
        extreme, size = simd.select(larger, xi, extreme), simd.select(larger, simd.magnitude(xi), size)
    return extreme, size < _TINY


@kernel
def _fit(x, w, inverse, top, codes):  # type: ignore[no-untyped-def]
    """Round to codes under one stretch; the two sums that their best scale is made of."""
    sum_lx, sum_ll = simd.spread(f32(0)), simd.spread(f32(0))
    for i in range(0, x.size, simd.LANES):
        xi, wi = simd.load(x, i), simd.load(w, i)
        level = _level(inverse * xi, -top, top - f32(1))
        simd.store(codes, i, level)
        sum_lx = sum_lx + wi * xi * level
        sum_ll = sum_ll + wi * level * level
    return sum_lx, sum_ll


@kernel
def _level(value, bottom, top):  # type: ignore[no-untyped-def]
    level = simd.nearest(value)
    level = simd.select(level < bottom, simd.spread(bottom), level)
    return simd.select(level > top, simd.spread(top), level)


@kernel
def _error(x, w, codes, scale, low, absolute):  # type: ignore[no-untyped-def]
    total = simd.spread(f32(0))
    for i in range(x.size // simd.LANES):
        off = scale * simd.load(codes, simd.LANES * i) + low - simd.load(x, simd.LANES * i)
        off = simd.magnitude(off) if absolute else off * off
        total = total + simd.load(w, simd.LANES * i) * off
    return total


@kernel
def _record(trace, k, scale, low, error, codes):  # type: ignore[no-untyped-def]
    at = k * (3 * simd.LANES + codes.size)
    simd.store(trace, at, scale)
    simd.store(trace, at + simd.LANES, simd.spread(f32(0)) - low)
    simd.store(trace, at + 2 * simd.LANES, error)
    for i in range(0, codes.size, simd.LANES):
        simd.store(trace, at + 3 * simd.LANES + i, simd.load(codes, i))


# --- stage 2: share --------------------------------------------------------------------------------------------------


@kernel
def share(values, top, limit, steps, factors):  # type: ignore[no-untyped-def]
    """The scales (or minimums) of sixteen super-blocks as multiples of one factor each: 0 … `top`.

    Parameters
    ----------
    values : float32 array (16 n,)
        ``values[16 * j + lane]``: scale j of super-block `lane`.
    top, limit : float32
        The largest wins `top` steps; no value gets more than `limit`, nor fewer than 0 modulo 256.
    steps : float32 array (16 n,)
        Result, whole numbers.
    factors : float32 array (16,)
        Result, before rounding to float16.
    """
    zero = simd.spread(f32(0))
    largest = zero
    for j in range(0, values.size, simd.LANES):
        value = simd.load(values, j)
        largest = simd.select(value > largest, value, largest)
    inverse = simd.select(largest > zero, top / largest, zero)
    for j in range(0, values.size, simd.LANES):
        count = simd.low_byte(simd.nearest(inverse * simd.load(values, j)))
        simd.store(steps, j, simd.select(count > limit, simd.spread(limit), count))
    simd.store(factors, 0, largest / top)


@kernel
def put_sixes(block, scale_steps, min_steps, lane):  # type: ignore[no-untyped-def]
    """Eight 6-bit scales and eight 6-bit minimums of super-block `lane` -> 12 bytes.

    Bytes 0 … 3 are scales 0 … 3 and bytes 4 … 7 minimums 0 … 3, each with two bits to spare. Bytes 8 … 11 hold the low
    four bits of scale and minimum 4 … 7; their upper two bits fill those gaps.
    """
    packed = block.scales
    for j in range(4):
        scale, low = _steps(scale_steps, j, lane), _steps(min_steps, j, lane)
        scale4, low4 = _steps(scale_steps, j + 4, lane), _steps(min_steps, j + 4, lane)
        packed[j] = u8(scale | ((scale4 >> 4) << 6))
        packed[j + 4] = u8(low | ((low4 >> 4) << 6))
        packed[j + 8] = u8((scale4 & 15) | ((low4 & 15) << 4))


@kernel
def _steps(steps, j, lane):  # type: ignore[no-untyped-def]
    return i32(steps[j * TILE + lane])


@kernel
def take_sixes(block, scales, mins, at):  # type: ignore[no-untyped-def]
    """Eight scales and minimums of a block of Q4_K or Q5_K, as its weights decode, from position `at`."""
    simd.six_bit_pairs(block.scales, half_float(block.d), half_float(block.dmin), scales, mins, at)


@kernel
def share_weighted(values, weights, top, limit, steps, factors):  # type: ignore[no-untyped-def]
    """As `share`, with a search: the factor whose multiples lie nearest under the sub-blocks' `weights`.

    Nine candidates first, by their squared error; then up to five rounds that move one step at a time, as
    `refine_centred` does, while that raises the gain.
    """
    zero, never = simd.spread(f32(0)), simd.spread(-f32(np.inf))
    largest = zero
    for j in range(0, values.size, simd.LANES):
        value = simd.load(values, j)
        largest = simd.select(largest > value, largest, value)
    empty = largest < _TINY
    best_inverse, error = top / largest, zero
    for k in range(9):
        # 0 first, unlike the others not cut to `top`; then -4 … 4
        inverse = top / largest if k == 0 else (f32(0.1) * f32(k - 5 if k < 5 else k - 4) + top) / largest
        new_error = zero
        for j in range(0, values.size, simd.LANES):
            value = simd.load(values, j)
            count = simd.nearest(inverse * value)
            count = simd.low_byte(count) if k == 0 else simd.select(count > top, simd.spread(top), count)
            off = value - f32(1) / inverse * count
            new_error = new_error + simd.load(weights, j) * off * off
        if k == 0:
            error = new_error
        better = new_error < error
        error, best_inverse = simd.select(better, new_error, error), simd.select(better, inverse, best_inverse)

    sum_lx, sum_ll = zero, zero
    for j in range(0, values.size, simd.LANES):
        value, weight = simd.load(values, j), simd.load(weights, j)
        count = simd.nearest(best_inverse * value)
        count = simd.select(count > top, simd.spread(top), count)
        simd.store(steps, j, simd.low_byte(count))
        sum_lx = sum_lx + weight * value * count
        sum_ll = sum_ll + weight * count * count
    minus_one, minus_two = simd.spread(f32(-1)), simd.spread(f32(-2))
    for _ in range(5):
        moved = zero
        for j in range(0, values.size, simd.LANES):
            value, weight, count = simd.load(values, j), simd.load(weights, j), simd.load(steps, j)
            others_lx = sum_lx - weight * value * count
            others_ll = sum_ll - weight * count * count
            new = simd.nearest(value * others_ll / others_lx)
            new = simd.select(new > top, simd.spread(top), new)
            new_lx = others_lx + weight * value * new
            new_ll = others_ll + weight * new * new
            gain = simd.select(new != count, new_lx * new_lx * sum_ll, minus_one)
            gain = simd.select(others_ll > zero, simd.select(others_lx > zero, gain, minus_two), never)
            better = gain > sum_lx * sum_lx * new_ll
            simd.store(steps, j, simd.select(better, simd.low_byte(new), count) + zero)
            sum_lx, sum_ll = simd.select(better, new_lx, sum_lx), simd.select(better, new_ll, sum_ll)
            moved = simd.select(better, simd.spread(f32(1)), moved)
        if not simd.some(moved > zero):
            break
    for j in range(0, values.size, simd.LANES):
        count = simd.load(steps, j)
        count = simd.select(count > limit, simd.spread(limit), count)
        simd.store(steps, j, simd.select(empty, zero, count))
    scale = simd.select(sum_ll > zero, sum_lx / sum_ll, zero)
    simd.store(factors, 0, simd.select(empty, zero, scale))


@kernel
def share_signed(values, top, offset, least, steps, factors):  # type: ignore[no-untyped-def]
    """As `share` for scales of either sign: −top … top − 1, stored plus `offset`; the largest magnitude gets −top.

    A super-block whose scales are all below `least` in size gets 0 as its factor and as each of its stored steps.
    """
    zero = simd.spread(f32(0))
    largest, size = zero, zero
    for j in range(0, values.size, simd.LANES):
        value = simd.load(values, j)
        larger = simd.magnitude(value) > size
        largest, size = simd.select(larger, value, largest), simd.select(larger, simd.magnitude(value), size)
    blank = size < least
    inverse = simd.spread(-top) / largest
    for j in range(0, values.size, simd.LANES):
        count = simd.nearest(inverse * simd.load(values, j))
        # only where `inverse` overflows: C keeps the low byte of -2^22
        count = simd.select(count < f32(-256), zero, count)
        count = _level(count, -top, top - f32(1)) + offset
        simd.store(steps, j, simd.select(blank, zero, count))
    simd.store(factors, 0, simd.select(blank, zero, f32(1) / inverse))


# --- the way through a tensor ----------------------------------------------------------------------------------------


@kernel
def room(n):  # type: ignore[no-untyped-def]
    """An uninitialised float32 array (n,)."""
    return np.empty(n, np.float32)


@kernel
def put_pairs(codes, field):  # type: ignore[no-untyped-def]
    """The low two bits of 256 codes -> 64 bytes: byte l of each half holds its codes l, l + 32, l + 64 and l + 96."""
    for k in range(8):
        simd.put_bits(codes, 32 * k, u8(0), u8(3), u8(2 * (k % 4)), field, 32 * (k // 4))


@kernel
def take_pairs(field, codes, at):  # type: ignore[no-untyped-def]
    """The reverse of `put_pairs`, to ``codes[at:at+256]``."""
    for k in range(8):
        simd.take_bits(field, 32 * (k // 4), u8(2 * (k % 4)), u8(3), i8(0), codes, at + 32 * k)


@kernel
def put_nibbles(codes, field):  # type: ignore[no-untyped-def]
    """The low four bits of 256 codes -> 128 bytes: byte l of each quarter holds its codes l and l + 32."""
    for k in range(8):
        simd.put_bits(codes, 32 * k, u8(0), u8(15), u8(4 * (k % 2)), field, 32 * (k // 2))


@kernel
def take_nibbles(field, codes, at):  # type: ignore[no-untyped-def]
    """The reverse of `put_nibbles`, to ``codes[at:at+256]``."""
    for k in range(8):
        simd.take_bits(field, 32 * (k // 2), u8(4 * (k % 2)), u8(15), i8(0), codes, at + 32 * k)


@kernel
def load_tile(x, start, n, rows):  # type: ignore[no-untyped-def]
    """Copy `n` super-blocks into `rows` (16 · 256,), zeros after them. Returns the first not finite, or -1."""
    for b in range(n):
        strange = simd.spread(f32(0))
        for j in range(0, SUPER, simd.LANES):
            value = simd.load(x, (start + b) * SUPER + j)
            strange = strange + (value - value)  # 0 if finite, else NaN
            simd.store(rows, b * SUPER + j, value)
        if simd.some(strange != f32(0)):
            return b
    for j in range(n * SUPER, rows.size, simd.LANES):
        simd.store(rows, j, simd.spread(f32(0)))
    return -1


@kernel
def load_importance(imatrix, start, n, out):  # type: ignore[no-untyped-def]
    """The part of `imatrix` (one value a column) that belongs to each of super-blocks `start` … `start + n`."""
    for b in range(n):
        column = (start + b) * SUPER % imatrix.size
        for j in range(0, SUPER, simd.LANES):
            simd.store(out, b * SUPER + j, simd.load(imatrix, column + j))
    for j in range(n * SUPER, out.size, simd.LANES):
        simd.store(out, j, simd.spread(f32(0)))


@kernel
def mean_squares(rows, factor, out):  # type: ignore[no-untyped-def]
    """`factor` times the mean x² of each super-block of a tile, once for each sub-block: `out` (16 n,)."""
    square, means = room(simd.LANES * simd.LANES), room(TILE)
    total = simd.spread(f32(0))
    for j in range(0, SUPER, simd.LANES):
        simd.transpose(rows, j, SUPER, square, 0)
        for i in range(0, square.size, simd.LANES):
            total = total + simd.load(square, i) * simd.load(square, i)
    simd.store(means, 0, factor * total / f32(SUPER))
    for sub in range(out.size):
        out[sub] = means[sub * TILE // out.size]


@kernel
def side_by_side(rows, group, out):  # type: ignore[no-untyped-def]
    """Sixteen sub-blocks of ``out.size / 16`` weights, one in each lane."""
    width = out.size // simd.LANES
    for j in range(0, width, simd.LANES):
        simd.transpose(rows, group * out.size + j, width, out, j * simd.LANES)


@kernel
def by_super_block(values, out):  # type: ignore[no-untyped-def]
    """Results in the order of sub-blocks -> ``out[16 * j + lane]`` for sub-block j of super-block `lane`."""
    n = values.size // TILE
    for j in range(n):
        for b in range(TILE):
            out[j * TILE + b] = values[b * n + j]


@kernel
def round_codes(x, width, scale, low, bottom, top, codes):  # type: ignore[no-untyped-def]
    """Codes of one sub-block under its final `scale` and minimum `low`, counted from `bottom`."""
    for j in range(0, width, simd.LANES):
        simd.store_bytes(codes, j, _level((simd.load(x, j) + low) / scale, bottom, top) - bottom)


@kernel
def found_codes(found, width, sub, bottom, codes):  # type: ignore[no-untyped-def]
    """Codes that the search found for sub-block `sub`: they stay where the final scale is zero."""
    group, lane = sub // simd.LANES, sub % simd.LANES
    for j in range(width):
        codes[j] = u8(found[(group * width + j) * simd.LANES + lane] - bottom)


@kernel
def weigh_by_importance(x, importance, means, at, w, sums):  # type: ignore[no-untyped-def]
    """Errors count by the importance of their column, times the root of x² plus the super-block's mean square."""
    mean, total = simd.load(means, at), simd.spread(f32(0))
    for i in range(0, x.size, simd.LANES):
        value = simd.load(x, i)
        weight = simd.load(importance, i) * simd.root(mean + value * value)
        simd.store(w, i, weight)
        total = total + weight
    simd.store(sums, at, total)


@kernel
def encode_with_min(x, imatrix, blocks):  # type: ignore[no-untyped-def]
    """Template of Q2_K, Q4_K and Q5_K: fill `blocks` from `x` (blocks.size, 256)."""
    n = TILE * SUPER // _WIDTH
    group = _WIDTH * simd.LANES
    rows, found, xs, ws = room(TILE * SUPER), room(TILE * SUPER), room(group), room(group)
    scales, mins, shared, scale_steps, min_steps = room(n), room(n), room(n), room(n), room(n)
    d, dmin = room(TILE), room(TILE)
    codes = np.empty(SUPER, np.uint8)
    weighted = imatrix.size > 0
    importance, importances, means, sums, shared_sums = room(TILE * SUPER), room(group), room(n), room(n), room(n)
    first, step = (WEIGHTED_SEARCH[0], WEIGHTED_SEARCH[1]) if weighted else (_FIRST, _STEP)
    steps = WEIGHTED_SEARCH[2] if weighted else _STEPS
    absolute = _ABSOLUTE and not weighted
    for start in range(0, blocks.size, TILE):
        part = blocks[start : start + TILE]
        bad = load_tile(x, start, part.size, rows)
        if bad >= 0:
            return start + bad
        if weighted:
            load_importance(imatrix, start, part.size, importance)
            mean_squares(rows, _MEAN_FACTOR, means)
        # search
        for g in range(n // simd.LANES):
            at = g * simd.LANES
            side_by_side(rows, g, xs)
            if weighted:
                side_by_side(importance, g, importances)
                weigh_by_importance(xs, importances, means, at, ws, sums)
            else:
                _weigh(xs, ws)
            best = found[g * group : (g + 1) * group]
            search_with_min(xs, ws, _TOP, first, step, steps, absolute, best, scales, mins, at, NOTHING)
        # share
        by_super_block(sums, shared_sums)
        for values, counts, factors in ((scales, scale_steps, d), (mins, min_steps, dmin)):
            by_super_block(values, shared)
            if weighted:
                share_weighted(shared, shared_sums, _SCALE_TOP, _WEIGHTED_LIMIT, counts, factors)
            else:
                share(shared, _SCALE_TOP, _SCALE_LIMIT, counts, factors)
        # round
        for b in range(part.size):
            part[b].d, part[b].dmin = half_bits(d[b]), half_bits(dmin[b])
            _put_scales(part[b], scale_steps, min_steps, b)
            _take_scales(part[b], scales, mins, 0)
            for j in range(SUPER // _WIDTH):
                sub, room_for = b * (SUPER // _WIDTH) + j, codes[j * _WIDTH : (j + 1) * _WIDTH]
                if scales[j] != f32(0):
                    round_codes(rows[sub * _WIDTH :], _WIDTH, scales[j], mins[j], f32(0), _TOP, room_for)
                else:
                    found_codes(found, _WIDTH, sub, f32(0), room_for)
            _put_codes(codes, part[b])
    return -1


@kernel
def encode_centred(x, imatrix, blocks):  # type: ignore[no-untyped-def]
    """Template of Q3_K and Q6_K: fill `blocks` from `x` (blocks.size, 256)."""
    n = TILE * SUPER // _WIDTH
    group = _WIDTH * simd.LANES
    rows, found, xs, ws = room(TILE * SUPER), room(TILE * SUPER), room(_TURNS * group), room(group)
    scales, shared, steps = room(n), room(n), room(n)
    d = room(TILE)
    codes = np.empty(SUPER, np.uint8)
    weighted = imatrix.size > 0
    importance, importances, means, sums, shared_sums = room(TILE * SUPER), room(group), room(n), room(n), room(n)
    for start in range(0, blocks.size, TILE):
        part = blocks[start : start + TILE]
        bad = load_tile(x, start, part.size, rows)
        if bad >= 0:
            return start + bad
        if weighted:
            load_importance(imatrix, start, part.size, importance)
            if _REFINES:
                mean_squares(rows, _MEAN_FACTOR, means)
        # search
        if _REFINES and not weighted:
            for at in range(0, n, _TURNS * simd.LANES):
                for g in range(_TURNS):
                    side_by_side(rows, at // simd.LANES + g, xs[g * group : (g + 1) * group])
                best = found[at * _WIDTH : (at + _TURNS * simd.LANES) * _WIDTH]
                refine_centred(xs, _WIDTH, _TOP, best, scales, at, NOTHING)
        else:
            for at in range(0, n, simd.LANES):
                g, part_x = at // simd.LANES, xs[:group]
                side_by_side(rows, g, part_x)
                if not weighted:
                    weigh_by_square(part_x, ws)
                elif _REFINES:
                    side_by_side(importance, g, importances)
                    weigh_by_importance(part_x, importances, means, at, ws, sums)
                else:
                    side_by_side(importance, g, ws)
                search_centred(part_x, ws, _TOP, found[g * group : (g + 1) * group], scales, at, NOTHING)
        # share
        by_super_block(scales, shared)
        if _REFINES and weighted:
            by_super_block(sums, shared_sums)
            search_centred(shared, shared_sums, _SCALE_TOP, steps, d, 0, NOTHING)
            for j in range(n):
                steps[j] += _SCALE_OFFSET
        else:
            share_signed(shared, _SCALE_TOP, _SCALE_OFFSET, _SCALE_LEAST, steps, d)
        # round
        for b in range(part.size):
            part[b].d = half_bits(d[b])
            _put_scales(part[b], steps, b)
            _take_scales(part[b], scales, 0)
            if _BLANKS and d[b] == f32(0):
                codes[:] = u8(0)
            else:
                for j in range(SUPER // _WIDTH):
                    sub, room_for = b * (SUPER // _WIDTH) + j, codes[j * _WIDTH : (j + 1) * _WIDTH]
                    if scales[j] != f32(0):
                        round_codes(rows[sub * _WIDTH :], _WIDTH, scales[j], f32(0), -_TOP, _TOP - f32(1), room_for)
                    else:
                        found_codes(found, _WIDTH, sub, -_TOP, room_for)
            _put_codes(codes, part[b])
    return -1


def without_imatrix(encode: Kernel) -> Callable[[Any, Any], int]:
    """``(x, blocks) -> int`` from ``encode(x, imatrix, blocks)``."""

    def quantize_blocks(x: Any, blocks: Any) -> int:
        return int(encode(x, NOTHING, blocks))

    return quantize_blocks


@kernel
def weigh_by_size(x, w):  # type: ignore[no-untyped-def]
    """Errors of larger weights count more: |x|, plus the root mean square of the sub-block."""
    total = simd.spread(f32(0))
    for i in range(0, x.size, simd.LANES):
        total = total + simd.load(x, i) * simd.load(x, i)
    typical = simd.root(total / f32(x.size // simd.LANES))
    for i in range(0, x.size, simd.LANES):
        simd.store(w, i, typical + simd.magnitude(simd.load(x, i)))


@kernel
def weigh_by_magnitude(x, w):  # type: ignore[no-untyped-def]
    """Errors count by |x|."""
    for i in range(0, x.size, simd.LANES):
        simd.store(w, i, simd.magnitude(simd.load(x, i)))


@kernel
def weigh_by_square(x, w):  # type: ignore[no-untyped-def]
    """Errors count by x²."""
    for i in range(0, x.size, simd.LANES):
        simd.store(w, i, simd.load(x, i) * simd.load(x, i))


# What the templates call; `specialise` puts a format's own values behind these names.
_WIDTH, _TOP, _FIRST, _STEP, _STEPS, _ABSOLUTE = 32, f32(0), f32(0), f32(0), 0, False
_SCALE_TOP, _SCALE_LIMIT, _SCALE_OFFSET, _SCALE_LEAST = f32(0), f32(0), f32(0), f32(0)
_WEIGHTED_LIMIT, _MEAN_FACTOR = f32(255), f32(2)
_REFINES, _BLANKS = False, False
_weigh = _put_scales = _take_scales = _put_codes = load_tile


# --- looking on ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SearchTrace:
    """The candidates of one sub-block's scale search, in the order of the search.

    Attributes
    ----------
    x, weights : float32 arrays (n,)
        The sub-block, and how much each error counts.
    scales, mins : float32 arrays (k,)
        Candidates; the first is plain min–max, or for Q3_K and Q6_K its like without a minimum.
    errors : float32 array (k,)
        What the search minimises: the weighted sum of squared errors (of their sizes for Q2_K without an importance
        matrix). NaN for a candidate whose fit cannot be solved. Q3_K and Q6_K maximise the gain of the fit instead,
        which comes to the same: Σ w·x² minus the gain is this error.
    codes : int8 array (k, n)
        Codes under each candidate.
    best : int
        The candidate that won.
    """

    x: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    scales: npt.NDArray[np.float32]
    mins: npt.NDArray[np.float32]
    errors: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int8]
    best: int


def search_trace(
    x: npt.ArrayLike, format: Format | str, sub_block: int = 0, imatrix: npt.ArrayLike | None = None
) -> SearchTrace:
    """Run the scale search on one sub-block and keep every candidate: the encoder's own kernels, recorded.

    What wins here is not yet what a file holds: the scales of a super-block still have to share a float16.

    Parameters
    ----------
    x : array_like (256,)
        A super-block: the importance of a weight depends on the whole of it.
    format : Format or str
        ``"Q2_K"`` … ``"Q6_K"``.
    sub_block : int
        Which sub-block to look at.
    imatrix : array_like (256,), optional
        Importance of the columns.

    Raises
    ------
    FormatError
        If `format` is no K-quant or has no such sub-block.
    ShapeError
        If `x` or `imatrix` is not one super-block.
    NonFiniteError
        NaN or infinity among them.

    Examples
    --------
    >>> t = search_trace(np.arange(256) % 16, "Q4_K")
    >>> t.scales.shape, t.codes.shape, round(float(t.scales[0]), 3)
    ((22,), (22, 32), 1.0)
    """
    from qviz.formats import get

    fmt = get(format)
    names = getattr(getattr(fmt.quantize_weighted, "py_func", None), "__globals__", {})
    if "_REFINES" not in names or fmt.block_size != SUPER:
        raise FormatError(f"{fmt} has no scale search to show; choose one of Q2_K, Q3_K, Q4_K, Q5_K, Q6_K")
    width, top = names["_WIDTH"], names["_TOP"]
    if not 0 <= sub_block < SUPER // width:
        raise FormatError(f"{fmt} has no sub-block {sub_block}; a super-block has {SUPER // width}, counted from 0")
    block = _super_block(x, "weights")
    rows, xs, ws = (np.empty(size, np.float32) for size in (TILE * SUPER, width * TILE, width * TILE))
    load_tile(block, 0, 1, rows)
    side_by_side(rows, 0, xs)
    n = TILE * SUPER // width
    with_min = names["_STEPS"] > 0
    refines = names["_REFINES"] and imatrix is None
    if imatrix is not None:
        columns, means = np.empty(TILE * SUPER, np.float32), np.empty(n, np.float32)
        load_importance(_super_block(imatrix, "imatrix"), 0, 1, columns)
        side_by_side(columns, 0, ws)
        if with_min or names["_REFINES"]:
            mean_squares(rows, names["_MEAN_FACTOR"], means)
            weigh_by_importance(xs, ws.copy(), means, 0, ws, np.empty(n, np.float32))
    else:
        (names["_weigh"] if with_min else weigh_by_square)(xs, ws)
    codes, scales, mins = np.empty(xs.size, np.float32), np.empty(TILE, np.float32), np.zeros(TILE, np.float32)
    first, step, steps, absolute = (names[key] for key in ("_FIRST", "_STEP", "_STEPS", "_ABSOLUTE"))
    if imatrix is not None:
        first, step, steps, absolute = *WEIGHTED_SEARCH, False
    candidates = steps + 2 if with_min else 6 if refines else 19
    trace = np.full((candidates, 3 + width, TILE), np.nan, np.float32)
    if with_min:
        search_with_min(xs, ws, top, first, step, steps, absolute, codes, scales, mins, 0, trace)
    elif refines:
        refine_centred(xs, width, top, codes, scales, 0, trace)
    else:
        search_centred(xs, ws, top, codes, scales, 0, trace)
    lane = np.ascontiguousarray(trace[:, :, sub_block])
    lane = lane[~np.isnan(lane[:, 3])]  # rounds that were not needed
    weights, sub = ws.reshape(width, TILE)[:, sub_block].copy(), xs.reshape(width, TILE)[:, sub_block].copy()
    final = codes.reshape(width, TILE)[:, sub_block]
    won = np.flatnonzero((lane[:, 0] == scales[sub_block]) & (lane[:, 3:] == final).all(axis=1))
    if won.size == 0:  # all zero: there is nothing to search
        lane = np.concatenate([[scales[sub_block], mins[sub_block], 0], final])[None].astype(np.float32)
    errors = lane[:, 2]
    if not with_min:  # the gain was recorded: as a difference from Σ w·x² it would lose its digits
        off = np.float64(lane[:, :1]) * lane[:, 3:] - sub
        errors = np.sum(weights * off * off, axis=1).astype(np.float32)
    return SearchTrace(
        sub,
        weights,
        lane[:, 0],
        lane[:, 1],
        errors,
        lane[:, 3:].astype(np.int8),
        int(won[-1] if refines else won[0]) if won.size else 0,
    )


def _super_block(values: npt.ArrayLike, what: str) -> npt.NDArray[np.float32]:
    array = real_array(values, what, FormatError)
    if array.shape != (SUPER,):
        raise ShapeError(f"{what} must be one super-block of shape ({SUPER},), got {array.shape}")
    if not np.isfinite(array).all():
        raise NonFiniteError(f"{what} hold NaN or infinity; a search needs numbers")
    return array
