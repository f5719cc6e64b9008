"""The answers called right in lessons 02 and 03 are right: computed here, on the weights and inputs of the lessons."""

from __future__ import annotations

import numpy as np

import qviz
from qviz import lesson


def right(id: str) -> str:
    return lesson.question(id).right.text


def test_02_2_a_quarter_of_the_range():
    x = qviz.load("smollm2-slices")["token_embd.weight"].dequantize()
    shares = np.arange(1, 0.02, -0.01)
    errors = qviz.calibration.range_errors(x, qviz.AffineGrid(4, 0), shares)
    best = errors.shares[errors.total.argmin()]
    assert 0.2 < best < 0.3
    outside = np.mean((x < 0.25 * x.min()) | (x > 0.25 * x.max()))
    assert outside < 1 / 200
    assert right("02.2") == "At about a quarter"


def test_02_4_more_than_half_of_the_inputs_become_zero():
    name = "blk.3.ffn_down.weight"
    texts = qviz.models.calibration_text(), qviz.models.heldout_text()
    before, after = (qviz.llama.linear_inputs(qviz.load("tiny"), name, text, n_tokens=256) for text in texts)
    grid = qviz.AffineGrid(8, -1)
    low, high = qviz.calibration.choose_range(before, grid)
    assert (high - low) / 255 > 1
    assert np.mean(qviz.calibration.round_inputs(after, grid, (low, high)) == 0) > 0.5
    assert right("02.4") == "More than half"


def test_03_1_outer_levels_move_outwards():
    steps = []
    qviz.grids.kmeans(
        qviz.load("smollm2-slices")["token_embd.weight"].rows(0, 455).dequantize(), 4, iterations=60, trace=steps
    )
    start, end = steps[0].levels, steps[-1].levels
    assert end[0] < 1.5 * start[0] < 0 < 1.5 * start[-1] < end[-1]
    assert right("03.1") == "Outwards, towards the few large weights"
