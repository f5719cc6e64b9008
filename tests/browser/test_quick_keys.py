"""Keys come faster than Python answers: a key held down moves a picture as far as the same key pressed at leisure."""

from __future__ import annotations

import gallery
import pytest

# Press keys in every picture that takes them: all of a way at once, or each when what came of the last one is seen.
PRESS = """async ([ways, atOnce]) => {
    const pictures = () => document.querySelectorAll('.qviz-panel [tabindex="0"][data-lm-suppress-shortcuts]');
    for (let i = 0; i < pictures().length; i++) {
        for (const keys of ways.flatMap((way) => (atOnce ? [way] : way.map((key) => [key])))) {
            for (const key of keys) pictures()[i].dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
            do await new Promise(requestAnimationFrame);
            while (window.waiting);
        }
    }
}"""
WAYS = [("ArrowRight",) * 3, ("ArrowDown",) * 3, ("End", "ArrowLeft", "ArrowLeft"), ("End", "ArrowUp", "ArrowUp")]

ANSWERING = [name for name in gallery.EXPLORERS if name not in ("DuelExplorer", "Score")]


def seen(explorer):
    """What Python says that the pictures show, and where its controls are."""
    values = {name: control.value for name, control in explorer.controls.items() if hasattr(control, "value")}
    return explorer.figure.frame, values


@pytest.mark.parametrize("name", ANSWERING)
def test_keys_at_once_lead_where_keys_at_leisure_do(name, stage, made):
    ends = []
    for at_once in (False, True):
        there = stage(eval(gallery.WIDGETS[name], made))
        there.page.evaluate(PRESS, [WAYS, at_once])
        ends.append(seen(there.explorer))
    assert ends[0] == ends[1]
