"""What travels to the browser."""

from __future__ import annotations

import json
import struct

import numpy as np

from qviz.figures import MatrixImage, Window
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table, pack, unpack


def head_of(frame):
    return json.loads(frame[4 : 4 + struct.unpack_from("<I", frame)[0]])


def test_layout_of_a_frame_by_hand():
    frame = pack(Scene("bits", {"p": Panel(np.arange(3, dtype="<i4"))}))
    (length,) = struct.unpack_from("<I", frame)
    head = json.loads(frame[4 : 4 + length])
    assert head["panels"]["p"]["figure"] == {"$": "i4", "at": 0, "n": 12}
    assert frame[4 + length :] == b"\0\0\0\0\1\0\0\0\2\0\0\0"


def test_everything_arrives():
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = MatrixImage(pixels, "diverging", 0.5, Window(1, 2, 2, 3))
    scene = Scene(
        "tensor",
        {"before": Panel(image, "Title", "Caption", (("weight", "blue"),), "label", {"block": 32})},
        (Readout("SQNR", "∞ (exact)", "hint"),),
        "summary",
        (Table("t", ("a", "b"), (("1", "2"),)),),
        (Status("error", "no"),),
    )
    got = unpack(pack(scene))
    figure = got["panels"]["before"]["figure"]
    assert figure.pop("pixels").tolist() == pixels.tolist()
    assert figure == {
        "type": "MatrixImage", "colours": "diverging", "limit": 0.5,
        "window": {"type": "Window", "top": 1, "left": 2, "rows": 2, "columns": 3},
    }  # fmt: skip
    assert got["readouts"] == [{"type": "Readout", "label": "SQNR", "value": "∞ (exact)", "hint": "hint"}]
    assert got["tables"][0]["rows"] == [["1", "2"]]
    assert got["status"][0]["text"] == "no"
    assert got["panels"]["before"]["legend"] == [["weight", "blue"]]


def test_numbers_without_a_word_in_json():
    scene = Scene("bits", {"p": Panel({"a": float("nan"), "b": np.float32("inf"), "c": np.int64(3), "d": np.bool_(1)})})
    frame = pack(scene)
    json.loads(frame[4 : 4 + struct.unpack_from("<I", frame)[0]], parse_constant=lambda word: 1 / 0)  # strict JSON
    assert unpack(frame)["panels"]["p"]["figure"] == {"a": None, "b": None, "c": 3, "d": True}


def test_not_a_number_survives_in_arrays():
    got = unpack(pack(Scene("bits", {"p": Panel(np.float32([np.nan, -np.inf, -0.0]))})))
    array = got["panels"]["p"]["figure"]
    assert np.float32([np.nan, -np.inf, -0.0]).tobytes() == array.tobytes()


def test_arrays_stand_one_after_another():
    arrays = [np.arange(3, dtype="u1"), np.arange(5, dtype="<f4"), np.arange(2, dtype="i1"), np.arange(4, dtype="<f8")]
    got = unpack(pack(Scene("bits", {"p": Panel({str(i): array for i, array in enumerate(arrays)})})))
    for i, array in enumerate(arrays):
        assert np.array_equal(got["panels"]["p"]["figure"][str(i)], array)
    places = [(p["at"], p["n"]) for p in head_of(pack(Scene("bits", {"p": Panel(arrays)})))["panels"]["p"]["figure"]]
    assert places == [(0, 3), (3, 20), (23, 2), (25, 32)]


def test_arrays_need_not_be_contiguous():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(unpack(pack(Scene("bits", {"p": Panel(x[:, ::2])})))["panels"]["p"]["figure"], x[:, ::2])
