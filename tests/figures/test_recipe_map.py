"""The map of a recipe, by hand; bytes of a block, from ggml's structs."""

from __future__ import annotations

import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures.recipe_map import OUTSIDE, Cell, block_parts, byte_bars, recipe_map, shade
from qviz.formats import get
from qviz.recipes import RECIPES


def cell(name, fmt, layer, kind, nbytes=144, reason="because", fallback=False):
    return Cell(name, (1, 256), get(fmt), nbytes, reason, layer, kind, fallback)


def plan(second):
    return [
        cell("out", "F32", OUTSIDE, "out", 1024),
        cell("blk.0.a", "Q4_K", 0, "a"),
        cell("blk.1.a", second, 1, "a", get(second).type_size, "another"),
        cell("blk.1.b", "Q4_0", 1, "b", 144, fallback=True),
    ]


def test_a_small_model_by_hand():
    figure = recipe_map(plan("Q6_K"), plan("Q4_K"))
    assert figure.kinds == ("a", "b")
    assert figure.layers == 2
    assert figure.outside == (0,)
    assert figure.cells.tolist() == [[1, 2], [-1, 3]]
    assert figure.formats == ("F32", "Q6_K", "Q4_0", "Q4_K")
    assert [figure.formats[i] for i in figure.format_of] == ["F32", "Q4_K", "Q6_K", "Q4_0"]
    assert [figure.reasons[i] for i in figure.reason_of] == ["because", "because", "another", "because"]
    assert figure.differs.tolist() == [0, 0, 1, 0]
    assert figure.fallback.tolist() == [0, 0, 0, 1]
    assert figure.first == 2


def test_two_models_are_not_compared():
    with pytest.raises(WidgetError, match="4 and 3 tensors"):
        recipe_map(plan("Q6_K"), plan("Q6_K")[:3])
    with pytest.raises(WidgetError, match="0 and 0"):
        recipe_map([], [])


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        # ggml-common.h: block_q2_K … block_q6_K, block_q4_0, block_q4_1, block_iq4_xs
        ("Q2_K", {"scales": 8 + 2, "mins": 8 + 2, "codes": 64}),
        ("Q3_K", {"codes": 32 + 64, "scales": 12 + 2}),
        ("Q4_K", {"scales": 2 + 6, "mins": 2 + 6, "codes": 128}),
        ("Q5_K", {"scales": 2 + 6, "mins": 2 + 6, "codes": 32 + 128}),
        ("Q6_K", {"codes": 128 + 64, "scales": 16 + 2}),
        ("Q4_0", {"scales": 2, "codes": 16}),
        ("Q4_1", {"scales": 2, "mins": 2, "codes": 16}),
        ("IQ4_XS", {"scales": 2 + 2 + 4, "codes": 128}),
        ("F16", {"floats": 2}),
    ],
)
def test_what_the_bytes_of_a_block_hold(name, parts):
    assert block_parts(get(name)) == parts


@pytest.mark.parametrize("name", sorted({recipe.base for recipe in RECIPES.values()}))
def test_no_byte_is_forgotten(name):
    assert sum(block_parts(get(name)).values()) == get(name).type_size


def test_bytes_add_up():
    bars = byte_bars([("one", plan("Q6_K")), ("two", plan("Q4_K"))])
    # two blocks of Q4_K are 2 · (128 + 8 + 8); 144 bytes of Q4_0 are 8 blocks of 16 + 2
    assert bars.parts == ("codes", "scales", "mins", "floats")
    assert bars.nbytes.tolist() == [
        [128 + 192 + 128, 8 + 18 + 16, 8, 1024],
        [128 + 128 + 128, 8 + 8 + 16, 16, 1024],
    ]


def test_more_bits_are_brighter():
    shades = [shade(get(name)) for name in ("TQ1_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")]
    assert (np.diff(shades) > 25).all()
    assert 1 <= min(shades) <= max(shades) <= 254
