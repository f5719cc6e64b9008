"""Roofs and bars by hand, and what JupyterLab gets to draw."""

import json

import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import roofline, token_rates

POINTS = [("F32", 0.5, 4e9), ("Q4_0", 4, 20e9), ("TQ1_0", 10, 1e9)]


@pytest.fixture
def roof():
    return roofline(10e9, {"integers": 80e9, "float32": 20e9}, POINTS)


def test_a_roof_by_hand(roof):
    assert (roof.bounds / 1e9).tolist() == [5, 40, 80]
    assert roof.shares.tolist() == [0.8, 0.5, 1 / 80]
    assert roof.limits == ("memory", "memory", "arithmetic")
    assert roof.summary == (
        "10 GB/s; the roof is flat for integers from 8 operations per byte on, float32 from 2 operations per byte on. "
        "Less than a tenth of the roof: TQ1_0."
    )


def test_what_is_drawn(roof):
    figure = roof.plotly()
    lines = {trace.name: trace for trace in figure.data if trace.name}
    slope = lines["memory, 10 GB/s"]
    assert slope.x[1] == 8
    assert np.array(slope.y).tolist() == pytest.approx([10 * x for x in slope.x])
    for kind, peak in (("integers", 80), ("float32", 20)):
        assert lines[kind].x[0] == peak / 10
        assert list(lines[kind].y) == [peak, peak]
        assert lines[kind].x[1] > 10
    measured = lines["measured"]
    assert list(measured.text) == ["F32", "Q4_0", "TQ1_0"]
    assert list(measured.x) == [0.5, 4, 10]
    assert list(measured.y) == [4, 20, 1]
    assert list(measured.error_y.array) == [1, 20, 79]
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    low, high = figure.layout.yaxis.range
    assert low < np.log10(1) < np.log10(80) < high


def test_ticks_are_written_in_full(roof):
    axis = roof.plotly().layout.xaxis
    assert list(axis.tickvals) == [0.5, 1, 2, 5, 10, 20]
    assert list(axis.ticktext) == ["0.5", "1", "2", "5", "10", "20"]
    assert axis.range[0] < np.log10(0.5) < np.log10(20) < axis.range[1]


def test_names_of_points_that_meet_go_apart():
    roof = roofline(1, {"a": 1}, [("x", 3, 1), ("y", 1, 1), ("z", 3.1, 1.2), ("far", 3, 9), ("w", 3, 1.1)])
    assert roof._places() == ["bottom center", "bottom center", "middle left", "bottom center", "middle right"]


def test_it_is_small_where_it_is_stored(roof):
    """Plotly's own representation adds the whole library to a notebook."""
    bundle = roof._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.plotly.v1+json", "text/plain"}
    assert len(json.dumps(bundle, allow_nan=False)) < 12_000
    assert bundle["text/plain"] == repr(roof)


def test_a_roof_without_points():
    roof = roofline(10e9, {"integers": 80e9})
    assert roof.bounds.size == 0
    assert len(roof.plotly().data) == 3


@pytest.mark.parametrize(
    ("bandwidth", "peaks", "points"),
    [
        (0, {"a": 1}, []),
        (1, {}, []),
        (1, dict.fromkeys("abcde", 1), []),
        (1, {"a": np.nan}, []),
        (1, {"a": 1}, [("x", 1, 0)]),
        (1, {"a": 1}, [("x", np.inf, 1)]),
    ],
)
def test_what_is_refused(bandwidth, peaks, points):
    with pytest.raises(WidgetError):
        roofline(bandwidth, peaks, points)


def test_bars_by_hand():
    rates = token_rates(["Q4_0", "F32", "Q8_0"], [4, 32, 8], 64, [0.5, 2, np.nan], "Q8_0")
    assert rates.names == ("F32", "Q8_0", "Q4_0")
    assert rates.nbytes.tolist() == [32, 8, 4]
    assert rates.bounds.tolist() == [2, 8, 16]
    assert rates.reached[[0, 2]].tolist() == [0.5, 2]
    assert np.isnan(rates.reached[1])
    assert rates.current == 1
    assert token_rates(["a"], [1], 1, [1], "gone").current == 0


def test_formats_under_the_roof_by_hand():
    """8 weights take 16 operations; 32 bytes are half an operation a byte, 4 bytes are 4; the roof is flat at 64."""
    rates = token_rates(["F32", "Q4_0"], [32, 4], 64, [0.5, 2], weights=8, peaks={"integers": 64, "float32": 16})
    assert (rates.work, rates.bandwidth, rates.kinds, rates.peaks.tolist()) == (
        16,
        64,
        ("integers", "float32"),
        [64, 16],
    )
    assert rates.intensities.tolist() == [0.5, 4]
    assert rates.bounds.tolist() == [2, 16]
    assert rates.roof.tolist() == [2, 4]  # 64 operations a second are 4 tokens
    assert token_rates(["a"], [4], 64, [1]).roof.tolist() == [16]  # memory alone
    for wrong in ({"weights": 0}, {"weights": np.nan}, {"peaks": {"a": 0}}):
        with pytest.raises(WidgetError, match="positive"):
            token_rates(["a"], [4], 64, [1], **wrong)


@pytest.mark.parametrize(
    ("names", "nbytes", "bandwidth", "seconds"),
    [([], [], 1, []), (["a"], [1, 2], 1, [1]), (["a"], [0], 1, [1]), (["a"], [1], np.inf, [1]), (["a"], [1], 1, [])],
)
def test_bars_that_are_refused(names, nbytes, bandwidth, seconds):
    with pytest.raises(WidgetError):
        token_rates(names, nbytes, bandwidth, seconds)
