"""The outlier explorer, driven without a browser, against SmoothQuant and rotation written out in float64."""

import bounds
import numpy as np
import pytest

import qviz
from qviz.errors import WidgetError
from qviz.widgets import OutlierExplorer


def layer(seed=0, outlier=50.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((300, 64)) * np.r_[outlier, np.ones(63)]
    return rng.standard_normal((8, 64)), x[:200], x[200:]


@pytest.fixture
def explorer():
    return OutlierExplorer({"mine": layer()})


def steps(a, low, high, bits):
    """Even levels from low to high, zero among them: rounded in float64."""
    scale = (high - low) / (2**bits - 1)
    zero = np.rint(-low / scale)
    return scale * (np.clip(np.rint(a / scale) + zero, 0, 2**bits - 1) - zero)


def lost(w, x, tokens, bits=8):
    """Weights with a range for each row, inputs with one static range, everything in float64."""
    rounded = np.stack([steps(row, min(row.min(), 0), max(row.max(), 0), bits) for row in w])
    off = steps(x, min(tokens.min(), 0), max(tokens.max(), 0), bits) @ rounded.T - x @ w.T
    return np.square(off).sum() / np.square(x @ w.T).sum()


def close(found, expected):
    # stated: a value that float32 rounds to the neighbouring level moves one of thousands of errors, by one step
    return found == pytest.approx(float(expected), rel=0.02)


def test_errors_are_those_of_the_product(explorer):
    w, tokens, x = (np.float64(np.float32(a)) for a in layer())
    explorer.controls["strength"].value = 0.5
    s = np.sqrt(np.abs(tokens).max(0)) / np.sqrt(np.abs(w).max(0))
    R = qviz.methods.random_hadamard(64).astype(np.float64)
    assert close(explorer.errors["as they are"], lost(w, x, tokens))
    assert close(explorer.errors["SmoothQuant"], lost(w * s, x / s, tokens / s))
    assert close(explorer.errors["rotation"], lost(w @ R, x @ R, tokens @ R))
    assert close(explorer.errors["both"], lost((w * s) @ R, (x / s) @ R, (tokens / s) @ R))


def test_the_picture_shows_what_is_rounded(explorer):
    before = explorer.figure["channels"]
    assert np.array_equal(before.inputs_before, before.inputs_after)
    assert before.order[0] == 0
    explorer.controls["strength"].value = 1.0  # all of the inputs' ranges goes into the weights
    ranges = explorer.figure["channels"]
    # held-out inputs over the calibration's largest: about 1 everywhere, the outlier too
    assert ranges.inputs_after[0] < 2
    w, tokens, _ = (np.float32(a) for a in layer())
    expected = np.abs(w).max(0)[0] * np.abs(tokens).max(0)[0]
    bounds.assert_within(ranges.weights_after[0], expected, 8 * bounds.U * expected)
    explorer.controls["strength"].value = -1.0
    explorer.controls["rotate"].value = True
    mixed = explorer.figure["channels"]
    assert mixed.mixed
    assert mixed.inputs_after.max() < mixed.inputs_before.max() / 2
    assert (np.diff(mixed.inputs_after) <= 0).all()


def test_a_range_for_each_token_needs_less_help(explorer):
    static = explorer.errors["as they are"]
    explorer.controls["ranges"].value = "each token"
    assert explorer.errors["as they are"] < static


def test_bits_and_the_chosen_bar(explorer):
    first = dict(explorer.errors)
    explorer.controls["input_bits"].value = 4
    assert explorer.errors["as they are"] > 10 * first["as they are"]
    assert explorer.figure["errors"].marked == (0,)
    explorer.controls["rotate"].value = True
    assert explorer.figure["errors"].marked == (2,)
    explorer.controls["strength"].value = 0.3
    assert explorer.figure["errors"].marked == (3,)
    assert "inputs in 4, both" in explorer.figure.scene.summary


def test_another_layer_and_fewer_tokens():
    explorer = OutlierExplorer({"loud": layer(), "even": layer(1, 1.0)})
    loud = dict(explorer.errors)
    explorer.controls["layer"].value = "even"
    assert explorer.errors["rotation"] > explorer.errors["as they are"] / 2  # nothing to mix away
    assert loud["rotation"] < loud["as they are"] / 10
    explorer.controls["tokens"].value = 32
    assert "32" in str(explorer.controls["tokens"].label)


def test_inputs_of_nothing_but_zeros():
    explorer = OutlierExplorer({"mute": (np.eye(4), np.zeros((4, 4)), np.zeros((2, 4)))})
    assert set(explorer.errors.values()) == {0.0}


def test_what_is_refused():
    with pytest.raises(WidgetError, match="input_bits must be one of 2, 3, 4, 8, got 5"):
        OutlierExplorer({"mine": layer()}, input_bits=5)
    with pytest.raises(WidgetError, match="no layer 'x'"):
        OutlierExplorer({"mine": layer()}, "x")
