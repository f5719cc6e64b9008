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


def shown(explorer, what):
    """Overview and lens, when they show the weights before, after or the errors."""
    explorer.controls["show"].value = what
    return explorer.figure["overview"].image, explorer.figure["lens"].image


def test_colours_do_not_move_with_the_format():
    explorer = TensorExplorer(W)
    first = {what: [image.limit for image in shown(explorer, what)] for what in ("before", "after", "error")}
    assert first["before"] == first["after"]
    darkness = []
    for name in ("Q4_0", "Q5_0", "Q8_0", "F16"):
        explorer.controls["format"].value = name
        assert {what: [image.limit for image in shown(explorer, what)] for what in first} == first
        darkness.append([image.pixels.mean() for image in shown(explorer, "error")])
    overview, lens = zip(*darkness, strict=True)
    assert list(lens) == sorted(lens, reverse=True)
    assert list(overview) == sorted(overview, reverse=True)
    # Q4_0 → Q5_0 is one bit: 25.3 steps of the logarithmic scale
    # stated: codes are whole, and Gaussian errors not quite halved
    assert overview[0] - overview[1] == pytest.approx(25.3, abs=1)


def test_what_fits_is_exact_and_grey():
    explorer = TensorExplorer(quantize(W, "Q8_0"), format="Q8_0")
    assert readouts(explorer)["SQNR"] == "∞ (exact)"
    assert not any(image.pixels.any() for image in shown(explorer, "error"))
    explorer.controls["format"].value = "F32"
    assert not any(image.pixels.any() for image in shown(explorer, "error"))


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
    assert list(scene.panels) == ["overview", "lens"]
    assert explorer.figure["lens"].image.window.columns == 33, "the weights are there to be looked at"
    assert explorer.figure["lens"].before is None, "there is nothing to compare them with"
    explorer.look_at(0, 0)
    assert explorer.locate(0, 0).startswith("row 0, column 0: ")
    assert "→" not in explorer.locate(0, 0)
    assert explorer.quantized is None
    explorer.controls["format"].value = "F16"
    assert explorer.figure["lens"].before is not None
    assert explorer.figure.scene.status == ()


def test_locate_says_what_is_there():
    weights = np.zeros((512, 1024), np.float32)
    weights[:, ::32] = 7  # each Q4_0 block reaches to 7: step −7/8
    weights[101, 701] = 0.5
    explorer = TensorExplorer(weights, name="w")
    assert explorer.figure["overview"].image.pixels.shape == (256, 256)
    text = explorer.locate(100, 703, "overview")  # 2 × 4 weights a pixel
    # 0.5 / −0.875 rounds to −1, so it becomes 0.875 (and stands in block 21: columns 672 … 703)
    assert text.startswith("row 101, column 701: 0.5 → 0.875, moved by 0.375")
    assert "the largest of 8 weights here" in text
    assert "block 21 of the row, columns 672 … 703" in text
    with pytest.raises(WidgetError, match="not in Window"):
        explorer.locate(512, 0, "overview")
    with pytest.raises(WidgetError, match="not in Window"):
        explorer.locate(101, 701)  # of the lens, which stands elsewhere
    explorer.look_at(101, 701)
    assert explorer.locate(101, 701).startswith("row 101, column 701: 0.5 → 0.875, moved by 0.375 · block 21")
    assert explorer.locate(101, 703).startswith("row 101, column 703: 0 → 0, moved by 0 · block 21")


def test_the_lens_shows_the_weights_under_the_frame():
    explorer = TensorExplorer(W)
    part = explorer.window
    assert (part.rows, part.columns) == (40, 64)
    row, column = np.unravel_index(np.abs(W).argmax(), W.shape)
    assert part.top <= row < part.top + 40, "it begins where the largest weight is"
    assert part.left <= column < part.left + 64
    explorer.look_at(100, 500)  # near the right edge: the frame stays inside
    window = explorer.window
    assert (window.top, window.left, window.rows, window.columns) == (80, 448, 40, 64)
    figure = explorer.figure["overview"]
    assert (figure.frame, figure.image.window.rows, figure.image.window.columns) == (window, 320, 512)
    limit = figure.image.limit * 2  # errors reach half as far as weights
    under = W[80:120, 448:512]
    before, lens = explorer.figure["lens"].before, shown(explorer, "after")[1]
    for image, values in ((before, under), (lens, explorer.after[80:120, 448:512])):
        assert image.window == window
        assert np.array_equal(image.pixels, np.rint(127 * np.clip(values / np.float32(limit), -1, 1)) + 127)
    assert explorer.figure["lens"].block == 32
    assert explorer.after.tobytes() == quantize(W, "Q4_0").dequantize().tobytes()
    # what was before needs no wiping
    assert np.array_equal(shown(explorer, "before")[1].pixels, before.pixels)
    assert explorer.figure["lens"].before is None


def test_words_and_numbers_follow_the_lens():
    explorer = TensorExplorer(W)
    explorer.look_at(100, 500)
    moved = np.abs(explorer.after - W)[80:120, 448:512]
    scene = explorer.figure.scene
    assert "rows 80 … 119, columns 448 … 511" in scene.summary
    assert "rows 80 … 119, columns 448 … 511" in scene.panels["overview"].label
    table = scene.tables[-1]
    assert len(table.rows) == 8
    row, column = np.unravel_index(moved.argmax(), moved.shape)
    assert table.rows[0][:2] == (str(80 + row), str(448 + column))
    assert scene.summary.endswith(f"farther than {float(f'{moved.max():.3g}'):g}.")


def test_moving_the_lens_costs_no_search():
    explorer = TensorExplorer(W, format="Q4_K")
    made, whole = explorer.quantized, explorer.figure["overview"].image
    explorer.look_at(0, 0)
    assert explorer.quantized is made
    assert explorer.figure["overview"].image is whole
    assert (explorer.window.top, explorer.window.left) == (0, 0)


def test_the_browser_moves_the_lens_and_locates():
    explorer = TensorExplorer(W)
    sent = []
    explorer.figure.send = sent.append
    explorer.look_at(20, 32)
    explorer._message(explorer.figure, {"event": "locate", "row": 3, "column": 4}, [])
    explorer._message(explorer.figure, {"event": "locate", "row": 300, "column": 4, "panel": "overview"}, [])
    assert sent == [{"located": explorer.locate(3, 4)}, {"located": explorer.locate(300, 4, "overview")}]
    explorer._message(explorer.figure, {"event": "look", "row": 200, "column": 100}, [])
    assert (explorer.window.top, explorer.window.left) == (180, 68)
    explorer._message(explorer.figure, {"event": "look", "row": -5, "column": 10**9}, [])
    assert (explorer.window.top, explorer.window.left) == (0, 448)
    explorer._message(explorer.figure, {"event": "zoom", "row": 20, "column": 400, "into": True}, [])
    assert explorer.controls["lens"].value == 32
    assert (explorer.window.top, explorer.window.left) == (10, 384)
    for into, end in ((True, 32), (False, 128)):
        for _ in range(9):
            explorer._message(explorer.figure, {"event": "zoom", "row": 20, "column": 400, "into": into}, [])
        assert explorer.controls["lens"].value == end


def test_a_lock_holds_the_frame_but_not_the_eye():
    explorer = TensorExplorer(W)
    sent = []
    explorer.figure.send = sent.append
    explorer.look_at(20, 32)
    explorer.lock("1", "Predict first.", ["format"])
    explorer._message(explorer.figure, {"event": "look", "row": 200, "column": 100}, [])
    assert explorer.window.top == 0
    explorer._message(explorer.figure, {"event": "locate", "row": 3, "column": 4}, [])
    assert sent
    before = explorer.figure["overview"].image
    explorer.controls["show"].value = "after"
    assert explorer.figure["overview"].image is not before


def test_a_tensor_keeps_the_format_where_it_can():
    explorer = TensorExplorer({"a": W, "b": W[:40, :40]}, format="Q5_1")
    explorer.controls["lens"].value = 32
    explorer.controls["tensor"].value = "b"
    assert explorer.controls["format"].value == "Q5_1"
    assert explorer.figure.scene.status[0].level == "error"
    assert explorer.figure["overview"].image.window.columns == 40
    explorer.controls["tensor"].value = "a"
    assert explorer.controls["lens"].value == 32
    assert explorer.figure["overview"].image.window.columns == 512
    assert explorer.figure["lens"].before is not None


def test_formats_that_do_not_exist():
    with pytest.raises(UnknownFormatError, match="Q4_9"):
        TensorExplorer(W, format="Q4_9")
    unwritable = next(fmt.name for fmt in FORMATS.values() if not fmt.can_encode)
    with pytest.raises(WidgetError, match="not written"):
        TensorExplorer(W, format=unwritable)
