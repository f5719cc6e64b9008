"""What every widget owes to those who use a keyboard or a screen reader, whoever wrote it."""

from __future__ import annotations

import inspect

import gallery
import ipywidgets
import pytest

from qviz import lesson, widgets
from qviz.widgets.base import Explorer
from qviz.widgets.scene import unpack


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One of each, made when it is first asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QVIZ_PROGRESS", str(tmp_path_factory.mktemp("progress") / "progress.json"))
        names = {}
        exec(gallery.SETUP, names)
        found = {}
        yield lambda name: found[name] if name in found else found.setdefault(name, eval(gallery.WIDGETS[name], names))


def test_the_gallery_has_one_of_each():
    classes = {
        name
        for room in (widgets, lesson)
        for name in room.__all__
        if inspect.isclass(kind := getattr(room, name)) and issubclass(kind, ipywidgets.Widget)
    }
    bare = {"View"}  # has no words of its own; every explorer is around one
    assert classes - bare == {name.partition(",")[0] for name in gallery.WIDGETS if name[0].isupper()}


@pytest.mark.parametrize("name", gallery.EXPLORERS)
def test_every_control_says_what_it_is(made, name):
    explorer = made(name)
    shown = [control for box in explorer.children if isinstance(box, ipywidgets.Box) for control in box.children]
    for key, control in explorer.controls.items():
        if isinstance(control, ipywidgets.Play) or control not in shown:
            continue  # Play has words of its own; what is not shown keeps a state for the picture
        assert getattr(control, "description", ""), f"{name}: {key} has no label"


@pytest.mark.parametrize("name", gallery.EXPLORERS)
def test_every_picture_has_words_and_numbers(made, name):
    explorer = made(name)
    assert isinstance(explorer, Explorer)
    scene = explorer.figure.scene
    assert not [status.text for status in scene.status if status.level == "error"]
    assert len(scene.summary) > 20, "a sentence or two that say what can be seen"
    assert scene.panels
    for key, panel in scene.panels.items():
        text_only = type(panel.figure).__name__ == "Label"
        assert text_only or panel.title or panel.label, f"{name}: panel {key} has neither title nor label"
    assert scene.tables, "the numbers behind the picture"
    for table in scene.tables:
        assert table.caption
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert all(isinstance(cell, str) for row in table.rows for cell in row)
    assert unpack(explorer.figure.frame)["summary"] == scene.summary


@pytest.mark.parametrize("name", gallery.EXPLORERS)
def test_every_explorer_can_be_locked(made, name):
    explorer = made(name)
    before, frame = {key: control.disabled for key, control in explorer.controls.items()}, explorer.figure.frame
    explorer.lock("test", "not yet")
    assert all(control.disabled for control in explorer.controls.values())
    explorer.unlock("test")
    assert {key: control.disabled for key, control in explorer.controls.items()} == before
    assert explorer.figure.frame == frame
