"""Size against damage, two formats writing, and the roofline, in a real JupyterLab: by keyboard and by mouse."""

from __future__ import annotations

import pytest

CELLS = {
    "balance": """
import qviz
from qviz.widgets import BalanceExplorer
rows = qviz.measure.recipe_table(recipes=("Q8_0", "Q4_0", "Q2_K"), max_tokens=500, speed=False, cache=False)
balance = BalanceExplorer(rows); balance
""",
    "duel": """
from qviz.widgets import DuelExplorer
duel = DuelExplorer(max_tokens=8); duel
""",
}


@pytest.fixture
def open_(lab, open_notebook):
    def make(kind):
        book = open_notebook(lab.notebook(f"whole-{kind}.ipynb", CELLS[kind]), height=1400).shown(kind)
        return book, book.views(kind).first

    return make


def test_a_point_is_chosen_and_the_budget_moved_by_keyboard(open_, screenshots):
    book, view = open_("balance")
    canvas = view.locator("[data-panel=balance] canvas")
    shown = book.page.locator(".qviz-readout").first
    canvas.focus()
    for _ in range(3):
        book.page.keyboard.press("ArrowDown")
    book.wait_until(lambda: "Q2_K" in shown.inner_text(), "the smallest format")
    before = book.pixels(canvas)
    book.page.keyboard.press("ArrowUp")
    book.wait_until(lambda: "Q4_0" in shown.inner_text(), "the next larger format")
    assert book.pixels(canvas) != before
    book.page.keyboard.press("ArrowUp")
    book.wait_until(lambda: "Q8_0" in shown.inner_text(), "the largest format")
    book.page.keyboard.press("Home")
    book.wait_until(lambda: "Nothing fits" in view.inner_text(), "the wall at its lower end")
    book.page.keyboard.press("End")
    book.wait_until(lambda: "Q8_0 does the least damage" in view.inner_text(), "the wall at its upper end")
    slider = book.page.locator(".noUi-handle[aria-label^='Budget']").first
    slider.focus()
    book.page.keyboard.press("Home")
    book.wait_until(lambda: "Nothing fits" in view.inner_text(), "a budget below every format")
    book.page.keyboard.press("End")
    book.wait_until(lambda: "Within" in view.inner_text(), "a budget for all")
    assert "Q8_0 does the least damage" in view.inner_text()
    view.locator("summary").first.click()
    rows = view.locator("table tbody tr, table tr:has(td)")
    book.wait_until(lambda: rows.count() == 3, "a row for each format")
    book.page.locator(".qviz-explorer").first.screenshot(path=screenshots / "balance.png")
    assert book.problems == []


def test_a_prompt_is_written_on_by_both_formats(open_, screenshots):
    book, view = open_("duel")
    book.wait_until(lambda: book.page.locator(".qviz-readout").first.inner_text().split()[-1] == "8", "eight tokens")
    first = view.inner_text()
    prompt = book.page.get_by_label("Prompt")
    prompt.fill("It is a truth")
    prompt.press("Enter")
    book.wait_until(lambda: "It is a truth" in view.inner_text(), "the new prompt")
    book.wait_until(lambda: book.page.locator(".qviz-readout").first.inner_text().split()[-1] == "8", "eight tokens")
    assert view.inner_text() != first
    book.page.locator(".qviz-explorer").first.screenshot(path=screenshots / "duel.png")
    assert book.problems == []
