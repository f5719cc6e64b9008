"""Things in pictures, taken by the mouse and by keys: Python's controls and figures follow."""

from __future__ import annotations

import time

import numpy as np
import pytest
from browser.lab import PATIENCE

import qviz
from qviz.widgets import (
    BitsExplorer,
    BlockExplorer,
    CodebookExplorer,
    NumberExplorer,
    PhotoExplorer,
    RangeExplorer,
    ScaleSearchExplorer,
    TensorExplorer,
)

W = np.random.default_rng(3).standard_normal((8, 256)).astype(np.float32)

READS = "(text) => document.querySelector('.qviz-located').textContent.startsWith(text)"


def pixels(canvas):
    return canvas.evaluate("(node) => node.toDataURL()")


def across(canvas, low, high):
    """Where a value stands on a canvas whose axis is as wide as itself."""
    width = canvas.evaluate("(node) => node.clientWidth")
    return lambda value: (value - low) / (high - low) * width


def test_a_weight_is_taken_moved_and_put_back(stage):
    given = W.copy()
    explorer = BitsExplorer(given, bits=3, group_size=16, name="w")  # all of a group are drawn
    there = stage(explorer)
    canvas, line = there.canvas("line"), explorer.figure["line"]
    x = across(canvas, line.density.low, line.density.high)
    farthest = int(np.argmax(line.weights))
    there.drag(canvas, (x(line.weights[farthest]), 72), (x(0.0) + 60, 72))
    now = explorer.figure["line"]
    there_is = (line.density.low, line.density.high)
    pixel = (there_is[1] - there_is[0]) / x(there_is[1])
    assert abs(now.weights[farthest] - 60 * pixel) < 2 * pixel, "60 pixels above zero"
    assert now.levels[-1] < line.levels[-1], "the grid is made for what is there now"
    assert (now.density.low, now.density.high) == (line.density.low, line.density.high), "the axis stays"
    assert "Moved by hand" in explorer.figure.scene.status[-1].text
    assert np.array_equal(given, W), "what was given stays as it is"
    explorer.controls["back"].click()
    assert explorer.figure["line"].levels.tolist() == line.levels.tolist()
    assert explorer.controls["back"].disabled
    there.told()
    # by keys: the weight that was taken last, then the next one
    there.press(canvas, "Shift+ArrowLeft", "ArrowRight", "ArrowRight")
    steps = (float(line.weights[farthest]) - explorer.figure["line"].weights[farthest]) / (200 * pixel)
    assert abs(steps - 8 * x(there_is[1]) / 200 / 200) < 0.01
    there.press(canvas, "ArrowUp", "Home")
    assert abs(explorer.figure["line"].weights[farthest + 1] - there_is[0]) < pixel


def test_what_is_locked_says_why(stage):
    explorer = BitsExplorer(W, name="w")
    there = stage(explorer)
    there.hold("Predict first.")
    canvas, line = there.canvas("line"), explorer.figure["line"]
    x = across(canvas, line.density.low, line.density.high)
    there.drag(canvas, (x(line.weights[0]), 72), (x(line.weights[0]) + 90, 72))
    bubble = there.page.locator(".qviz-bubble")
    assert bubble.inner_text() == "Predict first."
    assert explorer.figure["line"].weights.tolist() == line.weights.tolist()
    there.page.get_by_role("button", name="8 → 2 → 4 bits").click()
    assert explorer.controls["bits"].value == 4


def test_a_tour_leads_through_the_bits_until_it_is_stopped(stage):
    explorer = BitsExplorer(W, name="w")
    there = stage(explorer)
    button = there.page.get_by_role("button", name="8 → 2 → 4 bits")
    button.click()
    there.page.wait_for_function("window.sent.length >= 2")
    assert button.get_attribute("aria-pressed") == "true"
    there.page.keyboard.press("Shift")  # any key ends it
    there.rest()
    assert button.get_attribute("aria-pressed") == "false"
    stops = there.page.evaluate("window.sent.length")  # two, unless the key came late
    assert explorer.controls["bits"].value == 9 - stops
    there.page.wait_for_timeout(1200)
    assert explorer.controls["bits"].value == 9 - stops


def test_a_picture_glides_and_ends_at_what_python_sent(stage):
    ends = []
    for motion in (False, True):
        there = stage(BitsExplorer(W, name="w"), motion=motion)
        canvas = there.canvas("line")
        there.explorer.controls["bits"].value = 2
        first = there.told(look="[data-panel=line] canvas")
        there.rest()
        if motion:
            there.page.wait_for_function(
                f"document.querySelector('[data-panel=line] canvas').toDataURL() === {ends[0][1]!r}"
            )
        ends.append((first, pixels(canvas)))
    (still, still_end), (first, end) = ends
    assert still == still_end == end, "where no motion is wanted there is none; both end alike"
    assert first != end


def test_levels_start_where_a_hand_puts_them(stage):
    explorer = CodebookExplorer(W, bits=2, name="w")
    there = stage(explorer)
    canvas, shown = there.canvas("levels"), explorer.figure["levels"]
    x = across(canvas, shown.values.low, shown.values.high)
    starts = shown.paths[0].copy()
    target = (starts[0] + starts[1]) / 2
    there.drag(canvas, (x(starts[1]), 122), (x(target), 122))
    now = explorer.figure["levels"].paths
    assert abs(now[0, 1] - target) < 0.02
    assert now[0, [0, 2, 3]].tolist() == starts[[0, 2, 3]].tolist()
    assert explorer.controls["iteration"].value == explorer.controls["iteration"].max
    assert "A hand moved the start" in explorer.figure.scene.status[-1].text
    there.press(canvas, "ArrowDown", "End")  # the lowest, up to the next
    now = explorer.figure["levels"].paths[0]
    assert starts[0] < now[0] < now[1]
    explorer.controls["back"].click()
    assert explorer.figure["levels"].paths[0].tolist() == starts.tolist()
    assert explorer.controls["back"].disabled


def test_the_ends_of_a_range_are_dragged(stage):
    explorer = RangeExplorer(W, name="w")
    there = stage(explorer)
    canvas, shown = there.canvas("range"), explorer.figure["range"]
    x = across(canvas, shown.values.low, shown.values.high)
    assert explorer.controls["width"].value == 100
    there.drag(canvas, (x(shown.high), 90), (x(shown.high * 0.6), 90))
    assert abs(explorer.controls["width"].value - 60) <= 1
    assert explorer.controls["chooser"].value == "by hand"
    now = explorer.figure["range"]
    assert abs(now.low / shown.low - explorer.controls["width"].value / 100) < 0.01, "the other end moves along"
    stack = explorer.figure.panels["range"].options["stack"]
    signal = np.square(W, dtype=np.float64).sum()
    low, high = np.float32(now.low), np.float32(now.high)
    lost = np.square(W - np.clip(W, low, high), dtype=np.float64).sum() / signal
    assert abs(stack["clipping"] / lost - 1) < 0.2, "what is cut off, give or take half a step"
    width = explorer.controls["width"].value
    there.press(canvas, "ArrowUp", "ArrowRight", "ArrowRight")  # the lower end, inwards
    assert explorer.controls["width"].value == width - 2
    curve = there.canvas("curve")
    wide = curve.evaluate("(node) => node.clientWidth")

    def at(share):
        return 56 + (wide - 70) * share

    there.drag(curve, (at(explorer.controls["width"].value / 100), 100), (at(0.3), 100))
    assert explorer.controls["width"].value == 30


def test_a_riddle_is_answered_in_the_picture(stage):
    explorer = BlockExplorer(qviz.quantize(W, "Q4_0"), name="w")
    there = stage(explorer)
    page = there.page
    explorer.ask(byte=7, bit=5)  # Q4_0: byte 7 is qs[5]; its high half is the code of weight 5 + 16
    there.told()
    page.locator(".qviz-byte").nth(7).hover()
    assert page.locator(".qviz-weight.qviz-on").count() == 0, "what is pointed at does not tell"
    assert page.locator(".qviz-wires path").count() == 0
    page.locator(".qviz-weight").nth(5).click()
    page.locator(".qviz-weight").nth(5).press("Enter")  # not that one
    page.locator(".qviz-weight").nth(21).press("Enter")
    assert page.locator(".qviz-chosen").count() == 1
    page.get_by_role("button", name="Check").click()
    there.rest()
    assert explorer.figure.scene.status[0].text.startswith("Right: bit 5 of byte 7 belongs to qs")
    assert [
        i for i, c in enumerate(page.locator(".qviz-weight").all()) if "qviz-flipped" in c.get_attribute("class")
    ] == [21]
    assert page.get_by_role("button", name="Check").is_hidden()


def test_another_block_makes_nothing_anew(stage):
    """Numbers change in their places: what is made anew has all around it laid out again, and takes the focus along."""
    explorer = BlockExplorer(qviz.quantize(W, "Q4_0"), name="w")
    there = stage(explorer)
    page = there.page
    bits = page.locator(".qviz-lens-card").first.locator(".qviz-bit")
    bits.nth(2).focus()
    page.evaluate(
        """() => {
            window.made = [];
            new MutationObserver((records) => {
                const nodes = records.flatMap((record) => [...record.addedNodes]);
                window.made.push(...nodes.filter((node) => node.nodeType === Node.ELEMENT_NODE).map(String));
            }).observe(document.querySelector('.qviz-panels'), { childList: true, subtree: true });
        }"""
    )
    explorer.controls["block"].value = 1
    there.told()
    assert page.evaluate("window.made") == []
    raw = explorer.figure["lens"].raw
    assert "".join(bits.locator(".qviz-value").all_text_contents()) == f"{raw[2]:08b}", "the byte that is pointed at"
    assert page.locator(".qviz-lens-card h4").first.text_content().startswith(f"qs[0] = 0x{raw[2]:02x} = ")
    assert bits.nth(2).evaluate("(node) => node === document.activeElement")
    page.keyboard.press("Enter")  # bit 5
    there.rest()
    assert explorer.figure["lens"].raw.tolist() == [b ^ (32 if i == 2 else 0) for i, b in enumerate(raw.tolist())]


def test_a_flip_travels_to_its_weights_where_motion_is_wanted(stage):
    for motion, sparks in ((True, 1), (False, 0)):
        explorer = BlockExplorer(qviz.quantize(W, "Q4_0"), name="w")
        there = stage(explorer, motion=motion)
        explorer.flip(7, 5)
        replies = there._taken()
        seen = there.page.evaluate(
            "(replies) => { window.hear(replies); return document.querySelectorAll('.spark').length; }", replies
        )
        assert seen == sparks
        there.page.wait_for_function("!document.querySelector('.spark')")


def test_a_number_and_its_range_are_dragged(stage):
    explorer = NumberExplorer()
    there = stage(explorer)
    canvas, line = there.canvas("line"), explorer.figure["line"]
    low, high = line.density.low, line.density.high
    x = across(canvas, low, high)
    there.drag(canvas, (x(np.pi), 72), (x(1.9), 72))
    assert explorer.controls["number"].value == "x"
    assert abs(float(explorer.figure["line"].weights[-1]) - 1.9) < 0.02
    assert float(explorer.figure["line"].weights[0]) == np.float32(np.pi), "the others stay"
    there.drag(canvas, (x(4.0), 170), (x(3.5), 170))
    assert explorer.controls["range"].value == "by hand"
    assert abs(float(explorer.figure["line"].levels[-1]) - 3.5) < 0.02
    assert (explorer.figure["line"].density.low, explorer.figure["line"].density.high) == (low, high)
    there.drag(canvas, (x(3.5), 170), (x(1.0), 170))
    assert float(explorer.figure["line"].levels[-1]) == pytest.approx(np.pi, abs=1e-3)  # stated: around all numbers
    explorer.controls["range"].value = "−4 … 4"
    assert explorer.controls["number"].value == "x"
    there.told()
    x = across(canvas, explorer.figure["line"].density.low, explorer.figure["line"].density.high)
    there.drag(canvas, (x(explorer.figure["line"].weights[-1]), 72), (x(-3.0), 72))
    assert explorer.figure["line"].weights[-1] < -2.9
    explorer.controls["range"].value = "0 … 4"
    assert explorer.controls["number"].value == "π", "a range that cannot hold x drops it"
    there.press(canvas, "ArrowUp", "ArrowUp", "ArrowLeft")
    assert explorer.controls["range"].value == "by hand"


def test_the_search_plays_with_the_best_grid_as_a_ghost(stage):
    explorer = ScaleSearchExplorer(W, name="w")
    there = stage(explorer)
    there.page.get_by_role("button", name="the search").click()
    there.page.wait_for_function("window.sent.length >= 4")
    there.page.keyboard.press("Shift")
    there.rest()
    k = explorer.controls["candidate"].value
    assert k == there.page.evaluate("window.sent.length") - 1
    explorer.controls["candidate"].value = 1 + int(explorer.search.winner)
    best = explorer.search.best[1 + explorer.search.winner]
    explorer.controls["candidate"].value, ghost = best, explorer.figure.panels["line"].options["ghost"]
    assert ghost == explorer.figure["line"].levels.tolist()
    assert explorer.figure.panels["line"].options["ghost"] == []


def only_looked(there):
    """Nothing was asked of Python but what stands where the pointer is, and no lock was in the way."""
    asked = there.page.evaluate("window.sent.filter(({ event }) => event !== 'locate').length")
    return asked == 0 and there.page.locator(".qviz-bubble").is_hidden()


def test_before_and_after_are_wiped_and_nobody_needs_python_for_it(stage):
    there = stage(PhotoExplorer())
    there.hold("Predict first.")  # looking is not locked
    canvas = there.canvas("photo")
    box = canvas.bounding_box()
    start = pixels(canvas)
    there.drag(canvas, (3, 40), (box["width"] * 0.6, 40))
    half = pixels(canvas)
    assert half != start
    assert only_looked(there)
    there.drag(canvas, (box["width"] * 0.6, 40), (-20, 40))
    there.page.mouse.move(0, 0)
    assert pixels(canvas) == start
    there.press(canvas, "End", "Home", "ArrowRight")
    assert pixels(canvas) not in (start, half)


def test_the_lens_is_wiped_where_it_is_locked_too(stage):
    there = stage(TensorExplorer(W, name="w"))
    there.hold("Predict first.")
    canvas = there.canvas("lens")
    width = canvas.bounding_box()["width"]

    def foot(share):
        """A column of the lens, below the weight that the pointer marks."""
        return canvas.evaluate(
            """(node, share) => String(node.getContext('2d').getImageData(
                share * node.width, 0.7 * node.height, 1, 0.3 * node.height).data)""",
            share,
        )

    error, before = foot(0.9), foot(0.3)
    there.drag(canvas, (width * 0.6, 40), (width * 0.1, 40))
    assert foot(0.3) != before
    assert foot(0.9) == error
    there.press(canvas, "Home", "ArrowUp", "ArrowUp")
    there.press(canvas, "End", "ArrowUp", "ArrowUp")
    assert foot(0.3) == before, "all of it before"
    assert foot(0.9) != error
    assert only_looked(there)


def test_the_frame_is_dragged_and_the_lens_follows(stage):
    weights = np.random.default_rng(3).standard_normal((256, 512)).astype(np.float32)
    explorer = TensorExplorer(weights, name="w")
    explorer.look_at(100, 200)
    there = stage(explorer)
    overview, lens = there.canvas("overview"), there.canvas("lens")
    box = overview.bounding_box()

    def at(row, column):
        return column / 512 * box["width"], row / 256 * box["height"]

    def corner():
        return explorer.window.top, explorer.window.left

    before = pixels(lens)
    there.drag(overview, at(100, 200), at(140, 250))
    assert np.abs(np.subtract(corner(), (120, 218))).max() <= 2, "40 down, 50 to the right, give or take a pixel"
    assert pixels(lens) != before
    there.drag(overview, at(230, 480), at(230, 480))  # a press beside the frame brings it there
    assert np.abs(np.subtract(corner(), (210, 448))).max() <= 2
    there.drag(overview, at(230, 480), (-50, -50))
    assert corner() == (0, 0), "it stays inside"
    there.press(overview, "ArrowDown", "Shift+ArrowRight", "Shift+ArrowDown", "ArrowRight")
    assert corner() == (41, 66), "a pixel is 1 × 2 weights, the frame 40 × 64"
    there.press(overview, "End", "-")
    assert (explorer.window.rows, explorer.window.columns) == (80, 128)
    there.press(overview, "+")
    there.press(overview, "Home")
    # a finger does the same
    touch = there.context.new_cdp_session(there.page)
    start, end = ([box["x"] + x, box["y"] + y] for x, y in (at(20, 32), at(120, 232)))
    for kind, points in (("touchStart", [start]), ("touchMove", [end]), ("touchEnd", [])):
        points = [{"x": float(x), "y": float(y)} for x, y in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    there.rest()
    assert np.abs(np.subtract(corner(), (100, 200))).max() <= 2
    there.press(overview, "Home")
    # the weight that is read stays at its place of the lens
    there.press(lens, "ArrowLeft", "ArrowUp")
    there.page.wait_for_function(READS, arg="row 19, column 31: ")
    there.press(overview, "Shift+ArrowDown")
    there.page.wait_for_function(READS, arg="row 59, column 31: ")


def test_escape_puts_the_frame_back_and_a_lock_says_why_it_stays(stage):
    explorer = TensorExplorer(np.random.default_rng(3).standard_normal((256, 512)).astype(np.float32), name="w")
    explorer.look_at(20, 32)
    there = stage(explorer)
    overview, mouse = there.canvas("overview"), there.page.mouse
    box = overview.bounding_box()
    overview.focus()
    mouse.move(box["x"] + 5, box["y"] + 5)
    mouse.down()
    mouse.move(box["x"] + 150, box["y"] + 90, steps=4)
    there.rest()
    assert explorer.window.left > 60
    there.page.keyboard.press("Escape")
    mouse.up()
    there.rest()
    assert (explorer.window.top, explorer.window.left) == (0, 0)
    there.hold("Predict first.")
    asked = there.page.evaluate("window.sent.filter(({ event }) => event === 'look').length")
    there.drag(overview, (5, 5), (150, 90))
    bubble = there.page.locator(".qviz-bubble")
    assert bubble.inner_text() == "Predict first."
    there.page.evaluate("document.querySelector('.qviz-bubble').hidden = true")
    there.press(overview, "End")
    assert bubble.inner_text() == "Predict first."
    assert (explorer.window.top, explorer.window.left) == (0, 0)
    assert there.page.evaluate("window.sent.filter(({ event }) => event === 'look').length") == asked


def until(there, done):
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, "Python has not heard of it"
        there.rest()


def test_a_photograph_is_painted_on(stage):
    explorer = PhotoExplorer(None, W, np.random.default_rng(4).standard_normal((9, 256)), bits=2, shared=32)
    there = stage(explorer)
    canvas, button = there.canvas("photo"), there.page.get_by_role("button", name="paint")
    width = canvas.evaluate("(node) => node.clientWidth")
    assert abs(width - 400) <= 20
    top, left, _, _ = explorer.figure.panels["photo"].options["square"]

    def at(row, column):
        return (column + 0.5) * width / 256, (row + 0.5) * width / 256

    def painted():
        return np.argwhere(explorer._painted != explorer._photo).tolist()

    line = [[top + 4, left + 4 + i] for i in range(11)]
    there.drag(canvas, at(*line[0]), at(*line[-1]))
    assert painted() == [], "without a press on the button a hand only looks"
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    before = pixels(canvas)
    there.drag(canvas, at(*line[0]), at(*line[-1]), steps=2)
    until(there, lambda: painted() == line)
    there.rest()
    assert pixels(canvas) != before
    # a stroke that is taken back while the hand still holds it
    box, mouse = canvas.bounding_box(), there.page.mouse
    mouse.move(box["x"] + at(9, 9)[0], box["y"] + at(9, 9)[1])
    mouse.down()
    mouse.move(box["x"] + at(30, 60)[0], box["y"] + at(30, 60)[1], steps=3)
    until(there, lambda: len(painted()) > len(line))
    there.page.keyboard.press("Escape")
    mouse.up()
    until(there, lambda: painted() == line)
    # by keys, from where the brush is
    there.press(canvas, "ArrowDown", "Shift+ArrowRight", "Space")
    until(there, lambda: [31, 70] in painted())
    there.press(canvas, "Escape")
    until(there, lambda: painted() == line)
    there.hold("Predict first.")
    there.drag(canvas, at(50, 50), at(50, 60))
    assert there.page.locator(".qviz-bubble").inner_text() == "Predict first."
    assert painted() == line
    button.click()  # looking is not locked
    button.click()
    assert button.get_attribute("aria-pressed") == "false"


def test_in_jupyterlab_the_slider_moves_along_and_a_weight_is_put_back(lab, open_notebook):
    cell = "import numpy as np; from qviz.widgets import BitsExplorer, RangeExplorer; "
    cell += "w = np.random.default_rng(3).standard_normal((8, 256)).astype(np.float32)"
    bits = "bits = BitsExplorer(w, group_size=16, name='w'); bits"
    book = open_notebook(
        lab.notebook("hands.ipynb", cell, "RangeExplorer(w, name='w')", bits), height=1600, motion=True
    )
    book.run_all()
    assert book.cell_errors() == []
    page = book.page
    handle = page.locator(".noUi-handle[aria-label='Width, %']")
    handle.wait_for()
    assert float(handle.get_attribute("aria-valuenow")) == 100
    curve = page.locator("[data-panel=curve] canvas").first
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()

    def at(share):
        return box["x"] + 56 + (box["width"] - 70) * share

    page.mouse.move(at(1), box["y"] + 100)
    page.mouse.down()
    page.mouse.move(at(0.5), box["y"] + 100, steps=8)
    page.mouse.up()
    book.wait_until(lambda: float(handle.get_attribute("aria-valuenow")) == 50, "the slider")
    line = page.locator("[data-panel=line] canvas").first
    line.focus()
    page.keyboard.press("Home")
    back = page.get_by_role("button", name="Put weights back")
    book.wait_until(back.is_enabled, "a weight that can be put back")
    assert book.python("print(bits.figure['line'].weights[0] < w.min())").strip() == "True"
    back.click()
    book.wait_until(back.is_disabled, "all weights to be back")
    assert book.python("print(bits.figure['line'].weights[0] == w[0, 0])").strip() == "True"
    assert book.problems == []
