"""What training does to a model's answers, step by step: one line for each start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qviz._types import DoubleArray
from qviz.errors import WidgetError
from qviz.figures import _charts

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROLES = ("level", "weight", "ok", "changed")


@dataclass(frozen=True, eq=False)
class TrainingCurves:
    """Damage against steps of training, with standard errors as bars; one curve for each way to begin.

    Attributes
    ----------
    titles : tuple of str
        What a curve is.
    steps, damage, errors : tuple of float64 arrays
        Steps done, what was measured then, and its standard error.
    across : str
        What a step is.
    """

    titles: tuple[str, ...]
    steps: tuple[DoubleArray, ...]
    damage: tuple[DoubleArray, ...]
    errors: tuple[DoubleArray, ...]
    across: str

    def __repr__(self) -> str:
        ends = (f"{title}: {row[0]:.2g} to {row[-1]:.2g}" for title, row in zip(self.titles, self.damage, strict=True))
        return f"TrainingCurves({'; '.join(ends)})"

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: steps across, damage upwards from 0."""
        figure = _charts.chart(_charts.axis(self.across), _charts.axis("KL divergence", rangemode="tozero"))
        curves = zip(_ROLES, self.titles, self.steps, self.damage, self.errors, strict=False)
        for role, title, steps, damage, errors in curves:
            bars = {"type": "data", "array": _charts.plain(errors), "thickness": 1.5, "width": 4}
            _charts.points(figure, steps, damage, (), title, role, mode="lines+markers", error_y=bars)
        return figure

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Plotly's own would add megabytes of JavaScript to the notebook; JupyterLab has it already."""
        return {_charts.MIME: self.plotly().to_plotly_json(), "text/plain": repr(self)}


def training_curves(
    curves: Mapping[str, Sequence[tuple[float, float, float]]], across: str = "steps of training"
) -> TrainingCurves:
    """Put what was measured during training in the order of the steps.

    Parameters
    ----------
    curves : mapping of str to sequence of (step, damage, standard error)
        Up to four ways to begin.
    across : str
        What a step is, for the axis.

    Returns
    -------
    TrainingCurves

    Raises
    ------
    WidgetError
        No curve, too many, one without a measurement, or numbers that are negative or not finite.

    Examples
    --------
    >>> training_curves({"GPTQ": [(8, 0.1, 0.01), (0, 0.4, 0.02)]})
    TrainingCurves(GPTQ: 0.4 to 0.1)
    """
    if not 1 <= len(curves) <= len(_ROLES) or not all(len(rows) for rows in curves.values()):
        raise WidgetError(f"1 to {len(_ROLES)} curves of at least one measurement are needed, got {len(curves)}")
    numbers = [np.array(sorted(map(tuple, rows)), np.float64).reshape(len(rows), -1) for rows in curves.values()]
    if not all(part.shape[1] == 3 and np.isfinite(part).all() and (part >= 0).all() for part in numbers):
        raise WidgetError("each measurement is a step, a damage and its error; none is negative, all are finite")
    steps, damage, errors = (tuple(part[:, k] for part in numbers) for k in range(3))
    return TrainingCurves(tuple(curves), steps, damage, errors, across)
