"""Layers with their inputs: what the explorers of rounding methods work on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets
import numpy as np

from qviz._arrays import real_array
from qviz._types import FloatArray
from qviz.calibration import ActivationStats
from qviz.errors import QvizError, WidgetError, shortened
from qviz.models import calibration_text, captured_inputs, heldout_text, load
from qviz.transformer import linear_inputs
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Status

MOST_ROWS = 576
"""Output rows that an explorer works on; rows are rounded independently of one another, so the first ones will do."""

_TOKENS = {"calibration": 1152, "heldout": 448}  # as many as were captured of SmolLM2


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight matrix and what it was multiplied by.

    Attributes
    ----------
    weight : float32 array (n_out, n_in)
    calibration, heldout : float32 arrays (tokens, n_in)
    notes : tuple of str
        What to know about it.
    """

    weight: FloatArray
    calibration: FloatArray
    heldout: FloatArray
    notes: tuple[str, ...] = ()


class Layers(Mapping[str, Layer]):
    """Layers by name, made when they are asked for.

    Parameters
    ----------
    given : mapping of str to Layer, (weight, calibration, heldout), or a callable that returns either

    Raises
    ------
    WidgetError
        An empty mapping; and when a layer is opened, arrays that do not fit together.

    Examples
    --------
    >>> layers = Layers({"mine": (np.eye(2), [[1, 2]], [[3, 4]])})
    >>> list(layers), layers["mine"].heldout.tolist()
    (['mine'], [[3.0, 4.0]])
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        if not isinstance(given, Mapping) or not given:
            raise WidgetError(
                "layers must be a mapping from name to (weight, calibration inputs, held-out inputs), "
                f"got {shortened(given)}"
            )
        self._given, self._made = dict(given), dict[str, Layer]()

    def __getitem__(self, name: str) -> Layer:
        if name not in self._given:
            raise WidgetError(f"no layer {shortened(name)}; there are {', '.join(self._given)}")
        if name not in self._made:
            layer = self._given[name]() if callable(self._given[name]) else self._given[name]
            self._made[name] = layer if isinstance(layer, Layer) else _layer(name, layer)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)


def shipped_layers() -> Layers:
    """Five matrices of SmolLM2 with captured inputs, one of them without its outliers too, and two of the small model.

    Examples
    --------
    >>> layers = shipped_layers()
    >>> layers["SmolLM2 blk.14.attn_q"].weight.shape
    (576, 576)
    >>> [name for name in layers if "flattened" in name]
    ['SmolLM2 blk.14.attn_q, inputs flattened']
    """
    names = ("blk.14.attn_q", "blk.14.attn_k", "blk.14.attn_v", "blk.14.attn_output", "blk.27.ffn_gate")
    smol: dict[str, Callable[[], Layer]] = {f"SmolLM2 {name}": _captured(name) for name in names}
    flat = {f"SmolLM2 {names[0]}, inputs flattened": lambda: flattened(smol[f"SmolLM2 {names[0]}"]())}
    tiny = {f"tiny {name}": _of_tiny(name) for name in ("blk.0.attn_q", "blk.1.ffn_down")}
    return Layers(smol | flat | tiny)


def flattened(layer: Layer) -> Layer:
    """The same weights with inputs whose channels are all of one size: simulated, to see what outliers do.

    Examples
    --------
    >>> flattened(Layer(np.ones((1, 2)), np.float32([[1, 8], [3, 8]]), np.float32([[2, 4]]))).heldout.tolist()
    [[1.0, 0.5]]
    """
    size = np.abs(layer.calibration).mean(axis=0)
    size[size == 0] = 1
    note = (
        "Simulated: each input channel was divided by its mean |x|, so none is larger than another. Weights are real."
    )
    return replace(
        layer, calibration=layer.calibration / size, heldout=layer.heldout / size, notes=(note, *layer.notes)
    )


def _captured(name: str) -> Callable[[], Layer]:
    def make() -> Layer:
        tensor = load("smollm2-slices")[f"{name}.weight"]
        note = (
            f"These weights were read from {tensor.format} blocks of 32, so they already lie on its levels: 4 bits in "
            f"groups of 32 would cost next to nothing. With fewer bits or larger groups the comparison is fair."
        )
        return Layer(tensor.dequantize(), *captured_inputs()[f"{name}.weight"], notes=(note,))

    return make


def _of_tiny(name: str) -> Callable[[], Layer]:
    def make() -> Layer:
        model, tensor = load("tiny"), f"{name}.weight"
        texts = {"calibration": calibration_text(), "heldout": heldout_text()}
        inputs = [linear_inputs(model, tensor, texts[part], n_tokens=n) for part, n in _TOKENS.items()]
        return Layer(model[tensor].dequantize(), inputs[0], inputs[1])

    return make


def _layer(name: str, given: Any) -> Layer:
    if not isinstance(given, tuple | list) or len(given) != 3:
        raise WidgetError(f"{name}: expected (weight, calibration inputs, held-out inputs), got {type(given).__name__}")
    arrays = [real_array(array, name, WidgetError) for array in given]
    w, *inputs = arrays
    if w.ndim != 2 or not w.size or any(x.ndim != 2 or not len(x) or x.shape[1] != w.shape[1] for x in inputs):
        raise WidgetError(
            f"{name}: a weight (n_out, n_in) and inputs (tokens, n_in) are needed, got shapes "
            f"{', '.join(str(a.shape) for a in arrays)}"
        )
    return Layer(w, inputs[0], inputs[1])


class LayerExplorer(Explorer):
    """Controls above a picture of one layer; a subclass says which controls, and what they show.

    What takes longer than a picture is worked out in `_compute`, anew when one of the controls in `_inputs` changes.
    """

    HOOKS: tuple[str, ...] = (*Explorer.HOOKS, "_compute", "_inputs")

    _inputs: tuple[str, ...] = ("layer", "bits", "group_size", "tokens")

    def __init__(self, layers: Mapping[str, Any] | None, layer: str | None, bits: int, group_size: int) -> None:
        super().__init__()
        self.layers = shipped_layers() if layers is None else Layers(layers)
        first = next(iter(self.layers)) if layer is None else layer
        if first not in self.layers:
            self.layers[first]  # raises, with the names that exist
        self.controls |= {
            "layer": ipywidgets.Dropdown(
                options=list(self.layers),
                value=first,
                description="Layer",
                tooltip="the matrix to round, and its inputs",
                layout={"width": "auto"},
                disabled=len(self.layers) == 1,
            ),
            "bits": ipywidgets.Dropdown(
                options=[2, 3, 4, 8], value=3, description="Bits", tooltip="bits of a code", layout={"width": "100px"}
            ),
            "group_size": ipywidgets.Dropdown(
                options=[("64", 64), ("128", 128), ("row", -1)],
                value=128,
                description="Group",
                tooltip="weights of a row that share a scale",
                layout={"width": "130px"},
            ),
            "tokens": ipywidgets.SelectionSlider(
                options=[1],
                description="Calibration tokens",
                tooltip="how many tokens the methods may look at",
                layout={"width": "340px"},
            ),
        }
        self._take(self.controls["layer"])
        if self._problem is not None:
            raise self._problem
        for name, value in (("bits", bits), ("group_size", group_size)):
            self._choose(name, value)

    def _compute(self) -> None:
        """Work out what `_scene` needs beside the controls that are not in `_inputs`."""

    def _choose(self, name: str, value: int) -> None:
        control = self.controls[name]
        known = [item[1] if isinstance(item, tuple) else item for item in control.options]
        if value not in known:
            raise WidgetError(f"{name} must be one of {', '.join(map(str, known))}, got {shortened(value)}")
        control.value = value

    @property
    def layer(self) -> Layer:
        """The layer on show, at most `MOST_ROWS` rows of it."""
        return self._layer

    @property
    def tensor_name(self) -> str:
        """Name of the layer on show."""
        return str(self.controls["layer"].value)

    def _take(self, control: ipywidgets.Widget) -> None:
        if control is not self.controls["layer"]:
            return
        self._problem = None
        try:
            whole = self.layers[self.tensor_name]
            for part, x in (("calibration", whole.calibration), ("held-out", whole.heldout)):
                if not np.isfinite(x).all():
                    raise WidgetError(f"the {part} inputs of {self.tensor_name} hold NaN or infinity")
            self._layer = replace(whole, weight=np.ascontiguousarray(whole.weight[:MOST_ROWS]))
            self._heldout = ActivationStats.from_inputs(whole.heldout)
        except QvizError as problem:
            self._problem = problem
            return
        most, slider = len(whole.calibration), self.controls["tokens"]
        steps = [n for n in (32, 64, 128, 256, 512) if n < most]
        slider.options = [(_text.count(n), n) for n in (*steps, most)]
        slider.value = most
        self._stats = ActivationStats.from_inputs(whole.calibration)

    def _react(self, control: ipywidgets.Widget) -> None:
        if control is self.controls["tokens"]:
            self._stats = ActivationStats.from_inputs(self._layer.calibration[: control.value])
        if self._problem is None and any(control is self.controls[name] for name in self._inputs):
            self._compute()

    def _layer_notes(self) -> tuple[Status, ...]:
        whole, shown = self.layers[self.tensor_name].weight.shape[0], self._layer.weight.shape[0]
        cut = [f"Shown and measured: the first {shown} of {_text.count(whole)} output rows."] if shown < whole else []
        return tuple(Status("info", text) for text in (*cut, *self._layer.notes))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tensor_name} {_text.shape(self.layers[self.tensor_name].weight.shape)})"


def order_buttons(tooltip: str) -> ipywidgets.ToggleButtons:
    """Make the control that puts channels in order."""
    return ipywidgets.ToggleButtons(options=["by size", "as they stand"], description="Channels", tooltip=tooltip)
