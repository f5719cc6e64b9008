"""Every lesson in a real JupyterLab, as a student runs it: all cells, no error, explorers that follow the keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest

LESSONS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9]*.ipynb"))
MOST_MEMORY = 500 * 10**6  # bytes: several kernels share a classroom's server


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs(lab, open_notebook, screenshots, path):
    lab.progress.unlink(missing_ok=True)
    book = open_notebook(path, height=1600, kept=False)  # what its kernel holds is measured
    book.run_all()
    assert book.cell_errors() == []
    explorers = book.page.locator(".jp-OutputArea .qviz-explorer:not(:has([data-layout=score]))")
    made = sum("Explorer(" in cell or "BugMuseum(" in cell for cell in book.code_cells())
    # one may stand a second time, beside a later question about it
    book.wait_until(lambda: explorers.count() >= made, f"{made} explorers")
    for i in range(made):
        canvases = explorers.nth(i).locator(".qviz canvas, .qviz-cell, .qviz-duel-text")
        canvases.first.wait_for()
        assert explorers.nth(i).locator(".qviz-status .qviz-error").count() == 0
    questions = sum("lesson.predict(" in cell for cell in book.code_cells())
    book.wait_until(lambda: book.page.locator(".qviz-card form").count() == questions, f"{questions} questions")
    if path.stem.startswith("00"):
        predict_and_slide(book)
        book.page.locator(".qviz-explorer").first.screenshot(path=screenshots / f"{path.stem}.png")
    held = int(book.python("import psutil; print(psutil.Process().memory_info().rss)"))
    assert held <= MOST_MEMORY, f"the kernel holds {held / 10**6:.0f} MB; {MOST_MEMORY / 10**6:.0f} are allowed"
    assert book.problems == []


def predict_and_slide(book):
    """The slider does nothing until there is a prediction, made by keyboard; then it moves the picture."""
    handle = book.page.locator(".noUi-handle[aria-label='Bits']").first
    canvas = book.page.locator("[data-panel=line] canvas").first
    before = book.pixels(canvas)
    assert handle.get_attribute("aria-disabled") == "true"
    handle.focus()
    book.page.keyboard.press("ArrowLeft")
    book.page.wait_for_timeout(500)
    assert book.pixels(canvas) == before, "locked"
    assert "“Bits” is locked" in book.page.locator(".qviz-lock").first.inner_text()

    card = book.page.locator(".qviz-card").first
    card.locator("input").first.focus()
    book.page.keyboard.press("Space")
    book.page.keyboard.press("Enter")  # without saying how sure
    assert "how sure" in card.locator("[role=status]").inner_text()
    book.page.keyboard.press("Space")  # the focus is there already
    book.page.keyboard.press("ArrowRight")
    book.page.keyboard.press("Enter")
    verdict = card.locator(".qviz-verdict")
    verdict.wait_for()
    assert "you were 50 % sure" in verdict.inner_text()
    assert "The trap: one bit more is a little more" in verdict.inner_text()
    assert book.page.evaluate("document.activeElement.classList.contains('qviz-verdict')"), "focus was lost"
    book.wait_until(lambda: handle.get_attribute("aria-disabled") == "false", "the unlocked slider")
    handle.focus()
    book.page.keyboard.press("ArrowLeft")
    book.wait_until(lambda: book.pixels(canvas) != before, "fewer bits")
    score = book.page.locator("[data-layout=score]").first
    book.wait_until(lambda: "1 of" in score.inner_text(), "the score, in the same notebook")
    assert score.locator("canvas").count() == 1


def test_progress_goes_away_and_comes_back(lab, open_notebook, tmp_path):
    lab.progress.unlink(missing_ok=True)
    cells = ("import qviz", "qviz.course.lesson.predict('00.1')", "qviz.course.lesson.progress()")
    book = open_notebook(lab.notebook("progress.ipynb", *cells), height=1200, kept=False)
    book.run_all()
    page = book.page
    question, panel = (page.locator(".qviz-card").nth(i) for i in (0, 1))
    question.get_by_text("By about 6 dB").click()
    question.get_by_text("90 %").click()
    question.get_by_role("button", name="Lock in my prediction").click()
    row = panel.locator("tbody tr").first
    book.wait_until(lambda: "1 of 3" in row.inner_text(), "the answer in the table")
    with page.expect_download() as download:
        panel.get_by_role("link", name="Download my progress").click()
    file = tmp_path / "mine.json"
    download.value.save_as(file)
    assert '"00.1"' in file.read_text(encoding="utf-8")

    over = panel.get_by_role("button", name="Start over")
    over.click()
    assert "Press again" in panel.locator("[role=status]").inner_text()
    panel.get_by_role("button", name="Yes, start over").click()
    book.wait_until(lambda: "0 of 3" in row.inner_text(), "a fresh start")
    assert not lab.progress.exists()
    panel.get_by_label("Bring back a downloaded file").set_input_files(file)
    book.wait_until(lambda: "1 of 3" in row.inner_text(), "the answers of the file")
    assert "Brought back: 1 prediction" in panel.locator("[role=status]").inner_text()
    (tmp_path / "photo.json").write_bytes(b"\x89PNG")
    panel.get_by_label("Bring back a downloaded file").set_input_files(tmp_path / "photo.json")
    book.wait_until(lambda: "no progress file" in panel.locator("[role=status]").inner_text(), "the refusal")
    assert "1 of 3" in row.inner_text()
    assert book.problems == []
