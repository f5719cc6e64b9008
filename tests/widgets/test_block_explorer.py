"""BlockExplorer: the right block, the right place in the file, flips."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

import qviz.gguf
from qviz import quantize
from qviz.errors import WidgetError
from qviz.formats import FORMATS, get
from qviz.widgets import BlockExplorer

rng = np.random.default_rng(9)
W = rng.standard_normal((6, 128)).astype(np.float32)


def readouts(explorer):
    return {r.label: r.value for r in explorer.figure.scene.readouts}


def test_addresses_are_places_in_the_file(tmp_path):
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")  # other people's writer
    for name in ("first", "second"):
        tensor = quantize(W, "Q4_0")
        writer.add_tensor(name, tensor.blocks.view(np.uint8).reshape(6, -1), raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    raw = path.read_bytes()
    file = qviz.gguf.read(path)
    for given in (BlockExplorer(file, "second", row=3, block=2), BlockExplorer((file, "second"), row=3, block=2)):
        lens = given.figure["lens"]
        assert raw[lens.address : lens.address + 18] == lens.raw.tobytes() == quantize(W, "Q4_0").blocks[3, 2].tobytes()
        assert readouts(given)["At byte"] == f"0x{lens.address:x}"
        assert (lens.row, lens.column) == (3, 64)


@pytest.mark.parametrize("name", [fmt.name for fmt in FORMATS.values() if fmt.can_encode])
def test_every_format_that_can_be_written(name):
    fmt = get(name)
    weights = rng.standard_normal((2, 4 * fmt.block_size)).astype(np.float32)
    tensor = quantize(weights, name)
    explorer = BlockExplorer(tensor, row=1, block=3)
    lens = explorer.figure["lens"]
    assert np.array_equal(lens.weights, tensor.dequantize()[1, -fmt.block_size :])
    last = 8 * fmt.type_size - 1
    explorer.flip(last >> 3, last & 7)
    assert readouts(explorer)["Bits flipped"] == "1"


def test_flips_come_and_go():
    explorer = BlockExplorer(quantize(W, "Q8_0"))
    untouched = explorer.figure.frame
    assert explorer.controls["reset"].disabled
    explorer.flip(2, 7)  # the sign of weight 0's code
    lens = explorer.figure["lens"]
    assert lens.broken.nonzero()[0].tolist() == [0]
    code = int(quantize(W, "Q8_0").unpack().codes[0, 0])
    assert int(lens.codes[0]) == code + (128 if code < 0 else -128)
    assert readouts(explorer)["Weights changed"] == "1 of 32"
    assert "1 bit flipped: 1 weight changed" in explorer.figure.scene.summary
    assert not explorer.controls["reset"].disabled
    explorer.flip(2, 7)
    assert explorer.figure.frame == untouched
    explorer.flip(0, 3)
    explorer.controls["reset"].click()
    assert explorer.figure.frame == untouched
    explorer.flip(0, 3)
    explorer.controls["block"].value = 1
    assert "Bits flipped" not in readouts(explorer), "flips belong to the block that was left"


def test_the_browser_can_flip():
    explorer = BlockExplorer(quantize(W, "Q8_0"))
    explorer._message(explorer.figure, {"event": "flip", "byte": 2, "bit": 0}, [])
    assert explorer.figure["lens"].broken.nonzero()[0].tolist() == [0]
    shown = explorer.figure.frame
    explorer._message(explorer.figure, {"event": "flip", "byte": 34, "bit": 0}, [])  # of a longer block, shown before
    assert explorer.figure.frame == shown


def test_a_scale_of_infinity_is_shown():
    raw = np.frombuffer(b"\x00\x7c" + bytes(range(16)), np.uint8)  # d = +inf, 0x7c00
    from qviz import QTensor

    explorer = BlockExplorer(QTensor.from_bytes("Q4_0", raw.tobytes(), (32,)))
    assert np.isinf(explorer.figure["lens"].weights).any()
    explorer.flip(0, 0)  # 0x7c01: NaN
    assert np.isnan(explorer.figure["lens"].weights).all()
    assert readouts(explorer)["Largest change"] == "∞"


def test_sliders_span_the_tensor():
    explorer = BlockExplorer({"a": quantize(W, "Q4_0"), "n": quantize(W[0], "F32")})
    assert (explorer.controls["row"].max, explorer.controls["block"].max) == (5, 3)
    explorer.controls["row"].value, explorer.controls["block"].value = 5, 3
    assert explorer.index == 23
    explorer.controls["tensor"].value = "n"
    assert (explorer.controls["row"].max, explorer.controls["block"].max) == (0, 127)
    assert explorer.controls["row"].disabled
    assert explorer.index == 0
    assert explorer.figure["lens"].format == "F32"


def test_what_has_no_blocks():
    with pytest.raises(WidgetError, match=r"qviz\.quantize"):
        BlockExplorer(W)
    explorer = BlockExplorer({"q": quantize(W, "Q4_0"), "plain": W})
    explorer.controls["tensor"].value = "plain"
    assert "quantize" in explorer.figure.scene.status[0].text
    explorer.controls["tensor"].value = "q"
    assert explorer.figure.panels


@pytest.mark.parametrize("where", [{"row": 6}, {"block": 4}, {"row": -1}, {"row": "0"}])
def test_blocks_that_are_not_there(where):
    with pytest.raises(WidgetError, match=r"rows 0 … 5 of 4 blocks|row is .0.; a whole number"):
        BlockExplorer(quantize(W, "Q4_0"), **where)


def test_a_riddle_hides_what_it_asks_and_judges_the_answer():
    tensor = quantize(W, "Q4_0")
    explorer = BlockExplorer(tensor, row=1)
    explorer.ask(byte=2, bit=0)  # qs[0], low half: weight 0
    lens = explorer.figure["lens"]
    assert lens.raw[2] == lens.original[2] ^ 1
    assert np.array_equal(lens.weights, lens.before)
    assert not explorer.guess([16])
    assert "Not quite" in explorer.figure.scene.status[0].text
    assert "It changes weight 0." in explorer.figure.scene.status[0].text
    assert explorer.figure["lens"].broken.nonzero()[0].tolist() == [0]
    # a bit of the scale feeds all 32; weights that are zero stay so, and may be named or not
    explorer.ask(byte=1, bit=2)
    zeros = np.flatnonzero(explorer.figure["lens"].weights == 0)
    assert explorer.guess(set(range(32)) - set(zeros[:1].tolist()))
    explorer.ask(byte=1, bit=2)
    assert explorer.guess(range(32))
    explorer.ask(byte=1, bit=2)
    assert not explorer.guess(range(31))
    with pytest.raises(WidgetError, match="ask"):
        explorer.guess([0])
    explorer.ask()
    explorer.controls["block"].value = 1
    with pytest.raises(WidgetError, match="ask"):
        explorer.guess([0])
    assert "riddle" not in (explorer.figure.panels["lens"].options or {})
