"""`StaircaseExplorer`: why descent cannot move a rounded weight, and what lets it."""

from __future__ import annotations

from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array, token_rows
from qviz.calibration import ActivationStats
from qviz.errors import WidgetError, shortened
from qviz.figures.staircase import Staircase, staircase
from qviz.grids import AffineGrid
from qviz.widgets import _text
from qviz.widgets.base import Explorer
from qviz.widgets.scene import Panel, Readout, Scene, Table

STEPS = 60
"""Steps of the descent."""
_RATES = {"small": 0.05, "middle": 0.15, "large": 0.5}


class StaircaseExplorer(Explorer):
    """One weight of a real row learns where to go, by the error of the row's output.

    All other weights of the row are rounded to the nearest level, and stay. What is left is a loss of one weight: the
    squared error of the row's outputs, in parts of the outputs themselves. The weight descends on it, step by step.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    inputs : array_like (n_tokens, n_in)
    bits : int
        2 to 4.
    group_size : int
        Weights that share a scale; −1 for the row.
    row, column : int
        The weight to begin with.

    Raises
    ------
    WidgetError
        Arrays that do not fit together, or a weight that is not there.

    Attributes
    ----------
    controls : dict
        ``column``, ``bits``, ``rate``, ``through``, ``falling``, ``play``, ``step``.
    figure : View
        ``figure["stairs"]`` is a `Staircase`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> explorer = StaircaseExplorer(rng.standard_normal((2, 8)), rng.standard_normal((50, 8)))
    >>> explorer.controls["through"].value = False
    >>> set((explorer.figure["stairs"].path == explorer.figure["stairs"].path[0]).tolist())
    {True}
    """

    _layout = "staircase"

    def __init__(
        self,
        weight: npt.ArrayLike,
        inputs: npt.ArrayLike,
        bits: int = 2,
        group_size: int = 64,
        *,
        row: int = 0,
        column: int = 0,
    ) -> None:
        super().__init__()
        w, x = real_array(weight, "weight", WidgetError, shape=("n_out", "n_in")), token_rows(inputs)
        if x.shape[1] != w.shape[1]:
            raise WidgetError(f"weight has {w.shape[1]} input columns, the inputs {x.shape[1]}")
        if not 0 <= row < len(w) or not 0 <= column < w.shape[1]:
            raise WidgetError(f"no weight [{row}, {column}] in a matrix {w.shape}")
        if bits not in (2, 3, 4):
            raise WidgetError(f"bits must be 2 to 4, got {shortened(bits)}")
        self._row = np.ascontiguousarray(w[row : row + 1])
        self._group_size, self._gram = group_size, ActivationStats.from_inputs(x).hessian.astype(np.float64)
        step = ipywidgets.IntSlider(
            0, 0, STEPS, description="Step", tooltip="steps of the descent", layout={"width": "300px"}
        )
        play = ipywidgets.Play(max=STEPS, interval=180, show_repeat=False, tooltip="let it descend")
        self.controls |= {
            "column": ipywidgets.IntSlider(
                column, 0, w.shape[1] - 1, description="Weight", tooltip="of the row", layout={"width": "300px"}
            ),
            "bits": ipywidgets.ToggleButtons(options=[2, 3, 4], value=bits, description="Bits", tooltip="of a code"),
            "rate": ipywidgets.ToggleButtons(
                options=list(_RATES), value="middle", description="Rate", tooltip="how far a step goes"
            ),
            "through": ipywidgets.Checkbox(
                True,
                description="let gradients through",
                tooltip="take the stairs for a straight line",
                indent=False,
                layout={"width": "170px"},
            ),
            "falling": ipywidgets.Checkbox(
                False, description="rate falls to 0", tooltip="evenly, until the last step", indent=False,
                layout={"width": "140px"},
            ),
            "play": play,
            "step": step,
        }  # fmt: skip
        self._link = ipywidgets.link((play, "value"), (step, "value"))
        self._arrange(("column", "bits"), ("rate",), ("through", "falling"), ("play", "step"))

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "step":
            slider = self.controls["step"]
            slider.value = min(slider.max, max(0, int(event["step"])))

    def _stairs(self) -> Staircase:
        column, current = int(self.controls["column"].value), int(self.controls["step"].value)
        grid = AffineGrid(int(self.controls["bits"].value), self._group_size)
        scales, zeros = grid.params(self._row)
        size = grid.group_size if grid.group_size > 0 else self._row.shape[1]
        group = column // size
        errors = (grid.fake_quantize(self._row) - self._row)[0].astype(np.float64)
        errors[column] = 0
        H, own = self._gram, float(self._row[0, column])
        curvature = max(float(H[column, column]), 1e-30)
        pull = float(errors @ H[column])
        best, whole = own - pull / curvature, float(self._row[0] @ H @ self._row[0])
        least = float(errors @ H @ errors) - pull**2 / curvature
        levels = grid.levels(scales[:, group], zeros[:, group]).reshape(-1)
        return staircase(
            levels,
            (best, curvature / whole, least / whole),
            own,
            rate=_RATES[str(self.controls["rate"].value)],
            steps=STEPS,
            current=current,
            through=bool(self.controls["through"].value),
            falling=bool(self.controls["falling"].value),
        )

    def _scene(self) -> Scene:
        s = self._stairs()
        k = s.current
        level = float(s.levels[s.path_level[k]])
        jumps = int(np.count_nonzero(np.diff(s.path_level[: k + 1])))
        told = "nothing: stairs are level" if s.slopes[k] == 0 else ("go up" if s.slopes[k] < 0 else "go down")
        summary = (
            f"Step {k}: the weight is {_text.number(float(s.path[k]), 3)}, which rounds to {_text.number(level, 3)}; "
            f"the row loses {_text.percent(float(s.path_loss[k]))} of its output. "
            f"It has changed its level {_text.plural(jumps, 'time')}, and is told: {told}."
        )
        return Scene(
            self._layout,
            {
                "stairs": Panel(
                    s,
                    "The loss above, the weight's path below",
                    "Above: what the row loses, for each place of this weight, rounded (stairs) and not (bowl). Below: "
                    "where the weight is at each step, from top to bottom; strips are what rounds to one level.",
                    (("level", "rounded"), ("soft", "not rounded"), ("weight", "the weight"), ("ok", "best place")),
                    summary,
                )
            },
            (
                Readout("Weight", _text.number(float(s.path[k]), 3), "before rounding; nobody stores it"),
                Readout("Rounds to", _text.number(level, 3), "what the model would run with"),
                Readout("Row loses", _text.percent(float(s.path_loss[k])), "of the squares of its outputs"),
                Readout("Slope it is told", _text.number(float(s.slopes[k]), 2), "0 where the stairs say it"),
                Readout("Changes of level", str(jumps), "so far"),
            ),
            summary,
            (self._table(s),),
        )

    def _table(self, s: Staircase) -> Table:
        rows = tuple(
            (
                str(k),
                _text.number(float(s.path[k]), 3),
                _text.number(float(s.levels[s.path_level[k]]), 3),
                _text.percent(float(s.path_loss[k])),
            )
            for k in range(0, STEPS + 1, 5)
        )
        return Table("Every fifth step", ("step", "weight", "rounds to", "row loses"), rows)

    def __repr__(self) -> str:
        return f"StaircaseExplorer(weight {self.controls['column'].value}, {self.controls['bits'].value} bits)"
