"""TensorExplorer: its pictures and numbers."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize
from gguf.quants import quantize as gguf_quantize

from qviz.errors import UnknownFormatError, WidgetError
from qviz.formats import FORMATS, quantize
from qviz.widgets import TensorExplorer

rng = np.random.default_rng(4)
W = rng.standard_normal((320, 512)).astype(np.float32)


def readouts(explorer):
    return {r.label: r.value for r in explorer.figure.scene.readouts}


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16"])
def test_numbers_against_gguf_py(name):
    explorer = TensorExplorer(W, format=name)
    kind = gguf.GGMLQuantizationType[name]
    raw = gguf_quantize(W, kind)
    error = dequantize(raw, kind).astype(np.float64) - W
    shown = readouts(explorer)
    assert shown["SQNR"] == f"{10 * np.log10((W.astype(float) ** 2).sum() / (error**2).sum()):.1f} dB"
    assert float(shown["RMSE"]) == pytest.approx(np.sqrt((error**2).mean()), rel=6e-3)  # stated with three digits
    assert float(shown["Largest error"]) == pytest.approx(np.abs(error).max(), rel=6e-3)  # stated with three digits
    assert float(shown["Bits per weight"]) == 8 * raw.nbytes / W.size
    assert next(r.hint for r in explorer.figure.scene.readouts if r.label == f"After ({name})").replace(
        "\u202f", ""
    ) == (f"{raw.nbytes} bytes")


def test_colours_do_not_move_with_the_format():
    explorer = TensorExplorer(W)
    first = {name: explorer.figure[name].limit for name in ("before", "after", "error")}
    darkness = []
    for name in ("Q4_0", "Q5_0", "Q8_0", "F16"):
        explorer.controls["format"].value = name
        assert {name: explorer.figure[name].limit for name in first} == first
        darkness.append(explorer.figure["error"].pixels.mean())
    assert darkness == sorted(darkness, reverse=True)
    # Q4_0 → Q5_0 is one bit: 25.3 steps of the logarithmic scale
    # stated: codes are whole, and Gaussian errors not quite halved
    assert darkness[0] - darkness[1] == pytest.approx(25.3, abs=1)


def test_what_fits_is_exact_and_grey():
    explorer = TensorExplorer(quantize(W, "Q8_0"), format="Q8_0")
    assert readouts(explorer)["SQNR"] == "∞ (exact)"
    assert not explorer.figure["error"].pixels.any()
    explorer.controls["format"].value = "F32"
    assert not explorer.figure["error"].pixels.any()


def test_every_encodable_format_is_offered():
    options = {value: label for label, value in TensorExplorer(W).controls["format"].options}
    assert set(options) == {fmt.name for fmt in FORMATS.values() if fmt.can_encode}
    assert options["Q4_0"] == "Q4_0 (4.5 bpw)"


def test_formats_that_do_not_fit_say_so():
    explorer = TensorExplorer(W[:, :33], name="odd")
    labels = {value: label for label, value in explorer.controls["format"].options}
    assert "33" in labels["Q4_0"]
    assert "32" in labels["Q4_0"]
    assert labels["F16"] == "F16 (16 bpw)"
    scene = explorer.figure.scene
    assert scene.status[0].level == "error"
    assert "F16" in scene.status[0].text, "no fallback is named"
    assert list(scene.panels) == ["before"]
    assert explorer.quantized is None
    explorer.controls["format"].value = "F16"
    assert list(explorer.figure.panels) == ["before", "after", "error"]
    assert explorer.figure.scene.status == ()


def test_locate_says_what_is_there():
    weights = np.zeros((512, 1024), np.float32)
    weights[:, ::32] = 7  # each Q4_0 block reaches to 7: step −7/8
    weights[101, 701] = 0.5
    explorer = TensorExplorer(weights, name="w")
    height, width = explorer.figure["before"].pixels.shape
    assert (height, width) == (256, 256)
    text = explorer.locate(100, 703)  # 2 × 4 weights a pixel
    # 0.5 / −0.875 rounds to −1, so it becomes 0.875 (and stands in block 21: columns 672 … 703)
    assert text.startswith("row 101, column 701: 0.5 → 0.875, moved by 0.375")
    assert "the largest of 8 weights here" in text
    assert "block 21 of the row, columns 672 … 703" in text
    with pytest.raises(WidgetError, match="not in Window"):
        explorer.locate(512, 0)


def test_zooming():
    explorer = TensorExplorer(W)
    assert explorer.figure["before"].pixels.shape == (160, 256)
    assert "2 × 2 weights" in " ".join(panel.caption for panel in explorer.figure.panels.values())
    explorer.zoom_to(100, 500, 64)  # near the right edge: the window stays inside
    window = explorer.window
    assert (window.top, window.left, window.rows, window.columns) == (68, 448, 64, 64)
    limit = explorer.figure["before"].limit
    part = W[68:132, 448:512]
    expected = np.rint(127 * np.clip(part / np.float32(limit), -1, 1)) + 127
    assert np.array_equal(explorer.figure["before"].pixels, expected)
    assert "1 pixel = 1 weight." in [panel.caption for panel in explorer.figure.panels.values()]
    explorer.zoom_to(0, 0, 0)
    assert explorer.window.rows == 320
    with pytest.raises(WidgetError, match="256, 128, 64, 32"):
        explorer.zoom_to(0, 0, 100)


def test_the_browser_can_zoom_and_locate():
    explorer = TensorExplorer(W)
    sent = []
    explorer.figure.send = sent.append
    explorer._message(explorer.figure, {"event": "locate", "row": 3, "column": 4}, [])
    assert sent == [{"located": explorer.locate(3, 4)}]
    explorer._message(explorer.figure, {"event": "zoom", "row": 20, "column": 400, "into": True}, [])
    assert explorer.controls["zoom"].value == 256
    assert explorer.window.left == 512 - 256
    for _ in range(9):
        explorer._message(explorer.figure, {"event": "zoom", "row": 0, "column": 0, "into": True}, [])
    assert explorer.controls["zoom"].value == 32
    for _ in range(9):
        explorer._message(explorer.figure, {"event": "zoom", "row": 0, "column": 0, "into": False}, [])
    assert explorer.controls["zoom"].value == 0


def test_a_tensor_keeps_the_format_where_it_can():
    explorer = TensorExplorer({"a": W, "b": W[:40, :40]}, format="Q5_1")
    explorer.controls["zoom"].value = 64
    explorer.controls["tensor"].value = "b"
    assert explorer.controls["format"].value == "Q5_1"
    assert explorer.controls["zoom"].value == 0, "64 × 64 is more than there is"
    assert explorer.figure.scene.status[0].level == "error"
    explorer.controls["tensor"].value = "a"
    assert explorer.figure["after"].pixels.size


def test_formats_that_do_not_exist():
    with pytest.raises(UnknownFormatError, match="Q4_9"):
        TensorExplorer(W, format="Q4_9")
    unwritable = next(fmt.name for fmt in FORMATS.values() if not fmt.can_encode)
    with pytest.raises(WidgetError, match="not written"):
        TensorExplorer(W, format=unwritable)
