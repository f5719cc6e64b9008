"""The one picture widget: a canvas that draws what Python computed.

`static/view.js` and its painters are one plain ES module, read by the browser as it stands: nothing to build and
nothing to download.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from qviz.figures import _theme
from qviz.widgets.scene import Panel, Scene, pack

_STATIC = Path(__file__).parent / "static"


def _read(*names: str) -> str:
    """Files of `static`, joined: painters may live in a file of their own, and the browser still gets one module."""
    return "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in names)


class View(anywidget.AnyWidget):
    """Draws a `Scene`.

    Attributes
    ----------
    scene : Scene or None
        What is on show.
    frame : bytes
        The same, as it travels to the browser: one binary trait, one message a move.

    Examples
    --------
    >>> View().show(Scene("bits", {}, summary="nothing yet")).scene.summary
    'nothing yet'
    """

    _esm = _read(
        "view.js",
        "k_quants.js",
        "balance.js",
        "speed.js",
        "gptq.js",
        "calibration.js",
        "photo.js",
        "capstone.js",
        "ranges.js",
        "codebook.js",
        "awq.js",
        "museum.js",
    )
    _css = _theme.css() + _read(
        "view.css",
        "k_quants.css",
        "balance.css",
        "gptq.css",
        "photo.css",
        "ranges.css",
        "codebook.css",
        "awq.css",
        "museum.css",
    )
    palette = traitlets.Bytes(_theme.tables(), read_only=True).tag(sync=True)
    frame = traitlets.Bytes().tag(sync=True)

    scene: Scene | None = None

    def show(self, scene: Scene) -> View:
        """Replace what is on show."""
        self.scene = scene
        self.frame = pack(scene)
        return self

    def __getitem__(self, panel: str) -> Any:
        """The figure of one panel, e.g. ``view["error"].pixels``."""
        return self.panels[panel].figure

    @property
    def panels(self) -> dict[str, Panel]:
        """The panels on show, by name."""
        return {} if self.scene is None else dict(self.scene.panels)

    def __repr__(self) -> str:
        return f"View({', '.join(self.panels)})"
