"""Stage 1 of Q3_K without an importance matrix: codes that move one at a time, sixteen sub-blocks side by side."""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, kernel, simd
from qviz.formats.kquant.search import nearest_level, record_candidate, signed_extreme
from qviz.formats.kquant.tiles import place, room, side_by_side

ROUNDS = 5
"""How often `refine_centred` goes through a sub-block at most."""

# Groups of sixteen sub-blocks that `_move_codes` works on in turns.
_TURNS = 4


@kernel
def refine_centred(x, top, codes, scales, at, trace):
    """As `search_centred` with w = x², but by moving one code at a time while that raises the gain: Q3_K's search.

    The first codes put the weight of largest magnitude on −top. Then, up to `ROUNDS` times, each weight in turn gets
    the code that is best under the scale fitted to all others, if that raises the gain.

    Parameters
    ----------
    x, top, codes, scales, at
        As in `search_centred`.
    trace : float32 array
        Empty, or (1 + ROUNDS, 3 + n, 16) for scale, zero, gain and codes at first and after each round; a round that
        moves no lane is not recorded.
    """
    zero = simd.spread(f32(0))
    sums_lx, sums_ll, moved = room(simd.LANES), room(simd.LANES), room(simd.LANES)
    width = x.size // simd.LANES
    _first_codes(x, 0, width, top, codes, sums_lx, sums_ll, 0)
    for k in range(ROUNDS + 1):
        sum_lx, sum_ll = simd.load(sums_lx, 0), simd.load(sums_ll, 0)
        if trace.size > 0:
            record_candidate(trace, k, sum_lx / sum_ll, zero, sum_lx / sum_ll * sum_lx, codes)
        if k == ROUNDS:
            break
        _move_codes(x, width, top, codes, sums_lx, sums_ll, moved)
        if not simd.some(simd.load(moved, 0) > zero):
            break
    simd.store(scales, at, _best_scale(sums_lx, sums_ll, 0))


@kernel
def refine_tile(rows, width, top, found, slots, scales):
    """`refine_centred` for a tile: `rows` hold its sub-blocks of `width` weights one after the other.

    Four of five sub-blocks are at rest with their first codes. The others are brought together in fresh lanes and moved
    for one round, those that are restless still in fresh lanes again, and so on.

    Parameters
    ----------
    found : float32 array (16 n,)
        Result: the codes of ``1 + ROUNDS`` times as many lanes as there are sub-blocks, group after group of sixteen.
    slots : int64 array
        Result: in which of these lanes the codes of each sub-block are.
    scales : float32 array
        Result.
    """
    lanes, many = simd.LANES, scales.size
    xs, few, waiting = room(many * width), room(many * width), np.empty(many + 1, np.int64)
    one_group = xs[: lanes * width]
    sums_lx, sums_ll, moved, by_slot = _four_rooms(found.size // width)
    for at in range(0, many, lanes):
        side_by_side(rows, at // lanes, one_group)
        _first_codes(one_group, 0, width, top, found, sums_lx, sums_ll, at)
        simd.store(moved, at, _restless(one_group, 0, width, top, found, sums_lx, sums_ll, at))
        simd.store(scales, at, _best_scale(sums_lx, sums_ll, at))
    for sub in range(many):
        slots[sub] = sub
    many = _still(moved, 0, slots, waiting, many)
    end = scales.size
    # not `ROUNDS`: LLVM would write out as many rounds, which made them slower
    for turn in range(found.size // rows.size - 1):
        if many == 0:
            break
        start = end
        end = start + (many + lanes - 1) // lanes * lanes
        _bring_together(rows, width, waiting, many, few, xs)
        if turn == 0:
            for at in range(start, end, lanes):
                _first_codes(xs, (at - start) * width, width, top, found, sums_lx, sums_ll, at)
        else:
            _carry(waiting, many, width, found, slots, sums_lx, sums_ll, start)
        codes = found[start * width : end * width]
        _move_codes(xs, width, top, codes, sums_lx[start:end], sums_ll[start:end], moved[start:end])
        for at in range(start, end, lanes):
            restless = _restless(xs, (at - start) * width, width, top, found, sums_lx, sums_ll, at)
            simd.store(moved, at, simd.load(moved, at) * restless)
            simd.store(by_slot, at, _best_scale(sums_lx, sums_ll, at))
        for k in range(many):
            slots[waiting[k]] = start + k
            scales[waiting[k]] = by_slot[start + k]
        many = _still(moved, start, waiting, waiting, many)


@kernel
def _four_rooms(n):
    values = room(4 * n)
    return values[:n], values[n : 2 * n], values[2 * n : 3 * n], values[3 * n :]


@kernel
def _still(restless, start, before, waiting, many):
    """Of the first `many` of `before`, those whose lanes from `start` on are restless; how many these are."""
    left = 0
    for k in range(many):  # no branch, which could not be foreseen
        waiting[left] = before[k]
        left += int(restless[start + k])
    return left


@kernel
def _bring_together(rows, width, waiting, many, few, xs):
    """Those that are waiting side by side; lanes that are left over are zero."""
    lanes, group = simd.LANES, simd.LANES * width
    end = (many + lanes - 1) // lanes * group
    for k in range(many):
        for j in range(0, width, lanes):
            simd.store(few, k * width + j, simd.load(rows, waiting[k] * width + j))
    for at in range(many * width, end, lanes):
        simd.store(few, at, simd.spread(f32(0)))
    for at in range(0, end, group):
        for j in range(0, width, lanes):
            simd.transpose(few, at + j, width, xs, at + j * lanes)


@kernel
def _carry(waiting, many, width, codes, slots, sums_lx, sums_ll, start):
    """Codes and sums of those that are waiting, to the lanes from `start` on; lanes that are left over do not move."""
    lanes, last = simd.LANES, start + (many - 1) // simd.LANES * simd.LANES
    for j in range(last * width, (last + lanes) * width, lanes):
        simd.store(codes, j, simd.spread(f32(0)))
    simd.store(sums_lx, last, simd.spread(f32(np.nan)))
    simd.store(sums_ll, last, simd.spread(f32(np.nan)))
    for k in range(many):
        old, new = slots[waiting[k]], start + k
        sums_lx[new], sums_ll[new] = sums_lx[old], sums_ll[old]
        there, here = place(old, width), place(new, width)
        for j in range(0, lanes * width, lanes):
            codes[here + j] = codes[there + j]


@kernel
def _first_codes(x, begin, width, top, codes, sums_lx, sums_ll, at):
    """Codes of the sixteen lanes from `at` on that put the largest magnitude on −top, and their sums.

    The weights of these lanes begin at ``x[begin]``.
    A lane that is all zero gets the code −top, and NaN as its sums: then nothing moves it, and its scale is zero.
    """
    extreme, empty = signed_extreme(x, begin, begin + width * simd.LANES)
    inverse = simd.spread(-top) / extreme
    sum_lx, sum_ll = simd.spread(f32(0)), simd.spread(f32(0))
    for i in range(0, width * simd.LANES, simd.LANES):
        xi = simd.load(x, begin + i)
        level = nearest_level(inverse * xi, -top, top - f32(1))
        simd.store(codes, at * width + i, simd.select(empty, simd.spread(-top), level))
        sum_lx = sum_lx + xi * xi * xi * level
        sum_ll = sum_ll + xi * xi * level * level
    unknown = simd.spread(f32(np.nan))
    simd.store(sums_lx, at, simd.select(empty, unknown, sum_lx))
    simd.store(sums_ll, at, simd.select(empty, unknown, sum_ll))


@kernel
def _restless(x, begin, width, top, codes, sums_lx, sums_ll, at):
    """1 in lanes that a next round might move, 0 where it will not.

    Up to the first move of a round the sums stay what they are. So no step here waits for the step before, and what a
    move would gain need not be known.
    """
    zero, one = simd.spread(f32(0)), simd.spread(f32(1))
    sum_lx, sum_ll = simd.load(sums_lx, at), simd.load(sums_ll, at)
    found = zero
    for i in range(0, width * simd.LANES, simd.LANES):
        xi, code = simd.load(x, begin + i), simd.load(codes, at * width + i)
        others_lx = sum_lx - xi * xi * xi * code
        others_ll = sum_ll - xi * xi * code * code
        new = nearest_level(xi * others_ll / others_lx, -top, top - f32(1))
        found = simd.select(new != code, simd.select(others_lx > zero, one, found), found)
    return found


@kernel
def _best_scale(sums_lx, sums_ll, at):
    sum_lx, sum_ll, zero = simd.load(sums_lx, at), simd.load(sums_ll, at), simd.spread(f32(0))
    return simd.select(sum_ll > zero, sum_lx / sum_ll, zero)


@kernel
def _move_codes(x, width, top, codes, sums_lx, sums_ll, moved):
    """One round of `refine_centred` for groups of sixteen sub-blocks; `moved` is 1 in the lanes that it moved.

    Every step waits for the division of the step before. So `_TURNS` groups take turns, and the processor divides for
    one while it adds for the others.
    """
    zero, never = simd.spread(f32(0)), simd.spread(-f32(np.inf))
    # Two habits against LLVM's ideas: three different numbers that no gain can beat, or it joins the masks (see
    # `simd`); and adding zero to what goes back where it came from, or it makes a masked store, which some
    # processors run forty times slower.
    minus_one, minus_two = simd.spread(f32(-1)), simd.spread(f32(-2))
    one = simd.spread(f32(1))
    size, groups = width * simd.LANES, moved.size // simd.LANES
    for at in range(0, moved.size, simd.LANES):
        simd.store(moved, at, zero)
    for first in range(0, groups, _TURNS):
        for i in range(0, size, simd.LANES):
            for g in range(first, min(first + _TURNS, groups)):
                j, sums = g * size + i, g * simd.LANES
                xi, code = simd.load(x, j), simd.load(codes, j)
                w = xi * xi
                wx = w * xi
                sum_lx, sum_ll = simd.load(sums_lx, sums), simd.load(sums_ll, sums)
                others_lx = sum_lx - wx * code
                others_ll = sum_ll - w * code * code
                new = nearest_level(xi * others_ll / others_lx, -top, top - f32(1))
                new_lx = others_lx + wx * new
                new_ll = others_ll + w * new * new
                gain = simd.select(new != code, new_lx * new_lx * sum_ll, minus_one)
                gain = simd.select(new_ll > zero, simd.select(others_lx > zero, gain, minus_two), never)
                better = gain > sum_lx * sum_lx * new_ll
                simd.store(codes, j, simd.select(better, new, code) + zero)
                simd.store(sums_lx, sums, simd.select(better, new_lx, sum_lx))
                simd.store(sums_ll, sums, simd.select(better, new_ll, sum_ll))
                simd.store(moved, sums, simd.select(better, one, simd.load(moved, sums)) + zero)
