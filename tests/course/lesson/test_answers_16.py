"""The answers called right in lesson 16 are right: computed here, on the weights and the table of the lesson."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import qviz
from qviz import methods
from qviz.course import lesson
from qviz.metrics import output_error
from qviz.widgets import StaircaseExplorer

MODEL = qviz.load("tiny")
NAME = "blk.3.attn_v.weight"
W = MODEL[NAME].dequantize()
GRID = qviz.AffineGrid(bits=2, group_size=64)
WAYS = {
    "GPTQ": lambda stats: methods.gptq(W, stats, GRID, mse=True),
    "AutoRound": lambda stats: methods.autoround(W, stats, GRID),
    "AdaRound": lambda stats: methods.adaround(W, stats, GRID),
}


def right(id: str) -> str:
    return lesson.question(id).right.text


@pytest.fixture(scope="module")
def x() -> Any:
    return qviz.transformer.linear_inputs(MODEL, NAME, qviz.models.calibration_text(), n_tokens=4096)


@pytest.fixture(scope="module")
def unseen() -> Any:
    return qviz.transformer.linear_inputs(MODEL, NAME, qviz.models.heldout_text(), n_tokens=2048)


def lost(tokens: Any, unseen: Any) -> dict[str, float]:
    stats = qviz.ActivationStats.from_inputs(tokens)
    return {way: output_error(unseen, W, rounded(stats).weight) for way, rounded in WAYS.items()}


def test_16_1_one_in_a_thousand_changes():
    scale, zero = GRID.params(W)
    nudged = W + np.float32(0.001) * np.repeat(scale, 64, axis=1)
    before, after = (GRID.fake_quantize(each, params=(scale, zero)) for each in (W, nudged))
    assert right("16.1").startswith("About one in a thousand")
    assert 0.0003 < np.mean(before != after) < 0.003


def test_16_2_it_jumps_across_the_border(x):
    stairs = StaircaseExplorer(W, x[:1024], row=199, column=136).figure["stairs"]
    step = stairs.levels[1] - stairs.levels[0]
    assert 1.6 < (stairs.best - stairs.levels[0]) / step < 1.9, "three quarters of the way from level 1 to level 2"
    assert right("16.2") == "At the border between both levels, where it jumps back and forth"
    assert set(stairs.path_level[-20:].tolist()) == {1, 2}
    assert (np.abs(stairs.path[-20:] - (stairs.levels[1] + step / 2)) < 0.2 * step).all()


def test_16_3_adaround_loses_least_with_many_tokens(x, unseen):
    found = lost(x, unseen)
    assert right("16.3").startswith("AdaRound")
    assert found["AdaRound"] < 0.95 * found["GPTQ"]
    assert found["GPTQ"] < found["AutoRound"]


def test_16_4_autoround_loses_least_with_few(x, unseen):
    found = lost(x[:64], unseen)
    assert right("16.4").startswith("AutoRound")
    assert found["AutoRound"] < 0.97 * found["AdaRound"]
    assert found["AdaRound"] < found["GPTQ"]


def test_16_5_training_falls_and_ends_near_gptq():
    rows = {(row.start, row.step): row for row in qviz.measure.training_rows() if row.bits == 2}
    gptq = rows["gptq", 0].kld
    assert right("16.5") == "Begun with nearest rounding, it falls to about what GPTQ leaves without training"
    assert rows["gptq", 16].kld > gptq > rows["gptq", 96].kld > 0.4 * gptq
    assert 0.8 * gptq < rows["rtn", 96].kld < 1.2 * gptq
    assert rows["rtn", 96].kld < 0.4 * rows["rtn", 0].kld
