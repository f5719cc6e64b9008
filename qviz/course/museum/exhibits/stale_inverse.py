"""GPTQ's inverse Hessian, computed once and used for every block of columns."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.linalg import cholesky, inv, solve

from qviz.course.museum import _material
from qviz.course.museum._material import BATCH, round_to, row_grid, slices
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Thread, Trial


def _wrong_rounding(weight, H, to_grid):
    w, inverse = weight.copy(), inv(H)
    for block in slices(w.shape[1], BATCH):
        rest = slice(block.stop, None)
        off = w[:, block] - to_grid(w[:, block])
        pull = solve(inverse[block, block], inverse[block, rest])
        w[:, rest] -= off @ pull
        w[:, block] -= off
    return w


def _right_rounding(weight, H, to_grid):
    w, U = weight.copy(), cholesky(inv(H)).T
    for block in slices(w.shape[1], BATCH):
        rest = slice(block.stop, None)
        off = w[:, block] - to_grid(w[:, block])
        pull = solve(U[block, block], U[block, rest])
        w[:, rest] -= off @ pull
        w[:, block] -= off
    return w


def _loss(weight, rounded, H):
    off = rounded - weight
    return float(((off @ H) * off).sum())


def _case(rows, columns):
    """A corner of the layer: its weights, the Hessian, and a grid of 3 bits."""
    weight = _material.layer().weight[:rows, :columns].astype(np.float64)
    return weight, _material.hessian()[:columns, :columns], partial(round_to, grid=row_grid(weight, 3))


def _blind_beats_rtn(rounding):
    weight, H, to_grid = _case(32, 512)
    plain = to_grid(weight)
    better = rounding(weight, H, to_grid)
    return _loss(weight, better, H) < _loss(weight, plain, H)


def _sharp_rest_is_at_rest(rounding):
    weight, H, to_grid = _case(8, 512)
    # round two blocks and leave the others as they are
    twice = iter([to_grid, to_grid])
    moved = rounding(weight, H, lambda w: next(twice, np.copy)(w))
    # where a weight is free, the loss has no slope
    slope = np.abs((moved - weight) @ H)
    free = slope[:, 2 * BATCH :]
    return free.max() < 1e-6 * slope.max()


def _examine() -> Trial:
    layer = _material.layer()
    weight, H, to_grid = _case(*layer.weight.shape)
    right, wrong, rtn = (step(weight, H, to_grid) for step in (_right_rounding, _wrong_rounding, _rtn))
    return Trial(
        f"{layer.material}. 3 bits, a scale for each row; blocks of {BATCH} columns are rounded at a time",
        right.astype(np.float32),
        wrong.astype(np.float32),
        layer.output_errors(right, wrong, rtn),
        BATCH,
        "block",
    )


def _rtn(weight, H, to_grid):
    return to_grid(weight)


EXHIBIT = Exhibit(
    name="stale-inverse",
    symptom="GPTQ that is somewhat better than nothing",
    story=(
        "Error-correcting rounding is added, block by block. Every layer gets better than with plain rounding, so it "
        "ships. It gains less than it should, and nothing says why."
    ),
    fault=(
        "All blocks used the inverse of the whole Hessian. It fits the first block only: then the columns that "
        "have been rounded must be eliminated from it."
    ),
    shipped_in="cactus-compute/cactus; reported in September 2026",
    threads=(
        Thread("cactus-compute/cactus", 807, "pull"),
        Thread("cactus-compute/cactus", 812, "pull"),
        Thread("IST-DASLab/gptq", 21),
    ),
    wrong=_wrong_rounding,
    right=_right_rounding,
    blind=_blind_beats_rtn,
    sharp=_sharp_rest_is_at_rest,
    why_green=(
        "A test that asks for less error than plain rounding passes. The correction by the first block is right, and "
        "one that is roughly right still helps."
    ),
    remedy="Test what makes the method exact: after each block, the columns still free sit where the loss is least.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "The inverse Hessian is not updated from block to block",
            "Yes. Columns that have been rounded can no longer give way, but the inverse still counts on them. Both "
            "builds agree until column 256: what block 0 does to the others is right, what block 1 does is not.",
            right=True,
        ),
        Diagnosis(
            "Nothing: the reference code never updates H⁻¹ either",
            "It does not have to. It uses rows of the Cholesky factor of H⁻¹, and they contain all the updates. "
            "The plain inverse does not. In code the two look alike.",
        ),
        Diagnosis(
            "The calibration text is too short",
            "Then the correct build would suffer as well. Both had the same tokens.",
        ),
        Diagnosis(
            "Damping is too strong",
            "Strong damping makes GPTQ more like plain rounding in all columns. Here the first two blocks are "
            "right to the last digit.",
        ),
    ),
)
