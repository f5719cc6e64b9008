"""What all explorers have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import ipywidgets

from qviz.errors import QvizError, WidgetError
from qviz.widgets import _text
from qviz.widgets.scene import Scene, Status
from qviz.widgets.sources import Source, Sources
from qviz.widgets.view import View


class Explorer(ipywidgets.VBox):  # type: ignore[misc]
    """Controls above a picture; each change computes the picture anew, in full.

    A subclass makes its `controls` and says what they show in `_scene`.

    Attributes
    ----------
    controls : dict of str to ipywidgets.Widget
        Setting a value from Python does what a hand on the control does.
    figure : View
        The picture; ``figure.scene`` is what it shows, ``figure["name"]`` one figure of it.
    """

    def __init__(self, given: Any, tensor: str | None, name: str | None) -> None:
        self._sources = Sources(given, name)
        self.controls: dict[str, ipywidgets.Widget] = {}
        self.figure = View()
        self._quiet = True
        super().__init__()
        self.add_class("qviz-explorer")
        if len(self._sources.names) > 1:
            first = tensor or self._sources.names[0]
            if first not in self._sources.names:
                self._sources[first]  # raises, with the names that exist
            self.controls["tensor"] = ipywidgets.Dropdown(
                options=self._sources.names,
                value=first,
                description="Tensor",
                tooltip="the tensor to look at",
                layout={"width": "auto"},
            )
        elif tensor not in (None, *self._sources.names):
            raise WidgetError(f"no tensor {tensor!r}; there is only {self._sources.names[0]}")
        self._take()
        if isinstance(self._problem, WidgetError):
            raise self._problem

    @property
    def tensor_name(self) -> str:
        """The tensor on show."""
        control = self.controls.get("tensor")
        return self._sources.names[0] if control is None else str(control.value)

    def update(self) -> None:
        """Compute and show; what goes wrong is said in the status line."""
        try:
            scene = self._scene() if self._problem is None else self._failed(str(self._problem))
        except QvizError as error:
            scene = self._failed(str(error))
        except Exception as error:  # ipywidgets would swallow it in a log that nobody opens
            scene = self._failed(f"{type(error).__name__}: {error}. This is a mistake in qviz; please report it.")
        self.figure.show(scene)

    def _take(self) -> None:
        """Take up the tensor that was chosen; a problem with it stays until another is chosen."""
        self._problem: QvizError | None = None
        try:
            self._source: Source = self._sources[self.tensor_name]
            self._open()
        except QvizError as problem:
            self._problem = problem

    def _open(self) -> None:
        """Read what `_scene` needs from the tensor."""

    def _scene(self) -> Scene:
        raise NotImplementedError

    def _failed(self, text: str) -> Scene:
        # an old picture beside a new message would be taken for its result
        return Scene(self._layout, {}, status=(Status("error", text),), summary=text)

    _layout = ""

    def _arrange(self, *rows: tuple[str, ...]) -> None:
        """Place the controls in rows, the picture below them, and start to listen."""
        boxes = []
        for row in rows:
            present = [self.controls[name] for name in row if name in self.controls]
            boxes.append(ipywidgets.HBox(present, layout={"flex_flow": "row wrap", "align_items": "center"}))
        self.children = [*boxes, self.figure]
        for control in self.controls.values():
            if control.has_trait("value"):
                control.style.description_width = "initial"
                control.observe(self._changed, "value")
        self.figure.on_msg(self._message)
        self._quiet = False
        self.update()

    def _changed(self, change: Any) -> None:
        if self._quiet:
            return
        with self._silence():
            if change.owner is self.controls.get("tensor"):
                self._take()
            if self._problem is None:
                self._react(change.owner)
        self.update()

    def _react(self, control: ipywidgets.Widget) -> None:
        """Let one control set another before the picture is computed."""

    def _message(self, _view: View, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict) or self._problem is not None:
            return
        # a message may be about a picture that has been replaced meanwhile: then there is nothing to answer
        with contextlib.suppress(WidgetError, KeyError, TypeError, ValueError):
            self._event(content)

    def _event(self, event: dict[str, Any]) -> None:
        """Answer a message from the picture."""

    @contextlib.contextmanager
    def _silence(self) -> Iterator[None]:
        """Change controls without computing for each."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _source_notes(self) -> tuple[Status, ...]:
        source, notes = self._source, []
        if source.cut_note:
            notes.append(Status("info", source.cut_note))
        if source.format_name not in ("F32", "F16", "BF16"):
            notes.append(
                Status(
                    "info",
                    f"These weights were read from {source.format_name} blocks, so they already lie on its "
                    f"levels: rounding them again costs less than rounding the original weights would.",
                )
            )
        return tuple(notes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tensor_name} {_text.shape(self._source.shape)})"
