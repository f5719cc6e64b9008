"""The stepper through the K-quants' search, against least squares and against ggml's own bytes."""

from __future__ import annotations

import bounds
import numpy as np
import pytest

from qviz import load, quantize
from qviz.errors import WidgetError
from qviz.models import data_dir
from qviz.widgets import ScaleSearchExplorer, trace_search
from qviz.widgets.scale_search import SEARCHED

rng = np.random.default_rng(11)
W = rng.standard_normal((4, 512)).astype(np.float32)


@pytest.fixture(scope="module")
def runs():
    return load("smollm2-slices")["token_embd.weight"].rows(0, 64).dequantize().reshape(-1, 256)


@pytest.mark.parametrize("name", ["Q4_K", "Q5_K"])
def test_candidates_are_weighted_least_squares_fits(name):
    """`numpy.linalg` solves the same problem another way."""
    checked = 0
    for part in W.reshape(-1, 32)[:16]:
        search = trace_search(part, name)
        root = np.sqrt(search.importance.astype(np.float64))
        for k in range(1, len(search.scales)):
            if np.isnan(search.errors[k]) or search.mins[k] <= 0:
                continue
            system = np.stack([search.codes[k], -np.ones(32)], axis=1) * root[:, None]
            (scale, low), *_ = np.linalg.lstsq(system, part * root, rcond=None)
            bound = bounds.line_bound(part, search.importance, search.codes[k])
            bounds.assert_within([search.scales[k], search.mins[k]], [scale, low], bound)
            checked += 1
    assert checked > 200


def test_importance_is_the_root_mean_square_plus_the_size():
    search = trace_search(W[0, :32], "Q4_K")
    x = W[0, :32].astype(np.float64)
    expected = np.sqrt(np.mean(x**2)) + np.abs(x)
    # half of a sum of 32 squares, then a quotient, a root and a sum
    bounds.assert_within(search.importance, expected, bounds.size_bound(expected, 32 // 2 + 4))
    assert trace_search(W[0, :16], "Q6_K").importance.tolist() == (W[0, :16] ** 2).tolist()


def weighted_error(search, k, x, power=2):
    """The error of a candidate in float64, and the bound of the encoder's."""
    parts = [np.float64(search.scales[k]) * search.codes[k], np.float64(search.mins[k]), x.astype(np.float64)]
    off, size = parts[0] - parts[1] - parts[2], sum(np.abs(part) for part in parts)
    importance = search.importance.astype(np.float64)
    error = (importance * np.abs(off) ** power).sum()
    return error, bounds.errors_bound(off, size, importance, power=power, roundings=3)


@pytest.mark.parametrize("name", SEARCHED)
def test_errors_are_those_of_the_levels(name):
    n = 32 if name in ("Q4_K", "Q5_K") else 16
    search = trace_search(W[1, :n], name)
    for k in np.flatnonzero(~np.isnan(search.errors)):
        error, bound = weighted_error(search, k, W[1, :n], 1 if name == "Q2_K" else 2)
        bounds.assert_within(search.errors[k], error, bound)
    least = int(np.nanargmin(search.errors))
    bound = sum(weighted_error(search, k, W[1, :n], 1 if name == "Q2_K" else 2)[1] for k in (least, search.winner))
    if name in ("Q3_K", "Q6_K"):  # gains are compared, which are errors less Σ w · x²
        bound += bounds.sum_bound(search.importance * W[1, :n] ** 2, roundings=4)
    assert search.errors[search.winner] <= search.errors[least] + bound


def test_min_max_is_the_baseline():
    x = W[2, :32]
    search = trace_search(x, "Q4_K")
    expected = (float(x.max()) - float(x.min())) / 15
    bounds.assert_within(search.scales[0], expected, bounds.size_bound(expected, 3))  # a difference, two quotients
    assert search.mins[0] == -x.min()
    assert {0, 15} <= set(search.codes[0].tolist())


def test_winners_become_the_scales_that_ggml_writes(runs):
    """The 6-bit scales and minimums in bytes that the C library wrote."""
    theirs = load(data_dir() / "libggml-k-quants.gguf")["Q4_K"]
    for row in range(16):
        winners = [trace_search(part, "Q4_K") for part in runs[row].reshape(8, 32)]
        scales = np.float32([s.scales[s.winner] for s in winners])
        mins = np.float32([s.mins[s.winner] for s in winners])
        raw = theirs.blocks["scales"][row, 0].astype(int)
        assert np.rint(np.float32(63) / scales.max() * scales).astype(int).tolist() == [
            *(raw[:4] & 63),
            *(raw[8:] & 15 | raw[:4] >> 6 << 4),
        ]
        assert np.rint(np.float32(63) / mins.max() * mins).astype(int).tolist() == [
            *(raw[4:8] & 63),
            *(raw[8:] >> 4 | raw[4:8] >> 6 << 4),
        ]


def test_the_shipped_file_is_what_the_encoder_makes(runs):
    for name, tensor in load(data_dir() / "libggml-k-quants.gguf").items():
        assert quantize(runs[:64], name).tobytes() == tensor.tobytes()


def test_the_shipped_file_is_ggmls(runs):
    import ggml

    for name, tensor in load(data_dir() / "libggml-k-quants.gguf").items():
        assert ggml.quantize(runs[:64], name) == tensor.tobytes()


@pytest.mark.parametrize("name", SEARCHED)
def test_each_candidate_is_drawn(name):
    explorer = ScaleSearchExplorer(W, format=name, row=1, sub_block=3, name="w")
    slider = explorer.controls["candidate"]
    assert slider.value == 0
    seen = []
    explorer.figure.observe(lambda change: seen.append(change.new), "frame")
    for k in range(1, slider.max + 1):
        slider.value = k
        line, curve = explorer.figure["line"], explorer.figure["curve"]
        assert curve.current == k
        assert line.used.sum() == line.weights.size
        assert (np.diff(line.levels) > 0).all()
    assert len(seen) == slider.max
    assert f"The winner is candidate {explorer.search.winner}" in explorer.figure.scene.summary
    assert len(explorer.figure.scene.tables[0].rows) == slider.max + 1


def test_a_click_on_the_curve_moves_the_slider():
    explorer = ScaleSearchExplorer(W, name="w")
    for sent, value in ((7, 7), (99, explorer.controls["candidate"].max), (-1, 0)):
        explorer._message(explorer.figure, {"event": "candidate", "candidate": sent}, None)
        assert explorer.controls["candidate"].value == value
    explorer._message(explorer.figure, {"event": "candidate", "candidate": "x"}, None)
    assert explorer.controls["candidate"].value == 0


def test_another_format_keeps_the_weights_in_view():
    explorer = ScaleSearchExplorer(W, row=2, sub_block=5, name="w")
    explorer.controls["format"].value = "Q6_K"
    assert explorer.controls["sub_block"].value == 10
    assert explorer.search.weights.tolist() == W[2, 160:176].tolist()


def test_what_is_stored_differs_a_little_from_the_winner():
    explorer = ScaleSearchExplorer(W, row=0, sub_block=9, name="w")
    stored = quantize(W[0, 256:], "Q4_K").dequantize()[32:64]
    x, importance = W[0, 288:320].astype(np.float64), explorer.search.importance.astype(np.float64)
    error = (importance * (stored - x) ** 2).sum()
    bound = bounds.errors_bound(stored - x, np.abs(stored) + np.abs(x), importance)
    bounds.assert_within(explorer.in_file, error, bound)


def test_rows_that_are_no_super_blocks():
    model = {"a": quantize(W[:, :288], "Q8_0"), "b": quantize(W, "Q8_0")}
    explorer = ScaleSearchExplorer(model)
    assert explorer.tensor_name == "b"
    explorer.controls["tensor"].value = "a"
    (status,) = explorer.figure.scene.status
    assert status.level == "error"
    assert "rows of 288" in status.text
    assert "qviz.recipes.plan" in status.text
    assert not explorer.figure.panels


def test_weights_that_are_all_alike_or_exact():
    flat = ScaleSearchExplorer(np.zeros((1, 256), np.float32), name="w")
    assert "nothing to search" in flat.figure.scene.summary
    exact = ScaleSearchExplorer(np.tile(np.arange(16, dtype=np.float32), 16)[None], name="w")
    assert exact.search.ratio == 1
    assert "no error at all" in exact.figure.scene.status[0].text


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ScaleSearchExplorer(W, format="Q4_0"), "Q2_K, Q3_K, Q4_K"),
        (lambda: ScaleSearchExplorer(W, row=4), "rows 0 … 3"),
        (lambda: ScaleSearchExplorer(W, sub_block=16), "16 sub-blocks"),
        (lambda: ScaleSearchExplorer(np.where(W > 2, np.nan, W)), "NaN"),
        (lambda: trace_search(W[0, :31]), r"32 finite weights.*\(31,\)"),
        (lambda: trace_search(np.full(32, np.inf)), "infinity"),
    ],
)
def test_what_cannot_be_searched(make, says):
    with pytest.raises(WidgetError, match=says):
        make()
