"""A picture on a bare page, with Python behind it: hands are tried here in a second, without a JupyterLab.

What the browser runs is the module that anywidget gets; its model answers from an explorer in this process. Controls
are not on the page: what a hand did is seen in Python, where their values are.
"""

from __future__ import annotations

import base64
from typing import Any, Self

from browser.lab import PATIENCE
from playwright.sync_api import Browser, Locator, Page

from qviz.widgets.base import Explorer

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A picture</title>
<style>body { margin: 20px; font: 14px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #1c1e21; background: #fff; }
body.dark { color: #e6e6e6; background: #111; } [hidden] { display: none !important; }</style>
<body data-jp-theme-light="true"><div class="qviz-explorer"><div class="qviz-lock" role="status"></div>
<div id="view" style="width: 1000px"></div></div></body></html>"""

SHOW = """async ([source, style, palette, frame]) => {
    const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    document.head.append(Object.assign(document.createElement('style'), { textContent: style }));
    const heard = { 'change:frame': [], 'msg:custom': [] };
    const state = { palette: bytes(palette), frame: bytes(frame) };
    window.sent = [];
    window.waiting = 0;
    window.hear = (replies) => {
        for (const [kind, what] of replies) {
            if (kind === 'frame') {
                state.frame = bytes(what);
                heard['change:frame'].forEach((act) => act());
            } else heard['msg:custom'].forEach((act) => act(what));
        }
    };
    const model = {
        get: (name) => state[name],
        on: (name, act) => heard[name]?.push(act),
        off: () => {},
        send: (message) => {
            window.sent.push(message);
            window.waiting += 1;
            window.python(message).then((replies) => {
                window.waiting -= 1;
                window.hear(replies); // the next message leaves here
            });
        },
    };
    const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
    (await import(url)).default.render({ model, el: document.getElementById('view') });
    window.ready = true;
}"""


# What a hand did is sent before the next frame at the latest; an answer may send the next message, or start a glide.
REST = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    do {
        await frame();
        await frame();
    } while (window.waiting);
}"""


class Stage:
    """A page for one explorer's picture after the other.

    Attributes
    ----------
    page : playwright Page
    explorer : Explorer
        The one on show.
    problems : list of str
        Uncaught errors of the page.
    """

    explorer: Explorer

    def __init__(self, browser: Browser) -> None:
        self.context = browser.new_context()
        self.context.set_default_timeout(1000 * PATIENCE)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.expose_function("python", self._python)

    def show(self, explorer: Explorer, *, motion: bool = False, width: int = 1040) -> Self:
        """Show an explorer's picture, as on a page on which nothing has happened."""
        self.explorer = explorer
        page, view = self.page, explorer.figure
        self.replies: list[tuple[str, Any]] = []
        view.send = lambda message: self.replies.append(("message", message))
        view.observe(lambda change: self.replies.append(("frame", _text(change.new))), "frame")
        page.goto("about:blank")  # what the last one still waits for ends with its page
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(reduced_motion="no-preference" if motion else "reduce")
        page.set_content(PAGE)
        page.mouse.move(0, 0)
        page.evaluate(SHOW, [view._esm, view._css, _text(view.palette), _text(view.frame)])
        self.rest()
        return self

    def _python(self, message: dict[str, Any]) -> list[tuple[str, Any]]:
        self.explorer.figure._handle_custom_msg(message, [])
        return self._taken()

    def _taken(self) -> list[tuple[str, Any]]:
        taken, self.replies = self.replies, []
        return taken

    def told(self, look: str | None = None) -> str | None:
        """Let the page hear what Python did by itself; the pixels of a canvas right after that."""
        return self.page.evaluate(
            "([replies, look]) => { window.hear(replies); return document.querySelector(look)?.toDataURL(); }",
            [self._taken(), look or "no-canvas"],
        )

    def hold(self, reason: str) -> None:
        """Lock the explorer, as its page shows it."""
        self.explorer.lock("1", reason)
        self.page.evaluate(
            """(reason) => { document.querySelector('.qviz-explorer').classList.add('qviz-locked');
                document.querySelector('.qviz-lock').textContent = reason; }""",
            reason,
        )

    def canvas(self, panel: str) -> Locator:
        return self.page.locator(f"[data-panel={panel}] canvas").first

    def drag(self, canvas: Locator, start: tuple[float, float], end: tuple[float, float], steps: int = 6) -> None:
        """Take what is at one place of a canvas, and let it go at another."""
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box is not None
        mouse = self.page.mouse
        mouse.move(box["x"] + float(start[0]), box["y"] + float(start[1]))
        mouse.down()
        mouse.move(box["x"] + float(end[0]), box["y"] + float(end[1]), steps=steps)
        mouse.up()
        self.rest()

    def rest(self) -> None:
        """Wait until Python has answered all, and what it said is drawn."""
        self.page.evaluate(REST)

    def press(self, canvas: Locator, *keys: str) -> None:
        canvas.focus()
        for key in keys:
            self.page.keyboard.press(key)
        self.rest()

    def close(self) -> None:
        self.context.close()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
