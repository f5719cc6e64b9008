"""The plane of pairs, driven without a browser: what it shows of a format beside the format's own bytes."""

import numpy as np
import pytest
from bounds import assert_within, size_bound

import qviz
from qviz.errors import WidgetError
from qviz.grids import kmeans_vectors
from qviz.widgets import PairExplorer

W = qviz.load("tiny")["blk.3.ffn_up.weight"].dequantize()[:16]


@pytest.fixture
def explorer():
    return PairExplorer(W)


def scaled(name):
    """Weights, and what the format makes of them, in units of their blocks: there a stored 8 is 1."""
    packed = qviz.quantize(W, name, imatrix=np.ones(256, np.float32))
    unit = np.repeat(8 * packed.unpack().scales, 32, axis=1)
    return (W / unit).reshape(-1, 2), (packed.dequantize() / unit).reshape(-1, 2)


@pytest.mark.parametrize(("bits", "name"), [(2, "IQ2_XXS"), (3, "IQ3_XXS")])
def test_what_the_format_stores_is_what_its_bytes_give_back(explorer, bits, name):
    explorer.controls["bits"].value, explorer.controls["points"].value = bits, "format"
    plane, (pairs, stored) = explorer.figure["points"], scaled(name)
    assert np.array_equal(plane.pairs, pairs)
    assert_within(plane.points[plane.taken], stored, size_bound(stored, 6))
    nearest = np.square(plane.pairs[:, None] - plane.points[None]).sum(-1).min(1) / 2
    assert (plane.errors > nearest + 1e-3).any(), "the other weights of an entry have their say"
    assert not len(plane.edges)
    table = np.abs(getattr(qviz.formats.iq.codebooks, f"{name}_GRID"))
    assert plane.counts.sum() == 4 * table.size // 2
    smallest = (table.reshape(-1, 2) == table.min()).all(axis=1).sum()
    assert plane.counts[(plane.points == table.min() / 8).all(axis=1)].tolist() == [smallest]
    assert explorer.figure.scene.readouts[1].value == f"{bits - 1 / 8:.4g}"
    assert "an eighth of a bit less" in explorer.figure.scene.status[0].text


@pytest.mark.parametrize("bits", [2, 3])
def test_as_many_points_as_the_grid_has_and_less_error(explorer, bits):
    explorer.controls["bits"].value = bits
    left, right = explorer.figure["grid"], explorer.figure["points"]
    assert len(left.points) == len(right.points) == 4**bits
    assert len(np.unique(left.points[:, 0])) == len(np.unique(left.points[:, 1])) == 2**bits
    assert np.array_equal(left.pairs, right.pairs)
    assert right.points.tolist() == kmeans_vectors(left.pairs, 2, bits).points.tolist()
    assert right.mean_square < 0.95 * left.mean_square
    values = [readout.value for readout in explorer.figure.scene.readouts]
    assert values[0] == values[1] == str(bits)
    assert values[4] == f"{100 * right.mean_square / left.mean_square:.1f} %"
    steps = np.diff(np.unique(left.points[:, 0]))
    assert_within(steps, steps[0], size_bound(left.reach, 8))
    before = left.mean_square
    explorer.controls["levels"].value = "fitted"
    assert right.mean_square < explorer.figure["grid"].mean_square < before


def test_no_other_step_of_even_levels_has_a_smaller_error(explorer):
    plane = explorer.figure["grid"]
    step = np.ptp(plane.points[:, 0]) / 3
    for other in np.linspace(0.5 * step, 1.5 * step, 41):
        codes = np.clip(np.round(plane.pairs / other - 0.5) + 0.5, -1.5, 1.5)
        assert np.square(plane.pairs - other * codes).mean() > 0.999 * plane.mean_square  # steps of one in a hundred


def test_a_pair_is_chosen_in_the_picture(explorer):
    explorer.figure._handle_custom_msg({"event": "pair", "pair": 7}, [])
    assert explorer.controls["pair"].value == explorer.figure["grid"].current == explorer.figure["points"].current == 7
    assert explorer.figure.scene.tables[0].rows[0][0] == "7"
    assert "Pair 7:" in explorer.figure.scene.summary
    explorer.figure._handle_custom_msg({"event": "pair", "pair": 10**6}, [])
    assert explorer.controls["pair"].value == W.size // 2 - 1


def test_of_a_large_matrix_the_first_rows_are_shown():
    many = np.concatenate([W, W, -W])
    assert np.array_equal(PairExplorer(many).weights, many[:32])


@pytest.mark.parametrize(
    ("weight", "how", "says"),
    [
        (W[:, :100], {}, "256 or a multiple"),
        (np.zeros((2, 256)), {}, "256"),
        (np.full((2, 256), np.nan), {}, "finite"),
        (W, {"bits": 4}, "2 or 3"),
        (W[0], {}, "shape"),
    ],
)
def test_what_is_refused(weight, how, says):
    with pytest.raises(WidgetError, match=says):
        PairExplorer(weight, **how)
