"""What every widget owes to those who use a keyboard or a screen reader, whoever wrote it."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect

import gallery
import ipywidgets
import pytest
from traitlets import TraitError

from qviz import widgets
from qviz.course import lesson, missions
from qviz.widgets import balance, duel
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


def errors(explorer):
    return [status.text for status in explorer.figure.scene.status if status.level == "error"]


def moves(explorer):
    """Each control that a hand can move, and another value for it."""
    for name, control in explorer.controls.items():
        if isinstance(control, ipywidgets.Button | ipywidgets.Play) or control.disabled:
            continue
        if hasattr(control, "options"):
            named = isinstance(control.options, dict)
            values = control.options.values() if named else control.options
            values = [option[1] if isinstance(option, tuple) else option for option in values]
            others = [value for value in values if value != control.value]
            if others:
                yield name, others[-1]
        elif isinstance(control.value, bool):
            yield name, not control.value
        elif hasattr(control, "max"):
            yield name, control.max if control.value != control.max else control.min


def settle(explorer):
    wait = getattr(explorer, "wait", None)
    if wait is not None:
        wait()


@pytest.mark.parametrize("name", gallery.EXPLORERS)
def test_every_explorer_lives_locked_unlocked_and_moved(made, name):
    explorer = made(name)
    before, frame = {key: control.disabled for key, control in explorer.controls.items()}, explorer.figure.frame
    explorer.lock("test", "not yet")
    assert all(control.disabled for control in explorer.controls.values())
    explorer.update()
    assert explorer.figure.frame == frame, errors(explorer)
    explorer.unlock("test")
    assert {key: control.disabled for key, control in explorer.controls.items()} == before
    assert explorer.figure.frame == frame
    for key, value in moves(explorer):
        old = explorer.controls[key].value
        explorer.controls[key].value = value
        settle(explorer)
        # what cannot be had is said in words of ours; a mistake of ours would ask to be reported
        assert not [text for text in errors(explorer) if "report it" in text], f"{key} = {value!r}"
        assert unpack(explorer.figure.frame)["summary"] == explorer.figure.scene.summary
        with contextlib.suppress(TraitError):  # the move may have left other values to choose from
            explorer.controls[key].value = old
        settle(explorer)
    key, value = next(iter(moves(explorer)), ("", None))
    explorer.lock("test", "not yet")
    if key:  # Python may still set values, and the picture follows
        explorer.controls[key].value = value
        settle(explorer)
        assert not [text for text in errors(explorer) if "report it" in text], f"locked, {key} = {value!r}"
    explorer.unlock("test")


@pytest.mark.parametrize("where", ["_scene", "_react", "_changed", "packing"])
@pytest.mark.parametrize("name", ["BitsExplorer", "BalanceExplorer", "CapstoneExplorer", "CodebookExplorer"])
def test_what_goes_wrong_is_shown_where_the_person_looks(made, name, where, monkeypatch):
    """ipywidgets would file it in a log that nobody opens, and the picture would just stand still."""
    explorer = made(name)
    key, value = next(iter(moves(explorer)))
    before = explorer.controls[key].value
    with monkeypatch.context() as patch:
        if where == "packing":
            original = explorer._scene
            patch.setattr(explorer, "_scene", lambda: dataclasses.replace(original(), summary=object()))
        else:

            def broken(*_):
                raise ZeroDivisionError("the mistake")

            patch.setattr(explorer, where, broken)
        explorer.controls[key].value = value
        (text,) = errors(explorer)
        assert "report it" in text
        assert "the mistake" in text or where == "packing"
        assert unpack(explorer.figure.frame)["summary"] == text
    explorer.controls[key].value = before  # and it recovers
    assert not errors(explorer)


def test_a_button_tells_what_went_wrong(made, monkeypatch):
    explorer = made("CapstoneExplorer")
    monkeypatch.setattr(explorer, "stop", lambda: 1 / 0)
    explorer.controls["measure"].click()
    assert "ZeroDivisionError" in errors(explorer)[0]
    explorer.update()
    assert not errors(explorer)


@pytest.mark.parametrize(
    ("name", "module", "function", "start"),
    [
        ("BalanceExplorer", balance, "method_table", "measure"),
        ("DuelExplorer", duel.transformer, "generate_tokens", "start"),
        ("CapstoneExplorer", missions, "play", "measure"),
    ],
)
def test_work_in_the_background_tells_what_went_wrong(made, name, module, function, start, monkeypatch):
    explorer = made(name)
    if name == "BalanceExplorer":
        explorer = balance.BalanceExplorer(explorer._rows, more=[("rtn", 3, 128)])
    if name == "CapstoneExplorer":
        explorer.controls["reason"].value = 0
    with monkeypatch.context() as patch:

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        patch.setattr(module, function, full)
        getattr(explorer, start)()
        explorer.wait()
    assert any("No space left" in status.text for status in explorer.figure.scene.status)
    assert explorer.controls["stop"].disabled, "the work is over"
    if name == "CapstoneExplorer":
        explorer.controls["reason"].value = -1
