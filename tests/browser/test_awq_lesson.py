"""The AWQ lab and the curvature explorer in a real JupyterLab: drawn, moved by keyboard and click, in the dark."""

from __future__ import annotations

from browser.lab import colours

SETUP = """
import numpy as np
from qviz.widgets import AWQExplorer, CurvatureExplorer
rng = np.random.default_rng(1)
x = (rng.standard_normal((400, 96)) * np.r_[30, 9, np.ones(94)]).astype(np.float32)
layers = {"loud": (rng.standard_normal((32, 96)), x[:200], x[200:])}
"""


def test_the_lab_follows_hand_and_keyboard(lab, open_notebook, screenshots):
    book = open_notebook(lab.notebook("awq.ipynb", SETUP, "lab = AWQExplorer(layers, group_size=64); lab"), height=1500)
    book.run_all()
    assert book.cell_errors() == []
    canvas = {
        name: book.page.locator(f"[data-panel={name}] canvas")
        for name in ("hand", "channels", "alpha", "clip", "methods")
    }
    pages = {
        "hand": "Scale a channel",
        "channels": "All channels",
        "alpha": "Choice of α",
        "clip": "Clipping",
        "methods": "Methods",
    }
    before = {}
    for name in ("hand", "channels", "methods", "clip", "alpha"):
        book.turn_to(pages[name])
        assert colours(canvas[name]) > 20, f"nothing is drawn in {name}"
        before[name] = book.pixels(canvas[name])
    label = canvas["alpha"].get_attribute

    canvas["alpha"].focus()
    book.page.keyboard.press("Home")
    book.wait_until(lambda: "alpha 0.00 leaves 100 %" in label("aria-label"), "plain rounding")
    for name in ("channels", "alpha"):
        book.turn_to(pages[name])
        assert book.pixels(canvas[name]) != before[name]
    assert book.python("print(lab.controls['alpha'].value)").strip() == "0.0"
    box = canvas["alpha"].bounding_box()
    canvas["alpha"].click(position={"x": box["width"] - 20, "y": box["height"] / 2})
    book.wait_until(lambda: "alpha 0.95" in label("aria-label"), "the last alpha, by a click")

    book.turn_to("Scale a channel")
    title = book.page.locator("[data-panel=hand] h4")
    assert "Channel 0 × 4" in title.inner_text()
    canvas["hand"].focus()
    book.page.keyboard.press("ArrowUp")
    book.wait_until(lambda: "Channel 0 × 4.76" in title.inner_text(), "a quarter of a power of two up, by a key")
    box = canvas["hand"].bounding_box()
    x, one = box["x"] + 56 + 2.5 * (box["width"] - 66) / 24, box["y"] + 98 - 76 * 2 / 8
    book.page.mouse.move(x, one)
    book.page.mouse.down()
    for k in range(8):
        book.page.mouse.move(x, one - 3 * k)
    book.page.mouse.up()
    book.wait_until(lambda: "Channel 2 ×" in title.inner_text(), "the third bar, by hand")
    scale = "print(lab.controls['scale'].value)"
    book.wait_until(lambda: float(book.python(scale)) > 2, "the last of the hand's moves")

    book.turn_to("All channels")
    caption = book.page.locator("[data-panel=channels] .qviz-caption")
    assert "Channel 2:" in caption.inner_text(), "the bar that was dragged is on show here, too"
    canvas["channels"].focus()
    book.page.keyboard.press("Home")
    book.wait_until(lambda: "Channel 0:" in caption.inner_text(), "the largest channel, by a key")
    book.page.keyboard.press("ArrowRight")
    book.wait_until(lambda: "Channel 1:" in caption.inner_text(), "the second largest channel")
    box = canvas["channels"].bounding_box()
    canvas["channels"].click(position={"x": 80, "y": box["height"] / 2})
    book.wait_until(lambda: "Channel 0:" in caption.inner_text(), "the largest channel, by a click")

    still = book.pixels(canvas["channels"])
    book.page.get_by_role("checkbox", name="Clip").check()
    book.wait_until(lambda: book.pixels(canvas["channels"]) != still, "clipping")
    book.turn_to("Methods")
    light = book.pixels(canvas["methods"])
    book.views("awq").first.screenshot(path=screenshots / "awq-light.png")
    book.theme("JupyterLab Dark")
    book.wait_until(lambda: book.pixels(canvas["methods"]) != light, "the dark colours")
    book.views("awq").first.screenshot(path=screenshots / "awq-dark.png")
    book.theme("JupyterLab Light")
    assert book.problems == []


def test_four_sights_of_one_matrix(lab, open_notebook, screenshots):
    cells = (SETUP, "one = CurvatureExplorer(layers, group_size=64); one")
    book = open_notebook(lab.notebook("curvature.ipynb", *cells), height=1200)
    book.run_all()
    assert book.cell_errors() == []
    maps = [book.page.locator(f"[data-panel={name}] canvas[tabindex]") for name in ("rtn", "imatrix", "awq", "gptq")]
    seen = [colours(node) for node in maps]
    assert seen[3] > 3 * seen[0], "all of H has more to show than nothing"
    before = book.pixels(maps[3])
    maps[3].focus()
    book.page.keyboard.press("Enter")
    book.wait_until(lambda: book.python("print(one.window.rows)").strip() == "16", "a closer look")
    assert book.pixels(maps[3]) != before
    status = book.page.locator(".qviz-status")
    assert "no full rank" not in status.inner_text()
    book.python("one.controls['tokens'].value = 32")
    book.wait_until(lambda: "32 tokens for 96 channels" in status.inner_text(), "the warning")
    book.views("curvature").first.screenshot(path=screenshots / "curvature-light.png")
    book.theme("JupyterLab Dark")
    book.views("curvature").first.screenshot(path=screenshots / "curvature-dark.png")
    book.theme("JupyterLab Light")
    assert book.problems == []
