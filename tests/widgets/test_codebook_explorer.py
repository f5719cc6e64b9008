"""The codebook explorer against the grids themselves and against SciPy's k-means."""

from __future__ import annotations

import bounds
import numpy as np
import pytest
from scipy.cluster.vq import kmeans2

from qviz import AffineGrid, load, metrics, quantize
from qviz.errors import WidgetError
from qviz.grids import NF4, Codebook
from qviz.grids.codebook import kmeans_groups
from qviz.widgets.codebook import CodebookExplorer
from qviz.widgets.scene import pack, unpack

rng = np.random.default_rng(9)
W = rng.standard_t(5, (24, 128)).astype(np.float32)

PRINTED = bounds.shown_bound(1) + bounds.double_bound(W.size)


def decibels(text):
    return float(text.split()[0].replace("−", "-"))


def test_every_iteration_is_one_of_lloyds():
    """SciPy moves the levels once from where our iteration has them."""
    explorer = CodebookExplorer(W, bits=3, name="w")
    slider = explorer.controls["iteration"]
    values = W.ravel().astype(np.float64)
    for k in range(min(12, slider.max)):
        slider.value = k
        shown = explorer.figure["levels"]
        assert shown.current == explorer.figure["curve"].current == k
        moved, _ = kmeans2(W.ravel().astype(np.float64), shown.paths[k].astype(np.float64), iter=1, minit="matrix")
        counts = np.bincount(np.abs(values[:, None] - shown.paths[k]).argmin(axis=1), minlength=8)
        # levels are shown as float32, means are of float64 sums; no value lies so near an edge that this moves it
        edges = (shown.paths[k][1:] + shown.paths[k][:-1]).astype(np.float64) / 2
        assert np.abs(values[:, None] - edges).min() > 2 * bounds.U * np.abs(edges).max()
        bound = bounds.size_bound(moved, 1) + 2 * values.size * bounds.DOUBLE * np.abs(values).sum() / counts.min()
        bounds.assert_within(shown.paths[k + 1], moved, bound)
        nearest = np.abs(W.ravel()[:, None] - shown.paths[k]).argmin(axis=1)
        assert shown.used.tolist() == np.bincount(nearest, minlength=8).tolist()
        levels = shown.paths[k][nearest]
        off, size = values - levels, bounds.size_bound(levels, 1)
        bound = bounds.decibel_bound((off**2).sum(), (2 * np.abs(off) * size + size**2).sum())
        sqnr = metrics.sqnr_db(values, levels)
        bounds.assert_within(explorer.figure["curve"].decibels[k], sqnr, bound + bounds.double_bound(values.size))


def test_it_opens_at_the_end_and_plays_from_the_start():
    explorer = CodebookExplorer(W, name="w")
    slider, play = explorer.controls["iteration"], explorer.controls["play"]
    assert slider.value == slider.max == play.max == len(explorer.steps) - 1 > 5
    shown, update = [], explorer.update
    explorer.update = lambda: (shown.append(slider.value), update())
    for k in range(3):
        play.value = k
        assert slider.value == k
        assert explorer.figure["curve"].current == k
    assert shown == [0, 1, 2]  # computed once a step, though two controls moved


@pytest.mark.parametrize("shared", [-1, 64, 32])
def test_groups_pay_for_their_tables(shared):
    explorer = CodebookExplorer(W, shared=shared, name="w")
    books = kmeans_groups(W, 4, shared, iterations=60)
    readouts = {readout.label: readout.value for readout in explorer.figure.scene.readouts}
    assert readouts["Bits per weight"] == f"{books.bpw:.3f}"
    size = 128 if shared == -1 else shared
    assert readouts["of which tables"] == f"{16 * 16 / size:.3f}"
    assert decibels(readouts["SQNR, all fitted"]) == pytest.approx(metrics.sqnr_db(W, books.dequantize()), abs=PRINTED)
    rows = {row[0]: row for row in explorer.figure.scene.tables[0].rows}
    nf4 = Codebook(NF4.levels, shared)
    assert decibels(rows["NF4"][2]) == pytest.approx(metrics.sqnr_db(W, nf4.fake_quantize(W)), abs=PRINTED)
    assert rows["NF4"][1] == f"{nf4.bpw(W.shape):.3f}"
    grid = AffineGrid(4, shared)
    assert decibels(rows["evenly spaced"][2]) == pytest.approx(metrics.sqnr_db(W, grid.fake_quantize(W)), abs=PRINTED)
    assert rows["evenly spaced"][1] == f"{grid.bpw(W.shape):.3f}"


def test_the_group_on_show():
    explorer = CodebookExplorer(W, shared=32, name="w")
    explorer.controls["row"].value, explorer.controls["group"].value = 5, 3
    shown, part = explorer.figure["levels"], W[5, 96:]
    assert shown.used.sum() == 32
    assert shown.values.total == 32
    grid = AffineGrid(4, -1)
    assert shown.others[0].tolist() == grid.levels(*grid.params(part[None])).ravel().tolist()
    scale = np.abs(part).max()
    levels = NF4.levels * np.float64(scale)
    bounds.assert_within(shown.others[shown.names.index("NF4")], levels, bounds.size_bound(levels, 1))


def test_tables_of_four_bits_need_four_bits():
    explorer = CodebookExplorer(W, name="w")
    assert explorer.figure["levels"].names == ("evenly spaced", "evenly spaced, clipped", "NF4", "FP4", "MXFP4")
    explorer.controls["bits"].value = 3
    assert explorer.figure["levels"].names == ("evenly spaced", "evenly spaced, clipped")
    assert explorer.figure["levels"].paths.shape[1] == 8


def test_one_table_for_the_tensor_is_nearly_free():
    explorer = CodebookExplorer(W, name="w")
    (fitted, *_others), *_ = explorer.figure.scene.tables[0].rows, None
    assert fitted[0] == "k-means"
    assert fitted[1] == f"{4 + 16 * 16 / W.size:.3f}"
    # stated: one table, nearly as good
    assert decibels(fitted[2]) == pytest.approx(explorer.figure["curve"].decibels[-1], abs=0.3)
    assert float(fitted[3]) <= float(fitted[4]) <= 4


def test_a_key_on_the_picture_steps():
    explorer = CodebookExplorer(W, name="w")
    for sent, value in ((2, 2), (999, explorer.controls["iteration"].max), (-4, 0)):
        explorer._message(explorer.figure, {"event": "iteration", "iteration": sent}, None)
        assert explorer.controls["iteration"].value == value
    explorer._message(explorer.figure, {"event": "iteration", "iteration": "x"}, None)


def test_everything_on_show_travels():
    sent = unpack(pack(CodebookExplorer(W, name="w").figure.scene))
    assert [panel["figure"]["type"] for panel in sent["panels"].values()] == ["LloydPicture", "LloydCurve"]
    assert sent["panels"]["levels"]["figure"]["paths"].shape[1] == 16
    assert len(sent["tables"][1]["rows"]) == 16


def test_a_model():
    model = {"norm": quantize(W[0], "F32"), "a": quantize(W, "Q8_0"), "b": quantize(W + 1, "Q4_1")}
    explorer = CodebookExplorer(model)
    assert explorer.tensor_name == "a"
    explorer.controls["tensor"].value = "b"
    assert explorer.figure["levels"].paths.min() < explorer.weights.mean() < explorer.figure["levels"].paths.max()
    assert "Q4_1" in explorer.figure.scene.status[-1].text


def test_a_large_tensor_is_cut_and_says_so():
    explorer = CodebookExplorer(load("smollm2-slices"), "token_embd.weight", bits=2)
    assert explorer.weights.shape == (455, 576)
    assert "first 455 of 1536 rows" in explorer.figure.scene.status[0].text


def test_a_group_of_equal_weights():
    w = W.copy()
    w[2, :32] = 1
    explorer = CodebookExplorer(w, shared=32, name="w")
    explorer.controls["row"].value = 2
    assert "nothing moves" in explorer.figure.scene.summary
    assert explorer.controls["iteration"].disabled
    explorer.controls["row"].value = 3
    assert not explorer.controls["iteration"].disabled


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: CodebookExplorer(W, bits=7), "2 to 6"),
        (lambda: CodebookExplorer(W, shared=5), "0, -1, 128"),
        (lambda: CodebookExplorer(np.full((2, 4), np.inf)), "finite"),
        (lambda: CodebookExplorer(np.ones((2, 4))), "two different"),
    ],
)
def test_what_cannot_be_shown(make, says):
    with pytest.raises(WidgetError, match=says):
        make()
