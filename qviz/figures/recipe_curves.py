"""The same recipes on several models: one line for each model."""

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
class RecipeCurves:
    """Recipes side by side, in the order given, with the damage that each does on a logarithmic scale.

    A line that goes down where the others go up is an order that does not hold for its model.

    Attributes
    ----------
    recipes : tuple of str
    titles : tuple of str
        What a line stands for, such as a model.
    damage : float64 array (n_lines, n_recipes)
        All positive.
    what : str
        What the damage is measured in.
    """

    recipes: tuple[str, ...]
    titles: tuple[str, ...]
    damage: DoubleArray
    what: str

    def __repr__(self) -> str:
        lines = zip(self.titles, self.damage, strict=True)
        ends = (f"{title} {row[0]:.2g} to {row[-1]:.2g}" for title, row in lines)
        return f"RecipeCurves({self.recipes[0]} to {self.recipes[-1]}: {'; '.join(ends)})"

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: recipes across, damage upwards."""
        across = _charts.axis("recipe", type="category", tickangle=-35)
        upwards = _charts.logarithmic(self.what, _charts.room(self.damage))
        figure = _charts.chart(across, upwards)
        for role, title, row in zip(_ROLES, self.titles, self.damage, strict=False):
            _charts.named(figure, self.recipes, row, title, role)
        return figure

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Plotly's own would add megabytes of JavaScript to the notebook; JupyterLab has it already."""
        return {_charts.MIME: self.plotly().to_plotly_json(), "text/plain": repr(self)}


def recipe_curves(
    recipes: Sequence[str], damage: Mapping[str, Sequence[float]], what: str = "KL divergence, nats"
) -> RecipeCurves:
    """Put the damage of recipes side by side.

    Parameters
    ----------
    recipes : sequence of str
    damage : mapping of str to sequence of float
        Up to four lines; one positive number for each recipe.
    what : str
        What the damage is measured in.

    Returns
    -------
    RecipeCurves

    Raises
    ------
    WidgetError
        No line, too many, another number of values than of recipes, or a value that is not positive and finite.

    Examples
    --------
    >>> recipe_curves(("Q8_0", "Q2_K"), {"a": (0.001, 0.1), "b": (0.01, 0.5)})
    RecipeCurves(Q8_0 to Q2_K: a 0.001 to 0.1; b 0.01 to 0.5)
    """
    if not recipes or not 1 <= len(damage) <= len(_ROLES):
        raise WidgetError(f"recipes and 1 to {len(_ROLES)} lines are needed, got {len(recipes)} and {len(damage)}")
    for title, values in damage.items():
        if len(values) != len(recipes):
            raise WidgetError(f"{title} has {len(values)} values; {len(recipes)} are needed, one for each recipe")
    numbers = np.array(list(damage.values()), np.float64)
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        raise WidgetError("a damage that is not positive and finite has no place on a logarithmic scale")
    return RecipeCurves(tuple(recipes), tuple(damage), numbers, what)
