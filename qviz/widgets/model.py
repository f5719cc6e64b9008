"""`ModelExplorer`: a transformer on one page, drawn from what its family's record says."""

from __future__ import annotations

import math
from typing import Any

import ipywidgets

from qviz import models, recipes
from qviz.architectures import ARCHITECTURES
from qviz.errors import RecipeError, WidgetError
from qviz.figures.model_map import ModelMap, ModelTensor, meaning, model_map
from qviz.recipes.sizes import TensorSpec
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_ROOM = 135
"""CSS pixels for the boxes of each of two maps: with all around them, both are seen at once on a laptop."""


class ModelExplorer(Explorer):
    """A map of a model: which matrices a token meets, how large they are, what they do, where their errors go.

    Boxes are drawn to scale, by the square root of their sides. Click one, or walk with the arrow keys.

    Parameters
    ----------
    given : Model, path-like or str
        A model; or the name of one whose shapes are known, such as ``"llama-7b"``.
    other : the same, optional
        A second model below the first.

    Raises
    ------
    WidgetError
        Neither a model nor a known name.

    Attributes
    ----------
    controls : dict
        ``layer``, ``tensor``.
    figure : View
        ``figure["map"]`` is a `ModelMap`, and so is ``figure["other"]``.

    Examples
    --------
    >>> import qviz
    >>> explorer = ModelExplorer(qviz.load("tiny"), "llama-7b")
    >>> explorer.controls["tensor"].value = "ffn_down"
    >>> box = explorer.figure["map"].tensors[explorer.figure["map"].current]
    >>> box.name, box.rows, box.columns
    ('blk.0.ffn_down.weight', 256, 768)
    >>> explorer.figure["other"].n_layers
    32
    """

    _layout = "model"

    def __init__(self, given: Any, other: Any = None) -> None:
        super().__init__()
        self._models = [_parts_of(given), *([] if other is None else [_parts_of(other)])]
        drawn = [model_map(*one) for one in self._models]
        first = drawn[0]
        shown = [tensor.kind for one in drawn for tensor in one.tensors]
        others = [part.kind for _, parts in self._models for part in parts.values()]  # of other layers
        kinds = list(dict.fromkeys(shown + others))
        self.controls = {
            "layer": ipywidgets.IntSlider(
                0,
                0,
                max(first.n_layers - 1, 0),
                description="Layer",
                tooltip="the layer on show",
                layout={"width": "330px"},
            ),
            "tensor": ipywidgets.Dropdown(
                options=kinds,
                value=first.tensors[first.current].kind,
                description="Tensor",
                tooltip="the box to ask about",
                layout={"width": "auto"},
            ),
        }
        self.controls["layer"].disabled = first.n_layers < 2
        self._arrange(("layer", "tensor"))

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "choose" and event["kind"] in self.controls["tensor"].options:
            self.controls["tensor"].value = event["kind"]

    def _scene(self) -> Scene:
        kind = self.controls["tensor"].value
        maps = []
        for n, (title, parts) in enumerate(self._models):
            last = model_map(title, parts).n_layers - 1
            layer = min(self.controls["layer"].value, max(last, 0)) if n == 0 or last >= 0 else 0
            maps.append(model_map(title, parts, layer, kind))
        notes = []
        if not any(drawn.current >= 0 for drawn in maps):
            notes.append(Status("info", f"Layer {maps[0].layer} has no {kind}."))
            maps[0] = model_map(*self._models[0], maps[0].layer)
        asked = next(drawn for drawn in maps if drawn.current >= 0)  # two models need not have the same kinds
        box = asked.tensors[asked.current]
        does, goes = meaning(box.kind)
        options = {"room": _ROOM} if len(maps) > 1 else None
        panels = {
            name: Panel(drawn, label=f"{drawn.title}: {', '.join(drawn.steps)}", options=options)
            for name, drawn in zip(("map", "other"), maps, strict=False)
        }
        return Scene(
            self._layout,
            panels,
            self._readouts(maps, asked),
            f"{maps[0].title}, {_text.plural(maps[0].n_layers, 'layer')}. {box.kind}: {does} {goes}",
            tuple(_table(drawn) for drawn in maps),
            (*notes, *([Status("info", f"{box.kind}. {does} {goes}")] if does else [])),
        )

    def _readouts(self, maps: list[ModelMap], asked: ModelMap) -> tuple[Readout, ...]:
        box = asked.tensors[asked.current]
        experts = f"{box.copies} × " if box.copies > 1 else ""
        readouts = [
            Readout("Box", box.kind, box.name),
            Readout("Rows × columns", f"{experts}{box.rows:,} × {box.columns:,}", "outputs × inputs"),
            Readout("Format", box.format),
            Readout("Bytes", _text.size(box.nbytes), f"{box.nbytes:,}"),
            Readout("All layers", f"{box.share:.1%}", "of the model's bytes, this kind in all layers together"),
        ]
        if len(maps) > 1:
            where, other = ("Below", maps[1]) if asked is maps[0] else ("Above", maps[0])
            value = f"{other.tensors[other.current].share:.1%}" if other.current >= 0 else "none"
            readouts.append(Readout(where, value, f"the same kind in {other.title}"))
        return tuple(readouts)

    def __repr__(self) -> str:
        return f"ModelExplorer({', '.join(title for title, _ in self._models)})"


def _parts_of(given: Any) -> tuple[str, dict[str, ModelTensor]]:
    if isinstance(given, str) and given.lower() not in models.KNOWN | models.SHIPPED:
        try:
            shapes = recipes.get_shapes(given)
        except RecipeError:
            pass
        else:
            specs = shapes.tensors()
            return shapes.name, {
                name: ModelTensor(spec.shape, spec.format.name, _nbytes(spec), _kind("llama", name))
                for name, spec in specs.items()
            }
    model = given if isinstance(given, models.Model) else None
    if model is None:
        if not (isinstance(given, str) or hasattr(given, "__fspath__")):
            raise WidgetError(f"a model, its path or its name is wanted, got {type(given).__name__}")
        model = models.load(given)
    family = str(model.metadata.get("general.architecture", ""))
    title = str(model.metadata.get("general.name", model.name))
    return title, {
        name: ModelTensor(info.shape, info.format.name, info.nbytes, _kind(family, name))
        for name, info in model.tensor_info.items()
    }


def _nbytes(spec: TensorSpec) -> int:
    return math.prod(spec.shape) // spec.format.block_size * spec.format.type_size


def _kind(family: str, name: str) -> str:
    """What the family's record calls a tensor; of a family without one, what its name says."""
    words = name.split(".")
    words[1:2] = ["{}"] if words[0] == "blk" and len(words) > 2 else words[1:2]
    place = ".".join(words)
    record = ARCHITECTURES.get(family)
    if record is not None and any(known.name == place for known in record.tensors):
        return record.place(place).kind
    stem = words[-2] if len(words) > 1 else name
    return f"{stem}.bias" if words[-1] == "bias" else stem


def _table(drawn: ModelMap) -> Table:
    return Table(
        f"{drawn.title}, layer {drawn.layer}",
        ("step", "tensor", "rows × columns", "format", "of all bytes"),
        tuple(
            (drawn.steps[t.step], t.name, f"{t.rows:,} × {t.columns:,}", t.format, f"{t.share:.2%}")
            for t in drawn.tensors
        ),
    )
