"""`ConversionExplorer`: what becomes of each tensor between a Hugging Face folder and a GGUF file."""

from __future__ import annotations

import os
import re
from typing import Any

import ipywidgets
import numpy as np

from qviz import checkpoints, models
from qviz._types import IntArray
from qviz.errors import WidgetError
from qviz.figures.conversion import NameMap, RowMap, name_map, row_map
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_MOST_ROWS = 64  # of a tensor whose rows stay where they are
_LAYER = re.compile(r"blk\.(\d+)\.")
_CHANGES = {"pairs": "rows change places", "plus one": "1 is added to each gain", "transposed": "it is transposed"}
_AS_GGUF, _AS_FOLDER = "side by side", "as in the folder"


class ConversionExplorer(Explorer):
    """Names, shapes and rows of a model's tensors, in its folder and in the file that was converted from it.

    Parameters
    ----------
    folder : path-like
        A Hugging Face folder of floats whose tensors go over one by one.
    file : Model or path-like
        What `qviz.checkpoints.convert` made of it.

    Raises
    ------
    WidgetError
        A file that was not made of this folder.
    CheckpointError
        A folder that cannot be converted.

    Attributes
    ----------
    controls : dict
        ``layer``, ``tensor``, ``order`` and ``pair``.
    figure : View
        ``figure["names"]`` is a `NameMap`, ``figure["rows"]`` a `RowMap` of one head.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import qviz
    >>> tiny = qviz.load("tiny")
    >>> with TemporaryDirectory() as there:
    ...     explorer = ConversionExplorer(qviz.checkpoints.write_folder(f"{there}/tiny", tiny), tiny)
    >>> explorer.figure["rows"].order[:4].tolist()
    [0, 32, 1, 33]
    """

    _layout = "conversion"

    def __init__(self, folder: str | os.PathLike[str], file: models.Model | str | os.PathLike[str]) -> None:
        super().__init__()
        model = file if isinstance(file, models.Model) else models.load(file)
        self._infos = dict(model.tensor_info)
        self._name = str(model.metadata.get("general.name", model.name))
        plan = checkpoints.plan(folder)
        self._places = {place.target: place for place in plan.tensors}
        with checkpoints.read(folder, mapped=False) as stored:
            self._stored = dict(stored.tensor_info)
        self._check()
        layers = [int(match[1]) for name in self._places if (match := _LAYER.match(name))]
        kinds = list(dict.fromkeys(_kind(name) for name in self._places))
        first = next((kind for kind in kinds if "attn_q" in kind), kinds[0])
        wide = {"layout": {"width": "auto"}}
        self.controls = {
            "layer": ipywidgets.IntSlider(0, 0, max(layers, default=0), description="Layer", tooltip="the layer"),
            "tensor": ipywidgets.Dropdown(
                options=[(kind.replace("blk.{}.", ""), kind) for kind in kinds],
                value=first,
                description="Tensor",
                tooltip="the tensor to follow",
                **wide,
            ),
            "order": ipywidgets.ToggleButtons(
                options=[_AS_GGUF, _AS_FOLDER], description="Partners", tooltip="how rows of q and k are written"
            ),
            "pair": ipywidgets.IntSlider(0, 0, 31, description="Pair", tooltip="the two rows to follow"),
        }
        self._bound()
        self._arrange(("layer", "tensor"), ("order", "pair"))

    def _check(self) -> None:
        for name, place in self._places.items():
            shape = self._infos[name].shape if name in self._infos else None
            if shape != place.shape or len(place.sources) != 1:
                raise WidgetError(
                    f"{self._name} was not made of this folder, or not tensor by tensor: {name} is {shape} in the file "
                    f"and {place.shape} as the folder has it"
                )

    @property
    def target(self) -> str:
        """Name in the file of the tensor on show."""
        return str(self.controls["tensor"].value).format(self.controls["layer"].value)

    def _react(self, control: ipywidgets.Widget) -> None:
        if control is self.controls["tensor"]:
            self._bound()

    def _bound(self) -> None:
        """As many pairs as a head of the tensor on show has."""
        place = self._places[self.target]
        self.controls["pair"].max = place.shape[0] // place.heads // 2 - 1 if place.heads else 0
        for name in ("order", "pair"):
            self.controls[name].disabled = not place.heads

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "choose" and event["name"] in self._places:
            self.controls["tensor"].value = _kind(event["name"])
        if event["event"] == "pair":
            self.controls["pair"].value = int(event["pair"])

    def _shown(self) -> dict[str, str]:
        """Name in the file -> name in the folder, of this layer and of what stands outside of layers."""
        layer = f"blk.{self.controls['layer'].value}."
        return {
            name: place.source
            for name, place in self._places.items()
            if name.startswith(layer) or not _LAYER.match(name)
        }

    def _names(self) -> NameMap:
        shown = self._shown()
        moved = [name for name in shown if "pairs" in self._places[name].change]
        return name_map([s for s in self._stored if s in shown.values()], shown, moved, self.target)

    def _rows(self) -> RowMap:
        place = self._places[self.target]
        if not place.heads:
            return row_map(np.arange(min(place.shape[0], _MOST_ROWS)))
        return row_map(self._order(), place.shape[0] // place.heads // 2, self.controls["pair"].value)

    def _order(self) -> IntArray:
        place = self._places[self.target]
        rows = place.shape[0] // place.heads
        if self.controls["order"].value == _AS_FOLDER:
            return np.arange(rows, dtype=np.int32)
        return checkpoints.interleaved(place.shape[0], place.heads)[:rows].astype(np.int32)

    def _scene(self) -> Scene:
        names, rows = self._names(), self._rows()
        place, info = self._places[self.target], self._infos[self.target]
        stored = self._stored[place.source]
        said = self._said(rows)
        panels = {
            "names": Panel(
                names,
                f"Names: layer {self.controls['layer'].value}, and what stands outside of the layers",
                legend=(("weight", "renamed"), ("level", "renamed, and rows change places")),
                label=f"{place.source} becomes {place.target}",
            ),
            "rows": Panel(
                rows,
                f"Rows of one head of {place.heads}" if place.heads else f"The first {len(rows.order)} rows",
                legend=(("weight", "first half of the head"), ("level", "second half")) if rows.half else (),
                label=said,
            ),
        }
        total = int(np.count_nonzero(rows.order != np.arange(len(rows.order))))
        together = [int(rows.order[2 * rows.pair + i]) for i in (0, 1)] if rows.half else []
        readouts = (
            Readout("In the folder", f"{stored.dtype} {_text.shape(stored.shape)}", place.source),
            Readout("In the file", f"{info.format} {_text.shape(info.shape)}", place.target),
            Readout("Dimensions in GGUF", ", ".join(map(str, info.dims)), "the length of a row comes first"),
            Readout("Rows that move", f"{total} of {len(rows.order)}", "in each head" if place.heads else "none"),
            Readout(
                "Turned together",
                f"{together[0]} and {together[1]}" if together else "nothing",
                "rows of the folder, as numbered there",
            ),
        )
        status = (Status("info" if rows.right or not rows.half else "error", said),)
        return Scene(self._layout, panels, readouts, self._summary(said), (self._table(),), status)

    def _said(self, rows: RowMap) -> str:
        if not rows.half:
            also = self._changes(self.target)
            return (
                f"Every row stays where it is; {also}." if also else "Only the name changes: every row stays in place."
            )
        first = 2 * rows.pair
        a, b = (int(row) for row in rows.order[first : first + 2])
        turned = f"llama.cpp turns rows {first} and {first + 1} of each head together."
        if rows.right:
            return f"{turned} They are rows {a} and {b} of the folder: partners, half a head apart."
        partner = (a + rows.half) % (2 * rows.half)
        return (
            f"{turned} Written as in the folder, they are rows {a} and {b}. But the partner of {a} is {partner}. "
            f"Nothing in the file says so: name and shape are right."
        )

    def _changes(self, name: str) -> str:
        """What becomes of a tensor besides its name."""
        return " and ".join(_CHANGES.get(step, step) for step in self._places[name].change)

    def _summary(self, said: str) -> str:
        place = self._places[self.target]
        return f"{self._name}: {place.source} becomes {place.target}, {_text.shape(place.shape)}. {said}"

    def _table(self) -> Table:
        rows = tuple(
            (
                source,
                name,
                _text.shape(self._places[name].shape),
                f"{self._stored[source].dtype} → {self._infos[name].format}",
                self._changes(name) or "only the name",
            )
            for name, source in self._shown().items()
        )
        columns = ("in the folder", "in the file", "rows × columns", "format", "what changes")
        return Table(f"{self._name}, layer {self.controls['layer'].value}", columns, rows)

    def __repr__(self) -> str:
        return f"ConversionExplorer({self._name}: {_text.plural(len(self._places), 'tensor')})"


def _kind(name: str) -> str:
    """A name without its layer: ``blk.{}.attn_q.weight``."""
    return _LAYER.sub("blk.{}.", name)
