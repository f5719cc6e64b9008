"""Every chart as a plotly figure: its numbers are the figure's, its text is in the theme, nothing is invented."""

from __future__ import annotations

import numpy as np
import pytest

from qviz import figures
from qviz.errors import WidgetError
from qviz.figures import _charts
from qviz.figures.calibration import calibration
from qviz.figures.gptq import LossRace
from qviz.figures.histogram import ErrorHistogram, error_histogram, histogram
from qviz.figures.ranges import range_curve
from qviz.figures.roofline import roofline, token_rates
from qviz.figures.scale_search import SearchCurve

X = np.linspace(-1, 1, 501).astype(np.float32)


def errors_of_x():
    return ErrorHistogram(error_histogram(X, np.round(X), 1.0), histogram(X, -1.0, 1.0), 0.3)


# chart -> name of a trace -> what it has to show upwards
CHARTS = {
    "Balance": (
        lambda: figures.balance(["a", "b"], [1.0, 2.0], [0.4, 0.1], [0.01, 0.01], budget=1.5),
        {"measured": [0.4, 0.1], "nothing is better in both": [0.4, 0.1]},
    ),
    "RangeCurve": (
        lambda: range_curve(
            np.array([0.5, 1.0]), np.array([2.0, 0.0]), np.array([1.0, 3.0]), 10.0, 1.0, {"minmax": (1.0, 3.0)}
        ),
        {"clipping": [0.2, 0.0], "rounding": [0.1, 0.3], "both": [0.3, 0.3]},
    ),
    "RangeHistogram": (lambda: figures.range_histogram(X, (-0.5, 0.5), X[::100]), {"values": None}),
    "ErrorHistogram": (errors_of_x, {"errors": None, "weights": None}),
    "Calibration": (lambda: calibration([0.5, 0.5, 0.9], [True, False, True]), {"answers": [0.5, 1.0]}),
    "AlphaCurve": (
        lambda: figures.alpha_curve([0.0, 0.5, 1.0], [1.0, 0.5, 0.8], [1.0, 0.6, 0.9], alpha=0.5),
        {"calibration tokens": [1.0, 0.5, 0.8], "held-out tokens": [1.0, 0.6, 0.9]},
    ),
    "ErrorBars": (
        lambda: figures.error_bars(["RTN", "GPTQ"], [2.0, 1.0], [2.0, 0.5]),
        {"held-out tokens": [1.0, 0.5], "calibration tokens": [1.0, 0.25]},
    ),
    "LossRace": (
        lambda: LossRace(1, np.float32([0.1, 0.4]), np.float32([0.5, 1.0])),
        {"GPTQ": [0.1, 0.4], "rounding to nearest": [0.5, 1.0]},
    ),
    "SearchCurve": (
        lambda: SearchCurve(np.float32([1.0, 1.5, 0.8]), True, np.int32([0, 0, 2]), 1, 2, "min-max"),
        {"tried": [1.0, 1.5, 0.8], "best so far": [1.0, 1.0, 0.8]},
    ),
    "RecipeCurves": (
        lambda: figures.recipe_curves(["Q8_0", "Q2_K"], {"a": [0.1, 0.4], "b": [0.2, 0.3]}),
        {"a": [0.1, 0.4], "b": [0.2, 0.3]},
    ),
    "TrainingCurves": (
        lambda: figures.training_curves({"a": [(8, 0.1, 0.01), (0, 0.4, 0.02)], "b": [(0, 0.3, 0.01)]}),
        {"a": [0.4, 0.1], "b": [0.3]},
    ),
    "SizeCurves": (
        lambda: figures.size_curves({"a": [("x", 2e6, 0.1), ("y", 1e6, 0.4)], "b": [("z", 1e6, 0.3)]}),
        {"a": [0.4, 0.1], "b": [0.3]},
    ),
    "Roofline": (lambda: roofline(10e9, {"integers": 100e9}, [("Q4_0", 3.5, 28e9)]), {"measured": [28.0]}),
    "TokenRates": (
        lambda: token_rates(["Q4_0", "F16"], [4e9, 13e9], 26e9, [0.2, 1], "Q4_0"),
        {"memory allows": [2.0, 6.5], "the products reach": [1.0, 5.0]},
    ),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_shows_the_figures_numbers(name):
    make, wanted = CHARTS[name]
    chart = make().plotly()
    traces = {trace.name: trace for trace in chart.data}
    for title, values in wanted.items():
        shown = np.asarray(traces[title].y, np.float64)
        assert shown.size
        if values is not None:
            assert shown == pytest.approx(values, rel=5e-4)  # stated: four digits are shown
    assert chart.layout.font.color
    assert chart.layout.height == _charts.HEIGHT
    chart.to_plotly_json()


def test_a_name_stands_under_a_dip_of_its_curve():
    chart = figures.size_curves(
        {"a": [("x", 1e6, 0.2), ("dip", 2e6, 0.1), ("z", 3e6, 0.15)], "b": [("x", 1e6, 0.1)]}
    ).plotly()
    assert list(chart.data[0].textposition) == ["top center", "bottom center", "top center"]
    assert [list(trace.text) for trace in chart.data] == [["x", "dip", "z"], []]


@pytest.mark.parametrize(
    ("recipes", "damage", "message"),
    [
        ([], {"a": []}, "got 0 and 1"),
        (["Q8_0"], {}, "got 1 and 0"),
        (["Q8_0"], {"a": [0.1, 0.2]}, "a has 2 values; 1 are needed"),
        (["Q8_0"], {"a": [0.0]}, "not positive"),
        (["Q8_0"], {"a": [np.nan]}, "not positive"),
    ],
)
def test_recipes_that_cannot_be_drawn_are_refused(recipes, damage, message):
    with pytest.raises(WidgetError, match=message):
        figures.recipe_curves(recipes, damage)


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "got 0"),
        ({"a": []}, "at least one measurement"),
        ({str(k): [(0, 1, 0)] for k in range(5)}, "got 5"),
        ({"a": [(0, 1)]}, "a list of 3 items"),
        ({"a": [(0, np.nan, 0)]}, "finite"),
        ({"a": [(0, -1, 0)]}, "negative"),
    ],
)
def test_training_that_cannot_be_drawn_is_refused(curves, message):
    with pytest.raises(WidgetError, match=message):
        figures.training_curves(curves)


def test_bars_of_training_are_its_standard_errors():
    (trace,) = figures.training_curves({"a": [(8, 0.1, 0.01), (0, 0.4, 0.02)]}, "steps of a kind").plotly().data
    assert list(trace.x) == [0, 8]
    assert list(trace.error_y.array) == [0.02, 0.01]
    assert trace.mode == "lines+markers"


def test_counts_are_those_of_the_histogram():
    figure = errors_of_x()
    traces = {trace.name: trace for trace in figure.plotly().data}
    assert sum(traces["weights"].y) == figure.weights.counts.sum()
    assert sum(traces["errors"].y) == figure.errors.counts.sum()


@pytest.mark.parametrize("span", [(0.001, 3.0), (2.0, 2.5), (1e-6, 1e6)])
def test_ticks_of_a_logarithmic_axis_lie_on_it(span):
    axis = _charts.logarithmic("x", span)
    assert all(span[0] <= tick <= span[1] for tick in axis["tickvals"])
    assert 10 ** axis["range"][0] == pytest.approx(span[0], rel=1e-2)  # stated: an exponent of four digits


@pytest.mark.parametrize("values", [[], [0.0, -1.0], [np.nan], [3.0], [1e-9, 1e9]])
def test_there_is_room_for_any_values(values):
    low, high = _charts.room(values)
    assert 0 < low < high < np.inf
