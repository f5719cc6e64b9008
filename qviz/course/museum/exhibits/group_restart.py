"""Groups of columns that start again from the first one in every block."""

from __future__ import annotations

import numpy as np

from qviz.course.museum import _material
from qviz.course.museum._material import BATCH, round_to, row_grid, slices
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Thread, Trial

_GROUP = 64


def _wrong_gptq(weight, U, grids, size):
    w = weight.copy()
    for block in slices(w.shape[1], BATCH):
        for i in range(block.stop - block.start):
            column, group = block.start + i, i // size
            w = _round_column(w, column, U, grids[group])
    return w


def _right_gptq(weight, U, grids, size):
    w = weight.copy()
    for block in slices(w.shape[1], BATCH):
        for i in range(block.stop - block.start):
            column, group = block.start + i, (block.start + i) // size
            w = _round_column(w, column, U, grids[group])
    return w


def _round_column(w, k, U, grid):
    """Round one column and let the later ones make up for it."""
    e = (w[:, k : k + 1] - round_to(w[:, k : k + 1], grid)) / U[k, k]
    w[:, k:] -= e @ U[k : k + 1, k:]
    return w


def _case(rows, columns):
    weight = _material.layer().weight[:rows, :columns].astype(np.float64)
    U = np.linalg.cholesky(np.linalg.inv(_material.hessian()[:columns, :columns])).T
    return weight, U, [row_grid(weight[:, part], 3) for part in slices(columns, _GROUP)]


def _on_its_levels(gptq, columns):
    weight, U, grids = _case(8, columns)
    rounded = gptq(weight, U, grids, _GROUP)
    parts = zip(slices(columns, _GROUP), grids, strict=True)
    return all(np.allclose(round_to(rounded[:, part], grid), rounded[:, part]) for part, grid in parts)


def _blind_one_block(gptq):
    return _on_its_levels(gptq, 128)


def _sharp_three_blocks(gptq):
    return _on_its_levels(gptq, 384)


def _examine() -> Trial:
    layer = _material.layer()
    weight, U, grids = _case(*layer.weight.shape)
    right, wrong = (step(weight, U, grids, _GROUP).astype(np.float32) for step in (_right_gptq, _wrong_gptq))
    rtn = np.hstack(
        [round_to(weight[:, part], grid) for part, grid in zip(slices(weight.shape[1], _GROUP), grids, strict=True)]
    )
    return Trial(
        f"{layer.material}. 3 bits, a scale for each {_GROUP}; blocks of {BATCH} columns",
        right,
        wrong,
        layer.output_errors(right, wrong, rtn),
        _GROUP,
        "group",
    )


EXHIBIT = Exhibit(
    name="group-restart",
    symptom="Finer groups, hardly any gain",
    story=(
        "A scale for each row works well. A scale for each 64 weights must work better: nine times as many "
        "numbers are stored. The result is about as good as before."
    ),
    fault=(
        "The group of a column was looked up by its place in the block, so every block used the scales of the first."
    ),
    shipped_in="neuralmagic/sparseml; repaired in May 2024",
    threads=(Thread("neuralmagic/sparseml", 2290, "pull"),),
    wrong=_wrong_gptq,
    right=_right_gptq,
    blind=_blind_one_block,
    sharp=_sharp_three_blocks,
    why_green=(
        "A test matrix of one block, 128 columns, has no second block to go wrong in. Small matrices make fast tests."
    ),
    remedy="More columns than one block, and a check that every weight lies on a level of its own group.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "More scales, more rounding of scales",
            "Scales are not rounded here. In a file they are float16, which costs a thousandth.",
        ),
        Diagnosis(
            "Groups must be as wide as the block",
            "They need not be. Any group size works when each column finds its own scale.",
        ),
        Diagnosis(
            "GPTQ overfits with small groups",
            "Then the correct build would as well. And the error would not begin at column 128 sharp.",
        ),
        Diagnosis(
            "From the second block on, columns use the scales of the first",
            "Yes. Within the first 128 columns both builds agree. Then the group number starts from 0 again, and "
            "weights are put on levels made for others.",
            right=True,
        ),
    ),
    made_up="The repair names the fault, not how it was noticed. The story is ours, the numbers are measured.",
)
