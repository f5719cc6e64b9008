"""The float explorer, driven without a browser, against ml_dtypes and numbers worked out by hand."""

import math

import ml_dtypes
import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import float_bits
from qviz.grids import E2M1, E4M3
from qviz.widgets import FloatExplorer
from qviz.widgets.floats import FLOATS

THEIRS = {
    "E4M3": ml_dtypes.float8_e4m3fn,
    "E5M2": ml_dtypes.float8_e5m2,
    "E3M2": ml_dtypes.float6_e3m2fn,
    "E2M3": ml_dtypes.float6_e2m3fn,
    "E2M1": ml_dtypes.float4_e2m1fn,
}


@pytest.mark.parametrize("name", FLOATS)
def test_every_code_stands_for_what_ml_dtypes_says(name):
    explorer = FloatExplorer(name)
    theirs = np.arange(1 << FLOATS[name].n_bits, dtype=np.uint8).view(THEIRS[name]).astype(np.float32)
    for code, value in enumerate(theirs):
        explorer.controls["code"].value = code
        found = explorer.figure["bits"]
        assert found.value == value or (math.isnan(found.value) and math.isnan(value))
        assert found.sign + found.exponent + found.mantissa == f"{code:0{FLOATS[name].n_bits}b}"


def test_a_number_is_rounded_and_bits_flip():
    explorer = FloatExplorer("E4M3", 0.3)
    assert explorer.controls["code"].value == 0b0_0101_010  # 1.25 · 2^(5 − 7)
    assert "(1 + 2/8) · 2^(5 − 7) = 0.3125" in explorer.figure.scene.summary
    explorer.figure._handle_custom_msg({"event": "bit", "place": 0}, [])
    assert explorer.figure["bits"].value == -0.3125
    explorer.figure._handle_custom_msg({"event": "bit", "place": 7}, [])
    assert explorer.figure["bits"].value == -0.34375
    explorer.figure._handle_custom_msg({"event": "code", "code": 1}, [])
    assert explorer.figure["bits"].value == 2**-9
    readouts = {r.label: r.value for r in explorer.figure.scene.readouts}
    assert readouts["Kind"] == "subnormal"
    explorer.controls["number"].value = 1000
    assert explorer.figure["bits"].value == 448
    explorer.controls["float"].value = "E2M1"
    assert explorer.figure["bits"].value == 6
    assert explorer.controls["code"].max == 15


def test_codes_that_are_no_numbers():
    explorer = FloatExplorer("E5M2")
    for code, kind in ((0x7C, "infinity"), (0x7F, "not a number"), (0, "zero")):
        explorer.controls["code"].value = code
        assert {r.label: r.value for r in explorer.figure.scene.readouts}["Kind"] == kind


def test_the_integer_grid_beside_it_reaches_as_far():
    bits = float_bits(E4M3, 0)
    assert bits.even.size == 127
    assert bits.even[-1] == bits.positive[-1] == 448
    assert float_bits(E2M1, 0).positive.tolist() == [0.5, 1, 1.5, 2, 3, 4, 6]


def test_what_is_refused():
    with pytest.raises(WidgetError, match="no float 'E9M9'; there are E4M3"):
        FloatExplorer("E9M9")
    with pytest.raises(WidgetError, match="number must be finite, got nan"):
        FloatExplorer("E4M3", math.nan)
