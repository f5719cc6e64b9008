"""What every widget owes to those who use a keyboard or a screen reader, whoever wrote it."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import inspect
import textwrap

import gallery
import ipywidgets
import pytest
from traitlets import TraitError

from qviz import widgets
from qviz.course import lesson, missions
from qviz.errors import WidgetError
from qviz.widgets import balance, duel
from qviz.widgets.base import Explorer, SourceExplorer
from qviz.widgets.layers import LayerExplorer
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


def inside(box):
    """All widgets in a box, and in the boxes in it."""
    for child in box.children:
        yield child
        if isinstance(child, ipywidgets.Box):
            yield from inside(child)


@pytest.mark.parametrize("name", gallery.EXPLORERS)
def test_every_control_says_what_it_is(made, name):
    explorer = made(name)
    shown = list(inside(explorer))
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


def explorers():
    """Every class of explorers, whoever wrote it."""
    found, new = {lesson.Score}, {Explorer}
    while new:
        found |= new
        new = {kind for base in new for kind in base.__subclasses__()} - found
    return sorted((kind for kind in found if kind.__module__.startswith("qviz.")), key=lambda kind: kind.__name__)


@functools.cache
def names_of(kind):
    """What a class calls its own: methods, properties, and whatever its methods set on `self`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    places = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    set_on_self = {node.attr for node in places if isinstance(node.value, ast.Name) and node.value.id == "self"}
    (own,) = tree.body
    defined = {node.name for node in own.body if isinstance(node, ast.FunctionDef)}
    for node in own.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {target.id for target in targets}
    return {name for name in defined | set_on_self if not (name.startswith("__") and name.endswith("__"))}


def taken(base):
    """Names of a base that no subclass may use for anything of its own; two underscores make it impossible anyway."""
    private = {name for name in names_of(base) if name.startswith("__")}
    return names_of(base) - private - {"HOOKS", "controls", "figure", *base.HOOKS}


@pytest.mark.parametrize("kind", explorers(), ids=lambda kind: kind.__name__)
def test_no_explorer_takes_a_name_of_its_bases(kind):
    for base in (Explorer, SourceExplorer, LayerExplorer):
        if kind is not base and issubclass(kind, base):
            shared = {"_problem"} if kind in (SourceExplorer, LayerExplorer) else set()
            assert not names_of(kind) & taken(base) - shared
    meant = {"children", "_repr_mimebundle_", "close"}  # these call their base's
    assert not names_of(kind) & set(dir(ipywidgets.VBox)) - meant


def test_a_taken_name_would_be_noticed():
    assert {"_hold", "_problem", "lock", "_repr_mimebundle_", "was_displayed"} <= taken(Explorer)
    assert "_sources" in taken(SourceExplorer)
    assert "_stats" in taken(LayerExplorer)
    assert "_current" in names_of(balance.BalanceExplorer)


@pytest.mark.parametrize("kind", explorers(), ids=lambda kind: kind.__name__)
def test_every_explorer_is_constructed_by_its_bases(kind):
    assert "super(Explorer" not in inspect.getsource(kind)


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
        explorer = balance.BalanceExplorer(explorer.rows, more=[("rtn", 3, 128)])
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


@pytest.mark.parametrize("name", gallery.EXPLORERS)
def test_every_tab_has_panels(made, name):
    explorer = made(name)
    pages = explorer.figure.scene.pages
    if not pages:
        return
    assert len(pages) > 1
    assert len({title for title, _ in pages}) == len(pages)
    paged = [panel for _, panels in pages for panel in panels]
    assert len(set(paged)) == len(paged)
    there = set(explorer.figure.panels)
    assert there & set(pages[0][1]), "the first page has something to show"
    assert {panel for panel in paged if panel not in there} <= {"plaque", "code", "blind", "sharp"}, "known later"


def test_a_veiled_picture_does_not_reach_the_browser(made):
    explorer = made("BalanceExplorer")
    budget = explorer.controls["budget"]
    start = budget.value
    budget.value = budget.max
    budget.value = start  # from now on a ghost shows what was chosen last
    before = explorer.figure.frame
    label = explorer.figure.scene.readouts[0].label
    explorer.lock("x", "not yet", veils=["balance", label])
    seen = unpack(explorer.figure.frame)
    assert seen["panels"]["balance"]["figure"] == {"type": "Veil", "reason": "not yet"}
    assert {r["label"]: r["value"] for r in seen["readouts"]}[label] == "?"
    assert seen["readouts"][1]["value"] != "?"
    assert (seen["summary"], seen["tables"]) == ("not yet", [])
    for name in explorer.figure["balance"].names:
        assert name.encode() not in explorer.figure.frame
    assert type(explorer.figure["balance"]).__name__ == "Balance", "Python sees it all the same"
    budget.value = budget.max
    assert unpack(explorer.figure.frame)["panels"]["balance"]["figure"]["type"] == "Veil"
    budget.value = start
    explorer.unlock("x")
    assert explorer.figure.frame == before


def test_nothing_can_be_veiled_that_is_not_there(made):
    with pytest.raises(WidgetError, match="nothing 'maps' to veil; there are left, right, changes, bytes, "):
        made("RecipeExplorer").lock("x", "not yet", veils=["maps"])


def test_every_veil_of_a_question_fits_its_explorer(made):
    kinds = {
        "05.4": "RecipeExplorer",
        "07.3": "GPTQExplorer",
        "10.3": "BalanceExplorer",
        "14.1": "PairExplorer",
        "16.2": "StaircaseExplorer",
    }
    veiled = {id: asked.veils for id, asked in lesson.questions().items() if asked.veils}
    assert set(veiled) == set(kinds)
    for id, names in veiled.items():
        explorer = made(kinds[id])
        there = {*explorer.figure.panels, *(readout.label for readout in explorer.figure.scene.readouts)}
        assert set(names) - there <= {"Held out / RTN"}, "the gallery's has no other tokens"
