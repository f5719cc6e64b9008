"""`SpeedExplorer`, driven from Python, on invented speeds."""

import pytest

from qviz.errors import WidgetError
from qviz.measure.machine import FormatSpeed, Machine, token_traffic
from qviz.widgets import SpeedExplorer
from qviz.widgets.scene import unpack

MACHINE = Machine(bandwidth=20e9, float_peak=50e9, integer_peak=100e9, threads=2, nbytes=1)
SPEEDS = [
    FormatSpeed(name, (1000, 1000), 1, nbytes, seconds, seconds, seconds, 3)
    for name, nbytes, seconds in (("F16", 2_000_000, 2e-4), ("Q4_0", 562_500, 1e-4), ("Q4_K", 562_500, 4e-4))
]


@pytest.fixture
def explorer():
    return SpeedExplorer(SPEEDS, MACHINE)


def test_bounds_and_estimates(explorer):
    rates = explorer.figure["rates"]
    assert rates.names == ("F16", "Q4_0", "Q4_K")
    traffic = [token_traffic("llama-7b", name) for name in rates.names]
    assert rates.bounds.tolist() == pytest.approx([20e9 / t.nbytes for t in traffic])
    a_second = [5e9, 10e9, 2.5e9]  # weights
    assert rates.reached.tolist() == pytest.approx([w / t.weights for w, t in zip(a_second, traffic, strict=True)])
    assert rates.names[rates.current] == "Q4_K"
    assert "Fastest here: Q4_0" in explorer.figure.scene.summary
    assert explorer.figure.scene.tables[0].rows[0][0] == "F16"


def test_bandwidth_moves_the_bound_alone(explorer):
    before = explorer.figure["rates"]
    explorer.controls["bandwidth"].value = 200
    after = explorer.figure["rates"]
    assert after.bounds.tolist() == pytest.approx((10 * before.bounds).tolist())
    assert after.reached.tolist() == before.reached.tolist()
    assert after.roof.tolist() == pytest.approx(
        [min(bound, MACHINE.integer_peak / after.work) for bound in after.bounds.tolist()]
    )


def test_the_slope_of_the_roof_is_dragged(explorer):
    explorer._message(explorer.figure, {"event": "set", "control": "bandwidth", "value": 50.0}, None)
    assert explorer.controls["bandwidth"].value == 50
    assert explorer.figure["rates"].bandwidth == 50e9
    explorer.lock("x", "predict first")
    explorer._message(explorer.figure, {"event": "set", "control": "bandwidth", "value": 500.0}, None)
    assert explorer.figure["rates"].bandwidth == 50e9


def test_a_context_is_read_too(explorer):
    explorer.controls["context"].value = 8192
    rates = explorer.figure["rates"]
    assert rates.nbytes[1] == token_traffic("llama-7b", "Q4_0", 8192).nbytes
    readouts = {tile.label: tile.value for tile in explorer.figure.scene.readouts}
    assert readouts["KV cache read"] != "0 B"


def test_formats_that_do_not_fit_are_left_out(explorer):
    explorer.controls["model"].value = "smollm2-135m"
    assert explorer.figure["rates"].names == ("F16", "Q4_0")
    assert "Q4_K" in explorer.figure.scene.status[0].text
    alone = SpeedExplorer(SPEEDS[2:], MACHINE, model="smollm2-135m")
    assert alone.figure.scene.status[0].level == "error"
    assert not alone.figure.panels
    alone.controls["model"].value = "llama-7b"
    assert alone.figure["rates"].names == ("Q4_K",)


def test_a_format_can_be_looked_at(explorer):
    explorer._message(explorer.figure, {"event": "point", "point": 0}, None)
    assert explorer.figure["rates"].current == 0
    assert explorer.figure.scene.readouts[0].value == "F16"
    for nonsense in ("?", 99, -1, None):
        explorer._message(explorer.figure, {"event": "point", "point": nonsense}, None)
    assert explorer.figure["rates"].current == 0
    sent = unpack(explorer.figure.frame)["panels"]["rates"]["figure"]
    assert sent["type"] == "TokenRates"
    assert sent["bounds"].tolist() == explorer.figure["rates"].bounds.tolist()


def test_what_is_refused():
    with pytest.raises(WidgetError, match="measure_formats"):
        SpeedExplorer([], MACHINE)
    with pytest.raises(WidgetError, match="llama-7b"):
        SpeedExplorer(SPEEDS, MACHINE, model="gpt-5")


def test_it_says_what_it_is(explorer):
    assert repr(explorer) == "SpeedExplorer(llama-7b, 3 formats)"
