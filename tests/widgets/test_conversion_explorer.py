"""From a folder to a file, in pictures: names by the record of the family, rows by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import qviz
from qviz.errors import WidgetError
from qviz.figures.conversion import name_map, row_map
from qviz.widgets import ConversionExplorer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qviz.checkpoints.write_folder(tmp_path_factory.mktemp("models") / "tiny", qviz.load("tiny"))


@pytest.fixture
def explorer(folder: Path) -> ConversionExplorer:
    return ConversionExplorer(folder, qviz.load("tiny"))


def test_names_meet_across_the_picture(explorer):
    names = explorer.figure["names"]
    assert len(names.sources) == len(names.targets) == 11
    joined = {source: names.targets[at] for source, at in zip(names.sources, names.places, strict=True)}
    assert joined["model.embed_tokens.weight"] == "token_embd.weight"
    assert joined["model.layers.0.mlp.down_proj.weight"] == "blk.0.ffn_down.weight"
    moved = {name for name, moves in zip(names.targets, names.moved, strict=True) if moves}
    assert moved == {"blk.0.attn_q.weight", "blk.0.attn_k.weight"}
    assert names.targets[names.current] == "blk.0.attn_q.weight"
    explorer.controls["layer"].value = 7
    assert explorer.figure["names"].targets[names.current] == "blk.7.attn_q.weight"


def test_partners_come_to_stand_side_by_side(explorer):
    rows = explorer.figure["rows"]
    assert rows.order.tolist() == [row for i in range(32) for row in (i, i + 32)]
    assert (rows.half, rows.right) == (32, 1)
    explorer.controls["pair"].value = 5
    assert "rows 5 and 37 of the folder: partners" in explorer.figure.scene.summary
    explorer.controls["order"].value = "as in the folder"
    assert explorer.figure["rows"].order.tolist() == list(range(64))
    assert explorer.figure["rows"].right == 0
    (said,) = explorer.figure.scene.status
    assert said.level == "error"
    assert "they are rows 10 and 11. But the partner of 10 is 42" in said.text


def test_most_tensors_only_change_their_name(explorer):
    explorer.controls["tensor"].value = "blk.{}.ffn_up.weight"
    rows = explorer.figure["rows"]
    assert (rows.order.tolist(), rows.half) == (list(range(64)), 0)
    assert explorer.controls["order"].disabled
    readouts = {readout.label: readout.value for readout in explorer.figure.scene.readouts}
    assert readouts["Dimensions in GGUF"] == "256, 768"
    assert readouts["In the folder"] == readouts["In the file"] == "F16 768 × 256"
    explorer.controls["tensor"].value = "blk.{}.attn_k.weight"
    assert not explorer.controls["order"].disabled


def test_what_else_becomes_of_a_tensor_is_said(explorer):
    """Gemma's gains are one larger in a GGUF file, and stay where they are."""
    name = "blk.0.attn_norm.weight"
    explorer._places[name] = replace(explorer._places[name], change=("plus one",))
    explorer.controls["tensor"].value = "blk.{}.attn_norm.weight"
    names = explorer.figure["names"]
    assert not names.moved[names.targets.index(name)]
    assert "1 is added to each gain" in explorer.figure.scene.summary
    (table,) = explorer.figure.scene.tables
    assert {row[1]: row[4] for row in table.rows}[name] == "1 is added to each gain"


def test_a_click_chooses_a_name_or_a_pair(explorer):
    explorer._message(explorer.figure, {"event": "choose", "name": "blk.0.ffn_gate.weight"}, [])
    assert explorer.target == "blk.0.ffn_gate.weight"
    explorer._message(explorer.figure, {"event": "choose", "name": "nonsense"}, [])
    assert explorer.target == "blk.0.ffn_gate.weight"
    explorer._message(explorer.figure, {"event": "choose", "name": "blk.0.attn_k.weight"}, [])
    explorer._message(explorer.figure, {"event": "pair", "pair": 31}, [])
    assert explorer.controls["pair"].value == 31


def test_a_file_of_another_folder_is_refused(folder):
    with pytest.raises(WidgetError, match="was not made of this folder"):
        ConversionExplorer(folder, qviz.load("smollm2-slices"))


def test_an_order_has_each_row_once_and_names_meet():
    with pytest.raises(WidgetError, match="each number once"):
        row_map([0, 0, 1])
    with pytest.raises(WidgetError, match="no pair 2"):
        row_map(np.arange(4), half=2, pair=2)
    with pytest.raises(WidgetError, match="names on one side"):
        name_map(["a"], {"b": "c"}, [], "b")
