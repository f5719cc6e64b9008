"""The range and codebook explorers in a real JupyterLab: drawn, moved by keyboard, played, in the dark."""

from __future__ import annotations

from browser.lab import colours

SETUP = """
import numpy as np
from qviz.widgets import CodebookExplorer, InputRangeExplorer, RangeExplorer
rng = np.random.default_rng(1)
weights = rng.standard_t(4, (32, 256)).astype(np.float32)
inputs = rng.standard_normal((64, 256)).astype(np.float32)
"""


def open_explorer(lab, open_notebook, name, layout, cell):
    return open_notebook(lab.notebook(f"{name}.ipynb", SETUP, cell), height=1200).shown(layout)


def canvases(book, *names):
    return {name: book.page.locator(f"[data-panel={name}] canvas") for name in names}


def readout(book, label):
    return book.page.locator(".qviz-readout", has_text=label).locator(".qviz-value")


def in_the_dark(book, layout, canvas, path):
    light = book.pixels(canvas)
    book.views(layout).first.screenshot(path=path)
    book.theme("JupyterLab Dark")
    book.wait_until(lambda: book.pixels(canvas) != light, "the dark colours")
    book.views(layout).first.screenshot(path=path.with_stem(path.stem.replace("light", "dark")))
    book.theme("JupyterLab Light")
    assert book.problems == []


def test_a_range_follows_the_keyboard(lab, open_notebook, screenshots):
    book = open_explorer(lab, open_notebook, "ranges", "ranges", "ranges = RangeExplorer(weights, name='w'); ranges")
    canvas = canvases(book, "range", "curve", "strip")
    book.turn_to("Groups of a row")
    assert colours(canvas["strip"]) > 20, "nothing is drawn"
    strip = book.pixels(canvas["strip"])
    book.turn_to("The range")
    assert all(colours(canvas[name]) > 20 for name in ("range", "curve")), "nothing is drawn"
    before = {name: book.pixels(canvas[name]) for name in ("range", "curve")}
    width = readout(book, "Range, of full")
    assert width.inner_text() == "100 %"
    canvas["curve"].focus()
    book.page.keyboard.press("ArrowLeft")
    book.wait_until(lambda: width.inner_text() == "99 %", "a narrower range")
    assert all(book.pixels(canvas[name]) != picture for name, picture in before.items())
    assert book.python("print(ranges.controls['chooser'].value)").strip() == "by hand"
    book.page.keyboard.press("Enter")
    best = book.python("c = ranges.figure['curve']; print(round(100 * c.shares[c.best]))").strip()
    book.wait_until(lambda: width.inner_text() == f"{best} %", "the least error")
    box = canvas["curve"].bounding_box()
    canvas["curve"].click(position={"x": box["width"] - 14.2, "y": 60})  # the right end of the axis
    book.wait_until(lambda: width.inner_text() == "100 %", "the full range, by a click")
    book.turn_to("Groups of a row")
    canvas["strip"].focus()
    book.page.keyboard.press("Home")
    title = book.page.locator(".qviz-status")
    book.page.get_by_label("Multiply that weight by").first.focus()
    for _ in range(20):
        book.page.keyboard.press("ArrowRight")
    book.wait_until(lambda: "column 0" in title.inner_text() and "multiplied by 10" in title.inner_text(), "an outlier")
    book.page.get_by_label("One range for").select_option("32 weights")
    book.wait_until(lambda: "4.625" in readout(book, "Bits per weight").inner_text(), "groups")
    assert book.pixels(canvas["strip"]) != strip
    in_the_dark(book, "ranges", canvas["strip"], screenshots / "ranges-light.png")


def test_inputs_are_static_until_they_are_not(lab, open_notebook, screenshots):
    cell = "live = InputRangeExplorer((inputs, 2 * inputs), name='x'); live"
    book = open_explorer(lab, open_notebook, "inputs", "ranges", cell)
    canvas = canvases(book, "range", "curve", "strip")
    outside = readout(book, "Outside")
    assert outside.inner_text() != "0 %"
    book.page.get_by_label("One range for").select_option("each token, at run time (dynamic)")
    book.wait_until(lambda: outside.inner_text() == "0 %", "a range of its own")
    in_the_dark(book, "ranges", canvas["range"], screenshots / "inputs-light.png")


def test_levels_are_stepped_and_played(lab, open_notebook, screenshots):
    cell = "book = CodebookExplorer(weights, name='w'); book"
    book = open_explorer(lab, open_notebook, "codebook", "codebook", cell)
    canvas = canvases(book, "levels", "curve")
    assert all(colours(node) > 20 for node in canvas.values()), "nothing is drawn"
    title = book.page.locator("[data-panel=levels] h4")
    last = int(book.python("print(len(book.steps) - 1)"))
    assert f"iteration {last} of {last}" in title.inner_text()
    end = {name: book.pixels(node) for name, node in canvas.items()}
    canvas["curve"].focus()
    book.page.keyboard.press("Home")
    book.wait_until(lambda: f"iteration 0 of {last}" in title.inner_text(), "the start")
    assert all(book.pixels(node) != end[name] for name, node in canvas.items())
    book.page.keyboard.press("ArrowRight")
    book.wait_until(lambda: f"iteration 1 of {last}" in title.inner_text(), "one step")
    play = book.page.locator(".qviz-explorer .jupyter-widget-play button, .qviz-explorer .widget-play button").first
    play.focus()
    book.page.keyboard.press("Enter")
    book.wait_until(lambda: "iteration 1 " not in title.inner_text(), "playing")
    book.page.keyboard.press("Enter")
    in_the_dark(book, "codebook", canvas["levels"], screenshots / "codebook-light.png")
