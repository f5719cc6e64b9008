"""Sizes of files against their damage: one line for each way of making them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from qviz._types import DoubleArray
from qviz.errors import WidgetError
from qviz.figures import _charts

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROLES = ("level", "weight", "ok", "changed")


@dataclass(frozen=True, eq=False)
class SizeCurves:
    """Files from small to large, their damage on a logarithmic scale; one curve for each way of making them.

    Attributes
    ----------
    titles : tuple of str
        What a curve is.
    names : tuple of tuple of str
        What the files of each curve are called.
    sizes, damage : tuple of float64 arrays
        Megabytes, and damage.
    """

    titles: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    sizes: tuple[DoubleArray, ...]
    damage: tuple[DoubleArray, ...]

    def __repr__(self) -> str:
        parts = []
        for title, sizes, damage in zip(self.titles, self.sizes, self.damage, strict=True):
            ends = f"{sizes[0]:.3g} MB {damage[0]:.2g}"
            more = f" to {sizes[-1]:.3g} MB {damage[-1]:.2g}" if sizes.size > 1 else ""
            parts.append(f"{title}: {ends}{more}")
        return f"SizeCurves({'; '.join(parts)})"

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: megabytes across, damage upwards; names beside the first curve."""
        across = _charts.axis("size of the file, MB")
        upwards = _charts.logarithmic("KL divergence", _charts.room(np.concatenate(self.damage)))
        figure = _charts.chart(across, upwards)
        curves = zip(_ROLES, self.titles, self.names, self.sizes, self.damage, strict=False)
        for k, (role, title, names, sizes, damage) in enumerate(curves):
            if k:
                _charts.points(figure, sizes, damage, (), title, role, mode="lines+markers")
                continue
            dips = [*(after > now for now, after in pairwise(damage)), False]  # a name above would meet the line
            places = [f"{'bottom' if dip else 'top'} center" for dip in dips]
            _charts.points(figure, sizes, damage, names, title, role, mode="lines+markers+text", textposition=places)
        return figure

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Plotly's own would add megabytes of JavaScript to the notebook; JupyterLab has it already."""
        return {_charts.MIME: self.plotly().to_plotly_json(), "text/plain": repr(self)}


def size_curves(curves: Mapping[str, Sequence[tuple[str, float, float]]]) -> SizeCurves:
    """Put files in order of their size.

    Parameters
    ----------
    curves : mapping of str to sequence of (name, bytes, damage)
        Up to four ways of making files.

    Returns
    -------
    SizeCurves

    Raises
    ------
    WidgetError
        No curve, too many, one without files, or numbers that are not finite.

    Examples
    --------
    >>> size_curves({"plain": [("b", 2e6, 0.1), ("a", 1e6, 0.4)]})
    SizeCurves(plain: 1 MB 0.4 to 2 MB 0.1)
    """
    if not 1 <= len(curves) <= len(_ROLES) or not all(curves.values()):
        raise WidgetError(f"1 to {len(_ROLES)} curves of at least one file each are needed, got {len(curves)}")
    ordered = [sorted(files, key=lambda file: file[1]) for files in curves.values()]
    numbers = [np.array([file[1:] for file in files], np.float64) for files in ordered]
    if not all(np.isfinite(part).all() for part in numbers):
        raise WidgetError("sizes and damages must be finite numbers")
    return SizeCurves(
        tuple(curves),
        tuple(tuple(file[0] for file in files) for files in ordered),
        tuple(part[:, 0] / 1e6 for part in numbers),
        tuple(part[:, 1] for part in numbers),
    )
