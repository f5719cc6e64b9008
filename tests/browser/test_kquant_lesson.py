"""Lesson 05 and its two explorers in a real JupyterLab: drawn, moved by keyboard, in the dark."""

from __future__ import annotations

import pytest
from browser.lab import colours

SETUP = """
import numpy as np
from qviz.widgets import RecipeExplorer, ScaleSearchExplorer
weights = np.random.default_rng(1).standard_normal((8, 512)).astype(np.float32)
"""


def open_explorer(lab, open_notebook, kind, cell):
    return open_notebook(lab.notebook(f"{kind}.ipynb", SETUP, cell), height=1100).shown(kind)


def test_candidates_follow_the_keyboard(lab, open_notebook, screenshots):
    book = open_explorer(lab, open_notebook, "search", "steps = ScaleSearchExplorer(weights, name='w'); steps")
    canvas = {name: book.page.locator(f"[data-panel={name}] canvas") for name in ("line", "curve")}
    before = {name: book.pixels(node) for name, node in canvas.items()}
    assert all(colours(node) > 20 for node in canvas.values()), "nothing is drawn"
    title = book.page.locator("[data-panel=line] h4")
    assert "min–max" in title.inner_text()
    canvas["curve"].focus()
    book.page.keyboard.press("ArrowRight")
    book.wait_until(lambda: "Candidate 1 of 21" in title.inner_text(), "the next candidate")
    assert all(book.pixels(node) != before[name] for name, node in canvas.items())
    assert "winner" in canvas["curve"].get_attribute("aria-label")
    book.page.keyboard.press("End")
    book.wait_until(lambda: "Candidate 21 of 21" in title.inner_text(), "the last candidate")
    box = canvas["curve"].bounding_box()
    canvas["curve"].click(position={"x": 70, "y": box["height"] / 2})
    book.wait_until(lambda: "Candidate 0 of 21" in title.inner_text(), "the first one, by a click")
    light = book.pixels(canvas["curve"])
    book.views("search").first.screenshot(path=screenshots / "search-light.png")
    book.theme("JupyterLab Dark")
    book.wait_until(lambda: book.pixels(canvas["curve"]) != light, "the dark colours")
    book.views("search").first.screenshot(path=screenshots / "search-dark.png")
    book.theme("JupyterLab Light")
    assert book.problems == []


def test_both_maps_follow_one_pointer(lab, open_notebook, screenshots):
    book = open_explorer(lab, open_notebook, "recipes", "recipes = RecipeExplorer(); recipes")
    maps = {side: book.page.locator(f"[data-panel={side}] canvas") for side in ("left", "right")}
    cards = {side: book.page.locator(f"[data-panel={side}] .qviz-cell-card") for side in ("left", "right")}
    assert all(colours(node) > 5 for node in maps.values()), "nothing is drawn"
    assert "blk.0.attn_v, 4096 × 4096: Q5_K" in cards["left"].inner_text()
    assert "blk.0.attn_v, 4096 × 4096: Q6_K" in cards["right"].inner_text()
    assert "among those that get more bits" in cards["right"].inner_text()
    maps["left"].focus()
    for key in ("ArrowDown", "ArrowRight"):
        book.page.keyboard.press(key)
    assert all("blk.1.ffn_down," in card.inner_text() for card in cards.values())
    box = maps["right"].bounding_box()
    maps["right"].hover(position={"x": box["width"] - 3, "y": 8})
    assert all("output" in card.inner_text() or "token_embd" in card.inner_text() for card in cards.values())
    before = book.pixels(maps["left"])
    book.page.get_by_label("Model").select_option("smollm2-135m")
    book.wait_until(lambda: "rows of 576" in book.views("recipes").inner_text(), "the fallback")
    assert book.pixels(maps["left"]) != before
    book.views("recipes").first.screenshot(path=screenshots / "recipes-light.png")
    book.theme("JupyterLab Dark")
    book.views("recipes").first.screenshot(path=screenshots / "recipes-dark.png")
    book.theme("JupyterLab Light")
    assert book.problems == []


@pytest.mark.parametrize(("width", "highest"), [(1280, 620), (1024, 620), (848, 1000)])
def test_a_super_block_fits_the_screen(lab, open_notebook, width, highest):
    """At 1280 px its controls stand beside it, at 1024 above: all of it is seen at once, and no code is cut.

    At 848 px its bytes stand above its weights.
    """
    setup = SETUP + "import qviz\nfrom qviz.widgets import BlockExplorer"
    cell = "lens = BlockExplorer(qviz.quantize(weights, 'Q4_K'), name='w'); lens"
    book = open_notebook(lab.notebook("lens.ipynb", setup, cell), width=width, height=800).shown("block")
    assert book.page.locator(".jp-OutputArea .qviz-explorer").bounding_box()["height"] <= highest
    spare = book.page.locator(".qviz-weight .qviz-value").evaluate_all(
        """(nodes) => nodes.map((node) => {
            const range = document.createRange();
            range.selectNodeContents(node);
            return node.closest('.qviz-cell').clientWidth - range.getBoundingClientRect().width;
        })"""
    )
    assert len(spare) == 256
    assert min(spare) >= 0, "a code is cut"
