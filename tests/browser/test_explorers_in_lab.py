"""The explorers in a real JupyterLab: drawn, moved by keyboard, read aloud, reloaded, in the dark."""

from __future__ import annotations

import numpy as np
import pytest
from browser.lab import colours, cut
from PIL import Image

SETUP = """
import numpy as np
import qviz
from qviz.widgets import BitsExplorer, BlockExplorer, TensorExplorer
rng = np.random.default_rng(1)
weights = rng.standard_normal((256, 512)).astype(np.float32)
weights[:, 100] *= 6
model = {
    "blk.0.attn_q.weight": qviz.quantize(weights, "Q4_0"),
    "blk.0.attn_norm.weight": qviz.quantize(weights[0], "F32"),
}
"""
CELLS = {
    "bits": "bits = BitsExplorer(weights, name='blk.0.attn_q.weight'); bits",
    "tensor": "tensor = TensorExplorer(weights, name='blk.0.attn_q.weight'); tensor",
    "block": "block = BlockExplorer(model); block",
}


@pytest.fixture
def explorer(lab, open_notebook):
    """``explorer(kind)``: a page with an explorer of that kind."""

    def open_(kind):
        return open_notebook(lab.notebook(f"{kind}.ipynb", SETUP, CELLS[kind]), height=1400).shown(kind)

    return open_


def press(book, selector, key):
    handle = book.page.locator(f".qviz-explorer {selector}").first
    handle.focus()
    book.page.keyboard.press(key)


def handle(label):
    return f".noUi-handle[aria-label='{label}']"


def test_bits_follow_the_keyboard(explorer):
    book = explorer("bits")
    lines = book.page.locator("[data-panel=line] canvas")  # the errors wait behind a tab
    before = book.pixels(lines.first)
    assert colours(lines.first) > 20, "nothing is drawn"
    readout = book.page.locator(".qviz-readout").first
    assert "4.16" in readout.inner_text()
    book.page.locator(handle("Bits")).wait_for()
    press(book, handle("Bits"), "ArrowRight")
    book.wait_until(lambda: "5.16" in readout.inner_text(), "five bits")
    assert book.pixels(lines.first) != before
    assert "32 levels" in lines.first.get_attribute("aria-label")
    press(book, handle("Bits"), "ArrowLeft")
    book.wait_until(lambda: book.pixels(lines.first) == before, "the first picture again")
    assert book.python("print(bits.controls['bits'].value)").strip() == "4"
    # buttons and boxes by keyboard too
    press(book, ".widget-toggle-button >> text='row'", "Enter")
    book.wait_until(lambda: "4.04" in readout.inner_text(), "one scale per row")
    press(book, "input[type=checkbox]", "Space")
    book.wait_until(lambda: "4.03" in readout.inner_text(), "no zero points")
    assert book.problems == []


# What stands before each picture and card, and before whatever else holds one
GONE = """() => {
    const before = (node) => {
        const { display, content } = getComputedStyle(node, '::before');
        return display === 'none' || content === 'none' ? '' : content.slice(1, -1);
    };
    const all = (selector) => [...document.querySelectorAll(`.jp-OutputArea ${selector}`)].map(before);
    return [all('.qviz'), all('.jupyter-widgets-disconnected').filter((text) => text)];
}"""


def test_what_has_lost_its_kernel_says_so_once(lab, open_notebook):
    """After a restart, and when the saved notebook is opened again: in words, and with no broken link."""
    cells = (CELLS["bits"], "qviz.lesson.predict('01.1')")
    book = open_notebook(lab.notebook("gone.ipynb", SETUP, *cells)).shown("bits")
    book.page.locator(".qviz-card").wait_for()
    assert book.page.evaluate(GONE) == [["", ""], []]
    book.save()
    book.page.evaluate(
        "async () => await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
    )
    words = [
        "The picture as it was. Its kernel is gone. Run the cells above and this one to move it.",
        "Its kernel is gone. Run the cells above and this one to use it.",
    ]
    book.wait_until(lambda: book.page.evaluate(GONE) == [words, []], "words on both")
    book.page.evaluate("async () => await window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    book.page.goto("about:blank")  # and is not saved again: only pictures that live are
    book.open()
    book.page.locator(".qviz-card").wait_for()
    book.wait_until(lambda: book.page.evaluate(GONE) == [words, []], "words on what was saved")


def test_formats_follow_the_keyboard(explorer):
    book = explorer("tensor")
    canvases = {name: book.page.locator(f"[data-panel={name}] canvas").first for name in ("overview", "lens")}
    before = {name: book.pixels(canvas) for name, canvas in canvases.items()}
    assert all(colours(canvas) > 50 for canvas in canvases.values())
    select = book.page.get_by_label("Format")
    select.focus()
    for _ in range(3):
        book.page.keyboard.press("ArrowDown")
    title = book.page.locator("[data-panel=overview] h4")
    book.wait_until(lambda: "(Q4_0)" not in title.inner_text(), "another format")
    now = {name: book.pixels(canvas) for name, canvas in canvases.items()}
    assert all(now[name] != before[name] for name in canvases)
    press(book, ".widget-toggle-button >> text=before", "Enter")
    book.wait_until(lambda: "before" in title.inner_text(), "the weights before")
    assert book.page.get_by_role("button", name="blink").is_hidden(), "there is nothing to compare them with"
    assert book.problems == []


def test_a_cell_tells_its_weight_and_the_frame_moves(explorer):
    book = explorer("tensor")
    located, title = book.page.locator(".qviz-located"), book.page.locator("[data-panel=lens] h4")
    overview = book.page.locator("[data-panel=overview] canvas").first
    overview.focus()
    book.page.keyboard.press("End")
    book.wait_until(lambda: "rows 216 … 255, columns 448 … 511" in title.inner_text(), "the last corner")
    lens = book.page.locator("[data-panel=lens] canvas").first
    box = lens.bounding_box()
    lens.hover(position={"x": 0.999 * box["width"], "y": 1})
    book.wait_until(lambda: located.inner_text().startswith("row 216, column 511: "), "the upper right corner")
    assert "block 15 of the row, columns 480 … 511" in located.inner_text()
    lens.focus()
    book.page.keyboard.press("ArrowDown")
    book.wait_until(lambda: located.inner_text().startswith("row 217,"), "the row below")
    book.page.keyboard.press("Enter")
    book.wait_until(lambda: book.python("print(tensor.controls['lens'].value)").strip() == "32", "a smaller lens")
    assert book.problems == []


def lit(book, kind):
    """Indices of the highlighted cells."""
    cells = book.page.locator(f".qviz-{kind}").all()
    return [i for i, cell in enumerate(cells) if "qviz-on" in (cell.get_attribute("class") or "")]


def test_bytes_and_weights_light_each_other_up(explorer):
    book = explorer("block")
    # untouched: the first byte of codes and its two weights
    assert (lit(book, "byte"), lit(book, "weight")) == ([2], [0, 16])
    book.page.locator(".qviz-byte").nth(7).hover()
    assert (lit(book, "byte"), lit(book, "weight")) == ([7], [5, 21])
    book.page.locator(".qviz-byte").nth(0).hover()
    assert lit(book, "weight") == list(range(32))
    book.page.locator(".qviz-weight").nth(30).hover()  # high half of qs[14]
    assert (lit(book, "byte"), lit(book, "weight")) == ([16], [30])
    near = [i for i, c in enumerate(book.page.locator(".qviz-byte").all()) if "qviz-near" in c.get_attribute("class")]
    assert near == [0, 1], "the scale is shared"
    assert book.page.locator(".qviz-wires path").count() == 3
    card = book.page.locator(".qviz-lens-card").nth(1)
    assert "weight 30" in card.inner_text()
    assert "code" in card.inner_text()
    # by keyboard
    book.page.locator(".qviz-byte").nth(2).focus()
    book.page.keyboard.press("ArrowRight")
    assert (lit(book, "byte"), lit(book, "weight")) == ([3], [1, 17])
    book.page.keyboard.press("ArrowDown")
    assert lit(book, "byte") == [11]
    book.page.keyboard.press("Home")
    assert lit(book, "byte") == [0]
    book.page.locator(".qviz-weight").nth(0).focus()
    book.page.keyboard.press("ArrowRight")
    assert (lit(book, "byte"), lit(book, "weight")) == ([3], [1])
    assert book.problems == []


def test_flipped_bits_break_weights(explorer):
    book = explorer("block")
    cell = book.page.locator(".qviz-byte").nth(2)
    was = cell.inner_text()
    cell.focus()
    book.page.keyboard.press("7")  # the highest bit: of the code of weight 16
    book.wait_until(lambda: cell.inner_text() != was, "the flip")
    assert cell.inner_text() == f"{int(was, 16) ^ 0x80:02x}"
    assert [
        i for i, c in enumerate(book.page.locator(".qviz-weight").all()) if "qviz-flipped" in c.get_attribute("class")
    ] == [16]
    assert "1 of 32" in book.views("block").inner_text()
    # a click on the same bit in the card flips it back
    bit = book.page.locator(".qviz-lens-card").first.get_by_label("bit 7 of byte 2")
    bit.click()
    book.wait_until(lambda: cell.inner_text() == was, "the flip back")
    book.page.locator(".qviz-lens-card").first.get_by_label("bit 0 of byte 2").press("Enter")
    book.wait_until(lambda: cell.inner_text() != was, "a flip by Enter")
    assert "bit 0 of byte 2" in book.page.evaluate("document.activeElement.getAttribute('aria-label')"), (
        "focus was lost"
    )
    book.page.get_by_role("button", name="Undo all flips").click()
    book.wait_until(lambda: cell.inner_text() == was, "the undo")
    assert book.problems == []


def test_another_block_by_keyboard(explorer):
    book = explorer("block")
    first = book.page.locator(".qviz-bytes").inner_text()
    book.page.locator(handle("Block in the row")).wait_for()
    press(book, handle("Block in the row"), "ArrowRight")
    book.wait_until(lambda: book.page.locator(".qviz-bytes").inner_text() != first, "another block")
    assert "32 … 63" in book.views("block").inner_text()
    book.page.get_by_label("Tensor").select_option("blk.0.attn_norm.weight")
    book.wait_until(lambda: book.page.locator(".qviz-byte").count() == 4, "a float32")
    assert book.page.locator(".qviz-bit").count() == 32
    assert book.problems == []


def test_a_reload_brings_all_back_and_a_lost_kernel_takes_nothing(lab, open_notebook):
    book = open_notebook(lab.notebook("all.ipynb", SETUP, *CELLS.values()), height=3000)
    book.run_all()
    assert book.cell_errors() == []
    page = book.page
    canvas = page.locator(".qviz canvas")

    def shown():
        # without the summary for screen readers, which comes half a second after the rest
        texts = [book.views(kind).locator("> :not(.qviz-heard)").all_inner_texts() for kind in CELLS]
        return texts, [book.pixels(c) for c in canvas.all() if c.is_visible()]  # others are drawn when they are

    def says(bits, block, tensor):
        first, second, third = (" ".join(texts) for texts in shown()[0])
        return bits in first and tensor in second and block in third

    page.locator(handle("Block in the row")).wait_for()
    press(book, handle("Bits"), "ArrowRight")
    press(book, handle("Block in the row"), "ArrowRight")
    page.get_by_label("Format").select_option("Q5_1 (6 bpw)")
    book.wait_until(lambda: says("5.16", "32 … 63", "error (Q5_1)"), "the moves")
    before = shown()

    book.reload()
    book.wait_until(lambda: all(book.views(kind).count() for kind in CELLS), "the pictures after the reload")
    book.wait_until(lambda: shown() == before, "the same pictures")
    # and they still follow
    page.locator(handle("Block in the row")).wait_for()
    press(book, handle("Bits"), "ArrowLeft")
    press(book, handle("Block in the row"), "ArrowLeft")
    page.get_by_label("Format").select_option("Q4_0 (4.5 bpw)")
    book.wait_until(lambda: says("4.16", "0 … 31", "error (Q4_0)"), "moves after the reload")
    before = shown()

    page.evaluate("async () => await window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.locator("[data-panel=lens] canvas").first.hover(position={"x": 20, "y": 20})  # nobody answers
    page.wait_for_timeout(300)
    assert shown()[0] == before[0]
    page.locator(".qviz-byte").nth(7).hover()  # the lens needs no kernel
    assert lit(book, "weight") == [5, 21]
    assert book.problems == []


@pytest.mark.parametrize("kind", CELLS)
def test_it_looks_right(explorer, screenshots, kind):
    book = explorer(kind)
    for width in (700, 1280):
        book.page.set_viewport_size({"width": width, "height": 1400})
        for theme in ("light", "dark"):
            book.theme(f"JupyterLab {theme.capitalize()}")
            output = book.page.locator(".jp-OutputArea-output:has(.qviz-explorer)").first
            output.screenshot(path=screenshots / f"{kind}-{width}-{theme}.png")
            ground = np.asarray(Image.open(screenshots / f"{kind}-{width}-{theme}.png").convert("L"))
            assert (np.median(ground) > 200) == (theme == "light"), "the picture does not follow the theme"
            # nothing is wider than its place, and no text is cut
            assert cut(book.views(kind).first, ".qviz-heard, .qviz-wires, .qviz-tables") == []
    book.theme("JupyterLab Light")
    assert book.problems == []


@pytest.mark.parametrize("kind", CELLS)
def test_words_and_numbers_behind_the_picture(explorer, kind):
    book = explorer(kind)
    heard = book.page.locator(".qviz-heard")
    book.wait_until(lambda: "blk.0.attn_q.weight" in heard.inner_text(), "the summary, said once things rest")
    assert heard.get_attribute("aria-live") == "polite"
    unnamed = book.page.evaluate(
        """() => [...document.querySelectorAll('.qviz-explorer :is(select, input, button, [role=slider], [role=img], '
              + '[role=application], [role=option], [role=listbox], [role=group])')].filter((node) =>
                  !(node.getAttribute('aria-label') || node.labels?.[0]?.innerText || node.innerText || node.title))
              .map((node) => node.outerHTML.slice(0, 120))"""
    )
    assert unnamed == []
    details = book.page.locator(".qviz-data")
    assert details.locator("table").count() == 0
    details.locator("summary").focus()
    book.page.keyboard.press("Enter")
    details.locator("table").first.wait_for()
    assert len(details.locator("th[scope=col]").all_inner_texts()) >= 3
    assert details.locator("tbody tr").count() == {"bits": 16 + 12, "block": 2 + 32, "tensor": 8 + 11 + 8}[kind]
    assert book.problems == []


def test_errors_are_written_where_they_are_seen(lab, open_notebook):
    book = open_notebook(
        lab.notebook("errors.ipynb", SETUP, "TensorExplorer(weights[:, :33])", "BitsExplorer(weights * np.nan)")
    )
    book.run_all()
    assert book.cell_errors() == []
    texts = book.page.locator(".qviz-status p.qviz-error").all_inner_texts()
    assert "F16" in texts[0]
    assert "nan_to_num" in texts[1]
    assert book.problems == []
