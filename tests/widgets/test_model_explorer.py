"""The map of a model: every tensor of every family has a place and a meaning; shares by hand."""

from __future__ import annotations

import numpy as np
import pytest

import qviz
from qviz.architectures import ARCHITECTURES
from qviz.errors import WidgetError
from qviz.figures.model_map import MEANING, ModelTensor, meaning, model_map
from qviz.widgets import ModelExplorer

RARE = {"rope_freqs", "rope_factors_long", "rope_factors_short"}  # nothing is multiplied with them


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_every_tensor_of_every_family_has_a_place_and_a_meaning(family):
    places = ARCHITECTURES[family].tensors
    parts = {place.name.format(0): ModelTensor((2, 2), "F16", 8, place.kind) for place in places}
    drawn = model_map(family, parts)
    homeless = {t.kind for t in drawn.tensors if drawn.steps[t.step] == "the rest"}
    assert homeless <= RARE
    for place in places:
        if place.kind not in RARE:
            does, goes = meaning(place.kind)
            assert does.endswith(".")
            assert goes.endswith(".")


def test_shares_add_up():
    parts = {
        "token_embd.weight": ModelTensor((10, 4), "F16", 80, "token_embd"),
        "blk.0.ffn_down.weight": ModelTensor((4, 8), "Q8_0", 10, "ffn_down"),
        "blk.1.ffn_down.weight": ModelTensor((4, 8), "Q8_0", 30, "ffn_down"),
        "output_norm.weight": ModelTensor((4,), "F32", 40, "output_norm"),
    }
    drawn = model_map("toy", parts, layer=1)
    assert {t.kind: t.share for t in drawn.tensors} == {"token_embd": 0.5, "ffn_down": 0.25, "output_norm": 0.25}
    assert [t.name for t in drawn.tensors] == ["token_embd.weight", "blk.1.ffn_down.weight", "output_norm.weight"]
    assert (drawn.n_layers, drawn.layer) == (2, 1)
    assert drawn.tensors[2].rows == 1


def test_a_norm_behind_a_half_is_what_the_stream_takes():
    kinds = ["attn_output", "post_attention_norm", "ffn_down"]
    drawn = model_map("toy", {f"blk.0.{kind}.weight": ModelTensor((2, 2), "F16", 8, kind) for kind in kinds})
    assert dict(zip(drawn.steps, drawn.adds, strict=True)) == {"answer": 0, "norm": 1, "narrow": 1}


def test_the_shipped_model_beside_a_published_one():
    explorer = ModelExplorer(qviz.load("tiny"), "mixtral-8x7b")
    first, second = explorer.figure["map"], explorer.figure["other"]
    total = sum(info.nbytes for info in qviz.load("tiny").tensor_info.values())
    assert sum({t.kind: t.share for t in first.tensors}.values()) == pytest.approx(1)
    down = next(t for t in first.tensors if t.kind == "ffn_down")
    assert down.share == pytest.approx(8 * 256 * 768 * 2 / total)
    assert {t.copies for t in second.tensors} == {1, 8}
    explorer.controls["layer"].value = 7
    assert explorer.figure["map"].layer == 7
    explorer.controls["tensor"].value = "token_embd"
    assert explorer.figure["other"].tensors[explorer.figure["other"].current].kind == "token_embd"
    assert MEANING["token_embd"][0] in explorer.figure.scene.status[0].text


def test_boxes_of_the_second_model_can_be_chosen_too():
    explorer = ModelExplorer(qviz.load("tiny"), "mixtral-8x7b")
    explorer._message(explorer.figure, {"event": "choose", "kind": "ffn_gate_exps"}, [])
    first, second = explorer.figure["map"], explorer.figure["other"]
    assert first.current == -1, "it has no experts"
    assert second.tensors[second.current].kind == "ffn_gate_exps"
    values = {readout.label: readout.value for readout in explorer.figure.scene.readouts}
    assert values["Rows × columns"] == "8 × 14,336 × 4,096"
    assert values["Above"] == "none"


def test_a_layer_without_the_box_says_so(tmp_path):
    weights = {"blk.0.ffn_up.weight": np.ones((4, 32), np.float32), "blk.1.ffn_up_exps.weight": np.ones((2, 4, 32))}
    weights = {name: qviz.quantize(x.astype(np.float32), "F32") for name, x in weights.items()}
    qviz.gguf.write(tmp_path / "m.gguf", {"general.architecture": "x"}, weights)
    explorer = ModelExplorer(tmp_path / "m.gguf")
    assert explorer.figure["map"].tensors[explorer.figure["map"].current].kind == "ffn_up"
    explorer.controls["layer"].value = 1
    assert "Layer 1 has no ffn_up." in [status.text for status in explorer.figure.scene.status]
    explorer.controls["tensor"].value = "ffn_up_exps"
    assert explorer.figure["map"].tensors[explorer.figure["map"].current].kind == "ffn_up_exps"
    assert not any("has no" in status.text for status in explorer.figure.scene.status)


def test_a_click_chooses_a_box():
    explorer = ModelExplorer("tiny")
    explorer._message(explorer.figure, {"event": "choose", "kind": "ffn_up"}, [])
    assert explorer.controls["tensor"].value == "ffn_up"
    explorer._message(explorer.figure, {"event": "choose", "kind": "nonsense"}, [])
    assert explorer.controls["tensor"].value == "ffn_up"


@pytest.mark.parametrize("given", [3, None])
def test_no_model(given):
    with pytest.raises(WidgetError, match="a model, its path or its name is wanted"):
        ModelExplorer(given)


def test_no_such_layer():
    with pytest.raises(WidgetError, match="no layer 3; toy has tensors of layers 0"):
        model_map("toy", {"blk.0.attn_q.weight": ModelTensor((2, 2), "F16", 8, "attn_q")}, layer=3)
    with pytest.raises(WidgetError, match="without tensors"):
        model_map("toy", {})
