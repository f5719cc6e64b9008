"""`RecipeExplorer`: two recipes over one model, tensor by tensor."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

import ipywidgets

from qviz.errors import RecipeError, WidgetError, shortened
from qviz.figures.recipe_map import OUTSIDE, ByteBars, Cell, RecipeMap, byte_bars, format_changes, recipe_map
from qviz.recipes import (
    MODEL_SHAPES,
    RECIPES,
    RULES,
    Change,
    ModelShapes,
    TensorChoice,
    get_recipe,
    get_shapes,
    plan,
    plan_changes,
)
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Table

_IN_LAYER = re.compile(r"blk\.(\d+)\.(.+)")
_RULE_NAMES = {"modern": "today's rules", "2023-06": "rules of June 2023", "uniform": "one format for all"}
_SIDES = ("left", "right")
LADDER = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0")
"""The recipes that the slider walks over, smallest file first."""

_STEPS = tuple(itertools.pairwise(LADDER))
_OWN = -1  # two recipes that are no step of the ladder


class RecipeExplorer(Explorer):
    """Compare what two recipes do to a model: which tensor gets which format, why, and where every byte goes.

    Only the shapes of the tensors matter, so nothing is loaded and nothing is quantized. Point at a tensor, or move
    with the arrow keys, to read what both recipes choose for it, and the reason. The slider walks from Q2_K to Q8_0;
    the lines below both maps say which tensors change at each step, and why.

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
        ``step``, ``play``, ``left``, ``left_rules``, ``right``, ``right_rules`` and, unless a file was given,
        ``model``. A step is the number of the smaller recipe in `LADDER`, or -1.
    figure : View
        ``figure["left"]`` and ``figure["right"]`` are `RecipeMap`, ``figure["changes"]`` is `FormatChanges`,
        ``figure["bytes"]`` is `ByteBars`.
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
    >>> explorer.controls["step"].value = 7
    >>> explorer, explorer.changes[0].tensors
    (RecipeExplorer(llama-7b, Q5_K_M and Q6_K), 193)
    """

    _layout = "recipes"
    _pages = (("Tensor by tensor", ("left", "right", "changes")), ("Byte by byte", ("bytes",)))

    def __init__(
        self,
        given: Any = "llama-7b",
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
                raise RecipeError(f"no rule set {shortened(rules)}; there are {', '.join(map(repr, RULES))}")
            label = side.capitalize()
            self.controls[side] = _dropdown(label, list(RECIPES), get_recipe(recipe).name, f"the recipe on the {side}")
            self.controls[f"{side}_rules"] = _dropdown(
                f"{label} rules",
                [(_RULE_NAMES[name], name) for name in RULES],
                rules,
                f"which rules choose on the {side}",
            )
        self.controls |= _walk()
        self.controls["step"].value = self._step()
        ipywidgets.link((self.controls["step"], "index"), (self.controls["play"], "value"))
        self.plans: dict[str, list[TensorChoice]] = {}
        self._arrange(("model",), ("play", "step"), ("left", "left_rules"), ("right", "right_rules"))

    @property
    def changes(self) -> list[Change]:
        """What becomes different from the left recipe to the right one."""
        return plan_changes(self.plans["left"], self.plans["right"])

    def _step(self) -> int:
        """The step of the ladder that both recipes make; -1 if they are none."""
        both = tuple(self.controls[side].value for side in _SIDES)
        return _STEPS.index(both) if both in _STEPS else _OWN

    def _react(self, control: ipywidgets.Widget) -> None:
        step = self.controls["step"]
        if control is not step:
            step.value = self._step()
        elif step.value != _OWN:
            for side, recipe in zip(_SIDES, _STEPS[step.value], strict=True):
                self.controls[side].value = recipe

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
            {
                "left": self._map("left", left),
                "right": self._map("right", right),
                "changes": self._change_panel(),
                "bytes": _bars(bars),
            },
            self._readouts(left),
            self._summary(left),
            (self._tensor_table(), self._change_table(), _byte_table(bars)),
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

    def _change_panel(self) -> Panel:
        """What changes from left to right, most tensors first."""
        figure = format_changes(
            [(c.before, c.after, c.tensors, c.which, c.why) for c in self.changes],
            most=3,
        )
        left, right = (self._title(side) for side in _SIDES)
        rest = f", {figure.rest} other tensors: see the table" if figure.rest else ""
        return Panel(
            figure,
            f"From {left} to {right}{rest}",
            self._fallback_note(),
            label=" ".join(map(str, self.changes[:3])) or "No tensor changes its format",
        )

    def _change_table(self) -> Table:
        rows = tuple((str(change.before), str(change.after), change.which, change.why) for change in self.changes)
        left, right = (self._title(side) for side in _SIDES)
        return Table(f"From {left} to {right}", (left, right, "tensors", "why"), rows or (("–", "–", "none", "–"),))

    def _fallback_note(self) -> str:
        """What became of rows that are no whole super-blocks."""
        notes: dict[str, str] = {}
        for side in _SIDES:
            fallen = [choice for choice in self.plans[side] if choice.fallback_from is not None]
            if not fallen:
                continue
            weights = sum(choice.n_weights for choice in fallen) / sum(c.n_weights for c in self.plans[side])
            rows = ", ".join(map(str, sorted({choice.shape[-1] for choice in fallen})))
            note = (
                f"{_text.plural(len(fallen), 'tensor')}, {_text.percent(weights)} of the weights, with rows of {rows}: "
                f"no whole super-blocks. Dots mark their stand-ins."
            )
            notes[note] = f"{notes[note]} and {self._title(side)}" if note in notes else self._title(side)
        return " ".join(f"{titles}: {note}" for note, titles in notes.items())

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


def _walk() -> dict[str, ipywidgets.Widget]:
    """Make the controls that walk from recipe to recipe."""
    options = [("two of your own", _OWN), *((f"{a} → {b}", k) for k, (a, b) in enumerate(_STEPS))]
    return {
        "play": ipywidgets.Play(min=0, max=len(_STEPS), interval=2500, tooltip="walk over the recipes"),
        "step": ipywidgets.SelectionSlider(
            options=options,
            value=_OWN,
            description="From recipe to recipe",
            tooltip="the next larger recipe, from Q2_K to Q8_0",
            layout={"width": "min(100%, 340px)"},
        ),
    }


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
