"""The answers called right in lessons 02 and 03 are right: computed here, on the weights and inputs of the lessons."""

from __future__ import annotations

import numpy as np

import qviz
from qviz.course import lesson


def right(id: str) -> str:
    return lesson.question(id).right.text


def test_02_2_the_best_width_grows_with_the_bits():
    x = qviz.load("smollm2-slices")["token_embd.weight"].dequantize()
    best = {}
    for bits in (4, 8):
        errors = qviz.grids.range_errors(x, qviz.AffineGrid(bits, 0), np.arange(1, 0.02, -0.01))
        best[bits] = errors.shares[errors.total.argmin()]
    assert 0.2 < best[4] < 0.3
    assert 0.6 < best[8] < 0.7
    low, high = best[8] * x.min(), best[8] * x.max()
    assert np.mean((x < low) | (x > high)) < 1e-4, "a third of the range holds almost none"
    assert right("02.2") == "About two thirds"


def test_02_4_more_than_half_of_the_inputs_become_zero():
    name = "blk.3.ffn_down.weight"
    texts = qviz.models.calibration_text(), qviz.models.heldout_text()
    before, after = (qviz.transformer.linear_inputs(qviz.load("tiny"), name, text, n_tokens=256) for text in texts)
    grid = qviz.AffineGrid(8, -1)
    low, high = qviz.grids.choose_range(before, grid)
    assert (high - low) / 255 > 1
    assert np.mean(qviz.grids.round_inputs(after, grid, (low, high)) == 0) > 0.5
    assert right("02.4") == "More than half"


def test_03_1_outer_levels_move_outwards():
    steps = []
    qviz.grids.kmeans(
        qviz.load("smollm2-slices")["token_embd.weight"].rows(0, 455).dequantize(), 4, iterations=60, trace=steps
    )
    start, end = steps[0].levels, steps[-1].levels
    assert end[0] < 1.5 * start[0] < 0 < 1.5 * start[-1] < end[-1]
    assert right("03.1") == "Outwards, towards the few large weights"
