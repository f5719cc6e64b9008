"""Tables and hex dumps, against layouts written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import hexdump, rounding_table, table
from qviz.grids import Codebook


def test_table_as_text():
    shown = table(("name", "n", "x"), [("a", 1234567, 0.00012345), ("longer", 7, math.inf)])
    assert repr(shown) == "name            n          x\na       1,234,567  0.0001234\nlonger          7          ∞"


def test_table_as_html_escapes_and_aligns():
    shown = table(("<b>", "n"), [("a & b", 2.5)])._repr_html_()
    assert "<b>" not in shown
    assert '<th style="text-align: left">&lt;b&gt;</th>' in shown
    assert '<td style="text-align: left">a &amp; b</td><td style="text-align: right">2.5</td>' in shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-1234, "-1,234"),
        (True, "True"),
        (np.int64(10**6), "1,000,000"),
        (np.float32(0.5), "0.5"),
        (12345.678, "12,346"),
        (20.0344, "20.03"),
        (-math.inf, "-∞"),
        (math.nan, "nan"),
        (None, "None"),
        ((576, 1536), "(576, 1536)"),
    ],
)
def test_cells(value, text):
    assert table(("x",), [(value,)]).rows == ((text,),)


def test_a_column_with_a_word_in_it_is_not_numeric():
    assert table(("a", "b"), [(1, 1), (2, "none")]).numeric == (True, False)


def test_a_number_may_be_left_out():
    assert repr(table(("a", "gain"), [(1, ""), (2, 6.5)])) == "a  gain\n1\n2   6.5"


def test_table_without_rows():
    assert repr(table(("a", "b"), [])) == "a  b"


def test_ragged_table_is_refused():
    with pytest.raises(WidgetError, match="a row of 1 cells in a table of 2 columns"):
        table(("a", "b"), [(1,)])


def test_hexdump_wraps_and_cuts():
    data = bytes(range(64, 64 + 60))
    assert repr(hexdump(data, [2, 4, 24, 60], ["two", "twenty", "thirty-six"], most=2)).splitlines() == [
        " 2  42 43                                            BC                two",
        " 4  44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50 51 52 53  DEFGHIJKLMNOPQRS  twenty",
        "20  54 55 56 57                                      TUVW",
        "24  58 59 5a 5b 5c 5d 5e 5f 60 61 62 63 64 65 66 67  XYZ[\\]^_`abcdefg  thirty-six",
        "40  68 69 6a 6b 6c 6d 6e 6f 70 71 72 73 74 75 76 77  hijklmnopqrstuvw",
        "    … 4 more bytes",
    ]


def test_hexdump_of_bytes_that_are_no_text():
    assert repr(hexdump(b"\x00\x1f\x7f\xff", [0, 4], [""])).split() == ["0", "00", "1f", "7f", "ff", "····"]


def test_hexdump_of_a_memory_map(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"GGUF" + bytes(12))
    mapped = np.memmap(path, np.uint8, "r")
    assert "47 47 55 46" in repr(hexdump(mapped, [0, 4], ["magic"]))


@pytest.mark.parametrize("edges", [[0, 9], [3, 3], [0, 6, 4], [-1, 2]])
def test_edges_that_do_not_fit_are_refused(edges):
    with pytest.raises(WidgetError, match="in order, from 0 to 8"):
        hexdump(bytes(8), edges, ["x"] * (len(edges) - 1))


@pytest.mark.parametrize(("edges", "labels"), [([0, 4, 8], ["one"]), ([0, 4], ["one", "two"]), ([0], []), ([], [])])
def test_labels_that_do_not_fit_are_refused(edges, labels):
    with pytest.raises(WidgetError, match="labels"):
        hexdump(bytes(8), edges, labels)


def test_rounding_by_hand():
    """Levels 0, 1, 2, 3: exact, or one number off by a tenth."""
    x = [[0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 3.0]]
    rows = rounding_table({"x": x, "off": [[0.0, 1.1, 2.0, 3.0]]}, {"even": Codebook([0, 1, 2, 3], -1)}).rows
    bits = 2 + 16 / 4
    assert rows == (("even", f"{bits:g}", "∞", f"{10 * math.log10((1.21 + 4 + 9) / 0.01):.1f}"),)
    with pytest.raises(WidgetError, match="arrays and grids are needed, got 0 and 1"):
        rounding_table({}, {"even": Codebook([0, 1], -1)})
