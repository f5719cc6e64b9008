"""What limits a product: the roofline, and how many tokens per second a memory allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array
from qviz._types import DoubleArray
from qviz.errors import WidgetError
from qviz.figures import _charts, _theme

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, repr=False)
class Roofline:
    """A machine's roof, and what was measured under it.

    JupyterLab draws it; everything else shows it as text. Both axes are logarithmic.

    Attributes
    ----------
    bandwidth : float
        Bytes per second: the slope of the roof.
    kinds : tuple of str
        Names of the flat parts, and
    peaks : float64 array (n_kinds,)
        their heights in operations per second.
    names : tuple of str
        What the points are called.
    intensities, operations : float64 arrays (n,)
        Operations per byte, and operations per second that were reached.
    bounds : float64 array (n,)
        What the highest roof allows at each point's intensity.
    """

    bandwidth: float
    kinds: tuple[str, ...]
    peaks: DoubleArray
    names: tuple[str, ...]
    intensities: DoubleArray
    operations: DoubleArray
    bounds: DoubleArray

    @property
    def shares(self) -> DoubleArray:
        """How much of the roof each point reaches."""
        return self.operations / self.bounds

    @property
    def limits(self) -> tuple[str, ...]:
        """What the roof over each point is: ``"memory"`` where it slopes, ``"arithmetic"`` where it is flat."""
        top = float(self.peaks.max())
        return tuple("memory" if bound < top else "arithmetic" for bound in self.bounds)

    @property
    def summary(self) -> str:
        """What the picture says, in words."""
        ridges = ", ".join(
            f"{kind} from {peak / self.bandwidth:.2g} operations per byte on"
            for kind, peak in zip(self.kinds, self.peaks, strict=True)
        )
        low = ", ".join(name for name, share in zip(self.names, self.shares, strict=True) if share < 0.1)
        far = f" Less than a tenth of the roof: {low}." if low else ""
        return f"{self.bandwidth / 1e9:.3g} GB/s; the roof is flat for {ridges}.{far}"

    def __repr__(self) -> str:
        return f"Roofline({len(self.names)} points; {self.summary})"

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure.

        The slope is memory, each flat line a kind of arithmetic; a point is a format, with a thin line up to the roof
        over it: its length is what was not reached.
        """
        theme = _theme.colours()
        span = self._span()
        reach = (
            min([*self.operations, self.bandwidth * span[0]]) / 1e9 / 1.8,
            max([*self.operations, *self.peaks]) / 1e9 * 1.5,
        )
        across = _charts.logarithmic("operations per byte", span)
        figure = _charts.chart(across, _charts.logarithmic("10⁹ operations per second", reach))
        top = np.array([span[0], self.peaks.max() / self.bandwidth])
        line = {"color": theme["soft"], "width": 2.5}
        name = f"memory, {self.bandwidth / 1e9:.3g} GB/s"
        slope = _charts.plain(self.bandwidth * top / 1e9)
        figure.add_scatter(x=_charts.plain(top), y=slope, mode="lines", line=line, name=name, hoverinfo="skip")
        colours = (theme[name] for name in ("weight", "field-2", "field-3", "field-4"))
        for kind, peak, colour in zip(self.kinds, self.peaks, colours, strict=False):
            x, y = (
                _charts.plain(np.array([peak / self.bandwidth, span[1]])),
                _charts.plain(np.array([peak, peak]) / 1e9),
            )
            line = {"color": colour, "width": 2.5}
            hover = f"{kind}: %{{y:.3g}} Gop/s at most<extra></extra>"
            figure.add_scatter(x=x, y=y, mode="lines", line=line, name=kind, hovertemplate=hover)
        gaps = _charts.plain(np.maximum(0, self.bounds - self.operations) / 1e9)
        figure.add_scatter(
            x=_charts.plain(self.intensities),
            y=_charts.plain(self.operations / 1e9),
            error_y={"array": gaps, "arrayminus": [0] * len(gaps), "color": theme["soft"], "thickness": 1, "width": 0},
            mode="markers+text",
            text=list(self.names),
            textposition=self._places(),
            textfont={"color": theme["ink"], "size": 12},
            marker={"color": theme["level"], "size": 9, "line": {"color": theme["paper"], "width": 1}},
            customdata=[f"{share:.0%}" for share in self.shares],
            hovertemplate="%{text}: %{y:.3g} Gop/s, %{customdata} of the roof<extra></extra>",
            name="measured",
        )
        return figure

    def _span(self) -> tuple[float, float]:
        marks = [*self.intensities, *(self.peaks / self.bandwidth)]
        return float(min(marks)) / 1.8, float(max(marks)) * 2.2

    def _places(self) -> list[str]:
        """Names stand below their points; where two points (nearly) meet, the second goes to the left, and so on."""
        turns = ("bottom center", "middle left", "middle right", "top left")
        where = np.log10(np.column_stack([self.intensities, self.operations]))
        places: list[str] = []
        for i, at in enumerate(where):
            crowd = int((np.abs(where[:i] - at) < (0.03, 0.12)).all(axis=1).sum())
            places.append(turns[crowd % len(turns)])
        return places

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Plotly's own would add megabytes of JavaScript to the notebook; JupyterLab has it already."""
        return {_charts.MIME: self.plotly().to_plotly_json(), "text/plain": repr(self)}


def roofline(bandwidth: float, peaks: Mapping[str, float], points: Sequence[tuple[str, float, float]] = ()) -> Roofline:
    """Put measured points under a roof.

    Parameters
    ----------
    bandwidth : float
        Bytes per second.
    peaks : mapping of str to float
        Operations per second at most, for each kind of arithmetic; four at most.
    points : sequence of (name, operations per byte, operations per second)

    Returns
    -------
    Roofline

    Raises
    ------
    WidgetError
        No peaks, more than four, or numbers that are not positive.

    Examples
    --------
    >>> roof = roofline(10e9, {"integers": 100e9}, [("Q4_0", 3.5, 28e9), ("TQ1_0", 12, 5e9)])
    >>> (roof.bounds / 1e9).tolist(), roof.limits
    ([35.0, 100.0], ('memory', 'arithmetic'))
    >>> roof
    Roofline(2 points; 10 GB/s; the roof is flat for integers from 10 operations per byte on. Less than a tenth of the \
roof: TQ1_0.)
    """
    heights = np.array(list(peaks.values()), np.float64)
    x, y = (np.array([point[i] for point in points], np.float64) for i in (1, 2))
    if not 1 <= heights.size <= 4:
        raise WidgetError(f"{heights.size} kinds of arithmetic; a roof shows one to four")
    numbers = np.concatenate([[bandwidth], heights, x, y])
    if not ((numbers > 1e-100) & (numbers < 1e100)).all():
        raise WidgetError("bandwidth, peaks and points must be positive numbers, from 1e-100 to 1e100")
    bounds = np.minimum(heights.max(), bandwidth * x)
    names = tuple(point[0] for point in points)
    return Roofline(float(bandwidth), tuple(peaks), heights, names, x, y, bounds)


@dataclass(frozen=True, eq=False)
class TokenRates:
    """Formats under the roof of a machine: tokens per second that it allows, and how many the products reach.

    Attributes
    ----------
    names : tuple of str
        Formats, from the largest to the smallest.
    nbytes : float64 array (n,)
        Read for each token.
    bounds : float64 array (n,)
        Bandwidth over bytes: tokens per second that memory allows.
    reached : float64 array (n,)
        From measured products; NaN where a format was not measured.
    current : int
        The format on show.
    work : float
        Operations for each token.
    intensities : float64 array (n,)
        Operations for each byte.
    bandwidth : float
        Bytes per second: the slope of the roof.
    kinds : tuple of str
        Names of the flat parts, and
    peaks : float64 array (n_kinds,)
        their heights in operations per second.
    roof : float64 array (n,)
        Tokens per second that memory and the highest peak allow.
    """

    names: tuple[str, ...]
    nbytes: DoubleArray
    bounds: DoubleArray
    reached: DoubleArray
    current: int
    work: float
    intensities: DoubleArray
    bandwidth: float
    kinds: tuple[str, ...]
    peaks: DoubleArray
    roof: DoubleArray

    def plotly(self) -> go.Figure:
        """The picture, as a plotly figure: what memory allows, and what the products reach."""
        figure = _charts.chart(_charts.axis(""), _charts.axis("tokens per second"), barmode="overlay")
        _charts.bars(figure, self.names, self.bounds, "memory allows", "line")
        _charts.bars(figure, self.names, np.nan_to_num(self.reached), "the products reach", "level", width=0.5)
        return figure


def token_rates(
    names: Sequence[str],
    nbytes: npt.ArrayLike,
    bandwidth: float,
    seconds: npt.ArrayLike,
    current: str = "",
    *,
    weights: float = 1.0,
    peaks: Mapping[str, float] | None = None,
) -> TokenRates:
    """Tokens per second for each format.

    Parameters
    ----------
    names : sequence of str
    nbytes : array_like (n,)
        Read for each token.
    bandwidth : float
        Bytes per second.
    seconds : array_like (n,)
        What all products of one token took; NaN if unknown.
    current : str
        The format on show; the first unless it is among `names`.
    weights : float
        How many weights each token meets; each of them takes a multiplication and an addition.
    peaks : mapping of str to float, optional
        Operations per second at most, for each kind of arithmetic.

    Returns
    -------
    TokenRates

    Raises
    ------
    WidgetError
        No formats, or lengths that differ, or bytes and bandwidth that are not positive.

    Examples
    --------
    >>> rates = token_rates(["Q4_0", "F16"], [4e9, 13e9], 26e9, [0.2, 1], "Q4_0")
    >>> rates.names, rates.bounds.tolist(), rates.reached.tolist(), rates.current
    (('F16', 'Q4_0'), [2.0, 6.5], [1.0, 5.0], 1)
    >>> low = token_rates(["Q4_0"], [4e9], 26e9, [0.2], weights=7e9, peaks={"integers": 56e9})
    >>> low.intensities.tolist(), low.roof.tolist()  # memory would allow 6.5, arithmetic allows 56e9 / 14e9
    ([3.5], [4.0])
    """
    size, time = (real_array(a, "an array", WidgetError, (np.float64,)) for a in (nbytes, seconds))
    if not len(names) or not size.shape == time.shape == (len(names),):
        raise WidgetError(f"{len(names)} formats, {size.size} sizes, {time.size} times: one each is needed")
    if not (np.isfinite(size).all() and (size > 0).all() and np.isfinite(bandwidth) and bandwidth > 0):
        raise WidgetError("sizes and the bandwidth must be positive numbers")
    if (time <= 0).any():
        raise WidgetError("seconds must be above 0, or NaN where they are unknown")
    order = np.argsort(-size, kind="stable")
    sorted_names = tuple(names[i] for i in order)
    at = sorted_names.index(current) if current in sorted_names else 0
    heights = np.array(list((peaks or {}).values()), np.float64)
    weights, bandwidth = float(weights), float(bandwidth)
    numbers = np.append(heights, weights)
    if not (np.isfinite(numbers).all() and (numbers > 0).all()):
        raise WidgetError("weights and peaks must be positive numbers")
    work, bounds = 2.0 * weights, bandwidth / size[order]
    top = float(heights.max()) / work if heights.size else np.inf
    return TokenRates(
        sorted_names,
        size[order],
        bounds,
        1 / time[order],
        at,
        work,
        work / size[order],
        float(bandwidth),
        tuple(peaks or ()),
        heights,
        np.minimum(bounds, top),
    )
