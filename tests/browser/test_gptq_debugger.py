"""The GPTQ debugger in a real JupyterLab: drawn, stepped by keyboard, by a click, by Play, in the dark."""

from __future__ import annotations

import re

from browser.lab import colours

SETUP = """
import numpy as np
from qviz.widgets import GPTQExplorer
rng = np.random.default_rng(1)
x = (rng.standard_normal((400, 64)) @ (rng.standard_normal((64, 64)) * np.geomspace(3, 0.2, 64))).astype(np.float32)
weights = rng.standard_normal((32, 64)).astype(np.float32)
"""


def test_the_debugger_follows_keys_clicks_and_play(lab, open_notebook, screenshots):
    cell = "steps = GPTQExplorer(weights, inputs=x[:200], held_out=x[200:], column=12, name='w'); steps"
    book = open_notebook(lab.notebook("gptq.ipynb", SETUP, cell), height=1700).shown("gptq")
    names = ("steps", "pull", "race", "moved", "hessian", "factor")
    canvas = {name: book.page.locator(f"[data-panel={name}] canvas").first for name in names}
    later = ("moved", "hessian", "factor")
    book.turn_to("The matrices")
    assert all(colours(canvas[name]) > 20 for name in later), "nothing is drawn"
    matrices = {name: book.pixels(canvas[name]) for name in later}
    book.turn_to("Step by step")
    assert all(colours(canvas[name]) > 20 for name in names if name not in later), "nothing is drawn"
    title = book.page.locator("[data-panel=steps] h4")
    assert "Row 0, column 12" in title.inner_text()
    before = {name: book.pixels(canvas[name]) for name in names if name not in later}

    canvas["steps"].focus()
    book.page.keyboard.press("ArrowRight")
    book.wait_until(lambda: "column 13" in title.inner_text(), "the next column")
    assert all(book.pixels(canvas[name]) != picture for name, picture in before.items())
    book.page.keyboard.press("ArrowDown")
    book.wait_until(lambda: "Row 1, column 13" in title.inner_text(), "the next row")
    book.page.keyboard.press("End")
    book.wait_until(lambda: "column 63" in title.inner_text(), "the last column")
    book.turn_to("The matrices")
    assert all(book.pixels(canvas[name]) != picture for name, picture in matrices.items())
    box = canvas["moved"].bounding_box()
    canvas["moved"].click(position={"x": box["width"] * 20.5 / 64, "y": box["height"] * 10.5 / 32})
    book.wait_until(lambda: "Row 10, column 20" in title.inner_text(), "the weight that was clicked")

    handle = book.page.locator(".noUi-handle[aria-label='Column']")
    handle.focus()
    book.page.keyboard.press("ArrowLeft")
    book.wait_until(lambda: "column 19" in title.inner_text(), "one column back, by the slider")
    book.page.locator(".widget-play button").first.click()
    # who looks seldom may miss a column
    book.wait_until(lambda: int(re.search(r"column (\d+)", title.inner_text())[1]) >= 21, "two columns on, by Play")
    book.page.locator(".widget-play button").first.click()

    book.turn_to("Step by step")
    race = book.pixels(canvas["race"])
    book.page.get_by_label("Act-order").check()
    book.wait_until(lambda: book.pixels(canvas["race"]) != race, "another order of columns")
    assert (
        book.python("print(steps.controls['act_order'].value, (steps.run.order[1:] != steps.run.order[:-1] + 1).any())")
        == "True True\n"
    )
    batch = book.page.get_by_label("Batch")
    batch.select_option("32")
    book.wait_until(lambda: book.python("print(steps.run.batch)") == "32\n", "a batch of 32 columns")

    assert "U off formula by" in book.views("gptq").first.inner_text()
    book.page.locator(".qviz-explorer").first.screenshot(path=screenshots / "gptq-light.png")
    book.turn_to("The matrices")
    light = book.pixels(canvas["factor"])
    book.theme("JupyterLab Dark")
    book.wait_until(lambda: book.pixels(canvas["factor"]) != light, "the dark colours")
    book.page.locator(".qviz-explorer").first.screenshot(path=screenshots / "gptq-dark.png")
    book.theme("JupyterLab Light")
    assert book.problems == []
