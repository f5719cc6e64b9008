"""What the questions of lessons 07, 08 and 15 call right is right: computed here, on the weights of the lessons."""

from __future__ import annotations

import numpy as np
import pytest

import qviz
from qviz import checkpoints
from qviz.course import lesson, museum
from qviz.metrics import output_error

SLICES, QUERIES = qviz.load("smollm2-slices"), "blk.14.attn_q.weight"
GRID = qviz.AffineGrid(bits=3, group_size=128)


def right(id: str) -> str:
    return lesson.question(id).right.text


@pytest.fixture(scope="module")
def layer():
    """A matrix of the small model, inputs to calibrate on, inputs to test on."""
    model, name = qviz.load("tiny"), "blk.3.attn_q.weight"
    seen = qviz.transformer.linear_inputs(model, name, qviz.models.calibration_text(), n_tokens=2048)
    unseen = qviz.transformer.linear_inputs(model, name, qviz.models.heldout_text(), n_tokens=512)
    return model[name].dequantize(), seen, unseen


def ratios(weight, x, y, method):
    """Error over that of rounding to nearest: of the weights, on calibration inputs, on others."""
    grid, stats = qviz.AffineGrid(bits=3, group_size=128), qviz.ActivationStats.from_inputs(x)
    ours, plain = (f(weight, stats, grid).weight for f in (method, qviz.rtn))
    of_weights = np.linalg.norm(ours - weight) / np.linalg.norm(plain - weight)
    return of_weights, *(np.linalg.norm(z @ (ours - weight).T) / np.linalg.norm(z @ (plain - weight).T) for z in (x, y))


def test_07_3_weights_farther_outputs_nearer(layer):
    of_weights, _, of_outputs = ratios(*layer, qviz.gptq)
    assert right("07.3") == "Weights farther, outputs nearer"
    assert of_weights > 1 > of_outputs


def test_15_2_with_64_tokens_it_fools_itself(layer):
    weight, x, y = layer
    _, seen, unseen = ratios(weight, x[:64], y, qviz.gptq)
    assert weight.shape[1] == 256
    assert right("15.2") == "Much better on those 64 tokens, but worse on other tokens"
    assert seen < 0.5
    assert unseen > 1


def test_08_6_few_tokens_settle_one_number_and_not_hundreds():
    name = "blk.14.attn_q.weight"
    x, y = qviz.models.captured_inputs()[name]
    weight = SLICES[name].dequantize()
    awq, gptq = (ratios(weight, x[:64], y, method) for method in (qviz.awq, qviz.gptq))
    assert right("08.6") == "GPTQ on those 64, AWQ on held-out ones"
    assert gptq[1] < awq[1]
    assert awq[2] < gptq[2]


@pytest.fixture(scope="module")
def queries():
    """The layer of lesson 08 that has an outlier channel: weights, calibration inputs, others."""
    return SLICES[QUERIES].dequantize(), *qviz.models.captured_inputs()[QUERIES]


def test_07_1_columns_add_very_different_amounts():
    model, name = qviz.load("tiny"), "blk.1.attn_output.weight"
    weight = model[name].dequantize()
    x = qviz.transformer.linear_inputs(model, name, qviz.models.calibration_text(), n_tokens=1024)
    of_weights = np.square(qviz.rtn(weight, None, GRID).weight - weight).sum(axis=0)
    of_outputs = of_weights * np.square(x).mean(axis=0)
    assert right("07.1") == "No: some add several times as much as others"
    assert of_outputs.max() > 5 * np.median(of_outputs)
    assert of_weights.max() < 3 * np.median(of_weights), "their own errors are about alike"


def test_07_2_the_second_weight_takes_over_half():
    pair = qviz.methods.obs_row([1.42, 0.3], [[2, 1], [1, 2]], [1, 1], [0, 0], qviz.AffineGrid(2, -1))
    assert right("07.2") == "It goes up by 0.21, and is rounded to 1"
    assert round(float(pair.adjusted[1] - 0.3), 2) == 0.21
    assert pair.codes.tolist() == [1, 1]


def test_08_1_one_channel_is_far_larger(queries):
    size = np.abs(queries[1]).mean(axis=0)
    assert right("08.1") == "More than 50 times"
    assert size.max() > 50 * np.median(size)
    assert 9 < np.sort(size)[-2] / np.median(size) < 13, "eleven times, says the feedback"


def test_08_2_inputs_say_which_columns_matter(queries):
    weight, x, y = queries
    stats = qviz.ActivationStats.from_inputs(x)
    base = output_error(y, weight, qviz.rtn(weight, stats, GRID).weight)
    kept = {by: qviz.methods.keep_salient(weight, stats, GRID, by=by) for by in ("activation", "weight", "random")}
    left = {by: output_error(y, weight, made.weight) / base for by, made in kept.items()}
    assert right("08.2") == "Those with the largest inputs"
    assert left["activation"] < 0.35
    assert min(left["weight"], left["random"]) > 0.9


def test_08_3_too_large_a_scale_does_harm_again(queries):
    weight, x, y = queries
    place = np.abs(x).mean(axis=0).argmax()
    errors = []
    for factor in (1, 4, 64):
        s = np.ones(weight.shape[1], np.float32)
        s[place] = factor
        errors.append(output_error(y, weight, GRID.fake_quantize(weight * s) / s))
    assert right("08.3") == "It falls, and grows again when s is large"
    assert errors[0] > errors[1] < errors[2]


def test_08_4_three_matrices_share_a_gain():
    shapes = [SLICES[f"blk.14.attn_{part}.weight"].shape for part in "qkv"]
    assert right("08.4") == "No: one gain for each channel means one s for all three"
    assert {n_in for _, n_in in shapes} == {SLICES["blk.14.attn_norm.weight"].n_weights}


def test_08_5_flat_inputs_leave_awq_nothing(queries):
    weight, x, y = queries
    size = np.abs(x).mean(axis=0)
    stats = qviz.ActivationStats.from_inputs(x / size)
    plain, awq, gptq = (
        output_error(y / size, weight, f(weight, stats, GRID).weight) for f in (qviz.rtn, qviz.awq, qviz.gptq)
    )
    assert right("08.5") == "AWQ leaves all of it, GPTQ removes a little"
    assert abs(awq / plain - 1) < 0.01
    assert 0.5 < gptq / plain < 0.97


def test_08_7_blind_tests_pass_with_the_fault():
    assert right("08.7").startswith("Their data is too easy")
    assert all(exhibit.passes("blind", "wrong") for exhibit in museum.EXHIBITS.values())
    assert not any(exhibit.passes("sharp", "wrong") for exhibit in museum.EXHIBITS.values())


def test_15_1_groups_of_act_order_are_scattered(layer):
    weight, x, _ = layer
    stats, grid = qviz.ActivationStats.from_inputs(x), qviz.AffineGrid(3, 64)
    made = qviz.gptq(weight, stats, grid, act_order=True)
    assert right("15.1").startswith("Those that are rounded one after the other")
    assert (np.diff(made.g_idx) < 0).any()
    assert (np.diff(made.g_idx[np.argsort(-np.diagonal(stats.hessian), kind="stable")]) >= 0).all()


def test_15_3_a_second_rounding_undoes_the_first(layer):
    weight, x, y = layer
    stats = qviz.ActivationStats.from_inputs(x)
    first = qviz.gptq(weight, stats, qviz.AffineGrid(4, 32), act_order=True).weight
    plain, again = (output_error(y, weight, qviz.quantize(w, "Q4_0").dequantize()) for w in (weight, first))
    assert right("15.3") == "Somewhat more than with plain rounding"
    assert 1 < again / plain < 1.5


def test_15_4_a_zero_borrows_from_its_neighbour():
    word = checkpoints.pack_bits(np.array([0, 7, 8, 8, 8, 8, 8, 8])[:, None], 4)
    stored = checkpoints.unpack_bits(checkpoints.zeros_to_v1(word, 4), 4)[:, 0]
    assert right("15.4") == str(stored[1])


def test_15_5_the_settings_say_the_version(tmp_path):
    four = qviz.AffineGrid(4, 32).quantize(SLICES[QUERIES].dequantize()[:64])
    read = []
    for kind in ("gptq", "gptq_v2"):
        packed = checkpoints.pack(four.codes, four.scale, four.zero_point, bits=4, format=kind)
        folder = checkpoints.write_packed(tmp_path / kind, {"q": packed}, group_size=32)
        (layer,) = checkpoints.read_packed(folder).values()
        read.append((set(packed.tensors()), layer.dequantize()))
        assert f'"checkpoint_format": "{kind}"' in (folder / "quantize_config.json").read_text()
    assert right("15.5") == "The settings beside the weights say so"
    assert read[0][0] == read[1][0], "the same names"
    assert np.array_equal(read[0][1], read[1][1])
