"""AWQ's figures against the formulas, on numbers that can be followed by hand."""

import bounds
import numpy as np
import pytest

from qviz import AffineGrid, rtn
from qviz.errors import WidgetError
from qviz.figures import (
    Window,
    alpha_curve,
    channel_tracks,
    clip_curve,
    error_bars,
    result_table,
)
from qviz.figures.curvature import coupling, seen_by, sight_images
from qviz.metrics import output_error

rng = np.random.default_rng(8)


def test_channels_stand_by_size_or_as_they_are():
    size = np.float32([1, 7, 2, 9, 3, 1])
    step, before, after = (rng.random(6).astype(np.float32) for _ in range(3))
    tracks = channel_tracks(size, step, before, after, group_size=4, part=0.3, channel=2)
    assert tracks.order.tolist() == [3, 1, 4, 2, 0, 5]  # ties keep their order
    assert tracks.size.tolist() == [9, 7, 3, 2, 1, 1]
    assert tracks.step.tolist() == step[tracks.order].tolist()
    assert (tracks.before.tolist(), tracks.after.tolist()) == (
        before[tracks.order].tolist(),
        after[tracks.order].tolist(),
    )
    assert tracks.salient.tolist() == [0, 1]  # 0.3 · 6 ≈ 2
    assert (tracks.current, tracks.edges.tolist(), tracks.sorted) == (3, [], True)
    natural = channel_tracks(size, step, before, after, group_size=4, part=0.3, channel=2, by_size=False)
    assert natural.order.tolist() == list(range(6))
    assert (natural.salient.tolist(), natural.edges.tolist(), natural.current) == ([1, 3], [4], 2)
    assert channel_tracks(size, step, before, after).salient.tolist() == [0]  # at least one


def test_curves_are_in_units_of_plain_rounding():
    curve = alpha_curve([0, 0.25, 0.5, 0.75], [8, 4, 2, 6], [10, 4, 6, 20], alpha=0.3)
    assert curve.calibration.tolist() == [1, 0.5, 0.25, 0.75]
    assert curve.heldout.tolist() == [1, 0.4, 0.6, 2]
    assert (curve.best, curve.current) == (2, 1)
    exact = alpha_curve([0, 0.5], [0, 0], [0, 0], alpha=0)  # rounding loses nothing: nothing to compare with
    assert (exact.calibration.tolist(), exact.heldout.tolist(), exact.best) == ([1, 1], [1, 1], 0)


def test_one_group_and_all_groups_of_a_clip_search():
    tried, loss = [1.0, 0.9, 0.8], rng.random((3, 4, 2))
    loss[:, 1, 1] = 4, 1, 2
    keep = np.float32([[1, 0.9], [0.8, 0.8], [1, 1], [0.9, 1]])
    curve = clip_curve(tried, loss, keep, row=1, group=1)
    assert curve.loss.tolist() == [1, 0.25, 0.5]
    assert (curve.best, curve.chosen) == (1, 2)  # the row's other group had a say
    assert curve.counts.tolist() == [4, 2, 2]
    assert clip_curve(tried, np.zeros((3, 4, 2)), keep).loss.tolist() == [1, 1, 1]


def test_bars_compare_with_the_first():
    bars = error_bars(["a", "b", "c"], [0.2, 0.05, 0.4], [0.1, 0.02, 0.1], notes=["1", "2", "3"], marked=[1])
    assert bars.heldout.tolist() == pytest.approx([1, 0.25, 2])
    assert bars.calibration.tolist() == pytest.approx([1, 0.2, 1])
    assert (bars.best, bars.marked, bars.notes) == (1, (1,), ("1", "2", "3"))


def test_a_table_of_results():
    w, x = rng.standard_normal((6, 32)).astype(np.float32), rng.standard_normal((50, 32)).astype(np.float32)
    results = {f"{bits} bits": rtn(w, None, AffineGrid(bits, 16)) for bits in (2, 3)}
    table = result_table(w, x, results, digits=1)
    lost = [output_error(x, w, result.weight) for result in results.values()]
    assert [row[2] for row in table.rows] == [f"{100 * part:.1f}%" for part in lost]
    assert [row[3] for row in table.rows] == ["100.0%", f"{100 * lost[1] / lost[0]:.1f}%"]
    assert table.columns[-1] == "of 2 bits"


def test_what_each_method_sees_has_the_trace_of_the_hessian():
    x = rng.standard_normal((40, 6)) * [1, 5, 1, 2, 1, 1]
    H, s = 2 * x.T @ x / 40, np.abs(x).mean(axis=0) ** 0.5
    order = np.argsort(-np.diagonal(H))
    seen = seen_by(H, s, order)
    trace = np.trace(H)
    expected = {
        "gptq": H[np.ix_(order, order)],
        "rtn": np.eye(6) * trace / 6,
        "imatrix": np.diag(np.diagonal(H)[order]),
        "awq": np.diag(s[order] ** 2) * trace / (s**2).sum(),
    }
    assert seen.keys() == expected.keys()
    for name, matrix in seen.items():  # H and s as float32, sums of six, a product and a quotient
        assert np.trace(expected[name]) == pytest.approx(trace)
        bounds.assert_within(matrix, expected[name], bounds.size_bound(expected[name], 2 * 6 + 6))


def test_errors_of_scaled_rounding_are_alike_in_the_metric_of_s_squared():
    """What the picture of AWQ claims: mean error² of a channel goes with 1 / s²."""
    w, s, grid = rng.standard_normal((3000, 16)), np.linspace(0.5, 4, 16), AffineGrid(4, -1)
    off = grid.fake_quantize((w * s).astype(np.float32)) / s - w
    counted = np.square(off).mean(axis=0) * s**2
    # a mean of 3000 squares, evenly spread over a step: their spread is 2 / √5 of their mean
    bounds.assert_within(counted, counted.mean(), 5 * 2 / 5**0.5 / 3000**0.5 * counted.mean())
    assert np.square(off).mean(axis=0)[0] > 40 * np.square(off).mean(axis=0)[-1]  # 64 in the long run


def test_sights_share_one_scale():
    seen = {"rtn": np.diag(np.float32([1, 1, 1])), "gptq": np.float32([[64, 0.5, 0], [0.5, 1, 0.25], [0, 0.25, 1]])}
    images = sight_images(seen)
    assert {image.limit for image in images.values()} == {4.0}  # four times the median diagonal entry
    # 253 steps over ten octaves: each factor of two is 25.3 codes
    assert images["rtn"].pixels.tolist() == [[203, 0, 0], [0, 203, 0], [0, 0, 203]]
    assert images["gptq"].pixels.tolist() == [[254, 178, 0], [178, 203, 153], [0, 153, 203]]
    assert sight_images(seen, Window(1, 1, 2, 2))["gptq"].pixels.tolist() == [[203, 153], [153, 203]]
    assert sight_images({"rtn": np.zeros((2, 2), np.float32)})["rtn"].pixels.max() == 0


def test_coupling_is_what_lies_off_the_diagonal():
    assert coupling([[3.0, 2.0], [2.0, 4.0]]) == pytest.approx(8 / 33)
    assert coupling(np.zeros((3, 3))) == 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: channel_tracks([1, 2], [1], [1, 2], [1, 2]), "one value for each channel"),
        (lambda: channel_tracks([], [], [], []), "one value for each channel"),
        (lambda: channel_tracks([1], [1], [1], [1], channel=1), "no channel 1; there are 1"),
        (lambda: alpha_curve([0.5], [1], [1], alpha=0), "alphas from 0 on"),
        (lambda: alpha_curve([0, 1], [1], [1, 2], alpha=0), "two errors for each"),
        (lambda: clip_curve([1.0], [[[1.0]]], [[1.0]], row=1), "no group 0 in row 1"),
        (lambda: clip_curve([1.0], [[1.0]], [[1.0]]), "a loss for each part"),
        (lambda: error_bars([], [], []), "0 names"),
        (lambda: error_bars(["a"], [1, 2], [1]), "1 names, 2 and 1 errors"),
        (lambda: result_table(np.eye(2), np.eye(2), {}), "results are needed"),
        (lambda: result_table(np.eye(2), np.eye(2), {"x": rtn(np.eye(3), None, AffineGrid(4, -1))}), "another layer"),
        (lambda: seen_by(np.eye(3), [1, 2]), "are needed, got"),
    ],
)
def test_what_is_refused(call, says):
    with pytest.raises(WidgetError, match=says):
        call()
