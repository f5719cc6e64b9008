"""The explorers of the first lesson and of the last in a real JupyterLab: drawn, moved by keyboard, in the dark."""

from __future__ import annotations

from browser.lab import colours

SETUP = """
import numpy as np
from qviz import models
from qviz.widgets import CapstoneExplorer, NumberExplorer, PhotoExplorer
rng = np.random.default_rng(1)
weights, inputs = rng.standard_normal((64, 64)), rng.standard_normal((99, 64))
"""


def open_explorer(lab, open_notebook, kind, cell):
    return open_notebook(lab.notebook(f"{kind}.ipynb", SETUP, cell), height=1300).shown(kind)


def press(book, selector, key):
    book.page.locator(f".qviz-explorer {selector}").first.focus()
    book.page.keyboard.press(key)


def in_the_dark(book, kind, canvas, screenshots):
    """Photograph light and dark; the picture follows the theme, and nothing is cut off."""
    light = book.pixels(canvas)
    book.views(kind).first.screenshot(path=screenshots / f"{kind}-light.png")
    book.theme("JupyterLab Dark")
    book.wait_until(lambda: book.pixels(canvas) != light, "the dark colours")
    book.views(kind).first.screenshot(path=screenshots / f"{kind}-dark.png")
    book.theme("JupyterLab Light")
    cut = book.views(kind).first.evaluate(
        """(root) => [...root.querySelectorAll('.qviz-value, .qviz-panel')].filter((node) =>
            node.scrollWidth > node.clientWidth + 1).map((node) => node.textContent)"""
    )
    assert cut == []


def test_a_number_follows_the_keyboard(lab, open_notebook, screenshots):
    book = open_explorer(lab, open_notebook, "number", "number = NumberExplorer(bits=3); number")
    canvas = book.page.locator("[data-panel=line] canvas")
    before = book.pixels(canvas)
    assert colours(canvas) > 20, "nothing is drawn"
    book.page.locator(".noUi-handle[aria-label='Bits']").wait_for()
    press(book, ".noUi-handle[aria-label='Bits']", "ArrowRight")
    book.wait_until(lambda: "1100" in book.views("number").inner_text(), "four bits of π")
    assert book.pixels(canvas) != before
    assert "code 12" in canvas.get_attribute("aria-label")
    book.page.get_by_label("Number", exact=True).select_option("ln 2")
    book.wait_until(lambda: "ln 2" in canvas.get_attribute("aria-label"), "another number")
    in_the_dark(book, "number", canvas, screenshots)
    assert book.problems == []


def test_a_photograph_follows_the_keyboard(lab, open_notebook, screenshots):
    cell = "photo = PhotoExplorer(None, weights, inputs, bits=2); photo"
    # on a screen this fine each pixel has whole pixels of its own: nothing is blended
    book = open_notebook(lab.notebook("photo.ipynb", SETUP, cell), height=1300, scale=2).shown("photo")
    canvas = {
        name: book.page.locator(f"[data-panel={name}] canvas") for name in ("photo", "weights", "greys", "levels")
    }
    before = {name: book.pixels(node) for name, node in canvas.items()}
    greys = canvas["photo"].evaluate(  # but for the knob that wipes, at the left edge
        """(node) => {
            const knob = 48;
            const { data } = node.getContext('2d').getImageData(knob, 0, node.width - knob, node.height);
            return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )
    assert greys == 4, "two bits, and not blurred"
    press(book, "input[type=checkbox]", "Space")
    book.wait_until(lambda: book.pixels(canvas["photo"]) != before["photo"], "dithering")
    afar = book.python("print(f\"{photo.measured['photo, PSNR from afar']:.1f} dB\")").strip()
    assert book.page.locator(".qviz-value").nth(2).inner_text() == afar
    press(book, ".widget-toggle-button >> text=palette", "Enter")
    book.wait_until(lambda: book.pixels(canvas["greys"]) != before["greys"], "a palette")
    press(book, "input[type=checkbox] >> nth=0", "Space")
    in_the_dark(book, "photo", canvas["levels"], screenshots)
    assert book.problems == []


def test_a_choice_is_carried_out(lab, open_notebook, screenshots):
    book = open_explorer(lab, open_notebook, "capstone", "last = CapstoneExplorer('7B on a phone'); last")
    view, canvas = book.views("capstone"), book.page.locator("[data-panel=chooser] canvas")
    hidden = book.pixels(canvas)
    button = book.page.get_by_role("button", name="Measure")
    button.click()
    book.wait_until(lambda: "First say why" in view.inner_text(), "the question for a reason")
    book.page.get_by_label("Format").select_option("Q2_K")
    book.page.get_by_label("I choose it, because").select_option("it computes in 4 bits, so it is fastest")
    button.focus()
    book.page.keyboard.press("Enter")
    book.wait_until(lambda: "Left on the table: Q3_K_S" in view.inner_text(), "the verdict")
    assert "is a misconception" in view.inner_text()
    assert book.pixels(canvas) != hidden
    assert "Q2_K" in canvas.get_attribute("aria-label")
    view.locator(".qviz-data summary").click()
    book.wait_until(lambda: view.locator("tbody tr").count() == 15 + 1, "the table")
    in_the_dark(book, "capstone", canvas, screenshots)
    assert book.problems == []
