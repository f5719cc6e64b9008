"""The one picture widget: a canvas that draws what Python computed.

`qviz.widgets.modules` joins `static/view.js` and its painters into one plain ES module: nothing to build and nothing to
download.
"""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from qviz.figures import _theme
from qviz.widgets import modules
from qviz.widgets.scene import Panel, Scene, pack


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

    _esm = modules.module()
    _css = _theme.css() + modules.styles()
    palette = traitlets.Bytes(_theme.tables(), read_only=True).tag(sync=True)
    frame = traitlets.Bytes().tag(sync=True)

    scene: Scene | None = None

    def show(self, scene: Scene, seen: Scene | None = None) -> View:
        """Replace what is on show; `seen` is what the browser gets of it, if that is not all."""
        frame = pack(scene if seen is None else seen)  # first: what cannot be packed is not on show
        self.scene, self.frame = scene, frame
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
