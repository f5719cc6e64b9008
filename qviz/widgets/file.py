"""`FileExplorer`: a model file from end to end, down to the byte; what breaks when one is damaged."""

from __future__ import annotations

from typing import Any

import ipywidgets

from qviz import models
from qviz.errors import GGUFError, WidgetError
from qviz.figures.file_strip import FileStrip, file_strip
from qviz.gguf.anatomy import Field, consequences, fields_of
from qviz.gguf.reader import GGUFFile, Part
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

PAGE = 192
"""Bytes on show."""

_MOST_CHANGES = 64


class FileExplorer(Explorer):
    """Look at a GGUF file as a strip: header, keys, tensors; zoom into its bytes; damage one and see who notices.

    Point at a byte and its field lights up, point at a field and its bytes do. A click on a byte, or Enter, adds one to
    it; a digit 0 … 7 flips that bit. The file on disk is never touched: a reader gets the changed bytes from memory.

    Parameters
    ----------
    given : Model, GGUFFile, or path-like
        What to look at: ``qviz.load("tiny")``, or a file of your own.
    at : int
        First byte on show.

    Raises
    ------
    WidgetError
        Not a model with a file, or no such byte.

    Attributes
    ----------
    controls : dict
        ``part``, ``page``, ``heal``.
    changes : dict of int to int
        Position -> byte that is there now.
    figure : View
        ``figure["strip"]`` is a `FileStrip`.

    Examples
    --------
    >>> import qviz
    >>> explorer = FileExplorer(qviz.load("tiny"))
    >>> explorer
    FileExplorer(tiny.gguf)
    >>> explorer.figure["strip"].fields[0].value
    'GGUF'
    >>> explorer.damage(4, 9)  # the version
    >>> print(explorer.figure.scene.status[0].text)
    tiny.gguf: unknown GGUF version at byte 4: found 9, expected 1, 2 or 3 in either byte order
    >>> explorer.heal()
    >>> explorer.figure.scene.status[0].level
    'info'
    """

    _layout = "file"

    def __init__(self, given: Any, *, at: int = 0) -> None:
        super().__init__()
        self._part = _part_of(given)
        self.changes: dict[int, int] = {}
        if not 0 <= at < self._part.size:
            raise WidgetError(f"no byte {at} in {self._part.path.name}; it has {self._part.size:,}")
        self.controls = {
            "part": ipywidgets.Dropdown(
                options=[(_label(region), n) for n, region in enumerate(self._part.regions)],
                value=self._region_at(at),
                description="Part",
                tooltip="key, tensor or gap to look at",
                layout={"width": "auto", "max_width": "460px"},
            ),
            "page": ipywidgets.IntSlider(
                at // PAGE,
                0,
                max(-(-self._part.size // PAGE) - 1, 0),
                description="Page",
                tooltip=f"{PAGE} bytes each",
                layout={"width": "330px"},
            ),
            "heal": ipywidgets.Button(description="Heal", tooltip="put the file's own bytes back", icon="undo"),
        }
        self._first = at // PAGE * PAGE
        self._on_click("heal", self.heal)
        self._arrange(("part", "page", "heal"))

    def _region_at(self, position: int) -> int:
        return max(n for n, region in enumerate(self._part.regions) if region.start <= position or n == 0)

    def goto(self, position: int) -> None:
        """Show the page that begins sixteen-byte-wise at or before a byte.

        Parameters
        ----------
        position : int

        Raises
        ------
        WidgetError
            There is no such byte.
        """
        if not 0 <= position < self._part.size:
            raise WidgetError(f"no byte {position} in {self._part.path.name}; it has {self._part.size:,}")
        self._first = position // 16 * 16
        with self._silence():
            self.controls["page"].value = position // PAGE
            self.controls["part"].value = self._region_at(position)
        self.update()

    def damage(self, position: int, byte: int) -> None:
        """Change one byte, in memory; the byte that the file has puts it back.

        Parameters
        ----------
        position : int
        byte : int
            0 … 255.

        Raises
        ------
        WidgetError
            No such byte, no such value, or very many changes already.
        """
        if not 0 <= position < self._part.size or not 0 <= byte <= 255:
            raise WidgetError(
                f"no byte {position} that could be {byte}; the file has {self._part.size:,} bytes, 0 … 255"
            )
        own = self._part.file.read(position, 1)[0]
        if byte == own:
            self.changes.pop(position, None)
        elif position not in self.changes and len(self.changes) >= _MOST_CHANGES:
            raise WidgetError(f"{_MOST_CHANGES} bytes are changed already; heal the file first")
        else:
            self.changes[position] = byte
        self.update()

    def heal(self) -> None:
        """Put all bytes back."""
        self.changes.clear()
        self.update()

    def _react(self, control: ipywidgets.Widget) -> None:
        if control is self.controls["part"]:
            start = self._part.regions[control.value].start
            self._first = start // 16 * 16
            self.controls["page"].value = start // PAGE
        elif control is self.controls["page"]:
            self._first = control.value * PAGE
            self.controls["part"].value = self._region_at(self._first)

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "goto":
            self.goto(min(max(int(event["byte"]), 0), self._part.size - 1))
        elif event["event"] == "damage":
            position = int(event["byte"])
            now = self.changes.get(position, self._part.file.read(position, 1)[0])
            bit = event.get("bit")
            if bit is None or int(bit) in range(8):
                self.damage(position, (now + 1) % 256 if bit is None else now ^ (1 << int(bit)))

    def _scene(self) -> Scene:
        part, first = self._part, self._first
        last = min(first + PAGE, part.size)
        fields, (problem, said) = fields_of(part, first, last), self._read()
        strip = file_strip(
            [(r.start, r.stop, r.kind, r.name) for r in part.regions],
            part.data_offset,
            first,
            part.file.read(first, last - first),
            [(f.start, f.stop, f.name, f.value) for f in fields],
            list(self.changes.items()),
            None if problem is None else problem.offset,
        )
        self.controls["heal"].disabled = not self.changes
        return Scene(
            self._layout,
            {
                "strip": Panel(
                    strip, label=f"{part.path.name}, {_text.plural(part.size, 'byte')}, as a strip and as bytes"
                )
            },
            self._readouts(strip, fields),
            f"{part.path.name}: bytes {first:,} … {last - 1:,} of {part.size:,}. {said[0].text}",
            (_table(fields),),
            said,
        )

    def _read(self) -> tuple[GGUFError | None, tuple[Status, ...]]:
        """What a reader says to the file as it is now: its error, and that in words."""
        name = self._part.path.name
        if not self.changes:
            return None, (Status("info", f"{name} opens. Click a byte to add one to it, and see who notices."),)
        try:
            changed = consequences(self._part, self.changes)
        except GGUFError as error:
            return error, (Status("error", str(error).replace(str(self._part.path), name)),)
        told = " ".join(changed[:3]) + (f" And {len(changed) - 3} more changes." if len(changed) > 3 else "")
        return None, (Status("info", f"{name} still opens. {told or 'Nothing that is read has changed.'}"),)

    def _readouts(self, strip: FileStrip, fields: list[Field]) -> tuple[Readout, ...]:
        part, region = self._part, fields[0].region
        return (
            Readout("Version", f"{part.layout.version}", f"{part.layout.endian}-endian"),
            Readout("Keys", str(len(part.metadata)), "metadata"),
            Readout("Tensors", str(len(part.tensor_info))),
            Readout("Header", _text.size(part.data_offset), f"{part.data_offset / part.size:.2%} of the file"),
            Readout("File", _text.size(part.size), f"{part.size:,} bytes"),
            Readout("Here", region.name or region.kind, region.kind),
            Readout("Changed", _text.plural(len(strip.changed), "byte")),
        )

    def __repr__(self) -> str:
        return f"FileExplorer({self._part.path.name})"


def _part_of(given: Any) -> Part:
    file = given.file if isinstance(given, models.Model) else given
    if isinstance(file, str) or hasattr(file, "__fspath__"):
        file = models.load(file).file
    if not isinstance(file, GGUFFile):
        raise WidgetError(f"a model or the path of a GGUF file is wanted, got {type(given).__name__}")
    return file.parts[0]


def _label(region: Any) -> str:
    return f"{region.kind}: {region.name}" if region.name else f"{region.kind} at {region.start:,}"


def _table(fields: list[Field]) -> Table:
    return Table(
        "Fields on this page",
        ("bytes", "field", "value", "part of"),
        tuple((f"{f.start:,} … {f.stop - 1:,}", f.name, f.value, f.region.name or f.region.kind) for f in fields),
    )
