"""What all explorers have in common."""

from __future__ import annotations

import contextlib
import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ipywidgets
from traitlets import TraitError

from qviz._arguments import check_methods
from qviz.errors import QvizError, WidgetError, shortened
from qviz.figures.veil import Veil
from qviz.widgets import _text
from qviz.widgets.echo import after_picture
from qviz.widgets.scene import Panel, Scene, Status
from qviz.widgets.sources import Sources, TensorSource
from qviz.widgets.view import View

_STALE = (LookupError, TypeError, ValueError, ArithmeticError, TraitError)
_FREE_EVENTS = ("locate",)  # messages from a picture that change nothing, so a lock lets them through


def in_words(error: Exception) -> str:
    """What an explorer shows of an error: ours as they stand, the machine's with their kind, the rest as our mistake.

    Parameters
    ----------
    error : Exception

    Returns
    -------
    str

    Examples
    --------
    >>> in_words(WidgetError("nothing to show"))
    'nothing to show'
    >>> in_words(KeyError("x"))
    "KeyError: 'x'. This is a mistake in qviz; please report it."
    """
    if isinstance(error, QvizError):
        return str(error)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, OSError | MemoryError):
        return f"{what}. The machine refused; free some disk or memory and try again."
    return f"{what}. This is a mistake in qviz; please report it."


_Lock = tuple[str, frozenset[str], tuple[str, ...]]  # its reason, the controls it holds, what it veils


def _veiled(scene: Scene, veils: Mapping[str, str]) -> Scene:
    """A scene without what some names stand for, and without the words and numbers that would tell it."""
    if not veils or not scene.panels:
        return scene
    panels = {
        name: Panel(Veil(veils[name]), panel.title, label=veils[name]) if name in veils else panel
        for name, panel in scene.panels.items()
    }
    readouts = tuple(replace(r, value="?", hint=veils[r.label]) if r.label in veils else r for r in scene.readouts)
    words = " ".join(dict.fromkeys(veils.values()))
    return replace(scene, panels=panels, readouts=readouts, tables=(), summary=words)


class Explorer(ipywidgets.VBox):  # type: ignore[misc]
    """Controls above a picture; each change computes the picture anew, in full.

    A subclass makes its `controls`, says what they show in `_scene`, and ends its constructor with `_arrange`. What it
    may answer in words of its own is in `HOOKS`; all other names of this class are taken.

    Attributes
    ----------
    controls : dict of str to ipywidgets.Widget
        Setting a value from Python does what a hand on the control does.
    figure : View
        The picture; ``figure.scene`` is what it shows, ``figure["name"]`` one figure of it.
    """

    HOOKS: tuple[str, ...] = ("_layout", "_pages", "_scene", "_take", "_react", "_event", "_changed", "_message")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_methods(cls, WidgetError)

    def __init__(self) -> None:
        super().__init__()
        self.add_class("qviz-explorer")
        self.controls: dict[str, ipywidgets.Widget] = {}
        self.figure = View()

    _problem: QvizError | None = None  # with what was chosen: shown until something else is

    # two underscores: no explorer can have a name of its own like these
    __quiet = True
    __locks: dict[str, _Lock] = {}  # noqa: RUF012  replaced, never changed
    __wanted: dict[str, bool] | None = None  # what `disabled` would be without any lock
    __lock_line: ipywidgets.HTML | None = None

    def update(self) -> None:
        """Compute and show; what goes wrong, on the way to the browser too, is said in the status line."""
        with self._telling():
            problem = self.__unset() or self._problem
            self._show(self._scene() if problem is None else self._failed(str(problem)))

    def __unset(self) -> QvizError | None:
        """What is wrong with a control that was set from Python to what no hand can choose."""
        for name, control in self.controls.items():
            value = getattr(control, "value", 0)
            if value is None and None not in getattr(control, "_options_values", (None,)):
                return WidgetError(f"{name} is None; one of its options is wanted")
            if isinstance(value, float) and not math.isfinite(value):
                return WidgetError(f"{name} is {value}; a finite number is wanted")
        return None

    def _show(self, scene: Scene) -> None:
        """Show a scene, but for what a lock veils."""
        veils = {name: reason for reason, _, names in self.__locks.values() for name in names}
        scene = replace(scene, pages=self._pages)
        self.figure.show(scene, _veiled(scene, veils))

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Show what goes wrong within; ipywidgets would swallow it in a log that nobody opens."""
        try:
            yield
        except Exception as error:
            self.figure.show(self._failed(in_words(error)))

    def _scene(self) -> Scene:
        raise NotImplementedError

    def _failed(self, text: str) -> Scene:
        # an old picture beside a new message would be taken for its result
        return Scene(self._layout, {}, status=(Status("error", text),), summary=text)

    _layout = ""
    _pages: tuple[tuple[str, tuple[str, ...]], ...] = ()  # as in `Scene`

    def _arrange(self, *rows: tuple[str, ...]) -> None:
        """Place the controls in a column, or where it is narrow in rows, the picture beside them; start to listen."""
        boxes = []
        for row in rows:
            present = [self.controls[name] for name in row if name in self.controls]
            boxes.append(ipywidgets.HBox(present, layout={"flex_flow": "row wrap", "align_items": "center"}))
        column = ipywidgets.VBox([box for box in boxes if box.children])
        column.add_class("qviz-controls")
        self.children = [column, self.figure] if column.children else [self.figure]
        for control in self.controls.values():
            if control.has_trait("value"):
                control.style.description_width = "initial"
                if not isinstance(control, ipywidgets.Play):  # it moves a slider, which is heard
                    control.observe(self._heard, "value")
                    after_picture(control)
        self.figure.on_msg(self.__received)
        self.__quiet = False
        self.update()

    def _heard(self, change: Any) -> None:
        with self._telling():
            self._changed(change)

    def _on_click(self, name: str, action: Callable[[], object]) -> None:
        """Let a press on a button do something; what goes wrong is shown as for any other control."""

        def pressed(_button: ipywidgets.Button) -> None:
            with self._telling():
                action()

        self.controls[name].on_click(pressed)

    def _changed(self, change: Any) -> None:
        if self.__quiet:
            return
        if self.__unset():
            self.update()
            return
        with self._silence():
            self._take(change.owner)
            if self._problem is None:
                self._react(change.owner)
        self.update()

    def _take(self, control: ipywidgets.Widget) -> None:
        """Open what a control has chosen, such as another tensor; what is wrong with it becomes `_problem`."""

    def _react(self, control: ipywidgets.Widget) -> None:
        """Let one control set another before the picture is computed."""

    def lock(self, key: str, reason: str, controls: Sequence[str] = (), veils: Sequence[str] = ()) -> None:
        """Hold controls until `unlock` is called with the same key; the picture stays, Python may still set values.

        What is veiled does not reach the browser, nor a notebook's outputs; Python still sees it in ``figure.scene``.

        Parameters
        ----------
        key : str
            Whose lock it is; several may hold one control.
        reason : str
            Shown above the controls, and read aloud by a screen reader.
        controls : sequence of str
            Names of the controls to hold; all of them if empty.
        veils : sequence of str
            What must not be seen until then: names of panels, labels of readouts. The summary and the tables, which
            would tell it in words and numbers, are kept back with them.

        Raises
        ------
        WidgetError
            There is no such control, or nothing on show of that name.
        """
        for name in controls:
            if name not in self.controls:
                raise WidgetError(f"no control {shortened(name)} to lock; there are {', '.join(self.controls)}")
        scene = self.figure.scene
        there = [] if scene is None else [*scene.panels, *(readout.label for readout in scene.readouts)]
        for name in veils:
            if name not in there:
                raise WidgetError(f"nothing {shortened(name)} to veil; there are {', '.join(there)}")
        self.__locks = {**self.__locks, key: (reason, frozenset(controls or self.controls), tuple(veils))}
        self._hold()

    def unlock(self, key: str) -> None:
        """Give back what the lock of that key held; nothing happens if there is none."""
        self.__locks = {other: held for other, held in self.__locks.items() if other != key}
        self._hold()

    @property
    def locked(self) -> frozenset[str]:
        """Names of the controls that a lock holds."""
        return frozenset().union(*(names for _, names, _ in self.__locks.values()))

    @property
    def locks(self) -> tuple[str, ...]:
        """Keys of all locks."""
        return tuple(self.__locks)

    was_displayed = False
    """Whether a cell has shown it by itself, and not within something else."""

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self.was_displayed = True
        return super()._repr_mimebundle_(**kwargs)

    def _hold(self) -> None:
        if self.__wanted is None:
            wanted = self.__wanted = {name: control.disabled for name, control in self.controls.items()}
            for name, control in self.controls.items():

                def keep(_control: Any, proposal: Any, name: str = name) -> bool:
                    wanted[name] = bool(proposal["value"])
                    return wanted[name] or name in self.locked

                control._register_validator(keep, ("disabled",))
            self.__lock_line = ipywidgets.HTML(layout={"display": "none"})
            self.__lock_line.add_class("qviz-lock")
            self.children = [self.__lock_line, *self.children]
        for name, control in self.controls.items():
            control.disabled = self.__wanted[name]  # through `keep`
        assert self.__lock_line is not None
        reasons = [reason for reason, *_ in self.__locks.values()]
        lines = "".join(f"<p>{html.escape(reason)}</p>" for reason in reasons)
        self.__lock_line.value = f'<div role="status">{lines}</div>'
        self.__lock_line.layout.display = None if reasons else "none"
        (self.add_class if reasons else self.remove_class)("qviz-locked")
        if self.figure.scene is not None:
            self._show(self.figure.scene)

    def __received(self, view: View, content: Any, buffers: Any) -> None:
        """Answer a message, and tell the picture so: until then it sends no other."""
        try:
            self._message(view, content, buffers)
        finally:
            if isinstance(content, dict) and "ask" in content:
                view.send({"answered": content["ask"]})

    def _message(self, _view: View, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict) or self._problem is not None:
            return
        if self.__locks and content.get("event") not in _FREE_EVENTS:
            return
        # a message may be about a picture that has been replaced meanwhile: then there is nothing to answer
        with self._telling(), contextlib.suppress(WidgetError, *_STALE):
            if content.get("event") == "set":
                self._set(content["control"], content["value"])
            else:
                self._event(content)

    def _set(self, name: str, value: Any) -> None:
        """A hand in the picture moves a control: it does what it does under a hand of its own."""
        control = self.controls[name]
        if control.has_trait("value") and not control.disabled:
            with control.hold_sync():  # the picture goes first
                control.value = value

    def _event(self, event: dict[str, Any]) -> None:
        """Answer a message from the picture."""

    @contextlib.contextmanager
    def _silence(self) -> Iterator[None]:
        """Change controls without computing for each."""
        before, self.__quiet = self.__quiet, True
        try:
            yield
        finally:
            self.__quiet = before


class SourceExplorer(Explorer):
    """An explorer with a tensor to look at: weights, or one of those of a model.

    Parameters
    ----------
    given : array_like, QTensor, or a model
    tensor : str or None
        Name of a model's tensor; the first one if None.
    name : str or None
        What to call weights that come without a name.

    Raises
    ------
    WidgetError
        Not weights, or no such tensor.

    Attributes
    ----------
    controls : dict
        With ``tensor`` for a model.
    """

    HOOKS: tuple[str, ...] = (*Explorer.HOOKS, "_open")

    def __init__(self, given: Any, tensor: str | None, name: str | None) -> None:
        super().__init__()
        self._sources = Sources(given, name)
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
            raise WidgetError(f"no tensor {shortened(tensor)}; there is only {self._sources.names[0]}")
        self._take(self.controls.get("tensor"))
        if isinstance(self._problem, WidgetError):
            raise self._problem

    @property
    def tensor_name(self) -> str:
        """The tensor on show."""
        control = self.controls.get("tensor")
        return self._sources.names[0] if control is None else str(control.value)

    def _take(self, control: ipywidgets.Widget | None) -> None:
        if control is not self.controls.get("tensor"):
            return
        self._problem = None
        try:
            self._source: TensorSource = self._sources[self.tensor_name]
            self._open()
        except QvizError as problem:
            self._problem = problem

    def _open(self) -> None:
        """Read what `_scene` needs from the tensor."""

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
