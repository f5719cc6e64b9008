"""Every lesson in a real JupyterLab, as a student runs it: all cells, no error, explorers that follow the keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest

LESSONS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9]*.ipynb"))
MOST_MEMORY = 400 * 2**20


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs(open_notebook, screenshots, path):
    book = open_notebook(path, height=1600)
    book.run_all()
    assert book.cell_errors() == []
    explorers = book.page.locator(".jp-OutputArea .qviz-explorer")
    made = sum("Explorer(" in cell for cell in book.code_cells())
    book.wait_until(lambda: explorers.count() == made, f"{made} explorers")
    for i in range(made):
        canvases = explorers.nth(i).locator(".qviz canvas, .qviz-cell")
        canvases.first.wait_for()
        assert explorers.nth(i).locator(".qviz-status .qviz-error").count() == 0
    handle = book.page.locator(".noUi-handle[aria-label='Bits']")
    if handle.count():
        canvas = book.page.locator("[data-panel=line] canvas").first
        before = book.pixels(canvas)
        handle.first.focus()
        book.page.keyboard.press("ArrowLeft")
        book.wait_until(lambda: book.pixels(canvas) != before, "fewer bits")
        book.page.locator(".qviz-explorer").first.screenshot(path=screenshots / f"{path.stem}.png")
    else:
        assert "00" not in path.stem, "the first lesson has a slider"
    memory = int(book.python("import psutil; print(psutil.Process().memory_info().rss)"))
    assert memory <= MOST_MEMORY, f"the kernel holds {memory / 2**20:.0f} MiB"
    assert book.problems == []
