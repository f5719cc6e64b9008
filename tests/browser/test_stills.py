"""Stills are drawn by the real painters, once and for all; a saved notebook shows its pictures without a kernel."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
from ipywidgets.embed import dependency_state
from nbstills import build, stills
from PIL import Image
from playwright.sync_api import TimeoutError

from qviz.course import lesson
from qviz.widgets import NumberExplorer

FOLDER = Path(build.__file__).parent


def described(widget):
    """A widget as the builder gets it from a kernel."""
    found = dependency_state([widget], drop_defaults=False)
    states = {id: model["state"] for id, model in found.items()}
    buffers = {id: {tuple(b["path"]): b for b in model.get("buffers", ())} for id, model in found.items()}
    return stills.widget(widget.model_id, states, buffers)


@pytest.fixture(scope="module")
def painter(chrome):
    return stills.Painter(chrome)


def colours(picture):
    return len(np.unique(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3), axis=0))


def test_a_still_is_the_same_twice(painter):
    mime, first = painter.draw(described(NumberExplorer()))
    assert (mime, first) == painter.draw(described(NumberExplorer()))
    assert mime == "image/png"
    assert colours(first) > 50, "canvas, words and controls"
    assert first != painter.draw(described(NumberExplorer(bits=4)))[1]


def test_a_question_is_drawn_with_what_it_locks(painter):
    question = lesson.predict("01.1", unlocks=NumberExplorer())
    _, both = painter.draw(described(question))
    _, alone = painter.draw(described(question.explorer))
    tall, short = (Image.open(io.BytesIO(picture)).height for picture in (both, alone))
    assert tall > short + 200


def test_what_a_painter_cannot_draw_is_refused(painter):
    shown = described(NumberExplorer())
    view = next(state for state in shown.models.values() if "_esm" in state)
    view["_esm"] = view["_esm"].replace(
        "function show()", "function show() { throw new Error('the mistake') }\nfunction x()"
    )
    with pytest.raises(stills.StillError, match="the mistake"):
        painter.draw(shown)


def test_a_still_is_kept_until_what_it_shows_changes():
    def sign(**how):
        return stills.signature(described(NumberExplorer(**how)))

    assert stills.same(sign(), sign())
    assert not stills.same(sign(), sign(bits=4))
    assert not stills.same(sign(), sign(sym=True))
    locked = NumberExplorer()
    locked.lock("x", "not yet")
    assert not stills.same(sign(), stills.signature(described(locked)))
    # another processor: last bits differ, and now and then a digit that is shown
    shown = described(NumberExplorer())
    view = next(state for state in shown.models.values() if isinstance(state.get("frame"), dict))
    frame = base64.b64decode(view["frame"]["base64"])
    assert b"0.5333" in frame or b"0.571" in frame
    view["frame"]["base64"] = base64.b64encode(frame.replace(b"0.5333", b"0.5334").replace(b"0.571", b"0.572")).decode()
    assert stills.same(sign(), stills.signature(shown))


def test_a_large_picture_is_made_small_enough():
    noise = np.random.default_rng(0).integers(0, 256, (400, 690, 3), np.uint8)
    noise[200:] = 255
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    mime, picture = stills.small(out.getvalue())
    assert mime == "image/jpeg"
    assert len(picture) <= stills.MOST_BYTES
    assert stills.small(out.getvalue()) == (mime, picture)


def test_few_colours_leave_paper_and_cards_as_they_are():
    across = np.linspace(0, 255, 600)
    pixels = np.full((400, 600, 3), (246, 240, 236), np.uint8)  # a card
    pixels[:40] = 255  # paper
    pixels[300:] = np.stack([across, across[::-1], np.abs(across - 128)], axis=1)  # hundreds of others
    pixels[200] = (247, 200, 230)  # rare, and close to the card
    few = np.asarray(stills.few_colours(Image.fromarray(pixels), 64).convert("RGB")).astype(int)
    assert (few[:200] == pixels[:200]).all()
    assert len(np.unique(few.reshape(-1, 3), axis=0)) <= 64


def test_a_lesson_that_was_not_run_shows_its_pictures(open_notebook):
    path = FOLDER / "00_start_here.ipynb"
    stored = [o for c in nbformat.read(path, 4).cells for o in c.get("outputs", ()) if "still" in o.get("metadata", ())]
    book = open_notebook(path, height=3000)
    pictures = book.page.locator(".jp-OutputArea-output img")
    book.wait_until(lambda: pictures.count() == len(stored), "the stills")
    for i in range(len(stored)):
        wide, high = pictures.nth(i).evaluate("(img) => [img.naturalWidth, img.getBoundingClientRect().height]")
        assert wide > 700
        assert high > 50
    assert "rror displaying widget" not in book.page.content()


def note(book):
    picture = book.page.locator(".jp-OutputArea .qviz").first
    return picture.evaluate("(node) => getComputedStyle(node, '::before').content")


def test_a_saved_notebook_shows_its_pictures_without_its_kernel(lab, open_notebook, screenshots):
    name = lab.notebook("mine.ipynb", "from qviz.widgets import NumberExplorer\nn = NumberExplorer(bits=4)\nn")
    book = open_notebook(name, height=1000)
    book.run_all()
    book.python("n.controls['bits'].value = 5")
    canvas = book.page.locator(".qviz canvas").first
    book.wait_until(lambda: "32 levels" in book.page.locator(".qviz h4").first.inner_text(), "five bits")
    before = book.pixels(canvas)
    book.save()
    saved = (lab.root / name).read_text(encoding="utf-8")
    assert len(saved) < 400_000
    assert "widgets" in json.loads(saved)["metadata"]
    book.page.evaluate("async () => await window.jupyterapp.shell.currentWidget.sessionContext.session.shutdown()")
    again = book.page.locator(".jp-OutputArea .qviz canvas").first
    for _ in range(3):  # JupyterLab does without saved widgets if the new kernel takes too long to start
        book.page.goto("about:blank")
        book.open()  # with a kernel that knows nothing
        with contextlib.suppress(TimeoutError):
            again.wait_for(timeout=30_000)
            break
    assert book.pixels(again) == before
    assert "Run the cells above and this one" in note(book)
    book.page.screenshot(path=screenshots / "reopened.png")
    assert "model not found" not in book.page.content()
    book.run_all()
    assert note(book) == "none"
    assert book.problems == []
