"""`GPTQExplorer`: GPTQ one column at a time, on a real layer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import ipywidgets
import numpy as np

from qviz import models, transformer
from qviz._arrays import real_array
from qviz.calibration import ActivationStats
from qviz.errors import QvizError, WidgetError, shortened
from qviz.figures.gptq import (
    GptqRun,
    StepRow,
    factor_image,
    gptq_run,
    hessian_image,
    loss_race,
    moved_image,
    pull_row,
    step_row,
    telling_column,
)
from qviz.grids import AffineGrid
from qviz.methods import MethodResult, gptq, obs_factor, rtn
from qviz.widgets import _text
from qviz.widgets.base import SourceExplorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table
from qviz.widgets.view import View

BITS = (2, 3, 4, 8)
GROUPS = {"whole row": -1, "128": 128, "64": 64, "32": 32}
DAMPING = (0.0, 0.0001, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0)
BATCHES = (1, 16, 32, 128)
CALIBRATION, HELD_OUT = 4096, 2048
"""Tokens that are run through a model to see what a matrix receives."""

_MATRIX = re.compile(r"blk\.\d+\.(attn_(q|k|v|output)|ffn_(gate|up|down))\.weight")
_MOVES = ("column", "row")


class GPTQExplorer(SourceExplorer):
    """Step through GPTQ on one weight matrix.

    Above, one row of weights: each column falls onto a level when its turn comes, and those to come move to make up for
    it. Arcs lead from the fallen weight to those it moves, as thick as the share of each. Below, the row of U that says
    how far they move, beside what the explicit formula gives; the output error so far, beside that of rounding to
    nearest; and three matrices: how far every weight has moved, H, and U.

    Every switch runs GPTQ again, in full. *Play* walks over the columns; arrow keys do, too, on any picture.

    Parameters
    ----------
    given : array_like (n_out, n_in), QTensor, or a model, optional
        The weights; the small model of the course unless given.
    tensor : str, optional
        Which matrix of a model.
    inputs : array_like (n_tokens, n_in), ActivationStats, or mapping of name to (calibration, held out), optional
        What the matrix receives. Inputs of a whole Llama are caught: the course's calibration text runs through it.
        With statistics the number of tokens cannot be changed.
    held_out : array_like (n_tokens, n_in) or ActivationStats, optional
        Inputs that GPTQ does not see. Those of a Llama are caught from the held-out text.
    bits, group_size, sym, act_order, static_groups, damp_percent, column_batch, tokens
        Where the controls start.
    row, column : int
        Where to start; the column in processing order. Unless given, one that lies nearly half a step off its level.
    name : str, optional
        What to call weights that come without a name.

    Raises
    ------
    WidgetError
        Not a matrix, no inputs for it, or a setting that no control has.

    Attributes
    ----------
    controls : dict
        ``play``, ``column``, ``row``, ``bits``, ``group_size``, ``sym``, ``act_order``, ``static_groups``, ``damping``,
        ``column_batch``, and where they can be chosen ``tokens`` and ``tensor``.
    figure : View
        ``figure["steps"]`` is a `StepRow`, ``"pull"`` a `PullRow`, ``"race"`` a `LossRace`; ``"moved"``, ``"hessian"``
        and ``"factor"`` are each a `CursorImage`.
    result, nearest : MethodResult
        What GPTQ gives, with its trace, and what rounding to nearest gives.
    run : GptqRun
        The same in processing order.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((200, 64)).cumsum(axis=1)
    >>> w = np.random.default_rng(1).standard_normal((16, 64)).astype(np.float32)
    >>> explorer = GPTQExplorer(w, inputs=x, name="a layer")
    >>> explorer
    GPTQExplorer(a layer 16 × 64)
    >>> explorer.controls["column"].value = 63
    >>> bool(explorer.figure["race"].ours[63] < 0.5)  # half of the error of rounding to nearest, at most
    True
    """

    _layout = "gptq"
    _pages = (("Step by step", ("steps", "pull", "race")), ("The matrices", ("moved", "hessian", "factor")))

    def __init__(
        self,
        given: Any = None,
        tensor: str | None = None,
        inputs: Any = None,
        held_out: Any = None,
        *,
        bits: int = 3,
        group_size: int = 128,
        sym: bool = False,
        act_order: bool = False,
        static_groups: bool = False,
        damp_percent: float = 0.01,
        column_batch: int = 1,
        tokens: int | None = None,
        row: int = 0,
        column: int | None = None,
        name: str | None = None,
    ) -> None:
        _check("bits", bits, BITS)
        _check("group_size", group_size, GROUPS.values())
        _check("damp_percent", damp_percent, DAMPING)
        _check("column_batch", column_batch, BATCHES)
        if given is None:
            given, tensor = models.load("tiny"), tensor or "blk.1.attn_output.weight"
        self._model, self._inputs, self._held_out = given, inputs, held_out
        self._caught: dict[str, tuple[Any, Any]] = {}
        self._trouble: QvizError | None = None
        if isinstance(given, Mapping):
            given = _matrices(given, inputs)
        elif inputs is None:
            raise WidgetError("a single matrix needs its inputs (n_tokens, n_in): GPTQExplorer(weight, inputs=x)")
        super().__init__(given, tensor, name)
        self.controls |= _controls(bits, group_size, sym, act_order, static_groups, damp_percent, column_batch)
        self._link = ipywidgets.link((self.controls["play"], "value"), (self.controls["column"], "value"))
        if self._problem is None:
            self._set_ranges(row, column, tokens)
        self._arrange(
            ("tensor", "play", "column", "row"),
            ("bits", "group_size", "column_batch", "sym", "act_order", "static_groups"),
            ("tokens", "damping"),
        )

    # ------------------------------------------------------------------------------------------- what goes in

    def _open(self) -> None:
        shape = self._source.shape
        if len(shape) != 2:
            raise WidgetError(f"{self.tensor_name} has shape {shape}; GPTQ works on a matrix (n_out, n_in)")
        self.weights = self._source.weights()
        """float32 array (n_out, n_in): what is rounded."""
        self.calibration, self.held_out = self._inputs_of(self.tensor_name)
        """What the matrix receives: inputs (n_tokens, n_in) or `ActivationStats`; the second may be None."""
        self._stats: dict[int, ActivationStats] = {}
        if "column" in self.controls:
            self._set_ranges(0, None, None)

    def _inputs_of(self, name: str) -> tuple[Any, Any]:
        given = self._inputs
        if isinstance(given, Mapping):
            if not isinstance(given.get(name), tuple | list) or len(given[name]) != 2:
                raise WidgetError(f"inputs has no pair of inputs and held-out inputs for {name!r}")
            given, held_out = given[name]
        elif given is not None:
            held_out = self._held_out
        else:
            if name not in self._caught:
                if "column" in self.controls:
                    text = f"Running {_text.count(CALIBRATION + HELD_OUT)} tokens through the model …"
                    self.figure.show(Scene(self._layout, {}, status=(Status("info", text),), summary=text))
                self._caught[name] = (
                    transformer.linear_inputs(self._model, name, models.calibration_text(), CALIBRATION),
                    _as_stats(transformer.linear_inputs(self._model, name, models.heldout_text(), HELD_OUT)),
                )
            return self._caught[name]
        n_in = self.weights.shape[1]
        both = []
        for what, x in (("inputs", given), ("held_out", held_out)):
            if x is not None and not isinstance(x, ActivationStats):
                x = real_array(x, what, WidgetError)
                if x.ndim != 2 or x.shape[1] != n_in:
                    raise WidgetError(f"{what} must be (n_tokens, {n_in}) for {self.tensor_name}, got shape {x.shape}")
            both.append(x)
        return both[0], None if both[1] is None else _as_stats(both[1])

    def _set_ranges(self, row: int, column: int | None, tokens: int | None) -> None:
        n_out, n_in = self.weights.shape
        start = 0 if column is None else column
        if row not in range(n_out) or start not in range(n_in):
            raise WidgetError(f"no weight [{row}, {start}]: {self.tensor_name} has {n_out} rows and {n_in} columns")
        for name, n in (("play", n_in), ("column", n_in), ("row", n_out)):
            self.controls[name].max = n - 1
        for name, value in (("column", start), ("row", row)):
            self.controls[name].value = value
        choice = self.controls["tokens"]
        if isinstance(self.calibration, ActivationStats):
            choice.options, choice.disabled = [self.calibration.n_tokens], True
        else:
            most = len(self.calibration)
            choice.options = sorted({*(n for n in (32, 64, 128, 256, 512, 1024, 2048) if n < most), most})
            wanted = choice.options[-1] if tokens is None else tokens
            if wanted not in choice.options:
                raise WidgetError(
                    f"tokens must be one of {', '.join(map(str, choice.options))} here, got {shortened(tokens)}"
                )
            choice.value = wanted
        self._run()
        if column is None and self._trouble is None:
            self.controls["column"].value = telling_column(self.run, row)

    def _react(self, control: ipywidgets.Widget) -> None:
        if not any(control is self.controls[name] for name in (*_MOVES, "tensor") if name in self.controls):
            self._run()

    def _message(self, view: View, content: Any, buffers: Any) -> None:
        steps = isinstance(content, dict) and content.get("event") == "step"
        if steps and self._problem is None and not self.locked.intersection(_MOVES):
            # a lock on a switch is none on the pictures: keys and clicks there only move
            with contextlib.suppress(TypeError, ValueError):
                self._event(content)
        else:
            super()._message(view, content, buffers)

    def _event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "step":
            for name in _MOVES:
                if name in event:
                    slider = self.controls[name]
                    slider.value = min(slider.max, max(0, int(event[name])))

    # ------------------------------------------------------------------------------------------- the whole run

    def _run(self) -> None:
        """Run everything but what a move changes."""
        its = {name: control.value for name, control in self.controls.items()}
        grid = AffineGrid(its["bits"], its["group_size"], its["sym"])
        options = {"act_order": its["act_order"], "static_groups": its["static_groups"], "damp_percent": its["damping"]}
        self._trouble = None
        try:
            self.stats = self._stats_of(its["tokens"])
            """`ActivationStats` that H comes from."""
            self.result = gptq(self.weights, self.stats, grid, **options, column_batch=its["column_batch"], trace=True)
            self.nearest = rtn(self.weights, self.stats, grid)
            self.run = gptq_run(
                self.weights,
                self.result,
                self.nearest,
                grid,
                column_batch=its["column_batch"],
                static_groups=its["static_groups"],
            )
            self.explicit = obs_factor(self.run.hessian)
            """float64 array (n, n): U by eliminating one column after the other, see `qviz.methods.obs_factor`."""
            other = 128 if its["column_batch"] != 128 else 1
            elsewhere = gptq(self.weights, self.stats, grid, **options, column_batch=other)
            self.batch_differs = other, int(np.count_nonzero(elsewhere.codes != self.result.codes))
            """Another batch, and how many codes come out otherwise with it."""
            self.errors = self._errors()
        except QvizError as trouble:
            self._trouble = trouble

    def _stats_of(self, tokens: int) -> ActivationStats:
        if isinstance(self.calibration, ActivationStats):
            return self.calibration
        if tokens not in self._stats:
            self._stats[tokens] = _as_stats(self.calibration[:tokens])
        return self._stats[tokens]

    def _errors(self) -> dict[str, tuple[float, float]]:
        """Relative errors of GPTQ and of rounding to nearest: of outputs on both kinds of tokens, and of weights."""
        sets = {"calibration": self.stats, "held out": self.held_out}
        outputs = {
            name: (self._output_error(self.result, stats), self._output_error(self.nearest, stats))
            for name, stats in sets.items()
            if stats is not None
        }
        size = np.square(self.weights, dtype=np.float64).sum()
        off = [np.square(r.weight - self.weights, dtype=np.float64).sum() / size for r in (self.result, self.nearest)]
        return outputs | {"weights": (float(off[0]), float(off[1]))}

    def _output_error(self, result: MethodResult, stats: ActivationStats) -> float:
        """‖X(W − Ŵ)ᵀ‖² / ‖XWᵀ‖², from H: no token is needed again."""
        H, W = stats.hessian, self.weights
        off = result.weight - W
        return float(((off @ H) * off).sum(dtype=np.float64) / ((W @ H) * W).sum(dtype=np.float64))

    # ------------------------------------------------------------------------------------------- what is shown

    def _scene(self) -> Scene:
        if self._trouble is not None:
            raise self._trouble
        run, r, i = self.run, self.controls["row"].value, self.controls["column"].value
        steps, pull, race = step_row(run, r, i), pull_row(run, i, self.explicit), loss_race(run, i)
        before, after = float(run.adjusted[r, i]), float(run.rounded[r, i])
        step = float(run.scales[r, i])
        share = float(race.ours[i] / race.nearest[i]) if race.nearest[i] > 0 else 1.0
        fell = f"{_text.number(before)} is rounded to {_text.number(after)}"
        walk = {"n": run.n, "column": i}
        step_panels = {
            "steps": Panel(
                steps,
                f"Row {r}, column {i}: {fell}",
                "Arcs carry its error on, as thick as the share of each: "
                f"{_text.percent(float(steps.shares.max()))} at most. Open circles: where each weight began. "
                + ("Dashed: the next group begins, with a grid of its own. " if steps.groups.size else "")
                + ("Columns without levels get their grid later." if np.isnan(steps.steps).any() else ""),
                (("level", "rounded, and the levels"), ("changed", "its turn"), ("weight", "not rounded yet")),
                f"{fell}, {_text.number((before - after) / step, 2)} steps away. It began at "
                f"{_text.number(float(run.weight[r, i]))}.",
                walk,
            ),
            "pull": Panel(
                pull,
                f"Row {i} of U: where the error goes",
                "The share that each later column makes up for: two ways.",
                (("weight", "Cholesky"), ("level", "explicit formula")),
                f"Both ways agree to {_text.number(pull.difference, 1)} of the largest.",
                walk,
            ),
            "race": Panel(
                race,
                "Output error so far",
                "100 % is where rounding to nearest ends.",
                (("weight", "GPTQ"), ("level", "round to nearest")),
                f"After {i + 1} of {run.n} columns GPTQ has {_text.percent(share)} of the error of nearest rounding.",
                walk,
            ),
        }
        notes = [Status("info", note[0].upper() + note[1:] + ".") for note in self.result.notes]
        return Scene(
            self._layout,
            step_panels | _matrix_panels(run, r, i, walk),
            self._readouts(run, i, share, (before - after) / step, pull.difference),
            f"{self.tensor_name}, row {r}: column {i} of {run.n}, input {run.order[i]}, {fell}. GPTQ so far has "
            f"{_text.percent(share)} of the output error of rounding to nearest. {self._outcome()}",
            self._tables(steps),
            (*notes, *self._source_notes()),
        )

    def _outcome(self) -> str:
        words = {"calibration": "on calibration tokens", "held out": "on held-out tokens", "weights": "of the weights"}
        parts = [f"{_times(*self.errors[name])} {words[name]}" for name in self.errors]
        return f"At the end its error is, in units of rounding to nearest, {', '.join(parts)}."

    def _readouts(self, run: GptqRun, i: int, share: float, off: float, difference: float) -> tuple[Readout, ...]:
        other, codes = self.batch_differs
        errors = self.errors

        def against(label: str, name: str, hint: str) -> Readout:
            ours, nearest = errors[name]
            both = f"GPTQ {_text.number(ours)}, rounding to nearest {_text.number(nearest)}; {hint}"
            return Readout(label, _times(ours, nearest), both)

        tiles = [
            Readout("Column", f"{i} of {run.n}", f"in processing order; input column {run.order[i]}"),
            Readout("Off its level, steps", _text.number(off, 2), "of the weight whose turn it is, in the row on show"),
            Readout("Loss so far / RTN", _text.percent(share), "of all rows, after this column"),
            against("Calibration / RTN", "calibration", f"{_text.count(self.stats.n_tokens)} tokens, relative"),
        ]
        if "held out" in errors:
            assert self.held_out is not None
            count = _text.count(self.held_out.n_tokens)
            tiles.append(against("Held out / RTN", "held out", f"{count} tokens that GPTQ did not see, relative"))
        tiles += [
            against("Weights / RTN", "weights", "Σ(W − Ŵ)² / ΣW²"),
            Readout("U off formula by", _text.number(difference, 1), "largest difference in this row, relative"),
            Readout(
                f"Batch {run.batch} or {other}",
                f"{_text.count(codes)} differ",
                f"codes, of {_text.count(run.weight.size)}, when {other} instead of {run.batch} columns make a batch",
            ),
        ]
        return tuple(tiles)

    def _tables(self, steps: StepRow) -> tuple[Table, Table]:
        run, r = self.run, steps.row
        lines = []
        for j in range(steps.first, steps.first + steps.original.size):
            done = j <= steps.column
            now, began = float(steps.now[j - steps.first]), float(run.weight[r, j])
            turn = _text.number(float(run.adjusted[r, j])) if done else ""
            moved = _text.number((now - began) / float(run.scales[r, j]), 2)
            lines.append((str(j), str(run.order[j]), _text.number(began), turn, _text.number(now), moved))
        columns = ("column", "input", "as given", "when its turn came", "now", "moved, in steps")
        error = {
            "calibration": f"outputs, {_text.count(self.stats.n_tokens)} calibration tokens",
            "held out": "outputs, held-out tokens",
            "weights": "weights",
        }
        ends = tuple(
            (error[name], _text.number(ours), _text.number(nearest), _times(ours, nearest))
            for name, (ours, nearest) in self.errors.items()
        )
        return (
            Table(f"Row {r}, the columns on show", columns, tuple(lines)),
            Table("Relative squared error at the end", ("of", "GPTQ", "round to nearest", "ratio"), ends),
        )


def _matrix_panels(run: GptqRun, r: int, i: int, walk: dict[str, int]) -> dict[str, Panel]:
    return {
        "moved": Panel(
            moved_image(run, i, r),
            "How far weights moved",
            "Left of the cursor rounding errors, right of it what makes up for them. Deepest colour: one step. "
            "Click a weight.",
            label="Rounding errors left of the cursor, updates right of it.",
            options=walk,
        ),
        "hessian": Panel(
            hessian_image(run, i),
            "H: inputs that go together",
            "Orange: two inputs rise together. The diagonal: how large each is.",
            label="The Hessian.",
            options=walk,
        ),
        "factor": Panel(
            factor_image(run, i),
            "U: one row a column",
            "Each row divided by its diagonal. The marked one is the row above.",
            label="The Cholesky factor of the inverse.",
            options=walk,
        ),
    }


def _matrices(given: Mapping[str, Any], inputs: Any) -> Mapping[str, Any]:
    """The matrices of a model that have inputs."""
    if isinstance(inputs, Mapping):
        names = [name for name in given if name in inputs]
    elif inputs is not None and len(given) > 1:
        raise WidgetError("several matrices need a mapping of names to (calibration, held-out) inputs")
    else:
        names = [name for name in given if inputs is not None or _MATRIX.fullmatch(name)]
    if not names:
        raise WidgetError("no matrix here has inputs; give a whole Llama, or a matrix and inputs=x (n_tokens, n_in)")
    return {name: given[name] for name in names}


def _check(what: str, value: float, known: Iterable[float]) -> None:
    """Refuse a setting that no control has."""
    if value not in known:
        raise WidgetError(f"{what} must be one of {', '.join(f'{k:g}' for k in known)} here, got {shortened(value)}")


def _controls(
    bits: int,
    group_size: int,
    sym: bool,
    act_order: bool,
    static_groups: bool,
    damp_percent: float,
    column_batch: int,
) -> dict[str, ipywidgets.Widget]:
    wide = {"width": "min(100%, 440px)"}
    return {
        "play": ipywidgets.Play(interval=900, tooltip="walk over the columns"),
        "column": ipywidgets.IntSlider(0, 0, 0, description="Column", tooltip="which column's turn it is", layout=wide),
        "row": ipywidgets.IntSlider(0, 0, 0, description="Row", tooltip="row of the matrix", layout=wide),
        "bits": ipywidgets.ToggleButtons(options=BITS, value=bits, description="Bits", style={"button_width": "44px"}),
        "group_size": ipywidgets.Dropdown(
            options=GROUPS, value=group_size, description="Group", layout={"width": "104px"}
        ),
        "sym": _box("Symmetric", sym, "the same range on both sides of zero"),
        "act_order": _box("Act-order", act_order, "columns with the largest inputs first"),
        "static_groups": _box("Static groups", static_groups, "choose all grids before the first update"),
        "damping": ipywidgets.SelectionSlider(
            options=[(f"{100 * d:g} %", d) for d in DAMPING],
            value=damp_percent,
            description="Damping",
            tooltip="added to the diagonal of H, in parts of its mean",
            layout={"width": "min(100%, 280px)"},
        ),
        "column_batch": ipywidgets.Dropdown(
            options=BATCHES,
            value=column_batch,
            description="Batch",
            tooltip="columns whose updates of the columns behind them are gathered",
            layout={"width": "68px"},
        ),
        "tokens": ipywidgets.SelectionSlider(
            options=[1],
            description="Tokens",
            tooltip="calibration tokens that H is made from",
            layout={"width": "min(100%, 300px)"},
        ),
    }


def _as_stats(x: Any) -> ActivationStats:
    return x if isinstance(x, ActivationStats) else ActivationStats.from_inputs(x)


def _box(text: str, value: bool, tooltip: str) -> ipywidgets.Checkbox:
    return ipywidgets.Checkbox(
        value=value, description=text, indent=False, tooltip=tooltip, layout={"width": "max-content"}
    )


def _times(ours: float, nearest: float) -> str:
    """How many times the error of rounding to nearest."""
    return f"{_text.number(ours / nearest, 2)} ×" if nearest > 0 else "exact"
