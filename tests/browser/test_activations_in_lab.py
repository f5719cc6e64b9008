"""The explorers of small floats and of outliers in a real JupyterLab: drawn, moved by keyboard and click."""

from __future__ import annotations

from browser.lab import colours

SETUP = """
import numpy as np
from qviz.widgets import FloatExplorer, OutlierExplorer
rng = np.random.default_rng(1)
x = (rng.standard_normal((400, 96)) * np.r_[30, 9, np.ones(94)]).astype(np.float32)
layers = {"loud": (rng.standard_normal((32, 96)), x[:200], x[200:])}
"""


def test_bits_flip_and_codes_are_walked(lab, open_notebook):
    book = open_notebook(lab.notebook("floats.ipynb", SETUP, "floats = FloatExplorer('E4M3', 1.0); floats"))
    book.run_all()
    assert book.cell_errors() == []
    canvas = book.page.locator("[data-panel=bits] canvas")
    assert colours(canvas) > 10, "nothing is drawn"
    label = canvas.get_attribute
    assert "E4M3, code 56: (1 + 0/8) · 2^(7 − 7) = 1" in label("aria-label")
    before = book.pixels(canvas)
    canvas.click(position={"x": 110, "y": 26})  # the first bit is the sign
    book.wait_until(lambda: "code 184: −(1 + 0/8)" in label("aria-label"), "the sign, by a click")
    assert book.pixels(canvas) != before
    canvas.focus()
    book.page.keyboard.press("ArrowRight")
    book.wait_until(lambda: "code 185" in label("aria-label"), "the next code")
    book.page.keyboard.press("Home")
    book.wait_until(lambda: "code 0: (0 + 0/8)" in label("aria-label"), "the first code")
    assert book.python("print(floats.controls['code'].value)").strip() == "0"
    assert not book.problems


def test_outliers_are_moved_and_mixed(lab, open_notebook):
    book = open_notebook(lab.notebook("outliers.ipynb", SETUP, "outliers = OutlierExplorer(layers); outliers"))
    book.run_all()
    assert book.cell_errors() == []
    canvas = {name: book.page.locator(f"[data-panel={name}] canvas") for name in ("channels", "errors")}
    before = {name: book.pixels(place) for name, place in canvas.items()}
    assert all(colours(place) > 10 for place in canvas.values()), "nothing is drawn"
    readout = book.page.locator(".qviz-readout .qviz-value").nth(2)
    assert readout.inner_text() == "100 %"
    handle = book.page.locator(".jp-OutputArea .widget-slider .noUi-handle").first
    handle.focus()
    for _ in range(11):
        book.page.keyboard.press("ArrowRight")
    book.wait_until(
        lambda: book.python("print(outliers.controls['strength'].value)").strip() == "0.5", "half of the strength"
    )
    book.wait_until(lambda: int(readout.inner_text().split()[0]) < 90, "less error than as they are")
    for name, place in canvas.items():
        assert book.pixels(place) != before[name]
    moved = book.pixels(canvas["channels"])
    book.page.get_by_role("checkbox", name="Rotate").check()
    book.wait_until(lambda: book.pixels(canvas["channels"]) != moved, "rotated channels")
    assert "Rotated channels are new" in book.page.locator("[data-panel=channels] .qviz-caption").inner_text()
    assert not book.problems
