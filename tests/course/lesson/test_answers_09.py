"""What the questions of lesson 09 call right is right: computed here with qviz."""

from __future__ import annotations

import qviz
from qviz.course import lesson


def right(id: str) -> str:
    return lesson.question(id).right.text


def test_09_1_bandwidth_sets_a_limit():
    bounds = {name: qviz.measure.token_traffic("llama-7b", name).bound(2 * 3200e6 * 8) for name in ("Q4_0", "F16")}
    assert right("09.1") == f"About {bounds['Q4_0']:.0f}"
    assert f"About {bounds['F16']:.0f}" == lesson.question("09.1").options[0].text


def test_09_3_what_a_pair_of_products_needs():
    assert right("09.3") == "Those of 4 bits fit, those of 8 bits do not"
    assert 2 * 15 * 127 < 2**15 // 8
    assert 2 * 255 * 127 > 2**15 > 2 * 127 * 127
