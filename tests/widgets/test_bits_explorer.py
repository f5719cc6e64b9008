"""BitsExplorer: its numbers, by hand and against NumPy."""

from __future__ import annotations

import bounds
import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.formats import quantize
from qviz.widgets import BitsExplorer

rng = np.random.default_rng(2)
W = rng.standard_normal((32, 256)).astype(np.float32)


def readouts(explorer):
    return {r.label: r.value for r in explorer.figure.scene.readouts}


def test_a_tensor_by_hand():
    # two groups of 16: −1 … 2 in 2 bits has step 1; the second, 100 times as large, step 100
    first = np.array([-1, 0.2, 0.6, 2] * 4, np.float32)
    explorer = BitsExplorer(np.stack([np.r_[first, 100 * first]]), bits=2, group_size=16, name="w")
    shown = readouts(explorer)
    # codes 32 × 2 bits, and for each group a 16-bit scale and a 2-bit zero point: 100 bits, 12.5 bytes
    assert shown["Bits per weight"] == f"{100 / 32:.2f}"
    assert shown["Before (F32)"] == "128 B"
    assert shown["After"] == "13 B"
    assert shown["Scale"] == "1"
    assert shown["Zero point"] == "1"
    assert shown["Became 0"] == "25.0 %"
    # errors 0, −0.2, 0.4, 0 in the first group: mean square 0.05; in the second 10⁴ times that
    assert shown["RMSE"] == f"{np.sqrt(0.05 * (1 + 1e4) / 2):.3g}"
    assert shown["SQNR"] == f"{10 * np.log10((1 + 0.04 + 0.36 + 4) / 0.2):.1f} dB"
    explorer.controls["group"].value = 1
    assert readouts(explorer)["Scale"] == "100"
    assert explorer.figure["line"].levels.tolist() == [-100, 0, 100, 200]


@pytest.mark.parametrize("sym", [False, True])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_against_plain_numpy(bits, granularity, sym):
    explorer = BitsExplorer(W, bits=bits, granularity=granularity, group_size=64, sym=sym)
    groups = W.reshape({"tensor": (1, -1), "channel": (32, -1), "group": (-1, 64)}[granularity]).astype(np.float64)
    if sym:
        scale = 2 * np.abs(groups).max(1, keepdims=True) / (2**bits - 1)
        zero, low = 0, -(2 ** (bits - 1))
    else:
        bottom = np.minimum(groups.min(1, keepdims=True), 0)
        scale = (np.maximum(groups.max(1, keepdims=True), 0) - bottom) / (2**bits - 1)
        zero, low = np.rint(-bottom / scale), 0
    tie = np.abs(groups / scale % 1 - 0.5) < 1e-4  # float32 may go the other way: a step off, an error as large
    expected = scale * (np.clip(np.rint(groups / scale) + zero, low, low + 2**bits - 1) - zero)
    error = expected.reshape(W.shape) - W
    off = np.abs(explorer.rounded - expected.reshape(W.shape)) / np.broadcast_to(scale, groups.shape).reshape(W.shape)
    assert off[~tie.reshape(W.shape)].max() < 1e-3
    assert off.max() < 1.001
    assert tie.mean() < 0.02
    assert readouts(explorer)["RMSE"] == f"{np.sqrt((error**2).mean()):.3g}"
    assert readouts(explorer)["SQNR"] == f"{10 * np.log10((W.astype(float) ** 2).sum() / (error**2).sum()):.1f} dB"
    figure = explorer.figure["errors"]
    assert figure.errors.total == figure.weights.total == W.size
    high = 3 * W.std(dtype=np.float64)
    bounds.assert_within(figure.errors.high, high, bounds.size_bound(high, W.size // 2 + 4))  # half of a sum of squares


def test_more_bits_less_error():
    explorer = BitsExplorer(W)
    spread = []
    for bits in range(2, 9):
        explorer.controls["bits"].value = bits
        assert len(explorer.figure["line"].levels) == 2**bits
        spread.append(np.count_nonzero(explorer.figure["errors"].errors.counts))
    assert spread == sorted(spread, reverse=True)
    assert spread[0] > 8 * spread[-1]


def test_axes_stay_put_as_bits_change():
    explorer = BitsExplorer(W)
    before, line = explorer.figure["errors"], explorer.figure["line"]
    explorer.controls["bits"].value = 7
    after = explorer.figure["errors"]
    assert np.array_equal(explorer.figure["line"].density.counts, line.density.counts)
    assert (explorer.figure["line"].density.low, explorer.figure["line"].density.high) == (
        line.density.low,
        line.density.high,
    )
    assert np.array_equal(explorer.figure["line"].weights, line.weights)
    assert (after.errors.low, after.errors.high) == (before.errors.low, before.errors.high)
    assert np.array_equal(after.weights.counts, before.weights.counts)


def test_the_group_drawn_is_the_one_chosen():
    explorer = BitsExplorer(W, group_size=64)
    slider = explorer.controls["group"]
    assert slider.max == 32 * 4 - 1
    slider.value = 4 * 5 + 2  # row 5, columns 128 … 191
    line = explorer.figure["line"]
    assert np.isin(line.weights, W[5, 128:192]).all()
    assert "Row 5, columns 128 … 191" in explorer.figure.panels["line"].title
    # the same weights stay in view when groups change their size
    explorer.controls["group_size"].value = 256
    assert slider.value == 5
    assert dict(explorer.controls["granularity"].options)["row"] == "channel"  # the lessons call a column a channel
    explorer.controls["granularity"].value = "channel"
    assert (slider.value, slider.max) == (5, 31)
    assert np.isin(explorer.figure["line"].weights, W[5]).all()
    explorer.controls["granularity"].value = "tensor"
    assert (slider.value, slider.max, slider.disabled) == (0, 0, True)
    assert explorer.controls["group_size"].disabled
    explorer.controls["granularity"].value = "group"
    assert not explorer.controls["group_size"].disabled


def test_a_short_last_group():
    explorer = BitsExplorer(W[:, :100], group_size=64)
    slider = explorer.controls["group"]
    assert slider.max == 63
    slider.value = 3  # row 1, the 36 weights that are left
    line = explorer.figure["line"]
    assert line.group_size == 36
    assert np.isin(line.weights, W[1, 64:100]).all()


def test_weights_from_blocks_are_no_originals():
    assert BitsExplorer(W).figure.scene.status == ()
    assert BitsExplorer(quantize(W, "F16")).figure.scene.status == ()
    (note,) = BitsExplorer(quantize(W, "Q4_1")).figure.scene.status
    assert "Q4_1" in note.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bits": 9}, "2 to 8.*9"),
        ({"bits": "4"}, "'4'"),
        ({"granularity": "row"}, "'tensor', 'channel' or 'group'.*'row'"),
        ({"group_size": 100}, "16, 32, 64, 128, 256.*100"),
    ],
)
def test_options_that_do_not_exist(options, says):
    with pytest.raises(WidgetError, match=says):
        BitsExplorer(W, **options)
