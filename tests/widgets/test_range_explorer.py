"""The range explorers against NumPy and the choosers themselves."""

from __future__ import annotations

import bounds
import numpy as np
import pytest

from qviz import AffineGrid, load, metrics, quantize
from qviz.errors import WidgetError
from qviz.grids import choose_range, round_inputs
from qviz.widgets import InputRangeExplorer, RangeExplorer
from qviz.widgets.scene import pack, unpack

rng = np.random.default_rng(5)
W = (0.1 * rng.standard_t(4, (12, 160))).astype(np.float32)
X = rng.standard_normal((40, 96)).astype(np.float32)
LIVE = rng.standard_normal((30, 96)).astype(np.float32)
LIVE[7] *= 5

PRINTED = bounds.shown_bound(1) + bounds.double_bound(W.size + X.size)


def decibels(explorer, i=1):
    return float(explorer.figure.scene.readouts[i].value.split()[0].replace("−", "-"))


@pytest.fixture
def explorer():
    return RangeExplorer(W, name="w")


@pytest.mark.parametrize("title", ["min–max", "percentile", "least squared error", "KL divergence"])
@pytest.mark.parametrize("sym", [False, True])
def test_one_range_for_the_tensor_is_what_the_chooser_chose(explorer, title, sym):
    method = {"min–max": "minmax", "percentile": "percentile", "least squared error": "mse", "KL divergence": "kl"}
    explorer.controls["sym"].value = sym
    explorer.controls["chooser"].value = title
    grid = AffineGrid(4, -1, sym)
    low, high = choose_range(W, grid, method[title], steps=99)
    shown = explorer.figure["range"]
    assert (shown.low, shown.high) == (low, high)
    assert shown.below + shown.above == np.count_nonzero((np.float32(low) > W) | (np.float32(high) < W))
    sqnr = metrics.sqnr_db(W, round_inputs(W, grid, (low, high)))
    assert decibels(explorer) == pytest.approx(sqnr, abs=PRINTED)
    curve = explorer.figure["curve"]
    shown_sqnr = -10 * np.log10(curve.errors[curve.names.index(title)])
    bounds.assert_within(shown_sqnr, sqnr, bounds.double_bound(W.size) + bounds.decibel_bound(1, bounds.U))
    assert explorer.controls["width"].value == round(100 * curve.current)


@pytest.mark.parametrize("shared", [-1, 128, 64, 32])
def test_groups_have_ranges_of_their_own(shared):
    explorer = RangeExplorer(W, shared=shared, name="w")
    grid = AffineGrid(4, shared)
    assert decibels(explorer) == pytest.approx(metrics.sqnr_db(W, grid.fake_quantize(W)), abs=PRINTED)
    assert explorer.figure.scene.readouts[0].value == f"{grid.bpw(W.shape):.3f}"
    strip, row = explorer.figure["strip"], explorer.controls["row"].value
    assert strip.steps.tolist() == grid.params(W)[0][row].tolist()
    assert strip.rounded.tolist() == grid.fake_quantize(W)[row].tolist()
    assert explorer.controls["chooser"].options == ("min–max", "least squared error", "by hand")
    explorer.controls["width"].value = 70
    assert explorer.controls["chooser"].value == "by hand"
    narrow = grid.fake_quantize(W, params=(grid.params(W)[0] * np.float32(0.7), grid.params(W)[1]))
    assert decibels(explorer) == pytest.approx(metrics.sqnr_db(W, narrow), abs=PRINTED)


def test_the_least_error_is_the_least_of_the_curve(explorer):
    explorer.controls["shared"].value = 32
    explorer.controls["bits"].value = 2
    explorer.controls["chooser"].value = "least squared error"
    curve = explorer.figure["curve"]
    assert curve.current == curve.shares[curve.best]
    assert curve.total[curve.best] == curve.total.min() < curve.total[-1]
    assert decibels(explorer) == pytest.approx(-10 * np.log10(curve.total.min()), abs=PRINTED)


def test_a_chooser_that_groups_are_too_small_for_gives_way(explorer):
    explorer.controls["chooser"].value = "KL divergence"
    explorer.controls["shared"].value = 64
    assert explorer.controls["chooser"].value == "min–max"
    explorer.controls["shared"].value = 0
    assert "KL divergence" in explorer.controls["chooser"].options


def test_where_the_error_lies_adds_up_to_the_bar(explorer):
    explorer.controls["width"].value = 40
    shown, stack = explorer.figure["range"], explorer.figure.panels["range"].options["stack"]
    signal = np.square(W, dtype=np.float64).sum()
    for name in ("clipping", "rounding"):
        found = getattr(shown, name)
        bounds.assert_within(found.sum() / signal, stack[name], bounds.double_bound(W.size) * stack[name])
    edges = np.linspace(shown.values.low, shown.values.high, shown.clipping.size + 1)
    inside = (edges[:-1] > shown.low) & (edges[1:] < shown.high)
    assert not shown.clipping[inside].any(), "what is clipped lies outside"
    step = shown.levels[1] - shown.levels[0]
    beyond = (edges[1:] < shown.low - step) | (edges[:-1] > shown.high + step)
    assert not shown.rounding[beyond].any(), "what is rounded lies inside, give or take half a step"
    assert "clipped below" in explorer.figure.panels["range"].label


def test_the_errors_of_a_group_are_its_own():
    explorer = RangeExplorer(W, shared=32, bits=3, name="w")
    row, place = explorer.controls["row"].value, explorer.controls["column"].value // 32
    group = W[row, 32 * place : 32 * place + 32].astype(np.float64)
    square = np.square(AffineGrid(3, 32).fake_quantize(W)[row, 32 * place : 32 * place + 32] - group).sum()
    shown = explorer.figure["range"]
    bounds.assert_within(shown.rounding.sum(), square, bounds.double_bound(32) * square)
    assert not shown.clipping.any()


def test_an_outlier_costs_its_own_group_only():
    explorer = RangeExplorer(W, shared=32, name="w")
    column, row = explorer.controls["column"].value, explorer.controls["row"].value
    before = explorer.figure["strip"]
    explorer.controls["times"].value = 40
    after = explorer.figure["strip"]
    assert after.values[column] == W[row, column] * np.float32(40)
    assert after.original == W[row, column]
    same = np.arange(5) != column // 32
    assert (before.noise[same] == after.noise[same]).all()
    assert after.noise[column // 32] > 2 * before.noise[column // 32]
    assert "multiplied by 40" in explorer.figure.scene.status[0].text
    assert explorer.original is not None
    assert explorer.original[row, column] == W[row, column]


@pytest.mark.parametrize("shared", [0, -1, 64])
def test_the_curve_of_changed_weights_is_the_one_computed_anew(shared):
    explorer = RangeExplorer(W, shared=shared, bits=3, name="w")
    explorer.controls["times"].value = 25
    changed = W.copy()
    changed[explorer.controls["row"].value, explorer.controls["column"].value] *= np.float32(
        explorer.controls["times"].value
    )
    fresh = RangeExplorer(changed, shared=shared, bits=3, name="w")
    largest = fresh.figure["curve"].total.max()
    for name in ("clipping", "rounding"):  # one group is taken out of a float64 sum, and put in again
        shown, expected = (getattr(one.figure["curve"], name) for one in (explorer, fresh))
        bound = bounds.size_bound(expected, 1) + 4 * (W.size + 2) * bounds.DOUBLE * largest
        bounds.assert_within(shown, expected, bound)


def test_a_symmetric_grid_clips_its_own_largest_weight():
    """2·max|x|/(2ᵇ − 1) puts it half a step past the last code, as `qviz.grids.affine` says."""
    x = np.abs(W)
    explorer = RangeExplorer(x, bits=4, name="w")
    explorer.controls["sym"].value = True
    curve = explorer.figure["curve"]
    assert curve.clipping[-1] > 0
    assert curve.shares[-1] == 1
    explorer.controls["sym"].value = False
    assert explorer.figure["curve"].clipping[-1] == 0


def test_a_click_on_a_picture_moves_the_controls(explorer):
    for sent, value in ((0.5, 50), (2.0, 100), (-1, 2)):
        explorer._message(explorer.figure, {"event": "width", "width": sent}, None)
        assert explorer.controls["width"].value == value
        assert explorer.controls["chooser"].value == "by hand"
    for sent, value in ((7, 7), (999, 159), (-3, 0)):
        explorer._message(explorer.figure, {"event": "column", "column": sent}, None)
        assert explorer.controls["column"].value == value
        assert explorer.figure["strip"].column == value
    explorer._message(explorer.figure, {"event": "column", "column": None}, None)


def test_everything_on_show_travels(explorer):
    sent = unpack(pack(explorer.figure.scene))
    assert [panel["figure"]["type"] for panel in sent["panels"].values()] == [
        "RangeHistogram",
        "RangeCurve",
        "GroupStrip",
    ]
    captions = [table["caption"] for table in sent["tables"]]
    errors = "Where the squared error of those that share the range lies"
    assert captions == ["Who shares a range, all with min–max", "Choosers", errors]
    assert [row[1] for row in sent["tables"][0]["rows"]] == [
        f"{AffineGrid(4, size).bpw(W.shape):.3f}" for size in (0, -1, 128, 64, 32)
    ]


def test_a_model_and_its_vectors():
    model = {"norm": quantize(W[0], "F32"), "a": quantize(W, "Q8_0"), "b": quantize(W, "Q4_1")}
    explorer = RangeExplorer(model)
    assert explorer.tensor_name == "a"
    assert "Q8_0" in explorer.figure.scene.status[-1].text
    explorer.controls["tensor"].value = "b"
    assert explorer.figure["strip"].values.size == 160
    explorer.controls["tensor"].value = "norm"
    assert explorer.controls["row"].disabled


def test_the_real_outlier_is_in_view():
    embedding = load("smollm2-slices")["token_embd.weight"].rows(0, 64)
    explorer = RangeExplorer(embedding, name="embedding")
    assert np.abs(explorer.figure["strip"].values).max() == np.abs(embedding.dequantize()).max()


# -- inputs


def test_a_static_range_never_saw_the_inputs():
    explorer = InputRangeExplorer((X, LIVE), bits=8, name="x")
    shown = explorer.figure["range"]
    assert (shown.low, shown.high) == (X.min(), X.max())
    assert shown.before.total == X.size
    assert shown.below + shown.above == np.count_nonzero((X.min() > LIVE) | (X.max() < LIVE)) > 0
    wanted = round_inputs(LIVE, AffineGrid(8, -1), choose_range(X, AffineGrid(8, -1)))
    assert decibels(explorer) == pytest.approx(metrics.sqnr_db(LIVE, wanted), abs=PRINTED)
    curve = explorer.figure["curve"]
    assert curve.total[-1] > 100 * curve.before[-1]  # what calibration promised


def test_a_dynamic_range_fits_each_token():
    explorer = InputRangeExplorer((X, LIVE), bits=8, shared=-1, name="x")
    wanted = metrics.sqnr_db(LIVE, round_inputs(LIVE, AffineGrid(8, -1)))
    assert decibels(explorer) == pytest.approx(wanted, abs=PRINTED)
    static = InputRangeExplorer((X, LIVE), bits=8, name="x")
    assert decibels(explorer) > decibels(static) + 3
    assert explorer.figure["curve"].before.size == 0


def test_a_multiplied_input_moves_no_static_range():
    explorer = InputRangeExplorer((X, LIVE), bits=8, name="x")
    before = explorer.figure["range"]
    explorer.controls["times"].value = 100
    after = explorer.figure["range"]
    assert (before.low, before.high) == (after.low, after.high)
    assert after.below + after.above == before.below + before.above + 1
    assert "unchanged" not in explorer.figure.scene.readouts[-1].value
    assert explorer.figure.scene.readouts[-1].value == "error × 1"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RangeExplorer(W, shared=16), "0, -1, 128, 64, 32"),
        (lambda: RangeExplorer(W, chooser="best"), "min–max"),
        (lambda: RangeExplorer(W, bits=1), "2 to 8"),
        (lambda: RangeExplorer(np.where(W > 0.3, np.nan, W)), "NaN"),
        (lambda: RangeExplorer(np.zeros((2, 8))), "zeros"),
        (lambda: InputRangeExplorer(X), "calibration inputs"),
        (lambda: InputRangeExplorer((X, LIVE[:, :5])), r"\(40, 96\).*\(30, 5\)"),
        (lambda: InputRangeExplorer((X, LIVE), shared=0), "static"),
    ],
)
def test_what_cannot_be_shown(make, says):
    with pytest.raises(WidgetError, match=says):
        make()
