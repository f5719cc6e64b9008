"""Codebook figures: Lloyd's steps by hand, codes against Shannon, NF4 against QLoRA's printed table."""

from __future__ import annotations

import bounds
import numpy as np
import pytest

from qviz.errors import WidgetError
from qviz.figures import histogram
from qviz.figures.codebook import entropy, huffman_bits, huffman_lengths, lloyd_curve, lloyd_picture, normal_levels
from qviz.grids import NF4
from qviz.grids.codebook import KMeansStep, kmeans

X = np.float32([0, 1, 2, 9, 10, 20])
STEPS = [KMeansStep(np.float32(levels), error) for levels, error in (([0, 9, 20], 1.0), ([1, 9.5, 20], 0.4))]


def picture(k, others=None):
    return lloyd_picture(X, STEPS, k, histogram(X, -1, 21), others or {})


def test_edges_lie_half_way_and_weights_on_them_go_down():
    shown = picture(0)
    assert shown.edges.tolist() == [4.5, 14.5]
    assert shown.used.tolist() == [3, 2, 1]
    tie = lloyd_picture(np.float32([0, 1, 2]), [KMeansStep(np.float32([0, 2]), 0.0)], 0, histogram(X, -1, 21), {})
    assert tie.used.tolist() == [2, 1]


def test_paths_hold_all_iterations():
    shown = picture(1, {"grid": [0, 10, 20]})
    assert shown.paths.tolist() == [[0, 9, 20], [1, 9.5, 20]]
    assert shown.current == 1
    assert shown.names == ("grid",)
    assert shown.others[0].tolist() == [0, 10, 20]
    assert shown.others[0].dtype == np.float32


def test_counts_agree_with_the_nearest_level():
    x = np.sort(np.random.default_rng(2).standard_normal(500).astype(np.float32))
    steps = []
    kmeans(x, 3, trace=steps)
    for k in (0, 3, len(steps) - 1):
        used = lloyd_picture(x, steps, k, histogram(x, -4, 4), {}).used
        nearest = np.abs(x[:, None] - steps[k].levels).argmin(axis=1)
        assert used.tolist() == np.bincount(nearest, minlength=8).tolist()


def test_decibels_of_each_iteration():
    curve = lloyd_curve(STEPS, 100.0, 1, {"grid": 17.0})
    assert curve.decibels.tolist() == pytest.approx([20, 10 * np.log10(250)])
    assert (curve.current, curve.names, curve.others.tolist()) == (1, ("grid",), [17.0])
    exact = lloyd_curve([KMeansStep(np.float32([0, 1]), 0.0)], 1.0, 0, {})
    assert exact.decibels.tolist() == [np.inf]


@pytest.mark.parametrize(
    ("counts", "bits"), [([1] * 8, 3), ([8, 4, 2, 1, 1], 1.875), ([0, 5, 0], 0), ([1, 3], 0.811278)]
)
def test_entropy(counts, bits):
    assert entropy(counts) == pytest.approx(bits, abs=1e-6)  # stated with six decimals


def test_huffmans_own_example():
    """The ensemble of the paper of 1952 (table I), and its average of 3.42 binary digits."""
    assert huffman_bits([20, 18, 10, 10, 10, 6, 6, 4, 4, 4, 4, 3, 1]) == pytest.approx(3.42)


@pytest.mark.parametrize("seed", range(20))
def test_a_huffman_code_can_be_read_and_is_within_a_bit_of_the_entropy(seed):
    counts = np.random.default_rng(seed).geometric(0.2, 16)
    lengths = huffman_lengths(counts)
    assert (0.5**lengths).sum() == 1  # Kraft: a complete prefix code
    assert entropy(counts) <= huffman_bits(counts) < entropy(counts) + 1
    order = np.argsort(counts)
    assert (np.diff(lengths[order][np.diff(counts[order], append=1 << 30) > 0]) <= 0).all()


def test_a_single_symbol_takes_a_bit():
    assert huffman_lengths([0, 7]).tolist() == [0, 1]


def test_nf4_is_what_its_construction_gives():
    # printed in the paper's code as float32; the construction takes quantiles at numbers of ten decimals
    bounds.assert_within(normal_levels(4), NF4.levels, 3 * bounds.U)


def test_normal_levels_of_other_bits():
    levels = normal_levels(3)
    assert levels.size == 8
    assert (levels[0], levels[3], levels[-1]) == (-1, 0, 1)
    assert (np.diff(levels) > 0).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: picture(2),
        lambda: picture(-1),
        lambda: lloyd_curve(STEPS, 0.0, 0, {}),
        lambda: lloyd_curve(STEPS, 1.0, 5, {}),
        lambda: entropy([]),
        lambda: entropy([0, 0]),
        lambda: huffman_bits([1, -1]),
        lambda: huffman_lengths([np.nan]),
        lambda: normal_levels(1),
        lambda: normal_levels(4, 0.4),
    ],
)
def test_what_cannot_be_shown(make):
    with pytest.raises(WidgetError):
        make()
