"""The AWQ lab and the curvature explorer, driven without a browser; their numbers against the formulas in float64."""

import bounds
import numpy as np
import pytest

from qviz import ActivationStats, AffineGrid, awq, gptq, models, rtn
from qviz.errors import QvizError, WidgetError
from qviz.metrics import output_error
from qviz.widgets import AWQExplorer, CurvatureExplorer
from qviz.widgets.layers import MOST_ROWS, Layer, Layers, flattened, shipped_layers
from qviz.widgets.scene import unpack

rng = np.random.default_rng(4)
SIZES = np.ones(128)
SIZES[[5, 70]] = 40, 15


def layer(n_out=24, tokens=600):
    x = (rng.standard_normal((tokens, 128)) * SIZES).astype(np.float32)
    return rng.standard_normal((n_out, 128)).astype(np.float32), x[: tokens // 2], x[tokens // 2 :]


@pytest.fixture(scope="module")
def parts():
    return layer()


@pytest.fixture
def explorer(parts):
    return AWQExplorer({"loud": parts, "flat": flattened(Layer(*parts))}, group_size=64)


def scales(x, alpha):
    s = np.abs(x).mean(axis=0, dtype=np.float64) ** alpha
    return s / np.sqrt(s.max() * s.min())


def rounded(w, x, alpha, grid):
    s = scales(x, alpha).astype(np.float32)
    return grid.fake_quantize(w * s) / s


def output_share(tokens, w, v, change=0.0):
    """`output_error`, and the bound of what is computed from float32 sums of products."""
    whole, off = output_size(tokens, w), np.asarray(v, np.float64) - w
    error = output_size(tokens, off)
    bound = bounds.ratio_bound(error, bounds.output_bound(off, tokens, change), whole, bounds.output_bound(w, tokens))
    return error / whole, bound


def output_size(tokens, w):
    return float(np.square(np.asarray(tokens, np.float64) @ np.asarray(w, np.float64).T).sum())


# a power, the root of a product and a quotient make s; then come s · w, the step, a code and its product
ROUNDINGS = 12


def moved(w, x, alpha, grid):
    """How far `rounded` may be off."""
    s = scales(x, alpha).astype(np.float32)
    steps = grid.params(w * s)[0]
    return bounds.rounding_change(w * s, np.repeat(steps, w.shape[1] // steps.shape[1], 1), ROUNDINGS) / s


def test_the_curve_is_the_output_error_over_alpha(explorer, parts):
    w, x, unseen = parts
    curve, grid = explorer.figure["alpha"], AffineGrid(3, 64)
    for tokens, shown in ((x, curve.calibration), (unseen, curve.heldout)):
        each = [output_share(tokens, w, rounded(w, x, k / 20, grid), moved(w, x, k / 20, grid)) for k in range(20)]
        (expected, bound) = np.array(each).T
        unit = expected[0], bound[0]
        bounds.assert_within(shown, expected / expected[0], bounds.ratio_bound(expected, bound, *unit))
    assert curve.best == curve.current == np.argmin(curve.calibration) > 0
    assert explorer.controls["alpha"].value == awq(w, ActivationStats.from_inputs(x), grid, trace=True).trace["best"]


def test_a_bar_is_dragged(explorer, parts):
    hand = explorer.figure["hand"]
    assert hand.channels[hand.current] == 5, "the largest channel"
    assert hand.scale[hand.current] == explorer.controls["scale"].value == 4
    assert hand.left < 1
    explorer._message(explorer.figure, {"event": "hand", "channel": 7, "scale": 2.0}, None)
    hand = explorer.figure["hand"]
    assert (hand.channels[hand.current], explorer.controls["scale"].value) == (7, 2)
    assert hand.scale[np.flatnonzero(hand.channels == 5)].tolist() == [4], "the other bar stays where it was left"
    explorer.controls["scale"].value = 16
    assert explorer.figure["hand"].scale[hand.current] == 16
    explorer._message(explorer.figure, {"event": "hand", "channel": 7, "scale": 1e9}, None)
    assert explorer.controls["scale"].value == 64, "the slider ends there"
    for nonsense in ({"channel": 999, "scale": 2}, {"channel": 7, "scale": -1}, {"channel": 7}):
        explorer._message(explorer.figure, {"event": "hand", **nonsense}, None)
    assert explorer.figure["hand"].scale[hand.current] == 64
    explorer.lock("x", "predict first")
    explorer._message(explorer.figure, {"event": "hand", "channel": 7, "scale": 2.0}, None)
    assert explorer.controls["scale"].value == 64
    explorer.unlock("x")
    explorer.controls["bits"].value = 4  # another question: from the start
    assert explorer.controls["scale"].value == 4


def test_what_the_rows_over_the_channels_say(explorer, parts):
    w, x, unseen = parts
    explorer.controls["order"].value = "as they stand"
    explorer.controls["alpha"].value = 0.5
    tracks, grid = explorer.figure["channels"], AffineGrid(3, 64)
    size = np.abs(x).mean(axis=0, dtype=np.float64)
    bounds.assert_within(tracks.size, size, bounds.size_bound(size, 1))
    assert tracks.salient.tolist() == [5]
    assert tracks.edges.tolist() == [64]
    s = scales(x, 0.5)
    s /= np.median(s)
    steps = [grid.params((w * factor).astype(np.float32))[0] for factor in (1, s)]
    growth = np.median(steps[1] / steps[0], axis=0)
    expected = growth[np.arange(128) // 64] / s
    bounds.assert_within(tracks.step, expected, bounds.size_bound(expected, 2 * ROUNDINGS))
    assert tracks.step[5] < 0.5
    whole = output_size(unseen, w), bounds.output_bound(w, unseen)
    for shown, alpha in ((tracks.before, 0), (tracks.after, 0.5)):
        off, change = rounded(w, x, alpha, grid) - w.astype(np.float64), moved(w, x, alpha, grid)
        for j in (0, 5, 70, 127):
            part = np.s_[:, j : j + 1]
            alone = output_size(unseen[part], off[part])
            bound = bounds.output_bound(off[part], unseen[part], change[part])
            bounds.assert_within(shown[j], alone / whole[0], bounds.ratio_bound(alone, bound, *whole))
    assert tracks.after[5] < 0.3 * tracks.before[5]


def test_alpha_zero_is_plain_rounding(explorer, parts):
    w, _, unseen = parts
    explorer.controls["alpha"].value = 0.0
    assert np.array_equal(explorer.result.weight, rtn(w, None, AffineGrid(3, 64)).weight)
    tracks = explorer.figure["channels"]
    bounds.assert_within(tracks.step, 1, bounds.size_bound(1, 3))  # two quotients and a product
    np.testing.assert_array_equal(tracks.before, tracks.after)
    said = {r.label: r.value for r in explorer.figure.scene.readouts}
    assert said["What remains of it"] == "100 %"
    assert said["Error of the output"] == f"{100 * output_error(unseen, w, explorer.result.weight):.1f} %"


def test_clipping_follows_the_search(explorer, parts):
    w, x, unseen = parts
    explorer.controls["clip"].value = True
    alpha = explorer.controls["alpha"].value
    expected = awq(w, ActivationStats.from_inputs(x), AffineGrid(3, 64), alpha=alpha, clip=True, trace=True)
    assert np.array_equal(explorer.result.weight, expected.weight)
    explorer.controls["row"].value = 7
    curve = explorer.figure["clip"]
    assert curve.counts.sum() == expected.trace["clip_keep"].size
    assert curve.tried[curve.chosen] == expected.trace["clip_keep"][7, 5 // 64]
    bars = explorer.figure["methods"]
    base = output_share(unseen, w, rtn(w, None, AffineGrid(3, 64)).weight)
    share = output_share(unseen, w, expected.weight)
    shown = bars.heldout[bars.names.index("AWQ with clipping")]
    bounds.assert_within(shown, share[0] / base[0], bounds.ratio_bound(*share, *base))


def test_the_experiment_before_the_method(explorer):
    bars = explorer.figure["methods"]
    left = dict(zip(bars.names, bars.heldout, strict=True))
    assert left["keep 1 %: largest inputs"] < 0.5
    assert left["keep 1 %: largest weights"] > 0.9
    assert bars.marked == (1, 2, 3)


def test_without_outliers_there_is_nothing_to_gain(explorer):
    explorer.controls["layer"].value = "flat"
    curve = explorer.figure["alpha"]
    np.testing.assert_allclose(curve.calibration, 1, atol=0.02)  # stated: nothing to gain
    assert "Simulated" in explorer.figure.scene.status[0].text


def test_clicks_and_keys(explorer):
    for sent, value in ((7, 0.35), (99, 0.95), (-5, 0.0)):
        explorer._message(explorer.figure, {"event": "alpha", "alpha": sent}, None)
        assert explorer.controls["alpha"].value == value
    explorer._message(explorer.figure, {"event": "channel", "place": 1}, None)
    assert explorer.figure["channels"].order[explorer.figure["channels"].current] == 70
    assert "Channel 70" in explorer.figure.scene.panels["channels"].caption
    explorer._message(explorer.figure, {"event": "channel", "place": "x"}, None)
    assert explorer.figure["channels"].current == 1


@pytest.mark.parametrize("kind", [AWQExplorer, CurvatureExplorer])
def test_every_control_changes_the_picture(parts, kind):
    explorer = kind({"loud": parts, "flat": flattened(Layer(*parts))}, group_size=64)
    changes = {"bits": 4, "group_size": -1, "tokens": 64, "alpha": 0.1, "clip": True, "row": 3, "layer": "flat"}
    for name, value in {**changes, "order": "as they stand", "zoom": 16}.items():
        if name not in explorer.controls:
            continue
        before = explorer.figure.frame
        explorer.controls[name].value = value
        assert explorer.figure.frame != before, name
        assert not any(note.level == "error" for note in explorer.figure.scene.status)
        assert unpack(explorer.figure.frame)["summary"] == explorer.figure.scene.summary
    assert explorer.figure.scene.tables


def test_all_methods_spend_the_same_bits_and_see_what_they_should(parts):
    w, x, unseen = parts
    explorer = CurvatureExplorer({"loud": parts}, group_size=64)
    assert len({result.bpw for result in explorer.results.values()}) == 1
    base = output_share(unseen, w, explorer.results["round to nearest"].weight)
    bars = explorer.figure["methods"]
    for name, shown in zip(bars.names, bars.heldout, strict=True):
        share = output_share(unseen, w, explorer.results[name].weight)
        bounds.assert_within(shown, share[0] / base[0], bounds.ratio_bound(*share, *base))
    expected = gptq(w, ActivationStats.from_inputs(x), AffineGrid(3, 64)).weight
    assert np.array_equal(explorer.results["GPTQ"].weight, expected)
    H = explorer._seen["as they stand"]["gptq"]
    bounds.assert_within(H, 2 / len(x) * x.T.astype(float) @ x, 2 / len(x) * bounds.dot_bound(x.T, x.T, 2))
    off = ~np.eye(64, dtype=bool)
    for name in ("rtn", "imatrix", "awq"):
        assert (explorer.figure[name].pixels[off] == 0).all()
    assert (explorer.figure["gptq"].pixels[off] > 0).any()


def test_zooming_into_the_matrix(parts):
    explorer = CurvatureExplorer({"loud": parts}, group_size=64)
    assert explorer.window.rows == 64
    explorer._message(explorer.figure, {"event": "zoom", "row": 40, "column": 50, "into": True}, None)
    assert (explorer.controls["zoom"].value, explorer.window.top, explorer.window.left) == (16, 32, 42)
    explorer._message(explorer.figure, {"event": "zoom", "row": 0, "column": 0, "into": True}, None)
    assert explorer.controls["zoom"].value == 16  # as far as it goes
    for _ in range(4):
        explorer._message(explorer.figure, {"event": "zoom", "row": 0, "column": 0, "into": False}, None)
    assert (explorer.window.rows, explorer.window.top) == (128, 0)


def test_too_few_tokens_are_pointed_out(parts):
    explorer = CurvatureExplorer({"loud": parts}, group_size=64)
    assert not any("no full rank" in note.text for note in explorer.figure.scene.status)
    explorer.controls["tokens"].value = 64
    assert any("64 tokens for 128 channels" in note.text for note in explorer.figure.scene.status)
    bars = explorer.figure["methods"]
    at = bars.names.index("GPTQ")
    assert bars.heldout[at] > 2 * bars.calibration[at]


def test_the_shipped_layers_tell_the_story_of_the_lesson():
    """On real inputs: large inputs decide, large weights do not, AWQ gains; without outliers it gains nothing."""
    explorer = AWQExplorer()
    bars = explorer.figure["methods"]
    left = dict(zip(bars.names, bars.heldout, strict=True))
    assert left["keep 1 %: largest inputs"] < 0.35
    assert left["keep 1 %: largest weights"] > 0.95
    assert left["AWQ"] < 0.4
    assert left["AWQ with clipping"] < left["AWQ"]
    assert any("Q4_1" in note.text for note in explorer.figure.scene.status)
    explorer.controls["layer"].value = "SmolLM2 blk.14.attn_q, inputs flattened"
    assert explorer.figure["methods"].heldout[4] == pytest.approx(1, abs=0.01)  # stated: nothing gained
    explorer.controls["layer"].value = "tiny blk.0.attn_q"
    assert explorer.figure["methods"].heldout[4] > 0.95
    explorer.controls["layer"].value = "SmolLM2 blk.27.ffn_gate"
    assert explorer.layer.weight.shape == (MOST_ROWS, 576)
    assert "first 576 of 1" in explorer.figure.scene.status[0].text


def test_shipped_layers_are_what_was_captured():
    layers = shipped_layers()
    assert len(layers) == 8
    x, unseen = models.captured_inputs()["blk.14.attn_v.weight"]
    found = layers["SmolLM2 blk.14.attn_v"]
    assert np.array_equal(found.calibration, x)
    assert np.array_equal(found.heldout, unseen)
    flat = layers["SmolLM2 blk.14.attn_q, inputs flattened"].calibration
    # each is a quotient by a mean, which is rounded once or is itself a sum of so many
    bounds.assert_within(np.abs(flat).mean(0, dtype=np.float64), 1, bounds.size_bound(1, len(flat) + 3))


def test_a_layer_that_cannot_be_shown_says_why_and_another_can(parts):
    w, x, unseen = parts
    spoiled = x.copy()
    spoiled[3, 4] = np.nan
    explorer = AWQExplorer({"good": parts, "bad": (w, spoiled, unseen), "shape": (w, x[:, 1:], unseen)}, group_size=64)
    for name, says in (("bad", "calibration inputs of bad hold NaN"), ("shape", "are needed, got shapes")):
        explorer.controls["layer"].value = name
        assert says in explorer.figure.scene.status[0].text
        assert explorer.figure.panels == {}
        explorer.controls["bits"].value = 4 if explorer.controls["bits"].value == 3 else 3
        assert says in explorer.figure.scene.status[0].text
    explorer.controls["layer"].value = "good"
    assert "methods" in explorer.figure.panels


def test_a_channel_without_inputs(parts):
    w, x, unseen = (part.copy() for part in parts)
    x[:, 9], unseen[:, 9] = 0, 0
    explorer = AWQExplorer({"dead": (w, x, unseen)}, group_size=64)
    assert np.isfinite(explorer.result.weight).all()
    assert np.isfinite(explorer.figure["channels"].step).all()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "layers must be a mapping"),
        ([1], "layers is \\[1\\]; a mapping or None is wanted"),
        ({"x": np.eye(2)}, "expected \\(weight, calibration inputs"),
        ({"x": (np.eye(2), np.eye(3), np.eye(2))}, "are needed, got shapes"),
        ({"x": ("a", np.eye(2), np.eye(2))}, "x"),
    ],
)
@pytest.mark.parametrize("kind", [AWQExplorer, CurvatureExplorer])
def test_what_is_refused(kind, given, says):
    with pytest.raises(QvizError, match=says):
        kind(given)


def test_wrong_choices_are_refused(parts):
    with pytest.raises(WidgetError, match="no layer 'b'; there are a"):
        AWQExplorer({"a": parts}, layer="b")
    with pytest.raises(WidgetError, match="bits must be one of 2, 3, 4, 8, got 5"):
        CurvatureExplorer({"a": parts}, bits=5)
    with pytest.raises(WidgetError, match="group_size must be one of"):
        AWQExplorer({"a": parts}, group_size=32)
    assert repr(AWQExplorer({"a": parts})) == "AWQExplorer(a 24 × 128)"
    assert list(Layers({"a": parts})) == ["a"]
