"""The answers called right in lessons 02 and 03 are right: computed here, on the weights and inputs of the lessons."""

from __future__ import annotations

import numpy as np

import qviz
from qviz.course import lesson
from qviz.metrics import sqnr_db


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
    name = "blk.2.ffn_down.weight"
    texts = qviz.models.calibration_text(), qviz.models.heldout_text()
    before, after = (qviz.transformer.linear_inputs(qviz.load("tiny"), name, text, n_tokens=256) for text in texts)
    grid = qviz.AffineGrid(8, -1)
    low, high = qviz.grids.choose_range(before, grid)
    assert (high - low) / 255 / 2 > np.median(np.abs(after))
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


EMBEDDING = "token_embd.weight"


def test_02_1_groups_are_rarely_even():
    x = qviz.load("smollm2-slices")[EMBEDDING].rows(0, 512).dequantize()
    asym, sym = (sqnr_db(x, qviz.AffineGrid(4, 64, sym).fake_quantize(x)) for sym in (False, True))
    assert right("02.1") == "The asymmetric one, by one or two decibels"
    assert 1 < asym - sym < 2.5


def test_02_3_small_groups_gain_much_for_little():
    x = qviz.load("smollm2-slices")[EMBEDDING].dequantize()
    groups, whole = qviz.AffineGrid(4, 32), qviz.AffineGrid(4, 0)
    assert right("02.3") == "More than 15 dB, for five eighths of a bit a weight"
    assert sqnr_db(x, groups.fake_quantize(x)) - sqnr_db(x, whole.fake_quantize(x)) > 15
    assert round(8 * (groups.bpw(x.shape) - whole.bpw(x.shape)), 2) == 5


def test_03_2_a_table_for_32_weights_is_eight_bits_each():
    x = qviz.load("smollm2-slices")[EMBEDDING].rows(0, 8).dequantize()
    assert right("03.2") == str(round(qviz.grids.codebook.kmeans_groups(x, 4, 32).bpw))


def test_03_3_huffman_coding_prefers_even_steps():
    x = qviz.load("smollm2-slices")[EMBEDDING].dequantize()
    fitted, even = qviz.grids.kmeans(x, 4), qviz.AffineGrid(6, 0).quantize(x)
    codes, scales = fitted.quantize(x)
    bits = [qviz.figures.huffman_bits(np.bincount(used.ravel())) for used in (codes, even.codes)]
    assert right("03.3") == "The 64 evenly spaced ones"
    assert bits[1] < bits[0] - 0.1
    assert abs(sqnr_db(x, even.dequantize()) - sqnr_db(x, fitted.dequantize(codes, scales))) < 0.5
