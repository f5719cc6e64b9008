"""Stage 2, *share*: the scales of a super-block become multiples of one float16, sixteen super-blocks at a time."""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, kernel, simd
from qviz.formats.kquant.search import TINY, nearest_level


@kernel
def share(values, top, limit, steps, factors):
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
def share_weighted(values, weights, top, limit, steps, factors):
    """As `share`, with a search: the factor whose multiples lie nearest under the sub-blocks' `weights`.

    Nine candidates first, by their squared error; then up to five rounds that move one step at a time, as
    `refine_centred` does, while that raises the gain.
    """
    zero, never = simd.spread(f32(0)), simd.spread(-f32(np.inf))
    largest = zero
    for j in range(0, values.size, simd.LANES):
        value = simd.load(values, j)
        largest = simd.select(largest > value, largest, value)
    empty = largest < TINY
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
def share_signed(values, top, offset, least, steps, factors):
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
        count = nearest_level(count, -top, top - f32(1)) + offset
        simd.store(steps, j, simd.select(blank, zero, count))
    simd.store(factors, 0, simd.select(blank, zero, f32(1) / inverse))
