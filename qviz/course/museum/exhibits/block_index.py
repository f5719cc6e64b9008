"""GPTQ's columns, counted within a group in one place and within the matrix in another."""

from __future__ import annotations

from functools import partial

import numpy as np

from qviz.course.museum import _material
from qviz.course.museum._material import BATCH, round_to, row_grid
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Thread, Trial


def _wrong_gptq(w, U, to_grid, size):
    w = w.copy()
    for i in range(0, w.shape[1], size):
        j = min(i + size, w.shape[1])
        errors = np.zeros_like(w[:, i:j])
        for k in range(i, j):
            now = w[:, k : k + 1]
            e = (now - to_grid(now)) / U[k, k]
            w[:, k : k + j] -= e @ U[k : k + 1, k : k + j]
            errors[:, k : k + 1] = e
        w[:, j:] -= errors @ U[i:j, j:]
    return w


def _right_gptq(w, U, to_grid, size):
    w = w.copy()
    for i in range(0, w.shape[1], size):
        j = min(i + size, w.shape[1])
        errors = np.zeros_like(w[:, i:j])
        for k in range(i, j):
            now = w[:, k : k + 1]
            e = (now - to_grid(now)) / U[k, k]
            w[:, k:j] -= e @ U[k : k + 1, k:j]
            errors[:, k - i : k - i + 1] = e
        w[:, j:] -= errors @ U[i:j, j:]
    return w


def _case(rows, columns):
    weight = _material.layer().weight[:rows, :columns].astype(np.float64)
    U = np.linalg.cholesky(np.linalg.inv(_material.hessian()[:columns, :columns])).T
    return weight, U, partial(round_to, grid=row_grid(weight, 3))


def _by_column(weight, U, to_grid):
    """Every column moves all later ones at once: nothing to index wrongly."""
    w = weight.copy()
    for k in range(w.shape[1]):
        e = (w[:, k : k + 1] - to_grid(w[:, k : k + 1])) / U[k, k]
        w[:, k:] -= e @ U[k : k + 1, k:]
    return w


def _blind_one_group(gptq):
    weight, U, to_grid = _case(8, 64)
    by_column = _by_column(weight, U, to_grid)
    return np.allclose(gptq(weight, U, to_grid, 64), by_column)


def _sharp_four_groups(gptq):
    weight, U, to_grid = _case(8, 64)
    by_column = _by_column(weight, U, to_grid)
    return np.allclose(gptq(weight, U, to_grid, 16), by_column)


def _examine() -> Trial:
    layer = _material.layer()
    weight, U, to_grid = _case(*layer.weight.shape)
    right, wrong = (step(weight, U, to_grid, BATCH).astype(np.float32) for step in (_right_gptq, _wrong_gptq))
    rtn = to_grid(weight)
    return Trial(
        f"{layer.material}. 3 bits, a scale for each row; columns in groups of {BATCH}",
        right,
        wrong,
        layer.output_errors(right, wrong, rtn),
        BATCH,
        "group",
    )


EXHIBIT = Exhibit(
    name="block-index",
    symptom="No error, no warning, other weights than the paper's",
    story=(
        "Somebody rewrites this GPTQ in another language and compares. The first group of columns agrees to the last "
        "bit; after that nothing does. Models made with it work."
    ),
    fault="Inside a group, columns were counted from the start of the matrix. The errors of later groups were stored "
    "nowhere, and updates ran beyond the group's end.",
    shipped_in="ml-explore/mlx-lm; reported and repaired in September 2026",
    threads=(Thread("ml-explore/mlx-lm", 1878), Thread("ml-explore/mlx-lm", 1880, "pull")),
    wrong=_wrong_gptq,
    right=_right_gptq,
    blind=_blind_one_group,
    sharp=_sharp_four_groups,
    why_green=(
        "In the first group both ways of counting agree, so a small matrix of one group is rounded rightly. And "
        "a slice beyond the end of an array is empty: storing into it does nothing, and says nothing."
    ),
    remedy="The group is only there for speed: the result must not depend on it. Compare with one column at a time.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "Sums in another order",
            "That changes the last digits, and everywhere. Here the first group agrees to the last bit and the next "
            "one jumps by whole levels.",
        ),
        Diagnosis(
            "Each group has a scale of its own",
            "Both builds use one scale for a row. And with scales by group the jump would not grow from group to "
            "group.",
        ),
        Diagnosis(
            "A column's place in the matrix is used as its place in the group",
            "Yes. In the first group they are the same number. From the second on, errors land outside their "
            "buffer and are lost.",
            right=True,
        ),
        Diagnosis(
            "The groups should overlap",
            "They should not. Each column is rounded once; its error moves all columns after it, the later groups by "
            "one product at the end.",
        ),
    ),
)
