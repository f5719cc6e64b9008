"""`RecipeExplorer`: two recipes over one model, tensor by tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import ipywidgets

from qviz.errors import RecipeError, WidgetError
from qviz.figures.recipe_map import OUTSIDE, ByteBars, Cell, RecipeMap, byte_bars, recipe_map
from qviz.recipes import MODEL_SHAPES, RECIPES, RULES, ModelShapes, TensorChoice, get_recipe, get_shapes, plan
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_IN_LAYER = re.compile(r"blk\.(\d+)\.(.+)")
_RULE_NAMES = {"modern": "today's rules", "2023-06": "rules of June 2023", "uniform": "one format for all"}
_SIDES = ("left", "right")


class RecipeExplorer(Explorer):
    """Compare what two recipes do to a model: which tensor gets which format, why, and where every byte goes.

    Only the shapes of the tensors matter, so nothing is loaded and nothing is quantized. Point at a tensor, or move
    with the arrow keys, to read what both recipes choose for it, and the reason.

    Parameters
    ----------
    given : str, ModelShapes, or a model
        A name such as ``"llama-7b"`` (see `qviz.recipes.MODEL_SHAPES`), or a file opened by `qviz.load` or
        `qviz.gguf.read`.
    left, right : str
        The recipes.
    left_rules, right_rules : str
        The rule sets: ``"modern"``, ``"2023-06"`` or ``"uniform"``.

    Raises
    ------
    WidgetError
        Not a model.
    RecipeError
        No such model, recipe or rules.

    Attributes
    ----------
    controls : dict
        ``left``, ``left_rules``, ``right``, ``right_rules`` and, unless a file was given, ``model``.
    figure : View
        ``figure["left"]`` and ``figure["right"]`` are `RecipeMap`, ``figure["bytes"]`` is `ByteBars`.
    plans : dict of str to list of TensorChoice
        What ``"left"`` and ``"right"`` chose.

    Examples
    --------
    >>> explorer = RecipeExplorer("llama-7b", "Q4_K_S", "Q4_K_M")
    >>> explorer
    RecipeExplorer(llama-7b, Q4_K_S and Q4_K_M)
    >>> int(explorer.figure["right"].differs.sum())
    32
    >>> explorer.controls["right"].value = "Q4_K_S"
    >>> int(explorer.figure["right"].differs.sum())
    0
    """

    _layout = "recipes"
    _pages = (("Tensor by tensor", ("left", "right")), ("Byte by byte", ("bytes",)))

    def __init__(
        self,
        given: str | ModelShapes | Mapping[str, Any] = "llama-7b",
        left: str = "Q4_K_S",
        right: str = "Q4_K_M",
        *,
        left_rules: str = "modern",
        right_rules: str = "modern",
    ) -> None:
        super().__init__()
        self._model: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None
        if isinstance(given, str | ModelShapes):
            self._name = get_shapes(given).name
            known = self._name in MODEL_SHAPES and isinstance(given, str)
            if not known:
                assert isinstance(given, ModelShapes)
                self._model = _shapes(given)
        else:
            self._name, self._model = _opened(given)
        if self._model is None:
            self.controls["model"] = _dropdown(
                "Model", list(MODEL_SHAPES), self._name, "whose shapes to fill: published ones, without any weights"
            )
        for side, recipe, rules in zip(_SIDES, (left, right), (left_rules, right_rules), strict=True):
            if rules not in RULES:
                raise RecipeError(f"no rule set {rules!r}; there are {', '.join(map(repr, RULES))}")
            label = side.capitalize()
            self.controls[side] = _dropdown(label, list(RECIPES), get_recipe(recipe).name, f"the recipe on the {side}")
            self.controls[f"{side}_rules"] = _dropdown(
                f"{label} rules",
                [(_RULE_NAMES[name], name) for name in RULES],
                rules,
                f"which rules choose on the {side}",
            )
        self.plans: dict[str, list[TensorChoice]] = {}
        self._arrange(("model",), ("left", "left_rules"), ("right", "right_rules"))

    @property
    def model_name(self) -> str:
        """The model on show."""
        return str(self.controls["model"].value) if "model" in self.controls else self._name

    def _scene(self) -> Scene:
        tensors, metadata = self._model or _shapes(get_shapes(self.model_name))
        self.plans = {
            side: plan(tensors, metadata, self.controls[side].value, self.controls[f"{side}_rules"].value)
            for side in _SIDES
        }
        cells = {side: [_cell(choice) for choice in choices] for side, choices in self.plans.items()}
        left, right = recipe_map(cells["left"], cells["right"]), recipe_map(cells["right"], cells["left"])
        bars = byte_bars([(self._title(side), cells[side]) for side in _SIDES])
        return Scene(
            self._layout,
            {"left": self._map("left", left), "right": self._map("right", right), "bytes": _bars(bars)},
            self._readouts(left),
            self._summary(left),
            (self._tensor_table(), _byte_table(bars)),
            self._fallback_note(),
        )

    def _title(self, side: str) -> str:
        rules = self.controls[f"{side}_rules"].value
        return f"{self.controls[side].value}" + ("" if rules == "modern" else f", {_RULE_NAMES[rules]}")

    def _map(self, side: str, figure: RecipeMap) -> Panel:
        counts = ", ".join(f"{int((figure.format_of == i).sum())} × {name}" for i, name in enumerate(figure.formats))
        return Panel(
            figure,
            f"{self._title(side)}: {_text.size(_total(self.plans[side]))}",
            label=f"{self.model_name} in {self._title(side)}: {counts}",
        )

    def _readouts(self, figure: RecipeMap) -> tuple[Readout, ...]:
        sizes = [_total(self.plans[side]) for side in _SIDES]
        tiles = []
        for side, size in zip(_SIDES, sizes, strict=True):
            tiles += [
                Readout(self._title(side), _text.size(size), f"{_text.count(size)} bytes in tensors"),
                Readout("Bits per weight", f"{_bpw(self.plans[side]):.3f}", "everything counted, vectors too"),
            ]
        more = sizes[1] - sizes[0]
        return (
            *tiles,
            Readout(
                "Right − left",
                ("−" if more < 0 else "+" if more else "") + _text.size(abs(more)),
                f"{_text.count(abs(more))} bytes",
            ),
            Readout("Tensors that differ", f"{int(figure.differs.sum())} of {len(figure.names)}"),
        )

    def _summary(self, figure: RecipeMap) -> str:
        texts = [
            f"{self._title(side)} takes {_text.size(_total(self.plans[side]))}, "
            f"{_bpw(self.plans[side]):.3f} bits per weight"
            for side in _SIDES
        ]
        kinds: dict[str, int] = {}
        for choice, differs in zip(self.plans["left"], figure.differs, strict=True):
            if differs:
                kinds[choice.role or choice.name] = kinds.get(choice.role or choice.name, 0) + 1
        where = ", ".join(f"{n} × {kind}" for kind, n in kinds.items()) or "none"
        return f"{self.model_name}: {'; '.join(texts)}. Tensors that differ: {where}."

    def _fallback_note(self) -> tuple[Status, ...]:
        notes = []
        for side in _SIDES:
            fallen = [choice for choice in self.plans[side] if choice.fallback_from is not None]
            if not fallen:
                continue
            weights = sum(choice.n_weights for choice in fallen) / sum(c.n_weights for c in self.plans[side])
            rows = ", ".join(map(str, sorted({choice.shape[-1] for choice in fallen})))
            notes.append(
                Status(
                    "info",
                    f"{self._title(side)}: {_text.plural(len(fallen), 'tensor')}, {_text.percent(weights)} of the "
                    f"weights, have rows of {rows}, which are not whole super-blocks of 256. They get another format, "
                    f"marked by a dot.",
                )
            )
        return tuple(notes)

    def _tensor_table(self) -> Table:
        def row(left: TensorChoice, right: TensorChoice) -> tuple[str, ...]:
            reasons = left.reason if left.reason == right.reason else f"{left.reason} | {right.reason}"
            return (
                left.name,
                _text.shape(left.shape),
                str(left.format),
                _text.count(left.nbytes),
                str(right.format),
                _text.count(right.nbytes),
                reasons,
            )

        left, right = (self._title(side) for side in _SIDES)
        return Table(
            f"Tensors of {self.model_name}",
            ("tensor", "shape", left, "bytes", right, "bytes", "why"),
            tuple(row(a, b) for a, b in zip(self.plans["left"], self.plans["right"], strict=True)),
        )

    def __repr__(self) -> str:
        return f"RecipeExplorer({self.model_name}, {self._title('left')} and {self._title('right')})"


def _shapes(shapes: ModelShapes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return shapes.tensors(), shapes.metadata()


def _opened(given: Any) -> tuple[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Name, tensors and metadata of an opened file."""
    metadata = getattr(given, "metadata", None)
    if not isinstance(given, Mapping) or not isinstance(metadata, Mapping):
        raise WidgetError(
            f"expected the name of a model, such as 'llama-7b', or a file from qviz.load, got {type(given).__name__}"
        )
    if not given:
        raise WidgetError("there is nothing to show: the model has no tensors")
    return str(metadata.get("general.name", "the file")), (getattr(given, "tensor_info", given), metadata)


def _dropdown(label: str, options: list[Any], value: str, tooltip: str) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(
        options=options, value=value, description=label, tooltip=tooltip, layout={"width": "auto"}
    )


def _cell(choice: TensorChoice) -> Cell:
    match = _IN_LAYER.fullmatch(choice.name)
    return Cell(
        choice.name,
        choice.shape,
        choice.format,
        choice.nbytes,
        choice.reason,
        int(match[1]) if match else OUTSIDE,
        (match[2] if match else choice.name).removesuffix(".weight"),
        choice.fallback_from is not None,
    )


def _total(choices: list[TensorChoice]) -> int:
    return sum(choice.nbytes for choice in choices)


def _bpw(choices: list[TensorChoice]) -> float:
    return 8 * _total(choices) / sum(choice.n_weights for choice in choices)


def _bars(bars: ByteBars) -> Panel:
    shares = "; ".join(
        f"{name}: "
        + ", ".join(f"{part} {_text.percent(n / sum(row))}" for part, n in zip(bars.parts, row, strict=True))
        for name, row in zip(bars.names, bars.nbytes.tolist(), strict=True)
    )
    return Panel(
        bars,
        "Where every byte goes",
        "Both bars are drawn to one scale. Floats are the tensors that no recipe touches, and those of float formats.",
        (("weight", "codes"), ("level", "scales"), ("field-2", "mins"), ("soft", "floats")),
        shares,
    )


def _byte_table(bars: ByteBars) -> Table:
    return Table(
        "Bytes",
        ("recipe", *bars.parts),
        tuple(
            (name, *(_text.count(round(n)) for n in row))
            for name, row in zip(bars.names, bars.nbytes.tolist(), strict=True)
        ),
    )
