"""The K-quant encoders: two templates, of which `specialise` makes one kernel a format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qviz._machine.kernels import Kernel, f32, half_bits, kernel, simd, u8
from qviz.formats.kquant.codes import found_codes, round_codes
from qviz.formats.kquant.refine import ROUNDS, refine_tile
from qviz.formats.kquant.search import WEIGHTED_SEARCH, search_centred, search_with_min
from qviz.formats.kquant.share import share, share_signed, share_weighted
from qviz.formats.kquant.tiles import (
    NOTHING,
    SUPER,
    TILE,
    by_super_block,
    load_importance,
    load_tile,
    mean_squares,
    room,
    side_by_side,
)
from qviz.formats.kquant.weights import weigh_by_importance, weigh_by_square


@kernel
def encode_with_min(x, imatrix, blocks):
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
                sub, to = b * (SUPER // _WIDTH) + j, j * _WIDTH
                if scales[j] != f32(0):
                    round_codes(rows, sub * _WIDTH, _WIDTH, scales[j], mins[j], f32(0), _TOP, codes, to)
                else:
                    found_codes(found, _WIDTH, sub, f32(0), codes, to)
            _put_codes(codes, part[b])
    return -1


@kernel
def encode_centred(x, imatrix, blocks):
    """Template of Q3_K and Q6_K: fill `blocks` from `x` (blocks.size, 256)."""
    n = TILE * SUPER // _WIDTH
    group = _WIDTH * simd.LANES
    rows, xs, ws = room(TILE * SUPER), room(group), room(group)
    found, slots = room((ROUNDS + 1 if _REFINES else 1) * TILE * SUPER), np.arange(n)
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
            refine_tile(rows, _WIDTH, _TOP, found, slots, scales)
        else:
            for at in range(0, n, simd.LANES):
                g = at // simd.LANES
                side_by_side(rows, g, xs)
                if not weighted:
                    weigh_by_square(xs, ws)
                elif _REFINES:
                    side_by_side(importance, g, importances)
                    weigh_by_importance(xs, importances, means, at, ws, sums)
                else:
                    side_by_side(importance, g, ws)
                search_centred(xs, ws, _TOP, found[g * group : (g + 1) * group], scales, at, NOTHING)
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
                    sub, to = b * (SUPER // _WIDTH) + j, j * _WIDTH
                    if scales[j] != f32(0):
                        round_codes(rows, sub * _WIDTH, _WIDTH, scales[j], f32(0), -_TOP, _TOP - f32(1), codes, to)
                    else:
                        found_codes(found, _WIDTH, slots[sub], -_TOP, codes, to)
            _put_codes(codes, part[b])
    return -1


def without_imatrix(encode: Kernel) -> Callable[[Any, Any], int]:
    """``(x, blocks) -> int`` from ``encode(x, imatrix, blocks)``."""

    def quantize_blocks(x: Any, blocks: Any) -> int:
        return int(encode(x, NOTHING, blocks))

    return quantize_blocks


# What the templates call; `specialise` puts a format's own values behind these names.
_WIDTH, _TOP, _FIRST, _STEP, _STEPS, _ABSOLUTE = 32, f32(0), f32(0), f32(0), 0, False
_SCALE_TOP, _SCALE_LIMIT, _SCALE_OFFSET, _SCALE_LEAST = f32(0), f32(0), f32(0), f32(0)
_WEIGHTED_LIMIT, _MEAN_FACTOR = f32(255), f32(2)
_REFINES, _BLANKS = False, False
_weigh = _put_scales = _take_scales = _put_codes = load_tile
