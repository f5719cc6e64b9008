"""What quantizing a matrix costs: what is measured, and what memory it must at least be."""

from __future__ import annotations

import numpy as np
import pytest

import qviz

RNG = np.random.default_rng(7)
WEIGHT, INPUTS = RNG.standard_normal((16, 512)).astype("f4"), RNG.standard_normal((600, 512)).astype("f4")


def test_each_step_is_measured_in_order():
    found = qviz.measure.measure_rounding(WEIGHT, INPUTS, ["Q8_0", "rtn", "awq", "awq+clip", "gptq"], repeats=1)
    assert [cost.what for cost in found] == ["statistics of the inputs", "Q8_0", "rtn", "awq", "awq+clip", "gptq"]
    assert all(cost.seconds > 0 for cost in found)


def test_memory_is_at_least_what_the_method_must_hold():
    """GPTQ factorizes a matrix as wide as a row, in float32 at least; the codes of RTN are 8-bit at least."""
    bytes_of = {c.what: c.nbytes for c in qviz.measure.measure_rounding(WEIGHT, INPUTS, ["rtn", "gptq"], repeats=1)}
    assert bytes_of["gptq"] >= 4 * 512**2
    assert bytes_of["statistics of the inputs"] >= 4 * 512**2
    assert WEIGHT.size <= bytes_of["rtn"] < 4 * 512**2


@pytest.mark.parametrize(
    ("options", "message"),
    [({"names": ["Q4_X"]}, "no format or method 'Q4_X'"), ({"repeats": 0}, "repeats is 0")],
)
def test_what_cannot_be_measured_is_refused(options, message):
    with pytest.raises(qviz.errors.MethodError, match=message):
        qviz.measure.measure_rounding(WEIGHT, INPUTS, **options)
