"""The bug museum in a real JupyterLab: diagnosed by keyboard, in the dark, on a narrow page."""

from __future__ import annotations

from browser.lab import colours, cut

from qviz.course.museum import EXHIBITS

TOTAL = len(EXHIBITS)
CELLS = ("from qviz.widgets import BugMuseum", "room = BugMuseum('stale-inverse'); room")


def test_an_exhibit_is_diagnosed_by_keyboard(lab, open_notebook, screenshots):
    book = open_notebook(lab.notebook("museum.ipynb", *CELLS), height=2400)
    book.run_all()
    assert book.cell_errors() == []
    view = book.views("museum").first
    view.wait_for()
    page = book.page
    for panel in ("before", "after", "error", "gap"):
        book.turn_to("Column by column" if panel == "gap" else "What was seen")
        assert colours(page.locator(f"[data-panel={panel}] canvas").first) > 5, f"nothing is drawn in {panel}"
    assert "starts at 0" not in view.inner_text()
    assert page.locator("[data-panel=code]").count() == 0

    # a wrong diagnosis: feedback below it, focus stays
    book.turn_to("What is wrong?")
    answers = page.locator(".qviz-answer")
    assert answers.count() == 4
    answers.nth(2).focus()
    page.keyboard.press("Enter")
    feedback = page.locator(".qviz-answers li").nth(2).locator(".qviz-feedback")
    book.wait_until(lambda: "Both had the same tokens" in feedback.inner_text(), "the feedback")
    assert page.evaluate("document.activeElement.textContent").endswith("The calibration text is too short")
    heard = page.locator(".qviz-heard")
    book.wait_until(lambda: "Both had the same tokens" in heard.inner_text(), "the same, read aloud")
    # the right one, one Tab away backwards twice
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    book.turn_to("The code")
    page.locator("[data-panel=code]").wait_for()
    shipped = page.locator(".qviz-code-shipped").all_inner_texts()
    assert any("inverse[block, block]" in line for line in shipped)
    book.turn_to("The tests")
    assert page.locator("[data-panel=sharp] .qviz-verdict-red").inner_text() == "as it shipped: ✗ fails"
    book.turn_to("What is wrong?")
    link = page.locator("[data-panel=plaque] a").first
    assert link.get_attribute("href") == "https://github.com/cactus-compute/cactus/pull/807"
    assert "noopener" in link.get_attribute("rel")
    assert page.locator(".qviz-readout").last.inner_text().endswith(f"1 of {TOTAL}")

    # a pixel tells both builds; zooming works
    book.turn_to("What was seen")
    error = page.locator("[data-panel=error] canvas").first
    error.focus()
    page.keyboard.press("ArrowRight")
    located = page.locator(".qviz-located")
    book.wait_until(lambda: "correct build" in located.inner_text(), "a weight of both builds")
    whole = book.pixels(error)
    page.keyboard.press("Enter")
    book.wait_until(lambda: book.pixels(error) != whole, "a part of it")

    # nothing is cut, wide or narrow, in either theme
    for width in (700, 1280):
        page.set_viewport_size({"width": width, "height": 2400})
        for theme in ("light", "dark"):
            book.theme(f"JupyterLab {theme.capitalize()}")
            output = page.locator(".jp-OutputArea-output:has(.qviz-explorer)").first
            output.screenshot(path=screenshots / f"museum-{width}-{theme}.png")
            assert cut(view, ".qviz-heard, .qviz-tables, .qviz-code-side, .qviz-listing") == []
    book.theme("JupyterLab Light")
    assert book.problems == []


def test_every_exhibit_is_drawn(lab, open_notebook):
    book = open_notebook(lab.notebook("tour.ipynb", CELLS[0], "room = BugMuseum(); room"), height=2400)
    book.run_all()
    assert book.cell_errors() == []
    page, seen = book.page, set()
    story = page.locator("[data-panel=story] .qviz-label p").first
    for turn in range(TOTAL):
        before = story.inner_text()
        seen.add(before)
        page.get_by_role("button", name="Show the answer").click()
        book.turn_to("The tests")
        page.locator("[data-panel=sharp] .qviz-verdict-red").wait_for()
        assert page.locator(".qviz-status .qviz-error").count() == 0
        page.get_by_role("button", name="Next exhibit").click()
        book.wait_until(lambda before=before: story.inner_text() != before, "the next exhibit")
        if turn < TOTAL - 1:  # then comes the first one again, which has been opened
            page.locator("[data-panel=sharp]").wait_for(state="detached")
    assert len(seen) == TOTAL
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll(
                  '.qviz-explorer :is(select, input, button, a, [role=img], [role=application], [role=group])')]
              .filter((node) => !(node.getAttribute('aria-label') || node.labels?.[0]?.innerText || node.innerText
                  || node.title)).map((node) => node.outerHTML.slice(0, 120))"""
    )
    assert unnamed == []
    assert book.problems == []
