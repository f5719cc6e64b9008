"""Two recipes side by side; sizes and choices from llama.cpp's own."""

from __future__ import annotations

import numpy as np
import pytest

from qviz import load
from qviz.errors import RecipeError, WidgetError
from qviz.recipes import get_shapes, model_size
from qviz.widgets import RecipeExplorer
from qviz.widgets.recipes import LADDER


def test_the_default_teaches():
    explorer = RecipeExplorer()
    left, right = explorer.figure["left"], explorer.figure["right"]
    # llama.cpp: attn_v Q5_K in layers 0 … 3 of Q4_K_S, Q6_K in the first and last 4 and every third between of Q4_K_M
    more = [i for i in range(32) if i < 4 or i >= 28 or (i - 4) % 3 == 2]
    for figure, special in ((left, {"Q5_K": range(4)}), (right, {"Q6_K": more})):
        for kind in ("attn_v", "ffn_down"):
            row = figure.cells[figure.kinds.index(kind)]
            found = [figure.formats[figure.format_of[tensor]] for tensor in row]
            ((name, layers),) = special.items()
            assert [i for i in range(32) if found[i] == name] == list(layers)
    assert explorer.figure.scene.readouts[2].value == "3.80 GiB"
    assert explorer.figure.scene.readouts[3].value == "4.844"
    assert right.differs.tolist() == left.differs.tolist()
    assert left.names[left.first] == "blk.0.attn_v.weight"


def test_bars_hold_every_byte():
    explorer = RecipeExplorer("mixtral-8x7b", "Q2_K", "Q3_K_L")
    for row, side in zip(explorer.figure["bytes"].nbytes, ("left", "right"), strict=True):
        assert row.sum() == sum(choice.nbytes for choice in explorer.plans[side])


def test_each_control_sends_one_frame():
    explorer = RecipeExplorer()
    seen = []
    explorer.figure.observe(lambda change: seen.append(change.new), "frame")
    moves = {
        "step": 0,
        "model": "mistral-7b",
        "left": "Q3_K_S",
        "right": "IQ4_XS",
        "left_rules": "2023-06",
        "right_rules": "uniform",
    }
    for n, (name, value) in enumerate(moves.items(), 1):
        assert explorer.controls[name].description
        assert explorer.controls[name].tooltip
        explorer.controls[name].value = value
        assert len(seen) == n, name
    assert repr(explorer) == "RecipeExplorer(mistral-7b, Q3_K_S, rules of June 2023 and IQ4_XS, one format for all)"


def test_a_slider_walks_from_recipe_to_recipe():
    explorer = RecipeExplorer()
    step = explorer.controls["step"]
    assert step.value == LADDER.index("Q4_K_S")
    seen = []
    explorer.figure.observe(lambda change: seen.append(change.new), "frame")
    step.value = LADDER.index("Q5_K_S")
    assert len(seen) == 1
    assert (explorer.controls["left"].value, explorer.controls["right"].value) == ("Q5_K_S", "Q5_K_M")
    changes = explorer.figure["changes"]
    assert (changes.before, changes.after, changes.tensors.tolist()) == (("Q5_K",), ("Q6_K",), [32])
    assert changes.kinds == ("16 × attn_v, 16 × ffn_down",)
    explorer.controls["play"].value = 1  # moves the slider
    assert (explorer.controls["left"].value, explorer.controls["right"].value) == ("Q2_K", "Q3_K_S")
    assert len(seen) == 2
    explorer.controls["left"].value = "Q6_K"
    assert step.value == -1
    explorer.controls["right"].value = "Q8_0"
    assert step.value == LADDER.index("Q6_K")
    sizes = [model_size("llama-7b", recipe) for recipe in LADDER]
    assert sizes == sorted(sizes)


def test_the_colour_of_each_tensor_is_that_of_its_format():
    figure = RecipeExplorer().figure["right"]
    assert figure.depth.tolist() == [int(figure.shades[k]) for k in figure.format_of]


def test_rows_of_576_fall_back_and_say_so():
    explorer = RecipeExplorer("smollm2-135m")
    figure = explorer.figure["right"]
    fallen = {figure.kinds[i] for i, row in enumerate(figure.cells) if figure.fallback[row].any()}
    # ffn_down alone has rows of 1536 = 6 · 256
    assert fallen == {"attn_k", "attn_output", "attn_q", "attn_v", "ffn_gate", "ffn_up"}
    assert "rows of 576" in explorer.figure.panels["changes"].caption
    assert not RecipeExplorer().figure.panels["changes"].caption


def test_a_recipe_that_did_not_exist_then():
    explorer = RecipeExplorer()
    explorer.controls["left"].value = "IQ4_XS"
    explorer.controls["left_rules"].value = "2023-06"
    (status,) = explorer.figure.scene.status
    assert status.level == "error"
    assert "June 2023" in status.text
    assert not explorer.figure.panels
    explorer.controls["left"].value = "Q4_K_M"
    assert explorer.figure.panels


def test_a_file_of_ones_own():
    model = load("smollm2-slices")
    explorer = RecipeExplorer(model, "Q4_0", "Q6_K")
    assert "model" not in explorer.controls
    figure = explorer.figure["left"]
    assert set(figure.names) == set(model)
    assert (figure.cells == -1).any(), "the file holds only some layers"
    norms = [figure.formats[figure.format_of[i]] for i, name in enumerate(figure.names) if "norm" in name]
    assert set(norms) == {"F32"}


def test_shapes_of_ones_own():
    explorer = RecipeExplorer(get_shapes("tinyllama-1.1b"))
    assert "model" not in explorer.controls
    assert "tinyllama-1.1b" in explorer.figure.scene.summary


def test_words_for_those_who_do_not_see_it():
    scene = RecipeExplorer().figure.scene
    assert "16 × attn_v, 16 × ffn_down" in scene.summary
    assert all(panel.label for panel in scene.panels.values())
    assert len(scene.tables[0].rows) == 291
    assert all(len(row) == len(table.columns) for table in scene.tables for row in table.rows)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: RecipeExplorer("llama-9b"), RecipeError, "llama-7b"),
        (lambda: RecipeExplorer(left="Q4_K_XL"), RecipeError, "Q4_K_M"),
        (lambda: RecipeExplorer(left_rules="2024"), RecipeError, "2023-06"),
        (lambda: RecipeExplorer(np.zeros(3)), WidgetError, "qviz.load"),
        (lambda: RecipeExplorer({}), WidgetError, "qviz.load"),
    ],
)
def test_what_is_no_model(make, error, says):
    with pytest.raises(error, match=says):
        make()
