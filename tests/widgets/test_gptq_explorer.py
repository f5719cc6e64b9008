"""The GPTQ debugger without a browser: what it shows is what GPTQ did, whatever is switched."""

from __future__ import annotations

import bounds
import eliminations
import numpy as np
import pytest

from qviz import load, models, quantize, transformer
from qviz.calibration import ActivationStats
from qviz.errors import LlamaError, WidgetError
from qviz.grids import AffineGrid
from qviz.methods import gptq, obs_row, rtn
from qviz.widgets import GPTQExplorer
from qviz.widgets.scene import unpack

rng = np.random.default_rng(2)
N = 64
MIX = rng.standard_normal((N, N)) * rng.permutation(np.geomspace(3, 0.2, N))
X, HELD = ((rng.standard_normal((600, N)) @ MIX).astype(np.float32) for _ in range(2))
W = rng.standard_normal((10, N)).astype(np.float32)


def explorer(**options):
    return GPTQExplorer(W, inputs=X, held_out=HELD, name="w", **options)


def tiles(shown):
    return {readout.label: readout for readout in shown.figure.scene.readouts}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bits": 2},
        {"bits": 8, "group_size": -1},
        {"group_size": 32, "sym": True},
        {"act_order": True, "group_size": 32},
        {"act_order": True, "static_groups": True, "group_size": 32},
        {"damping": 0.5},
        {"column_batch": 16, "group_size": 32},
        {"tokens": 64},
    ],
)
def test_switches_run_gptq_with_these_options(settings):
    shown = explorer()
    for name, value in settings.items():
        shown.controls[name].value = value
    its = {"bits": 3, "group_size": 128, "sym": False, "act_order": False, "static_groups": False} | settings
    grid = AffineGrid(its["bits"], its["group_size"], its["sym"])
    stats = ActivationStats.from_inputs(X[: its.get("tokens", 600)])
    options = {name: its[name] for name in ("act_order", "static_groups")}
    options |= {"damp_percent": its.get("damping", 0.01), "column_batch": its.get("column_batch", 1)}
    expected = gptq(W, stats, grid, **options)
    np.testing.assert_array_equal(shown.result.codes, expected.codes)
    for name, x in (("calibration", X[: stats.n_tokens]), ("held out", HELD)):
        for k, other in enumerate((expected, rtn(W, None, grid))):
            wide, off = x.astype(np.float64), other.weight - W.astype(np.float64)
            sums = np.square(wide @ off.T).sum(), np.square(wide @ W.T.astype(np.float64)).sum()
            bound = bounds.ratio_bound(sums[0], bounds.output_bound(off, x), sums[1], bounds.output_bound(W, x))
            bounds.assert_within(shown.errors[name][k], sums[0] / sums[1], bound)
    assert all(status.level == "info" for status in shown.figure.scene.status)


@pytest.mark.parametrize("settings", [{}, {"act_order": True, "group_size": 32}, {"bits": 2, "column_batch": 16}])
def test_every_row_on_show_is_what_the_explicit_formula_gives(settings):
    shown = explorer(**settings)
    run, result = shown.run, shown.result
    for r in range(len(W)):
        row = obs_row(run.weight[r], run.hessian, run.scales[r], run.zero_points[r], run.grid)
        assert row.codes.tolist() == result.codes[r, run.order].tolist()
    bounds.assert_within(
        run.adjusted,
        eliminations.adjusted(run.hessian, run.weight, run.rounded),
        bounds.response_bound(lambda h: eliminations.adjusted(h, run.weight, run.rounded), run.hessian),
    )
    i, pull = shown.figure["pull"].column, shown.figure["pull"].pull
    bound = bounds.response_bound(lambda h: (lambda u: u[i, i + 1 :] / u[i, i])(eliminations.factor(h)), run.hessian)
    assert shown.figure["pull"].difference <= bound.max() / np.abs(pull).max()


def test_the_first_picture_shows_a_weight_that_falls_far():
    shown = explorer()
    steps, at = shown.figure["steps"], shown.figure["steps"].column - shown.figure["steps"].first
    off = abs(steps.before[at] - steps.now[at]) / steps.steps[at]
    assert 0.3 < off < 0.5
    assert steps.shares.argmax() > at, "arcs lead to the right"
    assert not steps.shares[: at + 1].any()
    assert steps.first + len(steps.original) - steps.column > 10, "there is room for them"


def test_a_walk_over_all_columns():
    shown = explorer(row=4)
    shown.controls["column"].value = N - 1
    frames = []
    shown.figure.observe(lambda change: frames.append(change.new), "frame")
    run = shown.run
    for i in range(N):
        shown.controls["play"].value = i  # moves the slider
        assert shown.controls["column"].value == i
        steps = shown.figure["steps"]
        at = i - steps.first
        assert (steps.row, steps.column) == (4, i)
        assert steps.now[at] == run.rounded[4, i]
        bound = bounds.sum_bound(np.r_[W[4, i], run.errors[4, :i] * run.factor[:i, i]], roundings=4)
        bounds.assert_within(steps.before[at], run.adjusted[4, i], 2 * bound)
        assert shown.figure["moved"].column == shown.figure["hessian"].column == shown.figure["factor"].row == i
        assert shown.figure["race"].column == shown.figure["pull"].column == i
    assert shown.run is run  # a move runs nothing again
    assert len(frames) == N
    assert f"column {N - 1} of {N}" in shown.figure.scene.summary
    sent = unpack(shown.figure.frame)["panels"]
    assert sent["steps"]["figure"]["type"] == "StepRow"
    share = run.loss[-1] / run.nearest_loss[-1]
    bounds.assert_within(sent["race"]["figure"]["ours"][-1], share, bounds.size_bound(share, 1))


def test_a_move_draws_once():
    shown = explorer(column=5)
    frames = []
    shown.figure.observe(lambda change: frames.append(change.new), "frame")
    shown.controls["column"].value = 6
    assert shown.controls["play"].value == 6
    shown.controls["row"].value = 3
    shown.controls["bits"].value = 4
    assert len(frames) == 3


def test_a_click_or_a_key_on_a_picture():
    shown = explorer()
    for sent, column, row in (
        ({"column": 30, "row": 7}, 30, 7),
        ({"column": 900}, N - 1, 7),
        ({"row": -3}, N - 1, 0),
        ({"column": "x"}, N - 1, 0),
        ({"column": 2}, 2, 0),
    ):
        shown._message(shown.figure, {"event": "step"} | sent, None)
        assert (shown.controls["column"].value, shown.controls["row"].value) == (column, row)


def test_a_lock_on_a_switch_leaves_the_pictures_free():
    shown = explorer()
    shown.lock("x", "predict first", ["tokens"])
    shown._message(shown.figure, {"event": "step", "column": 30}, None)
    assert shown.controls["column"].value == 30
    assert shown.controls["tokens"].disabled
    shown.lock("y", "everything")
    shown._message(shown.figure, {"event": "step", "column": 3}, None)
    assert shown.controls["column"].value == 30


def test_what_the_tiles_say():
    shown = explorer(column=N - 1)
    by = tiles(shown)
    ours, nearest = shown.errors["calibration"]
    assert by["Calibration / RTN"].value == f"{ours / nearest:.2g} ×"
    assert float(by["U off formula by"].value.replace("−", "-")) < 1e-3
    assert by["Batch 1 or 128"].value == f"{shown.batch_differs[1]} differ"
    assert shown.batch_differs == (128, 0)
    assert by["Weights / RTN"].value.split()[0] > "1"  # weights end farther away than the nearest level
    table = shown.figure.scene.tables[1]
    assert [row[0].split(",")[0] for row in table.rows] == ["outputs", "outputs", "weights"]
    assert len(shown.figure.scene.tables[0].rows) == 40


def test_the_batch_changes_nothing_but_the_waiting():
    shown = explorer(group_size=-1, column=20)
    before = shown.result.codes
    assert shown.figure["pull"].waits == N
    shown.controls["column_batch"].value = 32
    assert np.mean(shown.result.codes != before) < 0.005
    assert shown.figure["steps"].waits == 32
    assert not (shown.run.now(20)[:, 32:] != shown.run.weight[:, 32:]).any()


def test_too_few_tokens_are_warned_of():
    shown = explorer(bits=4, tokens=32)
    (status,) = shown.figure.scene.status
    assert status.level == "info"
    assert "32 tokens for 64 input columns" in status.text
    (ours, nearest), (ours_out, nearest_out) = shown.errors["calibration"], shown.errors["held out"]
    assert ours < 0.3 * nearest
    assert ours_out > nearest_out


def test_a_matrix_that_nothing_makes_positive_definite():
    shown = explorer()
    huge = ActivationStats.from_inputs(np.eye(N, dtype=np.float32))
    huge._products[0, 1] = huge._products[1, 0] = 1e6
    shown._stats[64] = huge
    shown.controls["tokens"].value = 64
    (status,) = shown.figure.scene.status
    assert status.level == "error"
    assert "not positive definite" in status.text
    assert not shown.figure.panels
    shown.controls["tokens"].value = 600
    assert shown.figure.panels


def test_statistics_instead_of_inputs():
    shown = GPTQExplorer(W, inputs=ActivationStats.from_inputs(X))
    assert shown.controls["tokens"].disabled
    assert "held out" not in shown.errors
    assert "Held out / RTN" not in tiles(shown)
    np.testing.assert_array_equal(shown.result.codes, explorer().result.codes)


def test_several_matrices_with_their_inputs():
    both = {"a": W, "b": W[:, :32], "c": np.ones(4)}
    shown = GPTQExplorer(both, inputs={"a": (X, HELD), "b": (X[:, :32], None)}, column=40)
    assert list(shown.controls["tensor"].options) == ["a", "b"]
    shown.controls["tensor"].value = "b"
    assert shown.controls["column"].max == shown.controls["play"].max == 31
    assert shown.run.n == 32
    assert "held out" not in shown.errors
    shown.controls["tensor"].value = "a"
    assert shown.run.n == N
    assert shown.controls["column"].max == N - 1


def test_captured_inputs_of_a_larger_model():
    shown = GPTQExplorer(load("smollm2-slices"), inputs=models.captured_inputs(), tensor="blk.14.attn_v.weight")
    assert shown.errors["held out"][0] < 0.6 * shown.errors["held out"][1]
    assert "blocks, so they already lie on its levels" in shown.figure.scene.status[0].text


def test_without_arguments_inputs_are_caught_from_the_small_model(monkeypatch):
    monkeypatch.setattr("qviz.widgets.gptq.CALIBRATION", 512)
    monkeypatch.setattr("qviz.widgets.gptq.HELD_OUT", 256)
    shown = GPTQExplorer()
    assert shown.tensor_name == "blk.1.attn_output.weight"
    assert "blk.0.attn_norm.weight" not in shown.controls["tensor"].options
    x = transformer.linear_inputs(load("tiny"), shown.tensor_name, models.calibration_text(), 512)
    np.testing.assert_array_equal(shown.calibration, x)
    np.testing.assert_array_equal(shown.weights, load("tiny")[shown.tensor_name].dequantize())
    assert shown.held_out.n_tokens == 256
    seen = []
    shown.figure.observe(lambda change: seen.append(shown.figure.scene), "frame")
    shown.controls["tensor"].value = "blk.0.attn_q.weight"
    assert "768 tokens" in seen[0].summary.replace("\u202f", "")  # said while it runs
    assert "blk.0.attn_q.weight" in seen[-1].summary


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: GPTQExplorer(W), WidgetError, "needs its inputs"),
        (lambda: GPTQExplorer(W, inputs=X[:, :5]), WidgetError, r"inputs must be \(n_tokens, 64\).*\(600, 5\)"),
        (lambda: GPTQExplorer(W, inputs=X, held_out=X[0]), WidgetError, r"held_out must be"),
        (lambda: GPTQExplorer(W[0], inputs=X), WidgetError, r"shape \(64,\)"),
        (lambda: explorer(bits=5), WidgetError, "bits must be one of 2, 3, 4, 8 here, got 5"),
        (lambda: explorer(group_size=7), WidgetError, "group_size must be one of"),
        (lambda: explorer(row=10), WidgetError, r"\[10, 0\].*10 rows and 64 columns"),
        (lambda: explorer(tokens=33), WidgetError, "tokens must be one of 32, 64, 128, 256, 512, 600"),
        (lambda: GPTQExplorer({"a": W, "b": W}, inputs=X), WidgetError, "mapping of names"),
        (lambda: GPTQExplorer({"a": W}), WidgetError, "no matrix here has inputs"),
    ],
)
def test_what_cannot_be_shown(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_a_part_of_a_model_cannot_be_run():
    with pytest.raises(LlamaError, match="only a part of a model"):
        transformer.linear_inputs(load("smollm2-slices"), "blk.0.attn_q.weight", "text")
    shown = GPTQExplorer(load("smollm2-slices"))
    assert shown.figure.scene.status[0].level == "error"
    assert "only a part of a model" in shown.figure.scene.status[0].text


def test_weights_that_are_not_numbers():
    shown = GPTQExplorer(np.where(W > 2.5, np.nan, W), inputs=X)
    assert shown.figure.scene.status[0].level == "error"
    assert "nan" in shown.figure.scene.status[0].text
    quantized = GPTQExplorer(quantize(W, "Q8_0"), inputs=X)
    assert "Q8_0 blocks" in quantized.figure.scene.status[0].text
