"""What every explorer promises, driven without a browser."""

from __future__ import annotations

import re
import subprocess
import sys

import ipywidgets
import numpy as np
import pytest

from qviz import QTensor, quantize
from qviz.errors import QvizError, WidgetError
from qviz.formats import FORMATS
from qviz.widgets import BitsExplorer, BlockExplorer, FileExplorer, RangeExplorer, TensorExplorer, View
from qviz.widgets.scene import unpack

rng = np.random.default_rng(5)
W = rng.standard_normal((64, 256)).astype(np.float32)
Q = quantize(W, "Q4_0")
MODEL = {"a.weight": Q, "b.weight": quantize(W[:4, :32], "Q8_0"), "norm": quantize(W[0], "F32")}
EXPLORERS = [BitsExplorer, BlockExplorer, TensorExplorer]


def moves(explorer):
    """Every control with a value, and another value for it."""
    for name, control in explorer.controls.items():
        if isinstance(control, ipywidgets.Button) or control.disabled:
            continue
        if hasattr(control, "options"):
            values = [v[1] if isinstance(v, tuple) else v for v in control.options]
            yield from ((name, v) for v in values[-1:] if v != control.value)
        elif isinstance(control, ipywidgets.Checkbox):
            yield name, not control.value
        else:
            yield name, control.max if control.value != control.max else control.min


@pytest.mark.parametrize("kind", EXPLORERS)
@pytest.mark.parametrize("given", [Q, MODEL], ids=["tensor", "model"])
def test_each_move_sends_one_frame_that_shows_it(kind, given):
    explorer = kind(given)
    seen = []
    explorer.figure.observe(lambda change: seen.append(change.new), "frame")
    names = []
    for name, value in moves(explorer):
        before = len(seen)
        explorer.controls[name].value = value
        assert len(seen) == before + 1, f"{name} sent {len(seen) - before} frames"
        names.append(name)
    assert len(names) >= 2
    assert "tensor" in names or given is Q
    assert unpack(seen[-1])["summary"] == explorer.figure.scene.summary


@pytest.mark.parametrize("kind", EXPLORERS)
def test_wrong_arguments_are_refused_by_name(kind):
    for options, says in [
        ({"tensor": 3}, "tensor is 3; a text or None"),
        ({"name": W}, r"name is an array of shape \(64, 256\); a text or None is wanted"),
        ({"bits" if kind is BitsExplorer else "format" if kind is TensorExplorer else "row": None}, "is None; a "),
    ]:
        with pytest.raises(WidgetError, match=f"^{kind.__name__}: .*{says}"):
            kind(MODEL, **options)


def test_controls_set_to_what_no_hand_can_choose_say_so():
    explorer = TensorExplorer(MODEL)
    right = explorer.controls["tensor"].value
    explorer.controls["tensor"].value = None
    assert explorer.figure.scene.summary == "tensor is None; one of its options is wanted"
    explorer.update()
    assert explorer.figure.scene.status[0].level == "error"
    explorer.controls["tensor"].value = right
    assert explorer.figure.scene.panels
    ranges = RangeExplorer(Q)
    before = ranges.controls["width"].value
    ranges.controls["width"].value = float("nan")
    assert ranges.figure.scene.summary == "width is nan; a finite number is wanted"
    ranges.controls["width"].value = before
    assert ranges.figure.scene.panels


def test_messages_with_numbers_beyond_all_bounds_change_nothing():
    explorer = FileExplorer("tiny")
    shown = explorer.figure.scene.summary
    for number in (float("inf"), float("nan"), 1e300, None, "x", []):
        for event in ({"event": "goto", "byte": number}, {"event": "damage", "byte": number, "bit": number}):
            if event["event"] == "goto" and number == 1e300:
                continue  # the last page
            explorer._message(explorer.figure, event, [])
    assert explorer.figure.scene.summary == shown
    with pytest.raises(WidgetError, match=r"FileExplorer.goto: position is None; a whole number is wanted"):
        explorer.goto(None)


@pytest.mark.parametrize("kind", EXPLORERS)
def test_text_is_the_same_every_time(kind):
    explorer = kind(MODEL)
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == f"{kind.__name__}(a.weight 64 × 256)" == repr(explorer) == str(explorer)
    assert "text/html" not in bundle
    explorer.controls["tensor"].value = "norm"
    assert repr(explorer) == f"{kind.__name__}(norm 256)"


@pytest.mark.parametrize("kind", EXPLORERS)
def test_the_picture_is_the_same_every_time(kind):
    assert kind(MODEL).figure.frame == kind(MODEL).figure.frame


@pytest.mark.parametrize("kind", EXPLORERS)
def test_words_for_those_who_do_not_see_it(kind):
    explorer = kind(MODEL)
    for name, control in explorer.controls.items():
        assert control.description, f"{name} has no label"
        assert control.tooltip, f"{name} does not explain itself"
    scene = explorer.figure.scene
    assert "a.weight" in scene.summary
    assert scene.tables
    assert all(len(row) == len(table.columns) for table in scene.tables for row in table.rows)
    assert all(panel.label for panel in scene.panels.values())


@pytest.mark.parametrize("kind", EXPLORERS)
def test_nothing_is_printed(kind, capsys):
    explorer = kind(MODEL)
    for name, value in moves(explorer):
        explorer.controls[name].value = value
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", EXPLORERS)
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("model.gguf", "qviz.load"),
        (None, "qviz.load"),
        ({}, "empty"),
        (np.array(["a"]), "real numbers"),
        (np.zeros((3, 0)), "shape"),
        (np.float32(1), "shape"),
        (object(), "real numbers"),
    ],
    ids=["str", "None", "empty", "text", "no columns", "scalar", "object"],
)
def test_what_is_no_tensor_is_refused(kind, given, says):
    with pytest.raises(WidgetError, match=says):
        kind(given)


@pytest.mark.parametrize("kind", EXPLORERS)
def test_a_tensor_that_is_not_there(kind):
    with pytest.raises(WidgetError, match=r"'c\.weight'.*a\.weight"):
        kind(MODEL, "c.weight")
    with pytest.raises(WidgetError, match=r"'other'"):
        kind(Q, "other")


def opaque():
    """A tensor that a file can hold and nobody here can decode."""
    fmt = next(fmt for fmt in FORMATS.values() if not fmt.can_decode)
    return QTensor.from_bytes(fmt, bytes(fmt.type_size), (fmt.block_size,))


@pytest.mark.parametrize("kind", [BitsExplorer, TensorExplorer])
def test_what_cannot_be_decoded_says_so_and_does_no_harm(kind):
    explorer = kind({"good": Q, "bad": opaque()})
    good = explorer.figure.frame
    explorer.controls["tensor"].value = "bad"
    (status,) = explorer.figure.scene.status
    assert status.level == "error"
    assert "decoded" in status.text
    assert not explorer.figure.panels, "an old picture stands beside the new message"
    for name, value in moves(explorer):  # moving on changes nothing, and raises nothing
        if name != "tensor":
            explorer.controls[name].value = value
            assert explorer.figure.scene.status[0].level == "error"
            break
    first = kind({"bad": opaque(), "good": Q})
    assert first.figure.scene.status[0].level == "error"
    first.controls["tensor"].value = "good"
    assert first.figure.frame == good


@pytest.mark.parametrize("kind", [BitsExplorer, TensorExplorer])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(kind, bad):
    weights = W.copy()
    weights[3, 7] = bad
    explorer = kind(weights, name="w")
    text = explorer.figure.scene.status[0].text
    assert explorer.figure.scene.status[0].level == "error"
    assert "[3, 7]" in text
    assert "nan_to_num" in text


@pytest.mark.parametrize("kind", EXPLORERS)
def test_a_fault_of_ours_is_shown_not_swallowed(kind, monkeypatch):
    explorer = kind(MODEL)

    def fail(self):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(kind, "_scene", fail)
    name, value = next(iter(moves(explorer)))
    explorer.controls[name].value = value
    assert "ZeroDivisionError: boom" in explorer.figure.scene.status[0].text


@pytest.mark.parametrize("kind", EXPLORERS)
@pytest.mark.parametrize(
    "message",
    [
        None,
        3,
        {},
        {"event": "locate"},
        {"event": "locate", "row": "a", "column": 0},
        {"event": "locate", "row": 10**9, "column": 0},
        {"event": "flip", "byte": 999, "bit": 0},
        {"event": "flip"},
        {"event": "zoom", "row": 0, "column": None, "into": 1},
        {"event": "zoom", "row": 0, "column": 0},
        {"event": "zoom", "row": -5, "column": 10**9, "into": True},
    ],
)
def test_odd_messages_do_no_harm(kind, message):
    explorer = kind(Q)
    explorer._message(explorer.figure, message, [])  # must not raise


@pytest.mark.parametrize("shape", [(1,), (5,), (1, 1), (3, 7), (2, 3, 64), (1000, 1), (1, 5000)])
def test_any_shape(shape):
    weights = rng.standard_normal(shape).astype(np.float32)
    for kind in (BitsExplorer, TensorExplorer):
        explorer = kind(weights, format="F16") if kind is TensorExplorer else kind(weights)
        assert explorer.figure.panels
        for name, value in moves(explorer):
            explorer.controls[name].value = value


@pytest.mark.parametrize("weights", [np.zeros((4, 64)), np.full((4, 64), 3.0), np.full((4, 64), -1e-40)])
def test_dull_weights(weights):
    for kind in (BitsExplorer, TensorExplorer):
        explorer = kind(weights)
        assert explorer.figure.panels
        assert all(status.level != "error" for status in explorer.figure.scene.status)


@pytest.mark.parametrize("size", [1e-44, 1e-30, 1e4, 1e30, 1e38])
def test_extreme_weights(size):
    weights = (W / np.abs(W).max() * size).astype(np.float32)
    bits, tensor = BitsExplorer(weights), TensorExplorer(weights, format="F32")
    for explorer in (bits, tensor):
        assert all(status.level != "error" for status in explorer.figure.scene.status)
    assert bits.figure["errors"].weights.outside < 0.02 * W.size
    assert len(np.unique(tensor.figure["lens"].before.pixels)) > 10
    for name in ("Q4_0", "Q8_0", "F16", "BF16"):  # whose scales may overflow: shown as they are
        tensor.controls["format"].value = name
        assert tensor.figure["lens"].before is not None


def test_a_large_tensor_is_cut_and_says_so():
    rows = quantize(rng.standard_normal((1, 4096)).astype(np.float32), "Q8_0")
    big = QTensor(rows.format, np.broadcast_to(rows.blocks, (2000, 128)), (2000, 4096))
    for kind in (BitsExplorer, TensorExplorer):
        explorer = kind(big)
        assert explorer.weights.shape == (1024, 4096)
        assert "first 1024 of 2000 rows" in explorer.figure.scene.status[0].text


def test_frames_stay_small():
    big = rng.standard_normal((1024, 1024)).astype(np.float32)
    for explorer, limit in ((BitsExplorer(big, bits=8), 40_000), (TensorExplorer(big), 256**2 + 2 * 64 * 40 + 10_000)):
        assert len(explorer.figure.frame) < limit


@pytest.mark.parametrize("kind", EXPLORERS)
def test_arrays_have_types_that_the_browser_knows(kind):
    script = View._esm
    known = set(re.findall(r"(\w\d): \w+Array", script[: script.index("function decode")]))
    assert known
    sent = set(re.findall(rb'"\$":"(\w+)"', kind(MODEL).figure.frame))
    assert sent
    assert {name.decode() for name in sent} <= known


def test_widgets_load_no_plotly():
    code = "import sys, qviz.widgets; print('plotly' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "False\n"


@pytest.mark.parametrize("kind", EXPLORERS)
def test_errors_are_qviz_errors(kind):
    with pytest.raises(QvizError):
        kind(3 + 4j)


def heard(explorer, content):
    """A message from the picture, as it arrives; what the picture hears in answer."""
    answers = []
    explorer.figure.send = answers.append
    explorer.figure._handle_custom_msg(content, [])
    return answers


def test_a_hand_in_the_picture_moves_a_control():
    explorer = BitsExplorer(W)
    assert heard(explorer, {"event": "set", "control": "bits", "value": 6, "ask": "a-1"}) == [{"answered": "a-1"}]
    assert explorer.controls["bits"].value == 6
    assert len(explorer.figure["line"].levels) == 64
    heard(explorer, {"event": "set", "control": "bits", "value": 99})
    assert explorer.controls["bits"].value == 8, "no farther than the control goes"


@pytest.mark.parametrize(
    "wrong",
    [
        {"control": "bits", "value": "many"},
        {"control": "bits", "value": None},
        {"control": "bits"},
        {"control": "nonsense", "value": 3},
        {"value": 3},
        {"control": "granularity", "value": "galaxy"},
        {"control": ["bits"], "value": 3},
    ],
)
def test_nonsense_from_a_picture_moves_nothing_and_is_answered(wrong):
    explorer = BitsExplorer(W)
    before = explorer.figure.frame
    assert heard(explorer, {"event": "set", "ask": 7, **wrong}) == [{"answered": 7}]
    assert explorer.figure.frame == before


def test_a_locked_control_is_not_moved_by_a_hand_in_the_picture():
    explorer = BitsExplorer(W)
    explorer.lock("1", "predict first")
    assert heard(explorer, {"event": "set", "control": "bits", "value": 6, "ask": 1}) == [{"answered": 1}]
    assert explorer.controls["bits"].value == 4
    explorer.unlock("1")
    explorer.controls["bits"].disabled = True
    heard(explorer, {"event": "set", "control": "bits", "value": 6})
    assert explorer.controls["bits"].value == 4, "nor is one that is switched off"


def sent_by(explorer, control):
    """What goes to the browser from now on, in order: "frame", or what is said of the control's value."""
    said = []

    def note(widget, name):
        send = widget.comm.send

        def noted(data=None, **more):
            if [name] in data.get("buffer_paths", []):  # bytes
                said.append(name)
            elif name in data.get("state", {}):
                said.append((data["method"], data["state"][name]))
            send(data, **more)

        widget.comm.send = noted

    note(explorer.figure, "frame")
    note(control, "value")
    return said


def test_a_picture_does_not_wait_for_the_echo_of_the_move():
    explorer = BitsExplorer(Q)
    bits = explorer.controls["bits"]
    said = sent_by(explorer, bits)
    bits.set_state({"value": 6})  # as a message from the browser does
    assert said == ["frame", ("echo_update", 6)]


def test_a_hand_in_the_picture_moves_the_picture_first():
    explorer = BitsExplorer(Q)
    said = sent_by(explorer, explorer.controls["bits"])
    explorer._message(explorer.figure, {"event": "set", "control": "bits", "value": 3}, [])
    assert said == ["frame", ("update", 3)]


def test_the_echo_says_what_the_control_holds_in_the_end():
    """Else a window would show the value that it sent, and not the one that a listener put in its place."""
    explorer = BitsExplorer(Q)
    bits = explorer.controls["bits"]
    bits.observe(lambda change: bits.set_trait("value", min(change.new, 5)), "value")
    said = sent_by(explorer, bits)
    bits.set_state({"value": 8})
    assert said[-1] == ("echo_update", 5)
