"""Keys come faster than Python answers: a key held down moves a picture as far as the same key pressed at leisure."""

from __future__ import annotations

import gallery
import pytest

KEYED = '.qviz-panel [tabindex="0"][data-lm-suppress-shortcuts]'
AT_ONCE = """([selector, which, keys]) => {
    const node = document.querySelectorAll(selector)[which];
    for (const key of keys) node.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
}"""
WAYS = [("ArrowRight",) * 3, ("ArrowDown",) * 3, ("End", "ArrowLeft", "ArrowLeft"), ("End", "ArrowUp", "ArrowUp")]

ANSWERING = [name for name in gallery.EXPLORERS if name not in ("DuelExplorer", "Score")]


@pytest.fixture(scope="module")
def made():
    """What the gallery makes its widgets of."""
    names = {}
    exec(gallery.SETUP, names)
    return names


def seen(explorer):
    """What Python says that the pictures show, and where its controls are."""
    values = {name: control.value for name, control in explorer.controls.items() if hasattr(control, "value")}
    return explorer.figure.frame, values


@pytest.mark.parametrize("name", ANSWERING)
def test_keys_at_once_lead_where_keys_at_leisure_do(name, stage, made):
    ends = []
    for at_once in (False, True):
        there = stage(eval(gallery.WIDGETS[name], made))
        for which in range(there.page.locator(KEYED).count()):
            for keys in WAYS:
                for group in [keys] if at_once else [[key] for key in keys]:
                    there.page.evaluate(AT_ONCE, [KEYED, which, group])
                    there.page.wait_for_function("window.waiting === 0")
        ends.append(seen(there.explorer))
    assert ends[0] == ends[1]
