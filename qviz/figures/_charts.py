"""Charts of results for plotly: one theme, and the few marks that they are made of.

A figure's `plotly()` is for use in one's own notebook: hover, zoom, export. Numbers are rounded to four digits, since
more cannot be seen and all are stored with a notebook. Plotly itself loads with the first chart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qviz.figures import _theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

MIME = "application/vnd.plotly.v1+json"
HEIGHT = 440


def plain(values: npt.ArrayLike) -> list[float]:
    """Numbers with four digits.

    Examples
    --------
    >>> plain([1 / 3, 1234567.0])
    [0.3333, 1235000.0]
    """
    return [float(f"{value:.4g}") for value in np.asarray(values, np.float64)]


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis in the colours of the theme."""
    theme = _theme.colours()
    return {"title": title, "gridcolor": theme["line"], "linecolor": theme["soft"], "zeroline": False} | more


def logarithmic(title: str, span: tuple[float, float]) -> dict[str, Any]:
    """An axis with 1, 2, 5 of each decade written in full: plotly's own minor ticks leave the decade out.

    Parameters
    ----------
    title : str
    span : (float, float)
        What it shows, both positive.
    """
    powers = range(int(np.floor(np.log10(span[0]))), int(np.ceil(np.log10(span[1]))) + 1)
    digits = (1, 2, 5) if len(powers) < 5 else (1,)
    ticks = [float(f"{digit * 10.0**power:.3g}") for power in powers for digit in digits]
    ticks = [tick for tick in ticks if span[0] <= tick <= span[1]]
    return axis(
        title,
        type="log",
        range=plain(np.log10(span)),
        tickvals=ticks,
        ticktext=[f"{tick:g}" for tick in ticks],
        ticks="outside",
    )


def room(values: npt.ArrayLike, share: float = 0.25) -> tuple[float, float]:
    """What a logarithmic axis shows so that all positive values have room around them."""
    positive = np.asarray(values, np.float64).ravel()
    positive = positive[np.isfinite(positive) & (positive > 0)]
    low, high = (float(positive.min()), float(positive.max())) if positive.size else (0.1, 10.0)
    edge = max((high / low) ** share, 1.3) if positive.size else 1.0
    return low / min(edge, 2.0), high * min(edge, 2.0)


def chart(across: Mapping[str, Any], upwards: Mapping[str, Any], **more: Any) -> go.Figure:
    """An empty chart with these two axes.

    Parameters
    ----------
    across, upwards : mapping
        From `axis` or `logarithmic`.
    **more
        For plotly's layout.
    """
    import plotly.graph_objects as go

    theme = _theme.colours()
    layout = {
        "template": "none",
        "paper_bgcolor": theme["paper"],
        "plot_bgcolor": theme["paper"],
        "font": {"color": theme["ink"], "size": 13},
        "height": HEIGHT,
        "margin": {"l": 70, "r": 20, "t": 50, "b": 60},
        "legend": {"orientation": "h", "y": 1.12, "x": 0},
        "xaxis": dict(across),
        "yaxis": dict(upwards),
    }
    return go.Figure(layout=layout | more)


def curve(figure: go.Figure, x: npt.ArrayLike, y: npt.ArrayLike, name: str, role: str, **more: Any) -> None:
    """Add a line in the colour of a role."""
    line = {"color": _theme.colours()[role], "width": 2.5} | more.pop("line", {})
    figure.add_scatter(x=plain(x), y=plain(y), mode="lines", name=name, line=line, **more)


def points(
    figure: go.Figure, x: npt.ArrayLike, y: npt.ArrayLike, names: Sequence[str], title: str, role: str, **more: Any
) -> None:
    """Add points with their names beside them."""
    theme = _theme.colours()
    marker = {"color": theme[role], "size": 9, "line": {"color": theme["paper"], "width": 1}} | more.pop("marker", {})
    shown = {"mode": "markers+text", "textposition": "top right", "textfont": {"color": theme["ink"], "size": 12}}
    figure.add_scatter(x=plain(x), y=plain(y), text=list(names), name=title, marker=marker, **shown | more)


def named(figure: go.Figure, names: Sequence[str], values: npt.ArrayLike, title: str, role: str) -> None:
    """Add a line through points, one a name."""
    colour = {"color": _theme.colours()[role]}
    line, marker = colour | {"width": 2.5}, colour | {"size": 8}
    figure.add_scatter(x=list(names), y=plain(values), mode="lines+markers", name=title, line=line, marker=marker)


def bars(figure: go.Figure, names: Sequence[str], sizes: npt.ArrayLike, title: str, role: str, **more: Any) -> None:
    """Add bars, one a name."""
    marker = {"color": _theme.colours()[role]} | more.pop("marker", {})
    figure.add_bar(x=list(names), y=plain(sizes), name=title, marker=marker, **more)


def steps(figure: go.Figure, low: float, high: float, counts: npt.ArrayLike, name: str, role: str) -> None:
    """Add a histogram's counts as a filled outline."""
    heights = np.asarray(counts, np.float64)
    edges = np.linspace(low, high, heights.size + 1)
    colour = _theme.colours()[role]
    middles = (edges[1:] + edges[:-1]) / 2
    figure.add_scatter(
        x=plain(middles),
        y=plain(heights),
        mode="lines",
        line={"shape": "hvh", "color": colour},
        fill="tozeroy",
        name=name,
    )


def mark(figure: go.Figure, at: float, text: str, role: str, upright: bool = True) -> None:
    """Add a dashed line across the chart, with a word at its end."""
    theme = _theme.colours()
    line = {"color": theme[role], "dash": "dash", "width": 1.5}
    add = figure.add_vline if upright else figure.add_hline
    add(float(f"{at:.4g}"), line=line, annotation={"text": text, "font": {"color": theme[role], "size": 12}})
